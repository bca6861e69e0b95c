/* manifest.c - what a backup holds: backups/<time>-<SHA-256>.json.
 *
 *   {"format": "fhirlake-backup-1", "fhirlake": version, "takenAt": instant, "parts": [
 *     {"folder": "system", "files": [{"name", "bytes", "sha256"}, ...]},
 *     {"folder": "stores/<id>", "files": [...], "commit": t, "instant": instant, "content": [
 *       {"type", "resources", "versions", "contentDigest", "versionsDigest"}, ...]}, ...]}
 *
 * The name ends with the first 16 digits of the SHA-256 of the text, so a manifest that was changed
 * is told. Names begin with the time: the last name is the newest backup, also when the clock was
 * set back. */
#include "backup/backup_private.h"

#include "base/clock.h"
#include "codec/instant.h"

#include <stdio.h>
#include <stdlib.h>

#define FORMAT       SV_LIT("fhirlake-backup-1")
#define SHA_DIGITS   16u
#define TIME_LEN     20u /* "20261129T101116.574Z" */
#define NAME_LEN     (TIME_LEN + 1 + SHA_DIGITS + sizeof ".json" - 1)
#define YEAR_9999_MS 253402300799999 /* its last moment */
#define DEPTH        8u
#define SHAS_BYTES   ((size_t)1 << 30)

static void hex_of(sv json, char out[SHA256_HEX_LEN])
{
    unsigned char sha[SHA256_LEN];
    hash_sha256_of(json, sha);
    hash_hex(sha, sizeof sha, out);
}

/* ---- what data stores hold ---- */

void backup_content_write(struct json_writer *w, const struct store_sums *sums)
{
    char hex[FHIR_DIGEST_HEX];
    json_key(w, "content");
    json_arr(w);
    for (unsigned type = 1; type <= fhir_n_types(); type++) {
        const struct store_sum *s = &sums->of[type];
        if (s->n_versions == 0)
            continue;
        json_obj(w);
        json_kv_str(w, "type", sv_from(fhir_type_name((fhir_type)type)));
        json_kv_u64(w, "resources", s->n_resources);
        json_kv_u64(w, "versions", s->n_versions);
        fhir_digest_hex(&s->content, hex);
        json_kv_str(w, "contentDigest", sv_make(hex, sizeof hex));
        fhir_digest_hex(&s->versions, hex);
        json_kv_str(w, "versionsDigest", sv_make(hex, sizeof hex));
        json_obj_end(w);
    }
    json_arr_end(w);
}

/* ---- names ---- */

/* An instant without its dashes and colons; and back. */
static void time_put(int64_t ms, char out[TIME_LEN + 1])
{
    char text[INSTANT_LEN];
    size_t n = 0;
    instant_format(ms, text);
    for (size_t i = 0; i < sizeof text; i++)
        if (text[i] != '-' && text[i] != ':')
            out[n++] = text[i];
    out[n] = 0;
}

static bool time_read(sv name, int64_t *ms)
{
    char text[INSTANT_LEN + 1];
    const char *t = name.ptr;
    (void)snprintf(text, sizeof text, "%.4s-%.2s-%.5s:%.2s:%.7s", t, t + 4, t + 6, t + 11, t + 13);
    return instant_parse(sv_make(text, INSTANT_LEN), ms);
}

bool backup_is_manifest(sv name)
{
    char time[TIME_LEN + 1];
    int64_t ms;
    if (name.len != NAME_LEN || name.ptr[TIME_LEN] != '-' || !sv_ends(name, SV_LIT(".json")) ||
        !time_read(name, &ms))
        return false;
    time_put(ms, time);
    for (size_t i = TIME_LEN + 1; i < TIME_LEN + 1 + SHA_DIGITS; i++)
        if (strchr("0123456789abcdef", name.ptr[i]) == NULL || name.ptr[i] == 0)
            return false;
    return memcmp(name.ptr, time, TIME_LEN) == 0;
}

err_code backup_manifests(struct backup_place *place, struct arena *a, sv **out, size_t *n,
                          struct err *e)
{
    size_t n_all, kept = 0;
    sv *all;
    TRY(place->ops->names(place, a, &all, &n_all, e));
    for (size_t i = 0; i < n_all; i++)
        if (backup_is_manifest(all[i]))
            all[kept++] = all[i];
    *out = all;
    *n = kept;
    return ERR_OK;
}

/* Behind every other backup of the target. */
static err_code next_time(struct backup_place *place, int64_t *ms, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(SHAS_BYTES);
    int64_t newest;
    sv *names;
    size_t n;
    TRY(backup_manifests(place, a, &names, &n, e));
    *ms = clock_wall_ms();
    if (n && time_read(names[n - 1], &newest) && newest >= *ms)
        *ms = newest + 1;
    /* the name of a later one would begin with another number of digits */
    if (*ms > YEAR_9999_MS)
        return ERR(e, ERR_CORRUPT, "backup %.*s has the last moment that a name can tell",
                   SV_FMT(names[n - 1]));
    return ERR_OK;
}

err_code backup_manifest_write(struct backup_place *place, sv json, char *name, struct err *e)
{
    char time[TIME_LEN + 1], hex[SHA256_HEX_LEN];
    int64_t ms;
    hex_of(json, hex);
    TRY(next_time(place, &ms, e));
    time_put(ms, time);
    (void)snprintf(name, BACKUP_NAME_MAX, "%s-%.*s.json", time, (int)SHA_DIGITS, hex);
    return place->ops->write_manifest(place, sv_from(name), json, e);
}

/* ---- reading ---- */

static err_code damaged(sv name, struct err *e)
{
    return ERR(e, ERR_CORRUPT, "manifest %.*s is not what was written", SV_FMT(name));
}

/* It becomes a path below a data folder. */
static bool folder_ok(sv folder)
{
    return sv_eq(folder, SV_LIT("system")) ||
           (sv_starts(folder, SV_LIT("stores/")) &&
            sv_is_hex(sv_tail(folder, sizeof "stores/" - 1), BACKUP_ID_LEN));
}

static err_code read_part(yyjson_val *v, sv name, struct backup_part *out, struct err *e)
{
    *out = (struct backup_part){ .folder = json_string(json_get(v, "folder")),
                                 .files = json_get(v, "files"),
                                 .content = json_get(v, "content") };
    if (!folder_ok(out->folder) || !yyjson_is_arr(out->files))
        return damaged(name, e);
    /* of a data store it says with what a restore is compared */
    if (!sv_eq(out->folder, SV_LIT("system")) &&
        (!yyjson_is_arr(out->content) ||
         !sv_to_u64(json_number(json_get(v, "commit")), &out->at.t) ||
         !sv_to_i64(json_number(json_get(v, "instant")), &out->at.instant_ms)))
        return damaged(name, e);
    return ERR_OK;
}

err_code backup_manifest_read(struct backup_place *place, sv name, struct arena *a,
                              struct backup_part **out, size_t *n, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(BACKUP_MANIFEST_MAX);
    char hex[SHA256_HEX_LEN];
    yyjson_doc *doc;
    struct err why;
    if (!backup_is_manifest(name))
        return ERR(e, ERR_NOT_FOUND, "%.*s is not the name of a backup", SV_FMT(sv_head(name, 80)));
    TRY(place->ops->read_manifest(place, name, &text, e));
    hex_of(buf_sv(&text), hex);
    if (memcmp(name.ptr + TIME_LEN + 1, hex, SHA_DIGITS) != 0)
        return damaged(name, e);
    sv json = arena_sv(a, buf_sv(&text));
    if (json.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, json, DEPTH, &doc, &why) != ERR_OK)
        return damaged(name, e);
    yyjson_val *root = yyjson_doc_get_root(doc), *parts = json_get(root, "parts");
    if (!sv_eq(json_string(json_get(root, "format")), FORMAT))
        return ERR(e, ERR_UNSUPPORTED, "backup %.*s has a form that this program does not know",
                   SV_FMT(name));
    if (!yyjson_is_arr(parts))
        return damaged(name, e);
    *out = arena_calloc(a, yyjson_arr_size(parts) + 1, sizeof **out);
    if (*out == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(parts);
    yyjson_val *v;
    for (*n = 0; (v = yyjson_arr_iter_next(&it)) != NULL; ++*n)
        TRY(read_part(v, name, &(*out)[*n], e));
    return ERR_OK;
}

err_code backup_file_read(yyjson_val *row, sv *name, struct backup_file *out, struct err *e)
{
    const sv sha = json_string(json_get(row, "sha256"));
    *name = json_string(json_get(row, "name"));
    if (name->len == 0 || name->ptr[0] == '.' || memchr(name->ptr, '/', name->len) ||
        memchr(name->ptr, 0, name->len) || !sv_is_hex(sha, SHA256_HEX_LEN) ||
        !sv_to_u64(json_number(json_get(row, "bytes")), &out->bytes))
        return ERR(e, ERR_CORRUPT, "a row of the manifest is damaged");
    memcpy(out->sha, sha.ptr, sha.len);
    return ERR_OK;
}

static bool same_digest(yyjson_val *v, const char *member, const struct fhir_digest *digest)
{
    char hex[FHIR_DIGEST_HEX];
    fhir_digest_hex(digest, hex);
    return sv_eq(json_string(json_get(v, member)), sv_make(hex, sizeof hex));
}

static bool same_number(yyjson_val *v, const char *member, uint64_t n)
{
    uint64_t said;
    return sv_to_u64(json_number(json_get(v, member)), &said) && said == n;
}

err_code backup_content_check(const struct backup_part *part, const struct store_sums *sums,
                              struct err *e)
{
    const sv id = sv_tail(part->folder, sizeof "stores/" - 1);
    yyjson_arr_iter it = yyjson_arr_iter_with(part->content);
    yyjson_val *v = yyjson_arr_iter_next(&it);
    if (sums->at.t != part->at.t || sums->at.instant_ms != part->at.instant_ms)
        return ERR(e, ERR_CORRUPT, "data store %.*s ends with another commit than the backup says",
                   SV_FMT(id));
    for (unsigned type = 1; type <= fhir_n_types(); type++) {
        const struct store_sum *s = &sums->of[type];
        const char *name = fhir_type_name((fhir_type)type);
        const bool said = v && sv_eq_cstr(json_string(json_get(v, "type")), name);
        if (s->n_versions == 0 && !said)
            continue;
        if (!said || !same_number(v, "resources", s->n_resources) ||
            !same_number(v, "versions", s->n_versions) ||
            !same_digest(v, "contentDigest", &s->content) ||
            !same_digest(v, "versionsDigest", &s->versions))
            return ERR(e, ERR_CORRUPT,
                       "data store %.*s has other resources of type %s than the backup says",
                       SV_FMT(id), name);
        v = yyjson_arr_iter_next(&it);
    }
    return v == NULL ? ERR_OK
                     : ERR(e, ERR_CORRUPT, "data store %.*s lacks a type that the backup has",
                           SV_FMT(id));
}

/* ---- all files of all backups ---- */

static int by_sha(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_HEX_LEN);
}

static err_code add_shas(struct backup_place *place, sv name, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(BACKUP_MANIFEST_MAX));
    struct backup_part *parts;
    size_t n;
    TRY(backup_manifest_read(place, name, a, &parts, &n, e));
    for (size_t i = 0; i < n; i++) {
        yyjson_arr_iter it = yyjson_arr_iter_with(parts[i].files);
        yyjson_val *row;
        while ((row = yyjson_arr_iter_next(&it)) != NULL) {
            struct backup_file file;
            sv file_name;
            TRY(backup_file_read(row, &file_name, &file, e));
            TRY(buf_add(out, sv_make(file.sha, sizeof file.sha), e));
        }
    }
    return ERR_OK;
}

err_code backup_shas(struct backup_place *place, struct buf *out, uint64_t *n_backups,
                     struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(SHAS_BYTES);
    size_t n, kept = 0;
    sv *names;
    TRY(backup_manifests(place, a, &names, &n, e));
    for (size_t i = 0; i < n; i++)
        TRY(add_shas(place, names[i], out, e));
    *n_backups = n;
    const size_t all = out->len / SHA256_HEX_LEN;
    if (all > 1)
        qsort(out->ptr, all, SHA256_HEX_LEN, by_sha);
    for (size_t i = 0; i < all; i++) {
        const char *sha = out->ptr + i * SHA256_HEX_LEN;
        if (kept && memcmp(out->ptr + (kept - 1) * SHA256_HEX_LEN, sha, SHA256_HEX_LEN) == 0)
            continue;
        memmove(out->ptr + kept++ * SHA256_HEX_LEN, sha, SHA256_HEX_LEN);
    }
    out->len = kept * SHA256_HEX_LEN;
    return ERR_OK;
}

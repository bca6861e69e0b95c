/* put.c - a snapshot becomes a backup: its files become objects, its data stores are summed up, and
 * the manifest is written last.
 *
 * Whatever ends it before, there is no new backup: objects that no manifest names are no use to
 * anybody, and the next put takes up those that it needs.
 *
 * A file of RocksDB never changes once it is written, but for its log and its list of files. So
 * most files of a backup are there from the one before, and their hashes are in the record
 * (digests.c): they are neither read nor copied. A data store whose files are all those of the
 * newest backup, each of the same name and hash, holds what that says: its sums are taken from
 * there. */
#include "backup/backup_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "codec/instant.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define NAMES_BYTES ((size_t)256 << 20)
#define FILES_BYTES ((size_t)2 << 30)

struct putting {
    struct store_env *env;
    const char *snapshot;
    struct backup_place *place;
    struct backup_digests *digests;
    struct arena *a;
    struct backup_part *before; /* of the newest backup */
    size_t n_before;
    struct buf files; /* struct backup_file: of the backup */
    struct json_writer w;
    struct store_sums *sums;
    struct backup_done done;
};

/* Files that a database makes for itself whenever it is opened. */
static bool is_data(sv name)
{
    return !sv_starts(name, SV_LIT("LOG")) && !sv_eq(name, SV_LIT("LOCK"));
}

static bool never_changes(sv name)
{
    return sv_ends(name, SV_LIT(".sst")) || sv_ends(name, SV_LIT(".blob"));
}

/* A file becomes an object, unless there is one with its content. */
static err_code put_open(struct putting *p, int fd, bool is_fixed, struct backup_file *out,
                         struct err *e)
{
    const struct backup_place_ops *ops = p->place->ops;
    /* a known hash spares reading, and nothing is written by it */
    bool is_there = is_fixed && backup_digests_find(p->digests, fd, out) && ops->has(p->place, out);
    if (!is_there) {
        TRY(backup_hash_fd(fd, -1, out, e));
        p->done.n_read++;
        p->done.read_bytes += out->bytes;
        is_there = ops->has(p->place, out);
        if (!is_there) {
            TRY(ops->put(p->place, fd, out, e));
            p->done.n_new++;
            p->done.new_bytes += out->bytes;
        }
    }
    if (is_fixed)
        backup_digests_note(p->digests, fd, out);
    p->done.n_files++;
    p->done.bytes += out->bytes;
    return buf_add(&p->files, sv_make(out, sizeof *out), e);
}

static err_code put_file(struct putting *p, sv folder, sv name, struct err *e)
{
    char path[PATH_MAX];
    struct backup_file file;
    struct stat st;
    TRY(backup_path(path, e, "%s/%.*s/%.*s", p->snapshot, SV_FMT(folder), SV_FMT(name)));
    if (lstat(path, &st) != 0)
        return file_os_err(e, "cannot look at a file");
    if (!S_ISREG(st.st_mode) || !is_data(name))
        return ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return file_os_err(e, "cannot open file");
    err_code rc = put_open(p, fd, never_changes(name), &file, e);
    (void)close(fd);
    TRY(rc);
    json_obj(&p->w);
    json_kv_str(&p->w, "name", name);
    json_kv_u64(&p->w, "bytes", file.bytes);
    json_kv_str(&p->w, "sha256", sv_make(file.sha, sizeof file.sha));
    json_obj_end(&p->w);
    return ERR_OK;
}

/* *same: the files are those of `before` (or NULL). */
static err_code put_files(struct putting *p, sv folder, const struct backup_part *before,
                          bool *same, struct err *e)
{
    char path[PATH_MAX];
    sv *names, name;
    struct backup_file was, is;
    size_t n;
    yyjson_arr_iter rows = yyjson_arr_iter_with(before ? before->files : NULL);
    *same = before != NULL;
    TRY(backup_path(path, e, "%s/%.*s", p->snapshot, SV_FMT(folder)));
    TRY(backup_names(path, p->a, &names, &n, e));
    json_kv_str(&p->w, "folder", folder);
    json_key(&p->w, "files");
    json_arr(&p->w);
    for (size_t i = 0; i < n; i++) {
        const size_t had = p->files.len;
        TRY(put_file(p, folder, names[i], e));
        if (p->files.len == had)
            continue;
        yyjson_val *row = *same ? yyjson_arr_iter_next(&rows) : NULL;
        memcpy(&is, p->files.ptr + had, sizeof is);
        *same = row && backup_file_read(row, &name, &was, NULL) == ERR_OK &&
                sv_eq(name, names[i]) && backup_file_same(&was, &is);
    }
    json_arr_end(&p->w);
    *same = *same && yyjson_arr_iter_next(&rows) == NULL;
    return ERR_OK;
}

static void count_sums(struct putting *p)
{
    p->done.n_stores++;
    for (size_t i = 0; i < STORE_TYPES; i++) {
        p->done.n_resources += p->sums->of[i].n_resources;
        p->done.n_versions += p->sums->of[i].n_versions;
    }
}

static err_code copy_content(struct putting *p, const struct backup_part *before, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(before->content);
    yyjson_val *row;
    json_kv_u64(&p->w, "commit", before->at.t);
    json_kv_i64(&p->w, "instant", before->at.instant_ms);
    json_key(&p->w, "content");
    json_val(&p->w, before->content);
    p->done.n_stores++;
    while ((row = yyjson_arr_iter_next(&it)) != NULL) {
        uint64_t resources, versions;
        if (!sv_to_u64(json_number(json_get(row, "resources")), &resources) ||
            !sv_to_u64(json_number(json_get(row, "versions")), &versions))
            return ERR(e, ERR_CORRUPT, "a row of the newest backup's manifest is damaged");
        p->done.n_resources += resources;
        p->done.n_versions += versions;
    }
    return ERR_OK;
}

static const struct backup_part *part_of(const struct putting *p, sv folder)
{
    for (size_t i = 0; i < p->n_before; i++)
        if (sv_eq(p->before[i].folder, folder) && p->before[i].content)
            return &p->before[i];
    return NULL;
}

/* The sums are made of the snapshot, so what is compared after a restore is what was there before
 * anything was copied. */
static err_code put_store(struct putting *p, sv id, struct err *e)
{
    char uri[PATH_MAX];
    bool same;
    sv folder = ARENA_JOIN(p->a, SV_LIT("stores/"), id);
    if (folder.ptr == NULL)
        return arena_oom(p->a, e);
    const struct backup_part *before = part_of(p, folder);
    json_obj(&p->w);
    TRY(put_files(p, folder, before, &same, e));
    if (same) {
        TRY(copy_content(p, before, e));
    } else {
        TRY(backup_path(uri, e, "rocksdb:%s/%.*s", p->snapshot, SV_FMT(folder)));
        TRY(store_sums_of(p->env, uri, p->sums, e));
        json_kv_u64(&p->w, "commit", p->sums->at.t);
        json_kv_i64(&p->w, "instant", p->sums->at.instant_ms);
        backup_content_write(&p->w, p->sums);
        count_sums(p);
    }
    json_obj_end(&p->w);
    return ERR_OK;
}

static err_code put_parts(struct putting *p, struct err *e)
{
    char path[PATH_MAX];
    bool same;
    sv *ids;
    size_t n;
    json_key(&p->w, "parts");
    json_arr(&p->w);
    json_obj(&p->w);
    TRY(put_files(p, SV_LIT("system"), NULL, &same, e));
    json_obj_end(&p->w);
    TRY(backup_path(path, e, "%s/stores", p->snapshot));
    TRY(backup_names(path, p->a, &ids, &n, e));
    for (size_t i = 0; i < n; i++)
        TRY(put_store(p, ids[i], e));
    json_arr_end(&p->w);
    return ERR_OK;
}

/* Somebody may have removed what was there as the put began. */
static err_code all_there(struct putting *p, struct err *e)
{
    TRY(p->place->ops->settle(p->place, e));
    for (size_t at = 0; at < p->files.len; at += sizeof(struct backup_file)) {
        struct backup_file file;
        memcpy(&file, p->files.ptr + at, sizeof file);
        if (!p->place->ops->has(p->place, &file))
            return ERR(e, ERR_CONFLICT, "a file of the backup was removed meanwhile: try again");
    }
    return ERR_OK;
}

/* Its sums may serve. One that cannot be read serves for nothing, and is told of when all are
 * read. */
static err_code read_newest(struct putting *p, struct arena *a, struct err *e)
{
    struct err why;
    sv *names;
    size_t n;
    TRY(backup_manifests(p->place, a, &names, &n, e));
    if (n &&
        backup_manifest_read(p->place, names[n - 1], a, &p->before, &p->n_before, &why) != ERR_OK)
        p->n_before = 0;
    return ERR_OK;
}

static err_code write_backup(struct putting *p, const char *version, struct buf *json,
                             struct err *e)
{
    char now[INSTANT_LEN];
    instant_format(clock_wall_ms(), now);
    json_writer_init(&p->w, json);
    json_obj(&p->w);
    json_kv_str(&p->w, "format", SV_LIT("fhirlake-backup-1"));
    json_kv_str(&p->w, "fhirlake", sv_from(version));
    json_kv_str(&p->w, "takenAt", sv_make(now, sizeof now));
    TRY(put_parts(p, e));
    json_obj_end(&p->w);
    TRY(json_writer_end(&p->w, e));
    TRY(all_there(p, e));
    return backup_manifest_write(p->place, buf_sv(json), p->done.name, e);
}

static err_code put_alone(struct putting *p, const char *version, struct err *e)
{
    CLEANUP(arena_free)
    struct arena *a = arena_new(json_tree_max(BACKUP_MANIFEST_MAX) + BACKUP_MANIFEST_MAX);
    CLEANUP_BUF struct buf json = BUF_INIT(BACKUP_MANIFEST_MAX);
    struct err why;
    uint64_t n_gone = 0;
    TRY(read_newest(p, a, e));
    TRY(write_backup(p, version, &json, e));
    /* without it the next reads all files again */
    IGNORE(backup_digests_save(p->digests, &why));
    return p->place->ops->is_alone ? backup_prune_rest(p->place, &n_gone, e) : ERR_OK;
}

err_code backup_put(struct store_env *env, const char *snapshot, struct backup_place *place,
                    const char *version, const char *record, struct backup_done *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(NAMES_BYTES);
    CLEANUP(backup_digests_free) struct backup_digests *digests = backup_digests_open(record);
    struct putting p = { .env = env,
                         .snapshot = snapshot,
                         .place = place,
                         .digests = digests,
                         .a = a,
                         .files = BUF_INIT(FILES_BYTES),
                         .sums = calloc(1, sizeof(struct store_sums)) };
    if (p.sums == NULL)
        abort();
    err_code rc = place->ops->begin(place, e);
    if (rc == ERR_OK) {
        rc = put_alone(&p, version, e);
        place->ops->end(place);
    }
    buf_done(&p.files);
    free(p.sums);
    if (rc == ERR_OK)
        *out = p.done;
    return rc;
}

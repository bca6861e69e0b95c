/* data_keys.c - the key file of a data store: read, made, given a further key, wrapped anew.
 *
 * The file is always replaced whole: a new one is written and synced beside it, and renamed. Data
 * keys themselves never change, so files that were written under one stay readable, and wrapping
 * them anew touches this file alone. */
#include "store/data_keys.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "codec/hash.h"
#include "codec/instant.h"
#include "codec/json.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)
#define MEMORY   (8u << 20)
#define DEPTH    8u
#define BLOB_MAX (16u << 10)

struct row {
    sv id, keeper, kms_key_id, blob, datastore, created;
};
struct rows {
    struct arena *a;
    sv datastore; /* whose file it is */
    size_t n;
    struct row of[CIPHER_KEYS];
};

static err_code path_of(const char *folder, char out[PATH_MAX], struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/" DATA_KEYS_NAME, folder);
    return n >= 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "a path is too long");
}

bool data_keys_there(const char *folder)
{
    char path[PATH_MAX];
    return path_of(folder, path, NULL) == ERR_OK && access(path, F_OK) == 0;
}

/* ---- the file ---- */

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "the key file of a data store is damaged");
}

static bool read_row(yyjson_val *v, struct row *out)
{
    *out = (struct row){ .id = json_string(json_get(v, "id")),
                         .keeper = json_string(json_get(v, "keeper")),
                         .kms_key_id = json_string(json_get(v, "kmsKeyId")),
                         .blob = json_string(json_get(v, "blob")),
                         .datastore = json_string(json_get(json_get(v, "context"), KEEPER_CONTEXT)),
                         .created = json_string(json_get(v, "created")) };
    return out->id.len == 2 * CIPHER_ID_LEN && out->keeper.len && out->kms_key_id.len &&
           out->blob.len && out->datastore.len;
}

static err_code read_rows(const char *folder, struct arena *a, struct rows *out, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(FILE_MAX);
    char path[PATH_MAX];
    yyjson_doc *doc;
    uint64_t form;
    TRY(path_of(folder, path, e));
    TRY(file_read(path, &text, e));
    sv json = arena_sv(a, buf_sv(&text));
    if (json.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, json, DEPTH, &doc, NULL) != ERR_OK)
        return damaged(e);
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    if (!sv_to_u64(json_number(json_get(root, "v")), &form))
        return damaged(e);
    if (form != 1)
        return ERR(e, ERR_UNSUPPORTED, "the key file of a data store is of a newer program");
    *out = (struct rows){ .a = a, .datastore = json_string(json_get(root, "datastore")) };
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "keys"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        if (out->n == CIPHER_KEYS || !read_row(v, &out->of[out->n++]))
            return damaged(e);
    return out->n && out->datastore.len ? ERR_OK : damaged(e);
}

static err_code write_rows(const char *folder, const struct rows *rows, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(FILE_MAX);
    struct json_writer w;
    char path[PATH_MAX];
    TRY(path_of(folder, path, e));
    json_writer_init(&w, &text);
    json_obj(&w);
    json_kv_u64(&w, "v", 1);
    json_kv_str(&w, "datastore", rows->datastore);
    json_key(&w, "keys");
    json_arr(&w);
    for (size_t i = 0; i < rows->n; i++) {
        const struct row *row = &rows->of[i];
        json_obj(&w);
        json_kv_str(&w, "id", row->id);
        json_kv_str(&w, "keeper", row->keeper);
        json_kv_str(&w, "kmsKeyId", row->kms_key_id);
        json_kv_str(&w, "blob", row->blob);
        json_key(&w, "context");
        json_obj(&w);
        json_kv_str(&w, KEEPER_CONTEXT, row->datastore);
        json_obj_end(&w);
        json_kv_str(&w, "created", row->created);
        json_obj_end(&w);
    }
    json_arr_end(&w);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return file_write_atomic(path, buf_sv(&text), e);
}

/* ---- keys ---- */

static err_code no_keeper(struct err *e)
{
    return ERR(e, ERR_DENIED,
               "The data store is encrypted, and this program has no keys: give "
               "--encryption-key-file");
}

static err_code unwrap_row(const struct row *row, struct key_keeper *keepers,
                           unsigned char key[CIPHER_KEY_LEN], struct err *e)
{
    struct key_keeper *keeper = key_keeper_named(keepers, row->keeper);
    if (keeper == NULL && !sv_eq_cstr(row->keeper, KEEPER_LOCAL))
        return ERR(e, ERR_DENIED,
                   "The data store is encrypted under a customer's key, and nobody says where KMS "
                   "is: give --kms-endpoint");
    if (keeper == NULL)
        return no_keeper(e);
    return keeper->ops->unwrap(keeper, row->kms_key_id, row->blob, row->datastore, key, e);
}

/* Does what was wrapped open, and as this key? An answer that is damaged, or of another key, would
 * take all data away once it is written down. */
static err_code check_wrapped(const struct row *row, struct key_keeper *keepers,
                              const unsigned char key[CIPHER_KEY_LEN], struct err *e)
{
    unsigned char got[CIPHER_KEY_LEN];
    err_code rc = unwrap_row(row, keepers, got, e);
    if (rc == ERR_OK && CRYPTO_memcmp(got, key, sizeof got) != 0)
        rc = ERR(e, ERR_CORRUPT, "what was wrapped is not the key of the data store");
    OPENSSL_cleanse(got, sizeof got);
    return rc;
}

/* Wraps key into row. Its texts are the arena's. */
static err_code wrap_row(struct rows *rows, struct row *row, struct key_keeper *keeper, sv key_id,
                         const unsigned char key[CIPHER_KEY_LEN], struct err *e)
{
    CLEANUP_BUF struct buf used = BUF_INIT(BLOB_MAX), blob = BUF_INIT(BLOB_MAX);
    TRY(keeper->ops->wrap(keeper, key_id, row->datastore, key, &used, &blob, e));
    row->keeper = sv_from(keeper->ops->name);
    row->kms_key_id = arena_sv(rows->a, buf_sv(&used));
    row->blob = arena_sv(rows->a, buf_sv(&blob));
    if (row->kms_key_id.ptr == NULL || row->blob.ptr == NULL)
        return arena_oom(rows->a, e);
    return check_wrapped(row, keeper, key, e);
}

/* A row in front of the others. */
static err_code new_row(struct rows *rows, sv id, struct key_keeper *keeper, sv key_id,
                        struct err *e)
{
    unsigned char key[CIPHER_KEY_LEN], name[CIPHER_ID_LEN];
    char hex[2 * CIPHER_ID_LEN], now[INSTANT_LEN];
    if (keeper == NULL)
        return no_keeper(e);
    if (rows->n == CIPHER_KEYS)
        return ERR(e, ERR_UNSUPPORTED,
                   "the data store was restored from restored ones more than %u times: export it "
                   "and import it instead",
                   CIPHER_KEYS - 1);
    rng_bytes(name, sizeof name);
    hash_hex(name, sizeof name, hex);
    instant_format(clock_wall_ms(), now);
    memmove(&rows->of[1], &rows->of[0], rows->n * sizeof rows->of[0]);
    rows->n++;
    rows->of[0] = (struct row){ .id = arena_sv(rows->a, sv_make(hex, sizeof hex)),
                                .datastore = arena_sv(rows->a, id),
                                .created = arena_sv(rows->a, sv_make(now, sizeof now)) };
    rng_bytes(key, sizeof key);
    err_code rc = wrap_row(rows, &rows->of[0], keeper, key_id, key, e);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

err_code data_keys_make(const char *folder, sv id, struct key_keeper *keeper, sv key_id,
                        struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(MEMORY);
    struct rows rows = { .a = a, .datastore = id };
    if (data_keys_there(folder))
        return ERR_OK;
    TRY(new_row(&rows, id, keeper, key_id, e));
    TRY(file_mkdirs(folder, e));
    return write_rows(folder, &rows, e);
}

/* The folder of a data store is named by its id; others, as of a copy that is not done, are not. */
static bool is_of(const struct rows *rows, const char *folder)
{
    const char *slash = strrchr(folder, '/');
    const sv name = sv_from(slash ? slash + 1 : folder);
    unsigned char id[16];
    return name.len != 2 * sizeof id || !hash_unhex(name, id, sizeof id) ||
           (sv_eq(rows->datastore, name) && sv_eq(rows->of[0].datastore, name));
}

err_code data_keys_read(const char *folder, struct key_keeper *keepers, struct cipher_ring *out,
                        struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(MEMORY);
    struct rows rows;
    struct cipher_ring ring = { 0 };
    TRY(read_rows(folder, a, &rows, e));
    if (!is_of(&rows, folder))
        return ERR(e, ERR_CORRUPT, "the key file of a data store is another's");
    err_code rc = ERR_OK;
    for (size_t i = 0; i < rows.n && rc == ERR_OK; i++) {
        rc = unwrap_row(&rows.of[i], keepers, ring.keys[i].key, e);
        if (rc == ERR_OK && !hash_unhex(rows.of[i].id, ring.keys[i].id, CIPHER_ID_LEN))
            rc = damaged(e);
    }
    ring.n = (unsigned)rows.n;
    if (rc == ERR_OK)
        *out = ring;
    cipher_ring_wipe(&ring);
    return rc;
}

err_code data_keys_copy(const char *from, const char *to, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(FILE_MAX);
    char path[PATH_MAX];
    TRY(path_of(from, path, e));
    TRY(file_read(path, &text, e));
    TRY(path_of(to, path, e));
    return file_write_atomic(path, buf_sv(&text), e);
}

err_code data_keys_add(const char *folder, sv id, struct key_keeper *keepers, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(MEMORY);
    struct rows rows;
    TRY(read_rows(folder, a, &rows, e));
    /* a call that was cut off had done it */
    if (sv_eq(rows.datastore, id))
        return ERR_OK;
    rows.datastore = id;
    const struct row first = rows.of[0];
    TRY(new_row(&rows, id, key_keeper_named(keepers, first.keeper), first.kms_key_id, e));
    return write_rows(folder, &rows, e);
}

/* What calls left that were cut off: the keys, wrapped by one that may have to go. */
static err_code remove_left(const char *folder, struct err *e)
{
    DIR *d = opendir(folder);
    struct dirent *x;
    err_code rc = d ? ERR_OK : file_os_err(e, "the folder of a data store cannot be read");
    while (d && rc == ERR_OK && (x = readdir(d)) != NULL) {
        const sv name = sv_from(x->d_name);
        if (sv_starts(name, SV_LIT(DATA_KEYS_NAME ".")) && sv_ends(name, SV_LIT(".tmp")) &&
            unlinkat(dirfd(d), x->d_name, 0) != 0 && errno != ENOENT)
            rc = file_os_err(e, "what is left of an earlier call cannot be removed");
    }
    if (d)
        closedir(d);
    return rc;
}

err_code data_keys_rewrap(const char *folder, struct key_keeper *keepers, bool *changed,
                          struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(MEMORY);
    struct rows rows;
    bool differs = false;
    TRY(read_rows(folder, a, &rows, e));
    for (size_t i = 0; i < rows.n; i++) {
        unsigned char key[CIPHER_KEY_LEN];
        const sv before = rows.of[i].kms_key_id;
        err_code rc = unwrap_row(&rows.of[i], keepers, key, e);
        if (rc == ERR_OK)
            rc = wrap_row(&rows, &rows.of[i], key_keeper_named(keepers, rows.of[i].keeper), before,
                          key, e);
        OPENSSL_cleanse(key, sizeof key);
        TRY(rc);
        differs |= !sv_eq(before, rows.of[i].kms_key_id);
    }
    if (differs)
        TRY(write_rows(folder, &rows, e));
    *changed = differs;
    return remove_left(folder, e);
}

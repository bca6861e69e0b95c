/* records.c - small records under a key: the system's own, and the notes beside a data store.
 *
 * The system's records are one RocksDB with one column family. In memory, for tests, is a RocksDB
 * too, in RocksDB's memory environment: one code for both. Notes are a column family of a data
 * store, so that a bulk load and its note can be written together (I6). */
#include "store/rocks/rocks_private.h"

#include "base/file.h"

#include <limits.h>
#include <unistd.h>

struct rocks_records {
    struct records base;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_env_t *mem_env;
    rocksdb_writeoptions_t *sync_write, *unsynced_write;
    pthread_mutex_t lock; /* conditions: no other such write between look and write */
};

static void system_close(struct records *base)
{
    struct rocks_records *r = (struct rocks_records *)base;
    if (r->db)
        rocksdb_close(r->db);
    rocksdb_options_destroy(r->options);
    rocksdb_writeoptions_destroy(r->sync_write);
    rocksdb_writeoptions_destroy(r->unsynced_write);
    if (r->mem_env)
        rocksdb_env_destroy(r->mem_env);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static err_code system_get(struct records *base, sv key, struct buf *out, struct err *e)
{
    struct rocks_records *r = (struct rocks_records *)base;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get(r->db, ro, key.ptr, key.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    TRY(rocks_error(bad, "reading the system's records", e));
    if (v == NULL)
        return ERR(e, ERR_NOT_FOUND, "no such record");
    err_code rc = buf_add(out, sv_make(v, len), e);
    rocksdb_free(v);
    return rc;
}

/* May this write be done? */
static err_code check(struct rocks_records *r, const struct records_write *w, struct err *e)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    rocksdb_pinnableslice_t *v = rocksdb_get_pinned(r->db, ro, w->key.ptr, w->key.len, &bad);
    rocksdb_readoptions_destroy(ro);
    TRY(rocks_error(bad, "reading the system's records", e));
    const char *ptr = v ? rocksdb_pinnableslice_value(v, &len) : NULL;
    const bool same = v && sv_eq(sv_make(ptr, len), w->value), there = v != NULL;
    if (v)
        rocksdb_pinnableslice_destroy(v);
    if (w->op == RECORDS_PUT_IF_ABSENT && there)
        return ERR(e, ERR_EXISTS, "the record is there already");
    if (w->op == RECORDS_IF_SAME && !same)
        return ERR(e, ERR_PRECONDITION, "the record was changed meanwhile");
    return ERR_OK;
}

static bool looks(const struct records_write *w)
{
    return w->op == RECORDS_PUT_IF_ABSENT || w->op == RECORDS_IF_SAME;
}

static err_code system_write(struct records *base, const struct records_write *w, size_t n,
                             struct err *e)
{
    struct rocks_records *r = (struct rocks_records *)base;
    err_code rc = ERR_OK;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    bool any_looks = false;
    for (size_t i = 0; i < n; i++)
        any_looks |= looks(&w[i]);
    if (any_looks)
        pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        if (looks(&w[i]))
            rc = check(r, &w[i], e);
        if (w[i].op == RECORDS_DELETE)
            rocksdb_writebatch_delete(batch, w[i].key.ptr, w[i].key.len);
        else if (w[i].op != RECORDS_IF_SAME)
            rocksdb_writebatch_put(batch, w[i].key.ptr, w[i].key.len, w[i].value.ptr,
                                   w[i].value.len);
    }
    if (rc == ERR_OK) {
        char *bad = NULL;
        rocksdb_write(r->db, r->sync_write, batch, &bad);
        rc = rocks_error(bad, "writing the system's records", e);
    }
    if (any_looks)
        pthread_mutex_unlock(&r->lock);
    rocksdb_writebatch_destroy(batch);
    return rc;
}

static err_code system_put_unsynced(struct records *base, sv key, sv value, struct err *e)
{
    struct rocks_records *r = (struct rocks_records *)base;
    char *bad = NULL;
    rocksdb_put(r->db, r->unsynced_write, key.ptr, key.len, value.ptr, value.len, &bad);
    return rocks_error(bad, "writing the system's records", e);
}

/* Memory into a file, which ends the log that held it; all files into new ones. Files that are of
 * no more use go when file deletions are allowed again, and are gone when that call returns. */
static err_code system_scrub(struct records *base, struct err *e)
{
    struct rocks_records *r = (struct rocks_records *)base;
    char *bad = NULL;
    rocksdb_disable_file_deletions(r->db, &bad);
    TRY(rocks_error(bad, "compacting the system's records", e));
    rocksdb_compactoptions_t *co = rocksdb_compactoptions_create();
    /* force: old values may stand there */
    rocksdb_compactoptions_set_bottommost_level_compaction(co, 2);
    rocksdb_compact_range_opt(r->db, co, NULL, 0, NULL, 0);
    rocksdb_compactoptions_destroy(co);
#ifdef ROCKSDB_DELETIONS_FORCE /* before RocksDB 9: 0, only as often as they were forbidden */
    rocksdb_enable_file_deletions(r->db, 0, &bad);
#else
    rocksdb_enable_file_deletions(r->db, &bad);
#endif
    return rocks_error(bad, "compacting the system's records", e);
}

static err_code system_scan(struct records *base, sv prefix, sv after, records_each_fn each,
                            void *ctx, struct err *e)
{
    struct rocks_records *r = (struct rocks_records *)base;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, ro);
    sv from = sv_cmp(after, prefix) > 0 ? after : prefix;
    for (rocksdb_iter_seek(it, from.ptr ? from.ptr : "", from.len); rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t klen, vlen;
        const char *k = rocksdb_iter_key(it, &klen);
        sv key = sv_make(k, klen);
        if (!sv_starts(key, prefix))
            break;
        if (after.len && sv_cmp(key, after) <= 0)
            continue;
        const char *v = rocksdb_iter_value(it, &vlen);
        if (!each(ctx, key, sv_make(v, vlen)))
            break;
    }
    char *bad = NULL;
    rocksdb_iter_get_error(it, &bad);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    return rocks_error(bad, "reading the system's records", e);
}

static err_code system_snapshot(struct records *base, const char *folder, struct err *e)
{
    struct rocks_records *r = (struct rocks_records *)base;
    char *bad = NULL;
    rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(r->db, &bad);
    TRY(rocks_error(bad, "making a snapshot of the system's records", e));
    rocksdb_checkpoint_create(c, folder, 0, &bad);
    rocksdb_checkpoint_object_destroy(c);
    return rocks_error(bad, "making a snapshot of the system's records", e);
}

static const struct records_ops records_ops = {
    .close = system_close,
    .get = system_get,
    .write = system_write,
    .put_unsynced = system_put_unsynced,
    .scrub = system_scrub,
    .scan = system_scan,
    .snapshot = system_snapshot,
};

static bool is_filled(sv name)
{
    return sv_ends(name, SV_LIT(".sst")) || sv_ends(name, SV_LIT(".log"));
}

/* Where the file CURRENT is lost, RocksDB would begin a new database, and remove what the old one
 * had written. It makes that file before any data, so a beginning that was cut off passes. */
static err_code check_current(const char *path, struct err *e)
{
    char current[PATH_MAX];
    int n = snprintf(current, sizeof current, "%s/CURRENT", path);
    if (n >= PATH_MAX)
        return ERR(e, ERR_INVALID, "the path of the system's records is too long");
    if (access(current, F_OK) != 0 && rocks_root_count(path, is_filled))
        return ERR(e, ERR_CORRUPT,
                   "opening the system's records: their folder has data, but no file CURRENT: put "
                   "the folder back from a copy");
    return ERR_OK;
}

/* path NULL: in memory. */
static err_code open_records(const char *path, bool to_read, struct records **out, struct err *e)
{
    if (path && to_read && rocks_root_count(path, is_filled) == 0)
        return ERR(e, ERR_NOT_FOUND, "there are no system's records");
    if (path && !to_read)
        TRY(file_mkdirs(path, e));
    if (path)
        TRY(check_current(path, e));
    struct rocks_records *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->base.ops = &records_ops;
    pthread_mutex_init(&r->lock, NULL);
    r->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(r->options, !to_read);
    rocksdb_options_set_write_buffer_size(r->options, 4u << 20);
    rocksdb_options_set_keep_log_file_num(r->options, 2);
    rocksdb_options_set_info_log_level(r->options, 2);
    rocksdb_options_set_max_open_files(r->options, 64);
    if (path == NULL) {
        r->mem_env = rocksdb_create_mem_env();
        rocksdb_options_set_env(r->options, r->mem_env);
    }
    rocks_options_place(&r->options, path);
    r->sync_write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->sync_write, 1);
    r->unsynced_write = rocksdb_writeoptions_create();
    char *bad = NULL;
    r->db = to_read ? rocksdb_open_for_read_only(r->options, path, 0, &bad)
                    : rocksdb_open(r->options, path ? path : "/records", &bad);
    err_code rc = rocks_error(bad, "opening the system's records", e);
    if (rc != ERR_OK) {
        system_close(&r->base);
        return rc;
    }
    *out = &r->base;
    return ERR_OK;
}

err_code rocks_records_open(const char *place, bool to_read, struct records **out, struct err *e)
{
    return open_records(place, to_read, out, e);
}

err_code rocks_records_in_memory(const char *place, bool to_read, struct records **out,
                                 struct err *e)
{
    (void)place;
    if (to_read)
        return ERR(e, ERR_NOT_FOUND, "there are no system's records");
    return open_records(NULL, false, out, e);
}

/* ---- notes ---- */

err_code rocks_note_get(struct store *st, sv key, struct buf *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_NOTES], key.ptr, key.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    TRY(rocks_error(bad, "reading a note", e));
    if (v == NULL)
        return ERR(e, ERR_NOT_FOUND, "no such note");
    err_code rc = buf_add(out, sv_make(v, len), e);
    rocksdb_free(v);
    return rc;
}

err_code rocks_note_put(struct store *st, sv key, sv note, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    char *bad = NULL;
    rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_NOTES], key.ptr, key.len, note.ptr, note.len,
                   &bad);
    return rocks_write_error(r, bad, "writing a note", e);
}

err_code rocks_note_delete(struct store *st, sv key, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    char *bad = NULL;
    rocksdb_delete_cf(r->db, r->sync_write, r->cf[CF_NOTES], key.ptr, key.len, &bad);
    return rocks_write_error(r, bad, "removing a note", e);
}

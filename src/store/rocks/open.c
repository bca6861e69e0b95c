/* open.c - one data store in one RocksDB: opening, what is read at opening, closing, the engine's
 * table.
 *
 *   versions  number, kind, ~n -> header, JSON    changes  type, kind, n, number -> ""
 *   ids       type, form, id -> number, flag               type, 2, b -> births
 *   commits   'c' t -> instant, kind, b, count    notes    key -> value
 *             'b' b -> t, instant    'f' 0 -> floor    'n' 0 -> load numbers handed out
 *             'o' b -> "": a block of online births
 *             'v' 0 -> version of this layout
 *             'i' 0 -> form of the search entries (upkeep/reindex.c)
 *
 * Opening reads the newest commit, the table of published bulk loads and the floor of instants, and
 * removes what bulk loads left that never came to be published (I4). */
#include "store/rocks/rocks_private.h"

#include "base/file.h"
#include "store/rocks/crypt/crypt.h"

#include <limits.h>
#include <unistd.h>

static err_code staging_reset(struct rocks *r, struct err *e)
{
    char staging[PATH_MAX];
    (void)snprintf(staging, sizeof staging, "%s/staging", r->path);
    /* bulk loads that never came to be published */
    TRY(file_remove_tree(staging, e));
    return file_mkdirs(staging, e);
}

static err_code get_u64(struct rocks *r, char letter, bool *there, uint64_t *out, struct err *e)
{
    struct key_bytes k = key_commit(letter, 0);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_COMMITS], k.ptr, k.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    TRY(rocks_error(bad, "reading the data store", e));
    *there = v != NULL && len == 8;
    *out = *there ? key_get_u64(v) : 0;
    rocksdb_free(v);
    return ERR_OK;
}

err_code rocks_read_commits(struct rocks *r, struct err *e)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    struct buf rows = BUF_INIT(ROCKS_ROWS_MAX);
    err_code rc = ERR_OK;
    size_t len;
    for (rocksdb_iter_seek(it, "b", 1); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        const char *k = rocksdb_iter_key(it, &len);
        if (len != 9 || k[0] != 'b')
            break;
        struct bulk_load row = { .b = key_get_u64(k + 1) };
        const char *v = rocksdb_iter_value(it, &len);
        if (len != 16)
            rc = ERR(e, ERR_CORRUPT, "reading the data store: a bulk load's record is damaged");
        else {
            row.t = key_get_u64(v);
            row.instant_ms = (int64_t)key_get_u64(v + 8);
            rc = buf_add(&rows, sv_make(&row, sizeof row), e);
        }
    }
    struct key_bytes end = key_commit('c', UINT64_MAX);
    rocksdb_iter_seek_for_prev(it, end.ptr, end.len);
    if (rc == ERR_OK && rocksdb_iter_valid(it)) {
        const char *k = rocksdb_iter_key(it, &len);
        if (len == 9 && k[0] == 'c') {
            r->seen.last.t = key_get_u64(k + 1);
            const char *v = rocksdb_iter_value(it, &len);
            struct commit_value newest;
            if (!commit_value_split(sv_make(v, len), &newest))
                rc = ERR(e, ERR_CORRUPT, "reading the data store: a commit's record is damaged");
            else {
                r->seen.last.instant_ms = newest.instant_ms;
                r->index.newest_form = newest.form;
            }
        }
    }
    char *bad = NULL;
    rocksdb_iter_get_error(it, &bad);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    if (rc == ERR_OK)
        rc = rocks_error(bad, "reading the data store", e);
    else
        rocksdb_free(bad);
    if (rc == ERR_OK) {
        size_t n = rows.len / sizeof(struct bulk_load);
        r->seen.loads = load_table_new(n);
        if (n)
            memcpy(r->seen.loads->rows, rows.ptr, rows.len);
    }
    buf_done(&rows);
    return rc;
}

static err_code load_state(struct rocks *r, bool create, struct err *e)
{
    bool there;
    uint64_t v;
    TRY(get_u64(r, 'v', &there, &v, e));
    if (!there && create) {
        struct key_bytes k = key_commit('v', 0);
        char value[8];
        char *bad = NULL;
        key_put_u64(value, ROCKS_LAYOUT);
        rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_COMMITS], k.ptr, k.len, value, 8, &bad);
        TRY(rocks_error(bad, "creating the data store", e));
        v = ROCKS_LAYOUT;
    }
    if (v != ROCKS_LAYOUT)
        return ERR(e, ERR_CORRUPT,
                   "data store has layout version %llu, this program reads version %u",
                   (unsigned long long)v, ROCKS_LAYOUT);
    TRY(rocks_read_commits(r, e));
    recent_begin_t(&r->recent, r->seen.last.t, false);
    TRY(get_u64(r, 'f', &there, &v, e));
    r->order.floor_ms = there ? (int64_t)v : INT64_MIN;
    TRY(get_u64(r, 'n', &there, &v, e));
    r->bulk.next_b = r->bulk.reserved_b = there ? v : 1;
    TRY(staging_reset(r, e));
    /* last: a thread may be at work from here on */
    return reindex_open(r, create, e);
}

static void rocks_close(struct store *st)
{
    struct rocks *r = (struct rocks *)st;
    reindex_close(r);
    fold_close(r);
    for (int i = 0; i < N_CFS; i++)
        if (r->cf[i])
            rocksdb_column_family_handle_destroy(r->cf[i]);
    if (r->db)
        rocksdb_close(r->db);
    if (r->options)
        rocks_options_done(r);
    rocks_crypt_close(r);
    rocksdb_writeoptions_destroy(r->sync_write);
    load_table_unref(r->seen.loads);
    buf_done(&r->erase.waits);
    claims_free(r->ids.claims);
    ids_filter_free(r->ids.filter);
    pthread_mutex_destroy(&r->seen.lock);
    pthread_mutex_destroy(&r->order.lock);
    pthread_mutex_destroy(&r->queue.lock);
    pthread_mutex_destroy(&r->bulk.lock);
    pthread_mutex_destroy(&r->settle_lock);
    free(r->path);
    free(r);
}

static const struct store_ops rocks_ops = {
    .close = rocks_close,
    .last = rocks_last,
    .horizon = rocks_horizon,
    .commit = rocks_commit,
    .bulk_begin = rocks_bulk_begin,
    .bulk_fill = rocks_bulk_fill,
    .bulk_publish = rocks_bulk_publish,
    .bulk_abort = rocks_bulk_abort,
    .is_crowded = rocks_is_crowded,
    .note_get = rocks_note_get,
    .note_delete = rocks_note_delete,
    .is_near = rocks_is_near,
    .get = rocks_get,
    .number_of = rocks_number_of,
    .get_number = rocks_get_number,
    .scan = rocks_scan,
    .scan_numbers = rocks_scan_numbers,
    .cursor_next = rocks_cursor_next,
    .cursor_rest = rocks_cursor_rest,
    .cursor_close = rocks_cursor_close,
    .history = rocks_history,
    .changes = rocks_changes,
    .changes_plan = rocks_changes_plan,
    .changed_types = rocks_changed_types,
    .touched = rocks_touched,
    .log = rocks_log,
    .index_scan = rocks_index_scan,
    .index_next = rocks_index_next,
    .index_seek = rocks_index_seek,
    .index_close = rocks_index_close,
    .index_form = rocks_index_form,
    .settle = rocks_settle,
    .count = rocks_count,
    .commit_at = rocks_commit_at,
    .plan = rocks_plan,
    .weigh = rocks_weigh,
    .flush = rocks_flush,
    .wants_anew = rocks_wants_anew,
    .has_failed = rocks_had_failure,
    .erase = rocks_erase,
    .erase_finish = rocks_erase_finish,
    .commits = rocks_commits,
    .again = rocks_again,
    .again_load = rocks_again_load,
    .again_end = rocks_again_end,
    .snapshot = rocks_snapshot,
    .sums = rocks_sums,
    .ring = rocks_ring,
};

err_code rocks_open(struct store_env *env, void *own, const char *path, bool create,
                    unsigned n_files, struct store **out, struct err *e)
{
    if (create)
        TRY(file_mkdirs(path, e));
    else if (access(path, F_OK) != 0)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    bool older;
    TRY(rocks_look(path, &older, e));
    if (older)
        return ERR(e, ERR_CORRUPT,
                   "data store has an older layout than version %u: it has to be converted",
                   ROCKS_LAYOUT);
    struct rocks *r = calloc(1, sizeof *r);
    if (r == NULL || (r->path = strdup(path)) == NULL)
        abort();
    r->base.ops = &rocks_ops;
    r->base.alone = &env->alone;
    r->env = env;
    r->shared = own;
    recent_owner_init(&r->recent);
    pthread_mutex_init(&r->seen.lock, NULL);
    pthread_mutex_init(&r->order.lock, NULL);
    pthread_mutex_init(&r->queue.lock, NULL);
    pthread_mutex_init(&r->bulk.lock, NULL);
    pthread_mutex_init(&r->settle_lock, NULL);
    r->sync_write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->sync_write, 1);
    const rocksdb_options_t *per_cf[N_CFS];
    err_code rc = rocks_crypt_open(r, path, e);
    if (rc != ERR_OK) {
        rocks_close(&r->base);
        return rc;
    }
    rocks_crypt_tidy(r, path);
    rocks_options_make(r, create, n_files, per_cf);
    char *bad = NULL;
    r->db = rocksdb_open_column_families(r->options, path, N_CFS, rocks_family_names, per_cf, r->cf,
                                         &bad);
    rc = rocks_error(bad, "opening the data store", e);
    /* the folder is there, and what RocksDB begins a database with is not */
    if (rc == ERR_NOT_FOUND)
        rc = rocks_damaged(e);
    r->ids = (struct ids_family){ r->db, r->cf[CF_IDS], r->ids_options, claims_new(), NULL };
    if (rc == ERR_OK)
        rc = rocks_crypt_check(r, path, e);
    if (rc == ERR_OK)
        rc = load_state(r, create, e);
    if (rc != ERR_OK) {
        rocks_close(&r->base);
        return rc;
    }
    *out = &r->base;
    return ERR_OK;
}

/* ---- stores by name, each a folder below one root ---- */

err_code rocks_root_make(const char *root, struct err *e)
{
    return file_mkdirs(root, e);
}

bool rocks_exists(const char *place)
{
    return access(place, F_OK) == 0;
}

static bool is_sorted_file(sv name)
{
    return sv_ends(name, SV_LIT(".sst"));
}

unsigned rocks_n_files(const char *place)
{
    return rocks_root_count(place, is_sorted_file);
}

err_code rocks_remove(const char *place, struct err *e)
{
    TRY(rocks_remove_sides(place, e));
    return file_remove_tree(place, e);
}

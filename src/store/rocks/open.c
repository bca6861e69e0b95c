/* rocks.c - one data store in one RocksDB: opening, options, the table of published bulk loads,
 * notes.
 *
 *   versions  type, id, 0, kind, ~n -> header, JSON          changes  type, kind, n, id -> ""
 *   commits   'c' t -> instant, kind, b, count               notes    key -> value
 *             'b' b -> t, instant     'f' 0 -> floor     'n' 0 -> bulk numbers handed out
 *             'v' 0 -> version of this layout    'i' 0 -> form of the search entries (reindex.c) */
#include "store/rocks/rocks_private.h"

#include "base/clock.h"
#include "base/file.h"

#include <limits.h>
#include <unistd.h>

#define LAYOUT_VERSION 3u
#define RECENT_MAX     (64u << 20) /* of the cache's bytes: for whole versions */

static const char *const cf_names[N_CFS] = { "default", "versions", "changes", "commits",
                                             "notes",   "search",   "counts" };

/* RocksDB's own word for what happened, or the system's, without what stands between: paths, keys. */
static const char *kind_of(const char *text)
{
    static const char *const kinds[] = {
        "Invalid argument",     "Not implemented",       "Result incomplete", "Resource busy",
        "Shutdown in progress", "Operation timed out",   "Operation aborted", "Operation expired",
        ROCKS_TRY_AGAIN,        "Column family dropped",
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strncmp(text, kinds[i], strlen(kinds[i])) == 0)
            return kinds[i];
    size_t len = strlen(text);
    for (int n = 1; n < 134; n++) {
        const char *words = strerrordesc_np(n);
        if (words && len >= strlen(words) && strcmp(text + len - strlen(words), words) == 0)
            return words;
    }
    return "input/output error";
}

err_code rocks_error(char *errptr, const char *what, struct err *e)
{
    if (errptr == NULL)
        return ERR_OK;
    err_code code = ERR_IO;
    const char *why = kind_of(errptr);
    if (strstr(errptr, "No space left") || strstr(errptr, "Space limit")) {
        code = ERR_NO_SPACE;
        why = "disk is full";
    } else if (strstr(errptr, "lock hold by current process") ||
               strstr(errptr, "While lock file")) {
        code = ERR_EXISTS;
        why = "in use by another process";
    } else if (strncmp(errptr, "Corruption", 10) == 0) {
        code = ERR_CORRUPT;
        why = "stored data is damaged";
    } else if (strstr(errptr, "does not exist")) {
        code = ERR_NOT_FOUND;
        why = "does not exist";
    }
    rocksdb_free(errptr);
    return ERR(e, code, "%s: %s", what, why);
}

/* ---- what stores share ---- */

struct store_env *store_env_new(size_t cache_bytes, unsigned n_background)
{
    struct store_env *env = calloc(1, sizeof *env);
    if (env == NULL)
        abort();
    env->env = rocksdb_create_default_env();
    rocksdb_env_set_background_threads(env->env, (int)n_background);
    rocksdb_env_lower_thread_pool_cpu_priority(env->env);
    size_t recent = cache_bytes / 4 < RECENT_MAX ? cache_bytes / 4 : RECENT_MAX;
    env->cache = rocksdb_cache_create_lru(cache_bytes - recent);
    env->recent = recent_new(recent);
    env->n_background = n_background;
    pthread_mutex_init(&env->reindex.lock, NULL);
    pthread_cond_init(&env->reindex.changed, NULL);
    gate_init(&env->gate);
    return env;
}

void store_env_on_reindex(struct store_env *env, store_reindex_fn fn, void *ctx)
{
    env->on_reindex = fn;
    env->on_reindex_ctx = ctx;
}

void store_env_free(struct store_env *env)
{
    if (env == NULL)
        return;
    gate_done(&env->gate);
    pthread_mutex_destroy(&env->reindex.lock);
    pthread_cond_destroy(&env->reindex.changed);
    rocksdb_cache_destroy(env->cache);
    recent_free(env->recent);
    rocksdb_env_destroy(env->env);
    free(env);
}

/* ---- the table of loads ---- */

static struct load_table *load_table_new(size_t n)
{
    struct load_table *t = malloc(sizeof *t + n * sizeof t->rows[0]);
    if (t == NULL)
        abort();
    atomic_init(&t->n_refs, 1);
    t->n = n;
    return t;
}

struct load_table *load_table_ref(struct rocks *r)
{
    pthread_mutex_lock(&r->seen.lock);
    struct load_table *t = r->seen.loads;
    atomic_fetch_add(&t->n_refs, 1);
    pthread_mutex_unlock(&r->seen.lock);
    return t;
}

void load_table_unref(struct load_table *t)
{
    if (t && atomic_fetch_sub(&t->n_refs, 1) == 1)
        free(t);
}

const struct bulk_load *load_table_find(const struct load_table *t, uint64_t b)
{
    size_t lo = 0, hi = t->n;
    /* numbers follow each other but for loads that came to nothing: it stands where they would put it, or before */
    if (t->n && b >= t->rows[0].b && b - t->rows[0].b < t->n) {
        hi = (size_t)(b - t->rows[0].b);
        if (t->rows[hi].b == b)
            return &t->rows[hi];
    }
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->rows[mid].b < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n && t->rows[lo].b == b ? &t->rows[lo] : NULL;
}

/* ---- one id as a prefix ----
 * The filters of CF versions hold what stands in front of kind and n: type, id and the 0x00 behind
 * it. Without them a read of one id would unpack a block of each sorted run: 1.1 ms instead of
 * 0.07 ms over 54 bulk loads that are not compacted yet. A key without 0x00 (the bound of a range)
 * has no prefix. Iterators that cross ids must say total_order_seek. */

static char *id_prefix(void *ctx, const char *key, size_t len, size_t *out_len)
{
    (void)ctx;
    const char *zero = memchr(key + 1, 0, len - 1); /* in the domain: it is there */
    *out_len = (size_t)(zero - key) + 1;
    return (char *)(uintptr_t)key;
}

static unsigned char has_id_prefix(void *ctx, const char *key, size_t len)
{
    (void)ctx;
    return len > 1 && memchr(key + 1, 0, len - 1) != NULL;
}

static unsigned char never(void *ctx, const char *key, size_t len) /* asked by nobody any more */
{
    (void)ctx;
    (void)key;
    (void)len;
    return 0;
}

static const char *id_prefix_name(void *ctx)
{
    (void)ctx;
    return "fhirlake.id";
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* ---- open and close ---- */

static rocksdb_options_t *make_options(struct store_env *env, bool create)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_env(o, env->env);
    rocksdb_options_set_create_if_missing(o, create);
    rocksdb_options_set_create_missing_column_families(
        o, 1); /* of another layout: told by its version */
    rocksdb_options_set_max_background_jobs(o, (int)env->n_background);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_info_log_level(o, 2); /* warnings */
    rocksdb_options_set_max_log_file_size(o, 1u << 20);
    rocksdb_options_set_recycle_log_file_num(o, 0);
    rocksdb_options_set_max_total_wal_size(o, 64u << 20);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
    rocksdb_options_set_write_buffer_size(o, 4u << 20);
    /* Bulk loads bring hundreds of overlapping files to versions and to changes, and a stall of one
     * column family stops the writers of all: none ever stalls, compaction catches up behind. */
    rocksdb_options_set_level0_slowdown_writes_trigger(o, 1 << 20);
    rocksdb_options_set_level0_stop_writes_trigger(o, 1 << 20);
    rocksdb_options_set_soft_pending_compaction_bytes_limit(o, (size_t)1 << 50);
    rocksdb_options_set_hard_pending_compaction_bytes_limit(o, (size_t)1 << 50);
    return o;
}

/* A column family that holds much: lz4, its blocks and their indexes in the cache, compaction by levels. */
static rocksdb_options_t *make_large_options(struct store_env *env, size_t block_bytes,
                                             uint64_t level_base_bytes, bool by_id)
{
    rocksdb_options_t *o = make_options(env, true);
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(t, block_bytes);
    rocksdb_block_based_options_set_block_cache(t, env->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    if (by_id) {
        rocksdb_block_based_options_set_filter_policy(t,
                                                      rocksdb_filterpolicy_create_bloom_full(10));
        rocksdb_block_based_options_set_whole_key_filtering(t, 0); /* of the prefix alone */
        rocksdb_options_set_prefix_extractor(
            o, rocksdb_slicetransform_create(NULL, nothing, id_prefix, has_id_prefix, never,
                                             id_prefix_name));
    }
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_write_buffer_size(o, 16u << 20);
    rocksdb_options_set_max_write_buffer_number(o, 3);
    rocksdb_options_set_target_file_size_base(o, 64u << 20);
    rocksdb_options_set_max_bytes_for_level_base(o, level_base_bytes);
    rocksdb_options_set_level0_file_num_compaction_trigger(o, 8);
    rocksdb_options_set_max_subcompactions(o, env->n_background);
    return o;
}

/* Large values, read in order. With 120 overlapping bulk loads compaction by levels takes as much processor time
 * as universal compaction does, and ends in one run. */
static rocksdb_options_t *make_data_options(struct store_env *env)
{
    return make_large_options(env, 64u << 10, 512u << 20, true);
}

/* Keys without values, found by seeks: small blocks, which the cache holds. */
static rocksdb_options_t *make_search_options(struct store_env *env)
{
    return make_large_options(env, 16u << 10, 256u << 20, false);
}

/* Sums: few keys, each written often. */
static rocksdb_options_t *make_count_options(struct store_env *env)
{
    rocksdb_options_t *o = make_options(env, true);
    rocksdb_options_set_merge_operator(o, counts_merge_operator());
    return o;
}

uint64_t rocks_level0_files(struct rocks *r, int cf)
{
    uint64_t n;
    char *text = rocksdb_property_value_cf(r->db, r->cf[cf], "rocksdb.num-files-at-level0");
    if (text == NULL || !sv_to_u64(sv_from(text), &n))
        n = 0;
    rocksdb_free(text);
    return n;
}

static err_code staging_reset(struct rocks *r, struct err *e)
{
    char staging[PATH_MAX];
    (void)snprintf(staging, sizeof staging, "%s/staging", r->path);
    TRY(file_remove_tree(staging, e)); /* bulk loads that never came to be published */
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

/* Newest commit and the published bulk loads, from CF commits. */
static err_code load_commits(struct rocks *r, struct err *e)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    struct buf rows = BUF_INIT(SIZE_MAX / 2);
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
            if (len < 8)
                rc = ERR(e, ERR_CORRUPT, "reading the data store: a commit's record is damaged");
            else
                r->seen.last.instant_ms = (int64_t)key_get_u64(v);
            r->index.newest_form = len > COMMIT_FORM_AT ? (unsigned char)v[COMMIT_FORM_AT] : 0;
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
        key_put_u64(value, LAYOUT_VERSION);
        rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_COMMITS], k.ptr, k.len, value, 8, &bad);
        TRY(rocks_error(bad, "creating the data store", e));
        v = LAYOUT_VERSION;
    }
    if (v != LAYOUT_VERSION)
        return ERR(e, ERR_CORRUPT,
                   "data store has layout version %llu, this program reads version %u",
                   (unsigned long long)v, LAYOUT_VERSION);
    TRY(load_commits(r, e));
    recent_begin_t(&r->recent, r->seen.last.t, false);
    TRY(get_u64(r, 'f', &there, &v, e));
    r->order.floor_ms = there ? (int64_t)v : INT64_MIN;
    TRY(get_u64(r, 'n', &there, &v, e));
    r->bulk.next_b = r->bulk.reserved_b = there ? v : 1;
    TRY(staging_reset(r, e));
    return reindex_open(r, create, e); /* last: a thread may be at work from here on */
}

static void rocks_close(struct store *st)
{
    struct rocks *r = (struct rocks *)st;
    reindex_close(r);
    for (int i = 0; i < N_CFS; i++)
        if (r->cf[i])
            rocksdb_column_family_handle_destroy(r->cf[i]);
    if (r->db)
        rocksdb_close(r->db);
    rocksdb_options_destroy(r->options);
    rocksdb_options_destroy(r->data_options);
    rocksdb_options_destroy(r->search_options);
    rocksdb_options_destroy(r->count_options);
    rocksdb_writeoptions_destroy(r->sync_write);
    load_table_unref(r->seen.loads);
    pthread_mutex_destroy(&r->seen.lock);
    pthread_mutex_destroy(&r->order.lock);
    pthread_mutex_destroy(&r->queue.lock);
    pthread_mutex_destroy(&r->bulk.lock);
    pthread_mutex_destroy(&r->settle_lock);
    free(r->path);
    free(r);
}

/* ---- small calls ---- */

static struct store_commit rocks_last(struct store *st)
{
    struct rocks *r = (struct rocks *)st;
    pthread_mutex_lock(&r->seen.lock);
    struct store_commit c = r->seen.last;
    pthread_mutex_unlock(&r->seen.lock);
    return c;
}

static err_code rocks_note_get(struct store *st, sv key, struct buf *out, struct err *e)
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

static err_code rocks_note_put(struct store *st, sv key, sv note, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    char *bad = NULL;
    rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_NOTES], key.ptr, key.len, note.ptr, note.len,
                   &bad);
    return rocks_error(bad, "writing a note", e);
}

static err_code rocks_note_delete(struct store *st, sv key, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    char *bad = NULL;
    rocksdb_delete_cf(r->db, r->sync_write, r->cf[CF_NOTES], key.ptr, key.len, &bad);
    return rocks_error(bad, "removing a note", e);
}

static err_code rocks_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                                struct err *e)
{
    /* instants grow with t: search by halves over t; every t has a record */
    struct rocks *r = (struct rocks *)st;
    uint64_t lo = 0, hi = rocks_last(st).t;
    struct store_commit found = { 0, 0 };
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    err_code rc = ERR_OK;
    while (lo < hi && rc == ERR_OK) {
        uint64_t mid = lo + (hi - lo + 1) / 2;
        struct key_bytes k = key_commit('c', mid);
        char *bad = NULL;
        size_t len = 0;
        char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_COMMITS], k.ptr, k.len, &len, &bad);
        rc = rocks_error(bad, "reading a commit", e);
        if (rc == ERR_OK && (v == NULL || len < 8))
            rc = ERR(e, ERR_CORRUPT, "a commit's record is missing");
        if (rc == ERR_OK) {
            int64_t at = (int64_t)key_get_u64(v);
            if (at <= instant_ms) {
                lo = mid;
                found = (struct store_commit){ mid, at };
            } else {
                hi = mid - 1;
            }
        }
        rocksdb_free(v);
    }
    rocksdb_readoptions_destroy(ro);
    if (rc == ERR_OK)
        *out = found;
    return rc;
}

static err_code rocks_stats(struct store *st, struct store_stats *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct store_stats s = { 0, 0 };
    for (int i = 0; i < N_CFS; i++) {
        uint64_t v = 0;
        if (rocksdb_property_int_cf(r->db, r->cf[i], "rocksdb.live-sst-files-size", &v) == 0)
            s.disk_bytes += v;
    }
    if (rocksdb_property_int_cf(r->db, r->cf[CF_VERSIONS], "rocksdb.estimate-num-keys",
                                &s.n_keys_estimate) != 0)
        return ERR(e, ERR_IO, "the data store does not tell its size");
    *out = s;
    return ERR_OK;
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
    .note_put = rocks_note_put,
    .note_delete = rocks_note_delete,
    .is_near = rocks_is_near,
    .get = rocks_get,
    .scan = rocks_scan,
    .cursor_next = rocks_cursor_next,
    .cursor_close = rocks_cursor_close,
    .history = rocks_history,
    .changes = rocks_changes,
    .changes_plan = rocks_changes_plan,
    .changed_types = rocks_changed_types,
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
    .stats = rocks_stats,
};

err_code store_open_rocksdb(struct store_env *env, const char *path, bool create,
                            struct store **out, struct err *e)
{
    return rocks_open(env, path, create, 2000, out, e);
}

err_code rocks_open(struct store_env *env, const char *path, bool create, unsigned n_files,
                    struct store **out, struct err *e)
{
    if (create)
        TRY(file_mkdirs(path, e));
    else if (access(path, F_OK) != 0)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    struct rocks *r = calloc(1, sizeof *r);
    if (r == NULL || (r->path = strdup(path)) == NULL)
        abort();
    r->base.ops = &rocks_ops;
    r->env = env;
    recent_owner_init(&r->recent);
    pthread_mutex_init(&r->seen.lock, NULL);
    pthread_mutex_init(&r->order.lock, NULL);
    pthread_mutex_init(&r->queue.lock, NULL);
    pthread_mutex_init(&r->bulk.lock, NULL);
    pthread_mutex_init(&r->settle_lock, NULL);
    r->sync_write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->sync_write, 1);
    r->options = make_options(env, create);
    rocksdb_options_set_max_open_files(r->options, (int)n_files); /* of the whole database */
    r->data_options = make_data_options(env);
    r->search_options = make_search_options(env);
    r->count_options = make_count_options(env);
    const rocksdb_options_t *per_cf[N_CFS] = { r->options,      r->data_options, r->options,
                                               r->options,      r->options,      r->search_options,
                                               r->count_options };
    char *bad = NULL;
    r->db = rocksdb_open_column_families(r->options, path, N_CFS, cf_names, per_cf, r->cf, &bad);
    err_code rc = rocks_error(bad, "opening the data store", e);
    if (rc == ERR_OK)
        rc = load_state(r, create, e);
    if (rc != ERR_OK) {
        rocks_close(&r->base);
        return rc;
    }
    *out = &r->base;
    return ERR_OK;
}

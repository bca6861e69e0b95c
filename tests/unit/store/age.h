/* age.h - what a data store looks like that an older program wrote: search entries of form 1, and
 * nothing that says which form they have. The store is closed meanwhile. */
#pragma once
#include "test.h"

#include "store/rocks/rocks_private.h"

struct raw_store {
    rocksdb_options_t *options, *counts;
    rocksdb_column_family_handle_t *cf[N_CFS];
    rocksdb_t *db;
};

static inline void raw_open(struct raw_store *s, const char *path)
{
    static const char *const names[N_CFS] = { "default", "versions", "ids",    "changes",
                                              "commits", "notes",    "search", "counts" };
    const rocksdb_options_t *per_cf[N_CFS];
    char *bad = NULL;
    s->options = rocksdb_options_create();
    s->counts = rocksdb_options_create();
    rocks_options_place(&s->options, path);
    rocksdb_options_set_merge_operator(s->counts, counts_merge_operator());
    for (int i = 0; i < N_CFS; i++)
        per_cf[i] = i == CF_COUNTS ? s->counts : s->options;
    s->db = rocksdb_open_column_families(s->options, path, N_CFS, names, per_cf, s->cf, &bad);
    if (bad)
        fail_msg("%s", bad);
}

static inline void raw_close(struct raw_store *s)
{
    for (int i = 0; i < N_CFS; i++)
        rocksdb_column_family_handle_destroy(s->cf[i]);
    rocksdb_close(s->db);
    rocksdb_options_destroy(s->options);
    rocksdb_options_destroy(s->counts);
}

static inline void raw_put(struct raw_store *s, int cf, sv key, sv value)
{
    rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
    char *bad = NULL;
    rocksdb_put_cf(s->db, w, s->cf[cf], key.ptr, key.len, value.ptr ? value.ptr : "", value.len,
                   &bad);
    assert_null(bad);
    rocksdb_writeoptions_destroy(w);
}

static inline void raw_delete(struct raw_store *s, int cf, sv key)
{
    rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
    char *bad = NULL;
    rocksdb_delete_cf(s->db, w, s->cf[cf], key.ptr, key.len, &bad);
    assert_null(bad);
    rocksdb_writeoptions_destroy(w);
}

typedef void (*raw_fn)(struct raw_store *s, void *ctx, sv key, sv value);
static inline void raw_each(struct raw_store *s, int cf, raw_fn fn, void *ctx)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(ro, 1);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(s->db, ro, s->cf[cf]);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        fn(s, ctx, sv_make(k, key_len), sv_make(v, len));
    }
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
}

/* The lists of loads become entries of one resource each, which can go one by one. */
static inline void age_list(struct raw_store *s, void *ctx, sv key, sv value)
{
    struct key_search_parts p;
    char out[KEY_SEARCH_MAX];
    (void)ctx;
    assert_true(key_search_split(key, &p));
    if (p.kind == ENTRY_ONLINE)
        return;
    const uint16_t param = (uint16_t)((unsigned char)key.ptr[1] << 8 | (unsigned char)key.ptr[2]);
    raw_delete(s, CF_SEARCH, key);
    for (uint64_t step = 0;; p.number += step) {
        size_t n =
            key_search(number_type(p.number), param, p.value, p.number, ENTRY_ANEW, p.n, out);
        raw_put(s, CF_SEARCH, sv_make(out, n), SV_NONE);
        if (value.len == 0)
            break;
        assert_true(entry_step_next(&value, &step));
    }
}

/* Entries that form 1 lacks go; in place of each stands one that means nothing to the new form. */
static inline void age_version(struct raw_store *s, void *ctx, sv key, sv value)
{
    /* of this online commit */
    const uint64_t *only = ctx;
    struct arena *a = arena_new(64u << 20);
    struct buf newer = BUF_INIT(64u << 20);
    struct key_version_parts p;
    struct value_head head;
    yyjson_doc *doc;
    uint16_t param;
    sv entry;
    char out[KEY_SEARCH_MAX];
    assert_true(key_version_split(key, &p) && value_split(value, &head));
    if (head.method != STORE_METHOD_DELETE &&
        (only == NULL || (p.kind == KEY_ONLINE && p.n == *only))) {
        OK(json_read(a, head.body.json, 512, &doc, e));
        OK(search_index_newer(number_type(p.number), yyjson_doc_get_root(doc), &newer, e));
        for (sv rest = buf_sv(&newer); search_index_next(&rest, &param, &entry);) {
            const entry_kind kind = p.kind == KEY_BULK ? ENTRY_ANEW : ENTRY_ONLINE;
            size_t n = key_search(number_type(p.number), param, entry, p.number, kind, p.n, out);
            raw_delete(s, CF_SEARCH, sv_make(out, n));
            n = key_search(number_type(p.number), param, SV_LIT("'old'\0"), p.number, kind, p.n,
                           out);
            raw_put(s, CF_SEARCH, sv_make(out, n), SV_NONE);
        }
    }
    buf_done(&newer);
    arena_free(a);
}

static inline void age_commit(struct raw_store *s, void *ctx, sv key, sv value)
{
    const uint64_t *only = ctx;
    if (key.ptr[0] == 'c' && value.len == COMMIT_VALUE_BYTES &&
        (only == NULL || key_get_u64(key.ptr + 1) == *only))
        raw_put(s, CF_COMMITS, key, sv_head(value, COMMIT_VALUE_BYTES - 1));
}

/* only: NULL, or of this online commit alone, as if an older program had written it and no more. */
static inline void age_store(const char *path, uint64_t *only)
{
    struct raw_store s;
    struct key_bytes record = key_commit('i', 0);
    raw_open(&s, path);
    if (only == NULL)
        raw_each(&s, CF_SEARCH, age_list, NULL);
    raw_each(&s, CF_VERSIONS, age_version, only);
    raw_each(&s, CF_COMMITS, age_commit, only);
    if (only == NULL)
        raw_delete(&s, CF_COMMITS, sv_make(record.ptr, record.len));
    raw_close(&s);
}

/* ---- hearing of it ---- */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    store_reindex_state state;
    uint64_t n_done;
    unsigned n_told, n_ended;
    unsigned hold_at; /* the n-th word of it waits until let_go */
    bool holding, let_go;
    err_code why;
};

static inline void hear(void *ctx, const struct store_reindex *r)
{
    struct heard *h = ctx;
    pthread_mutex_lock(&h->lock);
    h->state = r->state;
    h->n_done = r->n_done;
    h->n_ended += r->state >= STORE_REINDEX_DONE;
    h->why = r->why ? r->why->code : ERR_OK;
    h->holding = ++h->n_told == h->hold_at;
    pthread_cond_broadcast(&h->changed);
    while (h->holding && !h->let_go)
        pthread_cond_wait(&h->changed, &h->lock);
    h->holding = false;
    pthread_mutex_unlock(&h->lock);
}

static inline void hear_again(struct heard *h, unsigned hold_at)
{
    *h = (struct heard){ .state = STORE_REINDEX_BEGUN, .hold_at = hold_at };
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
}

static inline void wait_until_held(struct heard *h)
{
    pthread_mutex_lock(&h->lock);
    while (!h->holding)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
}

static inline void let_go(struct heard *h)
{
    pthread_mutex_lock(&h->lock);
    h->let_go = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static inline store_reindex_state wait_for_the_end(struct heard *h)
{
    pthread_mutex_lock(&h->lock);
    while (h->n_ended == 0)
        pthread_cond_wait(&h->changed, &h->lock);
    store_reindex_state state = h->state;
    pthread_mutex_unlock(&h->lock);
    return state;
}

/* counts.c - how many resources are current: of a type, and of a type with one value of a token parameter.
 *
 *   counts   type, parameter (2), length (1), value -> a sum, 8 bytes, little endian      parameter 0: of the type
 *
 * A sum grows by merging: a commit and a publication bring what they add and what they take away in the very
 * batch that makes them visible, so a sum is right as of every commit, and reading it is one Get. A token's entry
 * is counted under its whole value (code and system) and under the code alone, once a resource.
 *
 * A commit knows which versions it replaces and takes their entries away. A bulk load does not look, or an import
 * would read as much as it writes: it is marked (commits: 'u' b -> types and how many of each), and the first
 * count that meets a mark settles it. The version of the same id that was current in front of the load, if it was
 * no deletion, is what the load replaced; versions never change, so this can be found out at any later time:
 * through the ids of the load when they are few, else by one walk over the keys of the type, which finds the ids
 * that have several versions. An import job has it done when it has ended, so that no count waits for it.
 *
 * Invariant C1: a sum, less what unsettled loads replaced, is the number of resources current as of the last
 * commit. Who changes a sum, or the marks, holds order.lock. */
#include "store/rocks/rocks_private.h"

#include "base/limits.h"

#define POINT_READ_COST 20u /* of one id, against one key of a walk */
#define SETTLE_ROUNDS   3u  /* loads published meanwhile are settled in the next */

/* ---- tallies ---- */

struct tally_row {
    unsigned char key[COUNT_KEY_MAX]; /* the key's bytes; the rest 0 */
    int64_t n;
    bool used;
};

static uint64_t hash_of(const unsigned char key[COUNT_KEY_MAX])
{
    uint64_t a, b, c;
    memcpy(&a, key, 8);
    memcpy(&b, key + 8, 8);
    memcpy(&c, key + 16, 8);
    a = (a ^ (b ^ c * 0xBF58476D1CE4E5B9u) * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    return a ^ a >> 32;
}

static struct tally_row *row_of(struct tally_row *rows, size_t cap,
                                const unsigned char key[COUNT_KEY_MAX])
{
    size_t i = hash_of(key) & (cap - 1);
    while (rows[i].used && memcmp(rows[i].key, key, COUNT_KEY_MAX) != 0)
        i = (i + 1) & (cap - 1);
    return &rows[i];
}

static void grow(struct tally *t)
{
    size_t cap = t->cap ? t->cap * 2 : 256;
    struct tally_row *rows = calloc(cap, sizeof *rows);
    if (rows == NULL)
        abort();
    for (size_t i = 0; i < t->cap; i++)
        if (t->rows[i].used)
            *row_of(rows, cap, t->rows[i].key) = t->rows[i];
    free(t->rows);
    t->rows = rows;
    t->cap = cap;
}

static void add_key(struct tally *t, const unsigned char key[COUNT_KEY_MAX], int64_t n)
{
    if (t->n * 2 >= t->cap)
        grow(t);
    struct tally_row *r = row_of(t->rows, t->cap, key);
    if (!r->used) {
        memcpy(r->key, key, COUNT_KEY_MAX);
        r->used = true;
        t->n++;
    }
    r->n += n;
}

void tally_add(struct tally *to, const struct tally *from)
{
    for (size_t i = 0; i < from->cap; i++) {
        const struct tally_row *r = &from->rows[i];
        if (r->used)
            add_key(to, r->key, r->n);
    }
}

void tally_done(struct tally *t)
{
    free(t->rows);
    *t = (struct tally){ 0 };
}

static size_t count_key(fhir_type type, uint16_t param, sv value, unsigned char out[COUNT_KEY_MAX])
{
    memset(out, 0, COUNT_KEY_MAX);
    out[0] = type;
    out[1] = (unsigned char)(param >> 8);
    out[2] = (unsigned char)param;
    out[3] = (unsigned char)value.len;
    if (value.len)
        memcpy(out + 4, value.ptr, value.len);
    return 4 + value.len;
}

static void add(struct tally *t, fhir_type type, uint16_t param, sv value, int64_t n)
{
    unsigned char key[COUNT_KEY_MAX];
    (void)count_key(type, param, value, key);
    add_key(t, key, n);
}

struct token {
    unsigned char v[SEARCH_TOKEN_LEN];
};

static int token_cmp(const void *a, const void *b)
{
    return memcmp(a, b, SEARCH_TOKEN_LEN);
}

/* Values of one parameter of one resource: each once, and each code once. */
static void add_tokens(struct tally *t, fhir_type type, uint16_t param, struct buf *tokens,
                       int64_t n)
{
    struct token *v = (struct token *)(void *)tokens->ptr;
    size_t count = tokens->len / sizeof *v;
    if (count > 1)
        qsort(v, count, sizeof *v, token_cmp);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || memcmp(v[i].v, v[i - 1].v, SEARCH_TOKEN_LEN) != 0)
            add(t, type, param, sv_make(v[i].v, SEARCH_TOKEN_LEN), n);
        if (i == 0 || memcmp(v[i].v, v[i - 1].v, SEARCH_CODE_LEN) != 0)
            add(t, type, param, sv_make(v[i].v, SEARCH_CODE_LEN), n);
    }
    buf_clear(tokens);
}

void tally_resource(struct tally *t, fhir_type type, sv index, int64_t n)
{
    CLEANUP_BUF struct buf tokens = BUF_INIT(SIZE_MAX / 2);
    uint16_t param, last = 0;
    sv rest = index, value;
    add(t, type, 0, SV_NONE, n);
    while (search_index_next(&rest, &param, &value)) {
        if (param != last) {
            if (tokens.len)
                add_tokens(t, type, last, &tokens, n);
            last = param;
        }
        if (value.len == SEARCH_TOKEN_LEN && search_is_counted(type, param))
            IGNORE(buf_add(&tokens, value, NULL)); /* no cap: cannot fail */
    }
    if (tokens.len)
        add_tokens(t, type, last, &tokens, n);
}

err_code tally_version(struct tally *t, fhir_type type, sv json, int64_t n, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(SIZE_MAX / 2);
    CLEANUP_BUF struct buf index = BUF_INIT(SIZE_MAX / 2);
    yyjson_doc *doc;
    TRY(json_read(a, json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    TRY(search_index(type, yyjson_doc_get_root(doc), &index, e));
    tally_resource(t, type, buf_sv(&index), n);
    return ERR_OK;
}

void tally_write(const struct tally *t, struct rocks *r, rocksdb_writebatch_t *batch)
{
    for (size_t i = 0; i < t->cap; i++) {
        const struct tally_row *row = &t->rows[i];
        if (!row->used || row->n == 0)
            continue;
        rocksdb_writebatch_merge_cf(batch, r->cf[CF_COUNTS], (const char *)row->key,
                                    4u + row->key[3], (const char *)&row->n, sizeof row->n);
    }
}

/* ---- sums ---- */

static char *sum_of(const char *first, size_t first_len, const char *const *more,
                    const size_t *lens, int n, unsigned char *ok, size_t *out_len)
{
    int64_t sum = 0, one;
    char *out = malloc(sizeof sum);
    if (out == NULL)
        abort();
    *ok = first == NULL || first_len == sizeof sum;
    if (first && *ok)
        memcpy(&sum, first, sizeof sum);
    for (int i = 0; i < n; i++) {
        *ok &= lens[i] == sizeof one;
        memcpy(&one, more[i], *ok ? sizeof one : 0);
        sum += *ok ? one : 0;
    }
    memcpy(out, &sum, sizeof sum);
    *out_len = sizeof sum;
    return out;
}

static char *full_merge(void *state, const char *key, size_t key_len, const char *first,
                        size_t first_len, const char *const *more, const size_t *lens, int n,
                        unsigned char *ok, size_t *out_len)
{
    (void)state;
    (void)key;
    (void)key_len;
    return sum_of(first, first_len, more, lens, n, ok, out_len);
}

static char *partial_merge(void *state, const char *key, size_t key_len, const char *const *more,
                           const size_t *lens, int n, unsigned char *ok, size_t *out_len)
{
    (void)state;
    (void)key;
    (void)key_len;
    return sum_of(NULL, 0, more, lens, n, ok, out_len);
}

static void free_value(void *state, const char *value, size_t len)
{
    (void)state;
    (void)len;
    free((void *)(uintptr_t)value);
}

static void nothing(void *state)
{
    (void)state;
}

static const char *name(void *state)
{
    (void)state;
    return "fhirlake.sum";
}

rocksdb_mergeoperator_t *counts_merge_operator(void)
{
    return rocksdb_mergeoperator_create(NULL, nothing, full_merge, partial_merge, free_value, name);
}

static err_code read_sum(struct rocks *r, fhir_type type, uint16_t param, sv value, uint64_t *out,
                         struct err *e)
{
    unsigned char key[COUNT_KEY_MAX];
    size_t key_len = count_key(type, param, value, key), len = 0;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_COUNTS], (const char *)key, key_len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    TRY(rocks_error(bad, "reading a count", e));
    int64_t n = 0;
    if (v && len == sizeof n)
        memcpy(&n, v, sizeof n);
    rocksdb_free(v);
    if (n < 0)
        return ERR(e, ERR_CORRUPT, "reading a count: it is below zero");
    *out = (uint64_t)n;
    return ERR_OK;
}

/* ---- bulk loads that are not settled yet ---- */

void counts_mark(struct rocks *r, rocksdb_writebatch_t *batch, uint64_t b, const struct tally *t)
{
    char value[FHIR_TYPES_MAX * 5];
    size_t len = 0;
    for (size_t i = 0; i < t->cap; i++) {
        const struct tally_row *row = &t->rows[i];
        if (!row->used || row->key[1] || row->key[2] || row->key[3])
            continue;
        uint32_t n = (uint32_t)row->n;
        value[len++] = (char)row->key[0];
        memcpy(value + len, &n, sizeof n);
        len += sizeof n;
    }
    struct key_bytes k = key_commit('u', b);
    rocksdb_writebatch_put_cf(batch, r->cf[CF_COMMITS], k.ptr, k.len, value, len);
}

struct mark {
    uint64_t b, t;
    uint32_t n[FHIR_TYPES_MAX]; /* of each type */
};
struct settling {
    struct rocks *r;
    const atomic_bool *halt; /* NULL, or: stop when it becomes true */
    struct mark *marks;
    size_t n;
    struct tally tally; /* what they replaced */
};

static err_code may_go_on(const struct settling *s, struct err *e)
{
    return s->halt && atomic_load_explicit(s->halt, memory_order_relaxed)
               ? ERR(e, ERR_CANCELLED, "settling counts was stopped")
               : ERR_OK;
}

/* order.lock is held: marks and table belong together. */
static err_code read_marks_locked(struct settling *s, struct err *e)
{
    struct rocks *r = s->r;
    struct load_table *table = load_table_ref(r);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    struct buf marks = BUF_INIT(SIZE_MAX / 2);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, "u", 1); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t len;
        const char *k = rocksdb_iter_key(it, &len);
        if (len != 9 || k[0] != 'u')
            break;
        struct mark m = { .b = key_get_u64(k + 1) };
        const struct bulk_load *b = load_table_find(table, m.b);
        const char *v = rocksdb_iter_value(it, &len);
        if (b == NULL || len % 5) {
            rc = ERR(e, ERR_CORRUPT, "reading the data store: a bulk load's mark is damaged");
            break;
        }
        m.t = b->t;
        for (size_t i = 0; i < len; i += 5)
            memcpy(&m.n[(unsigned char)v[i]], v + i + 1, sizeof m.n[0]);
        rc = buf_add(&marks, sv_make(&m, sizeof m), e);
    }
    char *bad = NULL;
    rocksdb_iter_get_error(it, &bad);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    load_table_unref(table);
    if (rc == ERR_OK)
        rc = rocks_error(bad, "reading the data store", e);
    else
        rocksdb_free(bad);
    s->marks = (struct mark *)(void *)marks.ptr;
    s->n = marks.len / sizeof(struct mark);
    return rc;
}

/* What was current in front of load m, if it was no deletion, is not current any more. */
static err_code take_away(struct settling *s, const struct mark *m, fhir_type type, sv id,
                          struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(SIZE_MAX / 2);
    struct store_version v;
    if (m->t <= 1)
        return ERR_OK;
    struct err why;
    err_code rc = rocks_get(&s->r->base, type, id, m->t - 1, false, a, &v, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK) {
        *e = why;
        return rc;
    }
    return v.method == STORE_METHOD_DELETE ? ERR_OK
                                           : tally_version(&s->tally, type, v.body.json, -1, e);
}

static err_code iterator_end(rocksdb_iterator_t *it, rocksdb_readoptions_t *ro, err_code rc,
                             struct err *e)
{
    char *bad = NULL;
    rocksdb_iter_get_error(it, &bad);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    if (rc == ERR_OK)
        return rocks_error(bad, "reading the data store", e);
    rocksdb_free(bad);
    return rc;
}

/* By the ids that a load wrote. */
static err_code settle_by_ids(struct settling *s, const struct mark *m, fhir_type type,
                              struct err *e)
{
    struct rocks *r = s->r;
    struct key_bytes from = key_change(type, KEY_BULK, m->b, SV_NONE);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_CHANGES]);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, from.ptr, from.len); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t len;
        const char *k = rocksdb_iter_key(it, &len);
        if (len <= from.len || memcmp(k, from.ptr, from.len) != 0)
            break;
        rc = may_go_on(s, e);
        if (rc == ERR_OK)
            rc = take_away(s, m, type, sv_make(k + from.len, len - from.len), e);
    }
    return iterator_end(it, ro, rc, e);
}

static const struct mark *mark_of(const struct settling *s, uint64_t b)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->marks[mid].b < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n && s->marks[lo].b == b ? &s->marks[lo] : NULL;
}

struct run { /* versions of one id, as a walk meets them */
    char id[FHIR_ID_MAX];
    size_t id_len, n;
    struct buf loads; /* const struct mark * */
};

static err_code run_end(struct settling *s, fhir_type type, struct run *run, struct err *e)
{
    const struct mark **m = (const struct mark **)(void *)run->loads.ptr;
    size_t n = run->n > 1 ? run->loads.len / sizeof *m : 0;
    for (size_t i = 0; i < n; i++)
        TRY(take_away(s, m[i], type, sv_make(run->id, run->id_len), e));
    buf_clear(&run->loads);
    run->n = 0;
    return ERR_OK;
}

/* By all keys of the type: an id with one version replaced nothing. */
static err_code settle_by_walk(struct settling *s, fhir_type type, struct err *e)
{
    struct rocks *r = s->r;
    struct key_bytes from = key_id_bound(type, SV_NONE);
    struct run run = { .n = 0 };
    buf_init(&run.loads, SIZE_MAX / 2);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(ro, 1);
    rocksdb_readoptions_set_readahead_size(ro, 1u << 20);
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_VERSIONS]);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, from.ptr, from.len); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t len;
        const char *k = rocksdb_iter_key(it, &len);
        struct key_version_parts p;
        if (!key_version_split(sv_make(k, len), &p)) {
            rc = ERR(e, ERR_CORRUPT, "reading the data store: a record is damaged");
            break;
        }
        if (p.type != type)
            break;
        rc = may_go_on(s, e);
        if (rc == ERR_OK && run.n && !sv_eq(p.id, sv_make(run.id, run.id_len)))
            rc = run_end(s, type, &run, e);
        if (run.n++ == 0) {
            run.id_len = p.id.len;
            memcpy(run.id, p.id.ptr, p.id.len);
        }
        const struct mark *m = p.kind == KEY_BULK ? mark_of(s, p.n) : NULL;
        if (m && rc == ERR_OK)
            rc = buf_add(&run.loads, sv_make(&m, sizeof m), e);
    }
    if (rc == ERR_OK)
        rc = run_end(s, type, &run, e);
    buf_done(&run.loads);
    return iterator_end(it, ro, rc, e);
}

static err_code settle_type(struct settling *s, fhir_type type, struct err *e)
{
    uint64_t loaded = 0, all;
    for (size_t i = 0; i < s->n; i++)
        loaded += s->marks[i].n[type];
    if (loaded == 0)
        return ERR_OK;
    TRY(read_sum(s->r, type, 0, SV_NONE, &all, e));
    if (loaded > all / POINT_READ_COST)
        return settle_by_walk(s, type, e);
    for (size_t i = 0; i < s->n; i++)
        if (s->marks[i].n[type])
            TRY(settle_by_ids(s, &s->marks[i], type, e));
    return ERR_OK;
}

/* counts.lock is held: one settles at a time. */
static err_code settle(struct settling *s, struct err *e)
{
    struct rocks *r = s->r;
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        TRY(settle_type(s, (fhir_type)t, e));
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocksdb_writeoptions_t *wo = rocksdb_writeoptions_create(); /* lost in a crash: done again */
    for (size_t i = 0; i < s->n; i++) {
        struct key_bytes k = key_commit('u', s->marks[i].b);
        rocksdb_writebatch_delete_cf(batch, r->cf[CF_COMMITS], k.ptr, k.len);
    }
    tally_write(&s->tally, r, batch);
    char *bad = NULL;
    pthread_mutex_lock(&r->order.lock);
    rocksdb_write(r->db, wo, batch, &bad);
    pthread_mutex_unlock(&r->order.lock);
    rocksdb_writeoptions_destroy(wo);
    rocksdb_writebatch_destroy(batch);
    return rocks_error(bad, "settling counts", e);
}

err_code rocks_settle(struct store *st, const atomic_bool *halt, struct err *e)
{
    struct settling s = { .r = (struct rocks *)st, .halt = halt };
    pthread_mutex_lock(&s.r->settle_lock);
    pthread_mutex_lock(&s.r->order.lock);
    err_code rc = read_marks_locked(&s, e);
    pthread_mutex_unlock(&s.r->order.lock);
    if (rc == ERR_OK && s.n)
        rc = settle(&s, e);
    pthread_mutex_unlock(&s.r->settle_lock);
    tally_done(&s.tally);
    free(s.marks);
    return rc;
}

err_code rocks_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                     struct store_commit *at, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    err_code rc = ERR_OK;
    for (unsigned round = 0; rc == ERR_OK; round++) {
        struct settling s = { .r = r };
        if (round)
            pthread_mutex_lock(&r->settle_lock); /* in front of order.lock */
        pthread_mutex_lock(&r->order.lock);
        rc = read_marks_locked(&s, e);
        if (rc == ERR_OK && s.n == 0) {
            rc = read_sum(r, type, param, value, out, e);
            *at = st->ops->last(st);
        }
        pthread_mutex_unlock(&r->order.lock);
        bool done = rc != ERR_OK || s.n == 0;
        if (!done && round == SETTLE_ROUNDS)
            rc = ERR(e, ERR_UNSUPPORTED, "loads are published faster than they are counted");
        else if (!done && round)
            rc = settle(&s, e);
        if (round)
            pthread_mutex_unlock(&r->settle_lock);
        tally_done(&s.tally);
        free(s.marks);
        if (done)
            break;
    }
    return rc;
}

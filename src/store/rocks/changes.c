/* changes.c - who changed: within a window of commits, and the log of a type, newest first.
 *
 * Changes of online commits stand in the order of t. Those of bulk loads stand under the number of
 * the load, and the table of published loads tells its commit. For a window, one row an id is
 * collected: its newest version of the window, by the exact place where that stands, so that
 * whoever wants it reads one key and walks over nothing. For the log, the online changes are walked
 * backwards and merged with the loads, commit by commit. */
#include "store/rocks/rocks_private.h"

#define HEAD 10u /* of a key, in front of the id: type, kind, n */

struct walk {
    struct rocks *r;
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it;
};

static void walk_open(struct walk *w, struct rocks *r)
{
    w->r = r;
    w->ro = rocksdb_readoptions_create();
    w->it = rocksdb_create_iterator_cf(r->db, w->ro, r->cf[CF_CHANGES]);
}

/* Closes it. rc: of what was done. */
static err_code walk_close(struct walk *w, err_code rc, struct err *e)
{
    return rocks_iterator_end(w->it, w->ro, rc, e);
}

static bool seek(struct walk *w, const struct key_bytes *to, sv *key)
{
    size_t len;
    rocksdb_iter_seek(w->it, to->ptr, to->len);
    if (!rocksdb_iter_valid(w->it))
        return false;
    const char *k = rocksdb_iter_key(w->it, &len);
    *key = sv_make(k, len);
    return true;
}

static bool in_window(const struct bulk_load *b, uint64_t after_t, uint64_t as_of)
{
    return b->t > after_t && b->t <= as_of;
}

/* ---- rows ----
 * length of id (1 byte), t, b (8 bytes each, as they are in memory), id */

#define ROW_HEAD (1 + 2 * sizeof(uint64_t))

bool change_next(const struct buf *rows, size_t *at, struct change *out)
{
    if (*at >= rows->len)
        return false;
    const char *p = rows->ptr + *at;
    memcpy(&out->t, p + 1, sizeof out->t);
    memcpy(&out->b, p + 1 + sizeof out->t, sizeof out->b);
    out->id = sv_make(p + ROW_HEAD, (unsigned char)p[0]);
    *at += ROW_HEAD + out->id.len;
    return true;
}

/* Keys in [from, to), the ids among the range's. t: of all of them; 0: n is it. */
static err_code collect(struct walk *w, const struct store_range *range, struct key_bytes from,
                        struct key_bytes to, const struct bulk_load *b, struct buf *rows,
                        struct err *e)
{
    sv k;
    if (!seek(w, &from, &k))
        return ERR_OK;
    while (sv_cmp(k, sv_make(to.ptr, to.len)) < 0) {
        if (k.len <= HEAD || k.len > HEAD + FHIR_ID_MAX)
            return ERR(e, ERR_CORRUPT, "reading the data store: a record is damaged");
        sv id = sv_tail(k, HEAD);
        if (sv_cmp(id, range->from_id) >= 0 &&
            (range->to_id.len == 0 || sv_cmp(id, range->to_id) < 0)) {
            char head[ROW_HEAD];
            uint64_t t = b ? b->t : key_get_u64(k.ptr + 2), load = b ? b->b : 0;
            head[0] = (char)id.len;
            memcpy(head + 1, &t, sizeof t);
            memcpy(head + 1 + sizeof t, &load, sizeof load);
            TRY(buf_add(rows, sv_make(head, sizeof head), e));
            TRY(buf_add(rows, id, e));
        }
        rocksdb_iter_next(w->it);
        if (!rocksdb_iter_valid(w->it))
            break;
        k.ptr = rocksdb_iter_key(w->it, &k.len);
    }
    return ERR_OK;
}

static int by_id_then_newest(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    int c = sv_cmp(x->id, y->id);
    return c ? c : x->t < y->t ? 1 : x->t > y->t ? -1 : 0;
}

/* By id, of each the newest. */
static void sort_rows(struct buf *rows)
{
    size_t n = 0, at = 0, k = 0, len = 0;
    struct change row;
    while (change_next(rows, &at, &row))
        n++;
    if (n < 2)
        return;
    struct change *all = malloc(n * sizeof *all);
    char *sorted = malloc(rows->len);
    if (all == NULL || sorted == NULL)
        abort();
    for (at = 0; change_next(rows, &at, &all[k]);)
        k++;
    qsort(all, n, sizeof *all, by_id_then_newest);
    for (size_t i = 0; i < n; i++) {
        if (i && sv_eq(all[i - 1].id, all[i].id))
            continue;
        memcpy(sorted + len, all[i].id.ptr - ROW_HEAD, ROW_HEAD + all[i].id.len);
        len += ROW_HEAD + all[i].id.len;
    }
    memcpy(rows->ptr, sorted, len);
    rows->len = len;
    free(sorted);
    free(all);
}

err_code changes_collect(struct rocks *r, const struct load_table *loads,
                         const struct store_range *range, uint64_t after_t, uint64_t as_of,
                         struct buf *rows, struct err *e)
{
    fhir_type type = range->type;
    struct walk w;
    if (after_t >= as_of)
        return ERR_OK;
    walk_open(&w, r);
    err_code rc = collect(&w, range, key_change(type, KEY_ONLINE, after_t + 1, SV_NONE),
                          key_change(type, KEY_ONLINE, as_of + 1, SV_NONE), NULL, rows, e);
    for (size_t i = 0; i < loads->n && rc == ERR_OK; i++) {
        const struct bulk_load *b = &loads->rows[i];
        /* ids stand in order within a load */
        if (in_window(b, after_t, as_of))
            rc = collect(&w, range, key_change(type, KEY_BULK, b->b, range->from_id),
                         range->to_id.len ? key_change(type, KEY_BULK, b->b, range->to_id)
                                          : key_change(type, KEY_BULK, b->b + 1, SV_NONE),
                         b, rows, e);
    }
    rc = walk_close(&w, rc, e);
    if (rc == ERR_OK)
        sort_rows(rows);
    return rc;
}

/* ---- types ---- */

static bool type_changed(struct walk *w, fhir_type type, const struct load_table *loads,
                         uint64_t after_t, uint64_t as_of)
{
    struct key_bytes from = key_change(type, KEY_ONLINE, after_t + 1, SV_NONE);
    sv k;
    if (seek(w, &from, &k) && k.len > HEAD && (fhir_type)(unsigned char)k.ptr[0] == type &&
        k.ptr[1] == KEY_ONLINE && key_get_u64(k.ptr + 2) <= as_of)
        return true;
    for (size_t i = 0; i < loads->n; i++) {
        if (!in_window(&loads->rows[i], after_t, as_of))
            continue;
        from = key_change(type, KEY_BULK, loads->rows[i].b, SV_NONE);
        if (seek(w, &from, &k) && sv_starts(k, sv_make(from.ptr, from.len)))
            return true;
    }
    return false;
}

err_code rocks_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                             bool changed[STORE_TYPES], struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    /* before the table, which then holds all up to it (I7) */
    uint64_t last = rocks_last(st).t;
    uint64_t as_of = upto_t < last ? upto_t : last;
    memset(changed, 0, STORE_TYPES * sizeof changed[0]);
    if (after_t >= as_of)
        return ERR_OK;
    struct load_table *loads = load_table_ref(r);
    struct walk w;
    walk_open(&w, r);
    /* those that have any key at all */
    for (unsigned type = 1; type < STORE_TYPES; type++) {
        struct key_bytes from = key_id_bound((fhir_type)type, SV_NONE);
        sv k;
        if (!seek(&w, &from, &k) || k.len == 0)
            break;
        type = (unsigned char)k.ptr[0];
        changed[type] = type_changed(&w, (fhir_type)type, loads, after_t, as_of);
    }
    load_table_unref(loads);
    return walk_close(&w, ERR_OK, e);
}

/* ---- the log ---- */

struct log_walk {
    struct rocks *r;
    fhir_type type;
    struct load_table *loads;
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it;
    struct arena *a;
    struct store_log_row *rows;
    size_t n, max;
};

/* Largest t <= limit at which an online commit wrote the type; 0: none. */
static uint64_t online_before(struct log_walk *w, uint64_t limit)
{
    struct key_bytes to = key_change(w->type, KEY_ONLINE, limit, SV_NONE);
    size_t len;
    /* behind every id of that commit: an id is made of bytes below 0xFF */
    char bound[KEY_MAX + 1];
    memcpy(bound, to.ptr, to.len);
    bound[to.len] = (char)0xFF;
    rocksdb_iter_seek_for_prev(w->it, bound, to.len + 1);
    if (!rocksdb_iter_valid(w->it))
        return 0;
    const char *k = rocksdb_iter_key(w->it, &len);
    if (len < 10 || (fhir_type)(unsigned char)k[0] != w->type || k[1] != KEY_ONLINE)
        return 0;
    return key_get_u64(k + 2);
}

static const struct bulk_load *load_before(const struct log_walk *w, uint64_t limit)
{
    const struct bulk_load *best = NULL;
    for (size_t i = 0; i < w->loads->n; i++) {
        const struct bulk_load *b = &w->loads->rows[i];
        if (b->t <= limit && (best == NULL || b->t > best->t))
            best = b;
    }
    return best;
}

/* Rows of one commit, ids behind after_id. */
static err_code log_rows(struct log_walk *w, key_kind kind, uint64_t n, uint64_t t, sv after_id,
                         struct err *e)
{
    struct key_bytes from = key_change(w->type, kind, n, after_id);
    size_t len, head = 10;
    rocksdb_iter_seek(w->it, from.ptr, from.len);
    for (; w->n < w->max && rocksdb_iter_valid(w->it); rocksdb_iter_next(w->it)) {
        const char *k = rocksdb_iter_key(w->it, &len);
        if (len <= head || memcmp(k, from.ptr, head) != 0)
            break;
        sv id = sv_make(k + head, len - head);
        if (sv_cmp(id, after_id) <= 0)
            continue;
        sv copy = arena_sv(w->a, id);
        if (copy.ptr == NULL)
            return arena_oom(w->a, e);
        w->rows[w->n++] = (struct store_log_row){ w->type, t, copy };
    }
    return ERR_OK;
}

static err_code log_commits(struct log_walk *w, uint64_t from_t, sv after_id, struct err *e)
{
    uint64_t limit = from_t;
    while (limit && w->n < w->max) {
        uint64_t t = online_before(w, limit);
        const struct bulk_load *b = load_before(w, limit);
        if (t == 0 && b == NULL)
            break;
        bool bulk = b && b->t > t;
        if (bulk)
            t = b->t;
        TRY(log_rows(w, bulk ? KEY_BULK : KEY_ONLINE, bulk ? b->b : t, t,
                     t == from_t ? after_id : SV_NONE, e));
        limit = t - 1;
    }
    char *bad = NULL;
    rocksdb_iter_get_error(w->it, &bad);
    return rocks_error(bad, "reading the data store", e);
}

err_code rocks_log(struct store *st, fhir_type type, uint64_t from_t, sv after_id, size_t max,
                   struct arena *a, struct store_log_row **out, size_t *n_out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    uint64_t last = rocks_last(st).t;
    struct log_walk w = { .r = r, .type = type, .a = a, .max = max };
    w.rows = arena_alloc(a, (max + 1) * sizeof *w.rows);
    if (w.rows == NULL)
        return arena_oom(a, e);
    /* after T, so that it holds every load up to it (I7) */
    w.loads = load_table_ref(r);
    w.ro = rocksdb_readoptions_create();
    w.it = rocksdb_create_iterator_cf(r->db, w.ro, r->cf[CF_CHANGES]);
    err_code rc =
        log_commits(&w, from_t < last ? from_t : last, from_t <= last ? after_id : SV_NONE, e);
    rocksdb_iter_destroy(w.it);
    rocksdb_readoptions_destroy(w.ro);
    load_table_unref(w.loads);
    if (rc == ERR_OK) {
        *out = w.rows;
        *n_out = w.n;
    }
    return rc;
}

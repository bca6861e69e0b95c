/* changes.c - who changed: within a window of commits, and the log of a type, newest first.
 *
 * Changes of online commits stand in the order of t, those of bulk loads under the number of the
 * load, and the table of published loads tells its commit. What a load gave birth to has no rows of
 * its own: one row says how many there are, and their numbers follow each other. For a window, one
 * row a resource is collected: its newest version of the window, by the exact place where that
 * stands, so that whoever wants it reads one key and walks over nothing. For the log, the online
 * changes are walked backwards and merged with the loads, commit by commit. */
#include "store/rocks/rocks_private.h"

#define HEAD    10u                   /* of a key, in front of the number: type, kind, n */
#define KEY_LEN (HEAD + NUMBER_BYTES) /* of births HEAD */

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

/* ---- births ---- */

/* What load b gave birth to of a type; n 0: nothing. */
static err_code births_of(struct walk *w, fhir_type type, uint64_t b, struct births *out,
                          struct err *e)
{
    struct key_bytes at = key_change(type, KEY_BIRTHS, b, 0);
    size_t len;
    sv k;
    *out = (struct births){ 0 };
    if (!seek(w, &at, &k) || !sv_eq(k, sv_make(at.ptr, at.len)))
        return ERR_OK;
    const char *v = rocksdb_iter_value(w->it, &len);
    return births_split(sv_make(v, len), out) ? ERR_OK : rocks_damaged(e);
}

err_code births_each(struct rocks *r, const struct load_table *loads, fhir_type type, births_fn fn,
                     void *ctx, struct err *e)
{
    struct key_bytes from = key_change(type, KEY_BIRTHS, 0, 0);
    struct walk w;
    sv k;
    err_code rc = ERR_OK;
    walk_open(&w, r);
    bool there = seek(&w, &from, &k);
    while (there && rc == ERR_OK && k.len == HEAD && (fhir_type)(unsigned char)k.ptr[0] == type &&
           k.ptr[1] == KEY_BIRTHS) {
        const struct bulk_load *load = load_table_find(loads, key_get_u64(k.ptr + 2));
        size_t len;
        const char *v = rocksdb_iter_value(w.it, &len);
        struct births x;
        if (load)
            rc = births_split(sv_make(v, len), &x) ? fn(ctx, load, &x, e) : rocks_damaged(e);
        rocksdb_iter_next(w.it);
        there = rocksdb_iter_valid(w.it);
        if (there)
            k.ptr = rocksdb_iter_key(w.it, &k.len);
    }
    return walk_close(&w, rc, e);
}

err_code births_giants(struct rocks *r, store_number from, store_number *lo, store_number *hi,
                       struct err *e)
{
    const fhir_type type = r->env->gate.type;
    const struct key_bytes first = key_change(type, KEY_BIRTHS, 0, 0);
    struct key_bytes at = key_change(type, KEY_BIRTHS, number_b(from), 0);
    struct walk w;
    sv k;
    err_code rc = ERR_OK;
    *lo = *hi = 0;
    walk_open(&w, r);
    for (bool there = seek(&w, &at, &k); there && rc == ERR_OK && *hi <= from;) {
        struct births x;
        size_t len;
        if (k.len != HEAD || memcmp(k.ptr, first.ptr, HEAD - 8) != 0)
            break;
        const char *v = rocksdb_iter_value(w.it, &len);
        if (!births_split(sv_make(v, len), &x)) {
            rc = rocks_damaged(e);
        } else if (x.json_bytes > LIMIT_GIANT_BYTES) {
            *lo = number_make(key_get_u64(k.ptr + HEAD - 8), type, 0);
            *hi = *lo + x.n;
        }
        rocksdb_iter_next(w.it);
        there = rocksdb_iter_valid(w.it);
        if (there) {
            const char *p = rocksdb_iter_key(w.it, &len);
            k = sv_make(p, len);
        }
    }
    if (*hi <= from)
        *lo = *hi = 0;
    return walk_close(&w, rc, e);
}

/* ---- a window ---- */

static err_code add_row(struct buf *rows, store_number number, uint64_t t, uint64_t b,
                        struct err *e)
{
    struct change row = { number, t, b };
    return buf_add(rows, sv_make(&row, sizeof row), e);
}

/* Keys in [from, to), the numbers among the range's. b: the load of all of them; NULL: online
 * commits, n is t. */
static err_code collect(struct walk *w, const struct store_range *range, struct key_bytes from,
                        struct key_bytes to, const struct bulk_load *b, struct buf *rows,
                        struct err *e)
{
    sv k;
    if (!seek(w, &from, &k))
        return ERR_OK;
    while (sv_cmp(k, sv_make(to.ptr, to.len)) < 0) {
        if (k.len != KEY_LEN)
            return rocks_damaged(e);
        store_number number = key_get_u64(k.ptr + HEAD);
        if (store_range_has(range, number))
            TRY(add_row(rows, number, b ? b->t : key_get_u64(k.ptr + 2), b ? b->b : 0, e));
        rocksdb_iter_next(w->it);
        if (!rocksdb_iter_valid(w->it))
            break;
        k.ptr = rocksdb_iter_key(w->it, &k.len);
    }
    return ERR_OK;
}

static err_code collect_births(struct walk *w, const struct store_range *range,
                               const struct bulk_load *b, struct buf *rows, struct err *e)
{
    struct births x;
    TRY(births_of(w, range->type, b->b, &x, e));
    for (uint32_t k = 0; k < x.n; k++) {
        store_number number = number_make(b->b, range->type, k);
        if (store_range_has(range, number))
            TRY(add_row(rows, number, b->t, b->b, e));
    }
    return ERR_OK;
}

static int by_number_then_newest(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->t < y->t ? 1 : x->t > y->t ? -1 : 0;
}

/* By number, of each the newest. */
static void sort_rows(struct buf *rows)
{
    struct change *all = (struct change *)(void *)rows->ptr;
    size_t n = rows->len / sizeof *all, kept = 0;
    if (n < 2)
        return;
    qsort(all, n, sizeof *all, by_number_then_newest);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || all[kept - 1].number != all[i].number)
            all[kept++] = all[i];
    rows->len = kept * sizeof *all;
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
    err_code rc = collect(&w, range, key_change(type, KEY_ONLINE, after_t + 1, 0),
                          key_change(type, KEY_ONLINE, as_of + 1, 0), NULL, rows, e);
    for (size_t i = 0; i < loads->n && rc == ERR_OK; i++) {
        const struct bulk_load *b = &loads->rows[i];
        if (!in_window(b, after_t, as_of))
            continue;
        rc = collect(&w, range, key_change(type, KEY_BULK, b->b, 0),
                     key_change(type, KEY_BULK, b->b + 1, 0), b, rows, e);
        if (rc == ERR_OK)
            rc = collect_births(&w, range, b, rows, e);
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
    struct key_bytes from = key_change(type, KEY_ONLINE, after_t + 1, 0);
    sv k;
    if (seek(w, &from, &k) && k.len == KEY_LEN && (fhir_type)(unsigned char)k.ptr[0] == type &&
        k.ptr[1] == KEY_ONLINE && key_get_u64(k.ptr + 2) <= as_of)
        return true;
    for (size_t i = 0; i < loads->n; i++) {
        if (!in_window(&loads->rows[i], after_t, as_of))
            continue;
        for (key_kind kind = KEY_BULK; kind <= KEY_BIRTHS; kind += KEY_BIRTHS) {
            from = key_change(type, kind, loads->rows[i].b, 0);
            if (seek(w, &from, &k) && sv_starts(k, sv_make(from.ptr, from.len)))
                return true;
        }
    }
    return false;
}

err_code rocks_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                             bool changed[STORE_TYPES], struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    /* before the table, which then holds all up to it (I7) */
    uint64_t last = rocks_seen_last((struct rocks *)st).t;
    uint64_t as_of = upto_t < last ? upto_t : last;
    memset(changed, 0, STORE_TYPES * sizeof changed[0]);
    if (after_t >= as_of)
        return ERR_OK;
    struct load_table *loads = load_table_ref(r);
    struct walk w;
    walk_open(&w, r);
    /* those that have any key at all */
    for (unsigned type = 1; type < STORE_TYPES; type++) {
        const char first = (char)type;
        struct key_bytes from = { .len = 1 };
        sv k;
        from.ptr[0] = first;
        if (!seek(&w, &from, &k) || k.len == 0)
            break;
        type = (unsigned char)k.ptr[0];
        changed[type] = type_changed(&w, (fhir_type)type, loads, after_t, as_of);
    }
    load_table_unref(loads);
    return walk_close(&w, ERR_OK, e);
}

/* ---- ranges ---- */

struct touch {
    struct walk w;
    const struct store_range *ranges;
    size_t n, left; /* left: that nothing has touched yet */
    bool *touched;
};

static void touch_one(struct touch *x, size_t i)
{
    x->left -= !x->touched[i];
    x->touched[i] = true;
}

/* How many ranges begin at or in front of a number. */
static size_t ranges_from(const struct touch *x, store_number number)
{
    size_t lo = 0, hi = x->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (x->ranges[mid].from <= number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void touch_number(struct touch *x, store_number number)
{
    size_t at = ranges_from(x, number);
    if (at && store_range_has(&x->ranges[at - 1], number))
        touch_one(x, at - 1);
}

/* Numbers of keys in [from, to). */
static err_code touch_keys(struct touch *x, struct key_bytes from, struct key_bytes to,
                           struct err *e)
{
    sv k;
    if (!seek(&x->w, &from, &k))
        return ERR_OK;
    while (x->left && sv_cmp(k, sv_make(to.ptr, to.len)) < 0) {
        if (k.len != KEY_LEN)
            return rocks_damaged(e);
        touch_number(x, key_get_u64(k.ptr + HEAD));
        rocksdb_iter_next(x->w.it);
        if (!rocksdb_iter_valid(x->w.it))
            break;
        k.ptr = rocksdb_iter_key(x->w.it, &k.len);
    }
    return ERR_OK;
}

/* What a load wrote: births reach over whole ranges, wherever their load stands among others. */
static err_code touch_load(struct touch *x, fhir_type type, uint64_t b, struct err *e)
{
    struct births born;
    TRY(births_of(&x->w, type, b, &born, e));
    if (born.n) {
        const store_number first = number_make(b, type, 0), last = first + born.n - 1;
        size_t i = ranges_from(x, first);
        for (i -= i > 0; i < x->n && x->ranges[i].from <= last; i++)
            if (x->ranges[i].to == 0 || x->ranges[i].to > first)
                touch_one(x, i);
    }
    return touch_keys(x, key_change(type, KEY_BULK, b, 0), key_change(type, KEY_BULK, b + 1, 0), e);
}

err_code rocks_touched(struct store *st, const struct store_range *ranges, size_t n,
                       uint64_t after_t, uint64_t upto_t, bool *touched, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    /* before the table, which then holds all up to it (I7) */
    uint64_t last = rocks_seen_last((struct rocks *)st).t;
    uint64_t as_of = upto_t < last ? upto_t : last;
    const fhir_type type = ranges[0].type;
    struct touch x = { .ranges = ranges, .n = n, .left = n, .touched = touched };
    if (after_t >= as_of)
        return ERR_OK;
    struct load_table *loads = load_table_ref(r);
    walk_open(&x.w, r);
    err_code rc = touch_keys(&x, key_change(type, KEY_ONLINE, after_t + 1, 0),
                             key_change(type, KEY_ONLINE, as_of + 1, 0), e);
    for (size_t i = 0; i < loads->n && rc == ERR_OK && x.left; i++)
        if (in_window(&loads->rows[i], after_t, as_of))
            rc = touch_load(&x, type, loads->rows[i].b, e);
    load_table_unref(loads);
    return walk_close(&x.w, rc, e);
}

/* ---- the log ---- */

struct log_walk {
    struct walk w;
    fhir_type type;
    struct load_table *loads;
    struct store_log_row *rows;
    size_t n, max;
};

/* Largest t <= limit at which an online commit wrote the type; 0: none. */
static uint64_t online_before(struct log_walk *l, uint64_t limit)
{
    /* no number is greatest: behind every one of that commit */
    struct key_bytes to = key_change(l->type, KEY_ONLINE, limit, UINT64_MAX);
    size_t len;
    rocksdb_iter_seek_for_prev(l->w.it, to.ptr, to.len);
    if (!rocksdb_iter_valid(l->w.it))
        return 0;
    const char *k = rocksdb_iter_key(l->w.it, &len);
    if (len != KEY_LEN || (fhir_type)(unsigned char)k[0] != l->type || k[1] != KEY_ONLINE)
        return 0;
    return key_get_u64(k + 2);
}

static const struct bulk_load *load_before(const struct log_walk *l, uint64_t limit)
{
    const struct bulk_load *best = NULL;
    for (size_t i = 0; i < l->loads->n; i++) {
        const struct bulk_load *b = &l->loads->rows[i];
        if (b->t <= limit && (best == NULL || b->t > best->t))
            best = b;
    }
    return best;
}

static void add_log_row(struct log_walk *l, uint64_t t, store_number number)
{
    if (l->n < l->max)
        l->rows[l->n++] = (struct store_log_row){ t, number };
}

/* Rows that have keys, of one commit, with numbers in [from, to). */
static err_code log_keys(struct log_walk *l, key_kind kind, uint64_t n, uint64_t t,
                         store_number from, store_number to, struct err *e)
{
    struct key_bytes at = key_change(l->type, kind, n, from);
    sv k;
    if (from >= to || !seek(&l->w, &at, &k))
        return ERR_OK;
    while (l->n < l->max && k.len == KEY_LEN && memcmp(k.ptr, at.ptr, HEAD) == 0 &&
           key_get_u64(k.ptr + HEAD) < to) {
        add_log_row(l, t, key_get_u64(k.ptr + HEAD));
        rocksdb_iter_next(l->w.it);
        if (!rocksdb_iter_valid(l->w.it))
            break;
        k.ptr = rocksdb_iter_key(l->w.it, &k.len);
    }
    (void)e;
    return ERR_OK;
}

/* Rows of a load behind a number: those it wrote for older numbers, its births (which can have a
 * key as well), and those for numbers that a later load gave and this one wrote first. */
static err_code log_load(struct log_walk *l, const struct bulk_load *b, store_number after,
                         struct err *e)
{
    struct births x;
    TRY(births_of(&l->w, l->type, b->b, &x, e));
    store_number first = number_make(b->b, l->type, 0), behind = first + x.n;
    store_number from = after + 1;
    TRY(log_keys(l, KEY_BULK, b->b, b->t, from, first, e));
    for (store_number k = from > first ? from : first; k < behind && l->n < l->max; k++)
        add_log_row(l, b->t, k);
    return log_keys(l, KEY_BULK, b->b, b->t, from > behind ? from : behind, UINT64_MAX, e);
}

static err_code log_commits(struct log_walk *l, uint64_t from_t, store_number after, struct err *e)
{
    uint64_t limit = from_t;
    while (limit && l->n < l->max) {
        uint64_t t = online_before(l, limit);
        const struct bulk_load *b = load_before(l, limit);
        if (t == 0 && b == NULL)
            break;
        bool bulk = b && b->t > t;
        if (bulk)
            t = b->t;
        store_number behind = t == from_t ? after : 0;
        if (bulk)
            TRY(log_load(l, b, behind, e));
        else
            TRY(log_keys(l, KEY_ONLINE, t, t, behind + 1, UINT64_MAX, e));
        limit = t - 1;
    }
    return ERR_OK;
}

err_code rocks_log(struct store *st, fhir_type type, uint64_t from_t, store_number after,
                   size_t max, struct arena *a, struct store_log_row **out, size_t *n_out,
                   struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    uint64_t last = rocks_seen_last((struct rocks *)st).t;
    struct log_walk l = { .type = type, .max = max };
    l.rows = arena_alloc(a, (max + 1) * sizeof *l.rows);
    if (l.rows == NULL)
        return arena_oom(a, e);
    /* after T, so that it holds every load up to it (I7) */
    l.loads = load_table_ref(r);
    walk_open(&l.w, r);
    err_code rc = log_commits(&l, from_t < last ? from_t : last, from_t <= last ? after : 0, e);
    rc = walk_close(&l.w, rc, e);
    load_table_unref(l.loads);
    if (rc == ERR_OK) {
        *out = l.rows;
        *n_out = l.n;
    }
    return rc;
}

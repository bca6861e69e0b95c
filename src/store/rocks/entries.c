/* entries.c - a walk over search entries: one range behind the other, each entry with the commit of
 * the version that wrote it.
 *
 * Keys stand in the order of type, parameter, value, number. Each lists some resources of one value
 * and one span of numbers, written by one load or commit; keys.h draws it. Lists of one span
 * can lie across each other: those of the load that gave birth to the resources, of later loads, of
 * commits. So all keys of one value and span, a *group*, are read at once, and give each resource
 * once, with the newest of its versions that is visible as of T. A group has at most as many
 * resources as a span has numbers. Ranges between which nothing stands cost one seek. */
#include "store/rocks/rocks_private.h"

#define GROUP_MOST (1u << ENTRY_SPAN_BITS) /* resources of a group */

struct entry_row {
    store_number number;
    uint64_t t;
};

struct rocks_index {
    struct store_index_cursor base;
    struct rocks *r;
    const struct search_driver *d;
    fhir_type type;
    uint64_t as_of;
    struct load_table *loads;
    const struct bulk_load *load; /* that was found last; NULL: none */
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it;
    size_t range; /* under way */
    bool entered; /* the iterator stands in it */
    bool sought;  /* it stands on the first entry behind the range before, or behind all */
    /* Where to begin, or to go on: nothing of this value in front of the number is given. No value:
     * from the first. */
    unsigned char from_value[SEARCH_KEY_MAX];
    size_t from_len;
    store_number from;
    /* the group at hand, in the order of numbers; the iterator stands behind it */
    unsigned char value[SEARCH_KEY_MAX];
    size_t value_len;
    uint64_t span;
    struct entry_row *rows;
    size_t n, cap, at;
    bool out_of_order;
};

static sv value_of(const struct rocks_index *c)
{
    return sv_make(c->value, c->value_len);
}

static size_t bound(const struct rocks_index *c, const unsigned char *v, size_t len, char *out)
{
    out[0] = (char)c->type;
    out[1] = (char)(c->d->param >> 8);
    out[2] = (char)c->d->param;
    /* empty, as the end of a range: all of the parameter */
    if (len) {
        memcpy(out + 3, v, len);
        return 3 + len;
    }
    uint16_t next = (uint16_t)(c->d->param + 1);
    out[1] = (char)(next >> 8);
    out[2] = (char)next;
    return 3;
}

static void begin_at(struct rocks_index *c, sv value, store_number from)
{
    c->from_len = value.len;
    memcpy(c->from_value, value.ptr, value.len);
    c->from = from;
}

err_code rocks_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                          sv after_value, store_number after, uint64_t as_of_t,
                          struct store_index_cursor **out, struct err *e)
{
    (void)e;
    struct rocks_index *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->base.ops = st->ops;
    c->r = (struct rocks *)st;
    c->d = d;
    c->type = type;
    c->as_of = rocks_as_of(c->r, as_of_t, &c->loads);
    if (after_value.len)
        begin_at(c, after_value, after == UINT64_MAX ? after : after + 1);
    c->ro = rocksdb_readoptions_create();
    c->it = rocksdb_create_iterator_cf(c->r->db, c->ro, c->r->cf[CF_SEARCH]);
    *out = &c->base;
    return ERR_OK;
}

/* One that is behind all entries stands before nothing. */
static bool stands_before(rocksdb_iterator_t *it, sv key)
{
    size_t len;
    if (!rocksdb_iter_valid(it))
        return false;
    const char *k = rocksdb_iter_key(it, &len);
    return sv_cmp(sv_make(k, len), key) < 0;
}

/* Seek the range under way, from where the cursor is to begin. */
static void enter(struct rocks_index *c)
{
    const struct search_range *r = &c->d->ranges[c->range];
    char from[KEY_SEARCH_MAX], mark[KEY_SEARCH_MAX];
    /* type and parameter, and nothing behind them: from the first value */
    (void)bound(c, r->from, r->from_len ? r->from_len : 1, from);
    sv f = sv_make(from, 3 + (size_t)r->from_len);
    if (c->from_len) {
        size_t n = bound(c, c->from_value, c->from_len, mark);
        /* a list begins at any number of its span */
        key_put_u64(mark + n, entry_span(c->from) << ENTRY_SPAN_BITS);
        sv m = sv_make(mark, n + NUMBER_BYTES);
        if (sv_cmp(m, f) > 0)
            f = m;
    }
    if (!c->sought || stands_before(c->it, f))
        rocksdb_iter_seek(c->it, f.ptr, f.len);
    c->entered = c->sought = true;
}

/* Stand on the next key of a range. False: there is none any more. */
static bool advance(struct rocks_index *c)
{
    char to[KEY_SEARCH_MAX];
    for (; c->range < c->d->n; c->range++, c->entered = false) {
        const struct search_range *r = &c->d->ranges[c->range];
        size_t to_len = bound(c, r->to, r->to_len, to);
        if (!c->entered)
            enter(c);
        if (!rocksdb_iter_valid(c->it))
            continue;
        size_t len;
        const char *k = rocksdb_iter_key(c->it, &len);
        if (sv_cmp(sv_make(k, len), sv_make(to, to_len)) < 0)
            return true;
    }
    return false;
}

/* ---- groups ---- */

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "reading the data store: an index entry is damaged");
}

static int by_number_newest_first(const void *a, const void *b)
{
    const struct entry_row *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->t > y->t ? -1 : x->t < y->t;
}

/* Each resource once, with its newest version. */
static void put_in_order(struct rocks_index *c)
{
    size_t kept = 0;
    if (!c->out_of_order)
        return;
    qsort(c->rows, c->n, sizeof *c->rows, by_number_newest_first);
    for (size_t i = 0; i < c->n; i++)
        if (kept == 0 || c->rows[kept - 1].number != c->rows[i].number)
            c->rows[kept++] = c->rows[i];
    c->n = kept;
    c->out_of_order = false;
}

static void add_row(struct rocks_index *c, store_number number, uint64_t t)
{
    if (c->n == 2 * GROUP_MOST)
        put_in_order(c);
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->rows = realloc(c->rows, c->cap * sizeof *c->rows);
        if (c->rows == NULL)
            abort();
    }
    c->out_of_order |= c->n && c->rows[c->n - 1].number >= number;
    c->rows[c->n++] = (struct entry_row){ number, t };
}

/* The commit of what an entry is about. UINT64_MAX: it is not visible. */
static uint64_t commit_of(struct rocks_index *c, const struct key_search_parts *p)
{
    if (p->kind == ENTRY_ONLINE)
        return p->n;
    if (c->load == NULL || c->load->b != p->n)
        c->load = load_table_find(c->loads, p->n);
    return c->load ? c->load->t : UINT64_MAX;
}

static err_code add_list(struct rocks_index *c, const struct key_search_parts *p, struct err *e)
{
    size_t len;
    const char *v = rocksdb_iter_value(c->it, &len);
    store_number number = p->number;
    uint64_t t = commit_of(c, p), step;
    if (t > c->as_of)
        return ERR_OK;
    add_row(c, number, t);
    for (sv list = sv_make(v, len); list.len;) {
        if (!entry_step_next(&list, &step) || entry_span(number + step) != c->span)
            return damaged(e);
        number += step;
        add_row(c, number, t);
    }
    return ERR_OK;
}

/* The group that begins at the iterator's key, which is left behind it. Nothing of it may be
 * visible. */
static err_code read_group(struct rocks_index *c, struct err *e)
{
    struct key_search_parts p;
    bool first = true;
    c->n = c->at = 0;
    c->out_of_order = false;
    for (; rocksdb_iter_valid(c->it); rocksdb_iter_next(c->it)) {
        size_t len;
        const char *k = rocksdb_iter_key(c->it, &len);
        if (!key_search_split(sv_make(k, len), &p))
            return damaged(e);
        if (first) {
            c->value_len = p.value.len;
            memcpy(c->value, p.value.ptr, p.value.len);
            c->span = entry_span(p.number);
            first = false;
        } else if (entry_span(p.number) != c->span || !sv_eq(p.value, value_of(c))) {
            break;
        }
        TRY(add_list(c, &p, e));
    }
    put_in_order(c);
    return ERR_OK;
}

static bool is_from_value(const struct rocks_index *c)
{
    return c->from_len && sv_eq(value_of(c), sv_make(c->from_value, c->from_len));
}

/* The first row at or behind the number where the cursor is to begin. */
static void pass_rows(struct rocks_index *c)
{
    size_t low = 0, high = c->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c->rows[mid].number < c->from)
            low = mid + 1;
        else
            high = mid;
    }
    c->at = low;
}

err_code rocks_index_next(struct store_index_cursor *base, struct store_index_hit *out,
                          struct err *e)
{
    struct rocks_index *c = (struct rocks_index *)base;
    while (c->at == c->n && advance(c)) {
        TRY(read_group(c, e));
        if (is_from_value(c))
            pass_rows(c);
    }
    if (c->at < c->n) {
        const struct entry_row *row = &c->rows[c->at++];
        *out = (struct store_index_hit){ value_of(c), row->number, row->t };
        return ERR_OK;
    }
    char *bad = NULL;
    rocksdb_iter_get_error(c->it, &bad);
    TRY(rocks_error(bad, "reading the data store", e));
    return ERR_EOF;
}

void rocks_index_seek(struct store_index_cursor *base, sv value, store_number number)
{
    struct rocks_index *c = (struct rocks_index *)base;
    const bool at_hand = c->n && entry_span(number) == c->span && sv_eq(value, value_of(c));
    begin_at(c, value, number);
    if (at_hand) {
        pass_rows(c);
        return;
    }
    c->n = c->at = 0;
    c->range = 0;
    while (c->range + 1 < c->d->n && c->d->ranges[c->range].to_len &&
           sv_cmp(value, sv_make(c->d->ranges[c->range].to, c->d->ranges[c->range].to_len)) >= 0)
        c->range++;
    c->entered = c->sought = false;
}

void rocks_index_close(struct store_index_cursor *base)
{
    struct rocks_index *c = (struct rocks_index *)base;
    rocksdb_iter_destroy(c->it);
    rocksdb_readoptions_destroy(c->ro);
    load_table_unref(c->loads);
    free(c->rows);
    free(c);
}

/* entries.c - a walk over search entries: one range behind the other, each entry with the commit of
 * the version that wrote it.
 *
 * Keys stand in the order of type, parameter, value, id. An entry of a bulk load carries the load's
 * number, whose commit the table of loads says; what is not visible as of T is passed over. Ranges
 * between which nothing stands cost one seek. */
#include "store/rocks/rocks_private.h"

struct rocks_index {
    struct store_index_cursor base;
    struct rocks *r;
    const struct search_driver *d;
    fhir_type type;
    uint64_t as_of;
    struct load_table *loads;
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it;
    size_t range; /* under way */
    bool entered; /* the iterator stands in it */
    bool sought;  /* it stands on the first entry behind the range before, or behind all */
    char mark[KEY_SEARCH_MAX]; /* where to go on: entries up to it are passed over */
    size_t mark_len;
    char value[SEARCH_KEY_MAX], id[FHIR_ID_MAX]; /* what the last hit shows */
};

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

err_code rocks_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                          sv after_value, sv after_id, uint64_t as_of_t,
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
    /* before the table of loads, which then holds all up to it (I7) */
    uint64_t last = rocks_last(st).t;
    c->as_of = as_of_t < last ? as_of_t : last;
    c->loads = load_table_ref(c->r);
    if (after_value.len) {
        /* kind, n and length are greatest: behind every version's entry of that value and id */
        c->mark_len =
            key_search(type, d->param, after_value, after_id, KEY_ONLINE, UINT64_MAX, c->mark);
        c->mark[c->mark_len - 1] = (char)0xFF;
    }
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

/* Stand on the next entry of a range. False: there is none any more. Ranges between which nothing
 * stands cost one seek. */
static bool advance(struct rocks_index *c)
{
    char from[KEY_SEARCH_MAX], to[KEY_SEARCH_MAX];
    for (; c->range < c->d->n; c->range++, c->entered = false) {
        const struct search_range *r = &c->d->ranges[c->range];
        size_t to_len = bound(c, r->to, r->to_len, to);
        if (!c->entered) {
            size_t from_len = 3 + (size_t)r->from_len;
            /* type and parameter */
            (void)bound(c, r->from, r->from_len ? r->from_len : 1, from);
            sv f = sv_make(from, from_len), m = sv_make(c->mark, c->mark_len);
            if (c->mark_len && sv_cmp(m, f) > 0)
                f = m;
            if (!c->sought || stands_before(c->it, f))
                rocksdb_iter_seek(c->it, f.ptr, f.len);
            c->entered = c->sought = true;
        } else {
            rocksdb_iter_next(c->it);
        }
        if (!rocksdb_iter_valid(c->it))
            continue;
        size_t len;
        const char *k = rocksdb_iter_key(c->it, &len);
        if (sv_cmp(sv_make(k, len), sv_make(to, to_len)) < 0)
            return true;
    }
    return false;
}

err_code rocks_index_next(struct store_index_cursor *base, struct store_index_hit *out,
                          struct err *e)
{
    struct rocks_index *c = (struct rocks_index *)base;
    while (advance(c)) {
        size_t len;
        const char *k = rocksdb_iter_key(c->it, &len);
        struct key_search_parts p;
        if (!key_search_split(sv_make(k, len), &p))
            return ERR(e, ERR_CORRUPT, "reading the data store: an index entry is damaged");
        uint64_t t = p.n;
        if (p.kind == KEY_BULK) {
            const struct bulk_load *b = load_table_find(c->loads, p.n);
            t = b ? b->t : UINT64_MAX;
        }
        if (t > c->as_of)
            continue;
        memcpy(c->value, p.value.ptr, p.value.len);
        memcpy(c->id, p.id.ptr, p.id.len);
        *out =
            (struct store_index_hit){ sv_make(c->value, p.value.len), sv_make(c->id, p.id.len), t };
        return ERR_OK;
    }
    char *bad = NULL;
    rocksdb_iter_get_error(c->it, &bad);
    TRY(rocks_error(bad, "reading the data store", e));
    return ERR_EOF;
}

void rocks_index_seek(struct store_index_cursor *base, sv value, sv id)
{
    struct rocks_index *c = (struct rocks_index *)base;
    (void)key_search(c->type, c->d->param, value, id, KEY_BULK, 0, c->mark);
    /* in front of all versions' entries */
    c->mark_len = 3 + value.len + id.len;
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
    free(c);
}

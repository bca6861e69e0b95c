/* log.c - the log of a type, newest commit first, out of the space of changes.
 *
 * Changes of online commits stand in the order of t and are walked backwards; those of bulk loads stand under
 * the load's number, whose commit the table of published loads tells. The two are merged commit by commit. */
#include "store/rocks/rocks_private.h"

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
static err_code take(struct log_walk *w, key_kind kind, uint64_t n, uint64_t t, sv after_id,
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

static err_code walk(struct log_walk *w, uint64_t from_t, sv after_id, struct err *e)
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
        TRY(take(w, bulk ? KEY_BULK : KEY_ONLINE, bulk ? b->b : t, t,
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
    uint64_t last = store_last(st).t;
    struct log_walk w = { .r = r, .type = type, .a = a, .max = max };
    w.rows = arena_alloc(a, (max + 1) * sizeof *w.rows);
    if (w.rows == NULL)
        return arena_oom(a, e);
    w.loads = load_table_ref(r); /* after T, so that it holds every load up to it (I7) */
    w.ro = rocksdb_readoptions_create();
    w.it = rocksdb_create_iterator_cf(r->db, w.ro, r->cf[CF_CHANGES]);
    err_code rc = walk(&w, from_t < last ? from_t : last, from_t <= last ? after_id : SV_NONE, e);
    rocksdb_iter_destroy(w.it);
    rocksdb_readoptions_destroy(w.ro);
    load_table_unref(w.loads);
    if (rc == ERR_OK) {
        *out = w.rows;
        *n_out = w.n;
    }
    return rc;
}

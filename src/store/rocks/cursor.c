/* cursor.c - what the three kinds of cursor share, and the history of one id.
 *
 *   scan.c     every resource of a range that is current as of T, or some of them
 *   window.c   every id of a range that changed within a window of commits
 *   here       every version of one id, newest first
 *
 * Versions of one id are listed by their keys; the body of each is read when it is its turn, so
 * that memory is that of one, however often the resource was written. */
#include "store/rocks/read_private.h"

struct rocks_cursor *rocks_cursor_new(struct rocks *r, int kind, uint64_t as_of_t)
{
    struct rocks_cursor *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->base.ops = r->base.ops;
    c->r = r;
    c->kind = kind;
    c->as_of = rocks_as_of(r, as_of_t, &c->loads);
    id_group_init(&c->g);
    c->g.cursor = &c->base;
    buf_init(&c->changes, CHANGES_MAX_BYTES);
    buf_init(&c->rows, ROCKS_ROWS_MAX);
    buf_init(&c->ahead.rows, AHEAD_MOST * sizeof(struct ahead_row));
    buf_init(&c->ahead.bytes, AHEAD_MOST * FHIR_ID_MAX + AHEAD_BYTES + ROCKS_BODY_MAX);
    c->ahead.want = AHEAD_FIRST;
    return c;
}

void rocks_cursor_rest(struct store_cursor *base)
{
    struct rocks_cursor *c = (struct rocks_cursor *)base;
    iter_close(&c->lent);
}

/* Through an iterator: a read by key would make a copy of what is not in the cache. */
err_code rocks_cursor_lend(struct rocks_cursor *c, const struct key_bytes *key,
                           struct fhir_body *body, struct err *e)
{
    struct iter *x = &c->lent;
    struct key_bytes behind = *key;
    struct value_head head;
    size_t len;
    behind.ptr[behind.len++] = 0;
    iter_open(x, c->r, behind, ITER_ONE, &c->r->env->alone);
    x->halt = c->base.halt;
    iter_seek(x, key);
    err_code rc = x->valid ? ERR_OK : iter_end(x, e);
    if (rc == ERR_OK && x->valid) {
        const char *v = rocksdb_iter_value(x->it, &len);
        rc = value_split(sv_make(v, len), &head) ? ERR_OK : rocks_damaged(e);
    } else if (rc == ERR_OK) {
        rc = rocks_damaged(e);
    }
    if (rc == ERR_OK)
        *body = head.body;
    else
        iter_close(x);
    return rc;
}

void rocks_cursor_close(struct store_cursor *base)
{
    struct rocks_cursor *c = (struct rocks_cursor *)base;
    rocks_cursor_rest(base);
    iter_close(&c->x);
    id_group_done(&c->g);
    buf_done(&c->changes);
    buf_done(&c->ahead.rows);
    buf_done(&c->ahead.bytes);
    if (c->get)
        rocksdb_readoptions_destroy(c->get);
    load_table_unref(c->loads);
    buf_done(&c->rows);
    free(c);
}

void rocks_cursor_range(struct rocks_cursor *c, const struct store_range *range)
{
    c->from = key_number(range->from);
    c->passes_to = range->from;
    c->upper = key_end(range->to);
    c->type = range->type;
}

/* The value of a key that is there, its id and its body copied into c->g. */
err_code rocks_cursor_value(struct rocks_cursor *c, struct key_bytes key, struct value_head *h,
                            struct err *e)
{
    struct gate *gate = gate_of_cursor(c, c->type);
    struct buf *to = &c->g.best.value;
    char *bad = NULL;
    size_t len = 0;
    if (c->get == NULL)
        c->get = rocksdb_readoptions_create();
    buf_clear(to);
    c->g.best.placed = c->g.best.apart = false;
    c->g.best.left_out = 0;
    if (gate)
        TRY(gate_enter_unless(gate, c->r, c->base.halt, e));
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned_cf(c->r->db, c->get, c->r->cf[CF_VERSIONS], key.ptr, key.len, &bad);
    err_code rc = rocks_error(bad, "reading the data store", e);
    if (rc == ERR_OK) {
        const char *v = found ? rocksdb_pinnableslice_value(found, &len) : NULL;
        rc = v && value_split(sv_make(v, len), h) ? ERR_OK : rocks_damaged(e);
    }
    if (rc == ERR_OK) {
        /* of an erased one the id stays that of the versions around it */
        if (!h->erased) {
            c->g.id_len = h->id.len;
            memcpy(c->g.id, h->id.ptr, h->id.len);
        }
    }
    if (rc == ERR_OK && !(c->base.light && candidate_cut(&c->g.best, &h->body, &rc, e))) {
        rc = buf_add(to, h->body.json, e);
        h->body.json = buf_sv(to);
    }
    if (found)
        rocksdb_pinnableslice_destroy(found);
    if (gate) {
        gate_leave(gate, c->r);
        /* small neighbours come out of one block, and large ones would push out what others have in
         * the cache */
        rocksdb_readoptions_set_fill_cache(c->get, len <= LIMIT_WHOLE_BYTES);
    }
    return rc;
}

/* ---- history ---- */

struct history_row {
    uint64_t t, n;
    int64_t instant_ms; /* of a bulk load; online versions say it themselves */
    key_kind kind;
};

static int newer_first(const void *a, const void *b)
{
    const struct history_row *x = a, *y = b;
    return x->t < y->t ? 1 : x->t > y->t ? -1 : 0;
}

/* Keys bring their values' blocks, so the list passes the gate whoever asks. */
static err_code history_list(struct rocks_cursor *c, store_number of, struct err *e)
{
    CLEANUP_ITER struct iter x;
    struct key_bytes from = key_number(of);
    iter_open(&x, c->r, key_number(of + 1), ITER_ONE, gate_for(c->r, c->type, true));
    for (iter_seek(&x, &from); x.valid; iter_next(&x)) {
        struct key_version_parts p;
        TRY(iter_parts(&x, &p, e));
        struct history_row row = { .t = p.n, .n = p.n, .kind = p.kind };
        if (p.kind == KEY_BULK) {
            const struct bulk_load *b = load_table_find(c->loads, p.n);
            row.t = b ? b->t : UINT64_MAX;
            row.instant_ms = b ? b->instant_ms : 0;
        }
        if (row.t <= c->as_of)
            TRY(buf_add(&c->rows, sv_make(&row, sizeof row), e));
    }
    return iter_end(&x, e);
}

err_code rocks_history_next(struct rocks_cursor *c, struct store_version *out, struct err *e)
{
    size_t n_rows = c->rows.len / sizeof(struct history_row);
    if (c->at == n_rows)
        return ERR_EOF;
    const struct history_row *row = (const struct history_row *)(const void *)c->rows.ptr + c->at;
    struct id_group *g = &c->g;
    sv id = sv_make(g->id, g->id_len);
    TRY(rocks_cursor_value(c, key_version(g->number, row->kind, row->n), &g->best.head, e));
    const struct value_head *h = &g->best.head;
    *out = (struct store_version){ .type = c->type,
                                   .id = id,
                                   .number = g->number,
                                   .t = row->t,
                                   .instant_ms = h->online ? h->instant_ms : row->instant_ms,
                                   .version = n_rows - c->at,
                                   .method = h->method,
                                   .erased = h->erased };
    if (h->method != STORE_METHOD_DELETE) {
        out->body = h->body;
        out->left_out = g->best.left_out;
    }
    c->at++;
    return ERR_OK;
}

err_code rocks_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                       struct store_cursor **out, struct err *e)
{
    struct rocks_cursor *c = rocks_cursor_new((struct rocks *)st, HISTORY, as_of_t);
    bool there, later;
    c->type = type;
    c->g.id_len = id.len;
    memcpy(c->g.id, id.ptr, c->g.id_len);
    err_code rc = ids_find(&c->r->ids, type, id, &there, &c->g.number, &later, e);
    if (rc == ERR_OK && there)
        rc = history_list(c, c->g.number, e);
    if (rc != ERR_OK) {
        rocks_cursor_close(&c->base);
        return rc;
    }
    if (c->rows.len)
        qsort(c->rows.ptr, c->rows.len / sizeof(struct history_row), sizeof(struct history_row),
              newer_first);
    *out = &c->base;
    return ERR_OK;
}

/* cursor.c - what the kinds of cursor share: batches of rows, and bodies where they are wanted.
 *
 * A cursor asks for a batch at a time and keeps no connection and no snapshot between batches: what
 * it sees is settled by its commit T. A body that stands in parts is read when it is its turn. A
 * giant is read inside its gate, into memory that goes when the cursor rests. */
#include "fhir/large.h"
#include "store/postgres/read_private.h"

struct pg_cursor *pg_cursor_new(struct pg *p, fhir_type type, size_t own_bytes)
{
    struct pg_cursor *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->base.ops = p->base.ops;
    c->p = p;
    c->type = type;
    buf_init(&c->whole, PG_BODY_MAX);
    c->own = own_bytes ? calloc(1, own_bytes) : NULL;
    if (own_bytes && c->own == NULL)
        abort();
    return c;
}

void pg_cursor_rest(struct store_cursor *base)
{
    struct pg_cursor *c = (struct pg_cursor *)base;
    if (!c->alone)
        return;
    buf_done(&c->whole);
    buf_init(&c->whole, PG_BODY_MAX);
    gate_leave(&c->p->env->alone, c->p);
    c->alone = false;
}

void pg_cursor_close(struct store_cursor *base)
{
    struct pg_cursor *c = (struct pg_cursor *)base;
    pg_cursor_rest(base);
    if (c->done)
        c->done(c);
    PQclear(c->rows);
    buf_done(&c->whole);
    pg_loads_unref(c->loads);
    free(c->own);
    free(c);
}

err_code pg_cursor_next(struct store_cursor *base, struct store_version *out, struct err *e)
{
    struct pg_cursor *c = (struct pg_cursor *)base;
    pg_cursor_rest(base);
    return c->next(c, out, e);
}

/* ---- bodies ---- */

static err_code parts_into(struct pg_cursor *c, const struct pg_row *row, char *dst, struct err *e)
{
    PGconn *conn;
    TRY(pg_take(c->p, PG_READ, &conn, e));
    err_code rc = pg_parts_get(conn, row->number, row->n, row->body.json.len, dst, e);
    pg_give(c->p, PG_READ, conn);
    return rc;
}

/* A large body without its large members. */
static err_code light_body(struct pg_cursor *c, const struct pg_row *row, struct store_version *out,
                           struct err *e)
{
    CLEANUP_BUF struct buf all = BUF_INIT(PG_BODY_MAX);
    struct gate *gate = number_type(row->number) == c->p->env->gate.type ? &c->p->env->gate : NULL;
    struct fhir_body body = row->body, cut;
    if (gate)
        TRY(gate_enter_unless(gate, c->p, c->base.halt, e));
    err_code rc = buf_reserve(&all, row->body.json.len, e);
    if (rc == ERR_OK)
        rc = parts_into(c, row, all.ptr, e);
    body.json.ptr = all.ptr;
    buf_clear(&c->whole);
    if (rc == ERR_OK)
        rc = fhir_body_cut(&body, &c->whole, &cut, e);
    if (rc == ERR_OK) {
        out->left_out = body.json.len - cut.json.len;
        out->body = cut;
    }
    buf_done(&all);
    if (gate)
        gate_leave(gate, c->p);
    return rc;
}

err_code pg_cursor_body(struct pg_cursor *c, const struct pg_row *row, struct store_version *out,
                        struct err *e)
{
    const size_t len = row->body.json.len;
    struct buf *to = &c->whole;
    size_t gap = 0;
    out->body = row->body;
    if (row->method == STORE_METHOD_DELETE) {
        out->body = (struct fhir_body){ 0 };
        return ERR_OK;
    }
    if (c->base.light && len > LIMIT_WHOLE_BYTES)
        return light_body(c, row, out, e);
    const bool giant = c->base.giants && len > LIMIT_GIANT_BYTES;
    if (giant) {
        TRY(gate_enter_unless(&c->p->env->alone, c->p, c->base.halt, e));
        c->alone = true;
    } else if (c->base.place) {
        out->placed = true;
        to = c->base.place;
        gap = c->base.gap;
    } else if (row->body.json.ptr) {
        return ERR_OK;
    }
    if (to == &c->whole)
        buf_clear(to);
    TRY(buf_reserve(to, gap + len + 1, e));
    out->body.json.ptr = to->ptr + to->len + gap;
    if (row->body.json.ptr == NULL)
        return parts_into(c, row, to->ptr + to->len + gap, e);
    memcpy(to->ptr + to->len + gap, row->body.json.ptr, len);
    return ERR_OK;
}

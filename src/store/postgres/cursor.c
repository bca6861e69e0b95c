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

err_code pg_cursor_as_of(struct pg_cursor *c, uint64_t as_of_t, struct err *e)
{
    PGconn *conn;
    TRY(pg_take(c->p, PG_READ, &conn, e));
    err_code rc = pg_as_of(c->p, conn, as_of_t, &c->as_of, &c->loads, e);
    pg_give(c->p, PG_READ, conn);
    return rc;
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
    pg_pack_done(&c->pack);
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

err_code pg_cursor_row(struct pg_cursor *c, const PGresult *r, int row, int col, struct pg_row *out,
                       struct err *e)
{
    pg_row_read(r, row, col, out);
    if (out->id.ptr)
        return ERR_OK;
    if (PQgetisnull(r, row, col + 10))
        return ERR(e, ERR_CORRUPT, "reading the data store: a version is not there");
    if (!PQgetisnull(r, row, col + 13))
        TRY(pg_pack_open(&c->pack, r, row, col + 10, e));
    return pg_pack_find(&c->pack, (store_number)pg_i64(r, row, col),
                        (store_number)pg_i64(r, row, col + 10), out, e);
}

static err_code ask_cursor(void *ctx, const char *sql, int n_args, const char *const *args,
                           PGresult **out, struct err *e)
{
    return pg_cursor_ask(ctx, PG_READ, sql, n_args, args, out, e);
}

/* Pieces never change, so it does not matter when a standby stops to give them. */
static err_code parts_into(struct pg_cursor *c, const struct pg_row *row, char *dst, struct err *e)
{
    return pg_parts_read(ask_cursor, c, row->number, row->n, row->body.json.len, dst, e);
}

/* Where a large body is read: a giant where one is at a time, whoever reads it. */
static struct gate *gate_of(const struct pg_cursor *c, const struct pg_row *row)
{
    struct store_env *env = c->p->env;
    if (c->alone)
        return NULL;
    if (row->body.json.len > LIMIT_GIANT_BYTES)
        return &env->alone;
    return number_type(row->number) == env->gate.type ? &env->gate : NULL;
}

/* A large body without its large members. */
static err_code light_body(struct pg_cursor *c, const struct pg_row *row, struct store_version *out,
                           struct err *e)
{
    CLEANUP_BUF struct buf all = BUF_INIT(PG_BODY_MAX);
    struct gate *gate = gate_of(c, row);
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

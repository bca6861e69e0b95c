/* write.c - the rows of a group's commits, in one statement.
 *
 * Columns travel as arrays, and the statement writes versions, who changed, search entries and the
 * commits themselves. Bodies that stand in parts follow, a part a statement. */
#include "store/postgres/commit/commit_private.h"

#define COLUMNS_MAX ((size_t)1 << 29) /* bytes of a column */

enum {
    V_TYPE,
    V_NUMBER,
    V_N,
    V_ID,
    V_METHOD,
    V_VERSION,
    V_INSTANT,
    V_HOLE_AT,
    V_HOLE,
    V_LEN,
    V_BODY,
    S_TYPE,
    S_PARAM,
    S_VALUE,
    S_NUMBER,
    S_N,
    C_T,
    C_INSTANT,
    C_COUNT,
    C_WHO,
    N_COLUMNS
};

static const pg_element elements[N_COLUMNS] = {
    [V_TYPE] = PG_INT2,   [V_NUMBER] = PG_INT8,  [V_N] = PG_INT8,       [V_ID] = PG_TEXT,
    [V_METHOD] = PG_INT2, [V_VERSION] = PG_INT8, [V_INSTANT] = PG_INT8, [V_HOLE_AT] = PG_INT4,
    [V_HOLE] = PG_INT2,   [V_LEN] = PG_INT8,     [V_BODY] = PG_BYTEA,   [S_TYPE] = PG_INT2,
    [S_PARAM] = PG_INT4,  [S_VALUE] = PG_BYTEA,  [S_NUMBER] = PG_INT8,  [S_N] = PG_INT8,
    [C_T] = PG_INT8,      [C_INSTANT] = PG_INT8, [C_COUNT] = PG_INT8,   [C_WHO] = PG_TEXT,
};

/* A resource can list an entry twice, which is one row. */
static const char insert[] =
    "with v as (insert into versions(type, number, n, id, method, version, instant_ms, hole_at, "
    "hole, body_len, body) select * from unnest($1::smallint[], $2::bigint[], $3::bigint[], "
    "$4::text[], $5::smallint[], $6::bigint[], $7::bigint[], $8::int[], $9::smallint[], "
    "$10::bigint[], $11::bytea[])), c as (insert into changes(type, n, number) select * from "
    "unnest($1::smallint[], $3::bigint[], $2::bigint[])), s as (insert into search(type, param, "
    "value, number, n) select * from unnest($12::smallint[], $13::int[], $14::bytea[], "
    "$15::bigint[], $16::bigint[]) on conflict do nothing) insert into commits(t, instant_ms, "
    "load, count, who) select u.t, u.i, 0, u.n, u.who::uuid from unnest($17::bigint[], "
    "$18::bigint[], $19::bigint[], $20::text[]) u(t, i, n, who)";

static err_code add_version(struct pg_array *col, const struct pg_write *w, struct err *e)
{
    const struct store_write *x = w->w;
    const bool gone = x->method == STORE_METHOD_DELETE;
    const struct fhir_body none = { 0 }, *body = gone ? &none : &x->body;
    TRY(pg_array_add_int(&col[V_TYPE], x->type, e));
    TRY(pg_array_add_int(&col[V_NUMBER], (int64_t)w->number, e));
    TRY(pg_array_add_int(&col[V_N], (int64_t)w->of->out.t, e));
    TRY(pg_array_add(&col[V_ID], x->id, e));
    TRY(pg_array_add_int(&col[V_METHOD], x->method, e));
    TRY(pg_array_add_int(&col[V_VERSION], (int64_t)x->version, e));
    TRY(pg_array_add_int(&col[V_INSTANT], w->of->out.instant_ms, e));
    TRY(pg_array_add_int(&col[V_HOLE_AT], body->hole_at, e));
    TRY(pg_array_add_int(&col[V_HOLE], body->hole, e));
    TRY(pg_array_add_int(&col[V_LEN], (int64_t)body->json.len, e));
    return pg_array_add(&col[V_BODY], gone || body->json.len > PG_WHOLE ? SV_NONE : body->json, e);
}

static err_code add_entries(struct pg_array *col, const struct pg_write *w, struct err *e)
{
    sv rest = w->w->index, value;
    uint16_t param;
    if (w->w->method == STORE_METHOD_DELETE)
        return ERR_OK;
    while (search_index_next(&rest, &param, &value)) {
        TRY(pg_array_add_int(&col[S_TYPE], w->w->type, e));
        TRY(pg_array_add_int(&col[S_PARAM], param, e));
        TRY(pg_array_add(&col[S_VALUE], value, e));
        TRY(pg_array_add_int(&col[S_NUMBER], (int64_t)w->number, e));
        TRY(pg_array_add_int(&col[S_N], (int64_t)w->of->out.t, e));
    }
    return ERR_OK;
}

static err_code add_commits(struct pg_array *col, struct pg_group *g, struct err *e)
{
    for (struct pg_waiter *w = g->first; w; w = w->next) {
        if (w->rc != ERR_OK)
            continue;
        TRY(pg_array_add_int(&col[C_T], (int64_t)w->out.t, e));
        TRY(pg_array_add_int(&col[C_INSTANT], w->out.instant_ms, e));
        TRY(pg_array_add_int(&col[C_COUNT], (int64_t)w->n, e));
        TRY(pg_array_add(&col[C_WHO], sv_from(w->who), e));
    }
    return ERR_OK;
}

static err_code fill(struct pg_array *col, struct pg_group *g, struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->rows[i].of->rc != ERR_OK)
            continue;
        TRY(add_version(col, &g->rows[i], e));
        TRY(add_entries(col, &g->rows[i], e));
    }
    TRY(add_commits(col, g, e));
    for (unsigned i = 0; i < N_COLUMNS; i++)
        TRY(pg_array_end(&col[i], e));
    return ERR_OK;
}

static err_code put_parts(PGconn *c, const struct pg_group *g, struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct pg_write *w = &g->rows[i];
        if (w->of->rc == ERR_OK && w->w->method != STORE_METHOD_DELETE &&
            w->w->body.json.len > PG_WHOLE)
            TRY(pg_parts_put(c, w->number, (int64_t)w->of->out.t, w->w->body.json, e));
    }
    return ERR_OK;
}

err_code pg_write_rows(PGconn *c, struct pg_group *g, struct err *e)
{
    struct pg_array col[N_COLUMNS];
    sv args[N_COLUMNS];
    PGresult *r;
    for (struct pg_waiter *w = g->first; w; w = w->next)
        if (w->rc == ERR_OK)
            g->clock.last = w->out = pg_clock_next(&g->clock);
    for (unsigned i = 0; i < N_COLUMNS; i++)
        pg_array_init(&col[i], elements[i], COLUMNS_MAX);
    err_code rc = fill(col, g, e);
    for (unsigned i = 0; i < N_COLUMNS; i++)
        args[i] = buf_sv(&col[i].b);
    if (rc == ERR_OK)
        rc = pg_ask_binary(c, insert, N_COLUMNS, args, COMMITTING, &r, e);
    if (rc == ERR_OK)
        PQclear(r);
    for (unsigned i = 0; i < N_COLUMNS; i++)
        pg_array_done(&col[i]);
    return rc == ERR_OK ? put_parts(c, g, e) : rc;
}

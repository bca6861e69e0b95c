/* write.c - the rows of a group's commits, in one statement.
 *
 * Columns travel as arrays, and the statement writes rows of ids, versions, who changed, search
 * entries, sums, the commits themselves and the clock: others wait for its row meanwhile, so each
 * statement less is a wait less. When a load came between with a row for one of the new ids, all
 * but the ids is left out. Bodies that stand in parts follow, a part a statement. */
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
    I_TYPE,
    I_ID,
    I_NUMBER,
    K_KEY,
    K_DELTA,
    N_COLUMNS
};
enum { NUMBER_IDS, CLOCK_T, CLOCK_INSTANT, N_SINGLE };
_Static_assert(N_COLUMNS + N_SINGLE <= PG_ARGS_MOST, "arguments of a statement");

static const pg_element elements[N_COLUMNS] = {
    [V_TYPE] = PG_INT2,   [V_NUMBER] = PG_INT8,  [V_N] = PG_INT8,       [V_ID] = PG_TEXT,
    [V_METHOD] = PG_INT2, [V_VERSION] = PG_INT8, [V_INSTANT] = PG_INT8, [V_HOLE_AT] = PG_INT4,
    [V_HOLE] = PG_INT2,   [V_LEN] = PG_INT8,     [V_BODY] = PG_BYTEA,   [S_TYPE] = PG_INT2,
    [S_PARAM] = PG_INT2,  [S_VALUE] = PG_BYTEA,  [S_NUMBER] = PG_INT8,  [S_N] = PG_INT8,
    [C_T] = PG_INT8,      [C_INSTANT] = PG_INT8, [C_COUNT] = PG_INT8,   [C_WHO] = PG_TEXT,
    [I_TYPE] = PG_INT2,   [I_ID] = PG_TEXT,      [I_NUMBER] = PG_INT8,  [K_KEY] = PG_BYTEA,
    [K_DELTA] = PG_INT8,
};

/* A resource can list an entry twice, which is one row. */
#define ALL_NEW "where (select yes from all_new)"
static const char insert[] =
    "with i as (insert into ids(type, id, number) select * from unnest($21::smallint[], "
    "$22::text[], $23::bigint[]) on conflict do nothing returning 1), all_new as materialized "
    "(select count(*) = $26::bigint as yes from i), v as (insert into versions(type, number, n, "
    "id, method, version, instant_ms, hole_at, hole, body_len, body) select * from "
    "unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::smallint[], $6::bigint[], "
    "$7::bigint[], $8::int[], $9::smallint[], $10::bigint[], $11::bytea[]) " ALL_NEW
    "), c as (insert into changes(type, n, number) select * from unnest($1::smallint[], "
    "$3::bigint[], $2::bigint[]) " ALL_NEW "), s as (insert into search(type, param, value, "
    "number, n) select * from unnest($12::smallint[], $13::smallint[], $14::bytea[], "
    "$15::bigint[], $16::bigint[]) " ALL_NEW " on conflict do nothing), k as (insert into "
    "counts(k, delta, n) select u.k, u.delta, $27::bigint from unnest($24::bytea[], "
    "$25::bigint[]) u(k, delta) " ALL_NEW "), m as (insert into commits(t, instant_ms, load, "
    "count, who) select u.t, u.i, 0, u.n, u.who::uuid from unnest($17::bigint[], $18::bigint[], "
    "$19::bigint[], $20::text[]) u(t, i, n, who) " ALL_NEW "), o as (update clock set t = "
    "$27::bigint, instant_ms = $28::bigint " ALL_NEW ") select yes from all_new";

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

/* Rows are sorted by type and id, as those of loads: both wait for each other and never for ever.
 */
static err_code add_id(struct pg_array *col, const struct pg_write *w, struct err *e)
{
    TRY(pg_array_add_int(&col[I_TYPE], w->w->type, e));
    TRY(pg_array_add(&col[I_ID], w->w->id, e));
    return pg_array_add_int(&col[I_NUMBER], (int64_t)w->number, e);
}

static err_code fill(struct pg_array *col, struct pg_group *g, const struct tally *sums,
                     struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->rows[i].of->rc != ERR_OK)
            continue;
        TRY(add_version(col, &g->rows[i], e));
        TRY(add_entries(col, &g->rows[i], e));
        if (!g->rows[i].has_row)
            TRY(add_id(col, &g->rows[i], e));
    }
    TRY(add_commits(col, g, e));
    TRY(pg_counts_columns(sums, &col[K_KEY], &col[K_DELTA], e));
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

err_code pg_write_rows(PGconn *c, struct pg_group *g, const struct tally *sums, bool *all_new,
                       struct err *e)
{
    struct pg_array col[N_COLUMNS];
    char single[N_SINGLE][PG_SINGLE];
    sv args[N_COLUMNS + N_SINGLE];
    PGresult *r;
    *all_new = false;
    for (unsigned i = 0; i < N_COLUMNS; i++)
        pg_array_init(&col[i], elements[i], COLUMNS_MAX);
    err_code rc = fill(col, g, sums, e);
    for (unsigned i = 0; i < N_COLUMNS; i++)
        args[i] = buf_sv(&col[i].b);
    pg_single(single[NUMBER_IDS], col[I_ID].n);
    pg_single(single[CLOCK_T], (int64_t)g->clock.last.t);
    pg_single(single[CLOCK_INSTANT], g->clock.last.instant_ms);
    for (unsigned i = 0; i < N_SINGLE; i++)
        args[N_COLUMNS + i] = sv_make(single[i], sizeof single[i]);
    if (rc == ERR_OK)
        rc = pg_ask_binary(c, insert, N_COLUMNS + N_SINGLE, args, COMMITTING, &r, e);
    if (rc == ERR_OK) {
        *all_new = PQntuples(r) == 1 && pg_bytes(r, 0, 0).ptr[0] != 0;
        PQclear(r);
    }
    for (unsigned i = 0; i < N_COLUMNS; i++)
        pg_array_done(&col[i]);
    return rc == ERR_OK && *all_new ? put_parts(c, g, e) : rc;
}

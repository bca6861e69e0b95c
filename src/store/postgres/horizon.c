/* horizon.c - the present millisecond is closed: no later commit has its instant. */
#include "store/postgres/postgres_private.h"

#define CLOSING "reading the data store's clock"

static err_code raise_floor(PGconn *conn, PGresult **out, struct err *e)
{
    return pg_ask(conn,
                  "update clock set floor_ms = greatest(instant_ms, floor_ms, " PG_NOW_MS
                  ") returning t, floor_ms",
                  0, NULL, CLOSING, out, e);
}

/* With a gate: a commit that is not seen yet has its instant, and comes before the floor. */
static err_code raise_gated(PGconn *conn, PGresult **out, struct err *e)
{
    struct pg_clock clock;
    bool unknown;
    TRY(pg_clock_begin(conn, CLOSING, &clock, e));
    TRY(raise_floor(conn, out, e));
    err_code rc = pg_clock_end(conn, &clock, CLOSING, &unknown, e);
    if (rc != ERR_OK)
        PQclear(*out);
    return rc;
}

/* *lost: the connection ended meanwhile. */
static err_code close_present(struct pg *p, struct store_commit *out, bool *lost, struct err *e)
{
    PGconn *conn;
    PGresult *r;
    TRY(pg_take(p, PG_WRITE, &conn, e));
    err_code rc = p->gated ? raise_gated(conn, &r, e) : raise_floor(conn, &r, e);
    *lost = rc != ERR_OK && PQstatus(conn) == CONNECTION_BAD;
    pg_give(p, PG_WRITE, conn);
    TRY(rc);
    const bool there = PQntuples(r) == 1;
    if (there)
        *out = (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) };
    PQclear(r);
    return there ? ERR_OK : ERR(e, ERR_GONE, "the data store was deleted");
}

err_code pg_horizon(struct store *st, struct store_commit *out, struct err *e)
{
    struct pg_again again = pg_again_begin();
    bool lost = false;
    err_code rc;
    /* a floor that is raised twice is as good */
    do
        rc = close_present((struct pg *)st, out, &lost, e);
    while (rc != ERR_OK && lost && pg_again(&again));
    return rc;
}

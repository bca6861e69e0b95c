/* gate.c - commits that are seen behind a second transaction.
 *
 * Where one server has the clock row together with what a commit wrote, both are seen at one
 * moment. Where a transaction spans several databases they are not: a reader can find the clock's
 * new t and no row of it yet, or some. So there readers do not go by clock.t. A commit writes its
 * rows and clock.t in one transaction, and when that has ended everywhere, clock.visible is moved
 * behind it in another one. Then the commit is acknowledged.
 *
 *   visible = 0   there is no gate: readers go by t
 *   visible > 0   commits t < visible are seen
 *
 * Nobody holds the clock in between. Whoever locks it next and finds a t that is not visible moves
 * the gate when all of that commit is there: its row of `commits` says how many rows of `changes`
 * it has. Until then it waits: a transaction that was decided is ended everywhere by its engine.
 * The same is done for a writer that died in between.
 *
 * A data store has a gate from its making or never. Nothing makes one yet but tests. */
#include "store/postgres/postgres_private.h"

#define GATE "moving the data store's gate"

err_code pg_gate_read(PGconn *c, bool *gated, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c, "select visible from clock", 0, NULL, GATE, &r, e));
    *gated = PQntuples(r) == 1 && pg_i64(r, 0, 0) > 0;
    PQclear(r);
    return ERR_OK;
}

err_code pg_gate_now(struct pg *p, uint64_t *as_of_t, struct err *e)
{
    struct store_commit last;
    PGconn *c;
    if (!p->gated)
        return ERR_OK;
    TRY(pg_take(p, PG_READ, &c, e));
    err_code rc = pg_clock_read(c, &last, e);
    pg_give(p, PG_READ, c);
    if (rc == ERR_OK && *as_of_t > last.t)
        *as_of_t = last.t;
    return rc;
}

/* The whole of a transaction of its own. */
static err_code move_to(PGconn *c, uint64_t t, bool *unknown, struct err *e)
{
    char text[24];
    const char *args[] = { text };
    (void)snprintf(text, sizeof text, "%" PRIu64, t + 1);
    TRY(pg_do(c, "begin", GATE, e));
    TRY(pg_command(c, "update clock set visible = $1::bigint where visible < $1::bigint", 1, args,
                   GATE, e));
    return pg_end(c, GATE, unknown, e);
}

/* Of commits that are not seen: is all of them there? Of a load there is what was filled. */
static err_code are_whole(PGconn *c, bool *out, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(
        c,
        "select (select count(*) from commits k, clock c where k.t >= c.visible and k.t <= "
        "c.t) = (select c.t - c.visible + 1 from clock c) and not exists (select 1 from "
        "commits k, clock c where k.t >= c.visible and k.load = 0 and k.count <> (select "
        "count(*) from generate_series(1, 255) t cross join lateral (select 1 from changes x "
        "where x.type = t::smallint and x.n = k.t) y))",
        0, NULL, GATE, &r, e));
    *out = pg_i64(r, 0, 0) == 1;
    PQclear(r);
    return ERR_OK;
}

/* The clock row is locked, and the last commit is not seen. The transaction is given up. */
static err_code pass(PGconn *c, const struct pg_clock *clock, struct err *e)
{
    bool whole, unknown;
    TRY(are_whole(c, &whole, e));
    TRY(pg_do(c, "rollback", GATE, e));
    return whole ? move_to(c, clock->last.t, &unknown, e) : ERR_OK;
}

err_code pg_clock_begin(PGconn *c, const char *doing, struct pg_clock *out, struct err *e)
{
    struct pg_again again = pg_again_begin();
    do {
        TRY(pg_do(c, "begin", doing, e));
        TRY(pg_clock_lock(c, out, e));
        if (!out->behind)
            return ERR_OK;
        TRY(pass(c, out, e));
    } while (pg_again(&again));
    return ERR(e, ERR_UNAVAILABLE,
               "%s: a commit that spans several databases has not ended in all of them", doing);
}

err_code pg_clock_end(PGconn *c, const struct pg_clock *clock, const char *doing, bool *unknown,
                      struct err *e)
{
    TRY(pg_end(c, doing, unknown, e));
    if (!clock->gated)
        return ERR_OK;
    err_code rc = move_to(c, clock->last.t, unknown, e);
    /* it is written, and whoever asks again finds it */
    *unknown = rc != ERR_OK;
    return rc;
}

/* time.c - the clock row of a data store: the newest t, its instant, the floor of later ones.
 *
 * Whoever commits locks the row until the transaction's end, so commits are in one order, whichever
 * process they come from (I1). The row shows t only together with all that the commit wrote.
 * Instants are the database's time, so that the clocks of processes do not matter. */
#include "store/postgres/postgres_private.h"

#define CLOCK   "reading the data store's clock"
#define NOW_MS  "(extract(epoch from clock_timestamp()) * 1000)::bigint"
#define COMMITS "looking a commit up"

static err_code gone(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "data store does not exist");
}

err_code pg_clock_read(PGconn *c, struct store_commit *out, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c, "select t, instant_ms from clock", 0, NULL, CLOCK, &r, e));
    const bool there = PQntuples(r) == 1;
    if (there)
        *out = (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) };
    PQclear(r);
    return there ? ERR_OK : gone(e);
}

err_code pg_clock_lock(PGconn *c, struct pg_clock *out, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c, "select t, instant_ms, floor_ms, " NOW_MS " from clock for update", 0, NULL,
               CLOCK, &r, e));
    const bool there = PQntuples(r) == 1;
    if (there)
        *out = (struct pg_clock){ { (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) },
                                  pg_i64(r, 0, 2),
                                  pg_i64(r, 0, 3) };
    PQclear(r);
    return there ? ERR_OK : gone(e);
}

struct store_commit pg_clock_next(const struct pg_clock *clock)
{
    struct store_commit c = { clock->last.t + 1, clock->last.instant_ms };
    if (clock->now_ms > c.instant_ms)
        c.instant_ms = clock->now_ms;
    /* I3 */
    if (clock->floor_ms >= c.instant_ms)
        c.instant_ms = clock->floor_ms + 1;
    return c;
}

err_code pg_clock_set(PGconn *c, const struct pg_clock *clock, struct err *e)
{
    char t[24], instant[24];
    const char *args[] = { t, instant };
    PGresult *r;
    (void)snprintf(t, sizeof t, "%" PRIu64, clock->last.t);
    (void)snprintf(instant, sizeof instant, "%" PRId64, clock->last.instant_ms);
    TRY(pg_ask(c, "update clock set t = $1, instant_ms = $2", 2, args, CLOCK, &r, e));
    PQclear(r);
    return ERR_OK;
}

err_code pg_next_b(PGconn *c, uint64_t *out, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c, "select nextval('load_no')", 0, NULL, "beginning a bulk load", &r, e));
    *out = (uint64_t)pg_i64(r, 0, 0);
    PQclear(r);
    return *out >> NUMBER_B_BITS ? ERR(e, ERR_UNSUPPORTED, "the data store has no numbers left")
                                 : ERR_OK;
}

struct store_commit pg_last(struct store *st)
{
    struct pg *p = (struct pg *)st;
    struct store_commit c;
    struct err why;
    PGconn *conn;
    if (pg_take(p, PG_READ, &conn, &why) == ERR_OK) {
        const bool ok = pg_clock_read(conn, &c, &why) == ERR_OK;
        pg_give(p, PG_READ, conn);
        pthread_mutex_lock(&p->last_lock);
        if (ok && c.t >= p->last.t)
            p->last = c;
        pthread_mutex_unlock(&p->last_lock);
    }
    pthread_mutex_lock(&p->last_lock);
    c = p->last;
    pthread_mutex_unlock(&p->last_lock);
    return c;
}

err_code pg_horizon(struct store *st, struct store_commit *out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    PGconn *conn;
    PGresult *r;
    TRY(pg_take(p, PG_WRITE, &conn, e));
    err_code rc = pg_ask(conn,
                         "update clock set floor_ms = greatest(instant_ms, floor_ms, " NOW_MS
                         ") returning t, floor_ms",
                         0, NULL, CLOCK, &r, e);
    pg_give(p, PG_WRITE, conn);
    TRY(rc);
    const bool there = PQntuples(r) == 1;
    if (there)
        *out = (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) };
    PQclear(r);
    return there ? ERR_OK : gone(e);
}

err_code pg_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    char instant[24];
    const char *args[] = { instant };
    PGconn *conn;
    PGresult *r;
    (void)snprintf(instant, sizeof instant, "%" PRId64, instant_ms);
    TRY(pg_take(p, PG_READ, &conn, e));
    err_code rc = pg_ask(conn,
                         "select t, instant_ms from commits where instant_ms <= $1 order by "
                         "instant_ms desc, t desc limit 1",
                         1, args, COMMITS, &r, e);
    pg_give(p, PG_READ, conn);
    TRY(rc);
    *out = PQntuples(r) == 1 ? (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) }
                             : (struct store_commit){ 0, 0 };
    PQclear(r);
    return ERR_OK;
}

/* time.c - the clock row of a data store: the newest t, its instant, the floor of later ones.
 *
 * Whoever commits locks the row until the transaction's end, so commits are in one order, whichever
 * process they come from (I1). The row shows t only together with all that the commit wrote.
 * Instants are the database's time, so that the clocks of processes do not matter. */
#include "store/postgres/postgres_private.h"

#define CLOCK   "reading the data store's clock"
#define COMMITS "looking a commit up"
/* Of the server: another one, or the same started anew, has another. */
#define STARTED_US "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint"

static err_code gone(struct err *e)
{
    return ERR(e, ERR_GONE, "the data store was deleted");
}

uint64_t pg_mark_of(const PGresult *r, int row, int col)
{
    const sv who = pg_bytes(r, row, col);
    uint64_t half[2];
    if (who.len != sizeof half)
        return 0;
    memcpy(half, who.ptr, sizeof half);
    half[0] ^= half[1];
    return half[0] ? half[0] : 1;
}

err_code pg_clock_see(PGconn *c, struct store_commit *out, uint64_t *mark, struct err *e)
{
    PGresult *r;
    /* behind a gate the newest commit is not the clock's */
    TRY(pg_ask(
        c,
        "select coalesce(k.t, c.t), coalesce(k.instant_ms, c.instant_ms), k.who from (select "
        "case when visible > 0 then visible - 1 else t end as t, case when visible > 0 then "
        "0 else instant_ms end as instant_ms from clock) c left join commits k on k.t = c.t",
        0, NULL, CLOCK, &r, e));
    const bool there = PQntuples(r) == 1;
    if (there) {
        *out = (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) };
        *mark = pg_mark_of(r, 0, 2);
    }
    PQclear(r);
    return there ? ERR_OK : gone(e);
}

err_code pg_clock_read(PGconn *c, struct store_commit *out, struct err *e)
{
    uint64_t mark;
    return pg_clock_see(c, out, &mark, e);
}

err_code pg_mark_at(PGconn *c, uint64_t t, uint64_t *out, struct err *e)
{
    char text[24];
    const char *args[] = { text };
    PGresult *r;
    (void)snprintf(text, sizeof text, "%" PRIu64, t);
    TRY(pg_ask(c, "select who from commits where t = $1", 1, args, COMMITS, &r, e));
    const bool there = PQntuples(r) == 1;
    *out = there ? pg_mark_of(r, 0, 0) : 0;
    PQclear(r);
    return there ? ERR_OK : ERR(e, ERR_NOT_FOUND, "there is no such commit");
}

err_code pg_mark(struct store *st, uint64_t t, uint64_t *out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    PGconn *conn;
    TRY(pg_take(p, PG_READ, &conn, e));
    err_code rc = pg_mark_at(conn, t, out, e);
    pg_give(p, PG_READ, conn);
    return rc;
}

err_code pg_clock_lock(PGconn *c, struct pg_clock *out, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c,
               "select t, instant_ms, floor_ms, " PG_NOW_MS ", " STARTED_US
               ", visible from clock for update",
               0, NULL, CLOCK, &r, e));
    const bool there = PQntuples(r) == 1;
    if (there)
        *out = (struct pg_clock){ { (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) },
                                  pg_i64(r, 0, 2),
                                  pg_i64(r, 0, 3),
                                  pg_i64(r, 0, 4),
                                  pg_i64(r, 0, 5) > 0,
                                  pg_i64(r, 0, 5) > 0 && pg_i64(r, 0, 5) <= pg_i64(r, 0, 0) };
    PQclear(r);
    return there ? ERR_OK : gone(e);
}

err_code pg_server_started(PGconn *c, int64_t *out, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c, "select " STARTED_US, 0, NULL, CLOCK, &r, e));
    *out = pg_i64(r, 0, 0);
    PQclear(r);
    return ERR_OK;
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
    (void)snprintf(t, sizeof t, "%" PRIu64, clock->last.t);
    (void)snprintf(instant, sizeof instant, "%" PRId64, clock->last.instant_ms);
    return pg_command(c, "update clock set t = $1, instant_ms = $2", 2, args, CLOCK, e);
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

/* *lost: the connection ended meanwhile. */
static err_code see_last(struct pg *p, struct store_commit *out, bool *lost, struct err *e)
{
    PGconn *conn;
    *lost = false;
    TRY(pg_take(p, PG_READ, &conn, e));
    err_code rc = pg_clock_read(conn, out, e);
    *lost = rc != ERR_OK && PQstatus(conn) == CONNECTION_BAD;
    pg_give(p, PG_READ, conn);
    return rc;
}

err_code pg_last(struct store *st, struct store_commit *out, struct err *e)
{
    bool lost;
    /* others may have committed since: what this process knew is no answer */
    err_code rc = see_last((struct pg *)st, out, &lost, e);
    return rc != ERR_OK && lost ? see_last((struct pg *)st, out, &lost, e) : rc;
}

err_code pg_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    char instant[24];
    const char *args[] = { instant };
    PGresult *r;
    (void)snprintf(instant, sizeof instant, "%" PRId64, instant_ms);
    TRY(pg_pool_ask(p->pool, PG_READ,
                    "select t, instant_ms from commits where instant_ms <= $1 and (t < (select "
                    "visible from clock) or (select visible from clock) = 0) order by instant_ms "
                    "desc, t desc limit 1",
                    1, args, NULL, NULL, COMMITS, &r, e));
    *out = PQntuples(r) == 1 ? (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) }
                             : (struct store_commit){ 0, 0 };
    PQclear(r);
    return ERR_OK;
}

/* ---- commits of another store, made once more ---- */

err_code pg_commits(struct store *st, uint64_t after_t, struct store_commit_row *out, size_t max,
                    size_t *n, struct err *e)
{
    struct pg *p = (struct pg *)st;
    char after[24], most[24];
    const char *args[] = { after, most };
    PGresult *r;
    (void)snprintf(after, sizeof after, "%" PRIu64, after_t);
    (void)snprintf(most, sizeof most, "%zu", max);
    TRY(pg_pool_ask(p->pool, PG_SCAN,
                    "select t, instant_ms, load, count from commits where t > $1 order by t "
                    "limit $2::bigint",
                    2, args, NULL, NULL, COMMITS, &r, e));
    *n = 0;
    for (int i = 0; i < PQntuples(r); i++)
        out[(*n)++] = (struct store_commit_row){ .t = (uint64_t)pg_i64(r, i, 0),
                                                 .instant_ms = pg_i64(r, i, 1),
                                                 .is_load = pg_i64(r, i, 2) != 0,
                                                 .births = (uint64_t)pg_i64(r, i, 2),
                                                 .count = (uint64_t)pg_i64(r, i, 3) };
    PQclear(r);
    for (size_t i = 0; i < *n; i++)
        if (out[i].t != after_t + 1 + i)
            return ERR(e, ERR_CORRUPT, "a commit's record is missing");
    return ERR_OK;
}

err_code pg_again_end(struct store *st, int64_t floor_ms, struct err *e)
{
    struct pg *p = (struct pg *)st;
    char floor[24];
    const char *args[] = { floor };
    PGresult *r;
    (void)snprintf(floor, sizeof floor, "%" PRId64, floor_ms);
    TRY(pg_pool_ask(p->pool, PG_WRITE, "update clock set floor_ms = greatest(floor_ms, $1::bigint)",
                    1, args, NULL, NULL, CLOCK, &r, e));
    PQclear(r);
    return ERR_OK;
}

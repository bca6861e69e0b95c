/* clear.c - loads that nobody will publish any more go.
 *
 * What crashes leave are rows of loads that stand in `open_loads` with a lease that has passed.
 * Whoever begins a load clears one such load away; whoever knows that no load of the data store is
 * under way clears all (pg_loads_clear). Both they and the publication take the row of open_loads,
 * so a publication that comes too late finds none and fails. */
#include "store/postgres/write_private.h"

#define CLEARING "clearing a bulk load away"

/* So who waits for a row of open_loads waits no longer than this: what PG_LOAD_ROW_TAKEN says, and
 * the statement before. */
#define WAIT_FOR_ROW "; set local lock_timeout = '20s'"

static err_code remove_load(PGconn *conn, const char *load, struct err *e)
{
    static const char *const all[] = {
        /* a load's entries lie together, which their BRIN index knows */
        "delete from search where n = -$1::bigint",
        "delete from parts p using changes c where c.n = -$1::bigint and p.number = c.number "
        "and p.n = -$1::bigint",
        "delete from versions v using changes c where c.n = -$1::bigint and v.type = c.type and "
        "v.number = c.number and v.n = -$1::bigint",
        "delete from packs k using generate_series(1, 255) t where k.type = t::smallint and "
        "k.first >= (($1::bigint << 28) + (t::bigint << 20)) and k.first < (($1::bigint << 28) + "
        "(t::bigint << 20)) + 1048576",
        "delete from counts where n = -$1::bigint",
        "delete from fences where load = $1::bigint",
        "delete from changes where n = -$1::bigint",
        "delete from open_loads where load = $1::bigint",
    };
    const char *args[] = { load };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        TRY(pg_command(conn, all[i], 1, args, CLEARING, e));
    }
    return ERR_OK;
}

static err_code check_lease(PGconn *conn, const struct lease *lease, struct err *e)
{
    struct err why;
    err_code rc = pg_lease_check(conn, lease, &why);
    if (rc == ERR_OK)
        return ERR_OK;
    return rc == ERR_CONFLICT
               ? ERR(e, ERR_CANCELLED, CLEARING ": another process goes on with the job")
               : err_pass(e, &why);
}

/* In a transaction: the load that `which` finds. The lease, unless NULL, is looked at last: it
 * cannot be renewed until the end of this transaction, and a load takes long to remove. */
static err_code clear_found(PGconn *conn, const char *which, const char *only, const char *who,
                            const struct lease *lease, struct err *e)
{
    const char *args[] = { only, who };
    PGresult *r;
    char load[24] = "";
    TRY(pg_ask(conn, which, who ? 2 : only ? 1 : 0, args, CLEARING, &r, e));
    if (PQntuples(r) == 1)
        (void)snprintf(load, sizeof load, "%" PRId64, pg_i64(r, 0, 0));
    PQclear(r);
    if (load[0])
        TRY(remove_load(conn, load, e));
    if (lease)
        TRY(check_lease(conn, lease, e));
    return pg_do(conn, "commit", CLEARING, e);
}

err_code pg_load_clear_late(PGconn *conn, struct err *e)
{
    TRY(pg_do(conn, "begin; " PG_LOAD_ROW_TAKEN, CLEARING, e));
    return clear_found(conn,
                       "select load from open_loads where until < clock_timestamp() order by load "
                       "limit 1 for update skip locked",
                       NULL, NULL, NULL, e);
}

/* This one, whatever its lease, unless somebody has its row. */
static err_code clear_free(PGconn *conn, const struct lease *lease, const char *load, struct err *e)
{
    TRY(pg_do(conn, "begin; " PG_LOAD_ROW_TAKEN, CLEARING, e));
    return clear_found(conn,
                       "select load from open_loads where load = $1::bigint for update skip locked",
                       load, NULL, lease, e);
}

err_code pg_load_clear_own(PGconn *conn, const char *load, const char *who, struct err *e)
{
    TRY(pg_do(conn, "begin; " PG_LOAD_ROW_TAKEN WAIT_FOR_ROW, CLEARING, e));
    static const char find[] =
        "select load from open_loads where load = $1::bigint and who = $2::uuid for update";
    return clear_found(conn, find, load, who, NULL, e);
}

/* One transaction that fills such a load meanwhile fails: its mark finds no row. */
static err_code clear_all(PGconn *conn, const struct lease *lease, struct err *e)
{
    PGresult *r;
    err_code rc = ERR_OK;
    TRY(pg_ask(conn, "select load from open_loads order by load", 0, NULL, CLEARING, &r, e));
    for (int i = 0; i < PQntuples(r) && rc == ERR_OK; i++) {
        char load[24];
        (void)snprintf(load, sizeof load, "%" PRId64, pg_i64(r, i, 0));
        rc = clear_free(conn, lease, load, e);
    }
    PQclear(r);
    TRY(rc);
    TRY(pg_ask(conn, "select 1 from open_loads limit 1", 0, NULL, CLEARING, &r, e));
    const bool left = PQntuples(r) > 0;
    PQclear(r);
    return left ? ERR(e, ERR_CONFLICT, "a bulk load is just being written") : ERR_OK;
}

/* A node that is frozen in the middle of a COPY, or between two, has its locks and its transaction
 * for as long as it stands still: no deadline of the server ends a COPY. What it still fills was
 * cleared away, and would be undone at its end. An online commit makes no COPY. */
err_code pg_load_end_fills(PGconn *conn, const char *schema, const struct lease *lease,
                           struct err *e)
{
    const char *args[] = { schema };
    TRY(pg_do(conn, "begin; " PG_LOAD_ROW_TAKEN, CLEARING, e));
    TRY(check_lease(conn, lease, e));
    TRY(pg_command(
        conn,
        "select count(pg_terminate_backend(a.pid)) from pg_stat_activity a where "
        "starts_with(a.application_name, '" PG_APPLICATION
        "') and a.usename = current_user and a.datname = current_database() and a.pid <> "
        "pg_backend_pid() and starts_with(a.query, 'copy ') and a.state <> 'idle' and "
        "exists (select from pg_locks l join pg_class k on k.oid = l.relation join "
        "pg_namespace n on n.oid = k.relnamespace where n.nspname = $1 and l.pid = a.pid "
        "and l.mode = 'RowExclusiveLock' and l.granted and l.database = a.datid)",
        1, args, CLEARING, e));
    return pg_do(conn, "commit", CLEARING, e);
}

err_code pg_loads_clear(struct store *st, const struct lease *lease, struct err *e)
{
    struct pg *p = (struct pg *)st;
    PGconn *conn;
    TRY(pg_take(p, PG_LOAD, &conn, e));
    err_code rc = clear_all(conn, lease, e);
    if (rc == ERR_OK)
        rc = pg_load_end_fills(conn, p->schema, lease, e);
    pg_give(p, PG_LOAD, conn);
    return rc;
}

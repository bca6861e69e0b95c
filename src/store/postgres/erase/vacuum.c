/* vacuum.c - rows that were deleted or written over leave their pages, and the indexes.
 *
 * PostgreSQL keeps such a row while a transaction may see it, and until VACUUM comes by. VACUUM
 * makes its room free; the bytes stay there until something is written over them. Index entries are
 * taken away too, which VACUUM leaves out by itself when they are few. What the planner keeps of a
 * column, most common values among it, is made anew. */
#include "store/postgres/erase/erase_private.h"
#include "store/postgres/link/link_private.h"

#define VACUUMING "clearing dead rows away"

err_code pg_run_long(PGconn *c, const char *sql, const char *doing, const atomic_bool *halt,
                     PGresult **out, struct err *e)
{
    PGresult *r = PQsendQuery(c, sql) ? pg_talk_long(c, halt) : NULL;
    const ExecStatusType s = PQresultStatus(r);
    if (s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK) {
        *out = r;
        return ERR_OK;
    }
    if (halt == NULL || !atomic_load(halt))
        return pg_done(c, r, doing, e);
    PQclear(r);
    return ERR(e, ERR_CANCELLED, "an erasure was stopped");
}

/* What was set, as it is set again. */
static err_code setting(PGconn *c, const char *name, char out[64], struct err *e)
{
    const char *args[] = { name };
    PGresult *r;
    TRY(pg_ask(c, "select current_setting($1)", 1, args, VACUUMING, &r, e));
    (void)snprintf(out, 64, "%.*s", SV_FMT(pg_bytes(r, 0, 0)));
    PQclear(r);
    return ERR_OK;
}

err_code pg_vacuum(PGconn *c, const char *table, const atomic_bool *halt, struct err *e)
{
    char timeout[64], sql[160];
    PGresult *r;
    TRY(setting(c, "statement_timeout", timeout, e));
    /* a connection that is cut off ends it */
    TRY(pg_do(c, "set statement_timeout = 0; set client_connection_check_interval = '1s'",
              VACUUMING, e));
    (void)snprintf(sql, sizeof sql, "vacuum (index_cleanup on, analyze) %s", table);
    TRY(pg_run_long(c, sql, VACUUMING, halt, &r, e));
    PQclear(r);
    (void)snprintf(sql, sizeof sql,
                   "set statement_timeout = '%s'; reset client_connection_check_interval", timeout);
    return pg_do(c, sql, VACUUMING, e);
}

err_code pg_xid(PGconn *c, char out[PG_XID_MAX], struct err *e)
{
    PGresult *r;
    TRY(pg_run(c, "select pg_current_xact_id()::xid", VACUUMING, &r, e));
    (void)snprintf(out, PG_XID_MAX, "%s", PQgetvalue(r, 0, 0));
    PQclear(r);
    return ERR_OK;
}

/* VACUUM itself, of whichever process, keeps nothing; ANALYZE does, and so does an autovacuum that
 * has come to that. Of others' sessions a user may be told
 * nothing, unless he may see all (pg_read_all_stats). */
static const char seen_sql[] =
    "select 1 where exists (select 1 from pg_stat_activity a where pid <> pg_backend_pid() and "
    "(datid "
    "is null or datid = (select oid from pg_database where datname = current_database())) and "
    "not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid) and (age(backend_xmin) "
    "> "
    "age($1::text::xid) or age(backend_xid) > age($1::text::xid))) or exists (select 1 from "
    "pg_prepared_xacts where database = current_database() and age(transaction) > "
    "age($1::text::xid)) or exists (select 1 from pg_replication_slots where age(xmin) > "
    "age($1::text::xid))";

err_code pg_xid_is_seen(PGconn *c, const char *xid, bool *out, struct err *e)
{
    const char *args[] = { xid };
    PGresult *r;
    TRY(pg_ask(c, seen_sql, 1, args, VACUUMING, &r, e));
    *out = PQntuples(r) > 0;
    PQclear(r);
    return ERR_OK;
}

/* postgres_standby.h - a server of PostgreSQL whose commits wait for a standby that there is
 * not. */
#pragma once
#include "store/postgres_sql.h"

#include <sched.h>

static bool pg_is_waiting(const char *uri, int pid)
{
    char sql[128];
    (void)snprintf(
        sql, sizeof sql,
        "select count(*) from pg_stat_activity where pid = %d and wait_event = 'SyncRep'", pid);
    return pg_sql(uri, sql) == 1;
}

/* New sessions show a setting before the server's checkpointer has it, and until then nobody waits:
 * it is in force when a commit has been seen waiting. All sessions were told of it before. */
static void pg_wait_for_standbys(const char *uri)
{
    char conninfo[256], cancel[64];
    bool waits = false;
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(strrchr(uri, '/') - uri), uri);
    (void)pg_sql(uri, "alter system set synchronous_standby_names = 'nobody'");
    (void)pg_sql(uri, "create table if not exists tried(i int)");
    (void)pg_sql(uri, "select pg_reload_conf()");
    while (!waits) {
        PGconn *c = PQconnectdb(conninfo);
        const char *schema = strrchr(uri, '/') + 1;
        char sql[128];
        (void)snprintf(sql, sizeof sql, "insert into fl_%s.tried values (1)", schema);
        assert_int_equal(PQsendQuery(c, sql), 1);
        while (PQconsumeInput(c) && PQisBusy(c) && !(waits = pg_is_waiting(uri, PQbackendPID(c))))
            (void)sched_yield();
        (void)snprintf(cancel, sizeof cancel, "select pg_cancel_backend(%d)", PQbackendPID(c));
        if (waits)
            (void)pg_sql(uri, cancel);
        /* it waits no more when the other one is looked for */
        for (PGresult *r; (r = PQgetResult(c)) != NULL;)
            PQclear(r);
        PQfinish(c);
    }
}

/* Who waits is let go, at last. */
static void pg_wait_for_no_standby(const char *uri)
{
    (void)pg_sql(uri, "alter system reset synchronous_standby_names");
    (void)pg_sql(uri, "select pg_reload_conf()");
}

/* postgres_sql.h - statements on the tables of a data store, beside the engine. */
#pragma once
#include "store/postgres.h"

#include <libpq-fe.h>

/* A statement on the schema of a data store. The first number of its answer, if it has one. */
static long pg_sql(const char *uri, const char *sql)
{
    char conninfo[256], path[128];
    const char *slash = strrchr(uri, '/');
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(slash - uri), uri);
    (void)snprintf(path, sizeof path, "set search_path = fl_%s", slash + 1);
    PGconn *c = PQconnectdb(conninfo);
    assert_int_equal(PQstatus(c), CONNECTION_OK);
    PQclear(PQexec(c, path));
    PGresult *r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(r));
    long n = PQntuples(r) ? strtol(PQgetvalue(r, 0, 0), NULL, 10) : 0;
    PQclear(r);
    PQfinish(c);
    return n;
}

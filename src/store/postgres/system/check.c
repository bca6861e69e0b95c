/* check.c - a lease as a condition of a data store's transaction.
 *
 * Data stores and leases stand in one database, so one transaction has both. */
#include "store/postgres/system/system_private.h"

err_code pg_lease_check(PGconn *c, const struct lease *lease, struct err *e)
{
    char sql[PG_SCHEMA_MAX + 128];
    const struct pg_records *r = lease ? (const struct pg_records *)lease_records(lease) : NULL;
    if (r == NULL || r->base.ops->leases == NULL)
        return ERR_OK;
    (void)snprintf(sql, sizeof sql,
                   "select 1 from %s.leases where epoch = %llu and until > clock_timestamp() for "
                   "share",
                   r->schema, (unsigned long long)lease_epoch(lease));
    PGresult *got = pg_exec(c, sql);
    if (PQresultStatus(got) != PGRES_TUPLES_OK)
        return pg_done(c, got, "looking at a lease", e);
    const bool mine = PQntuples(got) == 1;
    PQclear(got);
    return mine ? ERR_OK : ERR(e, ERR_CONFLICT, "another process goes on with it");
}

/* under.c - writes under a job's lease.
 *
 * Where several nodes have the records, a job's notes, its manifest and its status are written
 * under its lease: a node that has lost it writes nothing more, and its run ends as one that was
 * stopped. */
#include "job/job_private.h"

static err_code lost(const struct err *why, struct err *e)
{
    if (why->code == ERR_CONFLICT)
        return ERR(e, ERR_CANCELLED, "another node goes on with the job");
    return err_pass(e, why);
}

err_code job_write(struct records *r, struct lease *under, const struct records_write *w, size_t n,
                   struct err *e)
{
    struct err why;
    if (under == NULL)
        return records_write(r, w, n, e);
    return lease_write(under, w, n, &why) == ERR_OK ? ERR_OK : lost(&why, e);
}

err_code job_put_unsynced(struct records *r, struct lease *under, sv key, sv value, struct err *e)
{
    struct err why;
    if (under == NULL)
        return records_put_unsynced(r, key, value, e);
    return lease_put_unsynced(under, key, value, &why) == ERR_OK ? ERR_OK : lost(&why, e);
}

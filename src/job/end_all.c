/* end_all.c - jobs of a data folder that was brought back from a backup.
 *
 * What they had written to is not there, or belongs to the jobs of the folder that the backup is
 * of, which may still run: so they end here, and go on nowhere. */
#include "job/job_private.h"

#include "base/clock.h"

struct ending {
    struct records *records;
    const char *message;
    err_code rc;
    struct err *e;
};

static err_code end_one(const struct ending *x, job_kind kind, sv datastore_id, sv job_id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job_record rec;
    TRY(job_record_read(x->records, kind, datastore_id, job_id, a, &rec, x->e));
    rec.job.status = JOB_FAILED;
    rec.job.end_ms = clock_wall_ms();
    rec.job.message = sv_from(x->message);
    return job_record_finish(x->records, &rec, x->e);
}

/* job_active_fn: the scan goes on over what was there when it began. */
static void each(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order)
{
    struct ending *x = ctx;
    (void)order;
    if (x->rc == ERR_OK)
        x->rc = end_one(x, kind, datastore_id, job_id);
}

err_code job_end_all(struct records *records, const char *message, struct err *e)
{
    struct ending x = { records, message, ERR_OK, e };
    TRY(job_records_active(records, each, &x, e));
    return x.rc;
}

/* replan.c - exports under way in a data store that is converted.
 *
 * The plan of an export names the begin and the end of its ranges as the layout of the data store
 * has them: ids in front of layout 4, numbers since. An export that has a plan and has finished
 * none of its ranges gets a new plan when it goes on, which is as good. One that has finished some
 * cannot: a new plan would have other ranges. All else of a job, its instant too, holds as it is.
 *
 *   jobnote/<id>/plan, jobnote/<id>/done/<range>   export/plan.c and export/partial.c write them */
#include "job/job_private.h"

#define PLANS_MEMORY (16u << 20) /* keys of jobs under way */

struct replan {
    struct records *records;
    sv datastore_id;
    struct arena *a;
    bool drop; /* else it is only looked at */
    err_code rc;
    struct err *e;
};

/* records_each_fn: there is one. */
static bool found(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    *(bool *)ctx = true;
    return false;
}

static err_code look_at(struct replan *x, sv job_id)
{
    bool done = false;
    TRY(records_scan(x->records, job_key_note(x->a, job_id, SV_LIT("done/")), SV_NONE, found, &done,
                     x->e));
    if (done)
        return ERR(x->e, ERR_CONFLICT,
                   "export job %.*s of data store %.*s is half done: start the program that it was "
                   "begun with, and let the job end or cancel it",
                   SV_FMT(job_id), SV_FMT(x->datastore_id));
    return ERR_OK;
}

/* job_active_fn */
static void each_job(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order)
{
    struct replan *x = ctx;
    (void)order;
    if (x->rc != ERR_OK || kind != JOB_EXPORT || !sv_eq(datastore_id, x->datastore_id))
        return;
    if (!x->drop) {
        x->rc = look_at(x, job_id);
        return;
    }
    const struct records_write del = { RECORDS_DELETE, job_key_note(x->a, job_id, SV_LIT("plan")),
                                       SV_NONE };
    x->rc = records_write(x->records, &del, 1, x->e);
}

static err_code walk(struct records *records, sv datastore_id, bool drop, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(PLANS_MEMORY);
    struct replan x = {
        .records = records, .datastore_id = datastore_id, .a = a, .drop = drop, .e = e
    };
    TRY(job_records_active(records, each_job, &x, e));
    return x.rc;
}

err_code job_plans_check(struct records *records, sv datastore_id, struct err *e)
{
    return walk(records, datastore_id, false, e);
}

err_code job_plans_drop(struct records *records, sv datastore_id, struct err *e)
{
    return walk(records, datastore_id, true, e);
}

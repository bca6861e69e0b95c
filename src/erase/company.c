/* company.c - erasures that wait in the data store are done together with the one that runs.
 *
 * An end on disk writes all search entries anew, whatever was erased. So before its own end a run
 * makes hollow what those behind it ask for; one end is for all. They come in their order, and a
 * deletion (soft) or a job of another kind ends the row: it goes first. Each has its instant and
 * its counts, as if it ran alone. */
#include "erase/erase_private.h"

#define COMPANY_BYTES (64u << 10)

void erase_note_name(sv job_id, char out[48])
{
    (void)snprintf(out, 48, "erase/%.*s", SV_FMT(sv_head(job_id, 40)));
}

err_code erase_instant(struct erasure *x, const struct job *job, struct err *e)
{
    const bool own = sv_eq(job->id, x->run->job->id);
    struct store_commit at;
    x->t = job->as_of_t;
    if (job->transaction_ms)
        return ERR_OK;
    TRY(store_horizon(x->run->store, &at, e));
    x->t = at.t;
    return own ? job_run_set_instant(x->run, at.t, at.instant_ms, e)
               : job_run_company_instant(x->run, job, at.t, at.instant_ms, e);
}

/* *done: what it asks for is hollow, or its end has come. */
static err_code do_one(const struct erasure *x, const struct job *job, bool *done, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(COMPANY_BYTES);
    struct erasure y = { .run = x->run, .patient = x->patient, .audit_event = x->audit_event };
    struct err why;
    *done = false;
    if (erase_what_read(job->erase, a, &y.what, &why) != ERR_OK || y.what.soft)
        return ERR_OK;
    erase_note_name(job->id, y.note);
    err_code rc = erase_instant(&y, job, &why);
    if (rc == ERR_OK)
        rc = erase_select(&y, &why);
    *done = rc == ERR_OK;
    /* why it fails is told by its own run */
    return rc == ERR_OK ? ERR_OK : erase_goes_on(x, e);
}

err_code erase_company(struct erasure *x, struct arena *a, struct erase_company *out, struct err *e)
{
    struct job job;
    uint64_t after = 0;
    bool there, done;
    out->n = 0;
    while (out->n < ERASE_COMPANY_MOST) {
        TRY(job_run_company(x->run, &after, a, &job, &there, e));
        if (!there)
            return ERR_OK;
        if (erase_is_over(job.erase))
            continue;
        TRY(do_one(x, &job, &done, e));
        if (!done)
            return ERR_OK;
        out->ids[out->n++] = job.id;
    }
    return ERR_OK;
}

/* company.c - erasures that wait behind one that runs, which does their work with its own.
 *
 * The end of an erasure on disk costs the same for one resource and for many. So the one that runs
 * does what the others ask for, too, and takes their texts away at its end. Each of them runs in
 * its turn all the same; without its text it has nothing left to do but to say so. An end of the
 * process in between leaves the texts, and whoever runs next does it again. */
#include "job/job_private.h"

#define ERASE_BYTES 256u /* of memory: a write, and its key */

/* The place of the run's own entry in the list; NULL: it has none (tests). */
static struct job_entry *own_locked(struct job_run *run)
{
    return job_entry_find_locked(run->engine, run->job->kind, run->job->datastore_id, run->job->id);
}

static bool next_locked(struct job_run *run, uint64_t *after, char id[40])
{
    for (struct job_entry *y = own_locked(run); y; y = y->next) {
        if (!sv_eq_cstr(run->job->datastore_id, y->datastore_id) ||
            sv_eq_cstr(run->job->id, y->id) || y->order <= *after)
            continue;
        /* one of another kind is before those behind it */
        if (y->kind != JOB_ERASE || y->running || y->wish != KEEP_GOING)
            return false;
        *after = y->order;
        memcpy(id, y->id, sizeof y->id);
        return true;
    }
    return false;
}

err_code job_run_company(struct job_run *run, uint64_t *after, struct arena *a, struct job *out,
                         bool *there, struct err *e)
{
    char id[40];
    struct job_record rec;
    pthread_mutex_lock(&run->engine->locked.lock);
    *there = next_locked(run, after, id);
    pthread_mutex_unlock(&run->engine->locked.lock);
    if (!*there)
        return ERR_OK;
    TRY(job_record_read(run->cfg->records, JOB_ERASE, run->job->datastore_id, sv_from(id), a, &rec,
                        e));
    TRY(job_erase_load(run->cfg->records, rec.job.id, a, &rec.job.erase, e));
    *out = rec.job;
    return ERR_OK;
}

err_code job_run_company_instant(struct job_run *run, const struct job *job, uint64_t t,
                                 int64_t instant_ms, struct err *e)
{
    const struct job_change change = {
        .to = JOB_IN_PROGRESS,
        .set_instant = true,
        .t = t,
        .instant_ms = instant_ms,
        /* this run's: whoever has lost it decides nothing for others */
        .under = run->lease
    };
    err_code rc = job_engine_change(run->engine, job->kind, job->datastore_id, job->id, &change, e);
    return rc == ERR_CONFLICT ? ERR(e, ERR_CANCELLED, "the job is being cancelled") : rc;
}

static void note_forgotten(struct job_run *run, const sv *ids, size_t n)
{
    run->forgotten = true;
    pthread_mutex_lock(&run->engine->locked.lock);
    for (size_t i = 0; i < n; i++) {
        struct job_entry *y =
            job_entry_find_locked(run->engine, JOB_ERASE, run->job->datastore_id, ids[i]);
        if (y)
            y->forgotten = true;
    }
    pthread_mutex_unlock(&run->engine->locked.lock);
}

err_code job_run_erase_forget(struct job_run *run, sv left, const sv *ids, size_t n, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((n + 1) * ERASE_BYTES + 4096);
    struct records_write *w = arena_calloc(a, n + 1, sizeof *w);
    if (run->forgotten)
        return ERR_OK;
    if (w == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i <= n; i++)
        w[i] = (struct records_write){ left.len ? RECORDS_PUT : RECORDS_DELETE,
                                       job_key_params(a, i < n ? ids[i] : run->job->id), left };
    TRY(job_write(run->cfg->records, run->lease, w, n + 1, e));
    TRY(records_scrub(run->cfg->records, e));
    note_forgotten(run, ids, n);
    return ERR_OK;
}

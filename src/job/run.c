/* run.c - what a running job may call: its progress, its notes, its instant, its room, a pause.
 *
 * A run knows its engine through these calls alone. Notes are scratch in the records, below the
 * job's own key; they go when the job ends. */
#include "job/job_private.h"

#include "base/clock.h"

#include <errno.h>

void job_run_init(struct job_run *r)
{
    pthread_mutex_init(&r->live.lock, NULL);
    clock_cond_init(&r->live.halted);
}

void job_run_done(struct job_run *r)
{
    pthread_mutex_destroy(&r->live.lock);
    pthread_cond_destroy(&r->live.halted);
}

void job_run_wake(struct job_run *r)
{
    pthread_mutex_lock(&r->live.lock);
    pthread_cond_broadcast(&r->live.halted);
    pthread_mutex_unlock(&r->live.lock);
}

void job_run_pause(struct job_run *r, unsigned ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000ull);
    int rc = 0;
    pthread_mutex_lock(&r->live.lock);
    while (rc != ETIMEDOUT && !job_run_should_stop(r))
        rc = pthread_cond_timedwait(&r->live.halted, &r->live.lock, &until);
    pthread_mutex_unlock(&r->live.lock);
}

void job_run_progress_set(struct job_run *r, const struct job_progress *p)
{
    pthread_mutex_lock(&r->live.lock);
    r->live.progress = *p;
    pthread_mutex_unlock(&r->live.lock);
}

err_code job_run_note_put(struct job_run *r, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put(r->cfg->records, job_key_note(a, r->job->id, name), value, e);
}

err_code job_run_note_put_unsynced(struct job_run *r, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put_unsynced(r->cfg->records, job_key_note(a, r->job->id, name), value, e);
}

err_code job_run_note_get(struct job_run *r, sv name, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_get(r->cfg->records, job_key_note(a, r->job->id, name), out, e);
}

err_code job_run_note_scan(struct job_run *r, sv prefix, records_each_fn each, void *ctx,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_scan(r->cfg->records, job_key_note(a, r->job->id, prefix), SV_NONE, each, ctx,
                        e);
}

err_code job_run_set_instant(struct job_run *r, uint64_t t, int64_t instant_ms, struct err *e)
{
    struct job_change c = {
        .to = JOB_IN_PROGRESS, .set_instant = true, .t = t, .instant_ms = instant_ms
    };
    err_code rc =
        job_engine_change(r->engine, r->job->kind, r->job->datastore_id, r->job->id, &c, e);
    /* a cancel came first: the run ends as one that was stopped */
    return rc == ERR_CONFLICT ? ERR(e, ERR_CANCELLED, "the job is being cancelled") : rc;
}

err_code job_run_manifest_put(struct job_run *r, sv manifest, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    return records_put_unsynced(r->cfg->records, job_key_manifest(a, r->job->id), manifest, e);
}

err_code job_run_manifest_delete(struct job_run *r, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w = { RECORDS_DELETE, job_key_manifest(a, r->job->id), SV_NONE };
    return records_write(r->cfg->records, &w, 1, e);
}

err_code job_run_disk_check(const struct job_run *r, struct err *e)
{
    return job_disk_check(r->cfg, e);
}

err_code job_run_kept_grow(struct job_run *r, uint64_t bytes, struct err *e)
{
    TRY(job_kept_grow(r->kept, r->job->id, bytes, e));
    return job_disk_check(r->cfg, e);
}

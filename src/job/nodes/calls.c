/* calls.c - what a running job may call: its progress, its notes, its instant, its room, a pause.
 *
 * Where several nodes have the records, all of that is written under the job's lease (under.c). */
#include "job/job_private.h"

#include "base/clock.h"

#include <errno.h>

#define KEY_MORE 64u /* bytes of a note's key in memory, beside the job's id and the name */

void job_run_init(struct job_run *run)
{
    pthread_mutex_init(&run->live.lock, NULL);
    clock_cond_init(&run->live.halted);
}

void job_run_done(struct job_run *run)
{
    pthread_mutex_destroy(&run->live.lock);
    pthread_cond_destroy(&run->live.halted);
}

void job_run_wake(struct job_run *run)
{
    pthread_mutex_lock(&run->live.lock);
    pthread_cond_broadcast(&run->live.halted);
    pthread_mutex_unlock(&run->live.lock);
    if (run->cfg && run->cfg->stores)
        store_registry_wake(run->cfg->stores);
}

void job_run_pause(struct job_run *run, unsigned ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000ull);
    int rc = 0;
    pthread_mutex_lock(&run->live.lock);
    while (rc != ETIMEDOUT && !job_run_should_stop(run))
        rc = pthread_cond_timedwait(&run->live.halted, &run->live.lock, &until);
    pthread_mutex_unlock(&run->live.lock);
}

void job_run_progress_set(struct job_run *run, const struct job_progress *p)
{
    job_live_keep(run, p);
    pthread_mutex_lock(&run->live.lock);
    if (run->engine)
        job_count_progress(run->engine, run->job->kind, &run->live.progress, p);
    run->live.progress = *p;
    pthread_mutex_unlock(&run->live.lock);
}

err_code job_run_note_put(struct job_run *run, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    const struct records_write w = { RECORDS_PUT, job_key_note(a, run->job->id, name), value };
    return job_write(run->cfg->records, run->lease, &w, 1, e);
}

err_code job_run_note_put_unsynced(struct job_run *run, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return job_put_unsynced(run->cfg->records, run->lease, job_key_note(a, run->job->id, name),
                            value, e);
}

err_code job_run_notes_write(struct job_run *run, const struct records_write *notes, size_t n,
                             struct err *e)
{
    size_t bytes = 4096;
    for (size_t i = 0; i < n; i++)
        bytes += sizeof(struct records_write) + run->job->id.len + notes[i].key.len + KEY_MORE;
    CLEANUP(arena_free) struct arena *a = arena_new(bytes);
    struct records_write *w = arena_calloc(a, n, sizeof *w);
    if (w == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++) {
        w[i] = (struct records_write){ notes[i].op, job_key_note(a, run->job->id, notes[i].key),
                                       notes[i].value };
        if (w[i].key.ptr == NULL)
            return arena_oom(a, e);
    }
    return job_write(run->cfg->records, run->lease, w, n, e);
}

err_code job_run_note_get(struct job_run *run, sv name, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_get(run->cfg->records, job_key_note(a, run->job->id, name), out, e);
}

err_code job_run_note_scan(struct job_run *run, sv prefix, records_each_fn each, void *ctx,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_scan(run->cfg->records, job_key_note(a, run->job->id, prefix), SV_NONE, each,
                        ctx, e);
}

err_code job_run_set_instant(struct job_run *run, uint64_t t, int64_t instant_ms, struct err *e)
{
    struct job_change change = { .to = JOB_IN_PROGRESS,
                                 .set_instant = true,
                                 .t = t,
                                 .instant_ms = instant_ms,
                                 .under = run->lease };
    err_code rc = job_engine_change(run->engine, run->job->kind, run->job->datastore_id,
                                    run->job->id, &change, e);
    /* a cancel came first: the run ends as one that was stopped */
    return rc == ERR_CONFLICT ? ERR(e, ERR_CANCELLED, "the job is being cancelled") : rc;
}

err_code job_run_manifest_put(struct job_run *run, sv manifest, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    return job_put_unsynced(run->cfg->records, run->lease, job_key_manifest(a, run->job->id),
                            manifest, e);
}

err_code job_run_manifest_delete(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w = { RECORDS_DELETE, job_key_manifest(a, run->job->id), SV_NONE };
    return job_write(run->cfg->records, run->lease, &w, 1, e);
}

err_code job_run_disk_check(const struct job_run *run, struct err *e)
{
    return job_disk_check(run->cfg, NULL, e);
}

err_code job_run_place_check(const struct job_run *run, struct err *e)
{
    return run->place ? job_files_reach(run->place, e) : ERR_OK;
}

err_code job_run_kept_grow(struct job_run *run, uint64_t bytes, struct err *e)
{
    TRY(job_run_place_check(run, e));
    TRY(job_kept_grow(run->kept, run->job->id, bytes, e));
    return job_disk_check(run->cfg, run->place, e);
}

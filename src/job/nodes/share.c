/* share.c - ranges of one job that several nodes take.
 *
 * A node that has taken a range looks at what was so before it: is the range not done, is the job
 * under way, and does the door stand as when this node came in? Whoever closes the door, or ends
 * the job, looks at leases afterwards. So either the one sees the lease, or the other that the door
 * is closed; and nobody works at a job that has ended.
 *   S1  a range is in the hands of one run at most
 *   S2  what is noted of a range is noted by who has it
 *   S3  when job_run_door_close() returns, nobody writes for the job any more */
#include "job/job_private.h"

#include "base/clock.h"

#include <errno.h>

#define DOOR         SV_LIT("door")
#define RANGE_LEASES "range/" /* names of leases: a job's id, and the range */
#define NOTE_NAME    32u
#define NOTE_MAX     (256u << 20)
#define POLL_MS      1000u

/* ---- the door ---- */

err_code job_run_door_open(struct job_run *run, sv door, struct err *e)
{
    return job_run_note_put(run, DOOR, door, e);
}

err_code job_run_door_read(struct job_run *run, struct buf *out, struct err *e)
{
    return job_run_note_get(run, DOOR, out, e);
}

static bool has_lease(const struct job_run *run)
{
    return run->lease == NULL || lease_is_held(run->lease);
}

/* For news, or so long, whether or not the run is to stop. */
static void wait_for_others(struct job_run *run, unsigned ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000ull);
    int rc = 0;
    pthread_mutex_lock(&run->live.lock);
    while (rc != ETIMEDOUT && run->live.news == run->live.news_seen)
        rc = pthread_cond_timedwait(&run->live.halted, &run->live.lock, &until);
    run->live.news_seen = run->live.news;
    pthread_mutex_unlock(&run->live.lock);
}

err_code job_run_door_close(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    const struct records_write w = { RECORDS_DELETE, job_key_note(a, run->job->id, DOOR), SV_NONE };
    const sv prefix = arena_fmt(a, RANGE_LEASES "%.*s/", SV_FMT(run->job->id));
    bool any = true;
    TRY(job_write(run->cfg->records, run->lease, &w, 1, e));
    job_run_tell(run);
    for (;;) {
        TRY(lease_any(run->cfg->records, prefix, &any, e));
        if (!any)
            return ERR_OK;
        if (!has_lease(run))
            return ERR(e, ERR_CANCELLED, "another node goes on with the job");
        wait_for_others(run, POLL_MS);
    }
}

/* ---- a range ---- */

static void note_name(char out[NOTE_NAME], size_t range)
{
    (void)snprintf(out, NOTE_NAME, "done/%08zu", range);
}

/* Its lease is taken: may it be worked at? */
static err_code check(struct job_run *run, sv door, size_t range, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP_BUF struct buf note = BUF_INIT(NOTE_MAX);
    CLEANUP_BUF struct buf now = BUF_INIT(JOB_DOOR_MAX);
    char name[NOTE_NAME];
    struct job_record rec;
    struct err why;
    note_name(name, range);
    err_code rc = job_run_note_get(run, sv_from(name), &note, &why);
    if (rc == ERR_OK)
        return ERR(e, ERR_EXISTS, "range %zu is done", range);
    if (rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    rc = job_run_door_read(run, &now, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    /* in this order: notes of a job that has ended go behind its status */
    TRY(job_record_read(run->cfg->records, run->job->kind, run->job->datastore_id, run->job->id, a,
                        &rec, e));
    if (rec.job.status != JOB_IN_PROGRESS || rc != ERR_OK || !sv_eq(buf_sv(&now), door))
        return ERR(e, ERR_CANCELLED, "the job is not to be worked at any more");
    return ERR_OK;
}

err_code job_run_range_take(struct job_run *run, sv door, const size_t *ranges, size_t n,
                            struct lease **out, size_t *which, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    sv names[LEASE_MOST];
    struct err why;
    if (n > LEASE_MOST)
        return ERR(e, ERR_INVALID, "a range is taken of at most %u", LEASE_MOST);
    for (size_t i = 0; i < n; i++) {
        names[i] = arena_fmt(a, RANGE_LEASES "%.*s/%08zu", SV_FMT(run->job->id), ranges[i]);
        if (names[i].ptr == NULL)
            return arena_oom(a, e);
    }
    TRY(lease_take_first(run->leases, names, n, run->range_lost, run->range_lost_ctx, out, which,
                         e));
    if (check(run, door, ranges[*which], &why) == ERR_OK)
        return ERR_OK;
    lease_release(*out);
    *out = NULL;
    return err_pass(e, &why);
}

bool job_run_is_given_up(struct job_run *run)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job_record rec;
    struct err ignored;
    if (job_record_read(run->cfg->records, run->job->kind, run->job->datastore_id, run->job->id, a,
                        &rec, &ignored) != ERR_OK)
        return false;
    const job_status s = rec.job.status;
    return s == JOB_FAILED || s == JOB_CANCEL_SUBMITTED || s == JOB_CANCEL_IN_PROGRESS ||
           s == JOB_CANCEL_COMPLETED || s == JOB_CANCEL_FAILED;
}

err_code job_run_range_done(struct job_run *run, struct lease *lease, size_t range, sv value,
                            struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    char name[NOTE_NAME];
    note_name(name, range);
    const struct records_write w = { RECORDS_PUT, job_key_note(a, run->job->id, sv_from(name)),
                                     value };
    return lease_write(lease, &w, 1, e);
}

err_code job_run_range_note(struct job_run *run, struct lease *lease, sv name, sv value,
                            struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return lease_put_unsynced(lease, job_key_note(a, run->job->id, name), value, e);
}

err_code job_run_ranges_scan(struct job_run *run, size_t from, records_each_fn each, void *ctx,
                             struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    char name[NOTE_NAME];
    note_name(name, from ? from - 1 : 0);
    return records_scan(run->cfg->records, job_key_note(a, run->job->id, SV_LIT("done/")),
                        from ? job_key_note(a, run->job->id, sv_from(name)) : SV_NONE, each, ctx,
                        e);
}

/* ---- news ---- */

void job_run_tell(struct job_run *run)
{
    records_tell(run->cfg->records, SV_LIT(JOB_WORD));
}

void job_run_tell_share(struct job_run *run)
{
    records_tell(run->cfg->records, SV_LIT(JOB_SHARE_WORD));
}

void job_run_news(struct job_run *run)
{
    pthread_mutex_lock(&run->live.lock);
    run->live.news++;
    pthread_cond_broadcast(&run->live.halted);
    pthread_mutex_unlock(&run->live.lock);
}

void job_run_await(struct job_run *run, unsigned ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000ull);
    int rc = 0;
    pthread_mutex_lock(&run->live.lock);
    while (rc != ETIMEDOUT && run->live.news == run->live.news_seen && !job_run_should_stop(run))
        rc = pthread_cond_timedwait(&run->live.halted, &run->live.lock, &until);
    run->live.news_seen = run->live.news;
    pthread_mutex_unlock(&run->live.lock);
}

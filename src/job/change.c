/* change.c - the one place where a job's record changes after it was written first.
 *
 * A change reads the record, checks the move against the table of status.c, and writes it, one at a
 * time under record_lock. Who waits for a job to end is told when the record says so, and not
 * before. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/log.h"

void job_engine_log(const char *event, const struct job *j)
{
    LOG(LOG_INFO, event, LOG_STR("kind", job_kind_name(j->kind)), LOG_SV("job", j->id),
        LOG_SV("datastore", j->datastore_id), LOG_STR("status", job_status_name(j->status)));
}

/* The record as it is after the change. */
static void apply(const struct job_engine *en, const struct job_change *c, struct arena *a,
                  struct job_record *rec)
{
    struct job *j = &rec->job;
    j->status = c->to;
    if (c->to == JOB_IN_PROGRESS && j->start_ms == 0)
        j->start_ms = clock_wall_ms();
    if (job_status_is_final(c->to) && j->end_ms == 0)
        j->end_ms = clock_wall_ms();
    if (c->files_expire && j->expires_ms == 0)
        j->expires_ms = j->end_ms + en->cfg.served_ms;
    if (c->files_removed)
        rec->files_removed_ms = clock_wall_ms();
    if (c->progress)
        j->progress = *c->progress;
    if (c->message.len)
        j->message = job_message_clean(a, c->message);
    if (c->set_instant) {
        j->as_of_t = c->t;
        j->transaction_ms = c->instant_ms;
    }
}

/* What is kept of a served export, after its record was written. */
static void tell_kept(struct job_engine *en, const struct job *j, bool ends, bool files_removed)
{
    if (ends && j->expires_ms) {
        job_kept_end(en->kept, j->id, j->expires_ms);
        job_served_expect(en->served, j->expires_ms);
    } else if (ends || files_removed) {
        job_kept_leave(en->kept, j->id);
    }
}

static err_code change_locked(struct job_engine *en, job_kind kind, sv datastore_id, sv id,
                              const struct job_change *c, bool *ended, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct job_record rec;
    TRY(job_record_read(en->cfg.records, kind, datastore_id, id, a, &rec, e));
    bool moved = c->to != rec.job.status;
    if (moved && !job_status_may(rec.job.status, c->to))
        return ERR(e, ERR_CONFLICT, "job is %s", job_status_name(rec.job.status));
    apply(en, c, a, &rec);
    bool ends = moved && job_status_is_final(c->to);
    /* that it runs may go with the machine: the job is then where it was before */
    bool synced = c->to != JOB_IN_PROGRESS;
    TRY(ends ? job_record_finish(en->cfg.records, &rec, e)
             : job_record_update(en->cfg.records, &rec, synced, e));
    tell_kept(en, &rec.job, ends, c->files_removed);
    if (moved)
        job_engine_log("job", &rec.job);
    *ended = ends;
    return ERR_OK;
}

err_code job_engine_change(struct job_engine *en, job_kind kind, sv datastore_id, sv id,
                           const struct job_change *c, struct err *e)
{
    bool ended = false;
    pthread_mutex_lock(&en->record_lock);
    err_code rc = change_locked(en, kind, datastore_id, id, c, &ended, e);
    pthread_mutex_unlock(&en->record_lock);
    if (ended && en->cfg.ended)
        en->cfg.ended(en->cfg.ended_ctx, id);
    return rc;
}

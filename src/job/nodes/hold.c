/* hold.c - a job's lease, and whether its job may begin.
 *
 * Who has the lease looks at the records once more: the job may have ended meanwhile, or one that
 * came in before it, on another node, may not have ended yet. */
#include "job/job_private.h"

#include "base/log.h"

/* lease_lost_fn */
static void lost(void *ctx)
{
    struct job_entry *entry = ctx;
    struct job_engine *engine = entry->engine;
    pthread_mutex_lock(&engine->locked.lock);
    job_entry_halt_locked(entry);
    pthread_mutex_unlock(&engine->locked.lock);
    LOG(LOG_WARN, "job_lost", LOG_STR("job", entry->id),
        LOG_STR("note", "its lease could not be renewed: another node goes on with it"));
}

/* May it begin, with its lease taken? */
static bool may_begin(struct job_engine *engine, struct job_entry *entry, bool *over, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job_record rec;
    if (job_look(engine, e) != ERR_OK)
        return false;
    err_code rc = job_record_read(engine->cfg.records, entry->kind, sv_from(entry->datastore_id),
                                  sv_from(entry->id), a, &rec, e);
    *over = rc == ERR_NOT_FOUND || (rc == ERR_OK && job_status_is_final(rec.job.status));
    if (rc != ERR_OK || *over)
        return false;
    const job_status s = rec.job.status;
    pthread_mutex_lock(&engine->locked.lock);
    /* what is only to end waits for nobody */
    const bool may = entry->wish != KEEP_GOING || s == JOB_CANCEL_SUBMITTED ||
                     s == JOB_CANCEL_IN_PROGRESS || !job_entry_behind_locked(engine, entry);
    pthread_mutex_unlock(&engine->locked.lock);
    if (may && s != JOB_SUBMITTED && s != JOB_QUEUED)
        LOG(LOG_INFO, "job_resumed", LOG_STR("kind", job_kind_name(entry->kind)),
            LOG_STR("job", entry->id), LOG_STR("datastore", entry->datastore_id));
    return may;
}

/* Its progress stays there for who goes on with it. */
static void leave(struct lease *lease, bool ended)
{
    if (ended)
        lease_release(lease);
    else
        lease_leave(lease);
}

bool job_hold(struct job_engine *engine, struct job_entry *entry, bool *over)
{
    char name[64];
    struct lease *lease;
    struct err ignored;
    *over = false;
    if (!engine->shared)
        return true;
    (void)snprintf(name, sizeof name, JOB_LEASES "%s", entry->id);
    entry->engine = engine;
    if (lease_take(engine->leases, sv_from(name), lost, entry, &lease, &ignored) != ERR_OK)
        return false;
    if (!may_begin(engine, entry, over, &ignored)) {
        leave(lease, *over);
        return false;
    }
    pthread_mutex_lock(&engine->locked.lock);
    entry->lease = lease;
    pthread_mutex_unlock(&engine->locked.lock);
    return true;
}

void job_let_go(struct job_engine *engine, struct job_entry *entry, bool ended)
{
    if (entry->lease == NULL)
        return;
    pthread_mutex_lock(&engine->lease_lock);
    struct lease *lease = entry->lease;
    pthread_mutex_lock(&engine->locked.lock);
    entry->lease = NULL;
    pthread_mutex_unlock(&engine->locked.lock);
    leave(lease, ended);
    pthread_mutex_unlock(&engine->lease_lock);
    job_tell(engine);
}

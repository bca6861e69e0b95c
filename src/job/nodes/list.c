/* list.c - the list of unfinished jobs, in the order in which they came in. */
#include "job/job_private.h"

#define RUNNING_MAX 16u /* jobs at a time in one process; others wait */

struct job_entry *job_entry_find_locked(struct job_engine *engine, job_kind kind, sv datastore_id,
                                        sv id)
{
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        if (entry->kind == kind && sv_eq_cstr(datastore_id, entry->datastore_id) &&
            sv_eq_cstr(id, entry->id))
            return entry;
    return NULL;
}

void job_entry_add_locked(struct job_engine *engine, struct job_entry *x)
{
    struct job_entry **p = &engine->locked.first;
    while (*p && (*p)->order < x->order)
        p = &(*p)->next;
    x->next = *p;
    *p = x;
    engine->locked.n_changes++;
}

void job_entry_drop_locked(struct job_engine *engine, struct job_entry *x)
{
    struct job_entry **p = &engine->locked.first;
    while (*p != x)
        p = &(*p)->next;
    *p = x->next;
    engine->locked.n_changes++;
    free(x);
}

void job_entry_halt_locked(struct job_entry *entry)
{
    atomic_store(&entry->halt, true);
    if (entry->run)
        job_run_wake(entry->run);
}

bool job_entry_behind_locked(struct job_engine *engine, const struct job_entry *x)
{
    for (struct job_entry *y = engine->locked.first; y != x; y = y->next)
        /* one before it runs or waits; an erasure and any other job wait for each other */
        if ((y->kind == x->kind || y->kind == JOB_ERASE || x->kind == JOB_ERASE) &&
            strcmp(y->datastore_id, x->datastore_id) == 0)
            return true;
    return false;
}

bool job_run_is_first(struct job_run *run)
{
    const struct job *job = run->job;
    pthread_mutex_lock(&run->engine->locked.lock);
    const struct job_entry *entry =
        job_entry_find_locked(run->engine, job->kind, job->datastore_id, job->id);
    const bool first = entry && !job_entry_behind_locked(run->engine, entry);
    pthread_mutex_unlock(&run->engine->locked.lock);
    return first;
}

bool job_entry_blocked_locked(struct job_engine *engine, const struct job_entry *x)
{
    return engine->locked.n_running >= RUNNING_MAX || job_entry_behind_locked(engine, x);
}

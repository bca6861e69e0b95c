/* counts.c - what jobs come to, for a monitor: how many wait and run, how they ended, and what they
 * have moved. The first is looked up in the engine's list; the others are counters, which start at
 * 0 with the engine. */
#include "job/job_private.h"

void job_count_end(struct job_engine *engine, const struct job *job)
{
    atomic_fetch_add(&engine->counted[job->kind].ended[job->status], 1);
}

static uint64_t moved(const struct job_progress *p, bool bytes)
{
    return bytes ? p->bytes_exported + p->bytes_imported
                 : p->resources_exported + p->resources_imported + p->resources_erased;
}

/* Where progress goes back, a part is done once more, and counts once more. */
static uint64_t grown(const struct job_progress *from, const struct job_progress *to, bool bytes)
{
    uint64_t was = moved(from, bytes), is = moved(to, bytes);
    return is > was ? is - was : 0;
}

void job_count_progress(struct job_engine *engine, job_kind kind, const struct job_progress *from,
                        const struct job_progress *to)
{
    atomic_fetch_add(&engine->counted[kind].resources, grown(from, to, false));
    atomic_fetch_add(&engine->counted[kind].bytes, grown(from, to, true));
}

void job_engine_count(struct job_engine *engine, job_kind kind, struct job_counts *out)
{
    struct job_counts n = { .resources = atomic_load(&engine->counted[kind].resources),
                            .bytes = atomic_load(&engine->counted[kind].bytes) };
    for (size_t i = 0; i < JOB_N_STATUSES; i++)
        n.ended[i] = atomic_load(&engine->counted[kind].ended[i]);
    pthread_mutex_lock(&engine->locked.lock);
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next) {
        /* what another node has in hand is counted there */
        if (entry->kind != kind || entry->elsewhere)
            continue;
        if (entry->wish != KEEP_GOING)
            n.n_cancelling++;
        else if (entry->running)
            n.n_running++;
        else
            n.n_waiting++;
    }
    pthread_mutex_unlock(&engine->locked.lock);
    *out = n;
}

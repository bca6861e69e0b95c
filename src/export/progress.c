/* progress.c - what the workers of one export share: how far it is, its room, the places of its
 * ranges, and whether T is still what it was.
 *
 * Everything here is under the export's one lock. A range takes the least place that is free when
 * its lines are out, and a running export's manifest shows ranges in that order. Places have no
 * gaps but those of ranges that are just being noted: one whose note cannot be written gives its
 * place back. */
#include "export/export_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <assert.h>

#define REFUSED_MOST 32u /* copies, before the first that comes about */

#define ASK_BYTES (8u << 20) /* between looks at limits and disk */

err_code export_goes_on(const struct job_run *run, struct err *e)
{
    return job_run_should_stop(run) ? ERR(e, ERR_CANCELLED, "the export was stopped") : ERR_OK;
}

err_code export_instant_holds(struct export_job *export, struct err *e)
{
    struct err why;
    err_code rc = store_mark_holds(export->run->store, export->t, export->mark, &why);
    if (rc != ERR_PRECONDITION)
        return rc == ERR_OK ? rc : err_pass(e, &why);
    return ERR(
        e, rc,
        "The database has lost commits of the data store, and with them the state that is "
        "exported: a standby that was behind has taken over, or an older state was put back. "
        "Start a new export, of everything");
}

/* What the finished ranges make likely for all. */
static uint64_t expected(uint64_t done, uint64_t of_finished, const struct job_progress *p)
{
    if (p->ranges_total && p->ranges_done == p->ranges_total)
        return done;
    if (p->ranges_done == 0)
        return 0;
    double all = (double)of_finished / (double)p->ranges_done * (double)p->ranges_total;
    return all > (double)done ? (uint64_t)all : done;
}

void export_progress_add(struct export_job *export, int64_t resources, int64_t bytes)
{
    uint64_t now = clock_mono_us();
    pthread_mutex_lock(&export->shared.lock);
    struct job_progress *p = &export->shared.progress;
    p->resources_exported += (uint64_t)resources;
    p->bytes_exported += (uint64_t)bytes;
    p->resources_expected = expected(p->resources_exported, export->shared.finished_resources, p);
    p->bytes_expected = expected(p->bytes_exported, export->shared.finished_bytes, p);
    double s = (double)(now - export->shared.begun_us) / 1e6;
    double of_run = (double)(p->resources_exported - export->shared.begun_resources);
    double bytes_of_run = (double)(p->bytes_exported - export->shared.begun_bytes);
    p->throughput = s > 0 ? of_run / s : 0;
    p->seconds_left = 0;
    if (p->bytes_expected > p->bytes_exported && bytes_of_run > 0)
        p->seconds_left =
            (uint64_t)((double)(p->bytes_expected - p->bytes_exported) / bytes_of_run * s) + 1;
    /* under the lock, so that what was true last is told last */
    job_run_progress_set(export->run, p);
    pthread_mutex_unlock(&export->shared.lock);
}

err_code export_object_take(struct export_job *export, struct err *e)
{
    pthread_mutex_lock(&export->shared.lock);
    uint64_t n = ++export->shared.n_begun;
    pthread_mutex_unlock(&export->shared.lock);
    if (export->params->max_file_bytes && n > LIMIT_EXPORT_FILES)
        return ERR(
            e, ERR_TOO_LARGE,
            "The export has more than %u files of the size that was asked for; ask for a larger "
            "_maximumFileSize",
            LIMIT_EXPORT_FILES);
    TRY(job_run_place_check(export->run, e));
    return export_room_take(export, JOB_FILE_BYTES, e);
}

err_code export_room_take(struct export_job *export, uint64_t bytes, struct err *e)
{
    if (export->run->kept == NULL)
        return ERR_OK;
    pthread_mutex_lock(&export->shared.lock);
    uint64_t written = export->shared.written += bytes;
    bool ask = bytes == 0 || written - export->shared.asked_at >= ASK_BYTES ||
               export->shared.asked_at == 0;
    if (ask)
        export->shared.asked_at = written;
    pthread_mutex_unlock(&export->shared.lock);
    if (!ask)
        return ERR_OK;
    return job_run_kept_grow(export->run, written, e);
}

void export_progress_begin(struct export_job *export)
{
    struct job_progress *p = &export->shared.progress;
    export->shared.begun_us = clock_mono_us();
    export->shared.begun_resources = export->shared.finished_resources = p->resources_exported;
    export->shared.begun_bytes = export->shared.finished_bytes = p->bytes_exported;
    export_progress_add(export, 0, 0);
}

void export_progress_reused(struct export_job *export, unsigned objects, uint64_t bytes)
{
    pthread_mutex_lock(&export->shared.lock);
    export->shared.reused += objects;
    export->shared.reused_bytes += bytes;
    pthread_mutex_unlock(&export->shared.lock);
}

void export_progress_refused(struct export_job *export)
{
    pthread_mutex_lock(&export->shared.lock);
    export->shared.refused++;
    pthread_mutex_unlock(&export->shared.lock);
}

bool export_may_copy(struct export_job *export)
{
    pthread_mutex_lock(&export->shared.lock);
    bool may = export->shared.reused || export->shared.refused < REFUSED_MOST;
    pthread_mutex_unlock(&export->shared.lock);
    return may;
}

void export_progress_range(struct export_job *export, const struct export_tally *t)
{
    pthread_mutex_lock(&export->shared.lock);
    export->shared.finished_resources += t->resources;
    export->shared.finished_bytes += t->bytes;
    export->shared.progress.objects_exported += t->objects;
    export->shared.progress.ranges_done++;
    pthread_mutex_unlock(&export->shared.lock);
    export_progress_add(export, 0, 0);
}

/* ---- places ---- */

size_t export_place_take(struct export_job *export)
{
    pthread_mutex_lock(&export->shared.lock);
    size_t i = export->shared.first_place;
    while (i < export->plan.n && export->shared.places[i])
        i++;
    /* as many places as ranges */
    assert(i < export->plan.n);
    export->shared.places[i] = true;
    export->shared.first_place = i + 1;
    pthread_mutex_unlock(&export->shared.lock);
    return i;
}

void export_place_give_back(struct export_job *export, size_t place)
{
    pthread_mutex_lock(&export->shared.lock);
    export->shared.places[place] = false;
    if (place < export->shared.first_place)
        export->shared.first_place = place;
    pthread_mutex_unlock(&export->shared.lock);
}

/* progress.c - what the workers of one export share: how far it is, its room, the places of its
 * ranges.
 *
 * Everything here is under the export's one lock. A range takes the least place that is free when
 * its lines are out, and a running export's manifest shows ranges in that order. Places have no
 * gaps but those of ranges that are just being noted: one whose note cannot be written gives its
 * place back. */
#include "export/export_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <assert.h>

#define ASK_BYTES (8u << 20) /* between looks at limits and disk */

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

void export_progress_add(struct export_job *x, int64_t resources, int64_t bytes)
{
    uint64_t now = clock_mono_us();
    pthread_mutex_lock(&x->shared.lock);
    struct job_progress *p = &x->shared.progress;
    p->resources_exported += (uint64_t)resources;
    p->bytes_exported += (uint64_t)bytes;
    p->resources_expected = expected(p->resources_exported, x->shared.finished_resources, p);
    p->bytes_expected = expected(p->bytes_exported, x->shared.finished_bytes, p);
    double s = (double)(now - x->shared.begun_us) / 1e6;
    double of_run = (double)(p->resources_exported - x->shared.begun_resources);
    double bytes_of_run = (double)(p->bytes_exported - x->shared.begun_bytes);
    p->throughput = s > 0 ? of_run / s : 0;
    p->seconds_left = 0;
    if (p->bytes_expected > p->bytes_exported && bytes_of_run > 0)
        p->seconds_left =
            (uint64_t)((double)(p->bytes_expected - p->bytes_exported) / bytes_of_run * s) + 1;
    struct job_progress copy = *p;
    pthread_mutex_unlock(&x->shared.lock);
    job_run_progress_set(x->run, &copy);
}

err_code export_object_take(struct export_job *x, struct err *e)
{
    pthread_mutex_lock(&x->shared.lock);
    uint64_t n = ++x->shared.n_begun;
    pthread_mutex_unlock(&x->shared.lock);
    if (x->params->max_file_bytes && n > LIMIT_EXPORT_FILES)
        return ERR(
            e, ERR_TOO_LARGE,
            "The export has more than %u files of the size that was asked for; ask for a larger "
            "_maximumFileSize",
            LIMIT_EXPORT_FILES);
    return export_room_take(x, JOB_FILE_BYTES, e);
}

err_code export_room_take(struct export_job *x, uint64_t bytes, struct err *e)
{
    if (x->run->kept == NULL)
        return ERR_OK;
    pthread_mutex_lock(&x->shared.lock);
    uint64_t written = x->shared.written += bytes;
    bool ask = bytes == 0 || written - x->shared.asked_at >= ASK_BYTES || x->shared.asked_at == 0;
    if (ask)
        x->shared.asked_at = written;
    pthread_mutex_unlock(&x->shared.lock);
    if (!ask)
        return ERR_OK;
    return job_run_kept_grow(x->run, written, e);
}

void export_progress_begin(struct export_job *x)
{
    struct job_progress *p = &x->shared.progress;
    x->shared.begun_us = clock_mono_us();
    x->shared.begun_resources = x->shared.finished_resources = p->resources_exported;
    x->shared.begun_bytes = x->shared.finished_bytes = p->bytes_exported;
    export_progress_add(x, 0, 0);
}

void export_progress_range(struct export_job *x, const struct export_tally *t)
{
    pthread_mutex_lock(&x->shared.lock);
    x->shared.finished_resources += t->resources;
    x->shared.finished_bytes += t->bytes;
    x->shared.progress.objects_exported += t->objects;
    x->shared.progress.ranges_done++;
    pthread_mutex_unlock(&x->shared.lock);
    export_progress_add(x, 0, 0);
}

/* ---- places ---- */

size_t export_place_take(struct export_job *x)
{
    pthread_mutex_lock(&x->shared.lock);
    size_t i = x->shared.first_place;
    while (i < x->plan.n && x->shared.places[i])
        i++;
    /* as many places as ranges */
    assert(i < x->plan.n);
    x->shared.places[i] = true;
    x->shared.first_place = i + 1;
    pthread_mutex_unlock(&x->shared.lock);
    return i;
}

void export_place_give_back(struct export_job *x, size_t place)
{
    pthread_mutex_lock(&x->shared.lock);
    x->shared.places[place] = false;
    if (place < x->shared.first_place)
        x->shared.first_place = place;
    pthread_mutex_unlock(&x->shared.lock);
}

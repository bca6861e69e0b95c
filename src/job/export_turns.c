/* export_turns.c - workers take ranges.
 *
 * A turn of a worker is a task of the pool: it takes the next range that nobody has taken, and writes EXPORT_LANES
 * at a time, a block of each in turn. A lane that is free takes another one, so that both are busy until a turn
 * ends: when nothing is left, or after TURN_RANGES if another job waits for a worker. */
#include "job/export.h"

#include "base/log.h"

#include <assert.h>
#include <time.h>

#define RANGE_TRIES 3u
#define TURN_RANGES 4u

struct lane {
    bool busy;
    size_t range;
    unsigned tries; /* that failed */
    struct buf *block;
    struct export_range *at; /* NULL: to be opened */
};

static bool may_pass(err_code rc)
{
    return rc == ERR_PEER || rc == ERR_TIMEOUT || rc == ERR_AUTH_EXPIRED;
}

static void pause_before_retry(const struct job_run *r, unsigned tries)
{
    for (unsigned i = 0; i < 20u << tries && !job_run_should_stop(r); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
}

static bool over(struct export *x)
{
    pthread_mutex_lock(&x->shared.lock);
    bool failed = x->shared.rc != ERR_OK;
    pthread_mutex_unlock(&x->shared.lock);
    return failed || job_run_should_stop(x->run);
}

static bool take_range(struct export *x, size_t *out)
{
    pthread_mutex_lock(&x->shared.lock);
    size_t i = x->shared.next_range;
    while (i < x->plan.n && x->plan.done[i])
        i++;
    x->shared.next_range = i < x->plan.n ? i + 1 : i;
    pthread_mutex_unlock(&x->shared.lock);
    *out = i;
    return i < x->plan.n;
}

size_t export_place_take(struct export *x)
{
    pthread_mutex_lock(&x->shared.lock);
    size_t i = x->shared.first_place;
    while (i < x->plan.n && x->shared.places[i])
        i++;
    assert(i < x->plan.n); /* as many places as ranges */
    x->shared.places[i] = true;
    x->shared.first_place = i + 1;
    pthread_mutex_unlock(&x->shared.lock);
    return i;
}

void export_place_give_back(struct export *x, size_t place)
{
    pthread_mutex_lock(&x->shared.lock);
    x->shared.places[place] = false;
    if (place < x->shared.first_place)
        x->shared.first_place = place;
    pthread_mutex_unlock(&x->shared.lock);
}

static void fail(struct export *x, err_code rc, struct err *e)
{
    if (job_run_should_stop(x->run))
        rc = ERR(e, ERR_CANCELLED, "the export was stopped");
    pthread_mutex_lock(&x->shared.lock);
    if (x->shared.rc == ERR_OK) {
        x->shared.rc = rc;
        x->shared.err = *e;
    }
    pthread_mutex_unlock(&x->shared.lock);
}

/* After one step of a lane: its range is in, or goes on, or starts anew, or the export has failed. */
static void settle(struct export *x, struct lane *l, err_code rc, const struct export_tally *tally,
                   struct err *e)
{
    if (rc == ERR_OK)
        return;
    export_range_free(l->at);
    l->at = NULL;
    if (rc == ERR_EOF) {
        export_progress_range(x, tally);
        l->busy = false;
    } else if (may_pass(rc) && ++l->tries < RANGE_TRIES && !job_run_should_stop(x->run)) {
        LOG_ERR("export_retry", e, LOG_SV("job", x->run->job->id), LOG_INT("range", l->range));
        pause_before_retry(x->run, l->tries - 1);
    } else {
        fail(x, rc, e);
        l->busy = false;
    }
}

static void step(struct export *x, struct lane lanes[EXPORT_LANES])
{
    for (unsigned i = 0; i < EXPORT_LANES; i++) {
        struct lane *l = &lanes[i];
        struct err e = { 0 };
        err_code rc = ERR_OK;
        if (!l->busy)
            continue;
        if (l->at == NULL)
            rc = export_range_open(x, l->range, l->block, &l->at, &e);
        if (rc == ERR_OK)
            rc = export_range_fill(l->at, &e);
        settle(x, l, rc, NULL, &e);
    }
    if (lanes[0].at && lanes[1].at)
        export_ranges_digest(lanes[0].at, lanes[1].at);
    for (unsigned i = 0; i < EXPORT_LANES; i++) {
        struct export_tally tally;
        struct err e = { 0 };
        if (lanes[i].at)
            settle(x, &lanes[i], export_range_flush(lanes[i].at, &tally, &e), &tally, &e);
    }
}

static void turn(void *ctx, unsigned worker)
{
    struct export *x = ctx;
    struct lane lanes[EXPORT_LANES] = { 0 };
    unsigned n_taken = 0, n_busy;
    for (unsigned i = 0; i < EXPORT_LANES; i++)
        lanes[i].block = &x->blocks[worker * EXPORT_LANES + i];
    do {
        n_busy = 0;
        for (unsigned i = 0; i < EXPORT_LANES; i++) {
            struct lane *l = &lanes[i];
            if (!l->busy && (n_taken < TURN_RANGES || !job_tasks_contended(x->tasks)) &&
                take_range(x, &l->range)) {
                l->busy = true;
                l->tries = 0;
                n_taken++;
            }
            n_busy += l->busy;
        }
        step(x, lanes);
    } while (n_busy && !over(x));
    for (unsigned i = 0; i < EXPORT_LANES; i++) {
        export_range_free(lanes[i].at); /* of an export that is over */
        buf_shrink(lanes[i].block, 4u << 20);
    }
}

err_code export_ranges_run(struct export *x, struct err *e)
{
    unsigned n_workers = job_pool_n_workers(x->run->pool), n_blocks = n_workers * EXPORT_LANES;
    size_t n_open = 0;
    x->blocks = calloc(n_blocks, sizeof *x->blocks);
    if (x->blocks == NULL)
        abort();
    for (unsigned i = 0; i < n_blocks; i++)
        buf_init(&x->blocks[i], SIZE_MAX / 2);
    for (size_t i = 0; i < x->plan.n; i++)
        n_open += !x->plan.done[i];
    x->tasks = job_tasks_open(x->run->pool, n_workers * 2);
    for (size_t i = 0; i < n_open && !over(x); i += EXPORT_LANES)
        job_tasks_add(x->tasks, turn,
                      x); /* more turns than needed: a late one finds nothing to do */
    job_tasks_close(x->tasks);
    for (unsigned i = 0; i < n_blocks; i++)
        buf_done(&x->blocks[i]);
    free(x->blocks);
    if (x->shared.rc != ERR_OK) {
        *e = x->shared.err;
        return x->shared.rc;
    }
    if (job_run_should_stop(x->run))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    return ERR_OK;
}

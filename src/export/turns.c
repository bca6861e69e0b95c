/* turns.c - workers take ranges.
 *
 * A turn of a worker is a task of the pool: it takes the next range that nobody has taken, and
 * writes EXPORT_TRACKS at a time, a block of each in turn. A track that is free takes another one,
 * so that both are busy until a turn ends: when nothing is left, or after TURN_RANGES if another
 * job waits for a worker.
 *
 * A range whose lines are out leaves its track; its objects may still be on their way to a peer. It
 * is noted when they have arrived, and written again when they have not. */
#include "export/export_private.h"

#include "base/log.h"

#define RANGE_TRIES 3u
#define PAUSE_MS    1000u /* before the second try; twice as long before the next */
#define TURN_RANGES 4u

#define LEAVING_MAX \
    16u /* each has an object on its way, or a few; the sink lets fewer of them go at a time */

struct todo {
    size_t range;
    unsigned tries; /* that failed */
};

struct track {
    bool busy;
    struct todo todo;
    struct buf *block;
    struct export_range *at; /* NULL: to be opened */
};

struct turn {
    struct export_job *x;
    struct track tracks[EXPORT_TRACKS];
    struct leaving { /* oldest first */
        struct todo todo;
        struct export_range *at;
    } leaving[LEAVING_MAX];
    unsigned n_leaving;
    struct todo again[LEAVING_MAX + EXPORT_TRACKS]; /* whose objects did not arrive */
    unsigned n_again;
    unsigned n_taken;
};

static bool may_pass(err_code rc)
{
    return rc == ERR_PEER || rc == ERR_TIMEOUT || rc == ERR_AUTH_EXPIRED;
}

static bool over(struct export_job *x)
{
    pthread_mutex_lock(&x->shared.lock);
    bool failed = x->shared.rc != ERR_OK;
    pthread_mutex_unlock(&x->shared.lock);
    return failed || job_run_should_stop(x->run);
}

static bool take_range(struct export_job *x, size_t *out)
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

static void fail(struct export_job *x, err_code rc, struct err *e)
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

/* A range that failed: to be tried again, or the export has failed. True: again. */
static bool try_again(struct export_job *x, struct todo *t, err_code rc, struct err *e)
{
    if (!may_pass(rc) || ++t->tries >= RANGE_TRIES || job_run_should_stop(x->run)) {
        fail(x, rc, e);
        return false;
    }
    LOG_ERR("export_retry", e, LOG_SV("job", x->run->job->id), LOG_INT("range", t->range));
    job_run_pause(x->run, PAUSE_MS << (t->tries - 1));
    return true;
}

/* One that is leaving has arrived, or is waited for. */
static void finish(struct turn *t, unsigned i)
{
    struct leaving l = t->leaving[i];
    struct export_tally tally;
    struct err e = { 0 };
    memmove(&t->leaving[i], &t->leaving[i + 1], (--t->n_leaving - i) * sizeof t->leaving[0]);
    err_code rc = export_range_finish(l.at, &tally, &e);
    export_range_free(l.at);
    if (rc == ERR_OK)
        export_progress_range(t->x, &tally);
    else if (try_again(t->x, &l.todo, rc, &e))
        t->again[t->n_again++] = l.todo;
}

static void finish_arrived(struct turn *t)
{
    for (unsigned i = 0; i < t->n_leaving;) {
        if (export_range_has_arrived(t->leaving[i].at))
            finish(t, i);
        else
            i++;
    }
}

/* After one step of a track: its range goes on, or leaves, or starts anew, or the export has
 * failed. */
static void settle(struct turn *t, struct track *l, err_code rc, struct err *e)
{
    if (rc == ERR_OK)
        return;
    if (rc == ERR_EOF) {
        if (t->n_leaving == LEAVING_MAX)
            finish(t, 0);
        t->leaving[t->n_leaving++] = (struct leaving){ l->todo, l->at };
        l->at = NULL;
        l->busy = false;
        return;
    }
    export_range_free(l->at);
    l->at = NULL;
    l->busy = try_again(t->x, &l->todo, rc, e);
}

static void step(struct turn *t)
{
    struct track *tracks = t->tracks;
    for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
        struct track *l = &tracks[i];
        struct err e = { 0 };
        err_code rc = ERR_OK;
        if (!l->busy)
            continue;
        if (l->at == NULL)
            rc = export_range_open(t->x, l->todo.range, l->block, &l->at, &e);
        if (rc == ERR_OK)
            rc = export_range_fill(l->at, &e);
        settle(t, l, rc, &e);
    }
    if (tracks[0].at && tracks[1].at)
        export_ranges_digest(tracks[0].at, tracks[1].at);
    for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
        struct err e = { 0 };
        if (tracks[i].at)
            settle(t, &tracks[i], export_range_flush(tracks[i].at, &e), &e);
    }
    finish_arrived(t);
}

/* Something to write for a track that is free. */
static bool take(struct turn *t, struct todo *out)
{
    if (t->n_again) {
        *out = t->again[--t->n_again];
        return true;
    }
    *out = (struct todo){ 0 };
    if ((t->n_taken >= TURN_RANGES && job_tasks_contended(t->x->tasks)) ||
        !take_range(t->x, &out->range))
        return false;
    t->n_taken++;
    return true;
}

static void turn(void *ctx, unsigned worker)
{
    struct turn t = { .x = ctx };
    unsigned n_busy;
    for (unsigned i = 0; i < EXPORT_TRACKS; i++)
        t.tracks[i].block = &t.x->blocks[worker * EXPORT_TRACKS + i];
    do {
        n_busy = 0;
        for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
            struct track *l = &t.tracks[i];
            l->busy = l->busy || take(&t, &l->todo);
            n_busy += l->busy;
        }
        if (n_busy)
            step(&t);
        else if (t.n_leaving)
            finish(&t, 0);
    } while ((n_busy || t.n_leaving || t.n_again) && !over(t.x));
    for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
        /* of an export that is over */
        export_range_free(t.tracks[i].at);
        buf_shrink(t.tracks[i].block, 4u << 20);
    }
    for (unsigned i = 0; i < t.n_leaving; i++)
        export_range_free(t.leaving[i].at);
}

err_code export_ranges_run(struct export_job *x, struct err *e)
{
    unsigned n_workers = job_pool_n_workers(x->run->pool), n_blocks = n_workers * EXPORT_TRACKS;
    size_t n_open = 0;
    x->blocks = calloc(n_blocks, sizeof *x->blocks);
    if (x->blocks == NULL)
        abort();
    for (unsigned i = 0; i < n_blocks; i++)
        buf_init(&x->blocks[i], EXPORT_BLOCK_MAX);
    for (size_t i = 0; i < x->plan.n; i++)
        n_open += !x->plan.done[i];
    x->tasks = job_tasks_open(x->run->pool, n_workers * 2);
    for (size_t i = 0; i < n_open && !over(x); i += EXPORT_TRACKS)
        /* more turns than needed: a late one finds nothing to do */
        job_tasks_add(x->tasks, turn, x);
    job_tasks_close(x->tasks);
    for (unsigned i = 0; i < n_blocks; i++)
        buf_done(&x->blocks[i]);
    free(x->blocks);
    if (x->shared.rc != ERR_OK)
        return err_pass(e, &x->shared.err);
    if (job_run_should_stop(x->run))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    return ERR_OK;
}

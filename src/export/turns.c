/* turns.c - workers take ranges.
 *
 * A turn of a worker is a task of the pool: it takes the next range that nobody has taken, and
 * writes EXPORT_TRACKS at a time, a block of each in turn. A track that is free takes another one,
 * so that both are busy until a turn ends: when nothing is left, or after TURN_RANGES if another
 * job waits for a worker.
 *
 * A range that is made of an earlier export's objects leaves its track at once. When that does not
 * come about, it is written, and this counts as no failure.
 *
 * Where several nodes write the export, a range is taken by a lease, and one that was lost
 * meanwhile is another's (nodes/share.c).
 *
 * A range whose lines are out leaves its track; its objects may still be on their way to a peer. It
 * is noted when they have arrived, and written again when they have not. */
#include "export/export_private.h"

#include "base/log.h"

#include <malloc.h>

#define RANGE_TRIES 3u
#define PAUSE_MS    1000u /* before the second try; twice as long before the next */
#define TURN_RANGES 4u

/* Behind an import the allocator has free memory between what is kept, and an export spreads over
 * it. Giving it back takes some ms, and some more until it is there again. */
#define TRIM_BYTES (256u << 20) /* written by a turn */

#define LEAVING_MAX \
    32u /* each has an object on its way, or a few; the sink lets fewer of them go at a time */

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
    struct export_job *export;
    struct track tracks[EXPORT_TRACKS];
    struct leaving { /* oldest first */
        struct todo todo;
        struct export_range *at;
    } leaving[LEAVING_MAX];
    unsigned n_leaving;
    struct todo again[LEAVING_MAX + EXPORT_TRACKS]; /* whose objects did not arrive */
    unsigned n_again;
    unsigned n_taken;
    uint64_t untrimmed; /* bytes */
};

static bool may_pass(err_code rc)
{
    return rc == ERR_PEER || rc == ERR_TIMEOUT || rc == ERR_AUTH_EXPIRED;
}

static bool over(struct export_job *export)
{
    pthread_mutex_lock(&export->shared.lock);
    bool failed = export->shared.rc != ERR_OK;
    pthread_mutex_unlock(&export->shared.lock);
    return failed || job_run_should_stop(export->run);
}

static void fail(struct export_job *export, err_code rc, struct err *e)
{
    if (job_run_should_stop(export->run))
        rc = export_goes_on(export->run, e);
    pthread_mutex_lock(&export->shared.lock);
    if (export->shared.rc == ERR_OK) {
        export->shared.rc = rc;
        export->shared.err = *e;
    }
    pthread_mutex_unlock(&export->shared.lock);
}

/* First those that are checked: two of them side by side cost one digest, and one beside ranges
 * that are copied is alone on its thread. */
static bool take_range(struct export_job *export, size_t *out)
{
    if (export->share) {
        struct err e = { 0 };
        err_code rc = export_share_take(export, out, &e);
        if (rc != ERR_OK && rc != ERR_EOF)
            fail(export, rc, &e);
        return rc == ERR_OK;
    }
    const struct export_plan *plan = &export->plan;
    pthread_mutex_lock(&export->shared.lock);
    size_t i = export->shared.next_check;
    while (i < plan->n && (plan->done[i] || !plan->items[i].check))
        i++;
    export->shared.next_check = i < plan->n ? i + 1 : i;
    if (i == plan->n) {
        i = export->shared.next_range;
        while (i < plan->n && (plan->done[i] || plan->items[i].check))
            i++;
        export->shared.next_range = i < plan->n ? i + 1 : i;
    }
    pthread_mutex_unlock(&export->shared.lock);
    *out = i;
    return i < plan->n;
}

/* Was it to be copied? From now on it is to be written. The range is one worker's alone. */
static bool write_instead(struct export_job *export, const struct todo *t, err_code rc,
                          const struct err *e)
{
    struct export_item *item = &export->plan.items[t->range];
    if (item->earlier == NULL || export_item_awaits_check(item) || rc == ERR_CANCELLED)
        return false;
    item->earlier = NULL;
    /* of this one object alone */
    if (rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND)
        return true;
    export_progress_refused(export);
    if (rc != ERR_UNSUPPORTED)
        LOG_ERR("export_copy", e, LOG_SV("job", export->run->job->id), LOG_INT("range", t->range));
    return true;
}

static bool may_try_again(struct export_job *export, struct todo *t, err_code rc, struct err *e)
{
    if (export->share && !export_share_has(export, t->range) && !job_run_should_stop(export->run))
        return false;
    if (write_instead(export, t, rc, e))
        return true;
    if (!may_pass(rc) || ++t->tries >= RANGE_TRIES || job_run_should_stop(export->run)) {
        fail(export, rc, e);
        return false;
    }
    LOG_ERR("export_retry", e, LOG_SV("job", export->run->job->id), LOG_INT("range", t->range));
    job_run_pause(export->run, PAUSE_MS << (t->tries - 1));
    return true;
}

/* A range that failed: to be tried again, or the export has failed, or it is another node's. True:
 * again. */
static bool try_again(struct export_job *export, struct todo *t, err_code rc, struct err *e)
{
    const bool again = may_try_again(export, t, rc, e);
    if (!again)
        export_share_leave(export, t->range, false);
    return again;
}

/* One that is leaving has arrived, or is waited for. */
static void finish(struct turn *turn, unsigned i)
{
    struct leaving l = turn->leaving[i];
    struct export_tally tally;
    struct err e = { 0 };
    memmove(&turn->leaving[i], &turn->leaving[i + 1],
            (--turn->n_leaving - i) * sizeof turn->leaving[0]);
    err_code rc = export_range_finish(l.at, &tally, &e);
    export_range_free(l.at);
    if (rc == ERR_OK) {
        export_progress_range(turn->export, &tally);
        export_share_leave(turn->export, l.todo.range, true);
        turn->untrimmed += tally.bytes;
    } else if (try_again(turn->export, &l.todo, rc, &e))
        turn->again[turn->n_again++] = l.todo;
    if (turn->untrimmed >= TRIM_BYTES) {
        (void)malloc_trim(0);
        turn->untrimmed = 0;
    }
}

static void finish_arrived(struct turn *turn)
{
    for (unsigned i = 0; i < turn->n_leaving;) {
        if (export_range_has_arrived(turn->leaving[i].at))
            finish(turn, i);
        else
            i++;
    }
}

/* After one step of a track: its range goes on, or leaves, or starts anew, or the export has
 * failed. */
static void settle(struct turn *turn, struct track *l, err_code rc, struct err *e)
{
    if (rc == ERR_OK)
        return;
    if (rc == ERR_EOF) {
        if (turn->n_leaving == LEAVING_MAX) {
            /* in the midst, so that half of them have arrived by then, and a worker is woken once
             * for many */
            finish(turn, LEAVING_MAX / 2);
            finish_arrived(turn);
        }
        turn->leaving[turn->n_leaving++] = (struct leaving){ l->todo, l->at };
        l->at = NULL;
        l->busy = false;
        return;
    }
    export_range_free(l->at);
    l->at = NULL;
    l->busy = try_again(turn->export, &l->todo, rc, e);
}

static void step(struct turn *turn)
{
    struct track *tracks = turn->tracks;
    for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
        struct track *l = &tracks[i];
        struct err e = { 0 };
        err_code rc = ERR_OK;
        if (!l->busy)
            continue;
        if (l->at == NULL)
            rc = export_range_open(turn->export, l->todo.range, l->block, &l->at, &e);
        if (rc == ERR_OK)
            rc = export_range_fill(l->at, &e);
        settle(turn, l, rc, &e);
    }
    if (tracks[0].at && tracks[1].at)
        export_ranges_digest(tracks[0].at, tracks[1].at);
    for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
        struct err e = { 0 };
        if (tracks[i].at)
            settle(turn, &tracks[i], export_range_flush(tracks[i].at, &e), &e);
    }
    finish_arrived(turn);
}

/* Something to write for a track that is free. */
static bool take(struct turn *turn, struct todo *out)
{
    if (turn->n_again) {
        *out = turn->again[--turn->n_again];
        return true;
    }
    *out = (struct todo){ 0 };
    if ((turn->n_taken >= TURN_RANGES && job_tasks_contended(turn->export->tasks)) ||
        !take_range(turn->export, &out->range))
        return false;
    turn->n_taken++;
    return true;
}

static void turn(void *ctx, unsigned worker)
{
    struct turn t = { .export = ctx };
    bool more = true;
    for (unsigned i = 0; i < EXPORT_TRACKS; i++)
        t.tracks[i].block = &t.export->blocks[worker * EXPORT_TRACKS + i];
    /* asked first: a turn may begin when the export is over */
    while (more && !over(t.export)) {
        unsigned n_busy = 0;
        for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
            struct track *l = &t.tracks[i];
            l->busy = l->busy || take(&t, &l->todo);
            n_busy += l->busy;
        }
        if (n_busy)
            step(&t);
        else if (t.n_leaving)
            finish(&t, 0);
        more = n_busy || t.n_leaving || t.n_again;
    }
    for (unsigned i = 0; i < EXPORT_TRACKS; i++) {
        /* of an export that is over */
        export_range_free(t.tracks[i].at);
        buf_shrink(t.tracks[i].block, 4u << 20);
        if (t.tracks[i].busy)
            export_share_leave(t.export, t.tracks[i].todo.range, false);
    }
    for (unsigned i = 0; i < t.n_leaving; i++) {
        export_range_free(t.leaving[i].at);
        export_share_leave(t.export, t.leaving[i].todo.range, false);
    }
    for (unsigned i = 0; i < t.n_again; i++)
        export_share_leave(t.export, t.again[i].range, false);
}

/* As many turns as it takes until nothing is left to take. */
static void add_turns(struct export_job *export)
{
    size_t n_open = 0;
    pthread_mutex_lock(&export->shared.lock);
    for (size_t i = 0; i < export->plan.n; i++)
        n_open += !export->plan.done[i];
    pthread_mutex_unlock(&export->shared.lock);
    for (size_t i = 0; i < n_open && !over(export) && !export_share_is_idle(export);
         i += EXPORT_TRACKS)
        /* more turns than needed: a late one finds nothing to do */
        job_tasks_add(export->tasks, turn, export);
    job_tasks_wait(export->tasks);
}

err_code export_ranges_run(struct export_job *export, struct err *e)
{
    unsigned n_workers = job_pool_n_workers(export->run->pool),
             n_blocks = n_workers * EXPORT_TRACKS;
    bool more = true;
    export->blocks = calloc(n_blocks, sizeof *export->blocks);
    if (export->blocks == NULL)
        abort();
    for (unsigned i = 0; i < n_blocks; i++)
        buf_init(&export->blocks[i], EXPORT_BLOCK_MAX);
    export->tasks = job_tasks_open(export->run->pool, n_workers * 2);
    while (more && !over(export)) {
        struct err why = { 0 };
        add_turns(export);
        err_code rc = over(export) ? ERR_OK : export_share_wait(export, &more, &why);
        if (rc != ERR_OK)
            fail(export, rc, &why);
    }
    job_tasks_close(export->tasks);
    for (unsigned i = 0; i < n_blocks; i++)
        buf_done(&export->blocks[i]);
    free(export->blocks);
    if (export->shared.rc != ERR_OK)
        return err_pass(e, &export->shared.err);
    return export_goes_on(export->run, e);
}

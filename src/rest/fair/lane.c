/* lane.c - the slow lane: its places, the row in front of it, and what each queue had of it.
 *
 * had_us counts the time that a queue held places. It halves every second, so it tells who had much
 * lately. A slice is counted when its place is given; what was held beyond it is added when the
 * place comes back. Whoever holds a place also asks the kernel for long turns (stretch()), so that
 * a thread that wakes for a moment goes first. */
#include "rest/fair/lane_private.h"
#include "rest/fair/row_private.h"

#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define QUEUES     256u     /* by the queue's hash: two that meet share their turns */
#define DECAY_US   1000000u /* what a queue has had counts half after each */
#define DECAY_MAX  32u
#define STRETCH_NS 100000000u /* the most that the scheduler takes */

struct lane {
    unsigned n_places;
    struct {
        pthread_mutex_t lock;
        unsigned n_taken;
        struct row_waiter *row; /* in the order in which they came */
        uint64_t had_us[QUEUES];
        uint64_t decayed_at_us;
    } locked;
};

struct lane *lane_new(unsigned n_places)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        abort();
    lane->n_places = n_places ? n_places : 1;
    pthread_mutex_init(&lane->locked.lock, NULL);
    return lane;
}

void lane_free(struct lane *lane)
{
    if (lane == NULL)
        return;
    pthread_mutex_destroy(&lane->locked.lock);
    free(lane);
}

static uint64_t thread_cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 + 1;
}

/* Who computes for long takes a processor for long stretches, and so one that wakes for a moment
 * goes first: the scheduler (EEVDF, Linux 6.12 and later) prefers shorter ones. 0: as everybody.
 * Older kernels pass it over. */
static void stretch(uint64_t ns)
{
    struct { /* sched_setattr(2), first version */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } a = { .size = sizeof a };
    /* On Linux this is of the calling thread. */
    a.nice = getpriority(PRIO_PROCESS, 0);
    a.runtime = ns;
    /* Where it fails, nothing has changed. */
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

static uint64_t *had_locked(struct lane *lane, uint64_t queue)
{
    return &lane->locked.had_us[queue % QUEUES];
}

static void decay_locked(struct lane *lane, uint64_t now_us)
{
    /* of two threads the one whose clock was read first may come second */
    if (now_us < lane->locked.decayed_at_us)
        return;
    uint64_t steps = (now_us - lane->locked.decayed_at_us) / DECAY_US;
    if (steps == 0)
        return;
    for (size_t i = 0; i < QUEUES; i++)
        lane->locked.had_us[i] = steps < DECAY_MAX ? lane->locked.had_us[i] >> steps : 0;
    lane->locked.decayed_at_us = now_us;
}

/* Give free places away: each to the queue that had the least, and within a queue to the first that
 * came. */
static void give_locked(struct lane *lane)
{
    while (lane->locked.n_taken < lane->n_places && lane->locked.row) {
        struct row_waiter **best = &lane->locked.row;
        for (struct row_waiter **at = &(*best)->next; *at; at = &(*at)->next)
            if (*had_locked(lane, (*at)->owner) < *had_locked(lane, (*best)->owner))
                best = at;
        lane->locked.n_taken++;
        /* The slice counts before it is used: the next place goes to another queue. */
        *had_locked(lane, (*best)->owner) += LANE_SLICE_US;
        row_call(best);
    }
}

static void give_back_locked(struct lane *lane, struct lane_ticket *t, uint64_t now_us)
{
    uint64_t held = now_us - t->held_since_us;
    *had_locked(lane, t->queue) += held > LANE_SLICE_US ? held - LANE_SLICE_US : 0;
    t->holds = false;
    assert(lane->locked.n_taken > 0);
    lane->locked.n_taken--;
    decay_locked(lane, now_us);
}

static void wait_locked(struct lane *lane, struct lane_ticket *t, uint64_t until_us)
{
    struct row_waiter w = { .owner = t->queue };
    row_join(&lane->locked.row, &w);
    give_locked(lane);
    row_wait(&lane->locked.row, &w, &lane->locked.lock, until_us ? until_us : ROW_NO_END);
    t->holds = w.called;
}

bool lane_pass(struct lane *lane, struct lane_ticket *t, uint64_t now_us, uint64_t until_us)
{
    if (t->cpu_us == 0)
        t->cpu_us = thread_cpu_us();
    if (!t->holds && thread_cpu_us() - t->cpu_us < LANE_FREE_US)
        return false;
    if (t->holds && now_us - t->held_since_us < LANE_SLICE_US)
        return false;
    pthread_mutex_lock(&lane->locked.lock);
    if (t->holds && lane->locked.row) {
        give_back_locked(lane, t, now_us);
        wait_locked(lane, t, until_us);
        t->held_since_us = clock_mono_us();
    } else if (t->holds) {
        /* Nobody waits: the next slice begins. */
        *had_locked(lane, t->queue) += now_us - t->held_since_us;
        t->held_since_us = now_us;
        decay_locked(lane, now_us);
    } else {
        wait_locked(lane, t, until_us);
        t->held_since_us = clock_mono_us();
    }
    pthread_mutex_unlock(&lane->locked.lock);
    if (t->holds && !t->stretched)
        stretch(STRETCH_NS);
    else if (!t->holds && t->stretched)
        stretch(0);
    t->stretched = t->holds;
    return true;
}

void lane_leave(struct lane *lane, struct lane_ticket *t)
{
    if (!t->holds)
        return;
    pthread_mutex_lock(&lane->locked.lock);
    give_back_locked(lane, t, clock_mono_us());
    give_locked(lane);
    pthread_mutex_unlock(&lane->locked.lock);
    if (t->stretched)
        stretch(0);
    t->stretched = false;
}

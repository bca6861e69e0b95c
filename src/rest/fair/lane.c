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
    struct lane *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->n_places = n_places ? n_places : 1;
    pthread_mutex_init(&l->locked.lock, NULL);
    return l;
}

void lane_free(struct lane *l)
{
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->locked.lock);
    free(l);
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

static uint64_t *had_locked(struct lane *l, uint64_t queue)
{
    return &l->locked.had_us[queue % QUEUES];
}

static void decay_locked(struct lane *l, uint64_t now_us)
{
    uint64_t steps = (now_us - l->locked.decayed_at_us) / DECAY_US;
    if (steps == 0)
        return;
    for (size_t i = 0; i < QUEUES; i++)
        l->locked.had_us[i] = steps < DECAY_MAX ? l->locked.had_us[i] >> steps : 0;
    l->locked.decayed_at_us = now_us;
}

/* Give free places away: each to the queue that had the least, and within a queue to the first that
 * came. */
static void give_locked(struct lane *l)
{
    while (l->locked.n_taken < l->n_places && l->locked.row) {
        struct row_waiter **best = &l->locked.row;
        for (struct row_waiter **at = &(*best)->next; *at; at = &(*at)->next)
            if (*had_locked(l, (*at)->owner) < *had_locked(l, (*best)->owner))
                best = at;
        l->locked.n_taken++;
        /* The slice counts before it is used: the next place goes to another queue. */
        *had_locked(l, (*best)->owner) += LANE_SLICE_US;
        row_call(best);
    }
}

static void give_back_locked(struct lane *l, struct lane_ticket *t, uint64_t now_us)
{
    uint64_t held = now_us - t->held_since_us;
    *had_locked(l, t->queue) += held > LANE_SLICE_US ? held - LANE_SLICE_US : 0;
    t->holds = false;
    assert(l->locked.n_taken > 0);
    l->locked.n_taken--;
    decay_locked(l, now_us);
}

static void wait_locked(struct lane *l, struct lane_ticket *t, uint64_t until_us)
{
    struct row_waiter w = { .owner = t->queue };
    row_join(&l->locked.row, &w);
    give_locked(l);
    row_wait(&l->locked.row, &w, &l->locked.lock, until_us ? until_us : ROW_NO_END);
    t->holds = w.called;
}

bool lane_pass(struct lane *l, struct lane_ticket *t, uint64_t now_us, uint64_t until_us)
{
    if (t->cpu_us == 0)
        t->cpu_us = thread_cpu_us();
    if (!t->holds && thread_cpu_us() - t->cpu_us < LANE_FREE_US)
        return false;
    if (t->holds && now_us - t->held_since_us < LANE_SLICE_US)
        return false;
    pthread_mutex_lock(&l->locked.lock);
    if (t->holds && l->locked.row) {
        give_back_locked(l, t, now_us);
        wait_locked(l, t, until_us);
        t->held_since_us = clock_mono_us();
    } else if (t->holds) {
        /* Nobody waits: the next slice begins. */
        *had_locked(l, t->queue) += now_us - t->held_since_us;
        t->held_since_us = now_us;
        decay_locked(l, now_us);
    } else {
        wait_locked(l, t, until_us);
        t->held_since_us = clock_mono_us();
    }
    pthread_mutex_unlock(&l->locked.lock);
    if (t->holds && !t->stretched)
        stretch(STRETCH_NS);
    else if (!t->holds && t->stretched)
        stretch(0);
    t->stretched = t->holds;
    return true;
}

void lane_leave(struct lane *l, struct lane_ticket *t)
{
    if (!t->holds)
        return;
    pthread_mutex_lock(&l->locked.lock);
    give_back_locked(l, t, clock_mono_us());
    give_locked(l);
    pthread_mutex_unlock(&l->locked.lock);
    if (t->stretched)
        stretch(0);
    t->stretched = false;
}

/* The slow lane: who computes for long takes turns, queue by queue. */
#include "test.h"

#include "rest/fair/lane.c"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

static struct lane *lane;
static atomic_uint in_lane, most;
static atomic_bool stop;

/* Processor time, of which a busy machine gives less than the clock says. */
static uint64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void burn(uint64_t us)
{
    for (uint64_t until = cpu_us() + us; cpu_us() < until;)
        ;
}

struct call {
    uint64_t queue;
    unsigned n_slices; /* that it holds a place, each time */
    atomic_uint *n_turns;
};

/* Comes by again and again until it is stopped, each time when it has held its place for its
 * slices, as it says: however long this thread was held up meanwhile. */
static void *compute(void *arg)
{
    const struct call *c = arg;
    struct lane_ticket t = { .queue = c->queue };
    (void)lane_pass(lane, &t, clock_mono_us(), 0);
    burn(2 * LANE_FREE_US);
    while (!atomic_load(&stop)) {
        (void)lane_pass(lane, &t, t.held_since_us + c->n_slices * (uint64_t)LANE_SLICE_US, 0);
        unsigned n = atomic_fetch_add(&in_lane, 1) + 1, seen = atomic_load(&most);
        while (n > seen && !atomic_compare_exchange_weak(&most, &seen, n))
            ;
        atomic_fetch_add(c->n_turns, 1);
        atomic_fetch_sub(&in_lane, 1);
    }
    lane_leave(lane, &t);
    return NULL;
}

/* The turns of both queues, at a time when all calls hold a place or stand in the row. anew: what
 * they had counts from then on. */
static void look(unsigned n_calls, bool anew, atomic_uint turns[2], unsigned out[2])
{
    for (unsigned n = 0; n < n_calls; sched_yield()) {
        pthread_mutex_lock(&lane->locked.lock);
        n = lane->locked.n_taken;
        for (const struct row_waiter *w = lane->locked.row; w; w = w->next)
            n++;
        for (size_t i = 0; i < 2; i++)
            out[i] = atomic_load(&turns[i]);
        if (anew)
            memset(lane->locked.had_us, 0, sizeof lane->locked.had_us);
        pthread_mutex_unlock(&lane->locked.lock);
    }
}

TEST(lane, a_queue_with_many_calls_gets_no_more_than_one_with_one)
{
    (void)state;
    enum { N = 9, TURNS = 100 };
    /* of the queue that has one call */
    for (unsigned n_slices = 1; n_slices <= 3; n_slices += 2) {
        struct call calls[N];
        pthread_t threads[N];
        atomic_uint turns[2] = { 0, 0 };
        unsigned from[2], to[2];
        lane = lane_new(1);
        atomic_store(&stop, false);
        for (size_t i = 0; i < N; i++) {
            calls[i] =
                i == 0 ? (struct call){ 7, n_slices, &turns[0] } : (struct call){ 8, 1, &turns[1] };
            assert_int_equal(pthread_create(&threads[i], NULL, compute, &calls[i]), 0);
        }
        look(N, true, turns, from);
        do
            look(N, false, turns, to);
        while (to[0] - from[0] < TURNS);
        atomic_store(&stop, true);
        for (size_t i = 0; i < N; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&most), 1);
        /* half of the time each, and far from the ninth that one call of nine would be; a bit more
         * or less, since what they had counts half after each second */
        unsigned one = (to[0] - from[0]) * n_slices, many = to[1] - from[1];
        assert_in_range(many, one - one / 5, one + one / 5);
        lane_free(lane);
    }
}

TEST(lane, what_a_queue_had_halves_each_second_and_is_kept_by_a_clock_that_was_read_before)
{
    (void)state;
    lane = lane_new(2);
    decay_locked(lane, 5 * DECAY_US);
    *had_locked(lane, 7) = 1000;
    decay_locked(lane, 5 * DECAY_US - 1);
    decay_locked(lane, 6 * DECAY_US - 1);
    assert_int_equal(*had_locked(lane, 7), 1000);
    decay_locked(lane, 6 * DECAY_US);
    assert_int_equal(*had_locked(lane, 7), 500);
    decay_locked(lane, 8 * DECAY_US);
    assert_int_equal(*had_locked(lane, 7), 125);
    lane_free(lane);
}

TEST(lane, who_asks_for_little_never_waits)
{
    (void)state;
    lane = lane_new(1);
    struct lane_ticket holder = { .queue = 1 }, quick = { .queue = 2 };
    (void)lane_pass(lane, &holder, clock_mono_us(), 0);
    burn(2 * LANE_FREE_US);
    assert_true(lane_pass(lane, &holder, clock_mono_us(), 0));
    assert_true(holder.holds);
    assert_false(lane_pass(lane, &quick, clock_mono_us(), 0));
    assert_false(quick.holds);
    lane_leave(lane, &holder);
    lane_free(lane);
}

TEST(lane, a_turn_that_does_not_come_in_time_is_not_waited_for)
{
    (void)state;
    lane = lane_new(1);
    struct lane_ticket holder = { .queue = 1 }, late = { .queue = 2 };
    (void)lane_pass(lane, &holder, clock_mono_us(), 0);
    (void)lane_pass(lane, &late, clock_mono_us(), 0);
    burn(2 * LANE_FREE_US);
    assert_true(lane_pass(lane, &holder, clock_mono_us(), 0));
    uint64_t now = clock_mono_us();
    /* nobody gives the place up */
    assert_true(lane_pass(lane, &late, now, now + 20000));
    assert_false(late.holds);
    assert_true(clock_mono_us() >= now + 20000);
    lane_leave(lane, &holder);
    assert_true(lane_pass(lane, &late, clock_mono_us(), 0));
    assert_true(late.holds);
    lane_leave(lane, &late);
    lane_free(lane);
}

TEST_MAIN(T(lane, a_queue_with_many_calls_gets_no_more_than_one_with_one),
          T(lane, what_a_queue_had_halves_each_second_and_is_kept_by_a_clock_that_was_read_before),
          T(lane, who_asks_for_little_never_waits),
          T(lane, a_turn_that_does_not_come_in_time_is_not_waited_for))

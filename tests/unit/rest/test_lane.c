/* The slow lane: who computes for long takes turns, queue by queue. */
#include "test.h"

#include "base/clock.h"
#include "rest/fair/lane_private.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

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
    uint64_t had_us; /* out: while it held a place */
    bool counts;
};

/* Computes until it is stopped, and comes by every half millisecond. */
static void *compute(void *arg)
{
    struct call *c = arg;
    struct lane_ticket t = { .queue = c->queue };
    while (!atomic_load(&stop)) {
        uint64_t began = clock_mono_us();
        if (t.holds) {
            unsigned n = atomic_fetch_add(&in_lane, 1) + 1, seen = atomic_load(&most);
            while (n > seen && !atomic_compare_exchange_weak(&most, &seen, n))
                ;
        }
        burn(500);
        if (t.holds) {
            atomic_fetch_sub(&in_lane, 1);
            c->had_us += clock_mono_us() - began;
        }
        lane_pass(lane, &t, clock_mono_us(), 0);
    }
    lane_leave(lane, &t);
    return NULL;
}

TEST(lane, a_queue_with_many_calls_gets_no_more_than_one_with_one)
{
    (void)state;
    enum { N = 9 };
    struct call calls[N];
    pthread_t threads[N];
    lane = lane_new(1);
    atomic_store(&stop, false);
    for (size_t i = 0; i < N; i++) {
        calls[i] = (struct call){ .queue = i == 0 ? 7 : 8 };
        assert_int_equal(pthread_create(&threads[i], NULL, compute, &calls[i]), 0);
    }
    (void)sleep(2);
    atomic_store(&stop, true);
    uint64_t many = 0;
    for (size_t i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        many += i ? calls[i].had_us : 0;
    }
    assert_int_equal(atomic_load(&most), 1);
    assert_true(calls[0].had_us > 0 && many > 0);
    /* half of it each, and far from the ninth that one call of nine would be */
    assert_true(calls[0].had_us > many / 3);
    assert_true(calls[0].had_us < many * 3);
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
          T(lane, who_asks_for_little_never_waits),
          T(lane, a_turn_that_does_not_come_in_time_is_not_waited_for))

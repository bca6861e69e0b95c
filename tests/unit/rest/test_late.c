/* Refusals that wait: each is answered once, not before its time, in their order; and none is
 * forgotten. */
#include "rest/fair/late_private.h"

#include "../test.h"
#include "base/clock.h"

#include <pthread.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_answered, order[LATE_MAX + 10]; /* under it */

/* By two threads: the one that waits, and who finds no place. */
static void answer(void *ctx)
{
    pthread_mutex_lock(&lock);
    order[n_answered++] = (unsigned)(uintptr_t)ctx;
    pthread_mutex_unlock(&lock);
}

/* How many are answered, and who was the first of them. */
static unsigned answered(unsigned *first)
{
    pthread_mutex_lock(&lock);
    unsigned n = n_answered;
    if (first)
        *first = order[0];
    pthread_mutex_unlock(&lock);
    return n;
}

static struct late *begin(void)
{
    struct late *l = NULL;
    n_answered = 0;
    OK(late_new(&l, e));
    return l;
}

TEST(late, is_not_before_its_time_and_comes_in_order)
{
    (void)state;
    struct late *l = begin();
    uint64_t from_us = clock_mono_us();
    for (uintptr_t i = 0; i < 100; i++)
        late_add(l, answer, (void *)i);
    unsigned early = answered(NULL);
    /* else this thread was held up for longer than that */
    if (clock_mono_us() - from_us < LATE_US)
        assert_int_equal(early, 0);
    while (answered(NULL) < 100)
        (void)usleep(1000);
    assert_true(clock_mono_us() - from_us >= LATE_US);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(order[i], i);
    late_free(l);
    assert_int_equal(n_answered, 100);
}

TEST(late, is_at_once_when_there_is_no_place)
{
    (void)state;
    struct late *l = begin();
    uint64_t from_us = clock_mono_us();
    for (uintptr_t i = 0; i < LATE_MAX + 5; i++)
        late_add(l, answer, (void *)i);
    unsigned first, early = answered(&first);
    if (clock_mono_us() - from_us < LATE_US) {
        assert_int_equal(early, 5);
        assert_int_equal(first, LATE_MAX);
    }
    late_free(l);
    assert_int_equal(n_answered, LATE_MAX + 5);
}

TEST(late, is_at_once_when_the_service_ends)
{
    (void)state;
    struct late *l = begin();
    for (uintptr_t i = 0; i < 7; i++)
        late_add(l, answer, (void *)i);
    late_free(l);
    assert_int_equal(n_answered, 7);
    late_free(NULL);
}

TEST_MAIN(T(late, is_not_before_its_time_and_comes_in_order),
          T(late, is_at_once_when_there_is_no_place), T(late, is_at_once_when_the_service_ends))

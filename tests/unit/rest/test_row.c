/* Who comes next in a row, and who leaves it. Waiters here have no threads but where one waits. */
#include "test.h"

#include "base/clock.h"
#include "rest/fair/row_private.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

TEST(row, stands_by_turns_and_those_of_one_turn_as_they_came)
{
    (void)state;
    struct row_waiter w[6] = { { .turn = 5 }, { .turn = 2 }, { .turn = 5 },
                               { .turn = 9 }, { .turn = 2 }, { .turn = 0 } };
    static const unsigned want[] = { 5, 1, 4, 0, 2, 3 };
    struct row_waiter *row = NULL;
    for (unsigned i = 0; i < 6; i++)
        row_join(&row, &w[i]);
    for (unsigned i = 0; i < 6; i++) {
        assert_ptr_equal(row, &w[want[i]]);
        row_call(&row);
        assert_true(w[want[i]].called);
        pthread_cond_destroy(&w[want[i]].come);
    }
    assert_null(row);
}

TEST(row, is_left_by_whoever_has_waited_long_enough)
{
    (void)state;
    struct row_waiter first = { 0 }, second = { 0 }, third = { 0 }, *row = NULL;
    pthread_mutex_lock(&lock);
    row_join(&row, &first);
    row_join(&row, &second);
    row_join(&row, &third);
    row_wait(&row, &second, &lock, clock_mono_us() + 1000);
    assert_false(second.called);
    assert_ptr_equal(row, &first);
    assert_ptr_equal(first.next, &third);
    /* a time that is over */
    row_wait(&row, &third, &lock, 0);
    assert_null(first.next);
    row_call(&row);
    /* called already: it does not wait */
    row_wait(&row, &first, &lock, ROW_NO_END);
    assert_true(first.called);
    pthread_mutex_unlock(&lock);
}

struct waiting {
    struct row_waiter w;
    struct row_waiter **row;
};

static void *wait_on(void *arg)
{
    struct waiting *x = arg;
    pthread_mutex_lock(&lock);
    row_wait(x->row, &x->w, &lock, ROW_NO_END);
    pthread_mutex_unlock(&lock);
    return NULL;
}

TEST(row, wakes_a_thread_that_waits_without_an_end)
{
    (void)state;
    struct row_waiter *row = NULL;
    struct waiting x = { .row = &row };
    pthread_t thread;
    row_join(&row, &x.w);
    assert_int_equal(pthread_create(&thread, NULL, wait_on, &x), 0);
    pthread_mutex_lock(&lock);
    row_call(&row);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    assert_true(x.w.called);
    assert_null(row);
}

TEST_MAIN(T(row, stands_by_turns_and_those_of_one_turn_as_they_came),
          T(row, is_left_by_whoever_has_waited_long_enough),
          T(row, wakes_a_thread_that_waits_without_an_end))

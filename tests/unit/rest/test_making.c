/* Places for large answers that are being made: few, in turn, and not all of one owner. */
#include "test.h"

#include "base/clock.h"
#include "rest/fair/making_private.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static struct making *making;
static atomic_uint n_had, n_at_once, most;

static uint64_t soon(void)
{
    return clock_mono_us() + 10000;
}

TEST(making, one_owner_has_no_more_than_his_share_and_leaves_the_others_theirs)
{
    (void)state;
    making = making_new(3, 2);
    struct making_ticket a[3] = { { .owner = 1 }, { .owner = 1 }, { .owner = 1 } };
    struct making_ticket b[2] = { { .owner = 2 }, { .owner = 2 } };
    assert_int_equal(making_take(making, &a[0], soon()), MAKING_HELD);
    assert_int_equal(making_take(making, &a[1], soon()), MAKING_HELD);
    /* a place is free, and not his */
    assert_int_equal(making_take(making, &a[2], soon()), MAKING_NOT_YET);
    assert_int_equal(making_take(making, &b[0], soon()), MAKING_HELD);
    /* he may have more, and there is none */
    assert_int_equal(making_take(making, &b[1], soon()), MAKING_NOT_YET);
    making_give_back(making, &a[0]);
    assert_int_equal(making_take(making, &b[1], soon()), MAKING_HELD);
    assert_int_equal(making_take(making, &a[2], soon()), MAKING_NOT_YET);
    for (size_t i = 0; i < 2; i++)
        making_give_back(making, &b[i]);
    assert_int_equal(making_take(making, &a[2], soon()), MAKING_HELD);
    making_give_back(making, &a[1]);
    making_give_back(making, &a[2]);
    making_free(making);
}

TEST(making, who_holds_a_place_waits_for_no_other_and_gives_back_one)
{
    (void)state;
    making = making_new(1, 1);
    struct making_ticket a = { .owner = 1 }, b = { .owner = 2 };
    assert_int_equal(making_take(making, &a, soon()), MAKING_HELD);
    assert_int_equal(making_take(making, &a, 0), MAKING_HELD);
    making_give_back(making, &a);
    making_give_back(making, &a);
    assert_int_equal(making_take(making, &b, soon()), MAKING_HELD);
    assert_int_equal(making_take(making, &a, soon()), MAKING_NOT_YET);
    /* it holds none: b's stays b's */
    making_give_back(making, &a);
    assert_int_equal(making_take(making, &a, soon()), MAKING_NOT_YET);
    making_give_back(making, &b);
    making_free(making);
}

static void *take_and_give_back(void *arg)
{
    struct making_ticket *t = arg;
    while (making_take(making, t, soon()) !=
           MAKING_HELD) /* tries again, and stands where it stood */
        ;
    unsigned n = atomic_fetch_add(&n_at_once, 1) + 1;
    if (n > atomic_load(&most))
        atomic_store(&most, n);
    atomic_fetch_add(&n_had, 1);
    atomic_fetch_sub(&n_at_once, 1);
    making_give_back(making, t);
    return NULL;
}

TEST(making, all_who_wait_get_their_turn_one_at_a_time)
{
    (void)state;
    /* more than the row takes: those that stand in it stay */
    enum { N = 8 };
    struct making_ticket holder = { .owner = 99 }, t[N];
    pthread_t threads[N];
    making = making_new(1, 1);
    assert_int_equal(making_take(making, &holder, soon()), MAKING_HELD);
    for (size_t i = 0; i < N; i++) {
        t[i] = (struct making_ticket){ .owner = i };
        /* its place in the row */
        assert_int_equal(making_take(making, &t[i], 0), MAKING_NOT_YET);
    }
    for (size_t i = N; i-- > 0;)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give_back, &t[i]), 0);
    making_give_back(making, &holder);
    for (size_t i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&n_had), N);
    assert_int_equal(atomic_load(&most), 1);
    /* all of it came back */
    assert_int_equal(making_take(making, &holder, soon()), MAKING_HELD);
    making_give_back(making, &holder);
    making_free(making);
}

static void *wait_for_one(void *arg)
{
    making_result r;
    do
        r = making_take(making, arg, clock_mono_us() + 60000000);
    /* of the one that looks whether it is */
    while (r == MAKING_ROW_IS_FULL);
    making_give_back(making, arg);
    return r == MAKING_HELD ? arg : NULL;
}

TEST(making, the_row_is_short_and_shorter_for_one_owner)
{
    (void)state;
    enum { N = WAITERS_PER_PLACE, OTHERS = WAITERS_PER_PLACE };
    struct making_ticket holders[2] = { { .owner = 1 }, { .owner = 2 } }, t[N + OTHERS], late[2];
    pthread_t threads[N + OTHERS];
    void *got;
    making = making_new(2, 1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(making_take(making, &holders[i], soon()), MAKING_HELD);
    for (size_t i = 0; i < N + OTHERS; i++) {
        t[i] = (struct making_ticket){ .owner = i < N ? 1 : 3 };
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_one, &t[i]), 0);
    }
    /* until they stand there: those of one owner, then all */
    for (size_t i = 0; i < 2; i++)
        do
            late[i] = (struct making_ticket){ .owner = i ? 4 : 1 };
        while (making_take(making, &late[i], 0) == MAKING_NOT_YET);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(making_take(making, &late[i], soon()), MAKING_ROW_IS_FULL);
    making_give_back(making, &holders[0]);
    making_give_back(making, &holders[1]);
    for (size_t i = 0; i < N + OTHERS; i++) {
        pthread_join(threads[i], &got);
        assert_ptr_equal(got, &t[i]);
    }
    making_free(making);
}

/* Tries until as many stand in the row as it takes. */
static void wait_until_the_row_is_full(void)
{
    struct making_ticket look;
    do
        look = (struct making_ticket){ .owner = 1000 };
    while (making_take(making, &look, 0) != MAKING_ROW_IS_FULL);
}

static struct making_ticket *order[WAITERS_PER_PLACE];

static void *note_when(void *arg)
{
    if (making_take(making, arg, clock_mono_us() + 60000000) != MAKING_HELD)
        return NULL;
    order[atomic_fetch_add(&n_had, 1)] = arg;
    making_give_back(making, arg);
    return arg;
}

TEST(making, who_came_first_is_first_however_often_he_tries)
{
    (void)state;
    enum { N = WAITERS_PER_PLACE };
    struct making_ticket holder = { .owner = 99 }, t[N];
    pthread_t threads[N];
    atomic_store(&n_had, 0);
    making = making_new(1, 1);
    assert_int_equal(making_take(making, &holder, soon()), MAKING_HELD);
    for (size_t i = 0; i < N; i++) {
        t[i] = (struct making_ticket){ .owner = i };
        assert_int_equal(making_take(making, &t[i], 0), MAKING_NOT_YET);
    }
    /* the last one is back first */
    for (size_t i = N; i-- > 0;) {
        assert_int_equal(pthread_create(&threads[i], NULL, note_when, &t[i]), 0);
        struct timespec nap = { 0, 20000000 };
        nanosleep(&nap, NULL);
    }
    wait_until_the_row_is_full();
    making_give_back(making, &holder);
    for (size_t i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(order[i], &t[i]);
    making_free(making);
}

TEST(making, who_may_have_no_more_keeps_nobody_behind_him_from_a_free_place)
{
    (void)state;
    enum { N = 2 * WAITERS_PER_PLACE };
    struct making_ticket holders[2] = { { .owner = 1 }, { .owner = 2 } }, t[N];
    pthread_t threads[N];
    void *got;
    making = making_new(2, 1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(making_take(making, &holders[i], soon()), MAKING_HELD);
    /* the first waits for his own place */
    for (size_t i = 0; i < N; i++) {
        t[i] = (struct making_ticket){ .owner = i ? 10 + i : 1 };
        assert_int_equal(making_take(making, &t[i], 0), MAKING_NOT_YET);
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_one, &t[i]), 0);
    }
    wait_until_the_row_is_full();
    making_give_back(making, &holders[1]);
    for (size_t i = 1; i < N; i++) {
        pthread_join(threads[i], &got);
        assert_ptr_equal(got, &t[i]);
    }
    making_give_back(making, &holders[0]);
    pthread_join(threads[0], &got);
    assert_ptr_equal(got, &t[0]);
    making_free(making);
}

TEST_MAIN(T(making, one_owner_has_no_more_than_his_share_and_leaves_the_others_theirs),
          T(making, who_holds_a_place_waits_for_no_other_and_gives_back_one),
          T(making, all_who_wait_get_their_turn_one_at_a_time),
          T(making, the_row_is_short_and_shorter_for_one_owner),
          T(making, who_came_first_is_first_however_often_he_tries),
          T(making, who_may_have_no_more_keeps_nobody_behind_him_from_a_free_place))

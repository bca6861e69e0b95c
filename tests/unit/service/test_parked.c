/* Places to wait in: what ends a wait, and who gets none. The long wait is an hour: what comes was
 * not brought by time. */
#include "test.h"

#include "service/parked.h"

#include <semaphore.h>

#define LONG_US 3600000000u

static struct parking *open_for(unsigned max, uint64_t wait_us)
{
    struct parking_config cfg = { max, wait_us, 5000000 };
    struct parking *p = NULL;
    OK(parking_new(&cfg, &p, e));
    return p;
}

static void answered(void *ctx)
{
    sem_post(ctx);
}

#define ID(c) SV_LIT("0123456789abcdef0123456789abcde" c)

static struct parked *held(struct parking *p, sv caller, sv id)
{
    struct parked *x = parking_take(p, caller, id, 0);
    assert_non_null(x);
    return x;
}

TEST(parked, an_end_answers_those_who_wait_for_it_and_nobody_else)
{
    (void)state;
    struct parking *p = open_for(64, LONG_US);
    sem_t mine, other;
    sem_init(&mine, 0, 0);
    sem_init(&other, 0, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct parked *x = held(p, SV_LIT("a"), ID("1"));
        parking_wait(p, &x, answered, &mine);
        assert_null(x);
    }
    struct parked *x = held(p, SV_LIT("b"), ID("2"));
    parking_wait(p, &x, answered, &other);
    parking_wake(p, ID("3"));
    parking_wake(p, ID("1"));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(sem_wait(&mine), 0);
    int n;
    sem_getvalue(&other, &n);
    assert_int_equal(n, 0);
    parking_wake(p, ID("2"));
    assert_int_equal(sem_wait(&other), 0);
    parking_free(p);
}

TEST(parked, an_end_between_the_look_and_the_wait_is_heard)
{
    (void)state;
    struct parking *p = open_for(64, LONG_US);
    sem_t done;
    sem_init(&done, 0, 0);
    struct parked *x = held(p, SV_LIT("a"), ID("1"));
    parking_wake(p, ID("1"));
    parking_wait(p, &x, answered, &done);
    assert_int_equal(sem_wait(&done), 0);
    /* but not one of who sat there before */
    x = held(p, SV_LIT("a"), ID("2"));
    parking_wake(p, ID("2"));
    parking_leave(p, &x);
    assert_null(x);
    parking_leave(p, &x);
    x = held(p, SV_LIT("a"), ID("2"));
    parking_wait(p, &x, answered, &done);
    int n;
    sem_getvalue(&done, &n);
    assert_int_equal(n, 0);
    parking_free(p);
    assert_int_equal(sem_wait(&done), 0);
}

TEST(parked, time_answers_who_waits_for_nothing)
{
    (void)state;
    struct parking *p = open_for(64, 1000);
    sem_t done;
    sem_init(&done, 0, 0);
    for (unsigned i = 0; i < 100; i++) {
        struct parked *x = held(p, SV_LIT("a"), ID("1"));
        parking_wait(p, &x, answered, &done);
        assert_int_equal(sem_wait(&done), 0);
    }
    parking_free(p);
}

TEST(parked, closing_answers_all_and_takes_nobody)
{
    (void)state;
    struct parking *p = open_for(64, LONG_US);
    sem_t done;
    sem_init(&done, 0, 0);
    struct parked *late = held(p, SV_LIT("z"), ID("9"));
    for (unsigned i = 0; i < 8; i++) {
        struct parked *x = held(p, SV_LIT("a"), ID("1"));
        parking_wait(p, &x, answered, &done);
    }
    parking_close(p);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(sem_wait(&done), 0);
    assert_null(parking_take(p, SV_LIT("a"), ID("1"), 0));
    /* who was looking at that moment */
    parking_wait(p, &late, answered, &done);
    assert_int_equal(sem_wait(&done), 0);
    parking_free(p);
}

TEST(parked, places_are_few_and_a_caller_gets_a_quarter)
{
    (void)state;
    /* no more than there are */
    struct parking *p = open_for(1000, LONG_US);
    struct parked *places[PARKED_MAX];
    unsigned n = 0;
    for (char who = 'a'; who <= 'd'; who++) {
        for (unsigned i = 0; i < PARKED_MAX / 4; i++)
            places[n++] = held(p, sv_make(&who, 1), ID("1"));
        assert_null(parking_take(p, sv_make(&who, 1), ID("2"), 0));
    }
    assert_null(parking_take(p, SV_LIT("e"), ID("1"), 0));
    parking_leave(p, &places[0]);
    places[0] = held(p, SV_LIT("e"), ID("1"));
    for (unsigned i = 0; i < n; i++)
        parking_leave(p, &places[i]);
    parking_free(p);
    p = open_for(2, LONG_US);
    places[0] = held(p, SV_LIT("a"), ID("1"));
    assert_null(parking_take(p, SV_LIT("a"), ID("2"), 0));
    places[1] = held(p, SV_LIT("b"), ID("1"));
    assert_null(parking_take(p, SV_LIT("c"), ID("1"), 0));
    parking_leave(p, &places[0]);
    parking_leave(p, &places[1]);
    parking_free(p);
    p = open_for(0, LONG_US);
    assert_null(parking_take(p, SV_LIT("a"), ID("1"), 0));
    parking_free(p);
    assert_null(parking_take(NULL, SV_LIT("a"), ID("1"), 0));
    parking_told(NULL, SV_LIT("a"), ID("1"), true, 0);
    parking_wake(NULL, ID("1"));
}

TEST(parked, who_asks_often_is_answered_at_once)
{
    (void)state;
    struct parking *p = open_for(64, LONG_US);
    sv me = SV_LIT("a");
    const uint64_t t = 1000000000;
    parking_told(p, me, ID("1"), false, t);
    assert_null(parking_take(p, me, ID("1"), t));
    assert_null(parking_take(p, me, ID("1"), t + 4999999));
    /* he comes back after a while */
    struct parked *x = parking_take(p, me, ID("1"), t + 5000000);
    assert_non_null(x);
    parking_leave(p, &x);
    /* another one, or another caller, is another matter */
    parking_told(p, me, ID("1"), false, t);
    assert_non_null(x = parking_take(p, me, ID("2"), t));
    parking_leave(p, &x);
    assert_non_null(x = parking_take(p, SV_LIT("b"), ID("1"), t));
    parking_leave(p, &x);
    /* it ended; now it is being deleted */
    parking_told(p, me, ID("1"), true, t + 1);
    assert_non_null(x = parking_take(p, me, ID("1"), t + 2));
    parking_leave(p, &x);
    parking_free(p);
}

TEST(parked, odd_ids_wait_for_nothing)
{
    (void)state;
    struct parking *p = open_for(64, LONG_US);
    static const char zeros[64];
    assert_null(parking_take(p, SV_LIT("a"), SV_NONE, 0));
    assert_null(parking_take(p, SV_LIT("a"), sv_make(zeros, 40), 0));
    struct parked *x = parking_take(p, SV_LIT("a"), sv_make(zeros, 39), 0);
    assert_non_null(x);
    parking_leave(p, &x);
    parking_free(p);
    parking_free(NULL);
    parking_close(NULL);
}

TEST_MAIN(T(parked, an_end_answers_those_who_wait_for_it_and_nobody_else),
          T(parked, an_end_between_the_look_and_the_wait_is_heard),
          T(parked, time_answers_who_waits_for_nothing),
          T(parked, closing_answers_all_and_takes_nobody),
          T(parked, places_are_few_and_a_caller_gets_a_quarter),
          T(parked, who_asks_often_is_answered_at_once), T(parked, odd_ids_wait_for_nothing))

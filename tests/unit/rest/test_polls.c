/* test_polls.c - who asks for a status more often than anybody needs to. */
#include "test.h"

#include "rest/fair/polls_private.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* TEST names a state that few tests need */

#define S 1000000u

TEST(polls, a_hundred_within_the_time_pass_and_then_none_until_it_is_over)
{
    struct polls *p = polls_new();
    sv one = SV_LIT("0123456789abcdef0123456789abcdef"), two = SV_LIT("2");
    unsigned wait = 77;
    for (unsigned i = 0; i < POLLS_MAX; i++)
        assert_true(polls_take(p, one, 5 * S + i, 3, &wait));
    /* untouched */
    assert_int_equal(wait, 77);
    assert_false(polls_take(p, one, 5 * S + 200, 3, &wait));
    assert_int_equal(wait, 3);
    /* another job's are its own */
    assert_true(polls_take(p, two, 5 * S + 200, 3, &wait));
    assert_false(polls_take(p, one, 8 * S - 1, 3, &wait));
    assert_int_equal(wait, 1);
    for (unsigned i = 0; i < POLLS_MAX; i++)
        assert_true(polls_take(p, one, 8 * S + i, 3, &wait));
    assert_false(polls_take(p, one, 8 * S + POLLS_MAX, 3, &wait));
    polls_free(p);
}

TEST(polls, a_client_that_comes_ten_times_a_second_is_never_refused)
{
    struct polls *p = polls_new();
    unsigned wait;
    /* Retry-After: a tenth of the time so far, 1 to 10 s */
    for (unsigned tenths = 0; tenths < 6000; tenths++) {
        unsigned after = tenths / 100 < 1 ? 1 : tenths / 100 > 10 ? 10 : tenths / 100;
        assert_true(polls_take(p, SV_LIT("j"), (uint64_t)tenths * 100000, after, &wait));
    }
    polls_free(p);
}

TEST_MAIN(T(polls, a_hundred_within_the_time_pass_and_then_none_until_it_is_over),
          T(polls, a_client_that_comes_ten_times_a_second_is_never_refused))

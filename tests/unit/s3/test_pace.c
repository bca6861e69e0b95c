/* How many copies a peer is asked for at a time, told in answers that never were: no clock is
 * here. */
#include "test.h"

#include "s3/s3_private.h"

static void answers(struct s3_pace *p, unsigned n, uint64_t us)
{
    for (unsigned i = 0; i < n; i++)
        s3_pace_answer(p, us);
}

static struct s3_pace after(unsigned n, uint64_t us)
{
    struct s3_pace p;
    s3_pace_init(&p);
    assert_int_equal(p.most, S3_PACE_FIRST);
    answers(&p, n, us);
    return p;
}

TEST(pace, of_a_peer_far_away_grows_to_all_and_no_further)
{
    (void)state;
    struct s3_pace p = after(S3_PACE_FIRST, 100000);
    unsigned last = p.most;
    assert_int_equal(last, S3_PACE_FIRST);
    for (int i = 0; i < 1000; i++) {
        s3_pace_answer(&p, 100000);
        assert_true(p.most == last || p.most == last + 1);
        last = p.most;
    }
    assert_int_equal(last, S3_PACE_MOST);
    /* about a hundred answers take it there */
    p = after(S3_PACE_FIRST + 4 * (S3_PACE_MOST - S3_PACE_FIRST), 100000);
    assert_int_equal(p.most, S3_PACE_MOST);
}

TEST(pace, of_a_peer_that_answers_at_once_stays)
{
    (void)state;
    assert_int_equal(after(1000, 4999).most, S3_PACE_FIRST);
    assert_int_equal(after(1000, 1).most, S3_PACE_FIRST);
    assert_int_equal(after(1000, 0).most, S3_PACE_FIRST);
    assert_true(after(1000, 5000).most > S3_PACE_FIRST);
}

/* One that works on them one after the other: twice as many take twice as long. */
TEST(pace, of_a_busy_peer_stops_where_answers_take_longer)
{
    (void)state;
    struct s3_pace p = after(S3_PACE_FIRST, 8 * 20000);
    for (int i = 0; i < 1000; i++)
        s3_pace_answer(&p, p.most * 20000ull);
    assert_in_range(p.most, S3_PACE_FIRST + 1, S3_PACE_FIRST + S3_PACE_FIRST / 2);
}

TEST(pace, that_is_too_much_is_halved_and_found_out_anew)
{
    (void)state;
    struct s3_pace p = after(1000, 100000);
    s3_pace_too_much(&p);
    assert_int_equal(p.most, S3_PACE_MOST / 2);
    answers(&p, 3, 100000);
    assert_int_equal(p.most, S3_PACE_MOST / 2);
    answers(&p, 1, 100000);
    assert_int_equal(p.most, S3_PACE_MOST / 2 + 1);
    for (int i = 0; i < 10; i++)
        s3_pace_too_much(&p);
    assert_int_equal(p.most, S3_PACE_FIRST);
    answers(&p, 1000, 100000);
    assert_int_equal(p.most, S3_PACE_MOST);
}

TEST_MAIN(T(pace, of_a_peer_far_away_grows_to_all_and_no_further),
          T(pace, of_a_peer_that_answers_at_once_stays),
          T(pace, of_a_busy_peer_stops_where_answers_take_longer),
          T(pace, that_is_too_much_is_halved_and_found_out_anew))

/* Limits that nobody gave. */
#include "net/http_private.h"

#include "../test.h"
#include "base/limits.h"

TEST(http_limits, what_was_given_stays_and_what_was_not_is_that_of_the_product)
{
    (void)state;
    struct http_limits l = { .n = 100, .bodies = 7 };
    http_limits_complete(&l);
    assert_int_equal(l.n, 100);
    assert_int_equal(l.bodies, 7);
    assert_int_equal(l.head_us, LIMIT_HEAD_S * 1000000);
    assert_int_equal(l.n_answer_files, LIMIT_ANSWER_FILES);
}

TEST(http_limits, an_address_has_a_share_of_the_connections_and_never_fewer_than_some)
{
    (void)state;
    struct http_limits all = { 0 }, few = { .n = 9 }, given = { .n = 9, .n_per_address = 2 };
    http_limits_complete(&all);
    http_limits_complete(&few);
    http_limits_complete(&given);
    assert_int_equal(all.n_per_address, LIMIT_CONNECTIONS / LIMIT_CONNECTIONS_SHARE);
    assert_int_equal(few.n_per_address, LIMIT_CONNECTIONS_LEAST);
    assert_int_equal(given.n_per_address, 2);
}

TEST_MAIN(T(http_limits, what_was_given_stays_and_what_was_not_is_that_of_the_product),
          T(http_limits, an_address_has_a_share_of_the_connections_and_never_fewer_than_some))

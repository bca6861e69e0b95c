/* test_order.c - sort keys are in the order of what they stand for. */
#include "search/asking.h"

TEST(order, sort_keys_are_in_the_order_of_what_they_stand_for)
{
    (void)state;
    static const char *const ascending[] = {
        "{\"value\":5,\"comparator\":\"<\"}",
        "{\"value\":-1e400}",
        "{\"value\":-12}",
        "{\"value\":-1.5}",
        "{\"value\":-1.25}",
        "{\"value\":-1}",
        "{\"value\":0}",
        "{\"value\":1e-400}",
        "{\"value\":0.3}",
        "{\"value\":0.30000000000000004}",
        "{\"value\":5}",
        "{\"value\":5,\"comparator\":\">\"}",
        "{\"value\":5.1}",
        "{\"value\":12345678901234567890}",
        "{\"value\":12345678901234567891}",
        "{\"value\":1e400}",
    };
    const size_t n = sizeof ascending / sizeof ascending[0];
    char x[256], y[256];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            (void)snprintf(x, sizeof x, OBS("\"valueQuantity\":%s"), ascending[i]);
            (void)snprintf(y, sizeof y, OBS("\"valueQuantity\":%s"), ascending[k]);
            int c = sorted(x, y, "value-quantity");
            if ((c > 0) - (c < 0) != (i > k) - (i < k))
                fail_msg("%s and %s are out of order", ascending[i], ascending[k]);
        }
    assert_int_equal(sorted(FAMILY("O'Brien"), FAMILY(" o\u2019BRIEN "), "family"), 0);
    assert_true(sorted(FAMILY("Oakley"), FAMILY("O'Brien"), "family") < 0);
    /* not by Berg */
    assert_true(sorted(FAMILY("van der Berg"), FAMILY("Unger"), "family") > 0);
}

TEST_MAIN(T(order, sort_keys_are_in_the_order_of_what_they_stand_for))

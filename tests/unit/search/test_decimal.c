/* test_decimal.c - numbers as they are written: their precision, all their digits, open ends. */
#include "search/asking.h"

TEST(decimal, numbers_have_the_precision_of_their_digits)
{
    (void)state;
    MATCHES(RISK("100"), "probability", "100");
    MATCHES(RISK("99.6"), "probability", "100");
    MATCHES(RISK("99.5"), "probability", "100");
    PASSES(RISK("100.5"), "probability", "100");
    PASSES(RISK("99.6"), "probability", "100.00");
    MATCHES(RISK("99.995"), "probability", "100.00");
    PASSES(RISK("99.994"), "probability", "100.00");
    /* half of the last digit: [50, 150) */
    MATCHES(RISK("95"), "probability", "1e2");
    MATCHES(RISK("5.35"), "probability", "5.4");
    PASSES(RISK("5.45"), "probability", "5.4");
    MATCHES(RISK("100.1"), "probability", "gt100");
    PASSES(RISK("100"), "probability", "gt100");
    MATCHES(RISK("100"), "probability", "ge100.00");
    MATCHES(RISK("-3"), "probability", "lt-2");
    MATCHES(RISK("-0.0"), "probability", "0");
    MATCHES(RISK("108"), "probability", "ap100");
    PASSES(RISK("111"), "probability", "ap100");
    MATCHES(RISK("7"), "probability", "ne8");
    REFUSED(RISK("7"), "probability", "seven");
    REFUSED(RISK("7"), "probability", "7,");
    PASSES(RISK("7"), "probability", "1e999");
    REFUSED(RISK("7"), "probability", "1e99999");
}

TEST(decimal, a_decimal_equals_itself_whatever_its_digits)
{
    (void)state;
    static const char *const ascending[] = { "-1e400",
                                             "-123456789012345678901234567890",
                                             "-0.30000000000000005",
                                             "-0.30000000000000004",
                                             "-0.3",
                                             "-1e-300",
                                             "-1E-400",
                                             "0",
                                             "1e-400",
                                             "1e-300",
                                             "0.000000000000000000000000000001",
                                             "0.1",
                                             "0.3",
                                             "0.30000000000000004",
                                             "0.30000000000000005",
                                             "27.358938723415303",
                                             "98.60000000000001",
                                             "165.70000000000002",
                                             "1234567890.123456789",
                                             "12345678901234567",
                                             "12345678901234568",
                                             "123456789012345678",
                                             "123456789012345679",
                                             "12345678901234567890123456789",
                                             "123456789012345678901234567890",
                                             "123456789012345678901234567890.5",
                                             "1.7976931348623157e308",
                                             "1.7976931348623159e308",
                                             "1e400" };
    const size_t n = sizeof ascending / sizeof ascending[0];
    char r[256], q[256];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            static const struct {
                const char *prefix;
                int less, same, more; /* the element is less than what is asked for */
            } cases[] = { { "gt", 0, 0, 1 }, { "lt", 1, 0, 0 }, { "ge", 0, 1, 1 },
                          { "le", 1, 1, 0 }, { "sa", 0, 0, 1 }, { "eb", 1, 0, 0 } };
            (void)snprintf(r, sizeof r, RISK("%s"), ascending[i]);
            for (size_t c = 0; c < 6; c++) {
                (void)snprintf(q, sizeof q, "%s%s", cases[c].prefix, ascending[k]);
                int want = i < k ? cases[c].less : i == k ? cases[c].same : cases[c].more;
                if (asks(r, "probability", q) != want)
                    fail_msg("%s %s", q, r);
            }
            (void)snprintf(q, sizeof q, "ne%s", ascending[k]);
            if (i == k) {
                MATCHES(r, "probability", ascending[k]);
                PASSES(r, "probability", q);
            } else if (strlen(ascending[k]) > 16) {
                /* half of its last digit reaches no other */
                PASSES(r, "probability", ascending[k]);
                MATCHES(r, "probability", q);
            }
        }
    static const char *const alike[] = { "0.10", "0.1000", "1e-1", "10E-2", "0.01e+1", "0.1e0" };
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 6; k++) {
            (void)snprintf(r, sizeof r, RISK("%s"), alike[i]);
            (void)snprintf(q, sizeof q, "ge%s", alike[k]);
            MATCHES(r, "probability", alike[k]);
            MATCHES(r, "probability", q);
            q[0] = 'l';
            MATCHES(r, "probability", q);
            (void)snprintf(q, sizeof q, "gt%s", alike[k]);
            PASSES(r, "probability", q);
        }
    MATCHES(RISK("-0.0"), "probability", "ge0");
    MATCHES(RISK("0e5"), "probability", "le-0");
    PASSES(RISK("-0"), "probability", "lt0");
    /* [-0.05, 0.05) */
    MATCHES(RISK("0.0499"), "probability", "0.0");
    PASSES(RISK("0.05"), "probability", "0.0");
    MATCHES(RISK("-0.05"), "probability", "0.0");
    PASSES(RISK("0.30000000000000004"), "probability", "0.30000000000000000");
    MATCHES(RISK("0.30000000000000004"), "probability", "0.3");
    MATCHES(RISK("12345678901234567890"), "probability", "1.234567890123456789e19");
    PASSES(RISK("99999999999999999999.5"), "probability", "99999999999999999999");
    MATCHES(RISK("99999999999999999998.5"), "probability", "99999999999999999999");
    MATCHES(RISK("-99999999999999999999.4999"), "probability", "-99999999999999999999");
    PASSES(RISK("-99999999999999999999.5001"), "probability", "-99999999999999999999");
    MATCHES(RISK("110000000000000000000000"), "probability", "ap100000000000000000000000");
    PASSES(RISK("110000000000000000000001"), "probability", "ap100000000000000000000000");
    MATCHES(RISK("-90"), "probability", "ap-100");
    MATCHES(RISK("-110"), "probability", "ap-100");
    PASSES(RISK("-89.99"), "probability", "ap-100");
    REFUSED(RISK("7"), "probability", "1e");
    REFUSED(RISK("7"), "probability", "--1");
    REFUSED(RISK("7"), "probability", "1.2.3");
    REFUSED(RISK("7"), "probability", ".");
    REFUSED(RISK("7"), "probability", "0x10");
    REFUSED(RISK("7"), "probability", "1e99999999999999999999");
}

/* For each prefix, the queries' numbers below, at and above 5. */
static void five(const char *quantity, const char *rows[9])
{
    static const char *const prefixes[] = { "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap" };
    static const char *const numbers[] = { "4.999", "5", "5.001" };
    char r[512], q[32];
    for (size_t i = 0; i < 9; i++)
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(r, sizeof r,
                           OBS("\"valueQuantity\":%s,\"code\":{\"coding\":[{\"code\":\"c\"}]}"),
                           quantity);
            (void)snprintf(q, sizeof q, "%s%s", prefixes[i], numbers[k]);
            if (asks(r, "value-quantity", q) != (rows[i][k] == '1'))
                fail_msg("%s does not answer %c to %s", quantity, rows[i][k], q);
            (void)snprintf(q, sizeof q, "c$%s%s", prefixes[i], numbers[k]);
            if (asks(r, "code-value-quantity", q) != (rows[i][k] == '1'))
                fail_msg("%s does not answer %c to %s", quantity, rows[i][k], q);
        }
}

TEST(decimal, an_open_end_is_open)
{
    (void)state;
    /* eq, ne, gt, lt, ge, le, sa, eb, ap */
    five("{\"value\":5}",
         (const char *[]){ "010", "101", "100", "001", "110", "011", "100", "001", "111" });
    five("{\"value\":5.0,\"comparator\":\"<\"}",
         (const char *[]){ "000", "111", "100", "111", "100", "111", "000", "011", "111" });
    five("{\"value\":5,\"comparator\":\"<=\"}",
         (const char *[]){ "000", "111", "100", "111", "110", "111", "000", "001", "111" });
    five("{\"value\":5.00,\"comparator\":\">\"}",
         (const char *[]){ "000", "111", "111", "001", "111", "001", "110", "000", "111" });
    five("{\"value\":5,\"comparator\":\">=\"}",
         (const char *[]){ "000", "111", "111", "001", "111", "011", "100", "000", "111" });
    const char *less = OBS("\"valueQuantity\":{\"value\":4.5,\"comparator\":\"<\"}");
    const char *most = OBS("\"valueQuantity\":{\"value\":4.5,\"comparator\":\"<=\"}");
    /* [4.5, 5.5] */
    PASSES(less, "value-quantity", "ap5");
    MATCHES(most, "value-quantity", "ap5");
    PASSES(OBS("\"valueQuantity\":{\"value\":5.5,\"comparator\":\">\"}"), "value-quantity", "ap5");
    MATCHES(OBS("\"valueQuantity\":{\"value\":5.5,\"comparator\":\">=\"}"), "value-quantity",
            "ap5");
    /* a Range has its ends, and none where a side is missing */
    const char *range = AGE("\"low\":{\"value\":5},\"high\":{\"value\":10}");
    MATCHES(range, "onset-age", "ge10");
    PASSES(range, "onset-age", "gt10");
    MATCHES(range, "onset-age", "le5");
    PASSES(range, "onset-age", "lt5");
    PASSES(range, "onset-age", "eb10");
    MATCHES(range, "onset-age", "eb10.01");
    PASSES(range, "onset-age", "sa5");
    MATCHES(range, "onset-age", "sa4");
    MATCHES(range, "onset-age", "ap11");
    PASSES(range, "onset-age", "ap12");
    PASSES(range, "onset-age", "10");
    /* [5, 15) */
    MATCHES(range, "onset-age", "1e1");
    MATCHES(AGE("\"low\":{\"value\":99.5},\"high\":{\"value\":100.49}"), "onset-age", "100");
    PASSES(AGE("\"low\":{\"value\":99.5},\"high\":{\"value\":100.5}"), "onset-age", "100");
    const char *above = AGE("\"low\":{\"value\":5}"), *below = AGE("\"high\":{\"value\":5}");
    MATCHES(above, "onset-age", "ge1e30");
    PASSES(above, "onset-age", "eb1e30");
    MATCHES(above, "onset-age", "le5");
    PASSES(above, "onset-age", "lt5");
    MATCHES(below, "onset-age", "lt-1e30");
    PASSES(below, "onset-age", "gt5");
    MATCHES(below, "onset-age", "ge5");
    /* it holds nothing */
    const char *none = AGE("\"low\":{\"value\":6},\"high\":{\"value\":5}");
    PASSES(none, "onset-age", "ge1");
    MATCHES(none, "onset-age:missing", "true");
}

TEST_MAIN(T(decimal, numbers_have_the_precision_of_their_digits),
          T(decimal, a_decimal_equals_itself_whatever_its_digits), T(decimal, an_open_end_is_open))

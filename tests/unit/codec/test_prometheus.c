/* The text that Prometheus reads, byte for byte. tests/e2e/test_metrics.py has its own parser read
 * a server's. */
#include "test.h"

#include "codec/prometheus.h"

TEST(prometheus, a_family_is_two_comments_and_its_lines)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    struct prometheus p;
    const struct prometheus_label labels[] = { { "operation", SV_LIT("ReadResource") },
                                               { "outcome", SV_LIT("success") } };
    prometheus_init(&p, &b);
    prometheus_family(&p, "x_total", "counter", "What is counted");
    prometheus_u64(&p, "", labels, 2, 18446744073709551615u);
    prometheus_u64(&p, "", NULL, 0, 0);
    prometheus_family(&p, "t", "histogram", "Times");
    prometheus_u64(&p, "_bucket", labels, 1, 3);
    prometheus_seconds(&p, "_sum", NULL, 0, 1000001);
    prometheus_seconds(&p, "_sum", NULL, 0, 9);
    OK(prometheus_end(&p, e));
    assert_sv(buf_sv(&b), SV_LIT("# HELP x_total What is counted\n"
                                 "# TYPE x_total counter\n"
                                 "x_total{operation=\"ReadResource\",outcome=\"success\"} "
                                 "18446744073709551615\n"
                                 "x_total 0\n"
                                 "# HELP t Times\n"
                                 "# TYPE t histogram\n"
                                 "t_bucket{operation=\"ReadResource\"} 3\n"
                                 "t_sum 1.000001\n"
                                 "t_sum 0.000009\n"));
}

TEST(prometheus, quotes_backslashes_and_ends_of_lines_cannot_end_a_value)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    struct prometheus p;
    const struct prometheus_label label = { "l", SV_LIT("a\"b\\c\nd} 1") };
    prometheus_init(&p, &b);
    prometheus_family(&p, "x", "gauge", "\"quoted\" \\ and\nsecond line");
    prometheus_u64(&p, "", &label, 1, 1);
    OK(prometheus_end(&p, e));
    assert_sv(buf_sv(&b), SV_LIT("# HELP x \"quoted\" \\\\ and\\nsecond line\n"
                                 "# TYPE x gauge\n"
                                 "x{l=\"a\\\"b\\\\c\\nd} 1\"} 1\n"));
}

TEST(prometheus, a_page_that_is_full_says_so_at_the_end)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(20);
    struct prometheus p;
    prometheus_init(&p, &b);
    prometheus_family(&p, "x_total", "counter", "What is counted");
    prometheus_u64(&p, "", NULL, 0, 1);
    FAILS(ERR_TOO_LARGE, prometheus_end(&p, e));
}

TEST_MAIN(T(prometheus, a_family_is_two_comments_and_its_lines),
          T(prometheus, quotes_backslashes_and_ends_of_lines_cannot_end_a_value),
          T(prometheus, a_page_that_is_full_says_so_at_the_end))

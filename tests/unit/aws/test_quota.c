/* HealthLake's request rates, on a clock of the test's own. */
#include "test.h"

#include "aws/aws.h"
#include "aws/quota.h"

#define S 1000000u /* us */

static struct quota *q;

static int set_up(void **state)
{
    (void)state;
    q = quota_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    quota_free(q);
    return 0;
}

static unsigned taken(const char *operation, unsigned tries, uint64_t now_us)
{
    unsigned n = 0;
    struct err e;
    for (unsigned i = 0; i < tries; i++)
        n += quota_take(q, operation, now_us, &e) == ERR_OK;
    return n;
}

TEST(quota, a_bucket_is_full_at_first_and_holds_its_burst)
{
    (void)state;
    assert_int_equal(taken("DescribeFHIRDatastore", 20, S), 10);
    assert_int_equal(taken("StartFHIRExportJob", 20, S), 1);
    assert_int_equal(taken("StartFHIRImportJob", 60, S), 25);
    assert_int_equal(taken("CreateFHIRDatastore", 20, S), 1);
}

TEST(quota, a_bucket_fills_at_its_rate_and_never_beyond_its_burst)
{
    (void)state;
    assert_int_equal(taken("ListTagsForResource", 20, S), 10);
    assert_int_equal(taken("ListTagsForResource", 20, S + S / 2), 5);
    assert_int_equal(taken("ListTagsForResource", 20, 3600 * S), 10);
    assert_int_equal(taken("DeleteFHIRDatastore", 1, S), 1);
    assert_int_equal(taken("DeleteFHIRDatastore", 1, 60 * S), 0); /* 59 seconds later */
    assert_int_equal(taken("DeleteFHIRDatastore", 1, 62 * S), 1);
}

TEST(quota, a_refused_request_takes_nothing)
{
    (void)state;
    assert_int_equal(taken("StartFHIRExportJob", 1, S), 1);
    for (unsigned i = 1; i < 10; i++)
        assert_int_equal(taken("StartFHIRExportJob", 1, S + i * S / 10), 0);
    assert_int_equal(taken("StartFHIRExportJob", 1, 2 * S + 1), 1);
}

TEST(quota, operations_have_buckets_of_their_own)
{
    (void)state;
    assert_int_equal(taken("TagResource", 20, S), 10);
    assert_int_equal(taken("UntagResource", 20, S), 10);
}

TEST(quota, an_empty_bucket_is_told_in_aws_words_and_what_has_no_rate_passes)
{
    (void)state;
    struct err err = { 0 };
    assert_int_equal(taken("StartFHIRExportJob", 1, S), 1);
    assert_int_equal(quota_take(q, "StartFHIRExportJob", S, &err), ERR_THROTTLED);
    assert_string_equal(err.msg, "Rate exceeded");
    assert_int_equal(taken("NoSuchOperation", 1000, S), 1000);
}

TEST(quota, every_operation_that_is_served_has_a_rate)
{
    (void)state;
    for (size_t i = 0; i < 13; i++) {
        const char *name = aws_operation_name(i);
        assert_non_null(name);
        if (taken(name, 100, S) == 100)
            fail_msg("%s", name);
    }
}

#define EACH(sentence)                                                      \
    {                                                                       \
        "quota: " #sentence, test_quota_##sentence, set_up, tear_down, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_bucket_is_full_at_first_and_holds_its_burst),
        EACH(a_bucket_fills_at_its_rate_and_never_beyond_its_burst),
        EACH(a_refused_request_takes_nothing),
        EACH(operations_have_buckets_of_their_own),
        EACH(an_empty_bucket_is_told_in_aws_words_and_what_has_no_rate_passes),
        EACH(every_operation_that_is_served_has_a_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

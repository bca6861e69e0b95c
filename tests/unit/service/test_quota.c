/* Token buckets of callers and data stores, on a clock of the test's own. */
#include "test.h"

#include "service/quota.h"

#define S 1000000u /* us */

static struct quota *q;
static unsigned wait_s;

static int set_up(void **state)
{
    (void)state;
    struct quota_rates rates;
    quota_rates_healthlake(&rates);
    q = quota_new(&rates);
    wait_s = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    quota_free(q);
    return 0;
}

static bool take(const char *action, const char *caller, const char *store, uint64_t bytes,
                 uint64_t now_us)
{
    struct err e;
    const struct quota_ask ask = {
        .action = action, .caller = sv_from(caller), .store = sv_from(store), .bytes = bytes
    };
    return quota_take(q, &ask, now_us, &wait_s, &e) == ERR_OK;
}

static unsigned taken(const char *action, unsigned tries, uint64_t now_us)
{
    unsigned n = 0;
    for (unsigned i = 0; i < tries; i++)
        n += take(action, "app", "s", 0, now_us);
    return n;
}

TEST(quota, a_bucket_is_full_at_first_and_holds_its_burst)
{
    (void)state;
    assert_int_equal(taken("DescribeFHIRDatastore", 20, S), 10);
    assert_int_equal(taken("StartFHIRExportJob", 20, S), 1);
    assert_int_equal(taken("StartFHIRImportJob", 60, S), 25);
    assert_int_equal(taken("CreateFHIRDatastore", 20, S), 1);
    assert_int_equal(taken("Discovery", 20, S), 10);
    assert_int_equal(taken("Discovery", 20, 13 * S), 2);   /* one in six seconds */
    assert_int_equal(taken("SearchWithGet", 500, S), 100); /* of a data store; the caller has 200 */
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

TEST(quota, what_a_data_store_refuses_costs_its_caller_nothing_and_the_other_way_round)
{
    (void)state;
    /* the data store is empty: a hundred of one caller */
    for (unsigned i = 0; i < 100; i++)
        assert_true(take("SearchWithGet", "a", "s", 0, S));
    for (unsigned i = 0; i < 1000; i++)
        assert_false(take("SearchWithGet", "b", "s", 0, S));
    /* b has all his 200 yet, on other data stores */
    for (unsigned i = 0; i < 200; i++)
        assert_true(take("SearchWithGet", "b", i < 100 ? "t" : "u", 0, S));
    /* and b's refusals, now that he has none, leave v full for c */
    for (unsigned i = 0; i < 1000; i++)
        assert_false(take("SearchWithGet", "b", "v", 0, S));
    for (unsigned i = 0; i < 100; i++)
        assert_true(take("SearchWithGet", "c", "v", 0, S));
}

TEST(quota, rates_that_change_leave_what_was_taken)
{
    (void)state;
    struct quota_rates rates = { 0 };
    const size_t kind = quota_kind_of(SV_LIT("ListTagsForResource"));
    assert_int_equal(taken("ListTagsForResource", 20, S), 10);
    quota_set(q, &rates);
    assert_int_equal(taken("ListTagsForResource", 50, S), 50); /* no limit */
    rates.of[kind][QUOTA_CALLER] = (struct quota_rate){ 2, 2 };
    quota_set(q, &rates);
    assert_int_equal(taken("ListTagsForResource", 50, S), 0);
    assert_int_equal(taken("ListTagsForResource", 50, S + S / 2), 1);
    /* a bucket that was fuller than the new one holds has what that one holds */
    quota_rates_healthlake(&rates);
    quota_set(q, &rates);
    assert_int_equal(taken("TagResource", 4, S), 4);
    rates.of[quota_kind_of(SV_LIT("TagResource"))][QUOTA_CALLER] = (struct quota_rate){ 3, 3 };
    quota_set(q, &rates);
    assert_int_equal(taken("TagResource", 50, 60 * S), 3);
}

TEST(quota, callers_have_buckets_of_their_own)
{
    (void)state;
    assert_int_equal(taken("StartFHIRExportJob", 5, S), 1);
    assert_true(take("StartFHIRExportJob", "other", NULL, 0, S));
    /* a data store that is called like a caller is none */
    assert_true(take("GetExportedFile", NULL, "app", 0, S));
    assert_false(take("StartFHIRExportJob", "app", "app", 0, S));
}

TEST(quota, kinds_have_buckets_of_their_own_and_actions_of_a_kind_share_one)
{
    (void)state;
    assert_int_equal(taken("TagResource", 20, S), 10);
    assert_int_equal(taken("UntagResource", 20, S), 10);
    assert_int_equal(taken("ReadResource", 2000, S), 2000);
    assert_int_equal(taken("VersionReadResource", 2000, S), 1000);
    assert_int_equal(taken("SearchWithGet", 1000, S), 100);
    assert_int_equal(taken("SearchWithPost", 1000, S), 100);
}

TEST(quota, a_write_costs_one_for_each_kib_and_may_leave_debts)
{
    (void)state;
    const uint64_t five_mib = 5u << 20; /* 5120 of the data store's 3000 */
    assert_true(take("CreateResource", "a", "s", five_mib, S));
    assert_false(take("CreateResource", "a", "s", 1, S + S / 2)); /* 620 below nothing */
    assert_int_equal(wait_s, 1);
    assert_true(take("CreateResource", "a", "s", 1, S + 3 * S / 4));
    /* what a bucket cannot hold waits until that is full */
    assert_false(take("UpdateResource", "a", "s", five_mib, 2 * S));
    assert_true(take("UpdateResource", "a", "s", five_mib, 20 * S));
    /* 1024 bytes are one, one more are two */
    assert_int_equal(taken("DeleteResource", 3000, 100 * S), 3000);
    assert_true(take("CreateResource", "app", "x", 1024, 100 * S));
    assert_true(take("CreateResource", "app", "x", 2998 * 1024 + 1, 100 * S));
    assert_false(take("CreateResource", "app", "x", 1, 100 * S));
}

TEST(quota, a_bundle_is_writing_by_its_size)
{
    (void)state;
    assert_true(take("ProcessBundle", "a", "s", 2000 * 1024, S));
    assert_false(take("CreateResource", "a", "s", 1001 * 1024, S));
    assert_true(take("CreateResource", "a", "s", 1000 * 1024, S));
}

TEST(quota, what_has_begun_goes_on_and_is_paid_later)
{
    (void)state;
    struct err err;
    struct quota_ask ask = { .action = "SearchWithGet",
                             .caller = SV_LIT("a"),
                             .store = SV_LIT("s") };
    OK(quota_take(q, &ask, S, &wait_s, e));
    ask.begun = true;
    for (unsigned i = 0; i < 299; i++)
        assert_int_equal(quota_take(q, &ask, S, &wait_s, &err), ERR_OK);
    ask.begun = false;
    assert_int_equal(quota_take(q, &ask, 2 * S, &wait_s, &err), ERR_THROTTLED); /* 100 short */
    assert_int_equal(wait_s, 2);
    assert_int_equal(quota_take(q, &ask, 3 * S + S / 10, &wait_s, &err), ERR_OK);
}

TEST(quota, a_refusal_says_which_rate_and_how_long_to_wait)
{
    (void)state;
    struct err err = { 0 };
    struct quota_ask ask = { .action = "CreateFHIRDatastore", .caller = SV_LIT("a") };
    OK(quota_take(q, &ask, S, &wait_s, e));
    assert_int_equal(quota_take(q, &ask, S, &wait_s, &err), ERR_THROTTLED);
    assert_int_equal(wait_s, 60);
    assert_string_equal(err.msg, "Rate exceeded: CreateFHIRDatastore of one caller, 1 a minute");
    assert_int_equal(quota_take(q, &ask, S + 60 * S - 10, &wait_s, &err), ERR_THROTTLED);
    assert_int_equal(wait_s, 1);
    OK(quota_take(q, &ask, 61 * S + 1, &wait_s, e));
    for (unsigned i = 0; i < 10; i++)
        assert_true(take("GetExportedFile", "a", "s", 0, S));
    ask = (struct quota_ask){ .action = "GetExportedFile", .store = SV_LIT("s") };
    assert_int_equal(quota_take(q, &ask, S, &wait_s, &err), ERR_THROTTLED);
    assert_string_equal(err.msg, "Rate exceeded: export-file of one data store, 10 a second");
}

TEST(quota, what_has_no_rate_passes_and_so_does_all_without_quotas)
{
    (void)state;
    assert_int_equal(taken("NoSuchOperation", 1000, S), 1000);
    assert_int_equal(quota_known(q), 0);
    const struct quota_ask ask = { .action = "CreateFHIRDatastore", .caller = SV_LIT("a") };
    for (unsigned i = 0; i < 10; i++)
        OK(quota_take(NULL, &ask, S, &wait_s, e));
}

TEST(quota, a_clock_that_stands_or_goes_back_gives_nothing)
{
    (void)state;
    assert_int_equal(taken("StartFHIRExportJob", 9, 0), 1);
    assert_int_equal(taken("StartFHIRExportJob", 9, 0), 0);
    assert_int_equal(taken("StartFHIRImportJob", 99, 100 * S), 25);
    assert_int_equal(taken("StartFHIRImportJob", 99, 50 * S), 0);
}

TEST(quota, names_without_end_leave_a_fixed_number_of_buckets)
{
    (void)state;
    char name[40];
    for (unsigned i = 0; i < QUOTA_KNOWN + 5000; i++) {
        (void)snprintf(name, sizeof name, "caller-%u", i);
        assert_true(take("StartFHIRExportJob", name, NULL, 0, S));
        /* he who goes on asking is not forgotten */
        assert_int_equal(take("StartFHIRExportJob", "app", NULL, 0, S), i == 0);
    }
    assert_int_equal(quota_known(q), QUOTA_KNOWN);
    /* the one that asked longest ago is; the last is not */
    assert_true(take("StartFHIRExportJob", "caller-0", NULL, 0, S));
    assert_false(take("StartFHIRExportJob", name, NULL, 0, S));
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
        EACH(what_a_data_store_refuses_costs_its_caller_nothing_and_the_other_way_round),
        EACH(rates_that_change_leave_what_was_taken),
        EACH(callers_have_buckets_of_their_own),
        EACH(kinds_have_buckets_of_their_own_and_actions_of_a_kind_share_one),
        EACH(a_write_costs_one_for_each_kib_and_may_leave_debts),
        EACH(a_bundle_is_writing_by_its_size),
        EACH(what_has_begun_goes_on_and_is_paid_later),
        EACH(a_refusal_says_which_rate_and_how_long_to_wait),
        EACH(what_has_no_rate_passes_and_so_does_all_without_quotas),
        EACH(a_clock_that_stands_or_goes_back_gives_nothing),
        EACH(names_without_end_leave_a_fixed_number_of_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

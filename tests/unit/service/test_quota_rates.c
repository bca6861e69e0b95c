/* Files of rates: what they say, and what is refused with its line. */
#include "test.h"

#include "service/quota.h"

static struct quota_rates read_them(const char *text)
{
    struct quota_rates rates;
    OK(quota_rates_parse(sv_from(text), &rates, e));
    return rates;
}

static double per_s(const struct quota_rates *rates, const char *action, enum quota_scope scope)
{
    size_t kind = quota_kind_of(sv_from(action));
    assert_true(kind < QUOTA_KINDS_MAX);
    return rates->of[kind][scope].per_s;
}

TEST(quota_rates, a_file_says_rates_a_second_and_a_minute)
{
    (void)state;
    struct quota_rates r = read_them("# rates\n"
                                     "; of ours\r\n"
                                     "\n"
                                     "[caller]\n"
                                     "read=100/s\n"
                                     "  CreateFHIRDatastore = 2/min\r\n"
                                     "[datastore]\n"
                                     "write = 50/s");
    assert_true(per_s(&r, "ReadResource", QUOTA_CALLER) == 100);
    assert_true(per_s(&r, "VersionReadResource", QUOTA_CALLER) == 100);
    assert_true(per_s(&r, "ReadResource", QUOTA_STORE) == 0);
    assert_true(per_s(&r, "CreateFHIRDatastore", QUOTA_CALLER) == 2.0 / 60);
    assert_true(r.of[quota_kind_of(SV_LIT("CreateFHIRDatastore"))][QUOTA_CALLER].burst == 2);
    assert_true(per_s(&r, "DeleteResource", QUOTA_STORE) == 50);
    assert_true(per_s(&r, "DeleteResource", QUOTA_CALLER) == 0);
}

TEST(quota_rates, a_file_may_begin_with_those_of_healthlake_and_change_some)
{
    (void)state;
    struct quota_rates r = read_them("base = healthlake\n[datastore]\nread = none\n"
                                     "[caller]\nsearch-post = 7/s\n[datastore]\nwrite = 1/s\n");
    assert_true(per_s(&r, "ReadResource", QUOTA_STORE) == 0);
    assert_true(per_s(&r, "ReadResource", QUOTA_CALLER) == 6000);
    assert_true(per_s(&r, "SearchWithPost", QUOTA_CALLER) == 7);
    assert_true(per_s(&r, "SearchWithPost", QUOTA_STORE) == 100);
    assert_true(per_s(&r, "PatchResource", QUOTA_STORE) == 1);
    r = read_them("base = none\n");
    assert_true(per_s(&r, "ReadResource", QUOTA_CALLER) == 0);
    (void)read_them("");
}

TEST(quota_rates, what_is_wrong_is_refused_with_its_line)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "read = 1/s\n", "line 1" },
        { "[caller]\nread\n", "line 2" },
        { "[callers]\n", "line 1: sections are [caller] and [datastore]" },
        { "[caller]\nserach-get = 1/s\n", "is \"search-get\" meant?" },
        { "[caller]\nReadResource = 1/s\n", "is no kind" },
        { "[caller]\nread = 1/s\nread = 2/s\n", "line 3: read stands twice" },
        { "[caller]\nread = 1/s\n[datastore]\n[caller]\nread = 2/s\n", "line 5" },
        { "[caller]\nread = 0/s\n", "line 2: read takes a rate" },
        { "[caller]\nread = -1/s\n", "takes a rate" },
        { "[caller]\nread = 1.5/s\n", "takes a rate" },
        { "[caller]\nread = 10\n", "takes a rate" },
        { "[caller]\nread = 10/h\n", "takes a rate" },
        { "[caller]\nread = 10/ s\n", "takes a rate" },
        { "[caller]\nread = 99999999999999999999/s\n", "takes a rate" },
        { "[caller]\nread =\n", "takes a rate" },
        { "[datastore]\nCreateFHIRDatastore = 1/s\n", "is on no data store" },
        { "[datastore]\nListFHIRDatastores = 1/s\n", "is on no data store" },
        { "base = aws\n", "line 1: base is healthlake or none" },
        { "base = none\nbase = none\n", "line 2: base stands twice" },
        { "[caller]\nbase = none\n", "line 2" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct quota_rates r;
        struct err err = { 0 };
        assert_int_equal(quota_rates_parse(sv_from(bad[i].text), &r, &err), ERR_INVALID);
        if (strstr(err.msg, bad[i].says) == NULL)
            fail_msg("%s: %s", bad[i].text, err.msg);
    }
    static char large[QUOTA_FILE_MAX + 2];
    memset(large, '\n', sizeof large - 1);
    struct quota_rates r;
    FAILS(ERR_TOO_LARGE, quota_rates_parse(sv_from(large), &r, e));
}

TEST(quota_rates, kinds_are_named_once_and_an_action_has_one)
{
    (void)state;
    bool on_store;
    for (size_t i = 0; quota_kind_name(i, &on_store); i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(quota_kind_name(i, &on_store), quota_kind_name(k, &on_store));
    assert_string_equal(quota_kind_name(quota_kind_of(SV_LIT("CreateAccessToken")), &on_store),
                        "token");
    assert_int_equal(quota_kind_of(SV_LIT("Nonsense")), QUOTA_KINDS_MAX);
    assert_int_equal(quota_kind_of(SV_NONE), QUOTA_KINDS_MAX);
}

TEST_MAIN(T(quota_rates, a_file_says_rates_a_second_and_a_minute),
          T(quota_rates, a_file_may_begin_with_those_of_healthlake_and_change_some),
          T(quota_rates, what_is_wrong_is_refused_with_its_line),
          T(quota_rates, kinds_are_named_once_and_an_action_has_one))

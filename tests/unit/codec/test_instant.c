/* Instants against the C library's own calendar, and the forms that are refused. */
#include "test.h"

#include "codec/instant.h"

TEST(instant, formats_as_the_c_library_does)
{
    (void)state;
    uint64_t rnd = 7;
    for (int i = 0; i < 200000; i++) {
        rnd = rnd * 6364136223846793005u + 1442695040888963407u;
        /* years 1 to 9999 */
        int64_t ms = (int64_t)(rnd >> 16) % 315537897600000 - 62135596800000;
        time_t s = (time_t)((ms - ((ms % 1000) + 1000) % 1000) / 1000);
        struct tm tm;
        char want[64], got[INSTANT_LEN + 1] = "", basic[17] = "";
        gmtime_r(&s, &tm);
        (void)snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                       (int)(((ms % 1000) + 1000) % 1000));
        instant_format(ms, got);
        assert_string_equal(got, want);
        int64_t back;
        assert_true(instant_parse(sv_from(got), &back));
        assert_true(back == ms);
        instant_format_basic(ms, basic);
        assert_true(instant_parse_basic(sv_from(basic), &back));
        assert_true(back == (int64_t)s * 1000);
    }
}

TEST(instant, reads_offsets_and_fractions)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "1970-01-01T00:00:00.5Z", 500 },
        { "1970-01-01T00:00:00.123456789Z", 123 },
        { "1970-01-01T01:00:00+01:00", 0 },
        { "1969-12-31T19:00:00-05:00", 0 },
        { "2000-02-29T12:00:00Z", 951825600000 },
        { "2016-12-31T23:59:60Z", 1483228799999 }, /* a leap second stays in its day */
        { "2016-12-31T23:59:60.5Z", 1483228799999 },
        { "2017-01-01T02:59:60+03:00", 1483228799999 },
        { "2016-12-31T18:59:60-05:00", 1483228799999 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = -1;
        assert_true(instant_parse(sv_from(cases[i].text), &ms));
        assert_true(ms == cases[i].ms);
    }
    int64_t ms;
    assert_true(instant_parse_http(SV_LIT("Mon, 23 Nov 2026 18:30:00 GMT"), &ms));
    assert_true(ms == 1795458600000);
}

TEST(instant, refuses_what_is_none)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "2026",
                                         "2026-11-23",
                                         "2026-11-23T18:30:00",
                                         "2026-11-23T18:30Z",
                                         "2026-13-01T00:00:00Z",
                                         "2026-02-29T00:00:00Z",
                                         "1900-02-29T00:00:00Z",
                                         "2026-11-31T00:00:00Z",
                                         "2026-11-23T24:00:00Z",
                                         "2026-11-23T18:60:00Z",
                                         "2026-11-23T18:30:00.Z",
                                         "2026-11-23T18:30:00+15:00",
                                         "2026-11-23T18:30:00Zx",
                                         "0000-01-01T00:00:00Z",
                                         "2026-11-23 18:30:00Z",
                                         "2026-11-23T18:30:00+01" };
    int64_t ms = 42;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(instant_parse(sv_from(wrong[i]), &ms));
    assert_false(instant_parse_http(SV_LIT("Mon, 23 Nox 2026 18:30:00 GMT"), &ms));
    assert_false(instant_parse_basic(SV_LIT("20261123T183000"), &ms));
    assert_true(ms == 42);
}

TEST(instant, each_form_of_an_http_date_is_read)
{
    (void)state;
    static const char *const same[] = { "Sun, 06 Nov 1994 08:49:37 GMT",
                                        "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994" };
    static const char *const none[] = {
        "",
        ",",
        "Sun",
        "Sun,",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Wednesdays, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov   08:49:37 1994",
        "Sun Nov  6 08:49:37 19940",
        "Sun Nox  6 08:49:37 1994",
        "1994-11-06T08:49:37Z"
    };
    int64_t ms = 0;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        if (!instant_parse_http(sv_from(same[i]), &ms) || ms != 784111777000)
            fail_msg("%s: %lld", same[i], (long long)ms);
    }
    assert_true(instant_parse_http(SV_LIT("Wednesday, 16-Nov-26 08:49:37 GMT"), &ms));
    assert_int_equal(ms, 1794818977000);
    assert_true(instant_parse_http(SV_LIT("Sun Nov 16 08:49:37 2026"), &ms));
    assert_int_equal(ms, 1794818977000);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (instant_parse_http(sv_from(none[i]), &ms))
            fail_msg("%s is read", none[i]);
}

TEST(instant, http_dates_read_back_and_name_their_day)
{
    (void)state;
    char http[INSTANT_HTTP_LEN];
    /* RFC 9110's own example */
    instant_format_http(784111777000, http);
    assert_memory_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT", sizeof http);
    instant_format_http(0, http);
    assert_memory_equal(http, "Thu, 01 Jan 1970 00:00:00 GMT", sizeof http);
    instant_format_http(-1, http);
    assert_memory_equal(http, "Wed, 31 Dec 1969 23:59:59 GMT", sizeof http);
    for (int64_t s = -5000000000; s < 5000000000; s += 86413 * 97) {
        int64_t back;
        instant_format_http(s * 1000, http);
        assert_true(instant_parse_http(sv_make(http, sizeof http), &back));
        assert_true(back == s * 1000);
    }
}

TEST_MAIN(T(instant, formats_as_the_c_library_does), T(instant, reads_offsets_and_fractions),
          T(instant, refuses_what_is_none), T(instant, each_form_of_an_http_date_is_read),
          T(instant, http_dates_read_back_and_name_their_day))

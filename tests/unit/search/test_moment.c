/* test_moment.c - dates are intervals, whatever is left out of them. */
#include "search/asking.h"

TEST(moment, dates_are_intervals)
{
    (void)state;
    const char *day = OBS("\"effectiveDateTime\":\"2013-01-14\"");
    MATCHES(day, "date", "2013-01-14");
    MATCHES(day, "date", "2013-01");
    MATCHES(day, "date", "2013");
    PASSES(day, "date", "2013-01-14T00:00");
    PASSES(day, "date", "2013-01-15");
    MATCHES(day, "date", "ne2013-01-15");
    PASSES(day, "date", "ne2013-01-14");
    PASSES(day, "date", "lt2013-01-14");
    MATCHES(day, "date", "lt2013-01-15");
    MATCHES(day, "date", "le2013-01-14");
    MATCHES(day, "date", "ge2013-01-14");
    PASSES(day, "date", "gt2013-01-14");
    MATCHES(day, "date", "gt2013-01-13");
    /* the day goes on behind ten */
    MATCHES(day, "date", "gt2013-01-14T10:00");
    MATCHES(day, "date", "sa2013-01-13");
    PASSES(day, "date", "sa2013-01-14");
    MATCHES(day, "date", "eb2013-01-15");
    PASSES(day, "date", "eb2013-01-14");
    MATCHES(day, "date", "ap2013-01-20");
    PASSES(day, "date", "ap2020-01-20");
    MATCHES(day, "date", "2012,2013");
    const char *open = OBS("\"effectivePeriod\":{\"start\":\"2013-01-21\"}");
    MATCHES(open, "date", "gt2013-03-14");
    MATCHES(open, "date", "ge2013-03-14");
    PASSES(open, "date", "le2013-01-20");
    MATCHES(open, "date", "sa2013-01-20");
    /* it does not end that day */
    PASSES(open, "date", "2013-01-21");
    MATCHES(open, "date", "ne2013-01-21");
    const char *zone = OBS("\"effectiveDateTime\":\"2013-01-14T23:30:00-02:00\"");
    /* in UTC, as a query without a zone is */
    MATCHES(zone, "date", "2013-01-15");
    MATCHES(zone, "date", "2013-01-15T01:30:00Z");
    MATCHES(zone, "date", "2013-01-14T20:30:00-05:00");
    const char *instant = OBS("\"issued\":\"2020-02-29T12:00:00.123Z\"");
    MATCHES(instant, "_lastUpdated", "2023-11-14");
    PASSES(instant, "_lastUpdated", "gt2023-11-15");
    const char *night = OBS("\"effectivePeriod\":{\"start\":\"2011-12-31T22:00:00Z\",\"end\":"
                            "\"2012-01-01T06:00:00Z\"}");
    /* what straddles an end is on both sides of it */
    MATCHES(night, "date", "le2011");
    MATCHES(night, "date", "ge2012");
    MATCHES(night, "date", "le2011-12-31");
    MATCHES(night, "date", "ge2012-01-01");
    MATCHES(night, "date", "lt2012");
    MATCHES(night, "date", "gt2011");
    PASSES(night, "date", "le2011-12-31T21:59");
    MATCHES(night, "date", "le2011-12-31T22:00");
    PASSES(night, "date", "ge2012-01-01T06:01");
    /* a second long */
    MATCHES(night, "date", "ge2012-01-01T06:00:00Z");
    PASSES(night, "date", "sa2011");
    PASSES(night, "date", "eb2012");
    const char *month = OBS("\"effectiveDateTime\":\"2011-12\"");
    MATCHES(month, "date", "le2011-12-01");
    MATCHES(month, "date", "ge2011-12-31");
    PASSES(month, "date", "le2011-11-30");
    PASSES(month, "date", "ge2012-01-01");
    MATCHES(open, "date", "ge2013-01-20");
    MATCHES(open, "date", "le2013-01-21");
    const char *until = OBS("\"effectivePeriod\":{\"end\":\"2013-01-21\"}");
    MATCHES(until, "date", "le1900");
    MATCHES(until, "date", "ge2013-01-21");
    PASSES(until, "date", "ge2013-01-22");
    const char *never = OBS("\"effectivePeriod\":{\"start\":\"2013-02\",\"end\":\"2013-01\"}");
    /* it ends before it begins */
    PASSES(never, "date", "ge2012");
    MATCHES(never, "date:missing", "true");
    REFUSED(day, "date", "2013-02-30");
    REFUSED(day, "date", "yesterday");
    REFUSED(day, "date", "");
    REFUSED(day, "date", "2013-1-1");
    REFUSED(day, "date", "2013-01-14T24:00");
    REFUSED(day, "date", "2013-01-14T10");
    REFUSED(day, "date", "2013-01-14T10:00+15:00");
    REFUSED(day, "date:exact", "2013");
}

TEST(moment, a_leap_second_belongs_to_its_own_day)
{
    (void)state;
    static const char *const leaps[] = { DIED("2016-12-31T23:59:60Z"),
                                         DIED("2016-12-31T23:59:60.75Z"),
                                         DIED("2017-01-01T02:59:60+03:00"),
                                         DIED("2016-12-31T18:59:60.1-05:00") };
    for (size_t i = 0; i < 4; i++) {
        MATCHES(leaps[i], "death-date", "2016");
        MATCHES(leaps[i], "death-date", "2016-12");
        MATCHES(leaps[i], "death-date", "2016-12-31");
        MATCHES(leaps[i], "death-date", "2016-12-31T23:59");
        MATCHES(leaps[i], "death-date", "2016-12-31T23:59:60Z");
        MATCHES(leaps[i], "death-date", "le2016-12-31");
        MATCHES(leaps[i], "death-date", "lt2017");
        MATCHES(leaps[i], "death-date", "eb2017");
        MATCHES(leaps[i], "death-date", "ge2016-12-31T23:59:60Z");
        PASSES(leaps[i], "death-date", "2017");
        PASSES(leaps[i], "death-date", "sa2016-12-31");
        PASSES(leaps[i], "death-date", "gt2016");
        PASSES(leaps[i], "death-date", "ge2017-01-01");
    }
    PASSES(DIED("2017-01-01T00:00:00Z"), "death-date", "2016-12-31T23:59:60Z");
    PASSES(DIED("2016-12-31T23:59:59Z"), "death-date", "2016-12-31T23:59:60Z");
    const char *stay = OBS("\"effectivePeriod\":{\"start\":\"2016-12-31T12:00:00Z\",\"end\":"
                           "\"2016-12-31T23:59:60Z\"}");
    MATCHES(stay, "date", "2016-12-31");
    PASSES(stay, "date", "ge2017");
    MATCHES(stay, "date", "eb2017");
    REFUSED(stay, "date", "2016-12-31T23:59:61Z");
    assert_true(sorted(DIED("2016-12-31T23:59:59Z"), leaps[0], "death-date") < 0);
    assert_true(sorted(leaps[0], DIED("2017-01-01T00:00:00Z"), "death-date") < 0);
}

TEST(moment, of_a_timing_the_outer_limits_matter)
{
    (void)state;
    const char *t =
        "{\"resourceType\":\"ServiceRequest\",\"id\":\"s\",\"occurrenceTiming\":{\"event\":["
        "\"2013-03-24\",\"2013-01-31\"],\"repeat\":{\"boundsPeriod\":{\"start\":\"2013-02\"}}}}";
    MATCHES(t, "occurrence", "sa2013-01-30");
    PASSES(t, "occurrence", "sa2013-01-31");
    PASSES(t, "occurrence", "2013-01-31");
    /* its bounds are open */
    MATCHES(t, "occurrence", "gt2020");
    const char *e =
        "{\"resourceType\":\"ServiceRequest\",\"id\":\"s\",\"occurrenceTiming\":{\"event\":["
        "\"2013-03-24\",\"2013-01-31\"]}}";
    MATCHES(e, "occurrence", "2013");
    PASSES(e, "occurrence", "2013-01-31");
    MATCHES(e, "occurrence", "ap2013-02-10");
    PASSES(e, "occurrence", "gt2013-03-24");
    MATCHES(e, "occurrence:missing", "false");
}

TEST_MAIN(T(moment, dates_are_intervals), T(moment, a_leap_second_belongs_to_its_own_day),
          T(moment, of_a_timing_the_outer_limits_matter))

/* Conditions on where a request comes from, and when. */
#include "test.h"

#include "auth/policy.h"

#define STORE \
    "arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/0123456789abcdef0123456789abcdef"
#define NOW 1801353600500 /* 2027-01-31T00:00:00.5Z */

static policy_decision decide(const char *effect, const char *condition,
                              const struct policy_origin *origin)
{
    char json[600];
    struct policy *p = NULL;
    bool deny = effect[0] == 'D';
    (void)snprintf(json, sizeof json,
                   "{\"Statement\":[%s{\"Effect\":\"%s\",\"Action\":\"*\",\"Resource\":\"*\","
                   "\"Condition\":%s}]}",
                   deny ? "{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}," : "",
                   effect, condition);
    OK(policy_parse(sv_from(json), &p, e));
    const struct policy_context context = { .origin = origin };
    policy_decision d =
        policy_decide(p, SV_LIT("healthlake:ReadResource"), SV_LIT(STORE), &context);
    policy_free(p);
    return d;
}

/* Holds the condition, both as an Allow and as a Deny? */
static void check(const char *condition, const struct policy_origin *origin, bool holds)
{
    policy_decision allow = decide("Allow", condition, origin),
                    deny = decide("Deny", condition, origin);
    if (allow != (holds ? POLICY_ALLOWED : POLICY_NOT_ALLOWED))
        fail_msg("%s from %.*s: Allow gives %d", condition, SV_FMT(origin->address), allow);
    if (deny != (holds ? POLICY_DENIED : POLICY_ALLOWED))
        fail_msg("%s from %.*s: Deny gives %d", condition, SV_FMT(origin->address), deny);
}

#define IP(v)     "{\"IpAddress\":{\"aws:SourceIp\":" v "}}"
#define NOT_IP(v) "{\"NotIpAddress\":{\"aws:SourceIp\":" v "}}"

TEST(policy_origin, an_address_is_in_a_range_or_is_not)
{
    (void)state;
    static const struct {
        const char *range, *address;
        bool in;
    } asks[] = {
        { "\"192.0.2.7\"", "192.0.2.7", true },
        { "\"192.0.2.7\"", "192.0.2.8", false },
        { "\"192.0.2.0/24\"", "192.0.2.255", true },
        { "\"192.0.2.0/24\"", "192.0.3.0", false },
        { "\"192.0.2.128/25\"", "192.0.2.127", false },
        { "\"192.0.2.128/25\"", "192.0.2.128", true },
        { "\"192.0.2.0/31\"", "192.0.2.1", true },
        { "\"192.0.2.0/31\"", "192.0.2.2", false },
        { "\"192.0.2.9/24\"", "192.0.2.1", true }, /* bits behind the length do not count */
        { "\"0.0.0.0/0\"", "255.255.255.255", true },
        { "\"0.0.0.0/0\"", "2001:db8::1", false },
        { "\"128.0.0.0/1\"", "127.255.255.255", false },
        { "\"::/0\"", "2001:db8::1", true },
        { "\"2001:DB8::/32\"", "2001:db8:ffff::1", true },
        { "\"2001:db8::/32\"", "2001:db9::1", false },
        { "\"2001:db8::1\"", "2001:db8:0:0:0:0:0:1", true },
        { "\"2001:db8::/127\"", "2001:db8::2", false },
        { "[\"10.0.0.0/8\",\"192.0.2.0/24\"]", "192.0.2.7", true },
        { "[\"10.0.0.0/8\",\"192.0.2.0/24\"]", "11.0.0.1", false },
        /* IPv4 over a socket of IPv6 */
        { "\"192.0.2.0/24\"", "::ffff:192.0.2.7", true },
        { "\"::ffff:192.0.2.0/120\"", "192.0.2.7", true },
        { "\"192.0.2.0/24\"", "::ffff:192.0.3.7", false },
    };
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        char text[200];
        const struct policy_origin from = { .address = sv_from(asks[i].address), .now_ms = NOW };
        (void)snprintf(text, sizeof text, IP("%s"), asks[i].range);
        check(text, &from, asks[i].in);
        (void)snprintf(text, sizeof text, NOT_IP("%s"), asks[i].range);
        check(text, &from, !asks[i].in);
        (void)snprintf(text, sizeof text,
                       "{\"ForAnyValue:IpAddressIfExists\":{\"aws:sourceip\":%s}}", asks[i].range);
        check(text, &from, asks[i].in);
        (void)snprintf(text, sizeof text, "{\"ForAllValues:NotIpAddress\":{\"aws:SourceIp\":%s}}",
                       asks[i].range);
        check(text, &from, !asks[i].in);
    }
    const struct policy_origin from = { .address = SV_LIT("192.0.2.7") };
    check("{\"Null\":{\"aws:SourceIp\":false}}", &from, true);
    check("{\"Null\":{\"aws:SourceIp\":true}}", &from, false);
}

TEST(policy_origin, an_address_that_cannot_be_read_is_refused_both_ways)
{
    (void)state;
    static const char *const conditions[] = { IP("\"0.0.0.0/0\""), NOT_IP("\"10.0.0.0/8\""),
                                              "{\"IpAddressIfExists\":{\"aws:SourceIp\":\"::/0\"}}",
                                              "{\"Null\":{\"aws:SourceIp\":true}}",
                                              "{\"Null\":{\"aws:SourceIp\":false}}" };
    static const char *const odd[] = { "", "unix", "192.0.2", "192.0.2.7/24x", "fe80::1%eth0" };
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++)
        for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++) {
            const struct policy_origin from = { .address = sv_from(odd[k]) };
            assert_int_equal(decide("Allow", conditions[i], &from), POLICY_NOT_ALLOWED);
            assert_int_equal(decide("Deny", conditions[i], &from), POLICY_DENIED);
        }
    const struct policy_origin nowhere = { .address = SV_NONE };
    assert_int_equal(decide("Allow", conditions[0], &nowhere), POLICY_NOT_ALLOWED);
}

TEST(policy_origin, the_way_of_a_request_is_secure_or_is_not)
{
    (void)state;
    for (unsigned secure = 0; secure < 2; secure++) {
        const struct policy_origin from = { .address = SV_LIT("::1"), .secure = secure };
        check("{\"Bool\":{\"aws:SecureTransport\":\"true\"}}", &from, secure);
        check("{\"Bool\":{\"aws:SecureTransport\":\"False\"}}", &from, !secure);
        check("{\"BoolIfExists\":{\"AWS:securetransport\":true}}", &from, secure);
        check("{\"Bool\":{\"aws:SecureTransport\":[\"true\",\"false\"]}}", &from, true);
        check("{\"Null\":{\"aws:SecureTransport\":false}}", &from, true);
    }
}

TEST(policy_origin, times_are_compared_by_the_second)
{
    (void)state;
    static const struct {
        const char *operator;
        bool before, same, after; /* the request is a second before, in the same, a second after */
    } asks[] = {
        { "DateEquals", false, true, false },
        { "DateNotEquals", true, false, true },
        { "DateLessThan", true, false, false },
        { "DateLessThanEquals", true, true, false },
        { "DateGreaterThan", false, false, true },
        { "DateGreaterThanEquals", false, true, true },
        { "DateGreaterThanIfExists", false, false, true },
        { "ForAllValues:DateLessThan", true, false, false },
    };
    static const char *const spelled[] = { "2027-01-31T00:00:00Z", "2027-01-31",
                                           "2027-01-31T01:00:00+01:00", "1801353600",
                                           "2027-01-31T00:00:00.999Z" };
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++)
        for (size_t k = 0; k < sizeof spelled / sizeof spelled[0]; k++) {
            char text[200];
            struct policy_origin from = { .address = SV_LIT("::1") };
            (void)snprintf(text, sizeof text, "{\"%s\":{\"aws:CurrentTime\":\"%s\"}}",
                           asks[i].operator, spelled[k]);
            from.now_ms = NOW - 1000;
            check(text, &from, asks[i].before);
            from.now_ms = NOW;
            check(text, &from, asks[i].same);
            from.now_ms = NOW + 1000;
            check(text, &from, asks[i].after);
        }
    /* one of several is enough, and a negated one wants none */
    const struct policy_origin from = { .now_ms = NOW };
    check("{\"DateEquals\":{\"aws:CurrentTime\":[\"2020-01-01\",\"2027-01-31\"]}}", &from, true);
    check("{\"DateNotEquals\":{\"aws:CurrentTime\":[\"2020-01-01\",\"2027-01-31\"]}}", &from,
          false);
    check("{\"DateGreaterThan\":{\"aws:CurrentTime\":\"2027-01-30\"},"
          "\"DateLessThan\":{\"aws:CurrentTime\":\"2027-02-01\"}}",
          &from, true);
}

TEST(policy_origin, what_can_never_hold_is_refused_when_it_is_read)
{
    (void)state;
    static const struct {
        const char *condition, *says;
    } bad[] = {
        { "{\"StringEquals\":{\"aws:SourceIp\":\"192.0.2.7\"}}",
          "\"aws:SourceIp\" takes IpAddress and NotIpAddress and Null, not StringEquals" },
        { "{\"IpAddress\":{\"aws:ResourceTag/net\":\"192.0.2.7\"}}", "not IpAddress" },
        { "{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2\"}}", "neither an address nor a range" },
        { "{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/33\"}}", "neither an address" },
        { "{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/\"}}", "neither an address" },
        { "{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/-1\"}}", "neither an address" },
        { "{\"IpAddress\":{\"aws:SourceIp\":\"2001:db8::/129\"}}", "neither an address" },
        { "{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.*\"}}", "neither an address" },
        { "{\"IpAddress\":{\"aws:SourceIp\":\"\"}}", "neither an address" },
        { "{\"IpAddress\":{\"aws:SourceIp\":[]}}", "a string or a list" },
        { "{\"IpAddress\":{\"aws:VpcSourceIp\":\"192.0.2.7\"}}", "\"aws:VpcSourceIp\"" },
        { "{\"StringEquals\":{\"aws:SecureTransport\":\"true\"}}", "takes Bool and Null" },
        { "{\"Bool\":{\"aws:SecureTransport\":\"yes\"}}", "neither \"true\"" },
        { "{\"Bool\":{\"aws:CurrentTime\":\"true\"}}", "not Bool" },
        { "{\"DateLessThan\":{\"aws:TagKeys\":\"2027-01-31\"}}", "not DateLessThan" },
        { "{\"DateLessThan\":{\"aws:CurrentTime\":\"tomorrow\"}}", "\"tomorrow\" is no time" },
        { "{\"DateLessThan\":{\"aws:CurrentTime\":\"2027-02-30\"}}", "is no time" },
        { "{\"DateLessThan\":{\"aws:CurrentTime\":\"2027-01\"}}", "is no time" },
        { "{\"DateLessThan\":{\"aws:CurrentTime\":1801353600}}", "a string or a list" },
        { "{\"DateNotLessThan\":{\"aws:CurrentTime\":\"2027-01-31\"}}", "\"DateNotLessThan\"" },
        { "{\"NumericLessThan\":{\"aws:CurrentTime\":\"1\"}}", "is not supported" },
        { "{\"BinaryEquals\":{\"aws:TagKeys\":\"1\"}}", "is not supported" },
        { "{\"NullIfExists\":{\"aws:SourceIp\":true}}", "is not supported" },
        { "{\"Null\":{\"aws:EpochTime\":true}}", "\"aws:EpochTime\"" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char json[400];
        struct policy *p = NULL;
        struct err err = { 0 };
        (void)snprintf(json, sizeof json,
                       "{\"Statement\":[{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\","
                       "\"Condition\":%s}]}",
                       bad[i].condition);
        err_code rc = policy_parse(sv_from(json), &p, &err);
        if (rc != ERR_INVALID || strstr(err.msg, bad[i].says) == NULL ||
            strstr(err.msg, "statement 1") == NULL)
            fail_msg("%s: %s", bad[i].condition, err.msg);
    }
}

TEST_MAIN(T(policy_origin, an_address_is_in_a_range_or_is_not),
          T(policy_origin, an_address_that_cannot_be_read_is_refused_both_ways),
          T(policy_origin, the_way_of_a_request_is_secure_or_is_not),
          T(policy_origin, times_are_compared_by_the_second),
          T(policy_origin, what_can_never_hold_is_refused_when_it_is_read))

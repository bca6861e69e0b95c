/* What IAM's documents say about the elements, case by case, and everything that is refused. */
#include "test.h"

#include "auth/policy.h"
#include "base/buf.h"

#define STORE \
    "arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/0123456789abcdef0123456789abcdef"
#define ROLE            "arn:aws:iam::000000000000:role/export"
#define ALLOW(rest)     "{\"Effect\":\"Allow\"," rest "}"
#define DENY(rest)      "{\"Effect\":\"Deny\"," rest "}"
#define DOC(statements) "{\"Version\":\"2012-10-17\",\"Statement\":[" statements "]}"

static policy_decision decide(const char *json, const char *action, const char *resource,
                              const struct policy_context *context)
{
    struct policy *p = NULL;
    OK(policy_parse(sv_from(json), &p, e));
    policy_decision d = policy_decide(p, sv_from(action), sv_from(resource), context);
    policy_free(p);
    return d;
}

#define ASK(want, json, action, resource) \
    assert_int_equal(decide((json), (action), (resource), NULL), (want))

TEST(policy, nothing_is_allowed_that_is_not_said)
{
    (void)state;
    const char *p = DOC(ALLOW("\"Action\":\"healthlake:ListFHIRDatastores\",\"Resource\":\"*\""));
    ASK(POLICY_ALLOWED, p, "healthlake:ListFHIRDatastores", "*");
    ASK(POLICY_ALLOWED, p, "healthlake:ListFHIRDatastores", STORE);
    ASK(POLICY_NOT_ALLOWED, p, "healthlake:ListFHIRDatastore", "*");
    ASK(POLICY_NOT_ALLOWED, p, "healthlake:ListFHIRDatastoresX", "*");
    ASK(POLICY_NOT_ALLOWED, p, "iam:PassRole", ROLE);
}

TEST(policy, a_deny_wins_wherever_it_stands)
{
    (void)state;
    const char *all = ALLOW("\"Action\":\"*\",\"Resource\":\"*\"");
    char json[600];
    const char *deny = DENY("\"Action\":\"healthlake:Delete*\",\"Resource\":\"" STORE "\"");
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(json, sizeof json, "{\"Statement\":[%s,%s]}", i ? all : deny,
                       i ? deny : all);
        ASK(POLICY_DENIED, json, "healthlake:DeleteFHIRDatastore", STORE);
        ASK(POLICY_ALLOWED, json, "healthlake:DeleteFHIRDatastore", STORE "0");
        ASK(POLICY_ALLOWED, json, "healthlake:ReadResource", STORE);
    }
}

TEST(policy, it_tells_by_which_statement_it_decided)
{
    (void)state;
    const char *json = DOC(DENY("\"Sid\":\"No\",\"Action\":\"a:X\",\"Resource\":\"*\"") "," ALLOW(
        "\"Sid\":\"One\",\"Action\":\"a:R*\",\"Resource\":\"*\"") "," ALLOW("\"Action\":\"a:*\","
                                                                            "\"Resource\":\"*\""));
    const struct {
        const char *action, *sid;
        size_t statement;
    } cases[] = {
        { "a:Read", "One", 2 }, { "a:Write", "", 3 }, { "a:X", "No", 1 }, { "b:X", "", 0 }
    };
    struct policy *p = NULL;
    OK(policy_parse(sv_from(json), &p, e));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct policy_by by;
        sv action = sv_from(cases[i].action);
        assert_int_equal(policy_decide_by(p, action, SV_LIT(STORE), NULL, &by),
                         policy_decide(p, action, SV_LIT(STORE), NULL));
        assert_int_equal(by.statement, cases[i].statement);
        assert_true(sv_eq_cstr(by.sid, cases[i].sid));
    }
    policy_free(p);
}

TEST(policy, actions_match_without_case_and_with_wildcards)
{
    (void)state;
    const char *p = DOC(ALLOW("\"Action\":[\"HealthLake:DESCRIBE*\",\"healthlake:?agResource\","
                              "\"iam:*R*e\"],\"Resource\":\"*\""));
    ASK(POLICY_ALLOWED, p, "healthlake:DescribeFHIRExportJob", "*");
    ASK(POLICY_ALLOWED, p, "healthlake:TagResource", "*");
    ASK(POLICY_NOT_ALLOWED, p, "healthlake:UntagResource", "*");
    ASK(POLICY_ALLOWED, p, "iam:PassRole", "*");
    ASK(POLICY_NOT_ALLOWED, p, "iam:PassRoles", "*");
    p = DOC(ALLOW("\"NotAction\":\"healthlake:Delete*\",\"Resource\":\"*\""));
    ASK(POLICY_ALLOWED, p, "healthlake:ReadResource", "*");
    ASK(POLICY_NOT_ALLOWED, p, "healthlake:deleteResource", "*");
}

TEST(policy, resources_match_part_by_part)
{
    (void)state;
    const char *p =
        DOC(ALLOW("\"Action\":\"*\",\"Resource\":[\"arn:aws:healthlake:*:*:datastore/fhir/*\"]"));
    ASK(POLICY_ALLOWED, p, "healthlake:ReadResource", STORE);
    ASK(POLICY_NOT_ALLOWED, p, "healthlake:ReadResource", ROLE);
    ASK(POLICY_NOT_ALLOWED, p, "healthlake:ListFHIRDatastores", "*");
    ASK(POLICY_NOT_ALLOWED, p, "healthlake:ReadResource", "");
    p = DOC(ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:*:datastore:x:y:z\""));
    ASK(POLICY_NOT_ALLOWED, p, "a:B", "arn:aws:health:lake:datastore:x:y:z"); /* no '*' over ':' */
    p = DOC(ALLOW("\"Action\":\"*\",\"Resource\":\"arn:aws:logs:::group:*:end\""));
    ASK(POLICY_ALLOWED, p, "a:B", "arn:aws:logs:::group:x:y:end"); /* but in the last part */
    p = DOC(ALLOW("\"Action\":\"*\",\"Resource\":\"" STORE "\""));
    ASK(POLICY_ALLOWED, p, "a:B", STORE);
    ASK(POLICY_NOT_ALLOWED, p, "a:B",
        "arn:aws:healthlake:us-east-1:000000000000:datastore/FHIR/"
        "0123456789abcdef0123456789abcdef");
    p = DOC(ALLOW("\"Action\":\"*\",\"NotResource\":\"arn:aws:iam::*:role/*\""));
    ASK(POLICY_ALLOWED, p, "a:B", STORE);
    ASK(POLICY_NOT_ALLOWED, p, "iam:PassRole", ROLE);
}

/* Matching by trying every split: slow and plain. */
static bool glob_plain(const char *p, const char *t)
{
    if (*p == 0)
        return *t == 0;
    if (*p == '*')
        return glob_plain(p + 1, t) || (*t && glob_plain(p, t + 1));
    return *t && (*p == '?' || *p == *t) && glob_plain(p + 1, t + 1);
}

TEST(policy, wildcards_agree_with_trying_every_split)
{
    (void)state;
    static const char letters[] = "ab*?";
    size_t matches = 0;
    for (unsigned code = 0; code < 4096; code++) { /* every pattern of 6 of these letters */
        char pattern[8] = { 0 }, json[200];
        for (unsigned i = 0, c = code; i < 6; i++, c /= 4)
            pattern[i] = letters[c % 4];
        (void)snprintf(json, sizeof json,
                       "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":"
                       "\"arn:::::%s\"}}",
                       pattern);
        struct policy *p = NULL;
        OK(policy_parse(sv_from(json), &p, e));
        for (unsigned bits = 0; bits < 254; bits++) { /* every text of 0..6 of a and b */
            char text[8] = { 0 }, arn[32];
            unsigned n = 0;
            while ((bits + 2) >> (n + 1))
                n++;
            for (unsigned i = 0; i + 1 < n; i++)
                text[i] = (bits + 2) >> i & 1 ? 'b' : 'a';
            (void)snprintf(arn, sizeof arn, "arn:::::%s", text);
            bool want = glob_plain(pattern, text);
            matches += want;
            if ((policy_decide(p, SV_LIT("x:Y"), sv_from(arn), NULL) == POLICY_ALLOWED) != want)
                fail_msg("%s and %s", pattern, text);
        }
        policy_free(p);
    }
    assert_true(matches > 1000);
}

TEST(policy, a_pattern_of_many_stars_ends)
{
    (void)state;
    static char json[30000], arn[20000];
    size_t n =
        (size_t)snprintf(json, sizeof json,
                         "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":"
                         "\"arn:::::");
    for (size_t i = 0; i < 2000; i++, n += 2)
        memcpy(json + n, "*a", 2);
    (void)snprintf(json + n, sizeof json - n, "*b\"}}");
    memset(arn, 'a', sizeof arn - 1);
    memcpy(arn, "arn:::::", 8);
    ASK(POLICY_NOT_ALLOWED, json, "x:Y", arn);
    arn[sizeof arn - 2] = 'b';
    ASK(POLICY_ALLOWED, json, "x:Y", arn);
}

/* ---- conditions ---- */

struct ask {
    const char *condition;
    struct policy_fact facts[3];
    bool holds;
};

#define TAG(v)                         \
    {                                  \
        { "aws:ResourceTag/env", 19 }, \
        {                              \
            v, sizeof v - 1            \
        }                              \
    }
#define KEY(v)                 \
    {                          \
        { "aws:TagKeys", 11 }, \
        {                      \
            v, sizeof v - 1    \
        }                      \
    }
#define ON_TAG(v) ":{\"aws:ResourceTag/env\":" v "}}"
#define ON_KEY(v) ":{\"aws:TagKeys\":" v "}}"

TEST(policy, each_operator_holds_for_what_iam_says)
{
    (void)state;
    static const struct ask asks[] = {
        { "{\"StringEquals\"" ON_TAG("\"test\""), { TAG("test") }, true },
        { "{\"StringEquals\"" ON_TAG("\"test\""), { TAG("Test") }, false },
        { "{\"StringEquals\"" ON_TAG("\"te*\""), { TAG("test") }, false },
        { "{\"StringEquals\"" ON_TAG("\"test\""), { { { 0 } } }, false },
        { "{\"StringEquals\"" ON_TAG("[\"a\",\"test\"]"), { TAG("test") }, true },
        { "{\"StringEquals\":{\"AWS:resourcetag/ENV\":\"test\"}}", { TAG("test") }, true },
        { "{\"StringEquals\":{\"aws:ResourceTag/environment\":\"test\"}}", { TAG("test") }, false },
        { "{\"StringEqualsIfExists\"" ON_TAG("\"test\""), { { { 0 } } }, true },
        { "{\"StringEqualsIfExists\"" ON_TAG("\"test\""), { TAG("x") }, false },
        { "{\"StringNotEquals\"" ON_TAG("\"test\""), { TAG("x") }, true },
        { "{\"StringNotEquals\"" ON_TAG("\"test\""), { TAG("test") }, false },
        { "{\"StringNotEquals\"" ON_TAG("[\"test\",\"x\"]"), { TAG("x") }, false },
        { "{\"StringNotEquals\"" ON_TAG("\"test\""), { { { 0 } } }, true },
        { "{\"StringEqualsIgnoreCase\"" ON_TAG("\"test\""), { TAG("TEST") }, true },
        { "{\"StringNotEqualsIgnoreCase\"" ON_TAG("\"test\""), { TAG("TEST") }, false },
        { "{\"StringLike\"" ON_TAG("\"t?s*\""), { TAG("testing") }, true },
        { "{\"StringLike\"" ON_TAG("\"t?s*\""), { TAG("Testing") }, false },
        { "{\"StringNotLike\"" ON_TAG("\"t*\""), { TAG("test") }, false },
        { "{\"ArnLike\"" ON_TAG("\"arn:aws:iam::*:role/*\""), { TAG(ROLE) }, true },
        { "{\"ArnEquals\"" ON_TAG("\"arn:aws:iam::*:role/*\""), { TAG(ROLE) }, true },
        { "{\"ArnLike\"" ON_TAG("\"arn:aws:*:::role/*\""),
          { TAG("arn:aws:i:am:::role/x") },
          false },
        { "{\"ArnLike\"" ON_TAG("\"arn:aws:iam::*:role/*\""), { TAG("no arn") }, false },
        { "{\"ArnNotLike\"" ON_TAG("\"arn:aws:iam::*:role/*\""), { TAG(ROLE) }, false },
        { "{\"ArnNotEquals\"" ON_TAG("\"arn:aws:iam::*:role/*\""), { TAG(STORE) }, true },
        { "{\"Bool\"" ON_TAG("\"true\""), { TAG("True") }, true },
        { "{\"Bool\"" ON_TAG("true"), { TAG("true") }, true },
        { "{\"Bool\"" ON_TAG("false"), { TAG("true") }, false },
        { "{\"Bool\"" ON_TAG("false"), { { { 0 } } }, false },
        { "{\"BoolIfExists\"" ON_TAG("false"), { { { 0 } } }, true },
        { "{\"Null\"" ON_TAG("\"true\""), { { { 0 } } }, true },
        { "{\"Null\"" ON_TAG("true"), { TAG("x") }, false },
        { "{\"Null\"" ON_TAG("false"), { TAG("x") }, true },
        { "{\"Null\"" ON_TAG("false"), { { { 0 } } }, false },
        { "{\"ForAllValues:StringEquals\"" ON_KEY("[\"a\",\"b\"]"), { KEY("a"), KEY("b") }, true },
        { "{\"ForAllValues:StringEquals\"" ON_KEY("[\"a\",\"b\"]"), { KEY("a"), KEY("c") }, false },
        { "{\"ForAllValues:StringEquals\"" ON_KEY("\"a\""), { { { 0 } } }, true },
        { "{\"ForAllValues:StringNotEquals\"" ON_KEY("\"a\""), { KEY("b"), KEY("a") }, false },
        { "{\"ForAllValues:StringNotEquals\"" ON_KEY("\"a\""), { KEY("b"), KEY("c") }, true },
        { "{\"ForAnyValue:StringEquals\"" ON_KEY("\"a\""), { KEY("b"), KEY("a") }, true },
        { "{\"ForAnyValue:StringEquals\"" ON_KEY("\"a\""), { KEY("b"), KEY("c") }, false },
        { "{\"ForAnyValue:StringEquals\"" ON_KEY("\"a\""), { { { 0 } } }, false },
        { "{\"ForAnyValue:StringNotEquals\"" ON_KEY("\"a\""), { KEY("a"), KEY("b") }, true },
        { "{\"ForAnyValue:StringNotEquals\"" ON_KEY("\"a\""), { KEY("a"), KEY("a") }, false },
        { "{\"ForAnyValue:StringNotEquals\"" ON_KEY("\"a\""), { { { 0 } } }, false },
        { "{\"ForAnyValue:StringLikeIfExists\"" ON_KEY("\"a*\""), { { { 0 } } }, true },
        /* all of several must hold */
        { "{\"StringEquals\":{\"aws:ResourceTag/env\":\"test\",\"aws:RequestTag/x\":\"1\"}}",
          { TAG("test") },
          false },
        { "{\"StringEquals\":{\"aws:ResourceTag/env\":\"test\",\"aws:RequestTag/x\":\"1\"}}",
          { TAG("test"), { { "aws:RequestTag/x", 16 }, { "1", 1 } } },
          true },
        { "{\"StringLike\"" ON_TAG("\"*\""), { TAG("") }, true },
        { "{}", { { { 0 } } }, true },
    };
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        char json[600];
        size_t n = 0;
        while (n < 3 && asks[i].facts[n].key.ptr)
            n++;
        struct policy_context context = { asks[i].facts, n, false };
        (void)snprintf(json, sizeof json,
                       "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\","
                       "\"Condition\":%s}}",
                       asks[i].condition);
        policy_decision want = asks[i].holds ? POLICY_ALLOWED : POLICY_NOT_ALLOWED;
        if (decide(json, "healthlake:X", STORE, &context) != want)
            fail_msg("%s with %zu facts, first \"%.*s\"", asks[i].condition, n,
                     SV_FMT(asks[i].facts[0].value));
        if (n == 0) /* no context is the same as an empty one */
            assert_int_equal(decide(json, "healthlake:X", STORE, NULL), want);
    }
}

/* ---- what cannot be told ---- */

/* Every operator with a condition that a caller could hope to meet through a tag he set himself. */
static const char *const hopes[] = {
    "{\"StringEquals\"" ON_TAG("\"a\""),
    "{\"StringEqualsIfExists\"" ON_TAG("\"a\""),
    "{\"StringNotEquals\"" ON_TAG("\"z\""),
    "{\"StringNotEqualsIfExists\"" ON_TAG("\"z\""),
    "{\"StringEqualsIgnoreCase\"" ON_TAG("\"A\""),
    "{\"StringNotEqualsIgnoreCase\"" ON_TAG("\"Z\""),
    "{\"StringLike\"" ON_TAG("\"*\""),
    "{\"StringNotLike\"" ON_TAG("\"z*\""),
    "{\"ArnNotLike\"" ON_TAG("\"" ROLE "\""),
    "{\"ArnNotEqualsIfExists\"" ON_TAG("\"" ROLE "\""),
    "{\"Null\"" ON_TAG("false"),
    "{\"Null\"" ON_TAG("true"),
    "{\"BoolIfExists\"" ON_TAG("\"true\""),
    "{\"ForAnyValue:StringEquals\"" ON_TAG("\"a\""),
    "{\"ForAnyValue:StringNotEquals\"" ON_TAG("\"z\""),
    "{\"ForAllValues:StringLike\"" ON_TAG("\"*\""),
    "{\"ForAllValues:StringNotEquals\"" ON_TAG("\"z\""),
    "{\"ForAllValues:StringEqualsIfExists\"" ON_TAG("[\"a\",\"b\"]"),
};

/* With it alone, and with it as a Deny beside an Allow of everything. */
static void refused_both_ways(const char *condition, const struct policy_context *context)
{
    for (size_t i = 0; i < 2; i++) {
        char json[600];
        (void)snprintf(json, sizeof json,
                       "{\"Statement\":[%s\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":%s}]}",
                       i ? ALLOW("\"Action\":\"*\",\"Resource\":\"*\"") ",{\"Effect\":\"Deny\","
                         : "{\"Effect\":\"Allow\",",
                       condition);
        policy_decision d = decide(json, "healthlake:ReadResource", STORE, context);
        if (d != (i ? POLICY_DENIED : POLICY_NOT_ALLOWED))
            fail_msg("%s is met as %s", condition, i ? "no Deny" : "an Allow");
    }
}

TEST(policy, a_tag_in_two_letter_cases_holds_for_a_deny_and_for_no_allow)
{
    (void)state;
    static const struct policy_fact pairs[][2] = {
        { { { "aws:ResourceTag/env", 19 }, { "a", 1 } },
          { { "aws:ResourceTag/ENV", 19 }, { "b", 1 } } },
        { { { "aws:ResourceTag/Env", 19 }, { "b", 1 } },
          { { "aws:ResourceTag/env", 19 }, { "a", 1 } } },
        { { { "aws:ResourceTag/env", 19 }, { "a", 1 } },
          { { "aws:ResourceTag/eNV", 19 }, { "a", 1 } } },
        { { { "aws:resourcetag/env", 19 }, { "", 0 } },
          { { "AWS:RESOURCETAG/ENV", 19 }, { "a", 1 } } },
    };
    for (size_t p = 0; p < sizeof pairs / sizeof pairs[0]; p++)
        for (size_t i = 0; i < sizeof hopes / sizeof hopes[0]; i++)
            refused_both_ways(hopes[i], &(struct policy_context){ pairs[p], 2, false });
    /* a request's tags likewise */
    static const struct policy_fact sent[] = { { { "aws:RequestTag/env", 18 }, { "a", 1 } },
                                               { { "aws:RequestTag/ENV", 18 }, { "b", 1 } } };
    refused_both_ways("{\"StringEquals\":{\"aws:RequestTag/env\":\"a\"}}",
                      &(struct policy_context){ sent, 2, false });
    refused_both_ways("{\"StringNotEquals\":{\"aws:RequestTag/Env\":\"z\"}}",
                      &(struct policy_context){ sent, 2, false });
    /* another tag beside it does not matter */
    static const struct policy_fact other[] = {
        TAG("a"), { { "aws:ResourceTag/environment", 27 }, { "b", 1 } }
    };
    assert_int_equal(
        decide("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\","
               "\"Condition\":{\"StringEquals\"" ON_TAG("\"a\"") "}}",
               "a:B", STORE, &(struct policy_context){ other, 2, false }),
        POLICY_ALLOWED);
}

TEST(policy, tags_of_what_is_not_there_hold_for_a_deny_and_for_no_allow)
{
    (void)state;
    for (size_t i = 0; i < sizeof hopes / sizeof hopes[0]; i++)
        refused_both_ways(hopes[i], &(struct policy_context){ NULL, 0, true });
    /* what does not hang on its tags is decided as ever */
    struct policy_context none = { NULL, 0, true };
    const char *p = DOC(ALLOW("\"Action\":\"a:*\",\"Resource\":\"" STORE "\""));
    assert_int_equal(decide(p, "a:B", STORE, &none), POLICY_ALLOWED);
    assert_int_equal(decide(p, "a:B", STORE "0", &none), POLICY_NOT_ALLOWED);
    p = DOC(ALLOW(
        "\"Action\":\"a:*\",\"Resource\":\"*\",\"Condition\":{\"ForAllValues:StringEquals\"" ON_KEY(
            "\"a\"") ""));
    assert_int_equal(decide(p, "a:B", STORE, &none), POLICY_ALLOWED);
}

/* A condition on a tag finds it in any letter case: so must one on the keys that may be set. */
TEST(policy, tag_keys_in_another_letter_case_are_those_that_a_deny_names)
{
    (void)state;
    static const struct {
        const char *effect, *condition;
        bool holds;
    } asks[] = {
        { "Deny", "{\"ForAnyValue:StringEquals\"" ON_KEY("\"team\""), true },
        { "Deny", "{\"ForAnyValue:StringLike\"" ON_KEY("\"te?m\""), true },
        { "Deny", "{\"StringEquals\"" ON_KEY("\"team\""), true },
        { "Deny", "{\"ForAllValues:StringEquals\"" ON_KEY("[\"team\",\"x\"]"), true },
        { "Deny", "{\"ForAnyValue:StringNotEquals\"" ON_KEY("\"team\""), true },
        { "Deny", "{\"StringNotLike\"" ON_KEY("\"te*\""), true },
        { "Allow", "{\"ForAnyValue:StringEquals\"" ON_KEY("\"team\""), false },
        { "Allow", "{\"ForAllValues:StringLike\"" ON_KEY("\"te*\""), false },
        { "Allow", "{\"ForAllValues:StringNotEquals\"" ON_KEY("\"team\""), false },
        { "Allow", "{\"ForAnyValue:StringNotLike\"" ON_KEY("\"te*\""), false },
        { "Allow", "{\"ForAllValues:StringEqualsIgnoreCase\"" ON_KEY("\"team\""), true },
        { "Allow", "{\"ForAllValues:StringEquals\"" ON_KEY("\"TEAM\""), true },
    };
    const struct policy_fact key = KEY("TEAM");
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        char json[600];
        bool deny = asks[i].effect[0] == 'D';
        (void)snprintf(json, sizeof json,
                       "{\"Statement\":[%s{\"Effect\":\"%s\",\"Action\":\"*\",\"Resource\":\"*\","
                       "\"Condition\":%s}]}",
                       deny ? ALLOW("\"Action\":\"*\",\"Resource\":\"*\"") "," : "", asks[i].effect,
                       asks[i].condition);
        policy_decision d = decide(json, "healthlake:TagResource", STORE,
                                   &(struct policy_context){ &key, 1, false });
        if (d != (asks[i].holds ? deny ? POLICY_DENIED : POLICY_ALLOWED
                  : deny        ? POLICY_ALLOWED
                                : POLICY_NOT_ALLOWED))
            fail_msg("%s %s", asks[i].effect, asks[i].condition);
    }
}

TEST(policy, it_tells_whether_it_could_allow_an_action)
{
    (void)state;
    static const struct {
        const char *json;
        bool could;
    } asks[] = {
        { DOC(ALLOW("\"Action\":\"iam:PassRole\",\"Resource\":\"" ROLE "\"")), true },
        { DOC(ALLOW("\"Action\":\"*\",\"Resource\":\"*\"")), true },
        { DOC(ALLOW("\"Action\":\"IAM:pass*\",\"Resource\":\"*\",\"Condition\":{\"StringEquals\":{"
                    "\"iam:PassedToService\":\"x\"}}")),
          true },
        { DOC(ALLOW("\"NotAction\":\"healthlake:*\",\"Resource\":\"*\"")), true },
        { DOC(ALLOW("\"Action\":[\"healthlake:*\",\"iam:*Role*\"],\"NotResource\":\"" STORE "\"")),
          true },
        { DOC(ALLOW("\"Action\":\"healthlake:*\",\"Resource\":\"*\"")), false },
        { DOC(ALLOW("\"NotAction\":\"iam:*\",\"Resource\":\"*\"")), false },
        { DOC(DENY("\"Action\":\"iam:PassRole\",\"Resource\":\"*\"")), false },
        { DOC(ALLOW("\"Action\":\"*\",\"Resource\":\"*\"") "," DENY(
              "\"Action\":\"iam:*\",\"Resource\":\"*\"")),
          false },
        { DOC(ALLOW("\"Action\":\"*\",\"Resource\":\"*\"") "," DENY(
              "\"Action\":\"iam:*\",\"Resource\":\"" ROLE "\"")),
          true },
        { DOC(ALLOW("\"Action\":\"*\",\"Resource\":\"*\"") "," DENY(
              "\"Action\":\"iam:*\",\"Resource\":\"*\",\"Condition\":{\"Bool\":{\"aws:TagKeys\":"
              "true}}")),
          true },
    };
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        struct policy *p = NULL;
        OK(policy_parse(sv_from(asks[i].json), &p, e));
        if (policy_could_allow(p, SV_LIT("iam:PassRole")) != asks[i].could)
            fail_msg("%s", asks[i].json);
        policy_free(p);
    }
}

TEST(policy, pass_role_to_this_service_only)
{
    (void)state;
    const char *p =
        DOC(ALLOW("\"Action\":\"iam:PassRole\",\"Resource\":\"" ROLE "\",\"Condition\":{"
                  "\"StringEquals\":{\"iam:PassedToService\":\"healthlake.amazonaws.com\"}}"));
    struct policy_fact fact = { SV_LIT("iam:PassedToService"), SV_LIT("healthlake.amazonaws.com") };
    struct policy_context context = { &fact, 1, false };
    assert_int_equal(decide(p, "iam:PassRole", ROLE, &context), POLICY_ALLOWED);
    assert_int_equal(decide(p, "iam:PassRole", ROLE "2", &context), POLICY_NOT_ALLOWED);
    fact.value = SV_LIT("lambda.amazonaws.com");
    assert_int_equal(decide(p, "iam:PassRole", ROLE, &context), POLICY_NOT_ALLOWED);
    assert_int_equal(decide(p, "iam:PassRole", ROLE, NULL), POLICY_NOT_ALLOWED);
}

/* ---- reading ---- */

#define S(member) ALLOW(member ",\"Action\":\"a:b\",\"Resource\":\"*\"")

TEST(policy, what_we_cannot_keep_is_refused)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        { "", "" },
        { "[]", "object" },
        { "{}", "Statement" },
        { "{\"Statement\":[]}", "Statement" },
        { "{\"Statement\":null}", "Statement" },
        { "{\"Statement\":\"x\"}", "Statement" },
        { "{\"Statement\":[1]}", "statement 1" },
        { "{\"Version\":\"2020-01-01\",\"Statement\":" S("\"Sid\":\"x\"") "}", "Version" },
        { "{\"Version\":1,\"Statement\":" S("\"Sid\":\"x\"") "}", "Version" },
        { "{\"Other\":1,\"Statement\":" S("\"Sid\":\"x\"") "}", "Other" },
        { "{\"Statement\":" S("\"Sid\":\"x\"") ",\"Statement\":" S("\"Sid\":\"x\"") "}", "twice" },
        { DOC(S("\"Sid\":1")), "Sid" },
        { DOC(S("\"Principal\":\"*\"")), "Principal" },
        { DOC(S("\"sid\":\"x\"")), "sid" },
        { DOC(S("\"Effect\":\"Deny\"")), "twice" },
        { DOC(S("\"NotAction\":\"a:b\"")), "NotAction" },
        { DOC(S("\"NotResource\":\"*\"")), "NotResource" },
        { DOC("{\"Action\":\"a:b\",\"Resource\":\"*\"}"), "Effect" },
        { DOC("{\"Effect\":\"allow\",\"Action\":\"a:b\",\"Resource\":\"*\"}"), "Effect" },
        { DOC("{\"Effect\":null,\"Action\":\"a:b\",\"Resource\":\"*\"}"), "Effect" },
        { DOC(ALLOW("\"Action\":\"a:b\"")), "Resource" },
        { DOC(ALLOW("\"Resource\":\"*\"")), "Action" },
        { DOC(ALLOW("\"Action\":[],\"Resource\":\"*\"")), "Action" },
        { DOC(ALLOW("\"Action\":[\"a:b\",1],\"Resource\":\"*\"")), "Action" },
        { DOC(ALLOW("\"Action\":{\"a\":1},\"Resource\":\"*\"")), "Action" },
        { DOC(ALLOW("\"Action\":\"\",\"Resource\":\"*\"")), "action" },
        { DOC(ALLOW("\"Action\":\"ab\",\"Resource\":\"*\"")), "action" },
        { DOC(ALLOW("\"Action\":\"a:\",\"Resource\":\"*\"")), "action" },
        { DOC(ALLOW("\"Action\":\":b\",\"Resource\":\"*\"")), "action" },
        { DOC(ALLOW("\"Action\":\"a:b:c\",\"Resource\":\"*\"")), "action" },
        { DOC(ALLOW("\"Action\":\"a:b c\",\"Resource\":\"*\"")), "action" },
        { DOC(ALLOW("\"Action\":\"a:b\\u0000\",\"Resource\":\"*\"")), "action" },
        { DOC(ALLOW("\"Action\":\"a:b\",\"Resource\":\"datastore/x\"")), "ARN" },
        { DOC(ALLOW("\"Action\":\"a:b\",\"Resource\":\"arn:aws:healthlake:*\"")), "ARN" },
        { DOC(ALLOW("\"Action\":\"a:b\",\"Resource\":\"arn:aws:s3:::\"")), "ARN" },
        { DOC(ALLOW("\"Action\":\"a:b\",\"Resource\":\"arn:aws:s3:::${aws:username}\"")),
          "variable" },
        { DOC(S("\"Condition\":[]")), "Condition" },
        { DOC(S("\"Condition\":{\"StringEquals\":{}}")), "operator" },
        { DOC(S("\"Condition\":{\"StringEquals\":\"x\"}")), "operator" },
        { DOC(S("\"Condition\":{\"IpAddress\":{\"aws:TagKeys\":\"x\"}}")), "IpAddress" },
        { DOC(S("\"Condition\":{\"stringequals\":{\"aws:TagKeys\":\"x\"}}")), "stringequals" },
        { DOC(S("\"Condition\":{\"NullIfExists\":{\"aws:TagKeys\":\"true\"}}")), "NullIfExists" },
        { DOC(S("\"Condition\":{\"ForSome:StringLike\":{\"aws:TagKeys\":\"x\"}}")), "ForSome" },
        { DOC(S("\"Condition\":{\"StringEquals\":{\"aws:SourceIp\":\"x\"}}")), "aws:SourceIp" },
        { DOC(S("\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/\":\"x\"}}")), "ResourceTag" },
        { DOC(S("\"Condition\":{\"StringEquals\":{\"aws:TagKeys\":[]}}")), "value" },
        { DOC(S("\"Condition\":{\"StringEquals\":{\"aws:TagKeys\":true}}")), "value" },
        { DOC(S("\"Condition\":{\"StringEquals\":{\"aws:TagKeys\":\"${x}\"}}")), "variable" },
        { DOC(S("\"Condition\":{\"Bool\":{\"aws:TagKeys\":\"yes\"}}")), "yes" },
        { DOC(S("\"Condition\":{\"Null\":{\"aws:TagKeys\":[\"true\",\"false\"]}}")), "Null" },
        { DOC(S("\"Condition\":{\"ArnLike\":{\"aws:TagKeys\":\"x\"}}")), "ARN" },
        { DOC(S("\"Condition\":{\"StringLike\":{\"aws:TagKeys\":\"x\",\"aws:tagkeys\":\"y\"}}")),
          "twice" },
        { DOC(S("\"Sid\":\"1\"") "," S("\"Sid\":2")), "statement 2" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct policy *p = NULL;
        struct err err = { 0 };
        err_code rc = policy_parse(sv_from(bad[i].json), &p, &err);
        if (rc != ERR_INVALID || strstr(err.msg, bad[i].says) == NULL)
            fail_msg("%s: %s, %s", bad[i].json, err_code_name(rc), err.msg);
        assert_null(p);
        assert_int_equal(policy_parse(sv_from(bad[i].json), &p, NULL), ERR_INVALID);
    }
}

TEST(policy, a_fault_is_told_with_its_line)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        { "{\n\"Statement\": [\n", "line 3: JSON is broken at byte" },
        { "{\"Statement\": ]\n\n}", "line 1: JSON is broken at byte" },
        { "{\"Statement\":\n [\n  " ALLOW(
              "\"Action\":\"*\",\"Resource\":\"*\"") ",\n\n  {\n   "
                                                     "\"Effect\": \"Deny\", \"Action\": \"*\"}\n]}",
          "line 6, policy statement 2: must have either Resource" },
        { "\n\n{\"Id\": \"\\n\\n\", \"Statement\": {\"Effect\": \"Maybe\", \"Action\": \"*\",\n"
          "\"Resource\": \"*\"}}",
          "line 3, policy statement 1: Effect" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct policy *p = NULL;
        struct err err = { 0 };
        assert_int_equal(policy_parse(sv_from(bad[i].json), &p, &err), ERR_INVALID);
        if (strstr(err.msg, bad[i].says) == NULL)
            fail_msg("%s: %s", bad[i].json, err.msg);
    }
}

TEST(policy, every_prefix_of_a_good_policy_is_refused)
{
    (void)state;
    static const char good[] =
        "{\"Version\":\"2008-10-17\",\"Id\":\"x\",\"Statement\":{\"Sid\":\"\",\"Effect\":\"Deny\","
        "\"NotAction\":[\"a:b\"],\"NotResource\":\"arn:aws:s3:::*\",\"Condition\":{\"ForAnyValue:"
        "StringLike\":{\"aws:TagKeys\":[\"x\"]}}}}";
    struct policy *p = NULL;
    for (size_t n = 0; n < sizeof good - 1; n++)
        FAILS(ERR_INVALID, policy_parse(sv_make(good, n), &p, e));
    OK(policy_parse(sv_from(good), &p, e));
    policy_free(p);
}

TEST(policy, too_many_statements_bytes_or_levels_are_refused)
{
    (void)state;
    struct buf b = BUF_INIT(1u << 20);
    struct policy *p = NULL;
    OK(buf_add(&b, SV_LIT("{\"Statement\":["), e));
    for (unsigned i = 0; i <= POLICY_MAX_STATEMENTS; i++)
        OK(buf_add_fmt(&b, e, "%s{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}",
                       i ? "," : ""));
    OK(buf_add(&b, SV_LIT("]}"), e));
    FAILS(ERR_TOO_LARGE, policy_parse(buf_sv(&b), &p, e));
    buf_clear(&b);
    for (unsigned i = 0; i < POLICY_MAX_BYTES; i++)
        OK(buf_add_char(&b, ' ', e));
    OK(buf_add(&b, SV_LIT(DOC(S("\"Sid\":\"x\""))), e));
    FAILS(ERR_TOO_LARGE, policy_parse(buf_sv(&b), &p, e));
    buf_clear(&b);
    for (unsigned i = 0; i < 1000; i++)
        OK(buf_add_char(&b, '[', e));
    FAILS(ERR_TOO_LARGE, policy_parse(buf_sv(&b), &p, e));
    buf_done(&b);
    policy_free(NULL);
}

TEST_MAIN(T(policy, nothing_is_allowed_that_is_not_said), T(policy, a_deny_wins_wherever_it_stands),
          T(policy, it_tells_by_which_statement_it_decided),
          T(policy, actions_match_without_case_and_with_wildcards),
          T(policy, resources_match_part_by_part),
          T(policy, wildcards_agree_with_trying_every_split),
          T(policy, a_pattern_of_many_stars_ends), T(policy, each_operator_holds_for_what_iam_says),
          T(policy, a_tag_in_two_letter_cases_holds_for_a_deny_and_for_no_allow),
          T(policy, tags_of_what_is_not_there_hold_for_a_deny_and_for_no_allow),
          T(policy, tag_keys_in_another_letter_case_are_those_that_a_deny_names),
          T(policy, it_tells_whether_it_could_allow_an_action),
          T(policy, pass_role_to_this_service_only), T(policy, what_we_cannot_keep_is_refused),
          T(policy, a_fault_is_told_with_its_line),
          T(policy, every_prefix_of_a_good_policy_is_refused),
          T(policy, too_many_statements_bytes_or_levels_are_refused))

/* Who decided, and why. */
#include "test.h"

#include "auth/policy.h"
#include "base/buf.h"

#define STORE \
    "arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/0123456789abcdef0123456789abcdef"

static struct buf told;

static void say(void *ctx, const struct policy_said *said)
{
    (void)ctx;
    OK(buf_add_fmt(&told, e, "%zu%s%.*s %s %s;", said->statement, said->sid.len ? " " : "",
                   SV_FMT(said->sid), said->deny ? "deny" : "allow",
                   said->covers ? "covers" : "does not"));
    for (size_t i = 0; i < said->n_conditions; i++)
        OK(buf_add_fmt(&told, e, " %.*s %.*s %zu %s%s;", SV_FMT(said->conditions[i].operator),
                       SV_FMT(said->conditions[i].key), said->conditions[i].n_values,
                       said->conditions[i].holds ? "holds" : "fails",
                       said->conditions[i].known ? "" : " unknown"));
}

static policy_decision explain(const char *json, const char *action,
                               const struct policy_context *context)
{
    struct policy *p = NULL;
    buf_clear(&told);
    OK(policy_parse(sv_from(json), &p, e));
    policy_decision d = policy_explain(p, sv_from(action), SV_LIT(STORE), context, say, NULL);
    assert_int_equal(d, policy_decide(p, sv_from(action), SV_LIT(STORE), context));
    policy_free(p);
    return d;
}

TEST(policy_explain, each_statement_that_names_the_request_is_told)
{
    (void)state;
    const char *json =
        "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"},"
        "{\"Sid\":\"Team\",\"Effect\":\"Allow\",\"Action\":\"healthlake:*\",\"Resource\":\"*\","
        "\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/team\":[\"a\",\"b\"]},"
        "\"IpAddressIfExists\":{\"aws:SourceIp\":\"192.0.2.0/24\"}}},"
        "{\"Sid\":\"NoDelete\",\"Effect\":\"Deny\",\"Action\":\"healthlake:Delete*\","
        "\"Resource\":\"" STORE "\"}]}";
    const struct policy_fact team = { SV_LIT("aws:ResourceTag/team"), SV_LIT("a") };
    const struct policy_origin from = { .address = SV_LIT("192.0.2.7") };
    const struct policy_context context = { &team, 1, false, &from },
                                none = { NULL, 0, false, NULL };
    assert_int_equal(explain(json, "healthlake:ReadResource", &context), POLICY_ALLOWED);
    assert_sv(buf_sv(&told),
              SV_LIT("2 Team allow covers; StringEquals aws:ResourceTag/team 2 holds; "
                     "IpAddressIfExists aws:SourceIp 1 holds;"));
    assert_int_equal(explain(json, "healthlake:ReadResource", &none), POLICY_NOT_ALLOWED);
    assert_sv(buf_sv(&told),
              SV_LIT("2 Team allow does not; StringEquals aws:ResourceTag/team 2 fails unknown; "
                     "IpAddressIfExists aws:SourceIp 1 holds unknown;"));
    assert_int_equal(explain(json, "healthlake:DeleteResource", &context), POLICY_DENIED);
    assert_true(sv_ends(buf_sv(&told), SV_LIT("3 NoDelete deny covers;")));
    assert_int_equal(explain(json, "iam:PassRole", &context), POLICY_NOT_ALLOWED);
    assert_int_equal(told.len, 0);
}

static int set_up(void **state)
{
    (void)state;
    buf_init(&told, 1u << 16);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_done(&told);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(policy_explain, each_statement_that_names_the_request_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

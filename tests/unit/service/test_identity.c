/* IdentityProviderConfiguration: what it says, and what a data store may have. */
#include "test.h"

#include "service/identity.h"

#define LAMBDA "arn:aws:lambda:us-east-1:000000000000:function:idp"

static struct arena *a;

static int set_up(void **state)
{
    (void)state;
    a = arena_new(4u << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(a);
    return 0;
}

/* A configuration whose Metadata is this text. */
static yyjson_val *given(const char *strategy, const char *metadata, const char *more)
{
    struct buf b = BUF_INIT(1u << 20);
    struct json_writer w;
    yyjson_doc *doc;
    json_writer_init(&w, &b);
    json_obj(&w);
    json_kv_str(&w, "AuthorizationStrategy", sv_from(strategy));
    if (metadata)
        json_kv_str(&w, "Metadata", sv_from(metadata));
    if (more) {
        json_key(&w, more);
        json_raw(&w, strcmp(more, "IdpLambdaArn") == 0 ? SV_LIT("\"" LAMBDA "\"") : SV_LIT("true"));
    }
    json_obj_end(&w);
    OK(json_writer_end(&w, e));
    OK(json_read(a, arena_sv(a, buf_sv(&b)), 16, &doc, e));
    buf_done(&b);
    return yyjson_doc_get_root(doc);
}

#define ENDPOINTS                                                                    \
    "\"authorization_endpoint\":\"https://a/x\",\"token_endpoint\":\"https://a/y\"," \
    "\"code_challenge_methods_supported\":[\"S256\"],"
#define REST "\"grant_types_supported\":[\"client_credentials\"],"
#define GOOD "{\"issuer\":\"https://a\"," ENDPOINTS REST "\"capabilities\":[\"permission-v2\"]}"

TEST(identity, it_says_who_gives_tokens_and_which_scopes_count)
{
    (void)state;
    struct identity_config id;
    identity_read(a, given("SMART_ON_FHIR", GOOD, "IdpLambdaArn"), &id);
    assert_true(id.smart);
    assert_true(id.v2);
    assert_sv(id.issuer, SV_LIT("https://a"));
    assert_sv(id.lambda, SV_LIT(LAMBDA));
    assert_sv(id.metadata, SV_LIT(GOOD));
    identity_read(a, given("SMART_ON_FHIR_V1", GOOD, NULL), &id);
    assert_true(id.smart);
    assert_false(id.v2);
    identity_read(a, given("SMART_ON_FHIR", "{\"capabilities\":[\"permission-v1\"]}", NULL), &id);
    assert_false(id.v2);
    identity_read(a, given("AWS_AUTH", GOOD, NULL), &id);
    assert_false(id.smart);
    assert_false(id.own);
    assert_int_equal(id.issuer.len, 0);
    identity_read(a, NULL, &id);
    assert_false(id.smart);
}

TEST(identity, without_metadata_our_own_endpoint_gives_the_tokens)
{
    (void)state;
    struct identity_config id;
    identity_read(a, given("SMART_ON_FHIR", NULL, NULL), &id);
    assert_true(id.smart && id.own && id.v2);
    identity_read(a, given("SMART_ON_FHIR_V1", NULL, NULL), &id);
    assert_true(id.smart && id.own);
    assert_false(id.v2);
    identity_read(a, given("SMART_ON_FHIR", GOOD, NULL), &id);
    assert_false(id.own);
    identity_read(a, given("SMART_ON_FHIR", NULL, "IdpLambdaArn"), &id);
    assert_false(id.own);
    identity_read(a, given("AWS_AUTH", NULL, NULL), &id);
    assert_false(id.own);
    OK(identity_check_own(true, e));
    FAILS(ERR_INVALID, identity_check_own(false, e));
}

TEST(identity, of_a_damaged_one_less_is_said)
{
    (void)state;
    static const char *const all[] = { "", "{", "[]", "7", "{\"issuer\":7,\"capabilities\":{}}" };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct identity_config id;
        identity_read(a, given("SMART_ON_FHIR", all[i], NULL), &id);
        assert_true(id.smart);
        assert_false(id.v2);
        assert_int_equal(id.issuer.len, 0);
    }
}

TEST(identity, a_data_store_has_one_that_can_be_kept)
{
    (void)state;
    static const struct {
        const char *strategy, *metadata, *more, *says;
    } all[] = {
        { "AWS_AUTH", GOOD, NULL, "Metadata has no effect" },
        { "AWS_AUTH", NULL, "IdpLambdaArn", "IdpLambdaArn has no effect" },
        { "AWS_AUTH", NULL, "FineGrainedAuthorizationEnabled", "FineGrainedAuthorizationEnabled" },
        { "SMART_ON_FHIR", GOOD, "FineGrainedAuthorizationEnabled", "FineGrainedAuthorization" },
        { "SMART_ON_FHIR", NULL, NULL, "Metadata must be given" },
        { "SMART_ON_FHIR", "{", NULL, "Metadata is no JSON" },
        { "SMART_ON_FHIR", "[]", NULL, "JSON object" },
        { "SMART_ON_FHIR", "{" REST REST "\"a\":1}", NULL, "stands twice" },
        { "SMART_ON_FHIR", "{" ENDPOINTS "\"capabilities\":[\"x\"]}", NULL, "grant_types" },
        { "SMART_ON_FHIR", "{" ENDPOINTS REST "\"capabilities\":[]}", NULL, "capabilities" },
        { "SMART_ON_FHIR", "{" ENDPOINTS REST "\"capabilities\":[7]}", NULL, "capabilities" },
        { "SMART_ON_FHIR", "{" REST "\"capabilities\":[\"x\"]}", NULL, "authorization_endpoint" },
        /* all is there, but nobody knows the issuer */
        { "SMART_ON_FHIR", GOOD, NULL, "[issuer https://a]" },
        { "SMART_ON_FHIR_V1", GOOD, "IdpLambdaArn", "[lambda " LAMBDA "]" },
    };
    OK(identity_check(a, NULL, NULL, e));
    OK(identity_check(a, given("AWS_AUTH", NULL, NULL), NULL, e));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct err why = { 0 };
        err_code rc =
            identity_check(a, given(all[i].strategy, all[i].metadata, all[i].more), NULL, &why);
        if (rc != ERR_INVALID || strstr(why.msg, all[i].says) == NULL)
            fail_msg("%s: %s", all[i].metadata, why.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(identity, it_says_who_gives_tokens_and_which_scopes_count),
        T(identity, without_metadata_our_own_endpoint_gives_the_tokens),
        T(identity, of_a_damaged_one_less_is_said),
        T(identity, a_data_store_has_one_that_can_be_kept),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

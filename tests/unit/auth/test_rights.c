/* The facts that a policy is asked with, for each kind of request that has tags. */
#include "test.h"

#include "auth/rights.h"

#define STORE \
    "arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/0123456789abcdef0123456789abcdef"
#define POLICY(effect, condition)                                                         \
    "{\"Statement\":[{\"Effect\":\"" effect "\",\"Action\":\"healthlake:*\",\"Resource\"" \
    ":\"*\",\"Condition\":{" condition "}}]}"
#define ALL "{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}"

static struct arena *a;
static char words[ERR_MSG_LEN]; /* of the last refusal */

static yyjson_val *json(const char *text)
{
    yyjson_doc *doc;
    if (text == NULL)
        return NULL;
    OK(json_read(a, arena_sv(a, sv_from(text)), 8, &doc, e));
    return yyjson_doc_get_root(doc);
}

/* What becomes of TagResource by a caller with this policy (NULL: with none). */
static err_code ask(const char *policy, struct rights r)
{
    struct policy *p = NULL;
    struct err why = { 0 };
    if (policy)
        OK(policy_parse(sv_from(policy), &p, e));
    const struct credential c = { .name = SV_LIT("x"), .policy = p };
    const struct auth_caller who = { .credential = &c, .arn = SV_LIT("arn:aws:iam::0:user/x") };
    if (r.arn.ptr == NULL)
        r.arn = SV_LIT(STORE);
    err_code rc = rights_ask(a, &who, "TagResource", &r, &why);
    memcpy(words, why.msg, sizeof words);
    policy_free(p);
    return rc;
}

TEST(rights, an_anonymous_caller_may_do_all_and_one_without_a_policy_all_of_healthlake)
{
    (void)state;
    const struct auth_caller nobody = { 0 };
    const struct rights r = { .arn = SV_LIT(STORE) };
    OK(rights_ask(a, &nobody, "Anything", &r, e));
    assert_int_equal(ask(NULL, (struct rights){ 0 }), ERR_OK);
}

TEST(rights, tags_of_the_data_store_are_facts)
{
    (void)state;
    const char *p = POLICY("Allow", "\"StringEquals\":{\"aws:ResourceTag/team\":\"a\"}");
    assert_int_equal(
        ask(p, (struct rights){ .tags = json("[{\"Key\":\"team\",\"Value\":\"a\"}]") }), ERR_OK);
    assert_int_equal(
        ask(p, (struct rights){ .tags = json("[{\"Key\":\"team\",\"Value\":\"b\"}]") }),
        ERR_DENIED);
    assert_int_equal(ask(p, (struct rights){ 0 }), ERR_DENIED);
    /* the request's own tags are not the data store's */
    assert_int_equal(
        ask(p, (struct rights){ .sent = json("[{\"Key\":\"team\",\"Value\":\"a\"}]") }),
        ERR_DENIED);
}

TEST(rights, tags_of_the_request_are_facts_of_their_own)
{
    (void)state;
    const char *p = POLICY("Allow", "\"StringEquals\":{\"aws:RequestTag/team\":\"a\"}");
    assert_int_equal(
        ask(p, (struct rights){ .sent = json("[{\"Key\":\"team\",\"Value\":\"a\"}]") }), ERR_OK);
    assert_int_equal(
        ask(p, (struct rights){ .tags = json("[{\"Key\":\"team\",\"Value\":\"a\"}]") }),
        ERR_DENIED);
}

TEST(rights, keys_that_a_request_sets_or_removes_are_tag_keys)
{
    (void)state;
    const char *p = POLICY("Allow", "\"ForAllValues:StringEquals\":{\"aws:TagKeys\":\"k\"}");
    assert_int_equal(ask(p, (struct rights){ .sent = json("[{\"Key\":\"k\",\"Value\":\"1\"}]") }),
                     ERR_OK);
    assert_int_equal(ask(p, (struct rights){ .sent = json("[{\"Key\":\"k\",\"Value\":\"1\"},"
                                                          "{\"Key\":\"x\",\"Value\":\"1\"}]") }),
                     ERR_DENIED);
    assert_int_equal(ask(p, (struct rights){ .sent_keys = json("[\"k\"]") }), ERR_OK);
    assert_int_equal(ask(p, (struct rights){ .sent_keys = json("[\"k\",\"x\"]") }), ERR_DENIED);
    /* keys that the data store has are not the request's */
    assert_int_equal(ask(p, (struct rights){ .tags = json("[{\"Key\":\"x\",\"Value\":\"1\"}]") }),
                     ERR_OK);
}

TEST(rights, a_refusal_is_the_same_whether_the_data_store_exists_or_not)
{
    (void)state;
    const char *allow = POLICY("Allow", "\"StringEquals\":{\"aws:ResourceTag/team\":\"a\"}");
    const char *deny = "{\"Statement\":[" ALL ",{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":"
                       "\"*\",\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/team\":\"b\"}}}]}";
    const char *const policies[] = { allow, deny };
    for (size_t i = 0; i < 2; i++) {
        char there[ERR_MSG_LEN];
        struct rights r = { .tags = json("[{\"Key\":\"team\",\"Value\":\"b\"}]") };
        assert_int_equal(ask(policies[i], r), ERR_DENIED);
        memcpy(there, words, sizeof there);
        assert_int_equal(ask(policies[i], (struct rights){ .unknown = true }), ERR_DENIED);
        assert_string_equal(words, there);
    }
}

TEST(rights, unless_denied_asks_for_an_explicit_deny)
{
    (void)state;
    const char *nothing = "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"healthlake:Create*\","
                          "\"Resource\":\"*\"}]}";
    const char *deny = POLICY("Deny", "\"StringEquals\":{\"aws:RequestTag/team\":\"b\"}");
    struct rights r = { .sent = json("[{\"Key\":\"team\",\"Value\":\"b\"}]"),
                        .unless_denied = true };
    assert_int_equal(ask(nothing, r), ERR_OK);
    assert_int_equal(ask(deny, r), ERR_DENIED);
    r.unless_denied = false;
    assert_int_equal(ask(nothing, r), ERR_DENIED);
}

TEST(rights, a_request_whose_facts_find_no_room_is_refused)
{
    (void)state;
    struct arena *small = arena_new(200);
    struct policy *p = NULL;
    OK(policy_parse(SV_LIT("{\"Statement\":[" ALL "]}"), &p, e));
    const struct credential c = { .name = SV_LIT("x"), .policy = p };
    const struct auth_caller who = { .credential = &c, .arn = SV_LIT("arn") };
    char tags[400];
    (void)snprintf(tags, sizeof tags, "[{\"Key\":\"%0200d\",\"Value\":\"1\"}]", 0);
    const struct rights r = { .arn = SV_LIT(STORE), .tags = json(tags) };
    FAILS(ERR_TOO_LARGE, rights_ask(small, &who, "TagResource", &r, e));
    policy_free(p);
    arena_free(small);
}

static int set_up(void **state)
{
    (void)state;
    a = arena_new(1u << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rights, an_anonymous_caller_may_do_all_and_one_without_a_policy_all_of_healthlake),
        T(rights, tags_of_the_data_store_are_facts),
        T(rights, tags_of_the_request_are_facts_of_their_own),
        T(rights, keys_that_a_request_sets_or_removes_are_tag_keys),
        T(rights, a_refusal_is_the_same_whether_the_data_store_exists_or_not),
        T(rights, unless_denied_asks_for_an_explicit_deny),
        T(rights, a_request_whose_facts_find_no_room_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

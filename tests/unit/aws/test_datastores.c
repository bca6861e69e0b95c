/* Records of data stores as older releases wrote them, and whole requests about them. */
#include "aws/whole.h"

#define POLICY(rest) \
    "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"healthlake:*\",\"Resource\":\"*\"" rest "]}"

static int set_up(void **state)
{
    (void)state;
    begin_all();
    put_file("credentials", KEYS("admin", "") KEYS("reader", "policy = reader.json\n")
                                KEYS("barred", "policy = barred.json\n"));
    put_file("reader.json",
             POLICY(",\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/team\":\"a\"}}}"));
    put_file("barred.json",
             POLICY("},{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{"
                    "\"StringEquals\":{\"aws:ResourceTag/team\":\"b\"}}}"));
    open_all();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return end_all();
}

#define AT(method, path) method " /datastore/" ID "/r4/" path " HTTP/1.1\n\n"

static const char *const requests[] = {
    AT("GET", "Patient/p"),
    AT("GET", "Patient?name=x"),
    AT("GET", "Patient/p/_history"),
    AT("GET", "metadata"),
    AT("DELETE", "Patient/p"),
    AT("GET", "Patient/p/$everything"),
    "PUT /datastore/" ID "/r4/Patient/p HTTP/1.1\nContent-Type: application/fhir+json\n\n"
    "{\"resourceType\":\"Patient\",\"id\":\"p\"}",
    "POST /datastore/" ID "/r4/ HTTP/1.1\nContent-Type: application/fhir+json\n\n"
    "{\"resourceType\":\"Bundle\",\"type\":\"batch\"}",
    "GET /datastore/" ID "/r4/$export HTTP/1.1\nPrefer: respond-async\n\n",
};

TEST(datastores, one_that_relies_on_what_is_not_offered_serves_no_fhir)
{
    (void)state;
    static const char *const smart[] = {
        "{\"AuthorizationStrategy\":\"SMART_ON_FHIR_V1\",\"FineGrainedAuthorizationEnabled\":true}",
        "{\"AuthorizationStrategy\":\"SOMETHING_NEW\"}", "{}", /* what cannot be told is not open */
    };
    for (size_t i = 0; i < sizeof smart / sizeof smart[0]; i++) {
        put_store("identity", smart[i]);
        for (size_t k = 0; k < sizeof requests / sizeof requests[0]; k++)
            /* it says the way out */
            if (ask(requests[k], "AWS_AUTH") != 403)
                fail_msg("%s: %s", smart[i], requests[k]);
    }
    put_store("identity",
              "{\"AuthorizationStrategy\":\"AWS_AUTH\",\"FineGrainedAuthorizationEnabled\":false}");
    assert_int_equal(ask(requests[0], "Patient"), 200);
    put_store(NULL, NULL);
    assert_int_equal(ask(requests[0], "Patient"), 200);
}

TEST(datastores, an_older_one_is_shown_as_it_was_made)
{
    (void)state;
    put_store("identity", "{\"AuthorizationStrategy\":\"SMART_ON_FHIR\",\"Metadata\":\"{}\"}");
    assert_int_equal(ask("POST / HTTP/1.1\nContent-Type: application/x-amz-json-1.0\nX-Amz-Target: "
                         "HealthLake.DescribeFHIRDatastore\n\n{\"DatastoreId\":\"" ID "\"}",
                         "\"AuthorizationStrategy\":\"SMART_ON_FHIR\""),
                     200);
}

#define TAGS(...) "[" __VA_ARGS__ "]"
#define TAG(k, v) "{\"Key\":\"" k "\",\"Value\":\"" v "\"}"

TEST(datastores, an_older_one_with_a_tag_in_two_letter_cases_is_closed_to_who_hangs_on_it)
{
    (void)state;
    static const char *const two[] = {
        TAGS(TAG("team", "b") "," TAG("TEAM", "a")),
        TAGS(TAG("TEAM", "a") "," TAG("team", "b")),
        TAGS(TAG("Team", "a") "," TAG("x", "y") "," TAG("tEAM", "a")),
    };
    for (size_t i = 0; i < 3; i++) {
        put_store("tags", two[i]);
        assert_int_equal(ask_as("reader", requests[0], NULL), 403);
        assert_int_equal(ask_as("barred", requests[0], NULL), 403);
        assert_int_equal(
            ask_as("reader", CALL("DescribeFHIRDatastore", "{\"DatastoreId\":\"" ID "\"}"), NULL),
            403);
        assert_int_equal(ask(requests[0], NULL), 200);
    }
    /* it is set right by taking one away */
    put_store("tags", two[0]);
    assert_int_equal(
        ask(CALL("TagResource", "{\"ResourceARN\":\"" ARN "\",\"Tags\":[" TAG("team", "a") "]}"),
            "remove it first"),
        400);
    assert_int_equal(
        ask(CALL("UntagResource", "{\"ResourceARN\":\"" ARN "\",\"TagKeys\":[\"TEAM\"]}"), NULL),
        200);
    assert_int_equal(ask_as("reader", requests[0], NULL), 403);
    assert_int_equal(
        ask(CALL("TagResource", "{\"ResourceARN\":\"" ARN "\",\"Tags\":[" TAG("team", "a") "]}"),
            NULL),
        200);
    assert_int_equal(ask_as("reader", requests[0], NULL), 200);
    assert_int_equal(ask_as("barred", requests[0], NULL), 200);
}

/* SHA-256 of ["s","R4",null,null,[{"Key":"k","Value":"v"}],null]: it is in older data folders. */
#define TOKEN_DIGEST "dbb85a7ee3e9abf2efaf004f882c960cd8d24bc272c6e1b246b7bdfb2004b8e1"
#define CREATE(more)            \
    CALL("CreateFHIRDatastore", \
         "{\"DatastoreTypeVersion\":\"R4\",\"ClientToken\":\"t-1\"," more "}")

TEST(datastores, a_token_stands_for_the_request_under_the_key_that_it_always_had)
{
    (void)state;
    sv key = SV_LIT("datastoretoken/arn:aws:iam::000000000000:user/admin/t-1");
    CLEANUP_BUF struct buf before = BUF_INIT(1000), after = BUF_INIT(1000);
    const char *create = CREATE("\"Tags\":[" TAG("k", "v") "],\"DatastoreName\":\"s\"");
    assert_int_equal(ask(create, "DatastoreId"), 200);
    OK(records_get(w.records, key, &before, e));
    assert_non_null(memmem(before.ptr, before.len, TOKEN_DIGEST, sizeof TOKEN_DIGEST - 1));
    /* the same one: */
    assert_int_equal(ask(create, "DatastoreId"), 200);
    OK(records_get(w.records, key, &after, e));
    assert_sv(buf_sv(&after), buf_sv(&before));
    assert_int_equal(ask(CREATE("\"DatastoreName\":\"s\""), "used before with other parameters"),
                     400);
    /* another caller's token of that text is another token */
    assert_int_equal(ask_as("barred", CREATE("\"DatastoreName\":\"s\""), "DatastoreId"), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(datastores, one_that_relies_on_what_is_not_offered_serves_no_fhir),
        T(datastores, an_older_one_is_shown_as_it_was_made),
        T(datastores, an_older_one_with_a_tag_in_two_letter_cases_is_closed_to_who_hangs_on_it),
        T(datastores, a_token_stands_for_the_request_under_the_key_that_it_always_had),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Requests and answers against shapes of the service model. */
#include "test.h"

#include "service/shapes.h"

static struct arena *a;

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

/* The code for CreateFHIRDatastore with this input; its faults, or its error, are in told. */
static err_code create(const char *json, char told[4096])
{
    CLEANUP_BUF struct buf faults = BUF_INIT(SHAPE_FAULTS_BYTES);
    struct err err = { 0 };
    yyjson_doc *doc;
    OK(json_read(a, arena_sv(a, sv_from(json)), 16, &doc, e));
    err_code rc = shape_check_input(SHAPE_CreateFHIRDatastoreRequest, yyjson_doc_get_root(doc),
                                    &faults, &err);
    if (faults.len)
        (void)snprintf(told, 4096, "%.*s", SV_FMT(buf_sv(&faults)));
    else
        (void)snprintf(told, 4096, "%s", err.msg);
    return rc;
}

#define R4(more) "{\"DatastoreTypeVersion\":\"R4\"" more "}"

TEST(shapes, requests_that_break_no_constraint_pass)
{
    (void)state;
    static const char *const good[] = {
        R4(""),
        R4(",\"DatastoreName\":\"n\""),
        R4(",\"DatastoreName\":null"),
        R4(",\"Tags\":[{\"Key\":\"k\",\"Value\":\"\"}]"),
        R4(",\"Tags\":[]"),
        R4(",\"SseConfiguration\":{\"KmsEncryptionConfig\":{\"CmkType\":\"AWS_OWNED_KMS_KEY\"}}"),
        R4(",\"NotAMember\":null"),
        /* members that are not honoured, and ask for nothing */
        R4(",\"NlpConfiguration\":{\"Status\":\"DISABLED\"}"),
        R4(",\"NlpConfiguration\":{}"),
    };
    char told[4096];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (create(good[i], told) != ERR_OK)
            fail_msg("%s: %s", good[i], told);
}

TEST(shapes, each_broken_constraint_is_told_in_aws_words)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        { "{}", "Value at 'datastoreTypeVersion' failed to satisfy constraint: Member must not be "
                "null" },
        { "{\"DatastoreTypeVersion\":null}", "Member must not be null" },
        { "{\"DatastoreTypeVersion\":\"R5\"}",
          "Value 'R5' at 'datastoreTypeVersion' failed to satisfy constraint: Member must satisfy "
          "enum value set: [R4]" },
        { R4(",\"DatastoreName\":\"\""),
          "Value at 'datastoreName' failed to satisfy constraint: Member must have length greater "
          "than or equal to 1" },
        { R4(",\"DatastoreName\":\"a#b\""), "Value 'a#b' at 'datastoreName' failed to satisfy "
                                            "constraint: Member must satisfy regular "
                                            "expression pattern" },
        { R4(",\"Tags\":[{\"Key\":\"k\"}]"), "at 'tags.1.member.value'" },
        { R4(",\"Tags\":[{\"Key\":\"k\",\"Value\":\"v\"},null]"), "at 'tags.2.member'" },
        { R4(",\"NotAMember\":1"),
          "Value at 'NotAMember' failed to satisfy constraint: Member must not be set: this server "
          "does not know it" },
        { R4(",\"NlpConfiguration\":{\"Status\":\"ENABLED\"}"),
          "Member must not be set: NlpConfiguration is not offered by this server; leave it out, "
          "or "
          "say DISABLED" },
    };
    char told[4096];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err_code rc = create(bad[i].json, told);
        if (rc != ERR_INVALID || strstr(told, bad[i].says) == NULL)
            fail_msg("%s: %s: %s", bad[i].json, err_code_name(rc), told);
        if (strncmp(told, "1 validation error detected: ", 29) != 0)
            fail_msg("%s: %s", bad[i].json, told);
    }
}

TEST(shapes, all_faults_are_told_at_once)
{
    (void)state;
    char told[4096];
    assert_int_equal(create("{\"DatastoreName\":\"\",\"X\":1}", told), ERR_INVALID);
    assert_int_equal(strncmp(told, "3 validation errors detected: ", 30), 0);
    assert_non_null(strstr(told, "'datastoreTypeVersion'"));
    assert_non_null(strstr(told, "'datastoreName'"));
    assert_non_null(strstr(told, "'X'"));
}

/* As botocore counts: lengths are of characters, not of bytes. */
TEST(shapes, lengths_are_counted_in_characters)
{
    (void)state;
    char told[4096], json[2000];
    size_t n = (size_t)snprintf(json, sizeof json,
                                "{\"DatastoreTypeVersion\":\"R4\","
                                "\"DatastoreName\":\"");
    for (unsigned i = 0; i < 256; i++, n += 2)
        memcpy(json + n, "\xC3\xA9", 2);
    (void)snprintf(json + n, sizeof json - n, "\"}");
    assert_int_equal(create(json, told), ERR_OK);
    (void)snprintf(json + n, sizeof json - n, "\xC3\xA9\"}");
    assert_int_equal(create(json, told), ERR_INVALID);
    assert_non_null(strstr(told, "length less than or equal to 256"));
    /* cut between characters */
    assert_non_null(strstr(told, "\xC3\xA9...'"));
}

TEST(shapes, a_value_of_a_wrong_type_cannot_be_read)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } bad[] = {
        { "{\"DatastoreTypeVersion\":4}", "Value at 'datastoreTypeVersion' is not a string" },
        { R4(",\"Tags\":{}"), "Value at 'tags' is not a list" },
        { R4(",\"Tags\":[1]"), "Value at 'tags.1.member' is not a structure" },
        { R4(",\"SseConfiguration\":[]"), "Value at 'sseConfiguration' is not a structure" },
        { "[]", "is not a structure" },
    };
    char told[4096];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err_code rc = create(bad[i].json, told);
        if (rc != ERR_UNSUPPORTED || strstr(told, bad[i].says) == NULL)
            fail_msg("%s: %s: %s", bad[i].json, err_code_name(rc), told);
    }
}

TEST(shapes, numbers_have_bounds)
{
    (void)state;
    static const struct {
        const char *json;
        err_code want;
    } asks[] = {
        { "{\"MaxResults\":1}", ERR_OK },
        { "{\"MaxResults\":500}", ERR_OK },
        { "{\"MaxResults\":0}", ERR_INVALID },
        { "{\"MaxResults\":501}", ERR_INVALID },
        { "{\"MaxResults\":1.5}", ERR_UNSUPPORTED },
        { "{\"MaxResults\":\"1\"}", ERR_UNSUPPORTED },
    };
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        CLEANUP_BUF struct buf faults = BUF_INIT(SHAPE_FAULTS_BYTES);
        struct err err;
        yyjson_doc *doc;
        OK(json_read(a, arena_sv(a, sv_from(asks[i].json)), 16, &doc, e));
        err_code rc = shape_check_input(SHAPE_ListFHIRDatastoresRequest, yyjson_doc_get_root(doc),
                                        &faults, &err);
        if (rc != asks[i].want)
            fail_msg("%s: %s", asks[i].json, err_code_name(rc));
    }
}

TEST(shapes, an_answer_holds_what_is_required_and_nothing_undeclared)
{
    (void)state;
#define ANSWER(more)                                                                              \
    SV_LIT("{\"DatastoreId\":\"0123456789abcdef0123456789abcdef\",\"DatastoreArn\":\"arn:aws:"    \
           "healthlake:us-east-1:000000000000:datastore/fhir/0123456789abcdef0123456789abcdef\"," \
           "\"DatastoreEndpoint\":\"http://x/\"" more "}")
    shape_id create_answer = SHAPE_CreateFHIRDatastoreResponse;
    OK(shape_check_output(create_answer, ANSWER(",\"DatastoreStatus\":\"CREATING\""), a, e));
    FAILS(ERR_INTERNAL, shape_check_output(create_answer, ANSWER(""), a, e));
    FAILS(ERR_INTERNAL,
          shape_check_output(create_answer, ANSWER(",\"DatastoreStatus\":\"ODD\""), a, e));
    FAILS(
        ERR_INTERNAL,
        shape_check_output(create_answer, ANSWER(",\"DatastoreStatus\":\"ACTIVE\",\"X\":1"), a, e));
}

TEST(shapes, timestamps_are_seconds_or_iso_8601)
{
    (void)state;
    static const struct {
        const char *json;
        bool ok;
        int64_t ms;
    } asks[] = {
        { "[0]", true, 0 },
        { "[1.5]", true, 1500 },
        { "[-1.5]", true, -1500 },
        { "[1e3]", true, 1000000 },
        { "[\"1970-01-01T00:00:01Z\"]", true, 1000 },
        { "[1e18]", false, 0 },
        { "[\"yesterday\"]", false, 0 },
        { "[true]", false, 0 },
        { "[null]", false, 0 },
    };
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        int64_t ms = 0;
        yyjson_doc *doc;
        OK(json_read(a, arena_sv(a, sv_from(asks[i].json)), 2, &doc, e));
        yyjson_val *v = yyjson_arr_get_first(yyjson_doc_get_root(doc));
        if (shape_timestamp_ms(v, &ms) != asks[i].ok || ms != asks[i].ms)
            fail_msg("%s: %lld", asks[i].json, (long long)ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(shapes, requests_that_break_no_constraint_pass),
        T(shapes, each_broken_constraint_is_told_in_aws_words),
        T(shapes, all_faults_are_told_at_once),
        T(shapes, lengths_are_counted_in_characters),
        T(shapes, a_value_of_a_wrong_type_cannot_be_read),
        T(shapes, numbers_have_bounds),
        T(shapes, an_answer_holds_what_is_required_and_nothing_undeclared),
        T(shapes, timestamps_are_seconds_or_iso_8601),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

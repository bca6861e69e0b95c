/* What an operation asks about its call. */
#include "test.h"

#include "aws/aws_private.h"

#define ID "0123456789abcdef0123456789abcdef"
#define POLICY                                                                             \
    "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"healthlake:*\",\"Resource\":\"*\"" \
    ",\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/team\":\"a\"}}}]}"

static struct service service;
static struct call call;
static struct policy *policy;
static struct credential confined;
static const struct operation describe = { .name = "DescribeFHIRDatastore" };

static void input(const char *text)
{
    yyjson_doc *doc;
    OK(json_read(call.a, arena_sv(call.a, sv_from(text)), 8, &doc, e));
    call.input = yyjson_doc_get_root(doc);
}

static void put_store(const char *team)
{
    char record[300];
    (void)snprintf(record, sizeof record,
                   "{\"id\":\"" ID "\",\"status\":\"ACTIVE\",\"order\":1,\"created\":1,\"tags\":["
                   "{\"Key\":\"team\",\"Value\":\"%s\"}]}",
                   team);
    OK(records_put(service.cfg.records, SV_LIT("datastore/" ID), sv_from(record), e));
}

static int set_up(void **state)
{
    (void)state;
    service = (struct service){ .cfg.region = SV_LIT("r"), .cfg.account_id = SV_LIT("1") };
    OK(records_open(NULL, &service.cfg.records, e));
    OK(policy_parse(SV_LIT(POLICY), &policy, e));
    confined = (struct credential){ .name = SV_LIT("x"), .policy = policy };
    call = (struct call){ .service = &service, .op = &describe, .a = arena_new(1u << 20) };
    call.caller.arn = SV_LIT("arn:aws:iam::1:user/x");
    input("{}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    records_close(service.cfg.records);
    policy_free(policy);
    arena_free(call.a);
    return 0;
}

TEST(call, a_member_that_is_null_is_absent)
{
    (void)state;
    input("{\"A\":\"x\",\"B\":null,\"C\":{\"D\":1}}");
    assert_sv(call_text(&call, "A"), SV_LIT("x"));
    assert_null(call_text(&call, "B").ptr);
    assert_null(call_text(&call, "Z").ptr);
    assert_null(call_member(&call, "B"));
    assert_null(call_member(&call, "Z"));
    assert_non_null(call_member(&call, "C"));
}

TEST(call, a_time_that_is_absent_is_0)
{
    (void)state;
    input("{\"A\":1.5,\"B\":null,\"C\":\"1970-01-01T00:00:01Z\"}");
    assert_int_equal(call_time_ms(call_member(&call, "A")), 1500);
    assert_int_equal(call_time_ms(call_member(&call, "B")), 0);
    assert_int_equal(call_time_ms(call_member(&call, "C")), 1000);
    assert_int_equal(call_time_ms(call_member(&call, "Z")), 0);
}

TEST(call, the_data_store_comes_to_whoever_may_do_the_operation)
{
    (void)state;
    struct datastore d = { 0 };
    put_store("a");
    call.caller.credential = &confined;
    OK(call_datastore(&call, SV_LIT(ID), &d, e));
    assert_sv(d.id, SV_LIT(ID));
    assert_sv(d.arn, SV_LIT("arn:aws:healthlake:r:1:datastore/fhir/" ID));
    call.caller.credential = NULL;
    OK(call_datastore(&call, SV_LIT(ID), &d, e));
}

TEST(call, whoever_may_not_learns_nothing_of_the_data_store)
{
    (void)state;
    struct datastore d = { 0 };
    struct err absent = { 0 }, present = { 0 };
    call.caller.credential = &confined;
    assert_int_equal(call_datastore(&call, SV_LIT(ID), &d, &absent), ERR_DENIED);
    put_store("b");
    assert_int_equal(call_datastore(&call, SV_LIT(ID), &d, &present), ERR_DENIED);
    assert_string_equal(absent.msg, present.msg);
    assert_null(d.id.ptr);
}

TEST(call, whoever_may_all_is_told_that_there_is_none)
{
    (void)state;
    struct datastore d = { 0 };
    struct err err = { 0 };
    assert_int_equal(call_datastore(&call, SV_LIT(ID), &d, &err), ERR_NOT_FOUND);
    assert_string_equal(err.msg, "Data store " ID " does not exist");
    assert_int_equal(call_datastore(&call, SV_LIT(ID), &d, NULL), ERR_NOT_FOUND);
}

TEST(call, tags_that_the_request_sends_are_not_those_of_the_data_store)
{
    (void)state;
    call.caller.credential = &confined;
    input("{\"Tags\":[{\"Key\":\"team\",\"Value\":\"a\"}]}");
    FAILS(ERR_DENIED, call_allowed(&call, NULL, e));
}

TEST(call, without_a_parking_nothing_waits)
{
    (void)state;
    call_watch(&call, SV_LIT(ID));
    assert_sv(call.watched, SV_LIT(ID));
    assert_null(call.parked);
}

#define EACH(sentence)                                                    \
    {                                                                     \
        "call: " #sentence, test_call_##sentence, set_up, tear_down, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_member_that_is_null_is_absent),
        EACH(a_time_that_is_absent_is_0),
        EACH(the_data_store_comes_to_whoever_may_do_the_operation),
        EACH(whoever_may_not_learns_nothing_of_the_data_store),
        EACH(whoever_may_all_is_told_that_there_is_none),
        EACH(tags_that_the_request_sends_are_not_those_of_the_data_store),
        EACH(without_a_parking_nothing_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Records of data stores as older releases wrote them, and whole requests about them. */
#include "test.h"

#include "../../peers/loopback.h"
#include "aws/aws.h"
#include "base/clock.h"
#include "base/file.h"
#include "export/export.h"
#include "import/import.h"
#include "rest/rest.h"

#define ID "0123456789abcdef0123456789abcdef"

static struct {
    char dir[64], system[128], stores[128], spool[128], objects[128], credentials[128];
    struct records *records;
    struct store_env *env;
    struct store_registry *registry;
    struct sink_world *world;
    struct job_engine *jobs;
    struct auth *auth;
    struct service *service;
} w;

#define KEYS(name, more) \
    "[" name "]\naws_access_key_id = " name "\naws_secret_access_key = s\n" more
#define POLICY(rest) \
    "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"healthlake:*\",\"Resource\":\"*\"" rest "]}"

static void put_file(const char *name, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", w.dir, name);
    OK(file_write_atomic(path, sv_from(text), e));
}

static void open_all(void)
{
    w.env = store_env_new(8u << 20, 1);
    OK(store_registry_new(w.env, w.stores, &w.registry, e));
    struct sink_config sc = { .objects_dir = w.objects, .make_buckets = true };
    OK(sink_world_new(&sc, &w.world, e));
    struct job_engine_config jc = {
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = w.records,
        .stores = w.registry,
        .world = w.world,
        .spool_dir = w.spool,
        .n_workers = 1
    };
    OK(job_engine_start(&jc, &w.jobs, e));
    struct auth_config ac = { .credentials_path = w.credentials,
                              .region = SV_LIT("us-east-1"),
                              .account_id = SV_LIT("000000000000") };
    OK(auth_new(&ac, &w.auth, e));
    struct service_config cfg = { .control = &aws_plane,
                                  .data = &rest_plane,
                                  .records = w.records,
                                  .stores = w.registry,
                                  .jobs = w.jobs,
                                  .auth = w.auth,
                                  .region = SV_LIT("us-east-1"),
                                  .account_id = SV_LIT("000000000000"),
                                  .n_workers = 1 };
    OK(service_new(&cfg, &w.service, e));
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(w.dir, sizeof w.dir, "/tmp/fhirlake-datastores-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    (void)snprintf(w.system, sizeof w.system, "%s/system", w.dir);
    (void)snprintf(w.stores, sizeof w.stores, "%s/stores", w.dir);
    (void)snprintf(w.spool, sizeof w.spool, "%s/jobs", w.dir);
    (void)snprintf(w.objects, sizeof w.objects, "%s/objects", w.dir);
    (void)snprintf(w.credentials, sizeof w.credentials, "%s/credentials", w.dir);
    put_file("credentials", KEYS("admin", "") KEYS("reader", "policy = reader.json\n")
                                KEYS("barred", "policy = barred.json\n"));
    put_file("reader.json",
             POLICY(",\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/team\":\"a\"}}}"));
    put_file("barred.json",
             POLICY("},{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{"
                    "\"StringEquals\":{\"aws:ResourceTag/team\":\"b\"}}}"));
    OK(file_mkdirs(w.stores, e));
    OK(file_mkdirs(w.spool, e));
    OK(records_open(w.system, &w.records, e));
    open_all();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    service_free(w.service);
    job_engine_stop(w.jobs);
    store_registry_free(w.registry);
    store_env_free(w.env);
    sink_world_free(w.world);
    auth_free(w.auth);
    records_close(w.records);
    return file_remove_tree(w.dir, NULL);
}

/* A data store with this member more (NULL: none), ACTIVE, with one Patient. */
static void put_store(const char *member, const char *value)
{
    char record[700];
    struct store *st;
    struct store_commit c;
    sv json = SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"p\"}");
    struct store_write one = { .type = fhir_type_find(SV_LIT("Patient")),
                               .id = SV_LIT("p"),
                               .body = { json, (uint32_t)json.len - 1, FHIR_HOLE_NO_META } };
    (void)snprintf(record, sizeof record,
                   "{\"id\":\"" ID "\",\"status\":\"ACTIVE\",\"order\":1,\"created\":1%s%s%s%s}",
                   member ? ",\"" : "", member ? member : "", member ? "\":" : "",
                   member ? value : "");
    OK(records_put(w.records, SV_LIT("datastore/" ID), sv_from(record), e));
    OK(records_put(w.records, SV_LIT("datastorelist/fffffffffffffffe"), SV_LIT(ID), e));
    datastore_forget(w.service, SV_LIT(ID));
    OK(store_registry_acquire(w.registry, SV_LIT(ID), true, &st, e));
    OK(store_commit(st, &one, 1, &c, e));
    store_registry_release(w.registry, st);
}

/* The answer's status; says: what its body must hold, or NULL. */
static unsigned ask_as(const char *who, const char *raw, const char *says)
{
    struct loopback_answer a;
    struct loopback_keys k = { sv_from(who), SV_LIT("s"), SV_LIT("us-east-1"), clock_wall_ms() };
    loopback_send(w.service, sv_from(raw), &k, &a);
    unsigned status = a.status;
    if (says && memmem(a.body.ptr, a.body.len, says, strlen(says)) == NULL)
        fail_msg("%s: %.*s", raw, SV_FMT(buf_sv(&a.body)));
    loopback_answer_done(&a);
    return status;
}

static unsigned ask(const char *raw, const char *says)
{
    return ask_as("admin", raw, says);
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

TEST(datastores, an_older_one_that_relies_on_tokens_serves_no_fhir)
{
    (void)state;
    static const char *const smart[] = {
        "{\"AuthorizationStrategy\":\"SMART_ON_FHIR\"}",
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

#define CALL(operation, body)                                                   \
    "POST / HTTP/1.1\nContent-Type: application/x-amz-json-1.0\nX-Amz-Target: " \
    "HealthLake." operation "\n\n" body
#define ARN       "arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/" ID
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
        T(datastores, an_older_one_that_relies_on_tokens_serves_no_fhir),
        T(datastores, an_older_one_is_shown_as_it_was_made),
        T(datastores, an_older_one_with_a_tag_in_two_letter_cases_is_closed_to_who_hangs_on_it),
        T(datastores, a_token_stands_for_the_request_under_the_key_that_it_always_had),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Records of data stores: their text, and the copies in memory (datastore.c). */
#include "test.h"

#include "event/event.h"
#include "service/plane.h"

#define ID "0123456789abcdef0123456789abcdef"

static struct service s;
static struct arena *a;

static int set_up(void **state)
{
    (void)state;
    s = (struct service){ .cfg.region = SV_LIT("r"), .cfg.account_id = SV_LIT("1") };
    OK(records_open(NULL, &s.cfg.records, e));
    pthread_mutex_init(&s.known.lock, NULL);
    a = arena_new(DATASTORE_MEMORY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    datastores_forget_all(&s);
    pthread_mutex_destroy(&s.known.lock);
    records_close(s.cfg.records);
    arena_free(a);
    return 0;
}

static bool is_active(void)
{
    CLEANUP_BUF struct buf b = BUF_INIT(10);
    struct err e;
    return records_get(s.cfg.records, SV_LIT("datastoreactive/" ID), &b, &e) == ERR_OK;
}

static void write_status(const char *status)
{
    const struct datastore d = { .id = SV_LIT(ID), .status = sv_from(status), .created_ms = 5 };
    OK(datastore_write(&s, &d, e));
}

/* As releases before this one wrote it: a change of this text breaks their data folders. */
#define RECORD                                                                                  \
    "{\"id\":\"" ID "\",\"status\":\"CREATE_FAILED\",\"order\":7,\"created\":5,\"name\":\"n\"," \
    "\"sse\":{\"KmsEncryptionConfig\":{\"CmkType\":\"AWS_OWNED_KMS_KEY\"}},\"preload\":{"       \
    "\"PreloadDataType\":\"SYNTHEA\"},\"identity\":{\"AuthorizationStrategy\":\"AWS_AUTH\"},"   \
    "\"tags\":[{\"Key\":\"k\",\"Value\":\"v\"}],\"errorMessage\":\"m\",\"errorCategory\":\"c\"}"

TEST(datastore_record, a_record_is_read_and_written_as_it_was)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(DATASTORE_RECORD_MAX);
    struct datastore d;
    OK(records_put(s.cfg.records, SV_LIT("datastore/" ID), SV_LIT(RECORD), e));
    OK(datastore_read(&s, SV_LIT(ID), a, &d, e));
    assert_sv(d.status, SV_LIT("CREATE_FAILED"));
    assert_sv(d.name, SV_LIT("n"));
    assert_sv(d.error_message, SV_LIT("m"));
    assert_int_equal(d.order, 7);
    assert_int_equal(d.created_ms, 5);
    assert_int_equal(yyjson_arr_size(d.tags), 1);
    assert_sv(d.arn, SV_LIT("arn:aws:healthlake:r:1:datastore/fhir/" ID));
    OK(datastore_print(&d, &b, e));
    assert_sv(buf_sv(&b), SV_LIT(RECORD));
}

TEST(datastore_record, one_that_is_not_there_and_one_that_is_damaged_are_told_apart)
{
    (void)state;
    struct datastore d;
    FAILS(ERR_NOT_FOUND, datastore_read(&s, SV_LIT(ID), a, &d, e));
    OK(records_put(s.cfg.records, SV_LIT("datastore/" ID),
                   SV_LIT("{\"id\":\"" ID "\",\"status\":\"ACTIVE\",\"created\":1}"), e));
    FAILS(ERR_CORRUPT, datastore_read(&s, SV_LIT(ID), a, &d, e));
}

TEST(datastore_record, a_restart_finds_what_is_created_or_deleted_and_nothing_else)
{
    (void)state;
    static const struct {
        const char *status;
        bool active;
    } all[] = { { "CREATING", true },
                { "ACTIVE", false },
                { "CREATE_FAILED", false },
                { "DELETING", true },
                { "DELETED", false } };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        write_status(all[i].status);
        if (is_active() != all[i].active)
            fail_msg("%s", all[i].status);
    }
}

TEST(datastore_record, what_is_not_offered_closes_the_fhir_api)
{
    (void)state;
    static const struct {
        const char *identity;
        err_code want;
    } all[] = { { "{\"AuthorizationStrategy\":\"AWS_AUTH\"}", ERR_OK },
                { "{\"AuthorizationStrategy\":\"SMART_ON_FHIR_V1\"}", ERR_OK },
                { "{\"AuthorizationStrategy\":\"SMART_ON_FHIR\"}", ERR_OK },
                { "{\"AuthorizationStrategy\":\"SMART_ON_FHIR\","
                  "\"FineGrainedAuthorizationEnabled\":true}",
                  ERR_DENIED },
                { "{\"AuthorizationStrategy\":\"aws_auth\"}", ERR_DENIED },
                { "{}", ERR_DENIED } };
    struct datastore d = { 0 };
    OK(datastore_check_strategy(&d, e));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        yyjson_doc *doc;
        struct err err;
        OK(json_read(a, arena_sv(a, sv_from(all[i].identity)), 4, &doc, e));
        d.identity = yyjson_doc_get_root(doc);
        identity_read(a, d.identity, &d.callers);
        if (datastore_check_strategy(&d, &err) != all[i].want)
            fail_msg("%s", all[i].identity);
    }
}

TEST(datastore_known, a_copy_serves_until_the_record_is_written)
{
    (void)state;
    struct datastore_held *first = NULL, *second = NULL, *third = NULL;
    write_status("CREATING");
    OK(datastore_hold(&s, SV_LIT(ID), &first, e));
    OK(datastore_hold(&s, SV_LIT(ID), &second, e));
    assert_ptr_equal(first, second);
    write_status("ACTIVE");
    OK(datastore_hold(&s, SV_LIT(ID), &third, e));
    assert_sv(datastore_of(third)->status, SV_LIT("ACTIVE"));
    /* whoever holds the old one goes on with it */
    assert_sv(datastore_of(first)->status, SV_LIT("CREATING"));
    datastore_release(&first);
    assert_null(first);
    assert_sv(datastore_of(second)->status, SV_LIT("CREATING"));
    datastore_release(&second);
    datastore_release(&third);
    datastore_release(&third);
}

/* A microsecond later it is read again. */
TEST(datastore_known, where_others_write_too_a_copy_serves_for_a_time)
{
    (void)state;
    struct datastore_held *h = NULL;
    write_status("ACTIVE");
    OK(datastore_hold(&s, SV_LIT(ID), &h, e));
    datastore_release(&h);
    OK(records_put(s.cfg.records, SV_LIT("datastore/" ID), SV_LIT(RECORD), e));
    OK(datastore_hold(&s, SV_LIT(ID), &h, e));
    assert_sv(datastore_of(h)->status, SV_LIT("ACTIVE"));
    datastore_release(&h);
    s.known.most_us = 1;
    OK(datastore_hold(&s, SV_LIT(ID), &h, e));
    assert_sv(datastore_of(h)->status, SV_LIT("CREATE_FAILED"));
    datastore_release(&h);
}

TEST(datastore_known, what_is_not_there_is_not_kept)
{
    (void)state;
    struct datastore_held *h = NULL;
    FAILS(ERR_NOT_FOUND, datastore_hold(&s, SV_LIT(ID), &h, e));
    assert_null(h);
    write_status("CREATING");
    OK(datastore_hold(&s, SV_LIT(ID), &h, e));
    datastore_release(&h);
}

TEST(datastore_known, ids_that_share_a_slot_are_told_apart)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 3 * DATASTORES_KNOWN; i++) {
            struct datastore_held *h = NULL;
            char id[33];
            (void)snprintf(id, sizeof id, "%032u", i);
            const struct datastore d = { .id = sv_from(id), .status = SV_LIT("ACTIVE") };
            if (round == 0)
                OK(datastore_write(&s, &d, e));
            OK(datastore_hold(&s, sv_from(id), &h, e));
            assert_sv(datastore_of(h)->id, sv_from(id));
            datastore_release(&h);
        }
}

#define EACH(group, sentence)                                                     \
    {                                                                             \
#group ": " #sentence, test_##group##_##sentence, set_up, tear_down, NULL \
    }

/* ---- what is told ---- */

static char told[1024];

static bool see(void *ctx, sv key, sv body)
{
    (void)ctx;
    (void)key;
    yyjson_doc *doc;
    OK(json_read(a, arena_sv(a, body), 8, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    (void)snprintf(told + strlen(told), sizeof told - strlen(told), "%.*s %.*s\n",
                   SV_FMT(json_string(json_get(root, "detail-type"))),
                   SV_FMT(json_string(json_get(json_get(root, "detail"), "datastoreEndpoint"))));
    return true;
}

TEST(datastore_told, is_each_new_status_and_nothing_else_that_is_written)
{
    (void)state;
    /* nobody listens on port 1, and it is asked again in five minutes: all events stay */
    const struct events_config cfg = { .records = s.cfg.records,
                                       .url = "http://127.0.0.1:1/",
                                       .dead_path = "/nowhere",
                                       .first_wait_ms = 300000 };
    static const char *const statuses[] = { "CREATING", "CREATING", "ACTIVE",   "ACTIVE",
                                            "UPDATING", "ACTIVE",   "DELETING", "DELETED" };
    OK(events_start(&cfg, &s.cfg.events, e));
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (i == 6)
            s.cfg.public_url = SV_LIT("https://x.example/y/");
        write_status(statuses[i]);
    }
    told[0] = 0;
    OK(records_scan(s.cfg.records, SV_LIT("event/"), SV_NONE, see, NULL, e));
    assert_string_equal(told, "Data Store Creating \nData Store Active \n"
                              "Data Store Deleting https://x.example/y/datastore/" ID "/r4/\n"
                              "Data Store Deleted https://x.example/y/datastore/" ID "/r4/\n");
    events_stop(s.cfg.events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(datastore_record, a_record_is_read_and_written_as_it_was),
        EACH(datastore_record, one_that_is_not_there_and_one_that_is_damaged_are_told_apart),
        EACH(datastore_record, a_restart_finds_what_is_created_or_deleted_and_nothing_else),
        EACH(datastore_record, what_is_not_offered_closes_the_fhir_api),
        EACH(datastore_known, a_copy_serves_until_the_record_is_written),
        EACH(datastore_known, where_others_write_too_a_copy_serves_for_a_time),
        EACH(datastore_known, what_is_not_there_is_not_kept),
        EACH(datastore_known, ids_that_share_a_slot_are_told_apart),
        EACH(datastore_told, is_each_new_status_and_nothing_else_that_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Data stores on their way: made, filled, failed, removed, and taken up by the next start. */
#include "aws/whole.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"

static int set_up(void **state)
{
    (void)state;
    begin_all();
    put_file("credentials", KEYS("admin", "policy = admin.json\n"));
    put_file("admin.json", ALL);
    w.preload_patients = 3;
    open_all();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return end_all();
}

/* The id of a new data store. */
static sv created(struct arena *a, const char *members)
{
    char all[300];
    (void)snprintf(all, sizeof all, "'DatastoreTypeVersion':'R4'%s", members);
    yyjson_val *is = answered(a, "CreateFHIRDatastore", all);
    assert_sv(text_at(is, "DatastoreStatus"), SV_LIT("CREATING"));
    return text_at(is, "DatastoreId");
}

/* Its properties once its creation or deletion has ended. */
static yyjson_val *ended(struct arena *a, sv id)
{
    char one[100];
    (void)snprintf(one, sizeof one, "'DatastoreId':'%.*s'", SV_FMT(id));
    return json_get(answered(a, "DescribeFHIRDatastore", one), "DatastoreProperties");
}

static void begin_deletion(struct arena *a, sv id)
{
    char one[100];
    (void)snprintf(one, sizeof one, "'DatastoreId':'%.*s'", SV_FMT(id));
    assert_sv(text_at(answered(a, "DeleteFHIRDatastore", one), "DatastoreStatus"),
              SV_LIT("DELETING"));
}

static unsigned get(sv id, const char *path)
{
    char raw[200];
    (void)snprintf(raw, sizeof raw, "GET /datastore/%.*s/r4/%s HTTP/1.1\n\n", SV_FMT(id), path);
    return ask(raw, NULL);
}

/* Does anything below the folder of the data stores bear the id? */
static bool on_disk(sv id)
{
    DIR *d = opendir(w.stores);
    bool is = false;
    assert_non_null(d);
    for (struct dirent *de; (de = readdir(d)) != NULL;)
        is |= memmem(de->d_name, strlen(de->d_name), id.ptr, id.len) != NULL;
    closedir(d);
    return is;
}

TEST(datastore_life, a_new_one_becomes_active_and_is_empty)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv id = created(a, "");
    yyjson_val *is = ended(a, id);
    assert_sv(text_at(is, "DatastoreStatus"), SV_LIT("ACTIVE"));
    assert_null(json_get(is, "ErrorCause"));
    assert_int_equal(get(id, "Patient/p"), 404);
    assert_int_equal(get(id, "Patient?_count=1"), 200);
}

TEST(datastore_life, one_with_preload_has_its_patients_when_it_is_active)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    char raw[200];
    sv id = created(a, ",'PreloadDataConfig':{'PreloadDataType':'SYNTHEA'}");
    assert_sv(text_at(ended(a, id), "DatastoreStatus"), SV_LIT("ACTIVE"));
    (void)snprintf(raw, sizeof raw, "GET /datastore/%.*s/r4/Patient?_summary=count HTTP/1.1\n\n",
                   SV_FMT(id));
    assert_int_equal(ask(raw, "\"total\":3"), 200);
}

TEST(datastore_life, a_deleted_one_is_gone_from_the_disk_and_stays_described)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv id = created(a, ",'DatastoreName':'old'");
    (void)ended(a, id);
    assert_true(on_disk(id));
    begin_deletion(a, id);
    yyjson_val *is = ended(a, id);
    assert_sv(text_at(is, "DatastoreStatus"), SV_LIT("DELETED"));
    assert_sv(text_at(is, "DatastoreName"), SV_LIT("old"));
    assert_false(on_disk(id));
    assert_true(get(id, "Patient/p") >= 400);
}

/* A file stands where the folder of the data stores was: no store can be made in it. */
TEST(datastore_life, one_that_cannot_be_made_says_why_and_can_be_deleted)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    char aside[160];
    (void)snprintf(aside, sizeof aside, "%s-aside", w.stores);
    assert_int_equal(rename(w.stores, aside), 0);
    put_file("stores", "no folder");
    sv id = created(a, "");
    yyjson_val *is = ended(a, id);
    assert_sv(text_at(is, "DatastoreStatus"), SV_LIT("CREATE_FAILED"));
    assert_true(text_at(is, "ErrorCause.ErrorMessage").len > 0);
    assert_sv(text_at(is, "ErrorCause.ErrorCategory"), SV_LIT("NON_RETRYABLE_ERROR"));
    assert_int_equal(unlink(w.stores), 0);
    assert_int_equal(rename(aside, w.stores), 0);
    begin_deletion(a, id);
    assert_sv(text_at(ended(a, id), "DatastoreStatus"), SV_LIT("DELETED"));
}

/* ---- what an earlier process left ---- */

TEST(datastore_life, a_restart_makes_anew_what_was_half_made)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    /* it holds a Patient already, and its record says that it is being created */
    put_store(NULL, NULL);
    assert_int_equal(get(SV_LIT(ID), "Patient/p"), 200);
    close_all();
    put_record("CREATING", NULL, NULL);
    OK(records_put(w.records, SV_LIT("datastoreactive/" ID), SV_LIT(""), e));
    open_all();
    assert_sv(text_at(ended(a, SV_LIT(ID)), "DatastoreStatus"), SV_LIT("ACTIVE"));
    assert_int_equal(get(SV_LIT(ID), "Patient/p"), 404);
}

TEST(datastore_life, a_restart_goes_on_removing)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    put_store(NULL, NULL);
    close_all();
    put_record("DELETING", NULL, NULL);
    OK(records_put(w.records, SV_LIT("datastoreactive/" ID), SV_LIT(""), e));
    assert_true(on_disk(SV_LIT(ID)));
    open_all();
    assert_sv(text_at(ended(a, SV_LIT(ID)), "DatastoreStatus"), SV_LIT("DELETED"));
    assert_false(on_disk(SV_LIT(ID)));
}

TEST(datastore_life, a_restart_leaves_alone_what_is_active)
{
    (void)state;
    put_store(NULL, NULL);
    close_all();
    open_all();
    assert_int_equal(get(SV_LIT(ID), "Patient/p"), 200);
    assert_int_equal(ask(CALL("DescribeFHIRDatastore", "{\"DatastoreId\":\"" ID "\"}"),
                         "\"DatastoreStatus\":\"ACTIVE\""),
                     200);
}

/* ---- how many there may be ---- */

TEST(datastore_life, deleted_ones_make_room_for_others_also_after_a_restart)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    static const char *const more =
        CALL("CreateFHIRDatastore", "{\"DatastoreTypeVersion\":\"R4\"}");
    close_all();
    w.max_datastores = 2;
    open_all();
    sv one = created(a, ""), two = created(a, "");
    assert_true(ask(more, "ThrottlingException") >= 400);
    (void)ended(a, two);
    (void)ended(a, one);
    close_all();
    open_all();
    assert_true(ask(more, "ThrottlingException") >= 400);
    begin_deletion(a, one);
    assert_sv(text_at(ended(a, one), "DatastoreStatus"), SV_LIT("DELETED"));
    sv three = created(a, "");
    assert_true(ask(more, "ThrottlingException") >= 400);
    (void)ended(a, three);
    close_all();
    open_all();
    assert_true(ask(more, "ThrottlingException") >= 400);
    begin_deletion(a, two);
    (void)ended(a, two);
    (void)created(a, "");
}

#define IN_ITS_FOLDER(sentence)                                                               \
    {                                                                                         \
        "datastore_life: " #sentence, test_datastore_life_##sentence, set_up, tear_down, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ITS_FOLDER(a_new_one_becomes_active_and_is_empty),
        IN_ITS_FOLDER(one_with_preload_has_its_patients_when_it_is_active),
        IN_ITS_FOLDER(a_deleted_one_is_gone_from_the_disk_and_stays_described),
        IN_ITS_FOLDER(one_that_cannot_be_made_says_why_and_can_be_deleted),
        IN_ITS_FOLDER(a_restart_makes_anew_what_was_half_made),
        IN_ITS_FOLDER(a_restart_goes_on_removing),
        IN_ITS_FOLDER(a_restart_leaves_alone_what_is_active),
        IN_ITS_FOLDER(deleted_ones_make_room_for_others_also_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Two services on the records and data stores of one database, as two processes would be: what one
 * of them changes between a look and a write of the other is seen. */
#include "aws/whole.h"

#include "aws/aws_private.h"
#include "base/log.h"
#include "service/plane.h"
#include "store/lease.h"
#include "store/postgres_sql.h"

#include <stdatomic.h>
#include <unistd.h>

static struct world one, two;

/* What the other one does in front of the next writing of records by the first. Whichever of its
 * threads that is: nothing of it may be under way. */
typedef void (*hook)(void);
static _Atomic(hook) between;

err_code __real_records_write(struct records *r, const struct records_write *x, size_t n,
                              struct err *e);
err_code __wrap_records_write(struct records *r, const struct records_write *x, size_t n,
                              struct err *e);
err_code __wrap_records_write(struct records *r, const struct records_write *x, size_t n,
                              struct err *e)
{
    hook does = r == one.records ? atomic_exchange(&between, NULL) : NULL;
    if (does)
        does();
    return __real_records_write(r, x, n, e);
}

/* ---- life ---- */

static bool there_is_none(void)
{
    return pg_server_uri() == NULL;
}

static void open_world(struct world *x, const char *system, const char *stores)
{
    world_make(x);
    records_close(x->records);
    OK(records_open(system, &x->records, e));
    int n = snprintf(x->stores, sizeof x->stores, "%s", stores);
    assert_in_range(n, 1, sizeof x->stores - 1);
    x->max_datastores = 3;
    world_open(x, &aws_plane, true);
}

static char system_uri[300];

static int set_up(void **state)
{
    (void)state;
    if (there_is_none())
        return 0;
    atomic_store(&between, NULL);
    assert_true(pg_new_place(system_uri, sizeof system_uri));
    open_world(&one, system_uri, pg_server_uri());
    open_world(&two, system_uri, pg_server_uri());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (there_is_none())
        return 0;
    IGNORE(world_close(&two));
    IGNORE(world_close(&one));
    pg_drop(system_uri);
    return 0;
}

/* ---- requests ---- */

static struct arena *said_in;

/* What the operation answers; ' stands for ". status 0: whatever it is. */
static yyjson_val *call_of(struct world *x, unsigned status, const char *operation,
                           const char *members)
{
    struct loopback_answer got;
    yyjson_doc *doc;
    char raw[2000];
    int n = snprintf(raw, sizeof raw, CALL("%s", "{%s}"), operation, members);
    assert_in_range(n, 1, sizeof raw - 1);
    for (char *q = raw; *q; q++)
        *q = *q == '\'' ? '"' : *q;
    loopback_send(x->service, sv_from(raw), NULL, &got);
    sv body = arena_sv(said_in, buf_sv(&got.body));
    if (status && got.status != status)
        fail_msg("%s: %u %.*s", raw, got.status, SV_FMT(body));
    loopback_answer_done(&got);
    OK(json_read(said_in, body, 16, &doc, e));
    return yyjson_doc_get_root(doc);
}

static const char *on_id(const char *id, const char *more)
{
    static char text[4][500];
    static unsigned at;
    char *out = text[at++ % 4];
    (void)snprintf(out, sizeof text[0], "'DatastoreId':'%s'%s", id, more);
    return out;
}

static const char *on_arn(const char *id, const char *more)
{
    static char text[500];
    (void)snprintf(text, sizeof text,
                   "'ResourceARN':'arn:aws:healthlake:us-east-1:000000000000:datastore/fhir/%s'%s",
                   id, more);
    return text;
}

static void wait_for(struct world *x, const char *id, const char *status)
{
    const arena_mark m = arena_mark_get(said_in);
    bool is = false;
    while (!is) {
        arena_rewind(said_in, m);
        yyjson_val *v = call_of(x, 200, "DescribeFHIRDatastore", on_id(id, ""));
        is = sv_eq_cstr(text_at(v, "DatastoreProperties.DatastoreStatus"), status);
    }
}

static void create(struct world *x, const char *more, char id[33])
{
    char members[300];
    (void)snprintf(members, sizeof members, "'DatastoreTypeVersion':'R4'%s", more);
    yyjson_val *v = call_of(x, 200, "CreateFHIRDatastore", members);
    (void)snprintf(id, 33, "%.*s", SV_FMT(text_at(v, "DatastoreId")));
}

static void removed(const char *id)
{
    (void)call_of(&one, 200, "DeleteFHIRDatastore", on_id(id, ""));
    wait_for(&one, id, "DELETED");
}

/* ---- cases ---- */

static char subject[33];

static void two_tags(void)
{
    (void)call_of(&two, 200, "TagResource",
                  on_arn(subject, ",'Tags':[{'Key':'theirs','Value':'1'}]"));
}
static void two_renames(void)
{
    (void)call_of(&two, 200, "UpdateFHIRDatastore", on_id(subject, ",'DatastoreName':'theirs'"));
}
static void two_deletes(void)
{
    (void)call_of(&two, 200, "DeleteFHIRDatastore", on_id(subject, ""));
}

TEST(nodes, a_record_that_two_change_has_both_changes)
{
    (void)state;
    if (there_is_none())
        return;
    said_in = arena_new(1 << 20);
    create(&one, "", subject);
    wait_for(&two, subject, "ACTIVE");
    atomic_store(&between, two_tags);
    (void)call_of(&one, 200, "TagResource",
                  on_arn(subject, ",'Tags':[{'Key':'mine','Value':'1'}]"));
    yyjson_val *v = call_of(&two, 200, "ListTagsForResource", on_arn(subject, ""));
    assert_int_equal(yyjson_arr_size(json_get(v, "Tags")), 2);
    atomic_store(&between, two_renames);
    (void)call_of(&one, 200, "UntagResource", on_arn(subject, ",'TagKeys':['mine']"));
    v = call_of(&one, 200, "DescribeFHIRDatastore", on_id(subject, ""));
    assert_sv(text_at(v, "DatastoreProperties.DatastoreName"), SV_LIT("theirs"));
    /* what the other one has done is looked at again: it cannot be updated any more */
    atomic_store(&between, two_deletes);
    v = call_of(&one, 0, "UpdateFHIRDatastore", on_id(subject, ",'DatastoreName':'mine'"));
    assert_null(json_get(v, "DatastoreProperties"));
    wait_for(&one, subject, "DELETED");
    arena_free(said_in);
}

static char theirs[33];

static void two_creates(void)
{
    create(&two, ",'ClientToken':'the-same-token-of-both'", theirs);
}

TEST(nodes, one_token_makes_one_data_store_whoever_is_asked)
{
    (void)state;
    char mine[33], again[33];
    if (there_is_none())
        return;
    said_in = arena_new(1 << 20);
    atomic_store(&between, two_creates);
    create(&one, ",'ClientToken':'the-same-token-of-both'", mine);
    assert_string_equal(mine, theirs);
    create(&one, ",'ClientToken':'the-same-token-of-both'", again);
    assert_string_equal(again, theirs);
    yyjson_val *v = call_of(&one, 200, "ListFHIRDatastores", "");
    assert_int_equal(yyjson_arr_size(json_get(v, "DatastorePropertiesList")), 1);
    wait_for(&one, mine, "ACTIVE");
    removed(mine);
    arena_free(said_in);
}

static void two_creates_another(void)
{
    create(&two, "", theirs);
}

TEST(nodes, no_more_data_stores_are_made_than_there_may_be)
{
    (void)state;
    char ids[4][33];
    if (there_is_none())
        return;
    said_in = arena_new(1 << 20);
    create(&one, "", ids[0]);
    create(&two, "", ids[1]);
    wait_for(&one, ids[0], "ACTIVE");
    wait_for(&two, ids[1], "ACTIVE");
    /* both for the last place */
    atomic_store(&between, two_creates_another);
    yyjson_val *v = call_of(&one, 429, "CreateFHIRDatastore", "'DatastoreTypeVersion':'R4'");
    assert_sv(text_at(v, "__type"), SV_LIT("ThrottlingException"));
    memcpy(ids[2], theirs, sizeof theirs);
    /* a deletion by either makes room for the other */
    removed(ids[0]);
    create(&two, "", ids[3]);
    /* the newest first, and no two in one place */
    v = call_of(&one, 200, "ListFHIRDatastores", "'Filter':{'DatastoreStatus':'DELETED'}");
    assert_int_equal(yyjson_arr_size(json_get(v, "DatastorePropertiesList")), 1);
    v = json_get(call_of(&two, 200, "ListFHIRDatastores", ""), "DatastorePropertiesList");
    assert_int_equal(yyjson_arr_size(v), 4);
    for (unsigned i = 0; i < 4; i++)
        assert_sv(text_at(yyjson_arr_get(v, i), "DatastoreId"), sv_from(ids[3 - i]));
    for (unsigned i = 1; i < 4; i++) {
        wait_for(&one, ids[i], "ACTIVE");
        removed(ids[i]);
    }
    arena_free(said_in);
}

TEST(nodes, a_page_of_a_list_that_one_gave_goes_on_at_the_other)
{
    (void)state;
    char id[2][33], members[1000];
    if (there_is_none())
        return;
    said_in = arena_new(1 << 20);
    for (unsigned i = 0; i < 2; i++) {
        create(&one, "", id[i]);
        wait_for(&one, id[i], "ACTIVE");
    }
    yyjson_val *v = call_of(&one, 200, "ListFHIRDatastores", "'MaxResults':1");
    (void)snprintf(members, sizeof members, "'MaxResults':1,'NextToken':'%.*s'",
                   SV_FMT(text_at(v, "NextToken")));
    v = call_of(&two, 200, "ListFHIRDatastores", members);
    assert_sv(text_at(yyjson_arr_get(json_get(v, "DatastorePropertiesList"), 0), "DatastoreId"),
              sv_from(id[0]));
    for (unsigned i = 0; i < 2; i++)
        removed(id[i]);
    arena_free(said_in);
}

static unsigned status_of(struct world *x, const char *id, const char *request, const char *says)
{
    char raw[400];
    struct loopback_answer got;
    const char *at = strstr(request, "ID");
    (void)snprintf(raw, sizeof raw, "%.*s%s%s", (int)(at - request), request, id, at + 2);
    for (char *q = raw; *q; q++)
        *q = *q == '\'' ? '"' : *q;
    loopback_send(x->service, sv_from(raw), NULL, &got);
    const unsigned status = got.status;
    if (says && memmem(got.body.ptr, got.body.len, says, strlen(says)) == NULL)
        fail_msg("%u %.*s", status, SV_FMT(buf_sv(&got.body)));
    loopback_answer_done(&got);
    return status;
}

#define PUT_PATIENT                                                                    \
    "PUT /datastore/ID/r4/Patient/p HTTP/1.1\nContent-Type: application/fhir+json\n\n" \
    "{'resourceType':'Patient','id':'p'}"
#define CREATE_PATIENT                                                              \
    "POST /datastore/ID/r4/Patient HTTP/1.1\nContent-Type: application/fhir+json\n" \
    "If-None-Exist: _id=q\n\n{'resourceType':'Patient'}"
#define TRANSACT                                                                               \
    "POST /datastore/ID/r4/ HTTP/1.1\nContent-Type: application/fhir+json\n\n"                 \
    "{'resourceType':'Bundle','type':'transaction','entry':[{'request':{'method':'PUT','url':" \
    "'Patient/p'},'resource':{'resourceType':'Patient','id':'p'}}]}"

/* A process that has not heard of it yet writes into nothing, and says so. */
TEST(nodes, a_write_into_a_data_store_that_another_has_deleted_fails_and_says_why)
{
    (void)state;
    static const char *const requests[] = {
        PUT_PATIENT,
        CREATE_PATIENT,
        TRANSACT,
        "GET /datastore/ID/r4/Patient/p HTTP/1.1\n\n",
        "GET /datastore/ID/r4/Patient HTTP/1.1\n\n",
        "DELETE /datastore/ID/r4/Patient/p HTTP/1.1\n\n",
        "DELETE /datastore/ID/r4/Patient?_id=p&_count=2 HTTP/1.1\n\n"
    };
    char id[33];
    if (there_is_none())
        return;
    said_in = arena_new(1 << 20);
    create(&one, "", id);
    wait_for(&one, id, "ACTIVE");
    /* for as long as this process does not ask */
    assert_int_equal(two.service->known.most_us, DATASTORE_KNOWN_US);
    two.service->known.most_us = 0;
    assert_int_equal(status_of(&two, id, PUT_PATIENT, NULL), 201);
    removed(id);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        assert_int_equal(status_of(&two, id, requests[i], "data store was deleted"), 410);
    /* it asks: a second later at the latest */
    two.service->known.most_us = 1;
    assert_int_equal(status_of(&two, id, PUT_PATIENT, "Data store is DELETED"), 404);
    two.service->known.most_us = DATASTORE_KNOWN_US;
    arena_free(said_in);
}

/* ---- what is kept behind its deletion ---- */

/* As of a data store of a folder with a backup that was copied into the database. */
static void keep_until(const char *id, int64_t until_ms)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    OK(datastore_read(one.service, sv_from(id), a, &datastore, e));
    datastore.status = SV_LIT("DELETED");
    datastore.backup = (struct datastore_backup){ .given = true,
                                                  .enabled = true,
                                                  .days = 1,
                                                  .enabled_ms = 1,
                                                  .ended_ms = 2,
                                                  .until_ms = until_ms };
    OK(datastore_write(one.service, &datastore, e));
    assert_true(datastore_is_kept(&datastore));
}

static bool is_kept(const char *id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    OK(datastore_read(two.service, sv_from(id), a, &datastore, e));
    return datastore_is_kept(&datastore);
}

static bool has_data(const char *id)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql, "select count(*) from pg_namespace where nspname = 'fl_%s'",
                   id);
    return pg_sql(system_uri, sql) == 1;
}

TEST(nodes, what_is_kept_no_longer_is_removed_by_one_and_taken_up_by_another)
{
    (void)state;
    char id[33], name[64];
    struct leases *theirs_all;
    struct lease *their;
    if (there_is_none())
        return;
    said_in = arena_new(1 << 20);
    create(&one, "", id);
    wait_for(&one, id, "ACTIVE");
    assert_int_equal(status_of(&one, id, PUT_PATIENT, NULL), 201);
    /* a third node is about to remove it, and stands still */
    OK(leases_open(one.records, 0, &theirs_all, e));
    (void)snprintf(name, sizeof name, "datastore/%s", id);
    OK(lease_take(theirs_all, sv_from(name), NULL, NULL, &their, e));
    keep_until(id, clock_wall_ms() - 1);
    for (unsigned i = 0; i < 100; i++) {
        retained_look(one.service->aws->retained);
        retained_look(two.service->aws->retained);
        (void)call_of(&two, 200, "DescribeFHIRDatastore", on_id(id, ""));
        assert_true(has_data(id));
    }
    assert_true(is_kept(id));
    lease_release(their);
    leases_close(theirs_all);
    /* both would */
    while (is_kept(id)) {
        retained_look(one.service->aws->retained);
        retained_look(two.service->aws->retained);
        (void)usleep(1000);
    }
    assert_false(has_data(id));
    arena_free(said_in);
}

#define EACH(sentence)                                                      \
    {                                                                       \
        "nodes: " #sentence, test_nodes_##sentence, set_up, tear_down, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_record_that_two_change_has_both_changes),
        EACH(one_token_makes_one_data_store_whoever_is_asked),
        EACH(no_more_data_stores_are_made_than_there_may_be),
        EACH(a_page_of_a_list_that_one_gave_goes_on_at_the_other),
        EACH(a_write_into_a_data_store_that_another_has_deleted_fails_and_says_why),
        EACH(what_is_kept_no_longer_is_removed_by_one_and_taken_up_by_another),
    };
    /* it is asked often */
    log_level_set(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

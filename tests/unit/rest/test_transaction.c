/* All entries of a Bundle, or none of them.
 * Source: FHIR R4 http.html#trules, bundle.html#bundle-response. */
#include "rest/entries.h"

#include <pthread.h>

#define P(id, key) "{'resourceType':'Patient','id':'" id "','identifier':[{'value':'" key "'}]}"
#define NEW(key)   "{'resourceType':'Patient','identifier':[{'value':'" key "'}]}"
/* [{"op":"add","path":"/active","value":true}] */
#define PATCH_ACTIVE                                                        \
    "{'resourceType':'Binary','contentType':'application/json-patch+json'," \
    "'data':'W3sib3AiOiJhZGQiLCJwYXRoIjoiL2FjdGl2ZSIsInZhbHVlIjp0cnVlfV0='}"
#define IF_NONE_EXIST(query) "'ifNoneExist':'" query "'"

static size_t versions(void)
{
    GOT("_history?_count=1000");
    return yyjson_arr_size(value_at("/entry"));
}

/* Refused at this entry, and nothing of it is stored. */
#define NOTHING_OF(status, where, ...)          \
    do {                                        \
        size_t before_ = versions();            \
        REFUSED_AT(status, where, __VA_ARGS__); \
        assert_int_equal(versions(), before_);  \
    } while (0)

TEST(transaction, answers_in_the_order_of_the_bundle)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", P("a", "1"));
    PUT_NEW("Patient/gone", P("gone", "2"));
    DONE(ENTRY("GET", "Patient/a", ""), ENTRY("PUT", "Patient/a", RESOURCE(P("a", "1"))),
         ENTRY("POST", "Patient", RESOURCE(NEW("3"))), ENTRY("DELETE", "Patient/gone", ""),
         ENTRY("PUT", "Patient/new", RESOURCE(P("new", "4"))));
    SAYS("/resourceType", "Bundle");
    SAYS("/type", "transaction-response");
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 5);
    SAYS("/entry/0/response/status", "200");
    SAYS("/entry/1/response/status", "200");
    SAYS("/entry/2/response/status", "201");
    SAYS("/entry/3/response/status", "204");
    SAYS("/entry/4/response/status", "201");
    SAYS("/entry/1/response/location", "Patient/a/_history/2");
    SAYS("/entry/1/response/etag", "W/\"2\"");
    SAYS("/entry/4/response/location", "Patient/new/_history/1");
    /* Reads come last, and see what was written. */
    SAYS("/entry/0/resource/meta/versionId", "2");
    GOT(placed(2));
    ASKED(410, "GET", "Patient/gone", "", NULL);
}

TEST(transaction, deletes_first_then_creates_then_updates)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", P("a", "1"));
    /* The one that would match is deleted before, though its entry comes behind. */
    DONE(ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=1"), RESOURCE(NEW("1"))),
         ENTRY("DELETE", "Patient/a", ""));
    SAYS("/entry/0/response/status", "201");
    SAYS("/entry/1/response/status", "204");
    GOT("Patient?identifier=1");
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 1);
    assert_false(sv_eq(said("/entry/0/resource/id"), SV_LIT("a")));
}

TEST(transaction, is_one_commit)
{
    (void)state;
    char when[40];
    fresh_store();
    DONE(ENTRY("POST", "Patient", RESOURCE(NEW("1"))), ENTRY("POST", "Patient", RESOURCE(NEW("2"))),
         ENTRY("PUT", "Patient/c", RESOURCE(P("c", "3"))));
    GOT("_history");
    (void)snprintf(when, sizeof when, "%.*s", SV_FMT(said("/entry/0/response/lastModified")));
    assert_sv(said("/entry/1/response/lastModified"), sv_from(when));
    assert_sv(said("/entry/2/response/lastModified"), sv_from(when));
}

#define GOOD ENTRY("PUT", "Patient/good", RESOURCE(P("good", "9")))

TEST(transaction, stores_nothing_when_an_entry_fails)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", P("a", "1"));
    PUT_NEW("Patient/b", P("b", "2"));
    PUT_NEW("Patient/c", P("c", "2"));
    NOTHING_OF(400, ".entry[1].resource.birthDate", GOOD,
               ENTRY("POST", "Patient", RESOURCE("{'resourceType':'Patient','birthDate':'soon'}")));
    NOTHING_OF(404, ".entry[1].request.url", GOOD, ENTRY("GET", "Patient/never", ""));
    NOTHING_OF(404, ".entry[1].request.url", GOOD, ENTRY("DELETE", "Patient/never", ""));
    NOTHING_OF(412, ".entry[1].request.ifNoneExist", GOOD,
               ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=2"), RESOURCE(NEW("2"))));
    NOTHING_OF(412, ".entry[1].request.url", GOOD,
               ENTRY("PUT", "Patient?identifier=2", RESOURCE(NEW("2"))));
    NOTHING_OF(400, ".entry[1].request.url", GOOD, ENTRY("GET", "Patient?birthdate=soon", ""));
    NOTHING_OF(412, ".entry[1].request", GOOD,
               ENTRY_IF("PUT", "Patient/a", "'ifMatch':'W/\\\"7\\\"'", RESOURCE(P("a", "1"))));
    ASKED(404, "GET", "Patient/good", "", NULL);
    /* The same entries, the one that fails in front. */
    NOTHING_OF(404, ".entry[0].request.url", ENTRY("GET", "Patient/never", ""), GOOD);
}

TEST(transaction, fails_when_it_reads_what_it_deletes)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", P("a", "1"));
    NOTHING_OF(410, ".entry[0].request.url", ENTRY("GET", "Patient/a", ""),
               ENTRY("DELETE", "Patient/a", ""));
    /* The versions of a resource outlive it. */
    DONE(ENTRY("GET", "Patient/a/_history", ""), ENTRY("DELETE", "Patient/a", ""));
    SAYS("/entry/0/resource/entry/0/request/method", "DELETE");
}

TEST(transaction, names_a_resource_once)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", P("a", "1"));
    PUT_NEW("Patient/b", P("b", "2"));
    NOTHING_OF(400, ".entry[1].request.url", ENTRY("PUT", "Patient/a", RESOURCE(P("a", "1"))),
               ENTRY("PUT", "Patient/a", RESOURCE(P("a", "3"))));
    NOTHING_OF(400, ".entry[2].request.url", ENTRY("DELETE", "Patient/a", ""), GOOD,
               ENTRY("PUT", "Patient/a", RESOURCE(P("a", "1"))));
    NOTHING_OF(400, ".entry[1].request.url", ENTRY("PUT", "Patient/a", RESOURCE(P("a", "1"))),
               ENTRY("PATCH", "Patient/a", RESOURCE(PATCH_ACTIVE)));
    /* by way of searches */
    NOTHING_OF(400, ".entry[1].request.url", ENTRY("PUT", "Patient/a", RESOURCE(P("a", "1"))),
               ENTRY("PUT", "Patient?identifier=1", RESOURCE(NEW("1"))));
    NOTHING_OF(400, ".entry[1].request.url", ENTRY("DELETE", "Patient/a", ""),
               ENTRY("DELETE", "Patient?identifier=1", ""));
    /* The same id of two types is two resources. */
    DONE(
        ENTRY("PUT", "Patient/a", RESOURCE(P("a", "1"))),
        ENTRY("PUT", "Basic/a", RESOURCE("{'resourceType':'Basic','id':'a','code':{'text':'x'}}")));
}

TEST(transaction, two_conditional_creates_of_one_thing_are_refused)
{
    (void)state;
    fresh_store();
    NOTHING_OF(400, ".entry[0].request.ifNoneExist",
               ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=1"), RESOURCE(NEW("1"))),
               ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=1"), RESOURCE(NEW("1"))));
    /* Another entry without a condition would be the same thing too. */
    NOTHING_OF(400, ".entry[0].request.ifNoneExist",
               ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=1"), RESOURCE(NEW("1"))),
               ENTRY("POST", "Patient", RESOURCE(NEW("1"))));
    DONE(ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=1"), RESOURCE(NEW("1"))),
         ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=2"), RESOURCE(NEW("2"))));
    SAYS("/entry/0/response/status", "201");
    SAYS("/entry/1/response/status", "201");
    /* Both are there now. */
    DONE(ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=1"), RESOURCE(NEW("1"))),
         ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=2"), RESOURCE(NEW("2"))));
    SAYS("/entry/0/response/status", "200");
    SAYS("/entry/1/response/status", "200");
    assert_int_equal(versions(), 2);
}

TEST(transaction, patches_the_version_that_stands)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", P("a", "1"));
    DONE(ENTRY("PATCH", "Patient/a", RESOURCE(PATCH_ACTIVE)), GOOD);
    SAYS("/entry/0/response/location", "Patient/a/_history/2");
    GOT("Patient/a");
    assert_true(yyjson_is_true(value_at("/active")));
    SAYS("/identifier/0/value", "1");
}

TEST(transaction, may_be_empty)
{
    (void)state;
    fresh_store();
    ASKED(200, "POST", "", "", "{'resourceType':'Bundle','type':'transaction'}");
    SAYS("/type", "transaction-response");
    assert_null(value_at("/entry"));
}

/* ---- races ---- */

#define RACERS 8u

static void *race(void *ctx)
{
    struct loopback_answer a;
    loopback_send(here.w.service, *(const sv *)ctx, NULL, &a);
    unsigned *status = malloc(sizeof *status);
    *status = a.status;
    loopback_answer_done(&a);
    return status;
}

TEST(transaction, many_that_create_one_thing_at_once_create_it_once)
{
    (void)state;
    char raw[1000];
    pthread_t threads[RACERS];
    fresh_store();
    const char *text =
        BUNDLE("transaction",
               ENTRY_IF("POST", "Patient", IF_NONE_EXIST("identifier=1"), RESOURCE(NEW("1"))),
               ENTRY("POST", "Basic", RESOURCE("{'resourceType':'Basic','code':{'text':'x'}}")));
    int n = snprintf(raw, sizeof raw,
                     "POST /datastore/%s/r4/ HTTP/1.1\nContent-Type: application/fhir+json\n\n%s",
                     here.id, text);
    assert_in_range(n, 1, sizeof raw - 1);
    for (int i = 0; i < n; i++)
        raw[i] = raw[i] == '\'' ? '"' : raw[i];
    sv request = sv_from(raw);
    size_t n_done = 0, n_refused = 0;
    for (unsigned i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &request), 0);
    for (unsigned i = 0; i < RACERS; i++) {
        void *got;
        pthread_join(threads[i], &got);
        unsigned status = *(unsigned *)got;
        free(got);
        n_done += status == 200;
        /* Who was overtaken too often, or found no place, stores nothing. */
        n_refused += status == 409 || status == 429;
    }
    assert_int_equal(n_done + n_refused, RACERS);
    assert_true(n_done > 0);
    GOT("Patient?_total=accurate");
    SAYS("/total", "1");
    GOT("Basic?_total=accurate&_summary=count");
    uint64_t n_basic;
    assert_true(sv_to_u64(said("/total"), &n_basic));
    assert_int_equal(n_basic, n_done);
}

ASKING_MAIN(T(transaction, answers_in_the_order_of_the_bundle),
            T(transaction, deletes_first_then_creates_then_updates), T(transaction, is_one_commit),
            T(transaction, stores_nothing_when_an_entry_fails),
            T(transaction, fails_when_it_reads_what_it_deletes),
            T(transaction, names_a_resource_once),
            T(transaction, two_conditional_creates_of_one_thing_are_refused),
            T(transaction, patches_the_version_that_stands), T(transaction, may_be_empty),
            T(transaction, many_that_create_one_thing_at_once_create_it_once))

/* Writes that depend on what a search finds: none, one, or several.
 * Source: FHIR R4 http.html#ccreate, #cond-update, #cond-delete; docs/api-fhir.md. */
#include "rest/asking.h"

#define KEYED(id, key) "{'resourceType':'Patient'" id ",'identifier':[{'value':'" key "'}]}"
#define ID(id)         ",'id':'" id "'"
#define EXIST(query)   "If-None-Exist: " query "\n"
#define PATCH_ACTIVE   "[{'op':'add','path':'/active','value':true}]"
#define AS_PATCH       "Content-Type: application/json-patch+json\n"

/* Patient/one has the key 1; Patient/a and Patient/b have the key 2. */
static void filled_store(void)
{
    fresh_store();
    PUT_NEW("Patient/one", KEYED(ID("one"), "1"));
    PUT_NEW("Patient/a", KEYED(ID("a"), "2"));
    PUT_NEW("Patient/b", KEYED(ID("b"), "2"));
}

/* How many versions there are in the store: who refuses writes none. */
static size_t versions(void)
{
    GOT("_history");
    return yyjson_arr_size(value_at("/entry"));
}

#define REFUSED(status, how, where, more, text, code)    \
    do {                                                 \
        size_t before_ = versions();                     \
        ASKED((status), (how), (where), (more), (text)); \
        SAYS("/resourceType", "OperationOutcome");       \
        SAYS("/issue/0/severity", "error");              \
        SAYS("/issue/0/code", code);                     \
        assert_int_equal(versions(), before_);           \
    } while (0)

TEST(conditional, a_create_without_a_match_creates)
{
    (void)state;
    filled_store();
    ASKED(201, "POST", "Patient", EXIST("identifier=3"), KEYED("", "3"));
    SAYS("/identifier/0/value", "3");
    assert_true(sv_find(header("Location"), '/') < header("Location").len);
    GOT("Patient?identifier=3");
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 1);
    /* It is found by the next one. */
    ASKED(200, "POST", "Patient", EXIST("identifier=3"), KEYED("", "3"));
    assert_int_equal(versions(), 4);
}

TEST(conditional, a_create_with_one_match_stores_nothing_and_says_which_one_it_is)
{
    (void)state;
    filled_store();
    ASKED(200, "POST", "Patient", EXIST("identifier=1"),
          "{'resourceType':'Patient','active':true,'identifier':[{'value':'1'}]}");
    SAYS("/id", "one");
    assert_null(value_at("/active"));
    assert_sv(header("ETag"), SV_LIT("W/\"1\""));
    assert_true(sv_ends(header("Location"), SV_LIT("/Patient/one/_history/1")));
    assert_int_equal(versions(), 3);
    /* The header may hold the whole search, as clients write it. */
    ASKED(200, "POST", "Patient", EXIST("Patient?identifier=1"), KEYED("", "1"));
    SAYS("/id", "one");
    ASKED(200, "POST", "Patient", EXIST("identifier=1") "Prefer: return=minimal\n", KEYED("", "1"));
    assert_int_equal(here.last.body.len, 0);
    assert_true(sv_ends(header("Location"), SV_LIT("/Patient/one/_history/1")));
}

TEST(conditional, several_matches_are_412_for_every_write)
{
    (void)state;
    filled_store();
    REFUSED(412, "POST", "Patient", EXIST("identifier=2"), KEYED("", "2"), "conflict");
    REFUSED(412, "PUT", "Patient?identifier=2", "", KEYED("", "2"), "conflict");
    REFUSED(412, "PUT", "Patient?identifier=2", "", KEYED(ID("a"), "2"), "conflict");
    REFUSED(412, "DELETE", "Patient?identifier=2", "", NULL, "conflict");
    /* the type of the patch comes first, so the one of JSON is passed over */
    REFUSED(412, "PATCH", "Patient?identifier=2", AS_PATCH, PATCH_ACTIVE, "conflict");
}

TEST(conditional, an_update_without_a_match_creates_under_the_id_of_the_body_or_a_new_one)
{
    (void)state;
    filled_store();
    ASKED(201, "PUT", "Patient?identifier=3", "", KEYED(ID("three"), "3"));
    SAYS("/id", "three");
    assert_true(sv_ends(header("Location"), SV_LIT("/Patient/three/_history/1")));
    ASKED(201, "PUT", "Patient?identifier=4", "", KEYED("", "4"));
    assert_int_equal(said("/id").len, 36);
    /* The id is taken by one that does not match. */
    REFUSED(409, "PUT", "Patient?identifier=5", "", KEYED(ID("one"), "5"), "conflict");
}

TEST(conditional, an_update_with_one_match_updates_it)
{
    (void)state;
    filled_store();
    ASKED(200, "PUT", "Patient?identifier=1", "", KEYED("", "1"));
    SAYS("/id", "one");
    SAYS("/meta/versionId", "2");
    ASKED(200, "PUT", "Patient?identifier=1", "", KEYED(ID("one"), "1"));
    SAYS("/meta/versionId", "3");
    /* The id of the body is another one's: 409 in HealthLake's table, where R4 has 400. */
    REFUSED(409, "PUT", "Patient?identifier=1", "", KEYED(ID("a"), "1"), "conflict");
    REFUSED(409, "PUT", "Patient?identifier=1", "", KEYED(ID("new"), "1"), "conflict");
}

TEST(conditional, a_patch_needs_one_match)
{
    (void)state;
    filled_store();
    REFUSED(404, "PATCH", "Patient?identifier=3", AS_PATCH, PATCH_ACTIVE, "not-found");
    ASKED(200, "PATCH", "Patient?identifier=1", AS_PATCH, PATCH_ACTIVE);
    SAYS("/id", "one");
    assert_true(yyjson_is_true(value_at("/active")));
    SAYS("/meta/versionId", "2");
}

TEST(conditional, a_delete_takes_the_one_that_matches)
{
    (void)state;
    filled_store();
    REFUSED(404, "DELETE", "Patient?identifier=3", "", NULL, "not-found");
    DELETED("Patient?identifier=1");
    ASKED(410, "GET", "Patient/one", "", NULL);
    ASKED(200, "GET", "Patient/a", "", NULL);
    /* What is deleted matches no search. */
    REFUSED(404, "DELETE", "Patient?identifier=1", "", NULL, "not-found");
    /* By _id alone it is known, and to delete it again is no error. */
    DELETED("Patient?_id=one");
    assert_int_equal(versions(), 4);
    REFUSED(404, "DELETE", "Patient?_id=never", "", NULL, "not-found");
    REFUSED(409, "DELETE", "Patient?_id=a&_tag=x", "", NULL, "conflict");
}

TEST(conditional, a_delete_of_several_takes_as_many_as_count_says)
{
    (void)state;
    filled_store();
    ASKED(200, "DELETE", "Patient?identifier=2&_count=1", "", NULL);
    SAYS("/type", "batch-response");
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 1);
    GOT("Patient?identifier=2");
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 1);
    ASKED(200, "DELETE", "Patient?identifier=2&_count=100", "", NULL);
    GOT("Patient");
    ENTRIES(NULL, "Patient/one");
}

TEST(conditional, a_condition_that_says_less_than_is_meant_is_refused)
{
    (void)state;
    filled_store();
    static const char *const bad[] = {
        "identifier=",         /* empty */
        "identifier=,",        /* and so are its parts */
        "=1",                  /* no name */
        "identifier=1&name=",  /* one of two */
        "shoesize=44",         /* no parameter of Patient */
        "_format=json",        /* no filter */
        "_sort=name",          /* no filter either */
        "birthdate=yesterday", /* no date */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char where[100], line[100];
        (void)snprintf(where, sizeof where, "Patient?%s", bad[i]);
        (void)snprintf(line, sizeof line, "If-None-Exist: %s\n", bad[i]);
        REFUSED(400, "POST", "Patient", line, KEYED("", "1"), "invalid");
        REFUSED(400, "PUT", where, "", KEYED("", "1"), "invalid");
        REFUSED(400, "PATCH", where, AS_PATCH, PATCH_ACTIVE, "invalid");
        REFUSED(400, "DELETE", where, "", NULL, "invalid");
    }
    ASKED(400, "DELETE", "Patient?identifier=1&name=", "", NULL);
    assert_true(mentions("name of a condition is empty"));
    REFUSED(400, "POST", "Patient", "If-None-Exist:\n", KEYED("", "1"), "invalid");
}

TEST(conditional, a_condition_of_a_type_sees_that_type_alone)
{
    (void)state;
    filled_store();
    ASKED(201, "POST", "Organization", EXIST("identifier=1"),
          "{'resourceType':'Organization','name':'o','identifier':[{'value':'1'}]}");
    ASKED(200, "POST", "Patient", EXIST("identifier=1"), KEYED("", "1"));
    SAYS("/id", "one");
}

ASKING_MAIN(T(conditional, a_create_without_a_match_creates),
            T(conditional, a_create_with_one_match_stores_nothing_and_says_which_one_it_is),
            T(conditional, several_matches_are_412_for_every_write),
            T(conditional, an_update_without_a_match_creates_under_the_id_of_the_body_or_a_new_one),
            T(conditional, an_update_with_one_match_updates_it),
            T(conditional, a_patch_needs_one_match),
            T(conditional, a_delete_takes_the_one_that_matches),
            T(conditional, a_delete_of_several_takes_as_many_as_count_says),
            T(conditional, a_condition_that_says_less_than_is_meant_is_refused),
            T(conditional, a_condition_of_a_type_sees_that_type_alone))

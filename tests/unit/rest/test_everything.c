/* A patient's record: each resource of it once, by type and then id.
 * Source: FHIR R4 patient-operation-everything.html; docs/api-fhir.md. */
#include "rest/asking.h"

#define MODE        "/search/mode"
#define P(id, more) "{'resourceType':'Patient','id':'" id "'" more "}"
#define ORGANIZATION(id, part_of)                                                                  \
    "{'resourceType':'Organization','id':'" id "','name':'x','partOf':{'reference':'" part_of "'}" \
    "}"
#define OBSERVATION(id, subject, more)                                                  \
    "{'resourceType':'Observation','id':'" id "','status':'final','code':{'text':'x'}," \
    "'subject':{'reference':'" subject "'}" more "}"

static void filled_store(void)
{
    fresh_store();
    PUT_NEW("Organization/b", ORGANIZATION("b", "Organization/a"));
    /* a circle of those that are referred to */
    PUT_NEW("Organization/a", ORGANIZATION("a", "Organization/b"));
    PUT_NEW("Practitioner/dr", "{'resourceType':'Practitioner','id':'dr'}");
    PUT_NEW("Practitioner/other", "{'resourceType':'Practitioner','id':'other'}");
    PUT_NEW("Patient/p", P("p", ",'generalPractitioner':[{'reference':'Practitioner/dr'}],"
                                "'managingOrganization':{'reference':'Organization/a'}"));
    PUT_NEW("Patient/q", P("q", ",'generalPractitioner':[{'reference':'Practitioner/other'}]"));
    /* A device of nobody, and one of another patient. */
    PUT_NEW("Device/d", "{'resourceType':'Device','id':'d'}");
    PUT_NEW("Device/of-q",
            "{'resourceType':'Device','id':'of-q','patient':{'reference':'Patient/q'}}");
    PUT_NEW("Observation/o2",
            OBSERVATION("o2", "Patient/p",
                        ",'effectiveDateTime':'2020-05-01','device':{'reference':'Device/d'},"
                        "'performer':[{'reference':'Practitioner/dr'}]"));
    PUT_NEW("Observation/o1",
            OBSERVATION("o1", "Patient/p",
                        ",'effectiveDateTime':'2010-05-01','device':{'reference':'Device/of-q'},"
                        "'performer':[{'reference':'Practitioner/never'}]"));
    PUT_NEW("Observation/of-q",
            OBSERVATION("of-q", "Patient/q", ",'device':{'reference':'Device/of-q'}"));
    PUT_NEW("Condition/c", "{'resourceType':'Condition','id':'c',"
                           "'subject':{'reference':'Patient/p'}}");
    PUT_NEW("Condition/gone", "{'resourceType':'Condition','id':'gone',"
                              "'subject':{'reference':'Patient/p'}}");
    DELETED("Condition/gone");
}

/* three on each page */
#define PAGE_1 "Condition/c match, Device/d include, Observation/o1 match"
#define PAGE_2 "Observation/o2 match, Organization/a include, Organization/b include"
#define PAGE_3 "Patient/p match, Practitioner/dr include"
#define WHOLE  PAGE_1 ", " PAGE_2 ", " PAGE_3

TEST(everything, has_the_record_once_in_order)
{
    (void)state;
    filled_store();
    GOT("Patient/p/$everything");
    SAYS("/resourceType", "Bundle");
    SAYS("/type", "searchset");
    SAYS("/total", "8");
    ENTRIES(MODE, WHOLE);
    assert_false(follow_link("next"));
    GOT("Patient/q/$everything");
    ENTRIES(MODE, "Device/of-q include, Observation/of-q match, Patient/q match, "
                  "Practitioner/other include");
}

TEST(everything, takes_a_patient_who_is_there)
{
    (void)state;
    fresh_store();
    ASKED(404, "GET", "Patient/never/$everything", "", NULL);
    SAYS("/issue/0/code", "not-found");
    PUT_NEW("Patient/p", P("p", ""));
    GOT("Patient/p/$everything");
    ENTRIES(MODE, "Patient/p match");
    DELETED("Patient/p");
    ASKED(410, "GET", "Patient/p/$everything", "", NULL);
    SAYS("/issue/0/code", "deleted");
}

TEST(everything, pages_never_skip_or_repeat_whatever_is_written_meanwhile)
{
    (void)state;
    static const char *const pages[] = { PAGE_1, PAGE_2, PAGE_3 };
    filled_store();
    char next[1000];
    GOT("Patient/p/$everything?_count=3");
    for (size_t i = 0; i < 3; i++) {
        assert_sv(entries(MODE, false), sv_from(pages[i]));
        SAYS("/total", "8");
        sv url = link_to("next");
        assert_true((url.ptr != NULL) == (i < 2));
        (void)snprintf(next, sizeof next, "%.*s", SV_FMT(url));
        if (i == 0) {
            PUT_NEW("Observation/o3", OBSERVATION("o3", "Patient/p", ""));
            DELETED("Observation/o2");
            PUT_AGAIN("Patient/p", P("p", ""));
        }
        if (i < 2)
            GOT(next);
    }
    /* A new request sees what was written. */
    GOT("Patient/p/$everything");
    ENTRIES(MODE, "Condition/c match, Observation/o1 match, Observation/o3 match, Patient/p match");
}

TEST(everything, types_choose_among_the_whole_record)
{
    (void)state;
    filled_store();
    GOT("Patient/p/$everything?_type=Practitioner,Observation");
    ENTRIES(MODE, "Observation/o1 match, Observation/o2 match, Practitioner/dr include");
    SAYS("/total", "3");
    GOT("Patient/p/$everything?_type=Practitioner&_type=Condition");
    ENTRIES(MODE, "Condition/c match, Practitioner/dr include");
    GOT("Patient/p/$everything?_type=Immunization");
    SAYS("/total", "0");
    /* FHIR has no empty arrays. */
    assert_null(value_at("/entry"));
    ASKED(400, "GET", "Patient/p/$everything?_type=Nothing", "", NULL);
}

TEST(everything, start_and_end_look_at_dates_of_care)
{
    (void)state;
    filled_store();
    /* What has no date stays; what only o1 refers to goes with it. */
    GOT("Patient/p/$everything?start=2020-05-01");
    ENTRIES(MODE, "Condition/c match, Device/d include, Observation/o2 match, "
                  "Organization/a include, Organization/b include, Patient/p match, "
                  "Practitioner/dr include");
    GOT("Patient/p/$everything?end=2010-05-01");
    ENTRIES(MODE, "Condition/c match, Observation/o1 match, Organization/a include, "
                  "Organization/b include, Patient/p match, Practitioner/dr include");
    GOT("Patient/p/$everything?start=2010-05-02&end=2020-04-30&_type=Observation");
    SAYS("/total", "0");
    GOT("Patient/p/$everything?start=2010&end=2020&_type=Observation");
    SAYS("/total", "2");
    ASKED(400, "GET", "Patient/p/$everything?start=soon", "", NULL);
}

TEST(everything, since_is_inclusive)
{
    (void)state;
    char path[100];
    filled_store();
    PUT_NEW("Condition/last", "{'resourceType':'Condition','id':'last',"
                              "'subject':{'reference':'Patient/p'}}");
    (void)snprintf(path, sizeof path, "Patient/p/$everything?_type=Condition&_since=%.*s",
                   SV_FMT(said("/meta/lastUpdated")));
    GOT(path);
    sv all = entries(NULL, false);
    assert_true(sv_ends(all, SV_LIT("Condition/last")));
    GOT("Patient/p/$everything?_since=2000-01-01T00:00:00Z");
    SAYS("/total", "9");
    GOT("Patient/p/$everything?_since=2999-01-01T00:00:00Z");
    SAYS("/total", "0");
}

TEST(everything, a_document_brings_the_binary_that_it_attaches)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/p", P("p", ""));
    PUT_NEW("Binary/b", "{'resourceType':'Binary','id':'b','contentType':'text/plain',"
                        "'data':'eA=='}");
    PUT_NEW("DocumentReference/d",
            "{'resourceType':'DocumentReference','id':'d','status':'current',"
            "'subject':{'reference':'Patient/p'},"
            "'content':[{'attachment':{'url':'Binary/b'}}]}");
    GOT("Patient/p/$everything");
    ENTRIES(MODE, "Binary/b include, DocumentReference/d match, Patient/p match");
}

TEST(everything, a_post_with_parameters_does_what_get_does)
{
    (void)state;
    filled_store();
    ASKED(200, "POST", "Patient/p/$everything", "",
          "{'resourceType':'Parameters','parameter':["
          "{'name':'_type','valueCode':'Observation'},{'name':'start','valueDate':'2020'},"
          "{'name':'_count','valueInteger':1}]}");
    ENTRIES(MODE, "Observation/o2 match");
    SAYS("/total", "1");
    /* The self link says the same as the body. */
    assert_true(follow_link("self"));
    ENTRIES(MODE, "Observation/o2 match");
    ASKED(200, "POST", "Patient/p/$everything", "", "{'resourceType':'Parameters'}");
    ENTRIES(MODE, WHOLE);
}

TEST(everything, a_parameter_it_does_not_know_is_named)
{
    (void)state;
    filled_store();
    GOT("Patient/p/$everything?shoesize=44&_type=Patient");
    SAYS("/total", "1");
    SAYS("/entry/1/search/mode", "outcome");
    SAYS("/entry/1/resource/resourceType", "OperationOutcome");
    assert_false(sv_ends(link_to("self"), SV_LIT("shoesize=44")));
    ASKED(400, "GET", "Patient/p/$everything?shoesize=44", "Prefer: handling=strict\n", NULL);
    ASKED(400, "GET", "Patient/p/$everything?_count=many", "", NULL);
    ASKED(400, "GET", "Patient/p/$everything?page=nonsense", "", NULL);
    /* A token of another record is no token of this one. */
    char path[1000];
    GOT("Patient/p/$everything?_count=1");
    sv at = link_to("next");
    (void)snprintf(path, sizeof path, "Patient/q%.*s", SV_FMT(sv_tail(at, sizeof "Patient/p" - 1)));
    ASKED(400, "GET", path, "", NULL);
}

TEST(everything, count_0_asks_for_the_total)
{
    (void)state;
    filled_store();
    GOT("Patient/p/$everything?_count=0");
    SAYS("/total", "8");
    assert_null(value_at("/entry"));
    assert_null(link_to("next").ptr);
}

ASKING_MAIN(T(everything, has_the_record_once_in_order),
            T(everything, takes_a_patient_who_is_there),
            T(everything, pages_never_skip_or_repeat_whatever_is_written_meanwhile),
            T(everything, types_choose_among_the_whole_record),
            T(everything, start_and_end_look_at_dates_of_care), T(everything, since_is_inclusive),
            T(everything, a_document_brings_the_binary_that_it_attaches),
            T(everything, a_post_with_parameters_does_what_get_does),
            T(everything, a_parameter_it_does_not_know_is_named),
            T(everything, count_0_asks_for_the_total))

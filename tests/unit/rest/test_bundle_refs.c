/* Links between the entries of a transaction.
 * Source: FHIR R4 http.html#trules, bundle.html#references; docs/differences-from-healthlake.md. */
#include "rest/entries.h"

#define UUID_A "urn:uuid:05efabf0-4be2-4561-91ce-51548425acb9"
#define UUID_B "urn:uuid:05efabf0-4be2-4561-91ce-51548425acba"
#define ROOT   "http://elsewhere.org/fhir/"

#define PATIENT(more) "{'resourceType':'Patient'" more "}"
#define KEY(key)      ",'identifier':[{'value':'" key "'}]"
#define ABOUT(subject)                                                    \
    "{'resourceType':'Observation','status':'final','code':{'text':'x'}," \
    "'subject':{'reference':'" subject "'}}"
#define CONTAINED                                                         \
    "{'resourceType':'Observation','status':'final','code':{'text':'x'}," \
    "'contained':[" PATIENT(",'id':'c'") "],'subject':{'reference':'#c'}}"
#define OTHER(to) ",'link':[{'other':{'reference':'" to "'},'type':'seealso'}]"

#define CREATE(type, full_url, resource) ENTRY("POST", type, FULL_URL(full_url) RESOURCE(resource))

/* What was placed where is asked for before the next request. */
#define REFERENCE "/subject/reference"

TEST(bundle_refs, a_full_url_becomes_type_and_id_whichever_entry_comes_first)
{
    (void)state;
    fresh_store();
    DONE(CREATE("Observation", UUID_B, ABOUT(UUID_A)), CREATE("Patient", UUID_A, PATIENT("")));
    const char *observation = placed(0), *patient = placed(1);
    GOT(observation);
    assert_sv(said(REFERENCE), sv_from(patient));
    GOT(patient);
    /* Nothing is left of the name in the Bundle. */
    assert_false(mentions("urn:uuid"));
}

TEST(bundle_refs, a_circle_is_closed)
{
    (void)state;
    fresh_store();
    DONE(CREATE("Patient", UUID_A, PATIENT(OTHER(UUID_B))),
         CREATE("Patient", UUID_B, PATIENT(OTHER(UUID_A))));
    const char *a = placed(0), *b = placed(1);
    GOT(a);
    assert_sv(said("/link/0/other/reference"), sv_from(b));
    GOT(b);
    assert_sv(said("/link/0/other/reference"), sv_from(a));
    /* A resource may name itself. */
    DONE(CREATE("Patient", UUID_A, PATIENT(OTHER(UUID_A))));
    a = placed(0);
    GOT(a);
    assert_sv(said("/link/0/other/reference"), sv_from(a));
}

TEST(bundle_refs, links_are_found_in_references_uris_and_narrative_alone)
{
    (void)state;
    char href[200], src[200];
    fresh_store();
    DONE(CREATE("Patient", UUID_A, PATIENT("")),
         CREATE("Basic", UUID_B,
                "{'resourceType':'Basic','code':{'text':'" UUID_A "','coding':[{"
                "'system':'" UUID_A "'}]},"
                "'text':{'status':'generated','div':'<div xmlns=\\'http://www.w3.org/1999/xhtml"
                "\\'><a href=\\'" UUID_A "\\'>" UUID_A "</a><img src=\\'" UUID_A
                "#p\\'/></div>'},'extension':[{'url':'http://x.org/c','valueCanonical':'" UUID_A
                "'},{'url':'http://x.org/s','valueString':'" UUID_A "'}],"
                "'meta':{'profile':['" UUID_A "']},"
                "'subject':{'reference':'" UUID_A "','display':'" UUID_A "'}}"));
    const char *patient = placed(0);
    (void)snprintf(href, sizeof href, "<a href=\"%s\">" UUID_A "</a>", patient);
    (void)snprintf(src, sizeof src, "<img src=\"%s#p\"/>", patient);
    GOT(placed(1));
    assert_sv(said(REFERENCE), sv_from(patient));
    assert_sv(said("/code/coding/0/system"), sv_from(patient));
    sv div = said("/text/div");
    assert_non_null(memmem(div.ptr, div.len, href, strlen(href)));
    assert_non_null(memmem(div.ptr, div.len, src, strlen(src)));
    SAYS("/code/text", UUID_A);
    SAYS("/subject/display", UUID_A);
    SAYS("/extension/1/valueString", UUID_A);
    /* R4: elements of type canonical are not replaced. */
    SAYS("/extension/0/valueCanonical", UUID_A);
    SAYS("/meta/profile/0", UUID_A);
}

TEST(bundle_refs, a_relative_link_counts_from_the_full_url_of_its_holder)
{
    (void)state;
    fresh_store();
    DONE(CREATE("Patient", ROOT "Patient/7", PATIENT("")),
         CREATE("Observation", ROOT "Observation/1", ABOUT("Patient/7")),
         CREATE("Observation", ROOT "Observation/2", ABOUT(ROOT "Patient/7")),
         CREATE("Observation", "http://another.org/fhir/Observation/3", ABOUT("Patient/7")),
         CREATE("Observation", UUID_B, ABOUT("Patient/7")),
         CREATE("Obs"
                "erv"
                "ati"
                "on",
                ROOT "Obs"
                     "erv"
                     "ati"
                     "on/"
                     "4",
                ABOUT("Patient/8")));
    const char *patient = placed(0), *same = placed(1), *absolute = placed(2), *other = placed(3),
               *no_root = placed(4), *no_entry = placed(5);
    assert_string_not_equal(patient, "Patient/7");
    GOT(same);
    assert_sv(said(REFERENCE), sv_from(patient));
    GOT(absolute);
    assert_sv(said(REFERENCE), sv_from(patient));
    GOT(other);
    SAYS(REFERENCE, "Patient/7");
    GOT(no_root);
    SAYS(REFERENCE, "Patient/7");
    GOT(no_entry);
    SAYS(REFERENCE, "Patient/8");
}

TEST(bundle_refs, a_link_to_a_version_is_to_the_one_that_is_created)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/old", PATIENT(",'id':'old'"));
    DONE(CREATE("Patient", ROOT "Patient/7", PATIENT("")),
         CREATE("Observation", UUID_A, ABOUT(ROOT "Patient/7/_history/3")),
         ENTRY("PUT", "Patient/old", FULL_URL(ROOT "Patient/old") RESOURCE(PATIENT(",'id':'old'"))),
         CREATE("Observation", UUID_B,
                ABOUT(ROOT "Patient/old/"
                           "_history/1")));
    char want[150];
    const char *to_new = placed(1), *to_old = placed(3);
    (void)snprintf(want, sizeof want, "%s/_history/1", placed(0));
    GOT(to_new);
    assert_sv(said(REFERENCE), sv_from(want));
    /* An update has versions of its own, elsewhere. */
    GOT(to_old);
    SAYS(REFERENCE, ROOT "Patient/old/_history/1");
}

TEST(bundle_refs, what_leads_to_no_entry_that_writes_stays)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/gone", PATIENT(",'id':'gone'"));
    PUT_NEW("Patient/read", PATIENT(",'id':'read'"));
    DONE(ENTRY("DELETE", "Patient/gone", FULL_URL(UUID_A)),
         ENTRY("GET", "Patient/read", FULL_URL(UUID_B)),
         ENTRY("POST", "Observation", RESOURCE(ABOUT(UUID_A))),
         ENTRY("POST", "Observation", RESOURCE(ABOUT(UUID_B))),
         ENTRY("POST", "Observation", RESOURCE(CONTAINED)));
    const char *to_deleted = placed(2), *to_read = placed(3), *to_contained = placed(4);
    GOT(to_deleted);
    SAYS(REFERENCE, UUID_A);
    GOT(to_read);
    SAYS(REFERENCE, UUID_B);
    GOT(to_contained);
    SAYS(REFERENCE, "#c");
}

TEST(bundle_refs, a_conditional_create_that_finds_something_is_what_it_found)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/there", PATIENT(",'id':'there'" KEY("1")));
    DONE(ENTRY_IF("POST", "Patient", "'ifNoneExist':'identifier=1'",
                  FULL_URL(UUID_A) RESOURCE(PATIENT(KEY("1")))),
         CREATE("Observation", UUID_B, ABOUT(UUID_A)),
         ENTRY("PUT", "Patient?identifier=2",
               FULL_URL(ROOT "Patient/2") RESOURCE(PATIENT(KEY("2")))),
         CREATE("Observation", ROOT "Observation/1", ABOUT("Patient/2")));
    SAYS("/entry/0/response/status", "200");
    SAYS("/entry/2/response/status", "201");
    const char *to_found = placed(1), *made = placed(2), *to_made = placed(3);
    GOT(to_found);
    SAYS(REFERENCE, "Patient/there");
    GOT(to_made);
    assert_sv(said(REFERENCE), sv_from(made));
}

TEST(bundle_refs, a_full_url_stands_for_one_entry)
{
    (void)state;
    fresh_store();
    REFUSED_AT(400, ".entry[2].fullUrl", CREATE("Patient", UUID_A, PATIENT("")),
               CREATE("Patient", UUID_B, PATIENT("")),
               CREATE("Observation", UUID_A, ABOUT(UUID_B)));
    GOT("_history");
    ENTRIES(NULL, "");
}

TEST(bundle_refs, a_conditional_reference_needs_one_match)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", PATIENT(",'id':'a'" KEY("1")));
    PUT_NEW("Patient/b", PATIENT(",'id':'b'" KEY("2")));
    PUT_NEW("Patient/c", PATIENT(",'id':'c'" KEY("2")));
    DONE(ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=1"))));
    GOT(placed(0));
    SAYS(REFERENCE, "Patient/a");
    REFUSED_AT(412, ".entry[0].resource.subject.reference",
               ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=2"))));
    REFUSED_AT(412, ".entry[0].resource.subject.reference",
               ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=3"))));
    REFUSED_AT(400, ".entry[0].resource.subject.reference",
               ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?shoesize=3"))));
    GOT("Observation?_total=accurate");
    SAYS("/total", "1");
}

TEST(bundle_refs, a_conditional_reference_sees_the_state_after_the_writes)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", PATIENT(",'id':'a'" KEY("1")));
    PUT_NEW("Patient/b", PATIENT(",'id':'b'" KEY("2")));
    /* what the transaction creates is there */
    DONE(ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=3"))),
         ENTRY("POST", "Patient", RESOURCE(PATIENT(KEY("3")))));
    const char *observation = placed(0), *patient = placed(1);
    GOT(observation);
    assert_sv(said(REFERENCE), sv_from(patient));
    /* what it deletes is gone */
    REFUSED_AT(412, ".entry[0].resource.subject.reference",
               ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=1"))),
               ENTRY("DELETE", "Patient/a", ""));
    /* what it replaces counts as it will be */
    REFUSED_AT(412, ".entry[0].resource.subject.reference",
               ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=2"))),
               ENTRY("PUT", "Patient/b", RESOURCE(PATIENT(",'id':'b'" KEY("4")))));
    DONE(ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=4"))),
         ENTRY("PUT", "Patient/b", RESOURCE(PATIENT(",'id':'b'" KEY("4")))));
    GOT(placed(0));
    SAYS(REFERENCE, "Patient/b");
    /* one that is there, and one that comes */
    REFUSED_AT(412, ".entry[0].resource.subject.reference",
               ENTRY("POST", "Observation", RESOURCE(ABOUT("Patient?identifier=1"))),
               ENTRY("POST", "Patient", RESOURCE(PATIENT(KEY("1")))));
}

/* [{"op":"replace","path":"/subject/reference","value":"Patient\u003fidentifier=1"}] */
#define PATCH_ESCAPED                                                               \
    "{'resourceType':'Binary','contentType':'application/json-patch+json','data':'" \
    "W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9zdWJqZWN0L3JlZmVyZW5j"                      \
    "ZSIsInZhbHVlIjoiUGF0aWVudFx1MDAzZmlkZW50aWZpZXI9MSJ9XQ=='}"
/* [{"op":"add","path":"/note","value":[{"text":"Patient?identifier=1"}]}] */
#define PATCH_NOTE                                                                  \
    "{'resourceType':'Binary','contentType':'application/json-patch+json','data':'" \
    "W3sib3AiOiJhZGQiLCJwYXRoIjoiL25vdGUiLCJ2YWx1ZSI6"                              \
    "W3sidGV4dCI6IlBhdGllbnQ/aWRlbnRpZmllcj0xIn1dfV0='}"

TEST(bundle_refs, a_patch_brings_in_what_its_result_says_and_not_what_its_text_looks_like)
{
    (void)state;
    fresh_store();
    PUT_NEW("Patient/a", PATIENT(",'id':'a'" KEY("1")));
    PUT_NEW("Observation/o", "{'resourceType':'Observation','id':'o','status':'final',"
                             "'code':{'text':'x'},'subject':{'reference':'Patient/x'}}");
    DONE(ENTRY("PATCH", "Observation/o", RESOURCE(PATCH_NOTE)));
    GOT("Observation/o");
    SAYS(REFERENCE, "Patient/x");
    SAYS("/note/0/text", "Patient?identifier=1");
    DONE(ENTRY("PATCH", "Observation/o", RESOURCE(PATCH_ESCAPED)));
    GOT("Observation/o");
    SAYS(REFERENCE, "Patient/a");
    SAYS("/note/0/text", "Patient?identifier=1");
}

TEST(bundle_refs, a_batch_replaces_nothing)
{
    (void)state;
    fresh_store();
    ASKED(200, "POST", "", "",
          BUNDLE("batch", CREATE("Patient", UUID_A, PATIENT("")),
                 CREATE("Observation", UUID_B, ABOUT(UUID_A))));
    SAYS("/entry/1/response/status", "201");
    GOT(placed(1));
    SAYS(REFERENCE, UUID_A);
}

TEST(bundle_refs, all_other_bytes_are_stored_as_they_came)
{
    (void)state;
    fresh_store();
    DONE(CREATE("Patient", UUID_A, PATIENT("")),
         CREATE("Observation", UUID_B,
                "{'resourceType':'Observation','status':'final',  'code' : {'text':'\\u00e9'},"
                "'valueQuantity':{'value':1.500e0},'subject':{'reference':'" UUID_A "'}}"));
    GOT(placed(1));
    assert_true(mentions("\"value\":1.500e0"));
    SAYS("/code/text", "\xc3\xa9");
}

ASKING_MAIN(T(bundle_refs, a_full_url_becomes_type_and_id_whichever_entry_comes_first),
            T(bundle_refs, a_circle_is_closed),
            T(bundle_refs, links_are_found_in_references_uris_and_narrative_alone),
            T(bundle_refs, a_relative_link_counts_from_the_full_url_of_its_holder),
            T(bundle_refs, a_link_to_a_version_is_to_the_one_that_is_created),
            T(bundle_refs, what_leads_to_no_entry_that_writes_stays),
            T(bundle_refs, a_conditional_create_that_finds_something_is_what_it_found),
            T(bundle_refs, a_full_url_stands_for_one_entry),
            T(bundle_refs, a_conditional_reference_needs_one_match),
            T(bundle_refs, a_conditional_reference_sees_the_state_after_the_writes),
            T(bundle_refs, a_patch_brings_in_what_its_result_says_and_not_what_its_text_looks_like),
            T(bundle_refs, a_batch_replaces_nothing),
            T(bundle_refs, all_other_bytes_are_stored_as_they_came))

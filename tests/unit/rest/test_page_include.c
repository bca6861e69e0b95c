/* What comes with the matches of a page: each resource once, marked as included.
 * Source: FHIR R4 search.html#revinclude, #include. */
#include "rest/asking.h"

#define MODE          "/search/mode"
#define REF(name, to) ",'" name "':{'reference':'" to "'}"
#define P(id, more)   "{'resourceType':'Patient','id':'" id "'" more "}"
#define ORG(id, more) "{'resourceType':'Organization','id':'" id "','name':'x'" more "}"
#define OBS(id, more) \
    "{'resourceType':'Observation','id':'" id "','status':'final','code':{'text':'x'}" more "}"
#define REPORT(id, result)                                                                   \
    "{'resourceType':'DiagnosticReport','id':'" id "','status':'final','code':{'text':'x'}," \
    "'result':[{'reference':'" result "'}]}"

/* Observations of Patient/p, who is at Organization/ward, a part of Organization/house; the house
 * is a part of the ward again. */
static void filled_store(void)
{
    fresh_store();
    PUT_NEW("Organization/house", ORG("house", REF("partOf", "Organization/ward")));
    PUT_NEW("Organization/ward", ORG("ward", REF("partOf", "Organization/house")));
    PUT_NEW("Practitioner/dr", "{'resourceType':'Practitioner','id':'dr'}");
    PUT_NEW("Patient/p",
            P("p", REF("managingOrganization", "Organization/ward") ",'gender':'male'"));
    PUT_NEW("Patient/q", P("q", ",'link':[{'other':{'reference':'Patient/p'},'type':'seealso'}]"));
    PUT_NEW("Observation/a",
            OBS("a", REF("subject", "Patient/p") ",'performer':[{'reference':'Practitioner/dr'}]"));
    PUT_NEW("Observation/b", OBS("b", REF("subject", "Patient/p")));
    PUT_NEW("Observation/c", OBS("c", REF("subject", "Patient/q")));
    PUT_NEW("DiagnosticReport/r", REPORT("r", "Observation/a"));
}

TEST(page_include, a_resource_that_several_matches_name_comes_once)
{
    (void)state;
    filled_store();
    GOT("Observation?_id=a,b&_include=Observation:subject");
    ENTRIES_SORTED(MODE, "Observation/a match, Observation/b match, Patient/p include");
    /* named by two parameters */
    GOT("Observation?_id=a&_include=Observation:subject&_include=Observation:patient");
    ENTRIES_SORTED(MODE, "Observation/a match, Patient/p include");
    /* Matches come first. */
    GOT("Observation?_include=Observation:subject");
    assert_true(sv_starts(entries(MODE, false), SV_LIT("Observation/")));
    assert_true(sv_ends(entries(MODE, false), SV_LIT("include")));
}

TEST(page_include, a_match_is_not_included_too)
{
    (void)state;
    filled_store();
    GOT("Patient?_include=Patient:link");
    ENTRIES_SORTED(MODE, "Patient/p match, Patient/q match");
    GOT("Patient?_id=q&_include=Patient:link");
    ENTRIES_SORTED(MODE, "Patient/p include, Patient/q match");
    GOT("Patient?_revinclude=Patient:link");
    ENTRIES_SORTED(MODE, "Patient/p match, Patient/q match");
}

TEST(page_include, the_total_counts_matches_alone)
{
    (void)state;
    filled_store();
    GOT("Observation?_include=Observation:subject&_revinclude=DiagnosticReport:result"
        "&_total=accurate");
    SAYS("/total", "3");
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 6);
    GOT("Observation?_include=Observation:subject&_summary=count");
    SAYS("/total", "3");
    assert_null(value_at("/entry"));
}

TEST(page_include, a_target_type_chooses)
{
    (void)state;
    filled_store();
    GOT("Observation?_id=a&_include=Observation:subject:Patient");
    ENTRIES_SORTED(MODE, "Observation/a match, Patient/p include");
    GOT("Observation?_id=a&_include=Observation:subject:Group");
    ENTRIES_SORTED(MODE, "Observation/a match");
    GOT("Patient?_id=p&_revinclude=Observation:subject:Group");
    ENTRIES_SORTED(MODE, "Patient/p match");
}

TEST(page_include, a_star_follows_every_reference_parameter)
{
    (void)state;
    filled_store();
    static const char *const stars[] = { "Observation?_id=a&_include=Observation:*",
                                         "Observation?_id=a&_include=*" };
    for (size_t i = 0; i < 2; i++) {
        GOT(stars[i]);
        ENTRIES_SORTED(MODE, "Observation/a match, Patient/p include, Practitioner/dr include");
    }
    GOT("Patient?_id=p&_revinclude=Observation:*");
    ENTRIES_SORTED(MODE, "Observation/a include, Observation/b include, Patient/p match");
}

TEST(page_include, goes_one_step_unless_it_iterates)
{
    (void)state;
    filled_store();
    GOT("Observation?_id=b&_include=Observation:subject&_include=Patient:organization");
    ENTRIES_SORTED(MODE, "Observation/b match, Patient/p include");
    GOT("Observation?_id=b&_include=Observation:subject&_include:iterate=Patient:organization");
    ENTRIES_SORTED(MODE, "Observation/b match, Organization/ward include, Patient/p include");
    GOT("Observation?_id=b&_include=Observation:subject&_include:iterate=Patient:organization"
        "&_include:iterate=Organization:partof");
    /* A circle comes to an end. */
    ENTRIES_SORTED(MODE, "Observation/b match, Organization/house include, "
                         "Organization/ward include, Patient/p include");
    /* :recurse is the older name. */
    GOT("Organization?_id=ward&_include:recurse=Organization:partof");
    ENTRIES_SORTED(MODE, "Organization/house include, Organization/ward match");
}

TEST(page_include, a_revinclude_brings_what_leads_to_a_match)
{
    (void)state;
    filled_store();
    GOT("Patient?_id=p&_revinclude=Observation:subject");
    ENTRIES_SORTED(MODE, "Observation/a include, Observation/b include, Patient/p match");
    /* It looks at matches, not at what is included. */
    GOT("Patient?_id=p&_revinclude=Observation:subject&_revinclude=DiagnosticReport:result");
    ENTRIES_SORTED(MODE, "Observation/a include, Observation/b include, Patient/p match");
    GOT("Patient?_id=p&_revinclude=Observation:subject"
        "&_revinclude:iterate=DiagnosticReport:result");
    ENTRIES_SORTED(MODE, "DiagnosticReport/r include, Observation/a include, "
                         "Observation/b include, Patient/p match");
    /* both directions */
    GOT("Observation?_id=a&_include=Observation:subject&_revinclude:iterate=Observation:subject");
    ENTRIES_SORTED(MODE, "Observation/a match, Observation/b include, Patient/p include");
}

TEST(page_include, what_is_not_there_does_not_come)
{
    (void)state;
    filled_store();
    PUT_NEW("Patient/gone", P("gone", ""));
    DELETED("Patient/gone");
    PUT_NEW("Observation/d", OBS("d", REF("subject", "Patient/gone")));
    PUT_NEW("Observation/e", OBS("e", REF("subject", "Patient/never")));
    PUT_NEW("Observation/f", OBS("f", REF("subject", "http://elsewhere.org/fhir/Patient/p")));
    PUT_NEW("Observation/g", OBS("g", REF("subject", "#c") ",'contained':[" P("c", "") "]"));
    GOT("Observation?_id=d,e,f,g&_include=Observation:subject");
    ENTRIES_SORTED(MODE, "Observation/d match, Observation/e match, Observation/f match, "
                         "Observation/g match");
    DELETED("Observation/b");
    GOT("Patient?_id=p&_revinclude=Observation:subject");
    ENTRIES_SORTED(MODE, "Observation/a include, Patient/p match");
}

TEST(page_include, a_reference_to_a_version_brings_that_version)
{
    (void)state;
    filled_store();
    PUT_AGAIN("Patient/p", P("p", ",'gender':'other'"));
    PUT_NEW("Observation/d", OBS("d", REF("subject", "Patient/p/_history/1")));
    GOT("Observation?_id=d&_include=Observation:subject");
    ENTRIES(MODE, "Observation/d match, Patient/p include");
    SAYS("/entry/1/resource/meta/versionId", "1");
    SAYS("/entry/1/resource/gender", "male");
    /* two versions are two */
    GOT("Observation?_id=a,d&_include=Observation:subject");
    ENTRIES_SORTED(
        MODE, "Observation/a match, Observation/d match, Patient/p include, Patient/p include");
}

TEST(page_include, elements_cut_matches_alone)
{
    (void)state;
    filled_store();
    GOT("Observation?_id=b&_elements=status&_include=Observation:subject");
    ENTRIES(MODE, "Observation/b match, Patient/p include");
    assert_null(value_at("/entry/0/resource/subject"));
    SAYS("/entry/0/resource/meta/tag/0/code", "SUBSETTED");
    SAYS("/entry/1/resource/gender", "male");
    assert_null(value_at("/entry/1/resource/meta/tag"));
}

TEST(page_include, a_page_has_the_includes_of_its_own_matches)
{
    (void)state;
    filled_store();
    size_t n_p = 0, n_q = 0;
    GOT("Observation?_count=1&_sort=_id&_include=Observation:subject");
    for (unsigned pages = 1;; pages++) {
        sv all = entries(MODE, false);
        n_p += sv_ends(all, SV_LIT("match, Patient/p include"));
        n_q += sv_ends(all, SV_LIT("match, Patient/q include"));
        assert_int_equal(yyjson_arr_size(value_at("/entry")), 2);
        if (!follow_link("next"))
            break;
        assert_in_range(pages, 1, 3);
    }
    assert_int_equal(n_p, 2);
    assert_int_equal(n_q, 1);
}

/* Rounds of :iterate (docs/api-fhir.md, Limits). */
#define ROUNDS 8u

TEST(page_include, a_chain_that_is_too_long_is_cut_and_the_page_says_so)
{
    (void)state;
    char path[50], body[200];
    fresh_store();
    for (unsigned i = 0; i < ROUNDS + 4; i++) {
        (void)snprintf(path, sizeof path, "Organization/o%u", i);
        (void)snprintf(body, sizeof body,
                       "{'resourceType':'Organization','id':'o%u','name':'x',"
                       "'partOf':{'reference':'Organization/o%u'}}",
                       i, i + 1);
        PUT_NEW(path, body);
    }
    GOT("Organization?_id=o0&_include:iterate=Organization:partof");
    /* the match, one for each round, and the note */
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 1 + ROUNDS + 1);
    SAYS("/entry/9/search/mode", "outcome");
    SAYS("/entry/9/resource/issue/0/severity", "warning");
    SAYS("/entry/9/resource/issue/0/code", "incomplete");
    /* Nothing is missing here. */
    GOT("Organization?_id=o9&_include:iterate=Organization:partof");
    ENTRIES_SORTED(MODE,
                   "Organization/o10 include, Organization/o11 include, Organization/o9 match");
}

TEST(page_include, what_leads_nowhere_by_its_name_is_refused)
{
    (void)state;
    filled_store();
    static const char *const bad[] = {
        "_include=Observation",
        "_include=Nothing:subject",
        "_include=Observation:shoesize",
        "_include=Observation:code", /* no reference */
        "_include=Observation:subject:Nothing",
        "_include:exact=Observation:subject",
        "_revinclude=*",
        "_revinclude=Observation:date",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[100];
        (void)snprintf(path, sizeof path, "Observation?%s", bad[i]);
        ASKED(400, "GET", path, "", NULL);
        SAYS("/issue/0/code", "invalid");
    }
}

ASKING_MAIN(T(page_include, a_resource_that_several_matches_name_comes_once),
            T(page_include, a_match_is_not_included_too),
            T(page_include, the_total_counts_matches_alone), T(page_include, a_target_type_chooses),
            T(page_include, a_star_follows_every_reference_parameter),
            T(page_include, goes_one_step_unless_it_iterates),
            T(page_include, a_revinclude_brings_what_leads_to_a_match),
            T(page_include, what_is_not_there_does_not_come),
            T(page_include, a_reference_to_a_version_brings_that_version),
            T(page_include, elements_cut_matches_alone),
            T(page_include, a_page_has_the_includes_of_its_own_matches),
            T(page_include, a_chain_that_is_too_long_is_cut_and_the_page_says_so),
            T(page_include, what_leads_nowhere_by_its_name_is_refused))

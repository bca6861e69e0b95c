/* test_match.c - whether a resource meets a criterion, by the kind of the parameter; and that
 * whoever waits for one comparison can end it. */
#include "search/asking.h"

TEST(match, quantities_compare_with_their_units)
{
    (void)state;
    const char *q = OBS("\"valueQuantity\":{\"value\":5.40,\"unit\":\"mg\",\"system\":"
                        "\"http://unitsofmeasure.org\",\"code\":\"mg\"}");
    MATCHES(q, "value-quantity", "5.4");
    MATCHES(q, "value-quantity", "5.4|http://unitsofmeasure.org|mg");
    MATCHES(q, "value-quantity", "5.4||mg");
    PASSES(q, "value-quantity", "5.4||g");
    PASSES(q, "value-quantity", "5.4|http://other|mg");
    MATCHES(q, "value-quantity", "gt5.3|http://unitsofmeasure.org|mg");
    MATCHES(q, "value-quantity", "le5.4||mg");
    REFUSED(q, "value-quantity", "5.4|mg");
    const char *less = OBS("\"valueQuantity\":{\"value\":3,\"comparator\":\"<\"}");
    MATCHES(less, "value-quantity", "lt3");
    PASSES(less, "value-quantity", "gt3");
    MATCHES("{\"resourceType\":\"Invoice\",\"id\":\"i\",\"totalNet\":{\"value\":40,\"currency\":"
            "\"EUR\"}}",
            "totalnet", "40||EUR");
}

TEST(match, tokens_know_systems_and_their_absence)
{
    (void)state;
    const char *p = PAT(
        "\"gender\":\"male\",\"active\":true,\"identifier\":[{\"system\":\"urn:s\",\"value\":\"7\","
        "\"type\":{\"coding\":[{\"system\":\"urn:t\",\"code\":\"MR\"}],\"text\":\"Record No\"}},"
        "{\"value\":\"bare\"}],\"telecom\":[{\"system\":\"phone\",\"value\":\"555\"}]");
    MATCHES(p, "identifier", "7");
    MATCHES(p, "identifier", "urn:s|7");
    MATCHES(p, "identifier", "urn:s|");
    PASSES(p, "identifier", "urn:x|7");
    PASSES(p, "identifier", "|7");
    MATCHES(p, "identifier", "|bare");
    MATCHES(p, "identifier:of-type", "urn:t|MR|7");
    PASSES(p, "identifier:of-type", "urn:t|SS|7");
    MATCHES(p, "identifier:text", "record");
    MATCHES(p, "gender", "male");
    MATCHES(p, "gender", "http://hl7.org/fhir/administrative-gender|male");
    PASSES(p, "gender", "Male");
    MATCHES(p, "gender:not", "female");
    PASSES(p, "gender:not", "male");
    PASSES(p, "gender:not", "female,male");
    /* what has none is not it either */
    MATCHES(p, "language:not", "de");
    MATCHES(p, "active", "true");
    MATCHES(p, "phone", "555");
    PASSES(p, "email", "555");
    MATCHES(p, "deceased", "false");
    MATCHES(PAT("\"deceasedDateTime\":\"2001\""), "deceased", "true");
    MATCHES(PAT("\"deceasedBoolean\":false"), "deceased", "false");
    MATCHES(p, "_id", "p");
    PASSES(p, "_id", "q");
    REFUSED(p, "identifier", "|");
    REFUSED(p, "gender:in", "http://x");
    REFUSED(p, "gender:exact", "male");
    const char *c = OBS("\"code\":{\"coding\":[{\"system\":\"http://"
                        "loinc.org\",\"code\":\"8480-6\",\"display\":\"Systolic "
                        "blood\"}],\"text\":\"Pressure\"},\"meta\":{\"tag\":[{\"code\":\"x\"}],"
                        "\"profile\":[\"http://p|1\"]}");
    MATCHES(c, "code", "http://loinc.org|8480-6");
    MATCHES(c, "code:text", "pressure");
    MATCHES(c, "code:text", "SYSTOLIC");
    MATCHES(c, "_tag", "x");
    PASSES(c, "_tag", "y");
}

TEST(match, references_by_id_type_url_and_identifier)
{
    (void)state;
    const char *o = OBS("\"subject\":{\"reference\":\"Patient/"
                        "23\",\"display\":\"Peter\",\"identifier\":{\"system\":"
                        "\"urn:s\",\"value\":\"9\"}}");
    MATCHES(o, "subject", "23");
    MATCHES(o, "subject", "Patient/23");
    PASSES(o, "subject", "Group/23");
    MATCHES(o, "subject:Patient", "23");
    PASSES(o, "subject:Group", "23");
    MATCHES(o, "patient", "23");
    MATCHES(o, "subject", "http://here/r4/Patient/23");
    PASSES(o, "subject", "http://there/r4/Patient/23");
    MATCHES(o, "subject:identifier", "urn:s|9");
    PASSES(o, "subject:identifier", "urn:x|9");
    MATCHES(o, "subject:text", "peter");
    PASSES(o, "subject", "2");
    REFUSED(o, "subject:Practitioner", "23");
    const char *far = OBS("\"subject\":{\"reference\":\"http://there/r4/Patient/23\"}");
    MATCHES(far, "subject", "http://there/r4/Patient/23");
    PASSES(far, "subject", "Patient/23");
    const char *own = OBS("\"subject\":{\"reference\":\"http://here/r4/Patient/23/_history/2\"}");
    MATCHES(own, "subject", "Patient/23");
    const char *g = OBS("\"subject\":{\"reference\":\"Group/1\"}");
    PASSES(g, "patient", "1");
    MATCHES(g, "patient:missing", "true");
    MATCHES("{\"resourceType\":\"QuestionnaireResponse\",\"id\":\"q\",\"questionnaire\":\"http://x/"
            "Q|2.0\"}",
            "questionnaire", "http://x/Q");
    MATCHES("{\"resourceType\":\"QuestionnaireResponse\",\"id\":\"q\",\"questionnaire\":\"http://x/"
            "Q|2.0\"}",
            "questionnaire", "http://x/Q|2.0");
    PASSES("{\"resourceType\":\"QuestionnaireResponse\",\"id\":\"q\",\"questionnaire\":\"http://x/"
           "Q|2.0\"}",
           "questionnaire", "http://x/Q|1.0");
}

TEST(match, uris_below_and_above)
{
    (void)state;
    const char *v = "{\"resourceType\":\"ValueSet\",\"id\":\"v\",\"url\":\"http://acme.org/fhir/"
                    "ValueSet/123\"}";
    MATCHES(v, "url", "http://acme.org/fhir/ValueSet/123");
    PASSES(v, "url", "http://acme.org/fhir/ValueSet");
    MATCHES(v, "url:below", "http://acme.org/fhir");
    MATCHES(v, "url:below", "http://acme.org/fhir/");
    /* what begins so, whole segment or not */
    MATCHES(v, "url:below", "http://acme.org/fh");
    MATCHES(v, "url:below", "http://acme.org/fhir/ValueSet/123");
    PASSES(v, "url:below", "http://acme.org/fhir/ValueSet/1234");
    PASSES(v, "url:below", "HTTP://ACME.org/fhir");
    MATCHES(v, "url:above", "http://acme.org/fhir/ValueSet/123/_history/5");
    MATCHES(v, "url:above", "http://acme.org/fhir/ValueSet/1234");
    PASSES(v, "url:above", "http://acme.org/fhir/ValueSet/12");
    MATCHES(v, "url:above", "http://acme.org/fhir/ValueSet/123|2.0");
    const char *oid = "{\"resourceType\":\"ValueSet\",\"id\":\"v\",\"url\":\"urn:oid:1.2.3\"}";
    /* URNs have no beginnings */
    MATCHES(oid, "url:below", "urn:oid:1.2.3");
    PASSES(oid, "url:below", "urn:oid:1.2");
    PASSES(oid, "url:below", "urn:oid:");
    PASSES(oid, "url:below", "u");
    PASSES(oid, "url:above", "urn:oid:1.2.3.4");
    MATCHES(oid, "url:above", "urn:oid:1.2.3");
    const char *versioned = "{\"resourceType\":\"ValueSet\",\"id\":\"v\",\"url\":\"http://x/V\","
                            "\"version\":\"1.2\"}";
    MATCHES(versioned, "url:below", "http://x/V|1");
    MATCHES(versioned, "url:below", "http://x/V|1.2");
    PASSES(versioned, "url:below", "http://x/V|1.2.3");
    PASSES(versioned, "url:below", "http://x/|1");
    const char *profiled = PAT("\"meta\":{\"profile\":[\"http://p/A|3.1\"]}");
    MATCHES(profiled, "_profile:below", "http://p/");
    MATCHES(profiled, "_profile:below", "http://p/A|3");
    PASSES(profiled, "_profile:below", "http://p/A|3.10");
    MATCHES(profiled, "_profile:below", "http://p/A|");
    PASSES(profiled, "_profile:below", "http://p/|");
    MATCHES(profiled, "_profile:above", "http://p/A|3.1.7");
    PASSES(profiled, "_profile:above", "http://p/A|3");
}

TEST(match, canonical_urls_have_versions)
{
    (void)state;
#define RESPONSE(url) \
    "{\"resourceType\":\"QuestionnaireResponse\",\"id\":\"q\",\"questionnaire\":\"" url "\"}"
    MATCHES(RESPONSE("http://x/Q|1.0.2"), "questionnaire:below", "http://x/Q");
    MATCHES(RESPONSE("http://x/Q|1.0.2"), "questionnaire:below", "http://x/Q\\|1.0");
    MATCHES(RESPONSE("http://x/Q|1.0.2"), "questionnaire:below", "http://x/Q|1");
    PASSES(RESPONSE("http://x/Q|10.2"), "questionnaire:below", "http://x/Q|1");
    PASSES(RESPONSE("http://x/Q2"), "questionnaire:below", "http://x/Q");
    MATCHES(RESPONSE("http://x/Questionnaire/q|2"), "questionnaire:below",
            "http://x/Questionnaire/q|2");
    REFUSED(RESPONSE("http://x/Q"), "questionnaire:above", "http://x/Q");
    /* hierarchies are not offered */
    REFUSED(RESPONSE("http://x/Q"), "subject:below", "Patient/1");
    const char *v =
        "{\"resourceType\":\"ValueSet\",\"id\":\"v\",\"url\":\"http://x/V\",\"version\":\"2.1\"}";
    MATCHES(v, "url", "http://x/V");
    MATCHES(v, "url", "http://x/V|2.1");
    PASSES(v, "url", "http://x/V|2");
    const char *p = PAT("\"meta\":{\"profile\":[\"http://p/A|3\"]}");
    MATCHES(p, "_profile", "http://p/A");
    MATCHES(p, "_profile", "http://p/A|3");
    PASSES(p, "_profile", "http://p/A|4");
}

TEST(match, a_composite_is_met_within_one_element)
{
    (void)state;
    const char *o = OBS("\"component\":[{\"code\":{\"coding\":[{\"system\":\"l\",\"code\":\"sys\"}]"
                        "},\"valueQuantity\":{"
                        "\"value\":120}},{\"code\":{\"coding\":[{\"system\":\"l\",\"code\":\"dia\"}"
                        "]},\"valueQuantity\":{\"value\":80}}]");
    MATCHES(o, "component-code-value-quantity", "sys$120");
    MATCHES(o, "component-code-value-quantity", "l|dia$lt90");
    PASSES(o, "component-code-value-quantity", "sys$80");
    MATCHES(o, "combo-code-value-quantity", "sys$gt100");
    MATCHES(o, "component-code-value-quantity", "sys$80,dia$80");
    REFUSED(o, "component-code-value-quantity", "sys");
    REFUSED(o, "component-code-value-quantity", "sys$80$90");
    const char *d = "{\"resourceType\":\"DocumentReference\",\"id\":\"d\",\"relatesTo\":[{\"code\":"
                    "\"replaces\","
                    "\"target\":{\"reference\":\"DocumentReference/x\"}}]}";
    const char *at =
        OBS("\"code\":{\"coding\":[{\"code\":\"c\"}]},\"valueDateTime\":\"2020-02-03\"");
    MATCHES(at, "code-value-date", "c$2020-02");
    PASSES(at, "code-value-date", "c$2021");
    MATCHES(d, "relationship", "replaces$DocumentReference/x");
    PASSES(d, "relationship", "signs$DocumentReference/x");
    const char *l = "{\"resourceType\":\"Location\",\"id\":\"l\",\"position\":{\"latitude\":48.14,"
                    "\"longitude\":11.58}}";
    MATCHES(l, "near", "48.2|11.6|10|km");
    PASSES(l, "near", "52.5|13.4|100|km");
    REFUSED(l, "near", "north");
}

TEST(match, upper_and_lower_case_of_codes_are_the_same_where_nothing_says_otherwise)
{
    (void)state;
    const char *p =
        PAT("\"gender\":\"male\",\"identifier\":[{\"system\":\"urn:s\",\"value\":\"aB7\","
            "\"type\":{\"coding\":[{\"system\":\"urn:t\",\"code\":\"MR\"}]}}],"
            "\"managingOrganization\":{\"identifier\":{\"value\":\"xY\"}},"
            "\"telecom\":[{\"system\":\"email\",\"value\":\"A@b.org\"}]");
    MATCHES(p, "identifier", "Ab7");
    MATCHES(p, "identifier", "urn:s|AB7");
    /* a system is a URI */
    PASSES(p, "identifier", "URN:S|aB7");
    MATCHES(p, "identifier:of-type", "urn:t|mr|ab7");
    MATCHES(p, "organization:identifier", "XY");
    MATCHES(p, "email", "a@B.org");
    /* FHIR's own codes are what they are */
    PASSES(p, "gender", "MALE");
    PASSES(p, "_id", "P");
    MATCHES(OBS("\"code\":{\"coding\":[{\"code\":\"Abc\"}]}"), "code", "aBC");
    MATCHES(
        "{\"resourceType\":\"MolecularSequence\",\"id\":\"m\",\"referenceSeq\":{\"chromosome\":{"
        "\"coding\":[{\"code\":\"X\"}]}}}",
        "chromosome", "x");
}

TEST(match, text_beside_a_code_is_searched_as_a_string)
{
    (void)state;
    const char *o =
        OBS("\"code\":{\"coding\":[{\"code\":\"c\",\"display\":\"Systolic blood\"}],"
            "\"text\":\"\u00c9tude  of\\tpressure\"},\"subject\":{\"reference\":\"Patient/1\","
            "\"display\":\"Peter M\"}");
    MATCHES(o, "code:text", "systolic");
    PASSES(o, "code:text", "blood");
    /* white space that means nothing */
    MATCHES(o, "code:text", "etude of pressure");
    MATCHES(o, "code:text", "ETUDE   OF");
    MATCHES(o, "subject:text", "peter");
    PASSES(o, "subject:text", "m");
}

/* ---- patience ---- */

struct asked {
    unsigned n, ends_at; /* the n-th time; 0: never */
};

static bool is_over(void *ctx)
{
    struct asked *x = ctx;
    return ++x->n == x->ends_at;
}

static bool compared(const char *resource, const char *name, const char *value, struct asked *asked,
                     bool *ended)
{
    struct arena *a = arena_new(64u << 20);
    yyjson_doc *doc;
    OK(json_read(a, sv_from(resource), 64, &doc, e));
    struct search_subject s = { .root = yyjson_doc_get_root(doc), .id = SV_LIT("x") };
    s.type = fhir_type_find(json_string(json_get(s.root, "resourceType")));
    struct search_patience p = { .over = is_over, .ctx = asked };
    struct search_context patient = cx;
    struct search_criterion c;
    patient.patience = &p;
    OK(search_parse(&patient, s.type, sv_from(name), sv_from(value), a, &c, e));
    bool met = search_match(&patient, &c, &s);
    *ended = p.ended;
    arena_free(a);
    return met;
}

static void fill(struct buf *b, char c, size_t n)
{
    OK(buf_reserve(b, n, e));
    memset(b->ptr + b->len, c, n);
    b->len += n;
}

static void put(struct buf *b, const char *text)
{
    OK(buf_add(b, sv_from(text), e));
}

/* Each way in which one resource takes long to compare: a text, a number, many elements of a
 * composite. */
TEST(match, is_asked_while_one_resource_is_compared_and_ends_it)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(8u << 20), values = BUF_INIT(1024);
    for (unsigned i = 0; i < 60; i++)
        OK(buf_add_fmt(&values, e, "%sz%u", i ? "," : "", i));
    OK(buf_add_char(&values, 0, e));
    put(&text, "{\"resourceType\":\"Patient\",\"address\":[{\"text\":\"");
    fill(&text, 'a', 1u << 20);
    put(&text, "\"}]}");
    OK(buf_add_char(&text, 0, e));
    static const char *const names[] = { "address:contains", "address", "address:exact" };
    bool ended;
    for (size_t i = 0; i < 3; i++) {
        struct asked never = { 0 }, third = { .ends_at = 3 };
        assert_false(compared(text.ptr, names[i], values.ptr, &never, &ended));
        assert_false(ended);
        /* at each value */
        assert_true(never.n >= 59);
        (void)compared(text.ptr, names[i], values.ptr, &third, &ended);
        assert_true(ended);
        /* and not again */
        assert_int_equal(third.n, 3);
    }
    struct asked number = { .ends_at = 2 }, elements = { .ends_at = 2 };
    buf_clear(&text);
    put(&text, "{\"resourceType\":\"Observation\",\"valueQuantity\":{\"value\":1");
    fill(&text, '7', 1u << 20);
    put(&text, "}}");
    OK(buf_add_char(&text, 0, e));
    (void)compared(text.ptr, "value-quantity", "1,2,3,4,5,6", &number, &ended);
    assert_true(ended);
    buf_clear(&text);
    put(&text, "{\"resourceType\":\"Observation\",\"component\":[");
    for (unsigned i = 0; i < 20000; i++)
        OK(buf_add_fmt(
            &text, e,
            "%s{\"code\":{\"coding\":[{\"code\":\"c\"}]},\"valueQuantity\":{\"value\":1}}",
            i ? "," : ""));
    put(&text, "]}");
    OK(buf_add_char(&text, 0, e));
    (void)compared(text.ptr, "component-code-value-quantity", "c$2,c$3,c$4,d$5", &elements, &ended);
    assert_true(ended);
    assert_int_equal(elements.n, 2);
}

TEST_MAIN(T(match, quantities_compare_with_their_units),
          T(match, tokens_know_systems_and_their_absence),
          T(match, references_by_id_type_url_and_identifier), T(match, uris_below_and_above),
          T(match, canonical_urls_have_versions), T(match, a_composite_is_met_within_one_element),
          T(match, upper_and_lower_case_of_codes_are_the_same_where_nothing_says_otherwise),
          T(match, text_beside_a_code_is_searched_as_a_string),
          T(match, is_asked_while_one_resource_is_compared_and_ends_it))

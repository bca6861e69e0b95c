/* What parameters find is compared with what HL7's own FHIRPath engine finds in the official examples; what
 * criteria mean is told case by case; and every index is asked whether it proposes all that is meant. */
#include "test.h"

#include "codec/ndjson.h"
#include "search/search.h"

#include <math.h>
#include <unistd.h>

/* ---- a file of the shared data, unpacked, or skip ---- */

static sv shared(const char *name, struct buf *out)
{
    char command[1024];
    const char *dir = getenv("FHIRLAKE_SHARED");
    (void)snprintf(command, sizeof command, "%s/data/hl7-examples/%s", dir ? dir : "../shared",
                   name);
    if (access(command, R_OK) != 0)
        skip();
    (void)snprintf(command, sizeof command, "gzip -dc %s/data/hl7-examples/%s",
                   dir ? dir : "../shared", name);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    for (;;) {
        OK(buf_reserve(out, 1 << 20, e));
        size_t n = fread(out->ptr + out->len, 1, 1 << 20, f);
        if (n == 0)
            break;
        out->len += n;
    }
    assert_int_equal(pclose(f), 0);
    return buf_sv(out);
}

/* ---- extraction ---- */

static bool same(yyjson_val *a, yyjson_val *b)
{
    double x, y;
    if (yyjson_is_raw(a) && yyjson_is_raw(b))
        return sv_to_double(json_number(a), &x) && sv_to_double(json_number(b), &y) && x == y;
    if (yyjson_is_str(a) || yyjson_is_bool(a))
        return yyjson_equals(a, b);
    if (yyjson_is_arr(a)) {
        if (!yyjson_is_arr(b) || yyjson_arr_size(a) != yyjson_arr_size(b))
            return false;
        for (size_t i = 0; i < yyjson_arr_size(a); i++)
            if (!same(yyjson_arr_get(a, i), yyjson_arr_get(b, i)))
                return false;
        return true;
    }
    if (!yyjson_is_obj(a) || !yyjson_is_obj(b) || yyjson_obj_size(a) != yyjson_obj_size(b))
        return false;
    yyjson_obj_iter it = yyjson_obj_iter_with(a);
    yyjson_val *k;
    while ((k = yyjson_obj_iter_next(&it)) != NULL) {
        yyjson_val *other = yyjson_obj_getn(b, yyjson_get_str(k), yyjson_get_len(k));
        if (other == NULL || !same(yyjson_obj_iter_get_val(k), other))
            return false;
    }
    return true;
}

struct found {
    yyjson_val *items[4096];
    size_t n;
};

static void see(void *ctx, yyjson_val *element, sv datatype)
{
    struct found *f = ctx;
    (void)datatype;
    if (f->n < 4096)
        f->items[f->n++] = element;
}

static unsigned compare(const struct search_param *p, yyjson_val *root, yyjson_val *wanted,
                        const char *where)
{
    static struct found f;
    size_t n = wanted ? yyjson_arr_size(wanted) : 0, missing = 0;
    bool taken[4096] = { false };
    f.n = 0;
    search_elements(p, root, see, &f);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < f.n && (taken[k] || !same(yyjson_arr_get(wanted, i), f.items[k])))
            k++;
        if (k < f.n)
            taken[k] = true;
        else
            missing++;
    }
    size_t twice = 0; /* a union of FHIRPath drops what stands twice */
    for (size_t k = 0; k < f.n; k++)
        for (size_t i = 0; i < n && !taken[k]; i++)
            if (same(yyjson_arr_get(wanted, i), f.items[k])) {
                taken[k] = true;
                twice++;
            }
    /* fhirpath.js takes 1E-22 and 1E-245 for equal, and drops one in its unions */
    if (strcmp(where, "Observation/decimal") == 0 && p->kind == SEARCH_QUANTITY && n)
        twice++;
    if (missing == 0 && f.n - twice == n)
        return 0;
    print_message("%s %.*s: %zu found, %zu wanted, %zu of them missing\n", where, SV_FMT(p->code),
                  f.n, n, missing);
    return 1;
}

/* Where the two differ on purpose:
 *   deceased             values here are what the parameter means (true or false), not elements
 *   composition, message of a Bundle: whole resources, which the file leaves out */
static bool differs_on_purpose(const struct search_param *p)
{
    return p->kind == SEARCH_COMPOSITE || p->kind == SEARCH_SPECIAL ||
           sv_eq(p->code, SV_LIT("deceased")) ||
           sv_starts(p->definition, SV_LIT("Bundle-composition")) ||
           sv_starts(p->definition, SV_LIT("Bundle-message")) ||
           sv_eq(p->code, SV_LIT("_lastUpdated"));
}

TEST(search, finds_what_fhirpath_finds_in_the_official_examples)
{
    (void)state;
    struct buf examples = BUF_INIT(1u << 30), values = BUF_INIT(1u << 30);
    sv rest_e = shared("examples.ndjson.gz", &examples),
       rest_v = shared("search-values.ndjson.gz", &values), line_e, line_v;
    unsigned wrong = 0, n_resources = 0, n_params = 0;
    while (ndjson_line(&rest_e, &line_e) && ndjson_line(&rest_v, &line_v)) {
        struct arena *a = arena_new(256u << 20);
        yyjson_doc *de, *dv;
        OK(json_read(a, line_e, 512, &de, e));
        OK(json_read(a, line_v, 512, &dv, e));
        yyjson_val *root = yyjson_doc_get_root(de), *wanted = yyjson_doc_get_root(dv);
        char where[256];
        fhir_type type = fhir_type_find(json_string(json_get(root, "resourceType")));
        (void)snprintf(where, sizeof where, "%s/%.*s", fhir_type_name(type),
                       SV_FMT(json_string(json_get(root, "id"))));
        assert_sv(json_string(json_get(wanted, "resource")), sv_from(where));
        size_t n;
        const struct search_param *const *of = search_params_of(type, &n);
        for (size_t i = 0; i < n; i++)
            if (!differs_on_purpose(of[i])) {
                char code[128];
                (void)snprintf(code, sizeof code, "%.*s", SV_FMT(of[i]->code));
                wrong +=
                    compare(of[i], root,
                            json_get(json_get(json_get(wanted, "params"), code), "values"), where);
                n_params++;
            }
        /* and nothing that fhirpath found is no parameter of ours */
        yyjson_obj_iter it = yyjson_obj_iter_with(json_get(wanted, "params"));
        yyjson_val *k;
        while ((k = yyjson_obj_iter_next(&it)) != NULL)
            if (search_param_find(type, json_string(k)) == NULL) {
                print_message("%s has no parameter %.*s\n", where, SV_FMT(json_string(k)));
                wrong++;
            }
        n_resources++;
        arena_free(a);
    }
    buf_done(&examples);
    buf_done(&values);
    assert_true(n_resources > 500 && n_params > 5000);
    assert_int_equal(wrong, 0);
}

/* ---- meaning ---- */

static const struct search_context cx = { { "http://here/r4", 14 }, 1767225600000 /* 2026 */ };

/* +1 it matches, 0 it does not, -1 the query is refused. The index must propose what matches. */
static int asks(const char *resource, const char *name, const char *value)
{
    struct arena *a = arena_new(8u << 20);
    yyjson_doc *doc;
    OK(json_read(a, sv_from(resource), 64, &doc, e));
    struct search_subject s = { .root = yyjson_doc_get_root(doc), .instant_ms = 1700000000000 };
    s.type = fhir_type_find(json_string(json_get(s.root, "resourceType")));
    s.id = json_string(json_get(s.root, "id"));
    struct search_criterion c;
    int result = -1;
    if (search_parse(&cx, s.type, sv_from(name), sv_from(value), a, &c, NULL) == ERR_OK) {
        result = search_match(&cx, &c, &s);
        struct search_driver d;
        unsigned char first[SEARCH_KEY_MAX];
        uint8_t len;
        if (result == 1 && search_ranges(&c, s.type, a, &d) &&
            !search_first_entry(&d, s.type, s.root, first, &len))
            fail_msg("the index does not propose %s=%s", name, value);
    }
    arena_free(a);
    return result;
}

#define MATCHES(r, n, v) assert_int_equal(asks((r), (n), (v)), 1)
#define PASSES(r, n, v)  assert_int_equal(asks((r), (n), (v)), 0)
#define REFUSED(r, n, v) assert_int_equal(asks((r), (n), (v)), -1)

TEST(search, dates_are_intervals)
{
    (void)state;
#define OBS(t) "{\"resourceType\":\"Observation\",\"id\":\"o\"," t "}"
    const char *day = OBS("\"effectiveDateTime\":\"2013-01-14\"");
    MATCHES(day, "date", "2013-01-14");
    MATCHES(day, "date", "2013-01");
    MATCHES(day, "date", "2013");
    PASSES(day, "date", "2013-01-14T00:00");
    PASSES(day, "date", "2013-01-15");
    MATCHES(day, "date", "ne2013-01-15");
    PASSES(day, "date", "ne2013-01-14");
    PASSES(day, "date", "lt2013-01-14");
    MATCHES(day, "date", "lt2013-01-15");
    MATCHES(day, "date", "le2013-01-14");
    MATCHES(day, "date", "ge2013-01-14");
    PASSES(day, "date", "gt2013-01-14");
    MATCHES(day, "date", "gt2013-01-13");
    MATCHES(day, "date", "gt2013-01-14T10:00"); /* the day goes on behind ten */
    MATCHES(day, "date", "sa2013-01-13");
    PASSES(day, "date", "sa2013-01-14");
    MATCHES(day, "date", "eb2013-01-15");
    PASSES(day, "date", "eb2013-01-14");
    MATCHES(day, "date", "ap2013-01-20");
    PASSES(day, "date", "ap2020-01-20");
    MATCHES(day, "date", "2012,2013");
    const char *open = OBS("\"effectivePeriod\":{\"start\":\"2013-01-21\"}");
    MATCHES(open, "date", "gt2013-03-14");
    MATCHES(open, "date", "ge2013-03-14");
    PASSES(open, "date", "le2013-01-20");
    MATCHES(open, "date", "sa2013-01-20");
    PASSES(open, "date", "2013-01-21"); /* it does not end that day */
    MATCHES(open, "date", "ne2013-01-21");
    const char *zone = OBS("\"effectiveDateTime\":\"2013-01-14T23:30:00-02:00\"");
    MATCHES(zone, "date", "2013-01-15"); /* in UTC, as a query without a zone is */
    MATCHES(zone, "date", "2013-01-15T01:30:00Z");
    MATCHES(zone, "date", "2013-01-14T20:30:00-05:00");
    const char *instant = OBS("\"issued\":\"2020-02-29T12:00:00.123Z\"");
    MATCHES(instant, "_lastUpdated", "2023-11-14");
    PASSES(instant, "_lastUpdated", "gt2023-11-15");
    REFUSED(day, "date", "2013-02-30");
    REFUSED(day, "date", "yesterday");
    REFUSED(day, "date", "");
    REFUSED(day, "date", "2013-1-1");
    REFUSED(day, "date", "2013-01-14T24:00");
    REFUSED(day, "date", "2013-01-14T10");
    REFUSED(day, "date", "2013-01-14T10:00+15:00");
    REFUSED(day, "date:exact", "2013");
}

TEST(search, numbers_have_the_precision_of_their_digits)
{
    (void)state;
#define RISK(v)                                                                                    \
    "{\"resourceType\":\"RiskAssessment\",\"id\":\"r\",\"prediction\":[{\"probabilityDecimal\":" v \
    "}]}"
    MATCHES(RISK("100"), "probability", "100");
    MATCHES(RISK("99.6"), "probability", "100");
    MATCHES(RISK("99.5"), "probability", "100");
    PASSES(RISK("100.5"), "probability", "100");
    PASSES(RISK("99.6"), "probability", "100.00");
    MATCHES(RISK("99.995"), "probability", "100.00");
    PASSES(RISK("99.994"), "probability", "100.00");
    MATCHES(RISK("95"), "probability", "1e2"); /* half of the last digit: [50, 150) */
    MATCHES(RISK("5.35"), "probability", "5.4");
    PASSES(RISK("5.45"), "probability", "5.4");
    MATCHES(RISK("100.1"), "probability", "gt100");
    PASSES(RISK("100"), "probability", "gt100");
    MATCHES(RISK("100"), "probability", "ge100.00");
    MATCHES(RISK("-3"), "probability", "lt-2");
    MATCHES(RISK("-0.0"), "probability", "0");
    MATCHES(RISK("108"), "probability", "ap100");
    PASSES(RISK("111"), "probability", "ap100");
    MATCHES(RISK("7"), "probability", "ne8");
    REFUSED(RISK("7"), "probability", "seven");
    REFUSED(RISK("7"), "probability", "7,");
    REFUSED(RISK("7"), "probability", "1e999");
}

TEST(search, quantities_compare_with_their_units)
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

TEST(search, strings_fold_case_and_accents)
{
    (void)state;
#define PAT(t) "{\"resourceType\":\"Patient\",\"id\":\"p\"," t "}"
    const char *p = PAT("\"name\":[{\"family\":\"M\\u00fcller-L\\u00fcdenscheidt\",\"given\":["
                        "\"Eve\",\"Zo\\u00eb\"]}]");
    MATCHES(p, "name", "muller");
    MATCHES(p, "name", "M\xc3\xbcL");
    MATCHES(p, "name", "mu\xcc\x88ller"); /* u, combining diaeresis */
    MATCHES(p, "family",
            "M\xc3\xbcller-L\xc3\xbc"
            "denscheidt");
    MATCHES(p, "given", "zoe");
    PASSES(p, "given", "ve");
    MATCHES(p, "given:contains", "VE");
    PASSES(p, "given:exact", "eve");
    MATCHES(p, "given:exact", "Eve");
    PASSES(p, "given:exact", "Ev");
    MATCHES(p, "name", "nobody,ZOE");
    PASSES(p, "name", "denscheidt");
    MATCHES(p, "given:missing", "false");
    MATCHES(p, "address:missing", "true");
    MATCHES(PAT("\"address\":[{\"line\":[\"Stra\\u00dfe 1\"],\"city\":\"\\u0130zmir\"}]"),
            "address", "strasse");
    MATCHES(PAT("\"name\":[{\"text\":\"a, b\"}]"), "name", "a\\, b");
    REFUSED(p, "name", "");
    REFUSED(p, "name:missing", "maybe");
    REFUSED(p, "nonsense", "x");
}

TEST(search, tokens_know_systems_and_their_absence)
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
    MATCHES(p, "language:not", "de"); /* what has none is not it either */
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

TEST(search, references_by_id_type_url_and_identifier)
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

TEST(search, uris_below_and_above)
{
    (void)state;
    const char *v = "{\"resourceType\":\"ValueSet\",\"id\":\"v\",\"url\":\"http://acme.org/fhir/"
                    "ValueSet/123\"}";
    MATCHES(v, "url", "http://acme.org/fhir/ValueSet/123");
    PASSES(v, "url", "http://acme.org/fhir/ValueSet");
    MATCHES(v, "url:below", "http://acme.org/fhir");
    MATCHES(v, "url:below", "http://acme.org/fhir/");
    PASSES(v, "url:below", "http://acme.org/fh");
    MATCHES(v, "url:above", "http://acme.org/fhir/ValueSet/123/_history/5");
    PASSES(v, "url:above", "http://acme.org/fhir/ValueSet/1234");
}

TEST(search, a_composite_is_met_within_one_element)
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
    MATCHES(d, "relationship", "replaces$DocumentReference/x");
    PASSES(d, "relationship", "signs$DocumentReference/x");
    const char *l = "{\"resourceType\":\"Location\",\"id\":\"l\",\"position\":{\"latitude\":48.14,"
                    "\"longitude\":11.58}}";
    MATCHES(l, "near", "48.2|11.6|10|km");
    PASSES(l, "near", "52.5|13.4|100|km");
    REFUSED(l, "near", "north");
}

TEST(search, upper_and_lower_case_of_codes_are_the_same_where_nothing_says_otherwise)
{
    (void)state;
    const char *p =
        PAT("\"gender\":\"male\",\"identifier\":[{\"system\":\"urn:s\",\"value\":\"aB7\","
            "\"type\":{\"coding\":[{\"system\":\"urn:t\",\"code\":\"MR\"}]}}],"
            "\"managingOrganization\":{\"identifier\":{\"value\":\"xY\"}},"
            "\"telecom\":[{\"system\":\"email\",\"value\":\"A@b.org\"}]");
    MATCHES(p, "identifier", "Ab7");
    MATCHES(p, "identifier", "urn:s|AB7");
    PASSES(p, "identifier", "URN:S|aB7"); /* a system is a URI */
    MATCHES(p, "identifier:of-type", "urn:t|mr|ab7");
    MATCHES(p, "organization:identifier", "XY");
    MATCHES(p, "email", "a@B.org");
    PASSES(p, "gender", "MALE"); /* FHIR's own codes are what they are */
    PASSES(p, "_id", "P");
    MATCHES(OBS("\"code\":{\"coding\":[{\"code\":\"Abc\"}]}"), "code", "aBC");
    MATCHES(
        "{\"resourceType\":\"MolecularSequence\",\"id\":\"m\",\"referenceSeq\":{\"chromosome\":{"
        "\"coding\":[{\"code\":\"X\"}]}}}",
        "chromosome", "x");
}

TEST(search, text_beside_a_code_is_searched_as_a_string)
{
    (void)state;
    const char *o =
        OBS("\"code\":{\"coding\":[{\"code\":\"c\",\"display\":\"Systolic blood\"}],"
            "\"text\":\"\u00c9tude  of\\tpressure\"},\"subject\":{\"reference\":\"Patient/1\","
            "\"display\":\"Peter M\"}");
    MATCHES(o, "code:text", "systolic");
    PASSES(o, "code:text", "blood");
    MATCHES(o, "code:text", "etude of pressure"); /* white space that means nothing */
    MATCHES(o, "code:text", "ETUDE   OF");
    MATCHES(o, "subject:text", "peter");
    PASSES(o, "subject:text", "m");
}

TEST(search, of_a_timing_the_outer_limits_matter)
{
    (void)state;
    const char *t =
        "{\"resourceType\":\"ServiceRequest\",\"id\":\"s\",\"occurrenceTiming\":{\"event\":["
        "\"2013-03-24\",\"2013-01-31\"],\"repeat\":{\"boundsPeriod\":{\"start\":\"2013-02\"}}}}";
    MATCHES(t, "occurrence", "sa2013-01-30");
    PASSES(t, "occurrence", "sa2013-01-31");
    PASSES(t, "occurrence", "2013-01-31");
    MATCHES(t, "occurrence", "gt2020"); /* its bounds are open */
    const char *e =
        "{\"resourceType\":\"ServiceRequest\",\"id\":\"s\",\"occurrenceTiming\":{\"event\":["
        "\"2013-03-24\",\"2013-01-31\"]}}";
    MATCHES(e, "occurrence", "2013");
    PASSES(e, "occurrence", "2013-01-31");
    MATCHES(e, "occurrence", "ap2013-02-10");
    PASSES(e, "occurrence", "gt2013-03-24");
    MATCHES(e, "occurrence:missing", "false");
}

TEST(search, canonical_urls_have_versions)
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
    REFUSED(RESPONSE("http://x/Q"), "subject:below", "Patient/1"); /* hierarchies are not offered */
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

TEST(search, a_backslash_escapes_and_nothing_else)
{
    (void)state;
    const char *p = PAT("\"name\":[{\"family\":\"a,b|c$d\\\\e\"}],\"identifier\":[{\"system\":"
                        "\"urn:a|b\",\"value\":"
                        "\"1,2\"}]");
    MATCHES(p, "family:exact", "a\\,b\\|c\\$d\\\\e");
    MATCHES(p, "identifier", "urn:a\\|b|1\\,2");
    MATCHES(p, "identifier", "x,urn:a\\|b|");
    REFUSED(p, "family", "a\\b");
    REFUSED(p, "family", "a\\");
    REFUSED(p, "family:exact", "x,\\\\\\");
}

TEST(search, an_index_lists_nothing_twice)
{
    (void)state;
    struct arena *a = arena_new(8u << 20);
    struct buf text = BUF_INIT(1u << 20), out = BUF_INIT(1u << 20);
    yyjson_doc *doc;
    OK(buf_add(&text, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"p\",\"identifier\":["), e));
    for (unsigned i = 0; i < 100; i++)
        OK(buf_add_fmt(&text, e, "%s{\"value\":\"%u\"}", i ? "," : "", i % 50));
    OK(buf_add(&text, SV_LIT("],\"name\":[{\"given\":[\"x\",\"X\"]}]}"), e));
    OK(json_read(a, buf_sv(&text), 64, &doc, e));
    OK(search_index(fhir_type_find(SV_LIT("Patient")), yyjson_doc_get_root(doc), &out, e));
    uint16_t param,
        identifier =
            search_param_find(fhir_type_find(SV_LIT("Patient")), SV_LIT("identifier"))->number;
    sv seen[200], value, rest = buf_sv(&out);
    size_t n = 0;
    while (search_index_next(&rest, &param, &value)) {
        if (param != identifier)
            continue;
        for (size_t i = 0; i < n; i++)
            assert_false(sv_eq(seen[i], value));
        seen[n++] = value;
    }
    assert_int_equal(rest.len, 0);
    assert_int_equal(n, 50);
    buf_done(&text);
    buf_done(&out);
    arena_free(a);
}

TEST_MAIN(T(search, finds_what_fhirpath_finds_in_the_official_examples),
          T(search, dates_are_intervals), T(search, numbers_have_the_precision_of_their_digits),
          T(search, quantities_compare_with_their_units), T(search, strings_fold_case_and_accents),
          T(search, tokens_know_systems_and_their_absence),
          T(search, references_by_id_type_url_and_identifier), T(search, uris_below_and_above),
          T(search, a_composite_is_met_within_one_element),
          T(search, upper_and_lower_case_of_codes_are_the_same_where_nothing_says_otherwise),
          T(search, text_beside_a_code_is_searched_as_a_string),
          T(search, of_a_timing_the_outer_limits_matter), T(search, canonical_urls_have_versions),
          T(search, a_backslash_escapes_and_nothing_else), T(search, an_index_lists_nothing_twice))

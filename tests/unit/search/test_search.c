/* What parameters find is compared with what HL7's own FHIRPath engine finds in the official
 * examples; what criteria mean is told case by case; and every index is asked whether it proposes
 * all that is meant. */
#include "test.h"

#include "base/file.h"
#include "codec/ndjson.h"
#include "search/search.h"

#include <math.h>
#include <unistd.h>

/* ---- a file of FHIR's data, or skip ---- */

static sv fhir_data(const char *name, struct buf *out)
{
    char path[1024];
    const char *source = getenv("FHIRLAKE_SOURCE");
    (void)snprintf(path, sizeof path, "%s/.deps/fhir-r4/%s", source ? source : ".", name);
    if (access(path, R_OK) != 0) {
        print_message("no FHIR data: run ./dev fhir-data\n");
        skip();
    }
    OK(file_read(path, out, e));
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
    /* a union of FHIRPath drops what stands twice */
    size_t twice = 0;
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
    sv rest_e = fhir_data("examples.ndjson", &examples),
       rest_v = fhir_data("search-values.ndjson", &values), line_e, line_v;
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

#define OBS(t) "{\"resourceType\":\"Observation\",\"id\":\"o\"," t "}"
#define PAT(t) "{\"resourceType\":\"Patient\",\"id\":\"p\"," t "}"

#define MATCHES(r, n, v) assert_int_equal(asks((r), (n), (v)), 1)
#define PASSES(r, n, v)  assert_int_equal(asks((r), (n), (v)), 0)
#define REFUSED(r, n, v) assert_int_equal(asks((r), (n), (v)), -1)

static int sorted(const char *x, const char *y, const char *code);

TEST(search, dates_are_intervals)
{
    (void)state;
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
    /* the day goes on behind ten */
    MATCHES(day, "date", "gt2013-01-14T10:00");
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
    /* it does not end that day */
    PASSES(open, "date", "2013-01-21");
    MATCHES(open, "date", "ne2013-01-21");
    const char *zone = OBS("\"effectiveDateTime\":\"2013-01-14T23:30:00-02:00\"");
    /* in UTC, as a query without a zone is */
    MATCHES(zone, "date", "2013-01-15");
    MATCHES(zone, "date", "2013-01-15T01:30:00Z");
    MATCHES(zone, "date", "2013-01-14T20:30:00-05:00");
    const char *instant = OBS("\"issued\":\"2020-02-29T12:00:00.123Z\"");
    MATCHES(instant, "_lastUpdated", "2023-11-14");
    PASSES(instant, "_lastUpdated", "gt2023-11-15");
    const char *night = OBS("\"effectivePeriod\":{\"start\":\"2011-12-31T22:00:00Z\",\"end\":"
                            "\"2012-01-01T06:00:00Z\"}");
    /* what straddles an end is on both sides of it */
    MATCHES(night, "date", "le2011");
    MATCHES(night, "date", "ge2012");
    MATCHES(night, "date", "le2011-12-31");
    MATCHES(night, "date", "ge2012-01-01");
    MATCHES(night, "date", "lt2012");
    MATCHES(night, "date", "gt2011");
    PASSES(night, "date", "le2011-12-31T21:59");
    MATCHES(night, "date", "le2011-12-31T22:00");
    PASSES(night, "date", "ge2012-01-01T06:01");
    /* a second long */
    MATCHES(night, "date", "ge2012-01-01T06:00:00Z");
    PASSES(night, "date", "sa2011");
    PASSES(night, "date", "eb2012");
    const char *month = OBS("\"effectiveDateTime\":\"2011-12\"");
    MATCHES(month, "date", "le2011-12-01");
    MATCHES(month, "date", "ge2011-12-31");
    PASSES(month, "date", "le2011-11-30");
    PASSES(month, "date", "ge2012-01-01");
    MATCHES(open, "date", "ge2013-01-20");
    MATCHES(open, "date", "le2013-01-21");
    const char *until = OBS("\"effectivePeriod\":{\"end\":\"2013-01-21\"}");
    MATCHES(until, "date", "le1900");
    MATCHES(until, "date", "ge2013-01-21");
    PASSES(until, "date", "ge2013-01-22");
    const char *never = OBS("\"effectivePeriod\":{\"start\":\"2013-02\",\"end\":\"2013-01\"}");
    /* it ends before it begins */
    PASSES(never, "date", "ge2012");
    MATCHES(never, "date:missing", "true");
    REFUSED(day, "date", "2013-02-30");
    REFUSED(day, "date", "yesterday");
    REFUSED(day, "date", "");
    REFUSED(day, "date", "2013-1-1");
    REFUSED(day, "date", "2013-01-14T24:00");
    REFUSED(day, "date", "2013-01-14T10");
    REFUSED(day, "date", "2013-01-14T10:00+15:00");
    REFUSED(day, "date:exact", "2013");
}

TEST(search, a_leap_second_belongs_to_its_own_day)
{
    (void)state;
#define DIED(t) PAT("\"deceasedDateTime\":\"" t "\"")
    static const char *const leaps[] = { DIED("2016-12-31T23:59:60Z"),
                                         DIED("2016-12-31T23:59:60.75Z"),
                                         DIED("2017-01-01T02:59:60+03:00"),
                                         DIED("2016-12-31T18:59:60.1-05:00") };
    for (size_t i = 0; i < 4; i++) {
        MATCHES(leaps[i], "death-date", "2016");
        MATCHES(leaps[i], "death-date", "2016-12");
        MATCHES(leaps[i], "death-date", "2016-12-31");
        MATCHES(leaps[i], "death-date", "2016-12-31T23:59");
        MATCHES(leaps[i], "death-date", "2016-12-31T23:59:60Z");
        MATCHES(leaps[i], "death-date", "le2016-12-31");
        MATCHES(leaps[i], "death-date", "lt2017");
        MATCHES(leaps[i], "death-date", "eb2017");
        MATCHES(leaps[i], "death-date", "ge2016-12-31T23:59:60Z");
        PASSES(leaps[i], "death-date", "2017");
        PASSES(leaps[i], "death-date", "sa2016-12-31");
        PASSES(leaps[i], "death-date", "gt2016");
        PASSES(leaps[i], "death-date", "ge2017-01-01");
    }
    PASSES(DIED("2017-01-01T00:00:00Z"), "death-date", "2016-12-31T23:59:60Z");
    PASSES(DIED("2016-12-31T23:59:59Z"), "death-date", "2016-12-31T23:59:60Z");
    const char *stay = OBS("\"effectivePeriod\":{\"start\":\"2016-12-31T12:00:00Z\",\"end\":"
                           "\"2016-12-31T23:59:60Z\"}");
    MATCHES(stay, "date", "2016-12-31");
    PASSES(stay, "date", "ge2017");
    MATCHES(stay, "date", "eb2017");
    REFUSED(stay, "date", "2016-12-31T23:59:61Z");
    assert_true(sorted(DIED("2016-12-31T23:59:59Z"), leaps[0], "death-date") < 0);
    assert_true(sorted(leaps[0], DIED("2017-01-01T00:00:00Z"), "death-date") < 0);
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
    /* half of the last digit: [50, 150) */
    MATCHES(RISK("95"), "probability", "1e2");
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
    PASSES(RISK("7"), "probability", "1e999");
    REFUSED(RISK("7"), "probability", "1e99999");
}

TEST(search, a_decimal_equals_itself_whatever_its_digits)
{
    (void)state;
    static const char *const ascending[] = { "-1e400",
                                             "-123456789012345678901234567890",
                                             "-0.30000000000000005",
                                             "-0.30000000000000004",
                                             "-0.3",
                                             "-1e-300",
                                             "-1E-400",
                                             "0",
                                             "1e-400",
                                             "1e-300",
                                             "0.000000000000000000000000000001",
                                             "0.1",
                                             "0.3",
                                             "0.30000000000000004",
                                             "0.30000000000000005",
                                             "27.358938723415303",
                                             "98.60000000000001",
                                             "165.70000000000002",
                                             "1234567890.123456789",
                                             "12345678901234567",
                                             "12345678901234568",
                                             "123456789012345678",
                                             "123456789012345679",
                                             "12345678901234567890123456789",
                                             "123456789012345678901234567890",
                                             "123456789012345678901234567890.5",
                                             "1.7976931348623157e308",
                                             "1.7976931348623159e308",
                                             "1e400" };
    const size_t n = sizeof ascending / sizeof ascending[0];
    char r[256], q[256];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            static const struct {
                const char *prefix;
                int less, same, more; /* the element is less than what is asked for */
            } cases[] = { { "gt", 0, 0, 1 }, { "lt", 1, 0, 0 }, { "ge", 0, 1, 1 },
                          { "le", 1, 1, 0 }, { "sa", 0, 0, 1 }, { "eb", 1, 0, 0 } };
            (void)snprintf(r, sizeof r, RISK("%s"), ascending[i]);
            for (size_t c = 0; c < 6; c++) {
                (void)snprintf(q, sizeof q, "%s%s", cases[c].prefix, ascending[k]);
                int want = i < k ? cases[c].less : i == k ? cases[c].same : cases[c].more;
                if (asks(r, "probability", q) != want)
                    fail_msg("%s %s", q, r);
            }
            (void)snprintf(q, sizeof q, "ne%s", ascending[k]);
            if (i == k) {
                MATCHES(r, "probability", ascending[k]);
                PASSES(r, "probability", q);
            } else if (strlen(ascending[k]) > 16) {
                /* half of its last digit reaches no other */
                PASSES(r, "probability", ascending[k]);
                MATCHES(r, "probability", q);
            }
        }
    static const char *const alike[] = { "0.10", "0.1000", "1e-1", "10E-2", "0.01e+1", "0.1e0" };
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 6; k++) {
            (void)snprintf(r, sizeof r, RISK("%s"), alike[i]);
            (void)snprintf(q, sizeof q, "ge%s", alike[k]);
            MATCHES(r, "probability", alike[k]);
            MATCHES(r, "probability", q);
            q[0] = 'l';
            MATCHES(r, "probability", q);
            (void)snprintf(q, sizeof q, "gt%s", alike[k]);
            PASSES(r, "probability", q);
        }
    MATCHES(RISK("-0.0"), "probability", "ge0");
    MATCHES(RISK("0e5"), "probability", "le-0");
    PASSES(RISK("-0"), "probability", "lt0");
    /* [-0.05, 0.05) */
    MATCHES(RISK("0.0499"), "probability", "0.0");
    PASSES(RISK("0.05"), "probability", "0.0");
    MATCHES(RISK("-0.05"), "probability", "0.0");
    PASSES(RISK("0.30000000000000004"), "probability", "0.30000000000000000");
    MATCHES(RISK("0.30000000000000004"), "probability", "0.3");
    MATCHES(RISK("12345678901234567890"), "probability", "1.234567890123456789e19");
    PASSES(RISK("99999999999999999999.5"), "probability", "99999999999999999999");
    MATCHES(RISK("99999999999999999998.5"), "probability", "99999999999999999999");
    MATCHES(RISK("-99999999999999999999.4999"), "probability", "-99999999999999999999");
    PASSES(RISK("-99999999999999999999.5001"), "probability", "-99999999999999999999");
    MATCHES(RISK("110000000000000000000000"), "probability", "ap100000000000000000000000");
    PASSES(RISK("110000000000000000000001"), "probability", "ap100000000000000000000000");
    MATCHES(RISK("-90"), "probability", "ap-100");
    MATCHES(RISK("-110"), "probability", "ap-100");
    PASSES(RISK("-89.99"), "probability", "ap-100");
    REFUSED(RISK("7"), "probability", "1e");
    REFUSED(RISK("7"), "probability", "--1");
    REFUSED(RISK("7"), "probability", "1.2.3");
    REFUSED(RISK("7"), "probability", ".");
    REFUSED(RISK("7"), "probability", "0x10");
    REFUSED(RISK("7"), "probability", "1e99999999999999999999");
}

/* For each prefix, the queries' numbers below, at and above 5. */
static void five(const char *quantity, const char *rows[9])
{
    static const char *const prefixes[] = { "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap" };
    static const char *const numbers[] = { "4.999", "5", "5.001" };
    char r[512], q[32];
    for (size_t i = 0; i < 9; i++)
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(r, sizeof r,
                           OBS("\"valueQuantity\":%s,\"code\":{\"coding\":[{\"code\":\"c\"}]}"),
                           quantity);
            (void)snprintf(q, sizeof q, "%s%s", prefixes[i], numbers[k]);
            if (asks(r, "value-quantity", q) != (rows[i][k] == '1'))
                fail_msg("%s does not answer %c to %s", quantity, rows[i][k], q);
            (void)snprintf(q, sizeof q, "c$%s%s", prefixes[i], numbers[k]);
            if (asks(r, "code-value-quantity", q) != (rows[i][k] == '1'))
                fail_msg("%s does not answer %c to %s", quantity, rows[i][k], q);
        }
}

TEST(search, an_open_end_is_open)
{
    (void)state;
    /* eq, ne, gt, lt, ge, le, sa, eb, ap */
    five("{\"value\":5}",
         (const char *[]){ "010", "101", "100", "001", "110", "011", "100", "001", "111" });
    five("{\"value\":5.0,\"comparator\":\"<\"}",
         (const char *[]){ "000", "111", "100", "111", "100", "111", "000", "011", "111" });
    five("{\"value\":5,\"comparator\":\"<=\"}",
         (const char *[]){ "000", "111", "100", "111", "110", "111", "000", "001", "111" });
    five("{\"value\":5.00,\"comparator\":\">\"}",
         (const char *[]){ "000", "111", "111", "001", "111", "001", "110", "000", "111" });
    five("{\"value\":5,\"comparator\":\">=\"}",
         (const char *[]){ "000", "111", "111", "001", "111", "011", "100", "000", "111" });
    const char *less = OBS("\"valueQuantity\":{\"value\":4.5,\"comparator\":\"<\"}");
    const char *most = OBS("\"valueQuantity\":{\"value\":4.5,\"comparator\":\"<=\"}");
    /* [4.5, 5.5] */
    PASSES(less, "value-quantity", "ap5");
    MATCHES(most, "value-quantity", "ap5");
    PASSES(OBS("\"valueQuantity\":{\"value\":5.5,\"comparator\":\">\"}"), "value-quantity", "ap5");
    MATCHES(OBS("\"valueQuantity\":{\"value\":5.5,\"comparator\":\">=\"}"), "value-quantity",
            "ap5");
    /* a Range has its ends, and none where a side is missing */
#define AGE(t) "{\"resourceType\":\"Condition\",\"id\":\"c\",\"onsetRange\":{" t "}}"
    const char *range = AGE("\"low\":{\"value\":5},\"high\":{\"value\":10}");
    MATCHES(range, "onset-age", "ge10");
    PASSES(range, "onset-age", "gt10");
    MATCHES(range, "onset-age", "le5");
    PASSES(range, "onset-age", "lt5");
    PASSES(range, "onset-age", "eb10");
    MATCHES(range, "onset-age", "eb10.01");
    PASSES(range, "onset-age", "sa5");
    MATCHES(range, "onset-age", "sa4");
    MATCHES(range, "onset-age", "ap11");
    PASSES(range, "onset-age", "ap12");
    PASSES(range, "onset-age", "10");
    /* [5, 15) */
    MATCHES(range, "onset-age", "1e1");
    MATCHES(AGE("\"low\":{\"value\":99.5},\"high\":{\"value\":100.49}"), "onset-age", "100");
    PASSES(AGE("\"low\":{\"value\":99.5},\"high\":{\"value\":100.5}"), "onset-age", "100");
    const char *above = AGE("\"low\":{\"value\":5}"), *below = AGE("\"high\":{\"value\":5}");
    MATCHES(above, "onset-age", "ge1e30");
    PASSES(above, "onset-age", "eb1e30");
    MATCHES(above, "onset-age", "le5");
    PASSES(above, "onset-age", "lt5");
    MATCHES(below, "onset-age", "lt-1e30");
    PASSES(below, "onset-age", "gt5");
    MATCHES(below, "onset-age", "ge5");
    /* it holds nothing */
    const char *none = AGE("\"low\":{\"value\":6},\"high\":{\"value\":5}");
    PASSES(none, "onset-age", "ge1");
    MATCHES(none, "onset-age:missing", "true");
}

static int sorted(const char *x, const char *y, const char *code)
{
    const char *texts[] = { x, y };
    struct buf keys[2] = { BUF_INIT(4096), BUF_INIT(4096) };
    for (int i = 0; i < 2; i++) {
        struct arena *a = arena_new(8u << 20);
        yyjson_doc *doc;
        OK(json_read(a, sv_from(texts[i]), 64, &doc, e));
        struct search_subject s = { .root = yyjson_doc_get_root(doc) };
        s.type = fhir_type_find(json_string(json_get(s.root, "resourceType")));
        OK(search_sort_key(search_param_find(s.type, sv_from(code)), &s, false, &keys[i], e));
        assert_in_range(keys[i].len, 1, SEARCH_SORT_KEY_MAX);
        arena_free(a);
    }
    int c = sv_cmp(buf_sv(&keys[0]), buf_sv(&keys[1]));
    buf_done(&keys[0]);
    buf_done(&keys[1]);
    return c;
}

TEST(search, sort_keys_are_in_the_order_of_what_they_stand_for)
{
    (void)state;
    static const char *const ascending[] = {
        "{\"value\":5,\"comparator\":\"<\"}",
        "{\"value\":-1e400}",
        "{\"value\":-12}",
        "{\"value\":-1.5}",
        "{\"value\":-1.25}",
        "{\"value\":-1}",
        "{\"value\":0}",
        "{\"value\":1e-400}",
        "{\"value\":0.3}",
        "{\"value\":0.30000000000000004}",
        "{\"value\":5}",
        "{\"value\":5,\"comparator\":\">\"}",
        "{\"value\":5.1}",
        "{\"value\":12345678901234567890}",
        "{\"value\":12345678901234567891}",
        "{\"value\":1e400}",
    };
    const size_t n = sizeof ascending / sizeof ascending[0];
    char x[256], y[256];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            (void)snprintf(x, sizeof x, OBS("\"valueQuantity\":%s"), ascending[i]);
            (void)snprintf(y, sizeof y, OBS("\"valueQuantity\":%s"), ascending[k]);
            int c = sorted(x, y, "value-quantity");
            if ((c > 0) - (c < 0) != (i > k) - (i < k))
                fail_msg("%s and %s are out of order", ascending[i], ascending[k]);
        }
#define FAMILY(t) PAT("\"name\":[{\"family\":\"" t "\"}]")
    assert_int_equal(sorted(FAMILY("O'Brien"), FAMILY(" o\u2019BRIEN "), "family"), 0);
    assert_true(sorted(FAMILY("Oakley"), FAMILY("O'Brien"), "family") < 0);
    /* not by Berg */
    assert_true(sorted(FAMILY("van der Berg"), FAMILY("Unger"), "family") > 0);
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
    const char *p = PAT("\"name\":[{\"family\":\"M\\u00fcller-L\\u00fcdenscheidt\",\"given\":["
                        "\"Eve\",\"Zo\\u00eb\"]}]");
    MATCHES(p, "name", "muller");
    MATCHES(p, "name", "M\xc3\xbcL");
    /* u, combining diaeresis */
    MATCHES(p, "name", "mu\xcc\x88ller");
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

TEST(search, white_space_at_the_ends_and_punctuation_do_not_count)
{
    (void)state;
    const char *lee = PAT("\"name\":[{\"family\":\" Lee \",\"given\":[\"Mary  Ann\\tB\"]}]");
    MATCHES(lee, "family", "lee");
    MATCHES(lee, "family", " lee");
    MATCHES(lee, "family", "lee ");
    /* no-break space, em space */
    MATCHES(lee, "family",
            "\xc2\xa0"
            "LEE\xe2\x80\x83");
    /* ideographic space */
    MATCHES(lee, "family", "\xe3\x80\x80lee");
    /* ogham space, line separator */
    MATCHES(lee, "family", "\xe1\x9a\x80lee\xe2\x80\xa8");
    /* paragraph separator, next line */
    MATCHES(lee, "given",
            "mary\xe2\x80\xa9"
            "ann\xc2\x85"
            "b");
    MATCHES(lee, "given", "mary ann b");
    MATCHES(lee, "given",
            "mary\xc2\xa0"
            "ann   b");
    PASSES(lee, "given", "maryann");
    PASSES(lee, "family:exact", "Lee");
    MATCHES(lee, "family:exact", " Lee ");
    MATCHES(lee, "family:contains", " ee ");
    static const char *const apostrophes[] = {
        "O'Brien",       "O\\u2019Brien", "O\\u2018Brien",
        "O\\u02bcBrien", "O\\u00b4Brien", "O`Brien",
        "O\\uff07Brien", "OBrien",        "\\u201cO\\u2032Brien\\u201d",
        "obrien.",       "O\\u00adBrien"
    };
    static const char *const asked[] = { "obrien",
                                         "o'brien",
                                         "o\xe2\x80\x99"
                                         "brien",
                                         "O\xc2\xb4"
                                         "BRIEN",
                                         "O\xca\xbc"
                                         "Brien",
                                         "(O'Brien)",
                                         "obri" };
    char r[256];
    for (size_t i = 0; i < sizeof apostrophes / sizeof apostrophes[0]; i++)
        for (size_t k = 0; k < sizeof asked / sizeof asked[0]; k++) {
            (void)snprintf(r, sizeof r, FAMILY("%s"), apostrophes[i]);
            if (asks(r, "family", asked[k]) != 1 || asks(r, "family:contains", asked[k]) != 1)
                fail_msg("%s does not find %s", asked[k], r);
        }
    /* an apostrophe divides nothing */
    PASSES(FAMILY("O'Brien"), "family", "brien");
    PASSES(FAMILY("O'Brien"), "family:exact", "OBrien");
#define ORG(t) "{\"resourceType\":\"Organization\",\"id\":\"o\",\"name\":\"" t "\"}"
    MATCHES(ORG("St. Mary's Hospital"), "name", "st marys hospital");
    MATCHES(ORG("St Mary\\u2019s   Hospital"), "name", "St. Mary's Hosp");
    MATCHES(ORG("St.Mary"), "name", "st mary");
    MATCHES(ORG("St.Mary"), "name", "stmary");
    /* it is no person's name */
    PASSES(ORG("St. Mary's Hospital"), "name", "hospital");
    MATCHES(ORG("St. Mary's Hospital"), "name:contains", "mary's hos");
    MATCHES(ORG("Smith & Sons (London)"), "name", "smith sons london");
    MATCHES(ORG("Smith\\u2014Sons"), "name", "smith-sons");
    /* symbols are no punctuation */
    MATCHES(ORG("C++"), "name", "c+");
    PASSES(ORG("C"), "name", "c+");
    /* an Arabic comma */
    MATCHES(ORG("A\\u060c B"), "name", "a b");
    MATCHES(ORG("\\u00bfQu\\u00e9?"), "name", "que");
    MATCHES(PAT("\"address\":[{\"line\":[\" 12, Main St.\"]}]"), "address", "12 main st");
    const char *display =
        OBS("\"code\":{\"coding\":[{\"code\":\"c\",\"display\":\"(Systolic) blood\"}]}");
    MATCHES(display, "code:text", "systolic blood");
    MATCHES(display, "code:text", " systolic-");
    /* a text longer than what the index keeps, with joints in it */
    MATCHES(ORG("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t"), "name", "abcdefghijklmnopqrst");
    MATCHES(ORG("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t"), "name",
            "a b c d e f g h i j k l m n o p q r s t");
    PASSES(ORG("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t"), "name", "abcdefghijklmnopqrsx");
    /* one character that comes apart into 18 */
    MATCHES(ORG("\\ufdfa"), "name", "\xef\xb7\xba");
}

TEST(search, a_text_of_punctuation_alone_finds_not_everything)
{
    (void)state;
    const char *p = FAMILY("Lee");
    static const char *const nothing[] = { " ",   "-",        "...",
                                           "'",   "\xc2\xa0", "\xe2\x80\x94",
                                           "( )", "\xcc\x81", "\xe2\x80\x8b" };
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        REFUSED(p, "family", nothing[i]);
        REFUSED(p, "family:contains", nothing[i]);
        REFUSED(p, "family:text", nothing[i]);
        REFUSED(OBS("\"status\":\"final\""), "code:text", nothing[i]);
        PASSES(p, "family:exact", nothing[i]);
    }
    REFUSED(p, "family", "lee,-");
    const char *dots = FAMILY("...");
    MATCHES(dots, "family:exact", "...");
    PASSES(dots, "family", "x");
    MATCHES(dots, "family:missing", "false");
}

TEST(search, each_part_of_a_name_is_a_start)
{
    (void)state;
    const char *berg = PAT("\"name\":[{\"family\":\"van der Berg\",\"given\":[\"Mary Ann\",\"Jo\"],"
                           "\"prefix\":[\"Dr. med.\"],\"text\":\"Dr. Mary van der Berg\"}]");
    static const char *const starts[] = { "van",      "der",          "berg", "van der",
                                          "der berg", "van der berg", "BER" };
    for (size_t i = 0; i < 7; i++) {
        MATCHES(berg, "family", starts[i]);
        MATCHES(berg, "name", starts[i]);
    }
    PASSES(berg, "family", "erg");
    PASSES(berg, "family", "van berg");
    MATCHES(berg, "given", "ann");
    MATCHES(berg, "name", "med");
    MATCHES(berg, "name", "mary van");
    MATCHES(berg, "phonetic", "berg");
    const char *smith = FAMILY("Smith-Jones");
    MATCHES(smith, "family", "jones");
    MATCHES(smith, "family", "smithjones");
    MATCHES(smith, "family", "smith jones");
    MATCHES(smith, "family", "smith-jones");
    MATCHES(smith, "name",
            "smith\xe2\x80\x90"
            "jo");
    PASSES(smith, "family", "mith");
    MATCHES(FAMILY("Carre\\u00f1o Quinones"), "family", "quinones");
    MATCHES(FAMILY("Carre\\u00f1o Quinones"), "family", "carreno");
    MATCHES(FAMILY("Smith Jones"), "family", "smith-jones");
    MATCHES(
        "{\"resourceType\":\"Practitioner\",\"id\":\"p\",\"name\":[{\"family\":\"de la Cruz\"}]}",
        "family", "cruz");
    /* an address is none */
    PASSES(PAT("\"address\":[{\"city\":\"New York\"}]"), "address", "york");
    const char *long_one = FAMILY("p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11 p12 p13 p14 p15 p16 p17");
    MATCHES(long_one, "family", "p16");
    /* the first sixteen are */
    PASSES(long_one, "family", "p17");
    MATCHES(long_one, "family:contains", "p17");
    /* and in the first 64 strings: entries grow no faster than the resource */
    struct arena *a = arena_new(64u << 20);
    struct buf r = BUF_INIT(8u << 20), list = BUF_INIT(64u << 20);
    yyjson_doc *doc;
    OK(buf_add(&r, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[{\"given\":["), e));
    for (unsigned i = 0; i < 20000; i++)
        OK(buf_add_fmt(&r, e, "%s\"%u-b%u-c-d-e-f-g-h-i-j-k-l-m-n-o-p\"", i ? "," : "", i, i));
    OK(buf_add(&r, SV_LIT("]}]}"), e));
    OK(json_read(a, buf_sv(&r), 64, &doc, e));
    OK(search_index(fhir_type_find(SV_LIT("Patient")), yyjson_doc_get_root(doc), &list, e));
    assert_in_range(list.len, r.len, 4 * r.len);
    OK(buf_add_char(&r, 0, e));
    MATCHES(r.ptr, "given", "b63");
    PASSES(r.ptr, "given", "b64");
    MATCHES(r.ptr, "given", "19999 b19999 c");
    MATCHES(r.ptr, "given", "19999b19999c");
    buf_done(&r);
    buf_done(&list);
    arena_free(a);
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

TEST(search, text_beside_a_code_is_searched_as_a_string)
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

TEST(search, of_a_timing_the_outer_limits_matter)
{
    (void)state;
    const char *t =
        "{\"resourceType\":\"ServiceRequest\",\"id\":\"s\",\"occurrenceTiming\":{\"event\":["
        "\"2013-03-24\",\"2013-01-31\"],\"repeat\":{\"boundsPeriod\":{\"start\":\"2013-02\"}}}}";
    MATCHES(t, "occurrence", "sa2013-01-30");
    PASSES(t, "occurrence", "sa2013-01-31");
    PASSES(t, "occurrence", "2013-01-31");
    /* its bounds are open */
    MATCHES(t, "occurrence", "gt2020");
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

/* ---- chains into contained resources ---- */

/* "medication:Medication.manufacturer:Organization.name": nothing outside is found on the way. */
static struct search_criterion chain_of(fhir_type type, sv name, sv value, struct arena *a)
{
    struct search_criterion c = { 0 };
    size_t dot = sv_find(name, '.');
    if (dot == name.len) {
        OK(search_parse(&cx, type, name, value, a, &c, e));
        return c;
    }
    size_t colon = sv_find(name, ':');
    struct search_inside *in = ARENA_NEW(a, struct search_inside);
    struct search_criterion *inner = ARENA_NEW(a, struct search_criterion);
    in->type = fhir_type_find(sv_make(name.ptr + colon + 1, dot - colon - 1));
    *inner = chain_of(in->type, sv_tail(name, dot + 1), value, a);
    in->criterion = inner;
    c.param = search_param_find(type, sv_head(name, colon));
    assert_non_null(c.param);
    c.is_set = true;
    c.inside = in;
    c.n_inside = 1;
    return c;
}

/* As asks(); and what does not match is proposed only where `may` says so. */
static int chains(const char *resource, const char *name, const char *value, bool may)
{
    struct arena *a = arena_new(64u << 20);
    yyjson_doc *doc;
    OK(json_read(a, sv_from(resource), 64, &doc, e));
    struct search_subject s = { .root = yyjson_doc_get_root(doc) };
    s.type = fhir_type_find(json_string(json_get(s.root, "resourceType")));
    s.id = json_string(json_get(s.root, "id"));
    struct search_criterion c = chain_of(s.type, sv_from(name), sv_from(value), a);
    int result = search_match(&cx, &c, &s);
    struct search_driver d;
    unsigned char first[SEARCH_KEY_MAX];
    uint8_t len;
    assert_true(search_ranges(&c, s.type, a, &d));
    bool proposed = search_first_entry(&d, s.type, s.root, first, &len);
    if (result && !proposed)
        fail_msg("the index does not propose %s=%s", name, value);
    if (!result && proposed && !may)
        fail_msg("the index proposes %s=%s for nothing", name, value);
    /* the entry is one of those that are stored */
    if (proposed) {
        struct buf list = BUF_INIT(16u << 20);
        uint16_t param;
        sv v;
        bool stored = false;
        OK(search_index(s.type, s.root, &list, e));
        for (sv rest = buf_sv(&list); search_index_next(&rest, &param, &v);)
            stored |= param == d.param && sv_eq(v, sv_make(first, len));
        assert_true(stored);
        buf_done(&list);
    }
    arena_free(a);
    return result;
}
#define FINDS(r, n, v)  assert_int_equal(chains((r), (n), (v), false), 1)
#define MISSES(r, n, v) assert_int_equal(chains((r), (n), (v), false), 0)

static const char request[] =
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"r\",\"contained\":["
    "{\"resourceType\":\"Medication\",\"id\":\"m\",\"code\":{\"coding\":[{\"system\":\"urn:rx\","
    "\"code\":"
    "\"Abc\",\"display\":\"A "
    "drug\"}]},\"ingredient\":[{\"itemCodeableConcept\":{\"coding\":[{\"code\":\"ing\"}]}}],"
    "\"manufacturer\":{\"reference\":\"#o\"}},"
    "{\"resourceType\":\"Organization\",\"id\":\"o\",\"name\":\"Acme-Pharma\",\"partOf\":{"
    "\"reference\":\"#o\"}},"
    "{\"resourceType\":\"Organization\",\"id\":\"unused\",\"name\":\"Nobody\"},"
    "{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[{\"family\":\"van "
    "Inline\"}],\"birthDate\":\"1980-02\","
    "\"generalPractitioner\":[{\"reference\":\"Practitioner/out\"}]}],"
    "\"medicationReference\":{\"reference\":\"#m\"},\"subject\":{\"reference\":\"#p\"},"
    "\"requester\":{\"reference\":\"#gone\"}}";

TEST(search, a_chain_looks_into_contained_resources)
{
    (void)state;
    FINDS(request, "medication:Medication.code", "abc");
    FINDS(request, "medication:Medication.code", "urn:rx|abc");
    MISSES(request, "medication:Medication.code", "urn:other|abc");
    MISSES(request, "medication:Medication.code", "xyz");
    FINDS(request, "medication:Medication.ingredient-code", "ing");
    FINDS(request, "subject:Patient.family", "inline");
    FINDS(request, "patient:Patient.name", "van");
    FINDS(request, "subject:Patient.birthdate", "ge1980");
    assert_int_equal(chains(request, "subject:Patient.birthdate", "gt1980-02", true), 0);
    FINDS(request, "subject:Patient.birthdate", "1980-02,1990");
    FINDS(request, "subject:Patient.general-practitioner", "Practitioner/out");
    MISSES(request, "subject:Group.code", "x");
    /* "#gone" leads nowhere */
    MISSES(request, "requester:Patient.family", "inline");
    /* nothing leads there */
    MISSES(request, "requester:Organization.name", "nobody");
    /* what the index cannot be asked for */
    FINDS(request, "medication:Medication.code:not", "xyz");
    assert_int_equal(chains(request, "medication:Medication.code:not", "abc", true), 0);
    FINDS(request, "medication:Medication.code:text", "a dr");
    FINDS(request, "subject:Patient.family:contains", "line");
    FINDS(request, "subject:Patient.given:missing", "true");
    assert_int_equal(chains(request, "subject:Patient.family:missing", "true", true), 0);
    FINDS(request, "subject:Patient.family:exact", "van Inline");
    /* a chain that goes on inside */
    FINDS(request, "medication:Medication.manufacturer:Organization.name", "acme");
    FINDS(request, "medication:Medication.manufacturer:Organization.name:contains", "pharma");
    assert_int_equal(
        chains(request, "medication:Medication.manufacturer:Organization.name", "other", true), 0);
    FINDS(request,
          "medication:Medication.manufacturer:Organization.partof:Organization.partof:Organization."
          "name",
          "acme pharma");
    /* ids and instants of contained resources mean nothing outside */
    MISSES(request, "subject:Patient._id", "p");
    MISSES(request, "subject:Patient._lastUpdated", "gt1900");
    FINDS(request, "subject:Patient._id:missing", "true");
    /* and by itself the holder is no Medication */
    PASSES(request, "code", "abc");
}

TEST(search, a_chain_into_contained_resources_is_bounded)
{
    (void)state;
    struct arena *a = arena_new(64u << 20);
    struct buf r = BUF_INIT(8u << 20), list = BUF_INIT(64u << 20);
    yyjson_doc *doc;
    /* each of 400 leads to all of them: as many ways as no clock would live to see */
    OK(buf_add(&r,
               SV_LIT("{\"resourceType\":\"Observation\",\"id\":\"o\",\"hasMember\":[{"
                      "\"reference\":\"#c0\"}],"
                      "\"contained\":["),
               e));
    for (unsigned i = 0; i < 400; i++) {
        OK(buf_add_fmt(&r, e,
                       "%s{\"resourceType\":\"Observation\",\"id\":\"c%u\",\"code\":{\"coding\":[{"
                       "\"code\":\"k%u\"}]},"
                       "\"hasMember\":[",
                       i ? "," : "", i, i));
        for (unsigned k = 0; k < 400; k++)
            OK(buf_add_fmt(&r, e, "%s{\"reference\":\"#c%u\"}", k ? "," : "", k));
        OK(buf_add(&r, SV_LIT("]}"), e));
    }
    OK(buf_add(&r, SV_LIT("]}"), e));
    OK(buf_add_char(&r, 0, e));
    const char *deep = "has-member:Observation.has-member:Observation.has-member:Observation."
                       "has-member:Observation.has-member:Observation.has-member:Observation."
                       "has-member:Observation.has-member:Observation.has-member:Observation.code";
    assert_int_equal(chains(r.ptr, deep, "k399", true), 1);
    assert_int_equal(chains(r.ptr, deep, "k400", true), 0);
    assert_int_equal(chains(r.ptr, "has-member:Observation.code", "k0", true), 1);
    assert_int_equal(chains(r.ptr, "has-member:Observation.code", "k1", true), 0);
    /* more than is listed is proposed whatever is asked for */
    buf_clear(&r);
    OK(buf_add(&r,
               SV_LIT("{\"resourceType\":\"MedicationRequest\",\"id\":\"r\",\"subject\":{"
                      "\"reference\":\"#p\"},\"contained\":["
                      "{\"resourceType\":\"Patient\",\"id\":\"p\",\"identifier\":["),
               e));
    for (unsigned i = 0; i < 30000; i++)
        OK(buf_add_fmt(&r, e, "%s{\"value\":\"%u\"}", i ? "," : "", i));
    OK(buf_add(&r, SV_LIT("]}]}"), e));
    OK(json_read(a, buf_sv(&r), 64, &doc, e));
    OK(search_index(fhir_type_find(SV_LIT("MedicationRequest")), yyjson_doc_get_root(doc), &list,
                    e));
    assert_in_range(list.len, 1, 1000);
    OK(buf_add_char(&r, 0, e));
    assert_int_equal(chains(r.ptr, "subject:Patient.identifier", "29999", true), 1);
    assert_int_equal(chains(r.ptr, "subject:Patient.identifier", "30000", true), 0);
    buf_done(&r);
    buf_done(&list);
    arena_free(a);
}

/* How many entries of a parameter an index of form 1 lacks. */
static unsigned newer(const char *resource, const char *code)
{
    struct arena *a = arena_new(8u << 20);
    struct buf list = BUF_INIT(1u << 20);
    yyjson_doc *doc;
    unsigned n = 0;
    uint16_t param;
    sv value;
    OK(json_read(a, sv_from(resource), 64, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    fhir_type type = fhir_type_find(json_string(json_get(root, "resourceType")));
    OK(search_index_newer(type, root, &list, e));
    for (sv rest = buf_sv(&list); search_index_next(&rest, &param, &value);)
        n += param == search_param_find(type, sv_from(code))->number;
    buf_done(&list);
    arena_free(a);
    return n;
}

TEST(search, an_older_index_lacks_what_its_form_did_not_know)
{
    (void)state;
    assert_int_equal(newer(FAMILY("Lee"), "family"), 0);
    /* 2 */
    assert_int_equal(newer(FAMILY("LEE 2"), "family"), 1);
    assert_int_equal(newer(FAMILY("van der Berg"), "family"), 2);
    assert_int_equal(newer(FAMILY("O'Brien"), "family"), 1);
    assert_int_equal(newer(FAMILY(" Lee"), "family"), 1);
    assert_int_equal(newer(FAMILY("Lee  Ann"), "family"), 2);
    assert_int_equal(newer(FAMILY("Smith-Jones"), "family"), 3);
    assert_int_equal(newer(ORG("St Mary"), "name"), 0);
    assert_int_equal(newer(ORG("St. Mary"), "name"), 1);
    assert_int_equal(newer(PAT("\"birthDate\":\"1980\""), "birthdate"), 0);
    assert_int_equal(newer(DIED("2016-12-31T23:59:59.999Z"), "death-date"), 0);
    assert_int_equal(newer(DIED("2016-12-31T23:59:60Z"), "death-date"), 1);
    assert_int_equal(newer(OBS("\"effectivePeriod\":{\"end\":\"2016-12-31T23:59:60Z\"}"), "date"),
                     2);
    assert_int_equal(newer(OBS("\"valueQuantity\":{\"value\":5.4}"), "value-quantity"), 0);
    assert_int_equal(newer(OBS("\"valueQuantity\":{\"value\":1e400}"), "value-quantity"), 1);
    assert_int_equal(
        newer(RISK("0.000000000000000000000000000000000000000000000000000000000000012345"),
              "probability"),
        1);
    assert_int_equal(newer(AGE("\"high\":{\"value\":-1e400}"), "onset-age"), 1);
    assert_int_equal(
        newer(
            PAT("\"gender\":\"male\",\"managingOrganization\":{\"reference\":\"Organization/1\"}"),
            "gender"),
        0);
    assert_int_equal(
        newer(PAT("\"managingOrganization\":{\"reference\":\"Organization/1\"}"), "organization"),
        0);
    assert_true(newer(request, "medication") > 1);
}

TEST(search, entries_of_contained_resources_are_no_ones_but_the_holders)
{
    (void)state;
    struct arena *a = arena_new(8u << 20);
    struct buf with = BUF_INIT(1u << 20), without = BUF_INIT(1u << 20);
    yyjson_doc *doc;
    fhir_type type = fhir_type_find(SV_LIT("MedicationRequest"));
    OK(json_read(a, sv_from(request), 64, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &with, e));
    OK(json_read(
        a,
        SV_LIT("{\"resourceType\":\"MedicationRequest\",\"id\":\"r\",\"medicationReference\":{"
               "\"reference\":\"#m\"},\"subject\":{\"reference\":\"#p\"},\"requester\":{"
               "\"reference\":\"#gone\"}}"),
        64, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &without, e));
    size_t n = 0, n_without = 0, n_inside = 0;
    uint16_t param;
    sv value;
    for (sv rest = buf_sv(&without); search_index_next(&rest, &param, &value);)
        n_without++;
    for (sv rest = buf_sv(&with); search_index_next(&rest, &param, &value); n++) {
        n_inside += value.ptr[0] == 'c';
        assert_in_range(value.len, 1, SEARCH_KEY_MAX);
        assert_false(search_is_counted(type, param) && value.ptr[0] == 'c');
    }
    assert_int_equal(n, n_without + n_inside);
    assert_in_range(n_inside, 10, 100);
    buf_done(&with);
    buf_done(&without);
    arena_free(a);
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
TEST(patience, is_asked_while_one_resource_is_compared_and_ends_it)
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

TEST_MAIN(T(search, finds_what_fhirpath_finds_in_the_official_examples),
          T(search, dates_are_intervals), T(search, a_leap_second_belongs_to_its_own_day),
          T(search, numbers_have_the_precision_of_their_digits),
          T(search, a_decimal_equals_itself_whatever_its_digits), T(search, an_open_end_is_open),
          T(search, sort_keys_are_in_the_order_of_what_they_stand_for),
          T(search, quantities_compare_with_their_units), T(search, strings_fold_case_and_accents),
          T(search, white_space_at_the_ends_and_punctuation_do_not_count),
          T(search, a_text_of_punctuation_alone_finds_not_everything),
          T(search, each_part_of_a_name_is_a_start),
          T(search, tokens_know_systems_and_their_absence),
          T(search, references_by_id_type_url_and_identifier), T(search, uris_below_and_above),
          T(search, a_composite_is_met_within_one_element),
          T(search, upper_and_lower_case_of_codes_are_the_same_where_nothing_says_otherwise),
          T(search, text_beside_a_code_is_searched_as_a_string),
          T(search, of_a_timing_the_outer_limits_matter), T(search, canonical_urls_have_versions),
          T(search, a_backslash_escapes_and_nothing_else), T(search, an_index_lists_nothing_twice),
          T(search, a_chain_looks_into_contained_resources),
          T(search, a_chain_into_contained_resources_is_bounded),
          T(search, an_older_index_lacks_what_its_form_did_not_know),
          T(search, entries_of_contained_resources_are_no_ones_but_the_holders),
          T(patience, is_asked_while_one_resource_is_compared_and_ends_it))

/* asking.h - one resource and one query: do they meet? What a criterion means is told case by case,
 * and each time the index is asked whether it proposes what matches. */
#pragma once
#include "test.h"

#include "search/search.h"

static const struct search_context cx = { { "http://here/r4", 14 }, 1767225600000 /* 2026 */ };

/* +1 it matches, 0 it does not, -1 the query is refused. The index must propose what matches. */
static inline int asks(const char *resource, const char *name, const char *value)
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

/* resources that several rooms ask */
#define ORG(t)    "{\"resourceType\":\"Organization\",\"id\":\"o\",\"name\":\"" t "\"}"
#define FAMILY(t) PAT("\"name\":[{\"family\":\"" t "\"}]")
#define RISK(v)                                                                                    \
    "{\"resourceType\":\"RiskAssessment\",\"id\":\"r\",\"prediction\":[{\"probabilityDecimal\":" v \
    "}]}"
#define AGE(t)  "{\"resourceType\":\"Condition\",\"id\":\"c\",\"onsetRange\":{" t "}}"
#define DIED(t) PAT("\"deceasedDateTime\":\"" t "\"")

/* A request with contained resources. */
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

/* The order of two resources under a parameter: as memcmp(). */
static inline int sorted(const char *x, const char *y, const char *code)
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

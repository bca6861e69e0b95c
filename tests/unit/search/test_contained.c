/* test_contained.c - chains look into contained resources, within bounds. */
#include "search/asking.h"

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

TEST(contained, a_chain_looks_into_contained_resources)
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

TEST(contained, a_chain_into_contained_resources_is_bounded)
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

TEST_MAIN(T(contained, a_chain_looks_into_contained_resources),
          T(contained, a_chain_into_contained_resources_is_bounded))

/* A query's pair, parsed for each of a few types, turned into ranges, and met with sample
 * resources. Input: the name, a newline, the value; then, when there is one more newline, a
 * resource to look at beside the samples. A name with dots ("subject:Patient.name") is a chain that
 * finds nothing outside the resource. What matches must be proposed by the index, under an entry
 * that is stored; an answer must not change when it is asked again, and too little memory is an
 * error. */
#include "fuzz.h"

#include "base/limits.h"
#include "search/search.h"

static const char *const samples[] = {
    "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true,\"name\":[{\"family\":"
    "\"M\xc3\xbcller\",\"given\":[\"Zo\\u00eb\","
    "\"a,b\"]}],\"birthDate\":\"1980-02\",\"identifier\":[{\"system\":\"urn:s\",\"value\":\"Ab|7\","
    "\"type\":{\"coding\":[{"
    "\"system\":\"urn:t\",\"code\":\"MR\"}],\"text\":\"Record\"}}],\"generalPractitioner\":[{"
    "\"reference\":\"http://here/r4/"
    "Practitioner/1\",\"display\":\"Dr "
    "X\",\"identifier\":{\"value\":\"i\"}}],\"meta\":{\"profile\":[\"http://p/A|1\"]}}",
    "{\"resourceType\":\"Observation\",\"id\":\"o\",\"code\":{\"coding\":[{\"system\":\"l\","
    "\"code\":\"c\",\"display\":\"Text\"}]},"
    "\"valueQuantity\":{\"value\":5.40,\"unit\":\"mg\",\"comparator\":\"<\"},\"effectivePeriod\":{"
    "\"start\":\"2020-02-29\"},"
    "\"subject\":{\"reference\":\"Patient/p/_history/"
    "2\"},\"component\":[{\"code\":{\"coding\":[{\"code\":\"d\"}]},\"valueQuantity\":{"
    "\"value\":-1e300}}]}",
    "{\"resourceType\":\"RiskAssessment\",\"id\":\"r\",\"prediction\":[{\"probabilityDecimal\":0.8}"
    ",{\"probabilityRange\":{\"low\":{"
    "\"value\":1}}}]}",
    "{\"resourceType\":\"Location\",\"id\":\"l\",\"position\":{\"latitude\":48.1,\"longitude\":11."
    "5},\"name\":\"x\"}",
    "{\"resourceType\":\"ValueSet\",\"id\":\"v\",\"url\":\"http://a/b/c\",\"version\":\"1\"}",
    "{\"resourceType\":\"QuestionnaireResponse\",\"id\":\"q\",\"questionnaire\":\"http://x/"
    "Q|1.0\"}",
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"m\",\"medicationReference\":{\"reference\":"
    "\"#d\"},"
    "\"subject\":{\"reference\":\"#p\"},\"contained\":[{\"resourceType\":\"Medication\",\"id\":"
    "\"d\",\"code\":{"
    "\"coding\":[{\"code\":\"a\"}]},\"manufacturer\":{\"reference\":\"#o\"}},{\"resourceType\":"
    "\"Organization\","
    "\"id\":\"o\",\"name\":\"O\xe2\x80\x99"
    "Neill & Co.\",\"partOf\":{\"reference\":\"#o\"}},{\"resourceType\":"
    "\"Patient\",\"id\":\"p\",\"name\":[{\"family\":\" van der "
    "Smith-Jones\"}],\"deceasedDateTime\":"
    "\"2016-12-31T23:59:60Z\"}]}",
    "{\"resourceType\":\"Condition\",\"id\":\"c\",\"onsetRange\":{\"low\":{\"value\":0."
    "30000000000000004},\"high\":{"
    "\"value\":123456789012345678901234567890}},\"code\":{\"text\":\"\xc2\xbfQu\xc3\xa9? "
    "\xef\xb7\xba\"}}",
};
static const struct search_context cx = { { "http://here/r4", 14 }, 1767225600000 };

#define CHAIN_MAX 4u

/* As a query would: each step names the type that it leads to. */
static err_code parse(fhir_type type, sv name, sv value, unsigned depth, struct arena *a,
                      struct search_criterion *out, struct err *e)
{
    size_t dot = sv_find(name, '.'), colon = sv_find(name, ':');
    if (dot == name.len || colon > dot)
        return search_parse(&cx, type, name, value, a, out, e);
    struct search_inside *in = ARENA_NEW(a, struct search_inside);
    struct search_criterion *inner = ARENA_NEW(a, struct search_criterion);
    const struct search_param *p = search_param_find(type, sv_head(name, colon));
    if (in == NULL || inner == NULL)
        return arena_oom(a, e);
    in->type = fhir_type_find(sv_make(name.ptr + colon + 1, dot - colon - 1));
    if (p == NULL || p->kind != SEARCH_REFERENCE || in->type == FHIR_TYPE_NONE ||
        depth == CHAIN_MAX)
        return ERR(e, ERR_INVALID, "no chain");
    TRY(parse(in->type, sv_tail(name, dot + 1), value, depth + 1, a, inner, e));
    in->criterion = inner;
    *out = (struct search_criterion){ .param = p, .is_set = true, .inside = in, .n_inside = 1 };
    return ERR_OK;
}

static bool is_stored(sv list, uint16_t param, sv value)
{
    uint16_t of;
    sv v;
    while (search_index_next(&list, &of, &v))
        if (of == param && sv_eq(v, value))
            return true;
    return false;
}

static void meet(sv name, sv value, yyjson_val *root, sv list, struct arena *a)
{
    struct search_subject s = { .root = root, .instant_ms = 1700000000000 };
    struct search_criterion c;
    struct err e;
    s.type = fhir_type_find(json_string(json_get(root, "resourceType")));
    s.id = json_string(json_get(root, "id"));
    if (s.type == FHIR_TYPE_NONE || !fhir_id_ok(s.id))
        return;
    struct arena *small = arena_new(256);
    (void)!search_parse(&cx, s.type, name, value, small, &c, &e);
    arena_free(small);
    if (parse(s.type, name, value, 0, a, &c, &e) != ERR_OK) {
        MUST(e.msg[0]);
        return;
    }
    MUST(c.param && c.n_terms <= SEARCH_TERMS_MAX);
    bool met = search_match(&cx, &c, &s);
    MUST(met == search_match(&cx, &c, &s));
    struct search_driver d;
    if (!search_ranges(&c, s.type, a, &d))
        return;
    for (size_t i = 1; i < d.n; i++)
        MUST(d.ranges[i - 1].to_len &&
             sv_cmp(sv_make(d.ranges[i - 1].to, d.ranges[i - 1].to_len),
                    sv_make(d.ranges[i].from, d.ranges[i].from_len)) <= 0);
    unsigned char first[SEARCH_KEY_MAX];
    uint8_t len;
    bool proposed = search_first_entry(&d, s.type, root, first, &len);
    MUST(!met || proposed);
    MUST(!proposed || is_stored(list, d.param, sv_make(first, len)));
}

static void look(sv name, sv value, sv text)
{
    struct arena *a = arena_new(64u << 20);
    yyjson_doc *doc;
    struct err e;
    if (json_read(a, text, LIMIT_RESOURCE_DEPTH, &doc, &e) == ERR_OK) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        struct buf list = BUF_INIT(64u << 20);
        fhir_type type = fhir_type_find(json_string(json_get(root, "resourceType")));
        if (type != FHIR_TYPE_NONE)
            MUST(search_index(type, root, &list, &e) == ERR_OK);
        meet(name, value, root, buf_sv(&list), a);
        buf_done(&list);
    }
    arena_free(a);
}

FUZZ(data)
{
    sv name, value;
    if (!sv_cut(&data, '\n', &name) || !sv_cut(&data, '\n', &value))
        return;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
        look(name, value, sv_from(samples[i]));
    if (data.ptr)
        look(name, value, data);
}

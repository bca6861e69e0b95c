/* A query's pair, parsed for each of a few types, turned into ranges, and met with sample resources. Input: the
 * name, a newline, the value; then, when there is one more newline, a resource to look at beside the samples.
 * What matches must be proposed by the index, an answer must not change when it is asked again, and too little
 * memory is an error. */
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
};
static const struct search_context cx = { { "http://here/r4", 14 }, 1767225600000 };

static void meet(sv name, sv value, yyjson_val *root, struct arena *a)
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
    if (search_parse(&cx, s.type, name, value, a, &c, &e) != ERR_OK) {
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
    MUST(!met || search_first_entry(&d, s.type, root, first, &len));
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
        buf_done(&list);
        meet(name, value, root, a);
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

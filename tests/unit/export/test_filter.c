/* test_filter.c - which resources _type, _typeFilter, _security and _tag let through, asked of
 * resources of a store in memory; random filters are compared with a plain walk over what the
 * resources were made from. */
#include "job/fixture.h"
#include "query/fixture.h"

#include "base/limits.h"
#include "codec/json.h"
#include "export/export_private.h"
#include "store/last.h"

#define N_STATUS 3
#define N_CODE   3

static const char *const statuses[N_STATUS] = { "final", "amended", "registered" };
static const char *const codes[N_CODE] = { "x", "y", "z" };

static struct store *st;
static struct arena *texts;
static struct search_subject subjects[32];
static size_t n_subjects;

static void put(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void put(const char *fmt, ...)
{
    char text[1024];
    yyjson_doc *doc;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fixture_put(st, text);
    OK(json_read(texts, arena_sv(texts, sv_from(text)), 20, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_true(n_subjects < sizeof subjects / sizeof subjects[0]);
    subjects[n_subjects++] = (struct search_subject){
        .type = fhir_type_find(sv_from(yyjson_get_str(yyjson_obj_get(root, "resourceType")))),
        .id = sv_from(yyjson_get_str(yyjson_obj_get(root, "id"))),
        .root = root,
    };
}

static void put_patient(const char *id, const char *family, const char *organization,
                        const char *labels)
{
    put("{\"resourceType\":\"Patient\",\"id\":\"%s\",\"meta\":{%s},\"name\":[{\"family\":\"%s\"}],"
        "\"managingOrganization\":{\"reference\":\"Organization/%s\"}}",
        id, labels, family, organization);
}

static int set_up(void **state)
{
    (void)state;
    st = fixture_store();
    texts = arena_new(4 << 20);
    put("{\"resourceType\":\"Organization\",\"id\":\"o1\",\"name\":\"North\"}");
    put("{\"resourceType\":\"Organization\",\"id\":\"o2\",\"name\":\"South+East\"}");
    put_patient("p1", "Ann", "o1",
                "\"security\":[{\"system\":\"s\",\"code\":\"R\"}],"
                "\"tag\":[{\"system\":\"t\",\"code\":\"a\"},{\"system\":\"t\",\"code\":\"b\"}]");
    put_patient("p2", "Ann", "o2", "\"security\":[{\"system\":\"s\",\"code\":\"V\"}]");
    put_patient("p3", "Bob", "o2", "\"tag\":[{\"system\":\"t\",\"code\":\"a\"}]");
    /* a grid: every status with every code, of the patients in turn */
    for (unsigned i = 0; i < N_STATUS * N_CODE; i++)
        put("{\"resourceType\":\"Observation\",\"id\":\"%s-%s\",\"status\":\"%s\",\"code\":{"
            "\"coding\":[{\"code\":\"%s\"}]},\"subject\":{\"reference\":\"Patient/p%u\"},"
            "\"effectiveDateTime\":\"2020-01-01T12:00:00+02:00\"}",
            statuses[i / N_CODE], codes[i % N_CODE], statuses[i / N_CODE], codes[i % N_CODE],
            i % 3 + 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(texts);
    store_close(st);
    return 0;
}

static err_code try_new(const struct job_export_params *p, struct arena *a,
                        struct export_filter **out, struct err *e)
{
    const struct export_filter_scope scope = { st, SV_LIT("http://here/r4"), last_of(st).t, NULL };
    return export_filter_new(&scope, p, 0, a, out, e);
}

static struct export_filter *made(const struct job_export_params *p, struct arena *a)
{
    struct export_filter *f;
    OK(try_new(p, a, &f, e));
    return f;
}

static bool meets(const struct export_filter *f, const struct search_subject *s)
{
    bool met;
    OK(export_filter_match(f, s, NULL, &met, e));
    return met;
}

/* Ids of all resources that are let through, in the order in which they were put. */
static sv passed(const struct job_export_params *p, struct arena *a)
{
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    const struct export_filter *f = made(p, a);
    for (size_t i = 0; i < n_subjects; i++)
        if (meets(f, &subjects[i]))
            OK(buf_add_fmt(&b, e, "%s%.*s", b.len ? " " : "", SV_FMT(subjects[i].id)));
    return arena_sv(a, buf_sv(&b));
}
#define PASSED(a, ...) passed(&(struct job_export_params){ __VA_ARGS__ }, (a))

#define PATIENTS      .types = LIST(S("Patient"))
#define OBSERVATIONS  .types = LIST(S("Observation"))
#define FILTERED(...) .type_filters = LIST(__VA_ARGS__)

TEST(filter, types_are_those_that_are_named_or_all_of_the_level)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    assert_sv(PASSED(a, PATIENTS), SV_LIT("p1 p2 p3"));
    assert_sv(PASSED(a, .types = LIST(S("Patient"), S("Organization"))), SV_LIT("o1 o2 p1 p2 p3"));
    const struct export_filter *all = made(&(struct job_export_params){ 0 }, a);
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        assert_true(export_filter_wants(all, (fhir_type)t));
    const struct export_filter *of =
        made(&(struct job_export_params){ .level = JOB_EXPORT_PATIENT }, a);
    /* compartmentdefinition-patient.html has Observation, and neither of the last two */
    assert_true(export_filter_wants(of, fhir_type_find(SV_LIT("Patient"))));
    assert_true(export_filter_wants(of, fhir_type_find(SV_LIT("Observation"))));
    assert_false(export_filter_wants(of, fhir_type_find(SV_LIT("Organization"))));
    assert_false(export_filter_wants(of, fhir_type_find(SV_LIT("Medication"))));
}

TEST(filter, associated_data_wants_provenance_beside_the_named_types)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct job_export_params p = { PATIENTS };
    fhir_type provenance = fhir_type_find(SV_LIT("Provenance"));
    assert_false(export_filter_wants(made(&p, a), provenance));
    p.associated = JOB_ASSOCIATED_RELEVANT_PROVENANCE;
    assert_true(export_filter_wants(made(&p, a), provenance));
    assert_false(export_filter_wants(made(&p, a), fhir_type_find(SV_LIT("Observation"))));
}

TEST(filter, all_pairs_of_one_filter_and_any_filter_of_the_type)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    assert_sv(PASSED(a, OBSERVATIONS, FILTERED(S("Observation?status=final&code=x"))),
              SV_LIT("final-x"));
    assert_sv(PASSED(a, OBSERVATIONS, FILTERED(S("Observation?code=x,z&status=amended"))),
              SV_LIT("amended-x amended-z"));
    assert_sv(PASSED(a, OBSERVATIONS,
                     FILTERED(S("Observation?status=final&code=x"), S("Observation?code=y"))),
              SV_LIT("final-x final-y amended-y registered-y"));
    assert_sv(PASSED(a, OBSERVATIONS, FILTERED(S("Observation?code=x&code=y"))), SV_LIT(""));
    /* what stands between two of & is no pair */
    assert_sv(PASSED(a, OBSERVATIONS, FILTERED(S("Observation?&status=final&&code=x&"))),
              SV_LIT("final-x"));
    /* other types come whole */
    assert_sv(PASSED(a, .types = LIST(S("Patient"), S("Observation")),
                     FILTERED(S("Observation?status=final&code=x"))),
              SV_LIT("p1 p2 p3 final-x"));
    assert_sv(PASSED(a, .types = LIST(S("Patient"), S("Observation")),
                     FILTERED(S("Observation?status=final&code=x"), S("Patient?family=bob"))),
              SV_LIT("p3 final-x"));
}

TEST(filter, random_filters_let_through_what_a_plain_walk_finds)
{
    (void)state;
    uint32_t x = 12345;
#define DRAW(n) (((x = x * 1664525u + 1013904223u) >> 16) % (n))
    for (unsigned round = 0; round < 200; round++) {
        CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
        bool want[N_STATUS * N_CODE] = { false };
        sv filters[3];
        unsigned n = 1 + DRAW(3);
        for (unsigned f = 0; f < n; f++) {
            CLEANUP_BUF struct buf b = BUF_INIT(1024);
            bool met[N_STATUS * N_CODE];
            memset(met, true, sizeof met);
            OK(buf_add_fmt(&b, e, "Observation?"));
            for (unsigned pairs = 1 + DRAW(3), k = 0; k < pairs; k++) {
                bool by_code = DRAW(2);
                unsigned one = DRAW(3), two = DRAW(3);
                const char *const *of = by_code ? codes : statuses;
                OK(buf_add_fmt(&b, e, "%s%s=%s,%s", k ? "&" : "", by_code ? "code" : "status",
                               of[one], of[two]));
                for (unsigned i = 0; i < N_STATUS * N_CODE; i++) {
                    unsigned has = by_code ? i % N_CODE : i / N_CODE;
                    met[i] = met[i] && (has == one || has == two);
                }
            }
            filters[f] = arena_sv(a, buf_sv(&b));
            for (unsigned i = 0; i < N_STATUS * N_CODE; i++)
                want[i] = want[i] || met[i];
        }
        const struct job_export_params p = { OBSERVATIONS, .type_filters = { filters, n } };
        const struct export_filter *f = made(&p, a);
        for (unsigned i = 0; i < N_STATUS * N_CODE; i++)
            if (meets(f, &subjects[n_subjects - N_STATUS * N_CODE + i]) != want[i])
                fail_msg("%s-%s is %s by %u filters, the first is %.*s", statuses[i / N_CODE],
                         codes[i % N_CODE], want[i] ? "missed" : "taken", n, SV_FMT(filters[0]));
    }
}

TEST(filter, chains_and_has_lead_through_the_store)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(32 << 20);
    assert_sv(PASSED(a, PATIENTS, FILTERED(S("Patient?organization.name=south"))), SV_LIT("p2 p3"));
    assert_sv(PASSED(a, PATIENTS, FILTERED(S("Patient?organization.name=south&family=bob"))),
              SV_LIT("p3"));
    assert_sv(PASSED(a, OBSERVATIONS, FILTERED(S("Observation?patient.family=bob"))),
              SV_LIT("final-z amended-z registered-z"));
    assert_sv(PASSED(a, PATIENTS, FILTERED(S("Patient?_has:Observation:patient:code=x"))),
              SV_LIT("p1"));
    assert_sv(PASSED(a, PATIENTS, FILTERED(S("Patient?organization.name=nowhere"))), SV_LIT(""));
    assert_sv(PASSED(a, PATIENTS,
                     FILTERED(S("Patient?_has:Observation:patient:code=x"),
                              S("Patient?organization.name=south&family=ann"))),
              SV_LIT("p1 p2"));
}

TEST(filter, percents_are_decoded_and_a_plus_is_a_plus)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    assert_sv(PASSED(a, PATIENTS, FILTERED(S("Patient?f%61mily=%42ob"))), SV_LIT("p3"));
    assert_sv(PASSED(a, .types = LIST(S("Organization")),
                     FILTERED(S("Organization?name:exact=South+East"))),
              SV_LIT("o2"));
    /* the instant is 10:00 in Greenwich */
    assert_sv(PASSED(a, OBSERVATIONS,
                     FILTERED(S("Observation?code=x&status=final&"
                                "date=eq2020-01-01T11:00:00+01:00"))),
              SV_LIT("final-x"));
    assert_sv(PASSED(a, OBSERVATIONS,
                     FILTERED(S("Observation?code=x&status=final&date=2020-01-01T12:00:00Z"))),
              SV_LIT(""));
}

TEST(filter, all_labels_and_tags_must_be_there)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    assert_sv(PASSED(a, .security = LIST(S("s|R"))), SV_LIT("p1"));
    assert_sv(PASSED(a, .security = LIST(S("s|"))), SV_LIT("p1 p2"));
    assert_sv(PASSED(a, .tag = LIST(S("t|a"))), SV_LIT("p1 p3"));
    assert_sv(PASSED(a, .tag = LIST(S("t|a"), S("t|b"))), SV_LIT("p1"));
    assert_sv(PASSED(a, .security = LIST(S("s|V")), .tag = LIST(S("t|a"))), SV_LIT(""));
    assert_sv(PASSED(a, .security = LIST(S("s|R")), .tag = LIST(S("t|b"))), SV_LIT("p1"));
    /* a label is not a tag */
    assert_sv(PASSED(a, .tag = LIST(S("s|R"))), SV_LIT(""));
    assert_sv(PASSED(a, FILTERED(S("Patient?family=bob")), .tag = LIST(S("t|a"))), SV_LIT("p3"));
}

TEST(filter, a_type_is_read_when_a_filter_or_a_label_asks)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    fhir_type observation = fhir_type_find(SV_LIT("Observation"));
    struct job_export_params p = { FILTERED(S("Observation?code=x")) };
    assert_true(export_filter_reads(made(&p, a), observation));
    assert_false(export_filter_reads(made(&p, a), patient));
    p = (struct job_export_params){ .tag = LIST(S("t|a")) };
    assert_true(export_filter_reads(made(&p, a), patient));
    p = (struct job_export_params){ PATIENTS };
    assert_false(export_filter_reads(made(&p, a), patient));
}

TEST(filter, refuses_what_selects_nothing_or_leads_nowhere)
{
    (void)state;
    static const struct {
        sv filter;
        err_code rc;
    } bad[] = {
        { S("Observation"), ERR_INVALID },
        { S("Observation?"), ERR_INVALID },
        { S("Observation?&"), ERR_INVALID },
        { S("Observation?&&"), ERR_INVALID },
        { S("Observation?%26"), ERR_NOT_FOUND }, /* a parameter of the name "&" */
        { S("Observation?="), ERR_NOT_FOUND },
        { S("Observation?=x"), ERR_NOT_FOUND },
        { S("Observation?code"), ERR_INVALID },
        { S("Observation?code="), ERR_INVALID },
        { S("Observation?code=x&status="), ERR_INVALID },
        { S("Observation?patient.family="), ERR_INVALID },
        { S("Observation?_has:Observation:has-member:code="), ERR_INVALID },
        { S("?code=x"), ERR_INVALID },
        { S("Nothing?code=x"), ERR_INVALID },
        { S("observation?code=x"), ERR_INVALID },
        { S("Patient?family=ann"), ERR_INVALID }, /* _type leaves it out */
        { S("Observation?nothing=x"), ERR_NOT_FOUND },
        { S("Observation?code=x&nothing=x"), ERR_NOT_FOUND },
        { S("Observation?patient.nothing=x"), ERR_NOT_FOUND },
        { S("Observation?code.family=x"), ERR_INVALID },
        { S("Observation?_has:Nothing:patient:code=x"), ERR_INVALID },
        { S("Observation?date=never"), ERR_INVALID },
        { S("Observation?code=%zz"), ERR_INVALID },
        { S("Observation?_sort=date"), ERR_INVALID },
        { S("Observation?code=x&_count=3"), ERR_INVALID },
        { S("Observation?_include:iterate=Observation:patient"), ERR_INVALID },
        { S("Observation?_revinclude=Provenance:target"), ERR_INVALID },
        { S("Observation?_elements=code"), ERR_INVALID },
        { S("Observation?_summary=true"), ERR_INVALID },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
        struct export_filter *f = NULL;
        struct err e;
        const struct job_export_params p = { OBSERVATIONS, .type_filters = { &bad[i].filter, 1 } };
        err_code rc = try_new(&p, a, &f, &e);
        if (rc != bad[i].rc)
            fail_msg("%.*s: %s", SV_FMT(bad[i].filter), err_code_name(rc));
        assert_null(f);
    }
}

TEST(filter, refuses_types_that_are_none_or_not_of_the_level)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct export_filter *f;
    struct job_export_params p = { .types = LIST(S("Patient"), S("Nothing")) };
    FAILS(ERR_INVALID, try_new(&p, a, &f, e));
    p.types = (struct job_texts)LIST(S("Patient"), S("Organization"));
    OK(try_new(&p, a, &f, e));
    p.level = JOB_EXPORT_PATIENT;
    FAILS(ERR_INVALID, try_new(&p, a, &f, e));
    p.types = (struct job_texts){ NULL, 0 };
    p.type_filters = (struct job_texts)LIST(S("Organization?name=north"));
    FAILS(ERR_INVALID, try_new(&p, a, &f, e));
}

TEST(filter, has_limits_of_pairs_of_labels_and_of_filters)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    static sv many[LIMIT_EXPORT_TEXTS + 1];
    struct export_filter *f;
    OK(buf_add_fmt(&b, e, "Patient?family=ann"));
    for (unsigned i = 1; i < 64; i++)
        OK(buf_add_fmt(&b, e, "&family=ann"));
    sv text = buf_sv(&b);
    struct job_export_params p = { PATIENTS, .type_filters = { &text, 1 } };
    assert_sv(passed(&p, a), SV_LIT("p1 p2"));
    OK(buf_add_fmt(&b, e, "&family=ann"));
    text = buf_sv(&b);
    FAILS(ERR_TOO_LARGE, try_new(&p, a, &f, e));

    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++)
        many[i] = SV_LIT("t|a");
    p = (struct job_export_params){ .security = { many, 0 }, .tag = { many, 64 } };
    assert_sv(passed(&p, a), SV_LIT("p1 p3"));
    p.security.n = 1;
    FAILS(ERR_TOO_LARGE, try_new(&p, a, &f, e));

    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++)
        many[i] = SV_LIT("Patient?family=bob");
    p = (struct job_export_params){ PATIENTS, .type_filters = { many, LIMIT_EXPORT_TEXTS } };
    assert_sv(passed(&p, a), SV_LIT("p3"));
    p.type_filters.n++;
    FAILS(ERR_TOO_LARGE, try_new(&p, a, &f, e));
}

TEST(filter, scopes_let_through_what_they_give_to_read_and_to_search)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
#define SCOPES(...) .scopes = LIST(__VA_ARGS__)
    assert_sv(PASSED(a, SCOPES(S("system/Patient.rs"))), SV_LIT("p1 p2 p3"));
    assert_sv(PASSED(a, SCOPES(S("system/Patient.r"))), SV_LIT(""));
    assert_sv(PASSED(a, SCOPES(S("system/Patient.r"), S("system/Patient.s?family=ann"))),
              SV_LIT("p1 p2"));
    assert_sv(PASSED(a, SCOPES(S("system/*.rs?_tag=t%7Ca"))), SV_LIT("p1 p3"));
    assert_sv(PASSED(a, SCOPES(S("system/Patient.rs?_tag=t|b"), S("system/Organization.rs"))),
              SV_LIT("o1 o2 p1"));
    assert_sv(PASSED(a, SCOPES(S("system/Observation.rs?status=final&code=x"))), SV_LIT("final-x"));
    /* with what was asked for */
    assert_sv(
        PASSED(a, PATIENTS, SCOPES(S("system/*.rs?_tag=t|a")), FILTERED(S("Patient?family=bob"))),
        SV_LIT("p3"));
    /* Patient/p1 and Organization/o1 are not given to search, so nothing is found by them. */
    assert_sv(PASSED(a, OBSERVATIONS,
                     SCOPES(S("system/Observation.rs"), S("system/Patient.s?_id=p2")),
                     FILTERED(S("Observation?code=x&patient.family=ann"))),
              SV_LIT(""));
    assert_sv(PASSED(a, OBSERVATIONS,
                     SCOPES(S("system/Observation.rs"), S("system/Patient.s?_id=p1")),
                     FILTERED(S("Observation?code=x&patient.family=ann"))),
              SV_LIT("final-x amended-x registered-x"));
    struct export_filter *f;
    const struct job_export_params by_chain = { PATIENTS, SCOPES(S("system/Patient.rs")),
                                                FILTERED(S("Patient?organization.name=north")) };
    FAILS(ERR_DENIED, try_new(&by_chain, a, &f, e));
    /* Types of which nothing is given need no look; those of which some is given are read. */
    f = made(&(struct job_export_params){ SCOPES(S("system/Patient.rs?family=ann"),
                                                 S("system/Organization.rs")) },
             a);
    assert_true(export_filter_wants(f, fhir_type_find(SV_LIT("Patient"))));
    assert_true(export_filter_reads(f, fhir_type_find(SV_LIT("Patient"))));
    assert_true(export_filter_wants(f, fhir_type_find(SV_LIT("Organization"))));
    assert_false(export_filter_reads(f, fhir_type_find(SV_LIT("Organization"))));
    assert_false(export_filter_wants(f, fhir_type_find(SV_LIT("Observation"))));
    const struct job_export_params damaged = { SCOPES(S("system/Patient.sr")) };
    FAILS(ERR_CORRUPT, try_new(&damaged, a, &f, e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(filter, scopes_let_through_what_they_give_to_read_and_to_search),
        T(filter, types_are_those_that_are_named_or_all_of_the_level),
        T(filter, associated_data_wants_provenance_beside_the_named_types),
        T(filter, all_pairs_of_one_filter_and_any_filter_of_the_type),
        T(filter, random_filters_let_through_what_a_plain_walk_finds),
        T(filter, chains_and_has_lead_through_the_store),
        T(filter, percents_are_decoded_and_a_plus_is_a_plus),
        T(filter, all_labels_and_tags_must_be_there),
        T(filter, a_type_is_read_when_a_filter_or_a_label_asks),
        T(filter, refuses_what_selects_nothing_or_leads_nowhere),
        T(filter, refuses_types_that_are_none_or_not_of_the_level),
        T(filter, has_limits_of_pairs_of_labels_and_of_filters),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

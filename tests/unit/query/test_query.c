/* Pairs of a query as clauses: which must be met together, which follow a chain, and what is
 * refused before anything is looked for. */
#include "query/fixture.h"

static struct store *st;

static int set_up(void **state)
{
    (void)state;
    st = fixture_store();
    FIXTURE_PUT(st, "{\"resourceType\":\"Organization\",\"id\":\"o1\",\"name\":\"North\"}");
    FIXTURE_PUT(st, "{\"resourceType\":\"Organization\",\"id\":\"o2\",\"name\":\"South\","
                    "\"partOf\":{\"reference\":\"Organization/o1\"}}");
    static const char *const patients[][3] = { { "p1", "Ann", "o1" },
                                               { "p2", "Ann", "o2" },
                                               { "p3", "Bob", "o2" } };
    for (int i = 0; i < 3; i++)
        FIXTURE_PUT(st,
                    "{\"resourceType\":\"Patient\",\"id\":\"%s\",\"gender\":\"%s\",\"name\":["
                    "{\"family\":\"%s\"}],\"managingOrganization\":{\"reference\":"
                    "\"Organization/%s\"}}",
                    patients[i][0], i == 0 ? "male" : "female", patients[i][1], patients[i][2]);
    for (int i = 1; i <= 4; i++)
        FIXTURE_PUT(st,
                    "{\"resourceType\":\"Observation\",\"id\":\"b%d\",\"code\":{\"coding\":[{"
                    "\"code\":\"%s\"}]},\"subject\":{\"reference\":\"%sPatient/p%d\"}}",
                    i, i % 2 ? "odd" : "even", i == 4 ? "http://there/r4/" : "", i == 4 ? 1 : i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_close(st);
    return 0;
}

static sv found(struct arena *a, const char *type, const char *const pairs[][2], size_t n)
{
    struct query *q = fixture_query(st, a, type);
    for (size_t i = 0; i < n; i++)
        OK(query_add(q, sv_from(pairs[i][0]), sv_from(pairs[i][1]), e));
    return fixture_found(q);
}
#define FOUND(a, type, ...)                                     \
    found((a), (type), (const char *const[][2]){ __VA_ARGS__ }, \
          sizeof((const char *const[][2]){ __VA_ARGS__ }) / sizeof(const char *[2]))

TEST(query, each_clause_must_be_met_and_any_of_its_values_does)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    assert_sv(fixture_found(fixture_query(st, a, "Patient")), SV_LIT("p1 p2 p3"));
    assert_sv(FOUND(a, "Patient", { "family", "ann" }), SV_LIT("p1 p2"));
    assert_sv(FOUND(a, "Patient", { "family", "ann" }, { "gender", "female" }), SV_LIT("p2"));
    assert_sv(FOUND(a, "Patient", { "family", "ann,bob" }, { "gender", "female" }),
              SV_LIT("p2 p3"));
    assert_sv(FOUND(a, "Patient", { "family", "ann" }, { "family", "bob" }), SV_LIT(""));
    assert_sv(FOUND(a, "Patient", { "_id", "p3,p1,nobody" }), SV_LIT("p1 p3"));
}

TEST(query, a_chain_goes_through_what_a_reference_leads_to)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(32 << 20);
    assert_sv(FOUND(a, "Observation", { "subject:Patient.family", "ann" }), SV_LIT("b1 b2"));
    assert_sv(FOUND(a, "Observation", { "patient.organization.name", "south" }), SV_LIT("b2 b3"));
    assert_sv(FOUND(a, "Observation", { "patient.organization.partof.name", "north" }),
              SV_LIT("b2 b3"));
    assert_sv(FOUND(a, "Observation", { "patient.family", "ann" }, { "code", "even" }),
              SV_LIT("b2"));
    assert_sv(FOUND(a, "Observation", { "patient.family", "nobody" }), SV_LIT(""));
}

TEST(query, has_goes_against_a_reference)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(32 << 20);
    /* b4 speaks of a patient of another server */
    assert_sv(FOUND(a, "Patient", { "_has:Observation:patient:code", "odd" }), SV_LIT("p1 p3"));
    assert_sv(FOUND(a, "Patient", { "_has:Observation:patient:code", "even" }), SV_LIT("p2"));
    assert_sv(FOUND(a, "Organization",
                    { "_has:Patient:organization:_has:Observation:subject:code", "odd" }),
              SV_LIT("o1 o2"));
}

TEST(query, remembers_the_types_that_its_chains_looked_at)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(32 << 20);
    struct query *q = fixture_query(st, a, "Observation");
    OK(query_add(q, SV_LIT("code"), SV_LIT("odd"), e));
    for (unsigned t = 0; t < QUERY_TYPES_MAX; t++)
        assert_false(q->goes_by[t]);
    OK(query_add(q, SV_LIT("patient.organization.name"), SV_LIT("x"), e));
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const char *name = fhir_type_name((fhir_type)t);
        bool want = strcmp(name, "Patient") == 0 || strcmp(name, "Organization") == 0;
        if (q->goes_by[t] != want)
            fail_msg("%s", name);
    }
}

TEST(query, members_of_a_compartment_are_what_leads_to_its_owner)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct query *q = fixture_query(st, a, "Observation");
    OK(query_compartment(q, fhir_type_find(SV_LIT("Patient")), SV_LIT("p1"), e));
    assert_sv(fixture_found(q), SV_LIT("b1"));
    const struct search_param *p =
        search_param_find(fhir_type_find(SV_LIT("Patient")), SV_LIT("organization"));
    const struct search_id ids[] = { { fhir_type_find(SV_LIT("Organization")), SV_LIT("o2") } };
    q = fixture_query(st, a, "Patient");
    OK(query_leads_to(q, &p, 1, ids, 1, e));
    assert_sv(fixture_found(q), SV_LIT("p2 p3"));
}

TEST(query, refuses_what_leads_nowhere)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(32 << 20);
    static const struct {
        const char *type, *name, *value;
        err_code rc;
    } bad[] = {
        { "Patient", "nothing", "x", ERR_NOT_FOUND },
        { "Patient", "nothing.name", "x", ERR_NOT_FOUND },
        { "Patient", "organization.nothing", "x", ERR_NOT_FOUND },
        { "Patient", "family.name", "x", ERR_INVALID },               /* it is no reference */
        { "Patient", "organization:Patient.name", "x", ERR_INVALID }, /* it does not lead there */
        { "Patient", "organization:Nobody.name", "x", ERR_INVALID },
        { "Patient", "_has:Observation:patient", "x", ERR_INVALID },
        { "Patient", "_has:Observation:code:code", "x", ERR_INVALID },
        { "Patient", "_has:Nothing:patient:code", "x", ERR_INVALID },
        { "Organization", "_has:Observation:patient:code", "x", ERR_INVALID },
        { NULL, "subject.name", "x", ERR_INVALID }, /* a chain needs one type */
        { NULL, "_has:Observation:patient:code", "x", ERR_INVALID },
        { NULL, "family", "x", ERR_NOT_FOUND }, /* not every type has it */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct query *q = fixture_query(st, a, bad[i].type);
        struct err e;
        err_code rc = query_add(q, sv_from(bad[i].name), sv_from(bad[i].value), &e);
        if (rc != bad[i].rc)
            fail_msg("%s: %s", bad[i].name, err_code_name(rc));
        assert_int_equal(q->n_clauses, 0);
    }
}

TEST(query, has_limits_of_depth_and_of_clauses)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct query *q = fixture_query(st, a, "Organization");
    /* QUERY_DEPTH_MAX searches within each other, the outermost counted */
    OK(query_add(q, SV_LIT("partof.partof.partof.partof.name"), SV_LIT("x"), e));
    FAILS(ERR_TOO_LARGE,
          query_add(q, SV_LIT("partof.partof.partof.partof.partof.name"), SV_LIT("x"), e));
    q = fixture_query(st, a, "Patient");
    for (unsigned i = 0; i < QUERY_CLAUSES_MAX; i++)
        OK(query_add(q, SV_LIT("gender"), SV_LIT("female"), e));
    FAILS(ERR_TOO_LARGE, query_add(q, SV_LIT("gender"), SV_LIT("female"), e));
    FAILS(ERR_TOO_LARGE, query_compartment(q, q->types[0], SV_LIT("p1"), e));
    assert_sv(fixture_found(q), SV_LIT("p2 p3"));
}

TEST(query, a_parameter_that_several_types_share_is_asked_of_each)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct query *q = fixture_query(st, a, "Organization");
    q->types[q->n_types++] = fhir_type_find(SV_LIT("Patient"));
    OK(query_add(q, SV_LIT("name"), SV_LIT("ann,south"), e));
    assert_sv(fixture_found(q), SV_LIT("o2 p1 p2"));
    q = fixture_query(st, a, "Organization");
    q->types[q->n_types++] = fhir_type_find(SV_LIT("Patient"));
    FAILS(ERR_NOT_FOUND, query_add(q, SV_LIT("family"), SV_LIT("ann"), e));
}

/* As the members of a large Group: what they lead to is found by the index, or, when that would
 * need too much memory, by a look at everything. */
TEST(query, what_leads_to_very_many_is_found)
{
    (void)state;
    static const size_t numbers[] = { 70000, 300000 };
    const fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    for (size_t k = 0; k < 2; k++) {
        CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
        const struct search_param *by[SEARCH_COMPARTMENT_MAX];
        struct query *q = fixture_query(st, a, "Observation");
        struct search_id *ids = arena_alloc(a, numbers[k] * sizeof *ids);
        size_t n = numbers[k], n_by = search_compartment(patient, q->types[0], by);
        assert_in_range(n_by, 1, SEARCH_COMPARTMENT_MAX);
        for (size_t i = 0; i < n; i++)
            ids[i] = (struct search_id){ patient, arena_fmt(a, "p%zu", i + 2) };
        query_ids_sort(ids, &n);
        assert_int_equal(n, numbers[k]);
        OK(query_leads_to(q, by, n_by, ids, n, e));
        assert_sv(fixture_found(q), SV_LIT("b2 b3"));
        CLEANUP(query_walk_close) struct query_walk *w = NULL;
        struct query_match m;
        OK(query_walk_open(q, NULL, &w, e));
        OK(query_walk_next(w, 0, &m, e));
        assert_int_equal(query_walk_place(w)->clause, k ? -1 : 0);
        const struct query_place there = *query_walk_place(w);
        query_walk_close(w);
        OK(query_walk_open(q, &there, &w, e));
        OK(query_walk_next(w, 0, &m, e));
        FAILS(ERR_EOF, query_walk_next(w, 0, &m, e));
    }
}

TEST(query, ids_are_sorted_and_each_once)
{
    (void)state;
    struct search_id ids[] = { { 3, SV_LIT("b") },
                               { 2, SV_LIT("z") },
                               { 3, SV_LIT("a") },
                               { 3, SV_LIT("b") },
                               { 2, SV_LIT("z") } };
    size_t n = 5;
    query_ids_sort(ids, &n);
    assert_int_equal(n, 3);
    assert_sv(ids[0].id, SV_LIT("z"));
    assert_sv(ids[1].id, SV_LIT("a"));
    assert_sv(ids[2].id, SV_LIT("b"));
    n = 0;
    query_ids_sort(ids, &n);
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(query, each_clause_must_be_met_and_any_of_its_values_does),
        T(query, a_chain_goes_through_what_a_reference_leads_to),
        T(query, has_goes_against_a_reference),
        T(query, remembers_the_types_that_its_chains_looked_at),
        T(query, members_of_a_compartment_are_what_leads_to_its_owner),
        T(query, refuses_what_leads_nowhere),
        T(query, has_limits_of_depth_and_of_clauses),
        T(query, a_parameter_that_several_types_share_is_asked_of_each),
        T(query, what_leads_to_very_many_is_found),
        T(query, ids_are_sorted_and_each_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* What scopes give: of each type and letter, of one resource, and within searches, chains and
 * _has. */
#include "query/fixture.h"

#include "query/grant.h"

static struct arena *a;

static int set_up(void **state)
{
    (void)state;
    a = arena_new(256u << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(a);
    return 0;
}

/* A grant of these scopes to an app of this patient (NULL: of none). */
static struct query_grant *grant_of(const char *scopes, const char *patient)
{
    const struct search_context cx = { .base = SV_LIT("http://here/r4"), .now_ms = 1 };
    struct smart_grant *smart = ARENA_NEW(a, struct smart_grant);
    struct query_grant *grant;
    smart->patient = patient ? sv_from(patient) : SV_NONE;
    OK(smart_scopes_read(sv_from(scopes), a, &smart->scopes, &smart->n_scopes, e));
    OK(query_grant_new(smart, &cx, a, &grant, e));
    return grant;
}

static enum query_extent extent(struct query_grant *grant, const char *type, unsigned letters)
{
    return query_grant_extent(grant, type ? fhir_type_find(sv_from(type)) : FHIR_TYPE_NONE,
                              letters);
}

/* Is the resource of this text given? ' stands for ". */
static bool given(struct query_grant *grant, unsigned letters, const char *text)
{
    char json[1024];
    yyjson_doc *doc;
    bool met = false;
    size_t n = strlen(text);
    assert_in_range(n, 1, sizeof json - 1);
    for (size_t i = 0; i < n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    OK(json_read(a, arena_sv(a, sv_make(json, n)), 64, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    const struct search_subject s = { .type = fhir_type_find(
                                          json_string(json_get(root, "resourceType"))),
                                      .id = json_string(json_get(root, "id")),
                                      .root = root };
    OK(query_grant_met(grant, letters, NULL, &s, &met, e));
    return met;
}

TEST(grant, letters_are_those_of_the_scopes)
{
    (void)state;
    struct query_grant *g = grant_of("system/Observation.rs user/Observation.u system/*.d", NULL);
    assert_int_equal(extent(g, "Observation", SMART_R), QUERY_ALL);
    assert_int_equal(extent(g, "Observation", SMART_R | SMART_S | SMART_U | SMART_D), QUERY_ALL);
    assert_int_equal(extent(g, "Observation", SMART_C), QUERY_NOTHING);
    assert_int_equal(extent(g, "Observation", SMART_C | SMART_R), QUERY_NOTHING);
    assert_int_equal(extent(g, "Patient", SMART_R), QUERY_NOTHING);
    assert_int_equal(extent(g, "Patient", SMART_D), QUERY_ALL);
    assert_int_equal(extent(g, NULL, SMART_R), QUERY_SOME);
    assert_int_equal(extent(g, NULL, SMART_D), QUERY_ALL);
    assert_int_equal(extent(g, NULL, SMART_C), QUERY_NOTHING);
    assert_int_equal(extent(NULL, "Patient", SMART_C), QUERY_ALL);
}

TEST(grant, without_scopes_is_nothing)
{
    (void)state;
    struct query_grant *g = grant_of("openid fhirUser", "a");
    for (unsigned t = 0; t <= fhir_n_types(); t++)
        for (unsigned k = 0; k < SMART_N_LETTERS; k++)
            assert_int_equal(query_grant_extent(g, (fhir_type)t, 1u << k), QUERY_NOTHING);
}

TEST(grant, patient_scopes_without_a_patient_give_nothing)
{
    (void)state;
    static const char *const patients[] = { NULL, "", "Patient/a", "a b", "../a" };
    for (size_t i = 0; i < sizeof patients / sizeof patients[0]; i++) {
        struct query_grant *g = grant_of("patient/*.cruds", patients[i]);
        assert_int_equal(extent(g, "Patient", SMART_R), QUERY_NOTHING);
        assert_int_equal(extent(g, "Observation", SMART_R), QUERY_NOTHING);
    }
}

/* A resource of the type that refers to a patient in the way that puts it into the compartment. */
TEST(grant, of_all_types_a_patient_sees_his_own)
{
    (void)state;
    static const char *const never[] = {
        "Bundle",
        "Contract",
        "GuidanceResponse",
        "Linkage",
        "MessageHeader",
        "ResearchStudy",
        "Slot",
        "PaymentReconciliation",
        "Subscription",
        "VerificationResult",
        "PaymentNotice",
        "Parameters",
        "OperationOutcome",
    };
    struct query_grant *g = grant_of("patient/*.cruds", "a");
    unsigned n_some = 0, n_all = 0, n_nothing = 0;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct search_param *params[SEARCH_COMPARTMENT_MAX];
        fhir_type patient = fhir_type_find(SV_LIT("Patient"));
        enum query_extent x = query_grant_extent(g, (fhir_type)t, SMART_R);
        if (search_compartment(patient, (fhir_type)t, params))
            assert_int_equal(x, QUERY_SOME);
        n_some += x == QUERY_SOME;
        n_all += x == QUERY_ALL;
        n_nothing += x == QUERY_NOTHING;
        /* What is everybody's can be read, and not written. */
        assert_int_equal(query_grant_extent(g, (fhir_type)t, SMART_S), x);
        if (x == QUERY_ALL)
            assert_int_equal(query_grant_extent(g, (fhir_type)t, SMART_U), QUERY_NOTHING);
        else
            assert_int_equal(query_grant_extent(g, (fhir_type)t, SMART_U), x);
    }
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        assert_int_equal(extent(g, never[i], SMART_R), QUERY_NOTHING);
    /* 66 of the compartment; Device, Task and Binary */
    assert_int_equal(n_some, 69);
    assert_int_equal(n_all, 35);
    assert_int_equal(n_some + n_all + n_nothing, fhir_n_types());
}

TEST(grant, a_patient_is_himself_alone)
{
    (void)state;
    struct query_grant *g = grant_of("patient/Patient.rs", "a");
    assert_true(given(g, SMART_R, "{'resourceType':'Patient','id':'a'}"));
    assert_false(given(g, SMART_R, "{'resourceType':'Patient','id':'b'}"));
    assert_false(given(g, SMART_R,
                       "{'resourceType':'Patient','id':'b','link':[{'other':"
                       "{'reference':'Patient/a'},'type':'seealso'}]}"));
}

TEST(grant, a_record_is_what_leads_to_the_patient)
{
    (void)state;
    static const struct {
        const char *text;
        bool his;
    } rows[] = {
        { "{'resourceType':'Observation','subject':{'reference':'Patient/a'}}", true },
        { "{'resourceType':'Observation','subject':{'reference':'http://here/r4/Patient/a'}}",
          true },
        { "{'resourceType':'Observation','subject':{'reference':'http://there/r4/Patient/a'}}",
          false },
        { "{'resourceType':'Observation','subject':{'reference':'Patient/b'}}", false },
        { "{'resourceType':'Observation','subject':{'reference':'Group/a'}}", false },
        { "{'resourceType':'Observation','subject':{'reference':'Patient/b'},"
          "'performer':[{'reference':'Patient/a'}]}",
          true },
        { "{'resourceType':'Observation','focus':[{'reference':'Patient/a'}]}", false },
        { "{'resourceType':'Observation'}", false },
        { "{'resourceType':'Device','patient':{'reference':'Patient/a'}}", true },
        { "{'resourceType':'Device','patient':{'reference':'Patient/b'}}", false },
        { "{'resourceType':'Device'}", false },
        { "{'resourceType':'Task','for':{'reference':'Patient/a'}}", true },
        { "{'resourceType':'Task','focus':{'reference':'Patient/a'}}", false },
        { "{'resourceType':'Binary','securityContext':{'reference':'Patient/a'}}", true },
        { "{'resourceType':'Binary','securityContext':{'reference':'http://here/r4/Patient/a'}}",
          true },
        { "{'resourceType':'Binary','securityContext':{'reference':'Patient/ab'}}", false },
        { "{'resourceType':'Binary','securityContext':{'reference':'Group/a'}}", false },
        { "{'resourceType':'Binary'}", false },
        { "{'resourceType':'Practitioner','id':'x'}", true },
        { "{'resourceType':'Contract','subject':[{'reference':'Patient/a'}]}", false },
        { "{'resourceType':'Group','member':[{'entity':{'reference':'Patient/b'}},"
          "{'entity':{'reference':'Patient/a'}}]}",
          true },
    };
    struct query_grant *g = grant_of("patient/*.rs", "a");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (given(g, SMART_R, rows[i].text) != rows[i].his)
            fail_msg("%s", rows[i].text);
}

TEST(grant, written_is_what_is_about_the_patient)
{
    (void)state;
    static const unsigned writes[] = { SMART_C, SMART_U, SMART_D };
    static const struct {
        const char *text;
        bool his;
    } rows[] = {
        { "{'resourceType':'Observation','subject':{'reference':'Patient/a'}}", true },
        { "{'resourceType':'Observation','subject':{'reference':'http://here/r4/Patient/a'},"
          "'performer':[{'reference':'Patient/b'}]}",
          true },
        { "{'resourceType':'Observation','subject':{'reference':'Patient/b'},"
          "'performer':[{'reference':'Patient/a'}]}",
          false },
        { "{'resourceType':'Observation','performer':[{'reference':'Patient/a'}]}", false },
        { "{'resourceType':'Coverage','beneficiary':{'reference':'Patient/b'},"
          "'subscriber':{'reference':'Patient/a'},'payor':[{'reference':'Patient/a'}]}",
          false },
        { "{'resourceType':'QuestionnaireResponse','subject':{'reference':'Patient/b'},"
          "'author':{'reference':'Patient/a'}}",
          false },
        { "{'resourceType':'AllergyIntolerance','patient':{'reference':'Patient/a'}}", true },
        /* about each of them */
        { "{'resourceType':'Appointment','participant':[{'actor':{'reference':'Patient/b'}},"
          "{'actor':{'reference':'Patient/a'}}]}",
          true },
        /* of types without a parameter of that name */
        { "{'resourceType':'Group','member':[{'entity':{'reference':'Patient/a'}}]}", true },
        { "{'resourceType':'SupplyRequest','deliverTo':{'reference':'Patient/b'}}", false },
        { "{'resourceType':'Task','for':{'reference':'Patient/a'}}", true },
        { "{'resourceType':'Patient','id':'a'}", true },
        { "{'resourceType':'Patient','id':'b'}", false },
    };
    struct query_grant *g = grant_of("patient/*.cruds", "a");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t k = 0; k < 3; k++)
            if (given(g, writes[k], rows[i].text) != rows[i].his)
                fail_msg("%s", rows[i].text);
}

TEST(grant, every_pair_of_a_query_must_hold_and_one_scope_is_enough)
{
    (void)state;
    struct query_grant *g = grant_of("patient/Observation.rs?category=c|lab&status=final "
                                     "patient/Observation.rs?_tag=t|x "
                                     "system/Observation.r?status=amended",
                                     "a");
#define OBS(status, category, tag, patient)                                        \
    "{'resourceType':'Observation','status':'" status "','category':[{'coding':[{" \
    "'system':'z','code':'z'}]},{'coding':[{'system':'c','code':'" category        \
    "'}]}],'meta':{'tag':[{"                                                       \
    "'system':'t','code':'" tag "'}]},'subject':{'reference':'Patient/" patient "'}}"
    assert_true(given(g, SMART_S, OBS("final", "lab", "y", "a")));
    assert_false(given(g, SMART_S, OBS("final", "lab", "y", "b")));
    assert_false(given(g, SMART_S, OBS("preliminary", "lab", "y", "a")));
    assert_false(given(g, SMART_S, OBS("final", "vital", "y", "a")));
    assert_true(given(g, SMART_S, OBS("final", "vital", "x", "a")));
    assert_false(given(g, SMART_S, OBS("amended", "lab", "y", "b")));
    assert_true(given(g, SMART_R, OBS("amended", "lab", "y", "b")));
    /* Of two letters, both must be given. */
    assert_false(given(g, SMART_R | SMART_S, OBS("amended", "lab", "y", "b")));
    assert_true(given(g, SMART_R | SMART_S, OBS("final", "lab", "y", "a")));
}

TEST(grant, a_query_that_the_type_does_not_know_gives_nothing)
{
    (void)state;
    static const char *const bad[] = {
        "system/Observation.rs?gender=male",
        "system/Observation.rs?nothing=x",
        "system/Observation.rs?_count=5",
        "system/Observation.rs?_lastUpdated=soon",
        "system/Observation.rs?createdAt=gt2020",
        "system/Observation.rs?category=x&nothing=x",
        "system/Observations.rs",
        "system/observation.rs",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (extent(grant_of(bad[i], NULL), "Observation", SMART_R) != QUERY_NOTHING)
            fail_msg("%s", bad[i]);
    /* Of all types: those that know it. */
    struct query_grant *g = grant_of("system/*.rs?gender=male", NULL);
    assert_int_equal(extent(g, "Patient", SMART_R), QUERY_SOME);
    assert_int_equal(extent(g, "Observation", SMART_R), QUERY_NOTHING);
}

/* ---- searches ---- */

static struct store *filled_store(void)
{
    struct store *st = fixture_store();
    FIXTURE_PUT(st, "{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"male\"}");
    FIXTURE_PUT(st, "{\"resourceType\":\"Patient\",\"id\":\"b\",\"gender\":\"male\"}");
    for (int i = 0; i < 40; i++)
        FIXTURE_PUT(st,
                    "{\"resourceType\":\"Encounter\",\"id\":\"e%02d\",\"status\":\"%s\","
                    "\"subject\":{\"reference\":\"Patient/%s\"}}",
                    i, i % 3 ? "finished" : "planned", i % 2 ? "a" : "b");
    for (int i = 0; i < 40; i++)
        FIXTURE_PUT(st,
                    "{\"resourceType\":\"Observation\",\"id\":\"o%02d\",\"status\":\"%s\","
                    "\"subject\":{\"reference\":\"Patient/%s\"},"
                    "\"encounter\":{\"reference\":\"Encounter/e%02d\"}}",
                    i, i % 5 ? "final" : "amended", i % 2 ? "a" : "b", 39 - i);
    return st;
}

static sv found(struct store *st, struct query_grant *grant, const char *type, const char *name,
                const char *value)
{
    struct query *q = fixture_query(st, a, type);
    q->src.grant = grant;
    q->src.letters = SMART_S;
    if (name)
        OK(query_add(q, sv_from(name), sv_from(value), e));
    return fixture_found(q);
}

TEST(grant, a_search_finds_what_is_given)
{
    (void)state;
    struct store *st = filled_store();
    struct query_grant *g = grant_of("patient/Encounter.rs?status=planned", "a");
    assert_sv(found(st, g, "Encounter", NULL, NULL), SV_LIT("e03 e09 e15 e21 e27 e33 e39"));
    assert_sv(found(st, g, "Encounter", "status", "planned"),
              SV_LIT("e03 e09 e15 e21 e27 e33 e39"));
    assert_sv(found(st, g, "Encounter", "status", "finished"), SV_LIT(""));
    assert_sv(found(st, g, "Encounter", "_id", "e03,e04,e05,e06"), SV_LIT("e03"));
    assert_sv(found(st, g, "Encounter", "status:not", "finished"),
              SV_LIT("e03 e09 e15 e21 e27 e33 e39"));
    assert_sv(found(st, g, "Observation", NULL, NULL), SV_LIT(""));
    /* several scopes, one of which names an id */
    g = grant_of("patient/Patient.s system/Patient.s?_id=b system/Patient.s?gender=female", "a");
    assert_sv(found(st, g, "Patient", NULL, NULL), SV_LIT("a b"));
    g = grant_of("system/Patient.s?_id=b", "a");
    assert_sv(found(st, g, "Patient", "gender", "male"), SV_LIT("b"));
    /* two scopes of which each has two parts */
    g = grant_of("patient/Observation.s?status=amended system/Observation.s?_id=o00&status=amended",
                 "a");
    assert_sv(found(st, g, "Observation", NULL, NULL), SV_LIT("o00 o05 o15 o25 o35"));
    store_close(st);
}

TEST(grant, a_chain_goes_by_what_is_given)
{
    (void)state;
    struct store *st = filled_store();
    /* The encounters are those of a; the observations are all. */
    struct query_grant *g = grant_of("patient/Encounter.s system/Observation.s", "a");
    assert_sv(found(st, g, "Observation", "encounter.status", "planned"),
              SV_LIT("o00 o06 o12 o18 o24 o30 o36"));
    assert_sv(found(st, NULL, "Observation", "encounter.status", "planned"),
              SV_LIT("o00 o03 o06 o09 o12 o15 o18 o21 o24 o27 o30 o33 o36 o39"));
    g = grant_of("patient/Encounter.s?status=finished system/Observation.s", "a");
    assert_sv(found(st, g, "Observation", "encounter.status", "planned"), SV_LIT(""));
    /* two hops: the patient in the middle of nothing */
    g = grant_of("system/Encounter.s system/Observation.s patient/Patient.s", "b");
    assert_sv(found(st, g, "Observation", "encounter.subject:Patient.gender", "male"),
              SV_LIT("o01 o03 o05 o07 o09 o11 o13 o15 o17 o19 o21 o23 o25 o27 o29 o31 o33 o35 o37 "
                     "o39"));
    store_close(st);
}

TEST(grant, a_chain_by_a_type_that_is_not_given_is_refused)
{
    (void)state;
    struct store *st = filled_store();
    static const char *const refused[][2] = {
        { "encounter.status", "planned" },
        { "encounter:Encounter.subject.gender", "male" },
        { "_has:DiagnosticReport:result:status", "final" },
        { "subject:Patient.name", "x" },
        { "subject:Patient._has:Encounter:patient:status", "planned" },
    };
    struct query_grant *g = grant_of("system/Observation.s system/Encounter.r", NULL);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct query *q = fixture_query(st, a, "Observation");
        q->src.grant = g;
        q->src.letters = SMART_S;
        FAILS(ERR_DENIED, query_add(q, sv_from(refused[i][0]), sv_from(refused[i][1]), e));
    }
    /* Of the types that an untyped reference leads to, those that are given count. */
    g = grant_of("system/Observation.s patient/Patient.s", "a");
    assert_sv(found(st, g, "Observation", "subject._id", "b"), SV_LIT(""));
    assert_true(found(st, g, "Observation", "subject._id", "a").len > 0);
    store_close(st);
}

TEST(grant, has_counts_what_is_given)
{
    (void)state;
    struct store *st = filled_store();
    struct query_grant *g = grant_of("system/Patient.s system/Encounter.s?status=planned", NULL);
    assert_sv(found(st, g, "Patient", "_has:Encounter:patient:_id", "e03"), SV_LIT("a"));
    assert_sv(found(st, g, "Patient", "_has:Encounter:patient:_id", "e05"), SV_LIT(""));
    store_close(st);
}

TEST(grant, a_page_goes_on_where_it_stood)
{
    (void)state;
    struct store *st = filled_store();
    static const char *const sets[] = { "patient/Observation.s",
                                        "patient/Observation.s?status=final",
                                        "system/Observation.s?status=amended patient/Observation.s",
                                        "system/Observation.s?status=final,amended",
                                        "system/Observation.s" };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct query *q = fixture_query(st, a, "Observation");
        q->src.grant = grant_of(sets[i], "a");
        q->src.letters = SMART_S;
        const struct query_place *from = NULL;
        struct query_place at;
        struct buf ids = BUF_INIT(1 << 16);
        for (;;) {
            CLEANUP(query_walk_close) struct query_walk *w = NULL;
            struct query_match m;
            struct err why;
            OK(query_walk_open(q, from, &w, e));
            if (query_walk_next(w, 0, &m, &why) != ERR_OK)
                break;
            OK(buf_add_fmt(&ids, e, "%.*s ", SV_FMT(m.v.id)));
            at = *query_walk_place(w);
            from = &at;
        }
        size_t n = 0;
        for (size_t k = 0; k < ids.len; k++)
            n += ids.ptr[k] == ' ';
        sv all = fixture_found(q);
        size_t want = all.len ? 1 : 0;
        for (size_t k = 0; k < all.len; k++)
            want += all.ptr[k] == ' ';
        assert_int_equal(n, want);
        assert_true(n > 0);
        buf_done(&ids);
    }
    store_close(st);
}

/* What makes a filter past the memory of a grant gives nothing. */
TEST(grant, that_fills_its_memory_gives_less)
{
    (void)state;
    const struct search_context cx = { .base = SV_LIT("http://here/r4"), .now_ms = 1 };
    struct smart_grant smart = { .patient = SV_LIT("a") };
    struct query_grant *grant;
    OK(smart_scopes_read(SV_LIT("patient/*.cruds system/*.cruds?_tag=a,b,c,d"), a, &smart.scopes,
                         &smart.n_scopes, e));
    for (size_t bytes = 1000; bytes < 200000; bytes += 1000) {
        CLEANUP(arena_free) struct arena *small = arena_new(bytes);
        struct err why;
        if (query_grant_new(&smart, &cx, small, &grant, &why) != ERR_OK)
            continue;
        for (unsigned t = 1; t <= fhir_n_types(); t++)
            for (unsigned k = 0; k < SMART_N_LETTERS; k++) {
                enum query_extent x = query_grant_extent(grant, (fhir_type)t, 1u << k);
                assert_true(x != QUERY_ALL || 1u << k == SMART_R || 1u << k == SMART_S);
            }
        assert_false(given(grant, SMART_U, "{'resourceType':'Observation','id':'x'}"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(grant, letters_are_those_of_the_scopes),
        T(grant, without_scopes_is_nothing),
        T(grant, patient_scopes_without_a_patient_give_nothing),
        T(grant, of_all_types_a_patient_sees_his_own),
        T(grant, a_patient_is_himself_alone),
        T(grant, a_record_is_what_leads_to_the_patient),
        T(grant, written_is_what_is_about_the_patient),
        T(grant, every_pair_of_a_query_must_hold_and_one_scope_is_enough),
        T(grant, a_query_that_the_type_does_not_know_gives_nothing),
        T(grant, a_search_finds_what_is_given),
        T(grant, a_chain_goes_by_what_is_given),
        T(grant, a_chain_by_a_type_that_is_not_given_is_refused),
        T(grant, has_counts_what_is_given),
        T(grant, a_page_goes_on_where_it_stood),
        T(grant, that_fills_its_memory_gives_less),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

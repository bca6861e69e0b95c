/* Does one resource meet a query? Clauses and their criteria against each combination of them, when
 * a resource was made, and a comparison that its deadline ends. */
#include "query/fixture.h"

#include "base/clock.h"

static struct search_subject subject(struct arena *a, const char *text)
{
    yyjson_doc *doc;
    OK(json_read(a, sv_from(text), 64, &doc, e));
    struct search_subject s = { .root = yyjson_doc_get_root(doc) };
    s.type = fhir_type_find(json_string(json_get(s.root, "resourceType")));
    s.id = json_string(json_get(s.root, "id"));
    return s;
}

static bool met(const struct query *q, const struct search_subject *s)
{
    bool is = false;
    OK(query_met(q, s, &is, e));
    return is;
}

/* Some facts of a patient are there or not; each query asks for some, each in its own clause. */
TEST(met, every_clause_must_be_met)
{
    (void)state;
    static const char *const facts[] = { ",\"gender\":\"male\"", ",\"active\":true",
                                         ",\"birthDate\":\"2001\"" };
    static const char *const pairs[][2] = {
        { "gender", "male" }, { "active", "true" }, { "birthdate", "2001" }, { "_id", "p" }
    };
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct store *st = fixture_store();
    for (unsigned asked = 0; asked < 16; asked++) {
        struct query *q = fixture_query(st, a, "Patient");
        for (unsigned i = 0; i < 4; i++)
            if (asked >> i & 1)
                OK(query_add(q, sv_from(pairs[i][0]), sv_from(pairs[i][1]), e));
        for (unsigned has = 0; has < 16; has++) {
            char text[256];
            (void)snprintf(text, sizeof text, "{\"resourceType\":\"Patient\",\"id\":\"%s\"%s%s%s}",
                           has & 8 ? "p" : "q", has & 1 ? facts[0] : "", has & 2 ? facts[1] : "",
                           has & 4 ? facts[2] : "");
            struct search_subject s = subject(a, text);
            assert_int_equal(met(q, &s), (asked & ~has) == 0);
        }
    }
    store_close(st);
}

TEST(met, any_criterion_of_a_clause_is_enough)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct store *st = fixture_store();
    struct query *q = fixture_query(st, a, "Patient");
    OK(query_add(q, SV_LIT("gender"), SV_LIT("male"), e));
    OK(query_add(q, SV_LIT("active"), SV_LIT("true"), e));
    /* the two in one clause */
    struct search_criterion both[2] = { q->clauses[0].any[0], q->clauses[1].any[0] };
    q->clauses[0] = (struct query_clause){ .any = both, .n = 2 };
    q->n_clauses = 1;
    struct search_subject none = subject(a, "{\"resourceType\":\"Patient\",\"id\":\"a\"}"),
                          one = subject(a, "{\"resourceType\":\"Patient\",\"id\":\"a\","
                                           "\"gender\":\"male\"}"),
                          two = subject(a, "{\"resourceType\":\"Patient\",\"id\":\"a\","
                                           "\"active\":true}");
    assert_false(met(q, &none));
    assert_true(met(q, &one));
    assert_true(met(q, &two));
    /* a clause without criteria is met by nothing */
    q->clauses[0].n = 0;
    assert_false(met(q, &one));
    store_close(st);
}

/* ---- createdAt ---- */

TEST(met, a_resource_was_made_with_its_first_version)
{
    (void)state;
    struct store *st = fixture_store();
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    struct store_version v;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    int64_t before = clock_wall_ms(), made;
    FIXTURE_PUT(st, "{\"resourceType\":\"Patient\",\"id\":\"p\"}");
    OK(store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    int64_t first = v.instant_ms;
    /* versions follow each other until the clock has moved on */
    for (unsigned i = 0; i < 3 || v.instant_ms == first; i++) {
        FIXTURE_PUT(st, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"multipleBirthInteger\":%u}",
                    i);
        arena_reset(a);
        OK(store_get(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    }
    OK(query_created_ms(st, patient, SV_LIT("p"), &made, e));
    assert_int_equal(made, first);
    assert_true(made >= before);
    /* what is not there would be made now */
    int64_t earliest = clock_wall_ms(), nobody;
    OK(query_created_ms(st, patient, SV_LIT("nobody"), &nobody, e));
    assert_in_range(nobody, earliest, clock_wall_ms());
    store_close(st);
}

/* ---- the time it may take ---- */

static unsigned n_looks;
static err_code look(void *ctx, struct err *e)
{
    n_looks++;
    return *(bool *)ctx ? ERR(e, ERR_CANCELLED, "nobody waits any longer") : ERR_OK;
}

/* A text that is long enough for a look while it is compared. */
#define LONG (8u << 20)

TEST(met, a_deadline_ends_one_comparison_and_is_asked_anew_by_the_next)
{
    (void)state;
    bool over = false;
    struct query_deadline d;
    CLEANUP(arena_free) struct arena *a = arena_new(256 << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(2 * LONG);
    struct store *st = fixture_store();
    query_deadline_init(&d, look, &over);
    const struct query_source src = { st, a, SV_LIT("http://here/r4"), last_of(st).t, &d };
    struct query *q = arena_alloc(a, sizeof *q);
    query_init(q, &src, fhir_type_find(SV_LIT("Patient")));
    OK(query_add(q, SV_LIT("family:contains"), SV_LIT("zz"), e));
    OK(buf_add(&text, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"a\",\"name\":[{\"family\":\""),
               e));
    for (unsigned i = 0; i < LONG / 16; i++)
        OK(buf_add(&text, SV_LIT("abcdefghijklmnop"), e));
    OK(buf_add(&text, SV_LIT("\"}]}"), e));
    OK(buf_add_char(&text, 0, e));
    struct search_subject s = subject(a, text.ptr);

    assert_false(met(q, &s));
    assert_true(n_looks > 0);
    over = true;
    bool is = true;
    struct err why = { 0 };
    assert_int_equal(query_met(q, &s, &is, &why), ERR_CANCELLED);
    assert_string_equal(why.msg, "nobody waits any longer");
    /* it is not over for good: another part of a Bundle may have more time */
    over = false;
    assert_false(met(q, &s));
    store_close(st);
}

TEST_MAIN(T(met, every_clause_must_be_met), T(met, any_criterion_of_a_clause_is_enough),
          T(met, a_resource_was_made_with_its_first_version),
          T(met, a_deadline_ends_one_comparison_and_is_asked_anew_by_the_next))

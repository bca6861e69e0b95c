/* A sieve against the set of resources that have an entry: whatever it says no to has none, and
 * until it gives up it says yes to those alone. */
#include "query/fixture.h"

#include "query/sieve_private.h"

#define N 200u

static bool has_entry(unsigned i)
{
    return i % 3 == 0;
}

static struct store *fill(unsigned n_codes)
{
    struct store *st = fixture_store();
    for (unsigned i = 0; i < N; i++)
        FIXTURE_PUT(st,
                    "{\"resourceType\":\"Observation\",\"id\":\"b%03u\",\"code\":{\"coding\":[{"
                    "\"code\":\"%s%u\"}]}}",
                    i, has_entry(i) ? "in" : "out", i / 3 % n_codes);
    return st;
}

static struct query_sieve *open_for(struct store *st, struct arena *a, const char *value)
{
    fhir_type type = fhir_type_find(SV_LIT("Observation"));
    const struct search_context cx = { SV_LIT("http://here/r4"), 0 };
    struct search_criterion cr;
    struct search_driver d;
    struct query_sieve *s = NULL;
    OK(search_parse(&cx, type, SV_LIT("code"), sv_from(value), a, &cr, e));
    assert_true(search_ranges(&cr, type, a, &d));
    OK(query_sieve_open(st, type, &d, 1, last_of(st).t, &s, e));
    return s;
}

static bool asked(struct store *st, struct query_sieve *s, unsigned i)
{
    char id[8];
    bool has;
    store_number number = UINT64_MAX; /* of one that is not there, behind all others */
    (void)snprintf(id, sizeof id, "b%03u", i);
    if (i < N)
        OK(store_number_of(st, fhir_type_find(SV_LIT("Observation")), sv_from(id), &number, e));
    OK(query_sieve_has(s, number, &has, e));
    return has;
}

TEST(sieve, knows_which_resources_have_an_entry_in_whatever_order_they_come)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct store *st = fill(1);
    struct query_sieve *s = open_for(st, a, "in0");
    assert_non_null(s);
    /* ascending, as a walk does */
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(asked(st, s, i), has_entry(i));
    for (unsigned i = N; i-- > 0;)
        assert_int_equal(asked(st, s, i), has_entry(i));
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(asked(st, s, i * 77 % N), has_entry(i * 77 % N));
    /* behind all entries, and then back */
    assert_false(asked(st, s, N + 100));
    assert_true(asked(st, s, 0));
    query_sieve_close(s);
    store_close(st);
}

TEST(sieve, takes_a_few_values_and_no_more)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct store *st = fill(SIEVE_VALUES + 1);
    struct query_sieve *s = open_for(st, a, "in0,in1,in2,in3");
    assert_non_null(s);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(asked(st, s, i), has_entry(i) && i / 3 % (SIEVE_VALUES + 1) < 4);
    query_sieve_close(s);
    assert_null(open_for(st, a, "in0,in1,in2,in3,in4"));
    store_close(st);
}

TEST(sieve, that_keeps_most_of_what_it_is_asked_says_yes_to_all)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct store *st = fill(1);
    struct query_sieve *s = open_for(st, a, "in0");
    for (unsigned i = 0; i < 64; i++)
        assert_true(asked(st, s, i * 3));
    /* it has no entry: the resource decides */
    assert_true(asked(st, s, 1));
    query_sieve_close(s);
    s = open_for(st, a, "in0");
    /* three quarters and no more: it goes on */
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(asked(st, s, i < 48 ? i * 3 : 1), i < 48);
    assert_false(asked(st, s, 1));
    query_sieve_close(s);
    store_close(st);
}

TEST(sieve, of_no_entries_says_no)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct store *st = fill(1);
    struct query_sieve *s = open_for(st, a, "nothing");
    assert_non_null(s);
    for (unsigned i = 0; i < N; i++)
        assert_false(asked(st, s, i));
    query_sieve_close(s);
    query_sieve_close(NULL);
    store_close(st);
}

TEST_MAIN(T(sieve, knows_which_resources_have_an_entry_in_whatever_order_they_come),
          T(sieve, takes_a_few_values_and_no_more),
          T(sieve, that_keeps_most_of_what_it_is_asked_says_yes_to_all),
          T(sieve, of_no_entries_says_no))

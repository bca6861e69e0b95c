/* test_ranges.c - criteria as ranges of entries: sorted, apart from each other, never less than
 * what is meant; and where the index cannot help it says so. */
#include "search/asking.h"

static bool ranges(struct arena *a, const char *type, const char *name, const char *value,
                   struct search_driver *d)
{
    struct search_criterion c;
    fhir_type t = fhir_type_find(sv_from(type));
    OK(search_parse(&cx, t, sv_from(name), sv_from(value), a, &c, e));
    return search_ranges(&c, t, a, d);
}

TEST(ranges, are_sorted_and_apart)
{
    (void)state;
    static const char *const asked[][3] = {
        { "Patient", "birthdate", "1980,ge1980-06,lt1975,1980-01-01" },
        { "Patient", "gender", "male,female,male,other" },
        { "Patient", "name", "a,ab,abc,b" },
        { "Observation", "value-quantity", "gt5,lt7,6,-1,ap100" },
        { "Observation", "code", "http://loinc.org|1,2,|3,http://loinc.org|1" },
        { "Observation", "subject", "Patient/1,1,Patient/2" },
    };
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
        struct search_driver d;
        assert_true(ranges(a, asked[i][0], asked[i][1], asked[i][2], &d));
        assert_true(d.n > 0);
        for (size_t k = 0; k < d.n; k++) {
            const struct search_range *r = &d.ranges[k];
            sv from = sv_make(r->from, r->from_len), to = sv_make(r->to, r->to_len);
            if (r->to_len && sv_cmp(from, to) >= 0)
                fail_msg("%s=%s: range %zu is empty", asked[i][1], asked[i][2], k);
            if (k == 0)
                continue;
            const struct search_range *last = &d.ranges[k - 1];
            if (last->to_len == 0 || sv_cmp(sv_make(last->to, last->to_len), from) >= 0)
                fail_msg("%s=%s: range %zu meets the one before it", asked[i][1], asked[i][2], k);
        }
    }
}

TEST(ranges, a_value_asked_twice_is_looked_for_once)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
    struct search_driver once, twice;
    assert_true(ranges(a, "Patient", "gender", "male", &once));
    assert_true(ranges(a, "Patient", "gender", "male,male", &twice));
    assert_int_equal(once.n, twice.n);
    assert_memory_equal(once.ranges, twice.ranges, once.n * sizeof once.ranges[0]);
}

TEST(ranges, there_are_none_where_any_resource_may_be_meant)
{
    (void)state;
    static const char *const asked[][3] = {
        { "Patient", "gender:not", "male" },      { "Patient", "gender:missing", "true" },
        { "Patient", "name:contains", "a" },      { "Patient", "birthdate", "ne1980" },
        { "Observation", "code:text", "a" },      { "Patient", "_id", "1" },
        { "Patient", "_lastUpdated", "gt2020" },  { "Observation", "code", "http://loinc.org|" },
        { "ValueSet", "url:above", "http://x/y" }
    };
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
        struct search_driver d;
        if (ranges(a, asked[i][0], asked[i][1], asked[i][2], &d))
            fail_msg("the index is asked for %s=%s", asked[i][1], asked[i][2]);
    }
}

TEST(ranges, of_texts_and_numbers_need_the_second_form_and_tokens_do_not)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
    struct search_driver d;
    assert_true(ranges(a, "Patient", "gender", "male", &d));
    assert_int_equal(d.form, 1);
    assert_true(ranges(a, "Patient", "name", "a", &d));
    assert_int_equal(d.form, 2);
    assert_true(ranges(a, "Patient", "birthdate", "1980", &d));
    assert_int_equal(d.form, 2);
}

TEST(ranges, a_token_that_is_counted_has_a_key_for_each_way_it_can_stand)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
    unsigned char values[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN];
    struct search_criterion c;
    uint16_t param;
    size_t len;
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    OK(search_parse(&cx, patient, SV_LIT("gender"), SV_LIT("male"), a, &c, e));
    assert_int_equal(search_count_keys(&c, patient, &param, values, &len), 2);
    assert_int_equal(len, SEARCH_CODE_LEN);
    OK(search_parse(&cx, patient, SV_LIT("gender"), SV_LIT("urn:x|male"), a, &c, e));
    assert_int_equal(search_count_keys(&c, patient, &param, values, &len), 4);
    assert_int_equal(len, SEARCH_TOKEN_LEN);
    OK(search_parse(&cx, patient, SV_LIT("gender"), SV_LIT("male,female"), a, &c, e));
    assert_int_equal(search_count_keys(&c, patient, &param, values, &len), 0);
    OK(search_parse(&cx, patient, SV_LIT("identifier"), SV_LIT("x"), a, &c, e));
    assert_int_equal(search_count_keys(&c, patient, &param, values, &len), 0);
}

/* Does a reference to this Patient stand in a range? */
static bool stands_in(const struct search_driver *d, unsigned patient)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    unsigned char value[SEARCH_KEY_MAX];
    uint8_t len;
    yyjson_doc *doc;
    sv text = arena_fmt(
        a, "{\"resourceType\":\"Observation\",\"subject\":{\"reference\":\"Patient/%u\"}}",
        patient);
    OK(json_read(a, text, 8, &doc, e));
    return search_first_entry(d, fhir_type_find(SV_LIT("Observation")), yyjson_doc_get_root(doc),
                              value, &len);
}

TEST(ranges, each_of_many_has_its_own_and_nobody_elses)
{
    (void)state;
    enum { N = 700 };
    CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
    struct search_id ids[N];
    size_t n = N;
    struct search_driver d;
    for (unsigned i = 0; i < N; i++)
        ids[i] = (struct search_id){ fhir_type_find(SV_LIT("Patient")), arena_fmt(a, "%u", 3 * i) };
    qsort(ids, n, sizeof *ids, search_id_cmp);
    const fhir_type type = fhir_type_find(SV_LIT("Observation"));
    const struct search_criterion c = {
        .param = search_param_find(type, SV_LIT("subject")), .is_set = true, .set = ids, .n_set = n
    };
    assert_true(search_ranges(&c, type, a, &d));
    assert_int_equal(d.n, N);
    for (unsigned i = 0; i < 3 * N + 3; i++)
        if (stands_in(&d, i) != (i < 3 * N && i % 3 == 0))
            fail_msg("Patient/%u", i);
}

TEST_MAIN(T(ranges, are_sorted_and_apart), T(ranges, a_value_asked_twice_is_looked_for_once),
          T(ranges, there_are_none_where_any_resource_may_be_meant),
          T(ranges, of_texts_and_numbers_need_the_second_form_and_tokens_do_not),
          T(ranges, each_of_many_has_its_own_and_nobody_elses),
          T(ranges, a_token_that_is_counted_has_a_key_for_each_way_it_can_stand))

/* test_candidates.c - sets of numbers, and what the index proposes for some Patients, compared with
 * a plain walk over what the store was filled with. */
#include "one_range.h"
#include "served_run.h"

#define N_PAT   1100u /* more than two lookups of 500 */
#define N_OBS   1500u
#define N_PROV  700u
#define ID_ROOM 16

static const struct job_export_params none;

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* ---- sets ---- */

static int ascending(const void *a, const void *b)
{
    const store_number *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

TEST(candidates, a_set_has_each_number_once_in_order)
{
    seed = 1;
    for (unsigned round = 0; round < 200; round++) {
        CLEANUP_BUF struct buf set = BUF_INIT(1 << 20);
        store_number added[300], got;
        size_t n = round ? below(300) : 0, at = 0, i = 0, k = 0;
        for (; i < n; i++) {
            /* some come twice; they differ in high bytes and in low ones */
            added[i] = (store_number)below(20) << (below(2) ? 40 : 0) | 1;
            OK(export_numbers_add(&set, added[i], e));
        }
        for (i = 0; export_numbers_next(&set, &at, &got); i++)
            assert_true(i < n && got == added[i]);
        assert_int_equal(i, n);
        export_numbers_sort(&set);
        if (n)
            qsort(added, n, sizeof *added, ascending);
        for (i = 0, at = 0; i < n; i++)
            if (i == 0 || added[i] != added[i - 1]) {
                assert_true(export_numbers_next(&set, &at, &got) && got == added[i]);
                k++;
            }
        assert_false(export_numbers_next(&set, &at, &got));
        assert_int_equal(set.len, k * sizeof got);
    }
}

/* ---- what the index proposes ---- */

static int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* The ids of a set of numbers, owned by the arena, sorted. */
static sv *ids_of(const struct one_range *o, const struct buf *set, struct arena *a, size_t *n)
{
    store_number number;
    size_t at = 0;
    sv *ids = arena_alloc(a, set->len / sizeof number * sizeof *ids + 1);
    assert_non_null(ids);
    for (*n = 0; export_numbers_next(set, &at, &number); ++*n) {
        struct store_version v;
        OK(store_get_number(o->st, number, STORE_NOW, a, &v, e));
        ids[*n] = v.id;
    }
    if (*n)
        qsort(ids, *n, sizeof *ids, by_bytes);
    return ids;
}

static unsigned subject_of[N_OBS], performer_of[N_OBS],
    target_of[N_PROV]; /* N_OBS and on: of none */

static void put_observation(struct store *st, unsigned i)
{
    subject_of[i] = below(N_PAT);
    performer_of[i] = below(N_PAT);
    put_fmt(st,
            "{\"resourceType\":\"Observation\",\"id\":\"o%04u\",\"status\":\"final\",\"code\":{"
            "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/p%04u\"},\"performer\":[{"
            "\"reference\":\"Patient/p%04u\"}],\"focus\":[{\"reference\":\"Patient/p%04u\"}]}",
            i, subject_of[i], performer_of[i], below(N_PAT));
}

static void fill_store(struct store *st)
{
    for (unsigned i = 0; i < N_PAT; i++)
        put_fmt(st, "{\"resourceType\":\"Patient\",\"id\":\"p%04u\"}", i);
    for (unsigned i = 0; i < N_OBS; i++)
        put_observation(st, i);
    for (unsigned i = 0; i < N_PROV; i++) {
        target_of[i] = below(N_OBS + N_PAT);
        bool about_patient = target_of[i] >= N_OBS;
        put_fmt(st,
                "{\"resourceType\":\"Provenance\",\"id\":\"v%04u\",\"recorded\":\"2020-01-01T00:00:"
                "00Z\",\"target\":[{\"reference\":\"%s%04u\"}]}",
                i, about_patient ? "Patient/p" : "Observation/o",
                about_patient ? target_of[i] - N_OBS : target_of[i]);
    }
}

/* compartmentdefinition-patient.html: an Observation by subject and performer, Provenance by its
 * target; and an export takes Provenance about what it takes. */
static size_t wanted(const char *type, const bool *in, sv *out, struct arena *a)
{
    size_t n = 0;
    char kind = *type;
    for (unsigned i = 0; kind == 'P' && type[1] == 'a' && i < N_PAT; i++)
        if (in[i])
            out[n++] = arena_fmt(a, "p%04u", i);
    for (unsigned i = 0; kind == 'O' && i < N_OBS; i++)
        if (in[subject_of[i]] || in[performer_of[i]])
            out[n++] = arena_fmt(a, "o%04u", i);
    for (unsigned i = 0; kind == 'P' && type[1] == 'r' && i < N_PROV; i++) {
        unsigned t = target_of[i];
        if (t >= N_OBS ? in[t - N_OBS] : in[subject_of[t]] || in[performer_of[t]])
            out[n++] = arena_fmt(a, "v%04u", i);
    }
    return n;
}

TEST(candidates, are_what_belongs_to_any_of_the_members_however_many_they_are)
{
    static const unsigned sizes[] = { 0, 1, 7, 499, 500, 501, 1000, N_PAT };
    static const char *const types[] = { "Patient", "Observation", "Provenance" };
    static bool in[N_PAT];
    static sv members[N_PAT], want[N_OBS];
    struct one_range o;
    one_open(&o, &none);
    seed = 2;
    fill_store(o.st);
    one_view(&o, false, 0);
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
        size_t n = 0;
        memset(in, 0, sizeof in);
        while (n < sizes[s]) {
            unsigned i = below(N_PAT);
            if (!in[i])
                members[n++] = arena_fmt(a, "p%04u", i);
            in[i] = true;
        }
        qsort(members, n, sizeof members[0], by_bytes);
        for (unsigned t = 0; t < 3; t++) {
            CLEANUP_BUF struct buf got = BUF_INIT(1 << 20);
            OK(export_candidates_gather(&o.x, fhir_type_find(sv_from(types[t])), members, n, &got,
                                        e));
            size_t n_got, n_want = wanted(types[t], in, want, a);
            sv *ids = ids_of(&o, &got, a, &n_got);
            assert_int_equal(n_got, n_want);
            for (size_t i = 0; i < n_got; i++)
                assert_sv(ids[i], want[i]);
        }
    }
    one_close(&o);
}

static bool is_in(const struct one_range *o, const struct buf *set, sv id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    size_t n;
    const sv *ids = ids_of(o, set, a, &n);
    return bsearch(&id, ids, n, sizeof id, by_bytes) != NULL;
}

TEST(candidates, are_those_of_the_commit_whatever_was_written_since)
{
    CLEANUP_BUF struct buf got = BUF_INIT(1 << 20);
    const sv member = SV_LIT("a");
    struct one_range o;
    one_open(&o, &none);
#define OF(id, patient)                                                                       \
    put_fmt(o.st,                                                                             \
            "{\"resourceType\":\"Observation\",\"id\":\"%s\",\"status\":\"final\",\"code\":{" \
            "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/%s\"}}",                    \
            id, patient)
    fhir_type observation = fhir_type_find(SV_LIT("Observation"));
    OF("stays", "a");
    OF("leaves", "a");
    OF("goes", "a");
    OF("comes", "b");
    one_view(&o, false, 0);
    OF("leaves", "b");
    OF("comes", "a");
    OF("new", "a");
    one_delete(o.st, observation, "goes");
    OK(export_candidates_gather(&o.x, observation, &member, 1, &got, e));
    assert_true(is_in(&o, &got, SV_LIT("stays")) && is_in(&o, &got, SV_LIT("leaves")) &&
                is_in(&o, &got, SV_LIT("goes")));
    one_view(&o, false, 0);
    buf_clear(&got);
    OK(export_candidates_gather(&o.x, observation, &member, 1, &got, e));
    assert_true(is_in(&o, &got, SV_LIT("stays")) && is_in(&o, &got, SV_LIT("comes")) &&
                is_in(&o, &got, SV_LIT("new")));
    one_close(&o);
}

/* ---- how much a member has ---- */

TEST(candidates, a_sample_tells_what_a_member_has_where_all_have_the_same)
{
    static const unsigned sizes[] = { 1, 63, 64, 65, 200 };
    fhir_type observation = fhir_type_find(SV_LIT("Observation"));
    struct one_range o;
    double each;
    sv ids[200];
    one_open(&o, &none);
    for (unsigned i = 0; i < 200; i++) {
        ids[i] = arena_fmt(o.a, "m%03u", i);
        for (unsigned k = 0; k < 3; k++)
            put_fmt(o.st,
                    "{\"resourceType\":\"Observation\",\"id\":\"%03u-%u\",\"status\":\"final\","
                    "\"code\":{\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/m%03u\"}}",
                    i, k, i);
    }
    one_view(&o, false, 0);
    struct store_version v;
    OK(store_get(o.st, observation, SV_LIT("000-0"), o.x.t, o.a, &v, e));
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const struct export_members m = { ids, sizes[s], false };
        OK(export_candidates_sample(&o.x, &m, observation, &each, e));
        assert_true(each > 2.999 * (double)v.body.json.len &&
                    each < 3.001 * (double)v.body.json.len);
    }
    /* some there, and none of theirs */
    sv stranger = SV_LIT("stranger");
    OK(export_candidates_sample(&o.x, &(struct export_members){ &stranger, 1, false }, observation,
                                &each, e));
    assert_true(each >= 0 && each < 1);
    one_close(&o);
}

TEST(candidates, a_type_that_the_store_has_not_is_told_from_one_that_the_members_have_not)
{
    struct one_range o;
    double each;
    bool any;
    sv id = SV_LIT("a");
    const struct export_members m = { &id, 1, false };
    one_open(&o, &none);
    one_view(&o, false, 0);
    OK(export_candidates_sample(&o.x, &m, patients(), &each, e));
    assert_true(each < 0);
    fx_write(o.st, patients(), "b", "x");
    uint64_t there = last_of(o.st).t;
    one_delete(o.st, patients(), "b");
    one_view(&o, false, 0);
    OK(export_has_any(o.st, patients(), o.x.t, &any, e));
    assert_false(any);
    OK(export_has_any(o.st, patients(), there, &any, e));
    assert_true(any);
    OK(export_candidates_sample(&o.x, &m, patients(), &each, e));
    assert_true(each < 0);
    /* it may have to be told as deleted */
    one_view(&o, true, there);
    OK(export_candidates_sample(&o.x, &m, patients(), &each, e));
    assert_true(each >= 0);
    one_close(&o);
}

TEST(candidates, a_job_that_is_to_stop_looks_up_no_more)
{
    CLEANUP_BUF struct buf got = BUF_INIT(1 << 20);
    sv id = SV_LIT("m");
    struct one_range o;
    one_open(&o, &none);
    for (unsigned i = 0; i < 300; i++)
        put_fmt(o.st,
                "{\"resourceType\":\"Observation\",\"id\":\"%u\",\"status\":\"final\",\"code\":{"
                "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/m\"}}",
                i);
    one_view(&o, false, 0);
    atomic_store(&o.halt, true);
    FAILS(ERR_CANCELLED,
          export_candidates_gather(&o.x, fhir_type_find(SV_LIT("Observation")), &id, 1, &got, e));
    one_close(&o);
}

TEST_MAIN(T(candidates, a_set_has_each_number_once_in_order),
          T(candidates, are_what_belongs_to_any_of_the_members_however_many_they_are),
          T(candidates, are_those_of_the_commit_whatever_was_written_since),
          T(candidates, a_sample_tells_what_a_member_has_where_all_have_the_same),
          T(candidates, a_type_that_the_store_has_not_is_told_from_one_that_the_members_have_not),
          T(candidates, a_job_that_is_to_stop_looks_up_no_more))

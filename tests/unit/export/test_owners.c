/* test_owners.c - whose block a resource is in, compared with a plain walk over the Patients that
 * it names. */
#include "one_range.h"
#include "served_run.h"

#define N_PAT  2500u /* more than are remembered */
#define N_OBS  1500u
#define NOBODY N_PAT

static const struct job_export_params none;

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

static bool there[N_PAT], member[N_PAT];
static unsigned subject_of[N_OBS], performer_of[N_OBS];

/* Their order by bytes is not that of their numbers. */
static sv id_of(struct arena *a, unsigned i)
{
    return i == NOBODY ? SV_NONE : arena_fmt(a, "p%u", i);
}

/* Some are gone, some never were. */
static void fill_store(struct store *st, struct arena *a)
{
    struct store_commit c;
    for (unsigned i = 0; i < N_PAT; i++) {
        sv id = id_of(a, i);
        there[i] = i % 5 > 1;
        if (i % 5 == 0)
            continue;
        put_fmt(st, "{\"resourceType\":\"Patient\",\"id\":\"%.*s\"}", SV_FMT(id));
        struct store_write w = { .type = patients(), .id = id, .method = STORE_METHOD_DELETE };
        if (!there[i])
            OK(store_commit(st, &w, 1, &c, e));
    }
    for (unsigned i = 0; i < N_OBS; i++) {
        subject_of[i] = below(N_PAT);
        performer_of[i] = below(N_PAT);
        /* focus is none of the compartment's parameters */
        put_fmt(st,
                "{\"resourceType\":\"Observation\",\"id\":\"o%u\",\"status\":\"final\",\"code\":{"
                "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/p%u\"},\"performer\":[{"
                "\"reference\":\"Patient/p%u\"}],\"focus\":[{\"reference\":\"Patient/p2\"}]}",
                i, subject_of[i], performer_of[i]);
    }
}

static unsigned first_of(struct arena *a, unsigned i, unsigned k)
{
    bool has_i = i != NOBODY && there[i] && member[i], has_k = k != NOBODY && there[k] && member[k];
    if (has_i && has_k)
        return sv_cmp(id_of(a, i), id_of(a, k)) < 0 ? i : k;
    return has_i ? i : has_k ? k : NOBODY;
}

static sv owner_of(struct export_owners *w, struct one_range *o, const char *type, sv id,
                   struct arena *a)
{
    struct search_subject s;
    bool is_there;
    struct export_owner owner;
    store_number number;
    OK(export_subject_read(&o->x.now, fhir_type_find(sv_from(type)), id, a, &is_there, &s, e));
    assert_true(is_there);
    OK(export_owners_find(w, &s, a, &owner, e));
    if (owner.id.len) {
        OK(store_number_of(o->st, export_patient_type(), owner.id, &number, e));
        assert_true(owner.number == number);
    }
    return arena_sv(a, owner.id);
}

static int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

TEST(owners, are_the_first_of_those_that_are_there_and_members)
{
    static sv members[N_PAT];
    struct one_range o;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    one_open(&o, &none);
    seed = 3;
    fill_store(o.st, a);
    one_view(&o, false, 0);
    for (unsigned share = 1; share <= 3; share++) {
        /* all, half, a third of the Patients are members */
        size_t n = 0;
        unsigned n_owned = 0;
        for (unsigned i = 0; i < N_PAT; i++) {
            member[i] = i % share == 0;
            if (member[i])
                members[n++] = id_of(a, i);
        }
        qsort(members, n, sizeof members[0], by_bytes);
        o.x.now.members = (struct export_members){ members, n, share == 1 };
        struct export_owners *w = export_owners_new(&o.x);
        for (unsigned i = 0; i < N_OBS; i++) {
            CLEANUP(arena_free) struct arena *one = arena_new(4 << 20);
            unsigned want = first_of(one, subject_of[i], performer_of[i]);
            assert_sv(owner_of(w, &o, "Observation", arena_fmt(one, "o%u", i), one),
                      id_of(one, want));
            n_owned += want != NOBODY;
        }
        /* or this tests nothing */
        assert_in_range(n_owned, N_OBS / 5, N_OBS - 100);
        export_owners_free(w);
    }
    one_close(&o);
}

TEST(owners, a_patient_is_his_own_and_what_names_none_is_nobodys)
{
    struct one_range o;
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    sv listed = SV_LIT("b");
    one_open(&o, &none);
    put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"b\",\"link\":[{\"other\":{\"reference\":"
                  "\"Patient/a\"},\"type\":\"seealso\"}]}");
    put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"a\"}");
    put_fmt(o.st, "{\"resourceType\":\"Organization\",\"id\":\"o\",\"name\":\"n\"}");
    put_fmt(o.st, "{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,"
                  "\"member\":[{\"entity\":{\"reference\":\"Patient/b\"}}]}");
    one_view(&o, false, 0);
    struct export_owners *w = export_owners_new(&o.x);
    assert_sv(owner_of(w, &o, "Patient", SV_LIT("b"), a), SV_LIT("b"));
    assert_sv(owner_of(w, &o, "Organization", SV_LIT("o"), a), SV_NONE);
    /* compartmentdefinition-patient.html: Group by member */
    assert_sv(owner_of(w, &o, "Group", SV_LIT("g"), a), SV_LIT("b"));
    /* the export's own Group stays out of the blocks */
    o.x.now.level = JOB_EXPORT_GROUP;
    assert_sv(owner_of(w, &o, "Group", SV_LIT("g"), a), SV_NONE);
    o.x.now.members = (struct export_members){ &listed, 1, false };
    assert_sv(owner_of(w, &o, "Patient", SV_LIT("b"), a), SV_LIT("b"));
    assert_sv(owner_of(w, &o, "Patient", SV_LIT("a"), a), SV_NONE);
    export_owners_free(w);
    one_close(&o);
}

TEST(owners, provenance_is_with_the_first_owner_of_what_it_is_about)
{
    struct one_range o;
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    one_open(&o, &none);
    put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"b\"}");
    put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"c\"}");
    put_fmt(o.st, "{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,"
                  "\"member\":[{\"entity\":{\"reference\":\"Patient/b\"}}]}");
    for (const char *p = "abc"; *p; p++)
        put_fmt(o.st,
                "{\"resourceType\":\"Observation\",\"id\":\"of-%c\",\"status\":\"final\",\"code\":{"
                "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/%c\"}}",
                *p, *p);
    static const struct {
        const char *id, *first, *second, *owner, *in_group;
    } rows[] = {
        { "one", "Observation/of-c", "Observation/of-c", "c", "c" },
        { "two", "Observation/of-c", "Observation/of-b", "b", "b" },
        { "patient", "Observation/of-c", "Patient/b", "b", "b" },
        { "gone", "Observation/of-a", "Observation/never", "", "" }, /* Patient a is not there */
        { "other", "Observation/of-a", "Observation/of-c", "c", "c" },
        { "group", "Group/g", "Group/g", "b", "" },
        { "chain", "Provenance/one", "Provenance/two", "", "" }, /* one step alone */
        { "version", "Observation/of-b/_history/1", "Observation/of-c", "b", "b" },
        { "far", "http://far.example/Observation/of-b", "Observation/of-c", "c", "c" },
    };
    const size_t n = sizeof rows / sizeof rows[0];
    for (size_t i = 0; i < n; i++)
        put_fmt(o.st,
                "{\"resourceType\":\"Provenance\",\"id\":\"%s\",\"recorded\":\"2020-01-01T00:00:00Z"
                "\",\"target\":[{\"reference\":\"%s\"},{\"reference\":\"%s\"}]}",
                rows[i].id, rows[i].first, rows[i].second);
    one_view(&o, false, 0);
    for (unsigned group = 0; group < 2; group++) {
        o.x.now.level = group ? JOB_EXPORT_GROUP : JOB_EXPORT_PATIENT;
        struct export_owners *w = export_owners_new(&o.x);
        for (size_t i = 0; i < n; i++) {
            sv got = owner_of(w, &o, "Provenance", sv_from(rows[i].id), a);
            const char *want = group ? rows[i].in_group : rows[i].owner;
            if (!sv_eq_cstr(got, want))
                fail_msg("%s: \"%.*s\" is not \"%s\"", rows[i].id, SV_FMT(got), want);
        }
        export_owners_free(w);
    }
    one_close(&o);
}

TEST(owners, are_there_as_of_the_commit_whatever_came_and_went_since)
{
    struct one_range o;
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    one_open(&o, &none);
    put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"b\"}");
    put_fmt(o.st, "{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"code\":{"
                  "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/b\"},\"performer\":[{"
                  "\"reference\":\"Patient/a\"}]}");
    one_view(&o, false, 0);
    put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"a\"}");
    one_delete(o.st, patients(), "b");
    struct export_owners *w = export_owners_new(&o.x);
    assert_sv(owner_of(w, &o, "Observation", SV_LIT("o"), a), SV_LIT("b"));
    export_owners_free(w);
    one_view(&o, false, 0);
    w = export_owners_new(&o.x);
    assert_sv(owner_of(w, &o, "Observation", SV_LIT("o"), a), SV_LIT("a"));
    export_owners_free(w);
    one_close(&o);
}

TEST(owners, members_are_there_when_each_that_is_listed_is)
{
    struct one_range o;
    sv ids[] = { SV_LIT("a"), SV_LIT("b"), SV_LIT("c") };
    bool all;
    one_open(&o, &none);
    for (const char *p = "abc"; *p; p++)
        put_fmt(o.st, "{\"resourceType\":\"Patient\",\"id\":\"%c\"}", *p);
    one_view(&o, false, 0);
    /* every Patient of the store: they are not listed */
    OK(export_members_there(&o.x, &all, e));
    assert_false(all);
    o.x.now.members = (struct export_members){ ids, 3, false };
    OK(export_members_there(&o.x, &all, e));
    assert_true(all);
    o.x.now.members.n = 0;
    OK(export_members_there(&o.x, &all, e));
    assert_true(all);
    one_delete(o.st, patients(), "b");
    one_view(&o, false, 0);
    o.x.now.members = (struct export_members){ ids, 3, false };
    OK(export_members_there(&o.x, &all, e));
    assert_false(all);
    o.x.now.members.n = 1;
    OK(export_members_there(&o.x, &all, e));
    assert_true(all);
    one_close(&o);
}

TEST_MAIN(T(owners, are_the_first_of_those_that_are_there_and_members),
          T(owners, a_patient_is_his_own_and_what_names_none_is_nobodys),
          T(owners, provenance_is_with_the_first_owner_of_what_it_is_about),
          T(owners, are_there_as_of_the_commit_whatever_came_and_went_since),
          T(owners, members_are_there_when_each_that_is_listed_is))

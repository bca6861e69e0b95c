/* test_plan.c - ids are cut between two others, and only where there is something between them. */
#include "test.h"

#include "../../../src/store/rocks/plan.c"

static uint64_t rnd_state = 1;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}

static sv random_id(char out[FHIR_ID_MAX])
{
    static const char letters[] =
        "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned len = 1 + rnd(12), few = rnd(2) ? 3 : sizeof letters - 1;
    for (unsigned i = 0; i < len; i++)
        out[i] = letters[rnd(few)];
    return sv_make(out, len);
}

TEST(plan, a_middle_stands_strictly_between_its_bounds)
{
    (void)state;
    struct arena *a = arena_new(16 << 20);
    unsigned n_found = 0;
    for (unsigned i = 0; i < 20000; i++) {
        char x[FHIR_ID_MAX], y[FHIR_ID_MAX];
        sv from = random_id(x), to = rnd(5) ? random_id(y) : SV_NONE, mid;
        if (to.len && sv_cmp(from, to) > 0) {
            sv t = from;
            from = to;
            to = t;
        }
        if (!middle(a, from, to, &mid))
            continue;
        n_found++;
        if (sv_cmp(from, mid) >= 0 || (to.len && sv_cmp(mid, to) >= 0))
            fail_msg("%.*s is not between %.*s and %.*s", SV_FMT(mid), SV_FMT(from), SV_FMT(to));
    }
    assert_true(n_found > 15000);
    arena_free(a);
}

TEST(plan, halving_comes_to_an_end_between_neighbours)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    sv from = SV_LIT("a"), to = SV_LIT("b"), mid;
    unsigned n = 0;
    while (middle(a, from, to, &mid) && n++ < DEPTH_MAX)
        to = mid;
    assert_true(n > 10);
    assert_true(n < DEPTH_MAX);
    assert_false(middle(a, SV_LIT("a"), SV_LIT("a"), &mid));
    arena_free(a);
}

TEST(plan, a_number_is_found_in_the_properties_whatever_stands_around_it)
{
    (void)state;
    static const char text[] = "# entries=5; raw value size=1234; data block size: 567.5; x=1;";
    assert_true(number_after(text, "raw value size") == 1234);
    assert_true(number_after(text, "data block size") == 567.5);
    assert_true(number_after(text, "no such name") == 0);
    assert_true(number_after(NULL, "x") == 0);
}

TEST_MAIN(T(plan, a_middle_stands_strictly_between_its_bounds),
          T(plan, halving_comes_to_an_end_between_neighbours),
          T(plan, a_number_is_found_in_the_properties_whatever_stands_around_it))

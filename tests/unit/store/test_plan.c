/* test_plan.c - stretches of numbers are cut where the bytes are enough, end to end. */
#include "test.h"

#include "../../../src/store/rocks/plan.c"

static uint64_t rnd_state = 1;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}

/* Ranges are looked at as lists of resources: none is lost, none twice, and of those that are not
 * the last each holds what was asked for, give or take one resource. */
TEST(plan, every_range_but_the_last_holds_about_what_was_asked_for)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct planner p = { .type = 7, .stretches = BUF_INIT(1 << 20) };
        CLEANUP_BUF struct buf bounds = BUF_INIT(64 << 20);
        size_t target = 1 + rnd(rnd(2) ? 100000 : 3000);
        double total = 0, largest = 0;
        uint64_t b = 0;
        for (unsigned n = rnd(12); n; n--) {
            struct stretch s = { b += 1 + rnd(4), 1 + rnd(400), 0 };
            s.bytes = (double)s.n * rnd(2000);
            double each = s.bytes / s.n + FHIR_SPLICE_MAX;
            total += each * s.n;
            largest = each > largest ? each : largest;
            OK(buf_add(&p.stretches, sv_make(&s, sizeof s), e));
        }
        OK(cut(&p, target, &bounds, e));
        const store_number *at = (const store_number *)(const void *)bounds.ptr;
        const struct stretch *s = (const struct stretch *)(const void *)p.stretches.ptr;
        size_t n_bounds = bounds.len / sizeof *at, k = 0;
        double have = 0, given = 0;
        for (size_t i = 0; i < p.stretches.len / sizeof *s; i++)
            for (uint32_t j = 0; j < s[i].n; j++) {
                if (k < n_bounds && at[k] == number_make(s[i].b, 7, j)) {
                    assert_true(have > 0);
                    assert_true(have <= (double)target || have <= largest + 1);
                    assert_true(have + largest + 1 > (double)target);
                    given += have;
                    have = 0;
                    k++;
                }
                have += s[i].bytes / s[i].n + FHIR_SPLICE_MAX;
            }
        /* bounds ascend, and each is a number that there is */
        assert_int_equal(k, n_bounds);
        assert_true(have <= (double)target + largest + 1);
        assert_true(given + have > total - 1 && given + have < total + 1);
        buf_done(&p.stretches);
    }
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

TEST_MAIN(T(plan, every_range_but_the_last_holds_about_what_was_asked_for),
          T(plan, a_number_is_found_in_the_properties_whatever_stands_around_it))

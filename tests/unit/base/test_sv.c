/* Views: cutting, trimming, and numbers that are taken whole or not at all. */
#include "test.h"

#include "base/sv.h"

TEST(sv, a_text_is_cut_at_each_mark_and_its_rest_comes_once)
{
    (void)state;
    sv rest = SV_LIT("a,,b"), one;
    assert_true(sv_cut(&rest, ',', &one));
    assert_true(sv_eq_cstr(one, "a"));
    assert_true(sv_cut(&rest, ',', &one));
    assert_int_equal(one.len, 0);
    assert_true(sv_cut(&rest, ',', &one));
    assert_true(sv_eq_cstr(one, "b"));
    assert_null(rest.ptr);
    assert_false(sv_cut(&rest, ',', &one));
}

TEST(sv, blanks_and_tabs_at_the_ends_go)
{
    (void)state;
    assert_true(sv_eq_cstr(sv_trim(SV_LIT(" \ta b\t ")), "a b"));
    assert_int_equal(sv_trim(SV_LIT(" \t ")).len, 0);
    assert_true(sv_eq_cstr(sv_trim(SV_LIT("a\n")), "a\n"));
}

TEST(sv, letter_case_is_that_of_ascii)
{
    (void)state;
    assert_true(sv_eq_nocase(SV_LIT("Content-TYPE"), SV_LIT("content-type")));
    assert_false(sv_eq_nocase(SV_LIT("@"), SV_LIT("`")));
    assert_false(sv_eq_nocase(SV_LIT("\xc3\x84"), SV_LIT("\xc3\xa4")));
}

TEST(sv, a_shorter_text_comes_first_and_bytes_are_unsigned)
{
    (void)state;
    assert_true(sv_cmp(SV_LIT("a"), SV_LIT("ab")) < 0);
    assert_true(sv_cmp(SV_LIT("\xff"), SV_LIT("a")) > 0);
    assert_int_equal(sv_cmp(SV_NONE, SV_LIT("")), 0);
}

TEST(sv, a_list_is_sorted_with_each_text_once)
{
    (void)state;
    sv all[] = { SV_LIT("b"), SV_LIT("a"), SV_NONE, SV_LIT("b"), SV_LIT("ab"), SV_LIT("a") };
    assert_int_equal(sv_sort_once(all, 6), 4);
    assert_int_equal(all[0].len, 0);
    assert_true(sv_eq_cstr(all[1], "a") && sv_eq_cstr(all[2], "ab") && sv_eq_cstr(all[3], "b"));
    assert_int_equal(sv_sort_once(NULL, 0), 0);
}

TEST(sv, parts_never_reach_past_the_end)
{
    (void)state;
    assert_int_equal(sv_tail(SV_LIT("abc"), 7).len, 0);
    assert_int_equal(sv_head(SV_LIT("abc"), 7).len, 3);
    assert_int_equal(sv_tail(SV_NONE, 1).len, 0);
}

TEST(sv, a_number_is_the_whole_text_or_none)
{
    (void)state;
    uint64_t u = 5;
    int64_t i = 5;
    double d = 5;
    assert_true(sv_to_u64(SV_LIT("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_true(sv_to_i64(SV_LIT("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_true(sv_to_double(SV_LIT("-2.5e2"), &d));
    assert_true(d == -250);
    static const char *const bad[] = { "", " 1", "1 ", "+", "1a", "0x10", "18446744073709551616" };
    u = 7;
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        if (sv_to_u64(sv_from(bad[k]), &u) || u != 7)
            fail_msg("'%s' was taken as %llu", bad[k], (unsigned long long)u);
    assert_false(sv_to_u64(SV_LIT("-1"), &u));
    assert_false(sv_to_i64(SV_LIT("9223372036854775808"), &i));
    assert_false(sv_to_double(SV_LIT("2.5x"), &d));
}

TEST_MAIN(T(sv, a_text_is_cut_at_each_mark_and_its_rest_comes_once),
          T(sv, blanks_and_tabs_at_the_ends_go), T(sv, letter_case_is_that_of_ascii),
          T(sv, a_shorter_text_comes_first_and_bytes_are_unsigned),
          T(sv, a_list_is_sorted_with_each_text_once), T(sv, parts_never_reach_past_the_end),
          T(sv, a_number_is_the_whole_text_or_none))

/* A pattern stands for a whole text, or it does not. */
#include "test.h"

#include "base/glob.h"

static bool holds(const char *pattern, const char *text)
{
    return glob_matches(sv_from(pattern), sv_from(text), false);
}

TEST(glob, a_star_stands_for_any_run_and_a_question_mark_for_one_byte)
{
    (void)state;
    assert_true(holds("a*c", "ac"));
    assert_true(holds("a*c", "abbc"));
    assert_true(holds("a?c", "abc"));
    assert_true(holds("*", ""));
    assert_true(holds("", ""));
    assert_true(holds("**", "a/b"));
    assert_false(holds("a?c", "ac"));
    assert_false(holds("?", ""));
    assert_false(holds("", "a"));
}

TEST(glob, the_whole_text_is_meant)
{
    (void)state;
    assert_false(holds("a*c", "abcd"));
    assert_false(holds("b*", "abc"));
    assert_false(holds("abc", "ab"));
    assert_true(holds("a*b*c", "a-b-b-c-c"));
    assert_true(holds("a*bc", "abbc"));
    assert_false(holds("a*b*c", "a-c-c-b"));
}

TEST(glob, letter_case_counts_unless_it_is_said_that_it_does_not)
{
    (void)state;
    assert_false(holds("Get*", "getObject"));
    assert_true(glob_matches(SV_LIT("Get*"), SV_LIT("gETobject"), true));
    /* what stands beside the letters in ASCII is none */
    assert_false(glob_matches(SV_LIT("["), SV_LIT("{"), true));
    assert_false(glob_matches(SV_LIT("@"), SV_LIT("`"), true));
}

TEST_MAIN(T(glob, a_star_stands_for_any_run_and_a_question_mark_for_one_byte),
          T(glob, the_whole_text_is_meant),
          T(glob, letter_case_counts_unless_it_is_said_that_it_does_not))

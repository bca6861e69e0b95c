/* Media types of headers, by the grammar of RFC 9110. */
#include "test.h"

#include "codec/media_type.h"

static void param_is(const char *element, const char *name, const char *want)
{
    sv got = media_type_param(sv_from(element), name);
    if (want == NULL ? got.ptr != NULL : !got.ptr || !sv_eq_cstr(got, want))
        fail_msg("%s of %s is '%.*s'", name, element, SV_FMT(got));
}

TEST(media_type, the_name_stands_in_front_of_its_parameters)
{
    (void)state;
    static const char *const same[] = { "text/plain", " Text/PLAIN\t", "text/plain;charset=x",
                                        "text/plain ; q=0", "text/plain;" };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (!media_type_is(sv_from(same[i]), "text/plain"))
            fail_msg("not text/plain: '%s'", same[i]);
    assert_false(media_type_is(SV_LIT("text/plainer"), "text/plain"));
    assert_false(media_type_is(SV_LIT("text/plain, text/html"), "text/plain"));
    assert_int_equal(media_type_name(SV_LIT(";charset=x")).len, 0);
    assert_int_equal(media_type_name(SV_NONE).len, 0);
}

TEST(media_type, a_parameter_is_found_by_its_name_in_any_case)
{
    (void)state;
    param_is("a/b;charset=utf-8", "charset", "utf-8");
    param_is("a/b; x=1 ; CharSet = UTF-8 ", "charset", "UTF-8");
    param_is("a/b;charset=one;charset=two", "charset", "one");
    param_is("a/b;charset=", "charset", "");
    param_is("a/b;charset", "charset", NULL);
    param_is("a/b;mycharset=x", "charset", NULL);
    param_is("a/b", "charset", NULL);
    param_is("", "charset", NULL);
}

TEST(media_type, a_quoted_value_loses_its_quotes_and_hides_marks)
{
    (void)state;
    param_is("a/b;x=\"y\"", "x", "y");
    param_is("a/b;x=\"\";z=1", "x", "");
    param_is("a/b;x=\"1;q=0\";q=0.5", "q", "0.5");
    param_is("a/b;x=\"1;q=0\";q=0.5", "x", "1;q=0");
    param_is("a/b;x=\"\\\";q=0\";q=0.5", "q", "0.5");
    param_is("a/b;x=\"open;q=0", "q", NULL);
    param_is("a/b;x=\"", "x", "\"");
}

TEST(media_type, a_list_is_cut_at_commas_outside_of_quotes)
{
    (void)state;
    sv list = SV_LIT("a/b;x=\"1,2\",  */* ;q=0.1,"), one;
    assert_true(media_type_next(&list, &one));
    assert_true(sv_eq_cstr(one, "a/b;x=\"1,2\""));
    assert_true(media_type_next(&list, &one));
    assert_true(media_type_is(one, "*/*"));
    assert_true(media_type_next(&list, &one));
    assert_int_equal(one.len, 0);
    assert_false(media_type_next(&list, &one));
}

TEST(media_type, a_type_and_a_subtype_of_token_characters_are_well_formed)
{
    (void)state;
    static const char *const good[] = { "a/b", "application/fhir+json", "x/!#$%&'*+-.^_`|~", "*/*",
                                        "text/*;q=0" };
    static const char *const bad[] = {
        "",      "json",    "/",     "a/",      "/b",         "a/b/c",  "a b/c",
        "a/b c", "a/b,c/d", "a/(b)", "a/b\x7f", "\xc3\xa4/b", "a/\x01",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!media_type_ok(sv_from(good[i])))
            fail_msg("refused: '%s'", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (media_type_ok(sv_from(bad[i])))
            fail_msg("taken: '%s'", bad[i]);
    assert_false(media_type_ok(sv_make("a\0b/c", 5)));
}

TEST(media_type, a_range_means_a_type_by_name_by_kind_or_as_anything)
{
    (void)state;
    const sv type = SV_LIT("image/PNG; x=1");
    assert_int_equal(media_type_closeness(SV_LIT("image/png;q=0"), type), 3);
    assert_int_equal(media_type_closeness(SV_LIT("IMAGE/*"), type), 2);
    assert_int_equal(media_type_closeness(SV_LIT("*/*"), type), 1);
    assert_int_equal(media_type_closeness(SV_LIT("image/gif"), type), 0);
    assert_int_equal(media_type_closeness(SV_LIT("imag/*"), type), 0);
    assert_int_equal(media_type_closeness(SV_LIT("text/*"), type), 0);
    assert_int_equal(media_type_closeness(SV_LIT("*"), type), 0);
    assert_int_equal(media_type_closeness(SV_LIT("*a/*"), type), 0);
    assert_int_equal(media_type_closeness(SV_NONE, type), 0);
}

TEST(media_type, a_weight_is_between_nought_and_one)
{
    (void)state;
    assert_true(media_type_weight(SV_LIT("a/b;q=0")) == 0);
    assert_true(media_type_weight(SV_LIT("a/b; Q=0.25")) == 0.25);
    assert_true(media_type_weight(SV_LIT("a/b;q=1.000")) == 1);
    assert_true(media_type_weight(SV_LIT("a/b")) == 1);
    assert_true(media_type_weight(SV_LIT("a/b;q=-1")) == 1);
    assert_true(media_type_weight(SV_LIT("a/b;q=much")) == 1);
}

TEST_MAIN(T(media_type, the_name_stands_in_front_of_its_parameters),
          T(media_type, a_parameter_is_found_by_its_name_in_any_case),
          T(media_type, a_quoted_value_loses_its_quotes_and_hides_marks),
          T(media_type, a_list_is_cut_at_commas_outside_of_quotes),
          T(media_type, a_type_and_a_subtype_of_token_characters_are_well_formed),
          T(media_type, a_range_means_a_type_by_name_by_kind_or_as_anything),
          T(media_type, a_weight_is_between_nought_and_one))

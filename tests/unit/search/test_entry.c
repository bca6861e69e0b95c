/* test_entry.c - the bytes of index entries. They stand in the keys of every data store: a change
 * of these vectors is a new SEARCH_INDEX_FORM. The hashes were worked out by a second
 * implementation. */
#include "test.h"

#include "search/search_private.h"

static void assert_entry(struct entry x, const char *hex)
{
    char text[2 * SEARCH_KEY_MAX + 1] = "";
    for (unsigned i = 0; i < x.len; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", x.v[i]);
    assert_string_equal(text, hex);
}

TEST(entry, of_tokens_hold_code_case_and_system)
{
    (void)state;
    assert_entry(token_entry(SV_LIT("male"), true, SV_NONE, true), "899916cad787800000ffffffff");
    assert_entry(token_entry(SV_LIT("Abc"), false, SV_LIT("urn:rx"), false),
                 "e03a8a6cdb0221e2d7dee8f88b");
    assert_entry(token_entry(SV_LIT("Abc"), false, SV_NONE, false), "e03a8a6cdb0221e2d700000000");
    assert_entry(code_entry(SV_LIT("Abc"), false), "e03a8a6cdb0221e2d7");
    assert_entry(code_entry(SV_LIT("aBC"), true), "e03a8a6cdb02210000");
}

TEST(entry, of_uris_and_references_are_tagged_hashes)
{
    (void)state;
    assert_entry(uri_entry(SV_LIT("http://x/v")), "728848570af5");
    assert_entry(uri_entry(SV_LIT("http://x/v|2.0")), "728848570af5");
    assert_entry(reference_entry(SV_LIT("Patient/42"), SV_LIT("42")), "729bc7537343bb");
    assert_entry(identifier_entry(SV_LIT("AbC")), "69e03a8a6cdb02");
    assert_entry(contained_entry(0x66, 0x0203, SV_LIT("xy")), "63660203"
                                                              "7879");
}

TEST(entry, of_numbers_and_dates_are_in_their_order)
{
    (void)state;
    static const double up[] = { -1e300, -2, -1, -1e-300, 0, 1e-300, 1, 5.4, 1e300 };
    assert_entry(number_entry('S', 5.4), "53c01599999999999a");
    assert_entry(number_entry('S', -1), "53400fffffffffffff");
    assert_entry(number_entry('S', -0.0), "538000000000000000");
    /* 1980-02-01 */
    assert_entry(date_entry('S', 318211200000), "530e8a897b80");
    for (size_t i = 1; i < sizeof up / sizeof up[0]; i++) {
        struct entry x = number_entry('S', up[i - 1]), y = number_entry('S', up[i]);
        assert_true(memcmp(x.v, y.v, x.len) < 0);
    }
    struct entry first = date_entry('S', INT64_MIN), last = date_entry('S', INT64_MAX);
    struct entry before = date_entry('S', -1), after = date_entry('S', 0);
    assert_true(memcmp(first.v, before.v, first.len) < 0);
    assert_true(memcmp(before.v, after.v, before.len) < 0);
    assert_true(memcmp(after.v, last.v, after.len) < 0);
}

TEST_MAIN(T(entry, of_tokens_hold_code_case_and_system),
          T(entry, of_uris_and_references_are_tagged_hashes),
          T(entry, of_numbers_and_dates_are_in_their_order))

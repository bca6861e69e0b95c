/* Resources as digests: what is the same has the same one. */
#include "test.h"

#include "cli/verify/verify_private.h"

static verify_key text_key(const char *text)
{
    struct arena *a = arena_new(1u << 20);
    struct buf scratch = BUF_INIT(1u << 16);
    yyjson_doc *doc;
    verify_key k = { 0 };
    OK(json_read(a, sv_from(text), 64, &doc, e));
    OK(verify_text_of(yyjson_doc_get_root(doc), &scratch, &k, e));
    buf_done(&scratch);
    arena_free(a);
    return k;
}

static bool same(verify_key a, verify_key b)
{
    return verify_key_cmp(&a, &b) == 0;
}

TEST(verify_key, a_type_and_an_id_have_one_and_the_slash_keeps_them_apart)
{
    (void)state;
    verify_key k = verify_key_of(SV_LIT("Patient"), SV_LIT("a"));
    assert_true(same(k, verify_key_of(SV_LIT("Patient"), SV_LIT("a"))));
    assert_false(same(k, verify_key_of(SV_LIT("Patient"), SV_LIT("b"))));
    assert_false(same(k, verify_key_of(SV_LIT("Patienta"), SV_LIT(""))));
    assert_false(verify_key_is_none(&k));
}

TEST(verify_key, white_space_does_not_count_and_the_spelling_of_numbers_does)
{
    (void)state;
    verify_key k = text_key("{\"a\":1.0,\"b\":\"x\"}");
    assert_true(same(k, text_key(" { \"a\" : 1.0 ,\n\"b\":\"\\u0078\" }")));
    assert_false(same(k, text_key("{\"a\":1.00,\"b\":\"x\"}")));
    assert_false(same(k, text_key("{\"b\":\"x\",\"a\":1.0}")));
}

TEST(verify_key, a_resource_that_is_cut_has_none)
{
    (void)state;
    verify_key cut = text_key("{\"meta\":{\"tag\":[{\"code\":\"x\"},{\"code\":\"SUBSETTED\"}]}}");
    verify_key whole = text_key("{\"meta\":{\"tag\":[{\"code\":\"x\"}]}}");
    assert_true(verify_key_is_none(&cut));
    assert_false(verify_key_is_none(&whole));
}

TEST_MAIN(T(verify_key, a_type_and_an_id_have_one_and_the_slash_keeps_them_apart),
          T(verify_key, white_space_does_not_count_and_the_spelling_of_numbers_does),
          T(verify_key, a_resource_that_is_cut_has_none))

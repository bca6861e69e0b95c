/* JSON Web Keys and Signatures. tests/golden/jose has tokens that another implementation signed
 * (tools/jose_vectors.py). */
#include "test.h"

#include "base/file.h"
#include "codec/jose/jose.h"
#include "codec/json.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

static struct arena *a;
static yyjson_val *vectors;

static int set_up(void **state)
{
    char file[600];
    struct buf b = BUF_INIT(4u << 20);
    yyjson_doc *doc;
    (void)state;
    a = arena_new(64u << 20);
    (void)snprintf(file, sizeof file, "%s/tests/golden/jose/vectors.json",
                   getenv("FHIRLAKE_SOURCE"));
    OK(file_read(file, &b, e));
    OK(json_read(a, arena_sv(a, sv_trim(buf_sv(&b))), 16, &doc, e));
    buf_done(&b);
    vectors = yyjson_doc_get_root(doc);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(a);
    return 0;
}

static struct jose_keys *keys_read(sv json)
{
    struct jose_keys *keys;
    OK(jose_keys_read(json, &keys, e));
    return keys;
}

/* The JWKS of the keys that a case names. */
static struct jose_keys *keys_of(yyjson_val *names)
{
    struct buf b = BUF_INIT(JOSE_KEYS_BYTES);
    struct json_writer w;
    yyjson_arr_iter it = yyjson_arr_iter_with(names);
    yyjson_val *one;
    json_writer_init(&w, &b);
    json_obj(&w);
    json_key(&w, "keys");
    json_arr(&w);
    while ((one = yyjson_arr_iter_next(&it)) != NULL)
        json_val(&w, json_get(json_get(vectors, "keys"), yyjson_get_str(one)));
    json_arr_end(&w);
    json_obj_end(&w);
    OK(json_writer_end(&w, e));
    struct jose_keys *keys = keys_read(buf_sv(&b));
    buf_done(&b);
    return keys;
}

static err_code verify(sv token, const struct jose_keys *keys, unsigned algs, struct err *e)
{
    struct jose_jws jws;
    TRY(jose_jws_read(a, token, &jws, e));
    return jose_jws_verify(&jws, keys, algs, e);
}

TEST(jose, each_vector_has_its_verdict)
{
    (void)state;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(vectors, "cases"));
    yyjson_val *one;
    size_t n_good = 0, n = 0;
    while ((one = yyjson_arr_iter_next(&it)) != NULL) {
        struct err why = { 0 };
        struct jose_keys *keys = keys_of(json_get(one, "keys"));
        sv token = json_string(json_get(one, "token")),
           want = json_string(json_get(one, "verdict"));
        err_code rc = verify(token, keys, JOSE_ALGS_ALL, &why);
        const char *got = rc == ERR_OK                               ? "good"
                          : rc == ERR_NOT_FOUND                      ? "not_found"
                          : rc == ERR_INVALID || rc == ERR_TOO_LARGE ? "invalid"
                                                                     : err_code_name(rc);
        bool any = sv_eq_cstr(want, "any refusal") && rc != ERR_OK;
        if (!any && !sv_eq_cstr(want, got))
            fail_msg("%s: %s (%s), not %.*s", yyjson_get_str(json_get(one, "name")), got, why.msg,
                     SV_FMT(want));
        n_good += rc == ERR_OK;
        n++;
        jose_keys_free(keys);
    }
    assert_in_range(n, 250, 1000);
    assert_in_range(n_good, 20, 40);
}

TEST(jose, an_algorithm_that_is_not_allowed_is_refused_though_the_key_fits)
{
    (void)state;
    yyjson_val *one = yyjson_arr_get_first(json_get(vectors, "cases"));
    struct jose_keys *keys = keys_of(json_get(one, "keys"));
    sv token = json_string(json_get(one, "token"));
    struct err why;
    OK(verify(token, keys, JOSE_BIT(JOSE_RS256), e));
    assert_int_equal(verify(token, keys, JOSE_ALGS_ALL & ~JOSE_BIT(JOSE_RS256), &why), ERR_INVALID);
    jose_keys_free(keys);
}

TEST(jose, a_set_without_a_key_that_verifies_says_why)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } all[] = {
        { "", "" },
        { "[]", "list of keys" },
        { "{}", "list of keys" },
        { "{\"keys\":{}}", "list of keys" },
        { "{\"keys\":[]}", "no key" },
        { "{\"keys\":[],\"keys\":[]}", "one list" },
        { "{\"keys\":[1]}", "no object" },
        { "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQAB\"}]}", "private members" },
        { "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}]}", "kty" },
        { "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}", "32 bytes" },
        { "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "2048 bits" },
        { "{\"keys\":[{\"kty\":\"RSA\",\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "once" },
        { "{\"keys\":[{\"kty\":\"RSA\",\"kid\":7,\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "kid" },
        { "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AQAB\"}]}", "32 bytes" },
        { "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AQAB\"}]}", "kty" },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct jose_keys *keys = NULL;
        struct err why = { 0 };
        assert_int_equal(jose_keys_read(sv_from(all[i].json), &keys, &why), ERR_INVALID);
        assert_null(keys);
        if (strstr(why.msg, all[i].says) == NULL)
            fail_msg("%s: %s", all[i].json, why.msg);
    }
}

TEST(jose, a_modulus_with_a_small_divisor_makes_no_key)
{
    (void)state;
    /* 2^2048 - 1, which three divides */
    static const char json[] =
        "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\""
        "________________________________________________________________________________"
        "________________________________________________________________________________"
        "________________________________________________________________________________"
        "________________________________________________________________________________"
        "_____________________w"
        "\"}]}";
    struct jose_keys *keys = NULL;
    struct err why = { 0 };
    assert_int_equal(jose_keys_read(sv_from(json), &keys, &why), ERR_INVALID);
    assert_null(keys);
    assert_non_null(strstr(why.msg, "no RSA key"));
}

TEST(jose, a_set_of_too_many_keys_or_bytes_is_refused)
{
    (void)state;
    struct buf b = BUF_INIT(1u << 20);
    struct jose_keys *keys;
    struct err why;
    OK(buf_add(&b, SV_LIT("{\"keys\":[1"), e));
    for (unsigned i = 0; i < JOSE_KEYS_MAX; i++)
        OK(buf_add(&b, SV_LIT(",1"), e));
    OK(buf_add(&b, SV_LIT("]}"), e));
    assert_int_equal(jose_keys_read(buf_sv(&b), &keys, &why), ERR_TOO_LARGE);
    buf_clear(&b);
    while (b.len <= JOSE_KEYS_BYTES)
        OK(buf_add_char(&b, ' ', e));
    assert_int_equal(jose_keys_read(buf_sv(&b), &keys, &why), ERR_TOO_LARGE);
    buf_done(&b);
}

TEST(base64url, each_sequence_of_bytes_has_one_spelling)
{
    (void)state;
    static const struct {
        const char *text, *bytes;
    } good[] = { { "", "" },        { "Zg", "f" },        { "Zm8", "fo" },
                 { "Zm9v", "foo" }, { "Zm9vYg", "foob" }, { "-_-_", "\xfb\xff\xbf" } };
    static const char *const bad[] = { "Z",     "Zh",   "Zm9",  "Zm9vY", "Zg==", "Zm9v\n",
                                       " Zm9v", "Zm9+", "Zm9/", "Zm 9v", "Zm9v=" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        sv bytes, text;
        OK(jose_base64url_decode(a, sv_from(good[i].text), &bytes, e));
        assert_true(sv_eq_cstr(bytes, good[i].bytes));
        OK(jose_base64url(a, bytes, &text, e));
        assert_true(sv_eq_cstr(text, good[i].text));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sv bytes;
        if (jose_base64url_decode(a, sv_from(bad[i]), &bytes, NULL) != ERR_INVALID)
            fail_msg("%s is taken", bad[i]);
    }
}

/* ---- our own ---- */

static sv pem_of(EVP_PKEY *key)
{
    BIO *to = BIO_new(BIO_s_mem());
    char *text;
    assert_int_equal(PEM_write_bio_PrivateKey(to, key, NULL, NULL, 0, NULL, NULL), 1);
    long n = BIO_get_mem_data(to, &text);
    sv pem = arena_sv(a, sv_make(text, (size_t)n));
    BIO_free(to);
    EVP_PKEY_free(key);
    return pem;
}

TEST(jose, what_we_sign_is_verified_by_the_key_that_we_publish)
{
    (void)state;
    const struct {
        jose_alg alg;
        sv pem;
    } all[] = { { JOSE_RS256, pem_of(EVP_RSA_gen(2048)) },
                { JOSE_RS384, pem_of(EVP_RSA_gen(2048)) },
                { JOSE_ES384, pem_of(EVP_EC_gen("P-384")) } };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct jose_signer *signer;
        struct jose_jws jws;
        sv jwk, token;
        OK(jose_signer_read(all[i].pem, all[i].alg, &signer, e));
        OK(jose_signer_public(signer, a, &jwk, e));
        struct jose_keys *keys = keys_read(ARENA_JOIN(a, SV_LIT("{\"keys\":["), jwk, SV_LIT("]}")));
        /* an ECDSA signature whose r or s is short must be padded: among so many there is one */
        for (unsigned k = 0; k < (all[i].alg == JOSE_ES384 ? 300u : 1u); k++) {
            OK(jose_sign(signer, a, "at+jwt", SV_LIT("{\"sub\":\"u1\"}"), &token, e));
            OK(jose_jws_read(a, token, &jws, e));
            OK(jose_jws_verify(&jws, keys, JOSE_BIT(all[i].alg), e));
        }
        assert_true(sv_eq(jws.kid, jose_signer_kid(signer)));
        assert_true(sv_eq_cstr(jws.typ, "at+jwt"));
        assert_true(sv_eq_cstr(jws.payload, "{\"sub\":\"u1\"}"));
        jose_keys_free(keys);
        jose_signer_free(signer);
    }
}

TEST(jose, a_key_of_ours_is_read_back_from_what_is_written_of_it)
{
    (void)state;
    const jose_alg all[] = { JOSE_ES384, JOSE_RS384 };
    for (size_t i = 0; i < 2; i++) {
        struct buf pem = BUF_INIT(16u << 10);
        struct jose_signer *made, *read;
        struct jose_keys *keys = NULL;
        struct err why;
        sv secret, shown;
        OK(jose_signer_make(all[i], &made, e));
        OK(jose_signer_pem(made, &pem, e));
        OK(jose_signer_read(buf_sv(&pem), all[i], &read, e));
        assert_sv(jose_signer_kid(made), jose_signer_kid(read));
        OK(jose_signer_public(read, a, &shown, e));
        /* the private JWK has what the public one has, and never passes for it */
        OK(jose_signer_secret(made, a, &secret, e));
        yyjson_doc *doc;
        OK(json_read(a, secret, 4, &doc, e));
        assert_sv(json_string(json_get(yyjson_doc_get_root(doc), "kid")), jose_signer_kid(made));
        assert_true(json_string(json_get(yyjson_doc_get_root(doc), "d")).len >= 64);
        sv set = ARENA_JOIN(a, SV_LIT("{\"keys\":["), secret, SV_LIT("]}"));
        assert_int_equal(jose_keys_read(set, &keys, &why), ERR_INVALID);
        assert_non_null(strstr(why.msg, "private members"));
        buf_done(&pem);
        jose_signer_free(made);
        jose_signer_free(read);
    }
}

TEST(jose, a_private_key_that_does_not_fit_the_algorithm_is_refused)
{
    (void)state;
    const struct {
        jose_alg alg;
        sv pem;
    } all[] = {
        { JOSE_RS256, pem_of(EVP_EC_gen("P-384")) }, { JOSE_ES384, pem_of(EVP_EC_gen("P-256")) },
        { JOSE_ES384, pem_of(EVP_RSA_gen(2048)) },   { JOSE_RS256, pem_of(EVP_RSA_gen(1024)) },
        { JOSE_ES256, pem_of(EVP_EC_gen("P-256")) }, { JOSE_RS256, SV_LIT("no key") }
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct jose_signer *signer = NULL;
        assert_int_equal(jose_signer_read(all[i].pem, all[i].alg, &signer, NULL), ERR_INVALID);
        assert_null(signer);
    }
}

/* The thumbprint of RFC 7638, 3.1 is of an RSA key; ours is made of the same members. */
TEST(jose, a_key_is_named_by_its_thumbprint)
{
    (void)state;
    struct jose_signer *one, *again;
    sv pem = pem_of(EVP_EC_gen("P-384"));
    OK(jose_signer_read(pem, JOSE_ES384, &one, e));
    OK(jose_signer_read(pem, JOSE_ES384, &again, e));
    assert_true(sv_eq(jose_signer_kid(one), jose_signer_kid(again)));
    assert_int_equal(jose_signer_kid(one).len, 43);
    jose_signer_free(one);
    jose_signer_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(jose, each_vector_has_its_verdict),
        T(jose, an_algorithm_that_is_not_allowed_is_refused_though_the_key_fits),
        T(jose, a_set_without_a_key_that_verifies_says_why),
        T(jose, a_modulus_with_a_small_divisor_makes_no_key),
        T(jose, a_set_of_too_many_keys_or_bytes_is_refused),
        T(base64url, each_sequence_of_bytes_has_one_spelling),
        T(jose, what_we_sign_is_verified_by_the_key_that_we_publish),
        T(jose, a_key_of_ours_is_read_back_from_what_is_written_of_it),
        T(jose, a_private_key_that_does_not_fit_the_algorithm_is_refused),
        T(jose, a_key_is_named_by_its_thumbprint),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

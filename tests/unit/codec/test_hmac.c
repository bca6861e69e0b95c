/* test_hmac.c - HMAC with SHA-256: the vectors of RFC 4231, and RFC 2104 word by word for keys and
 * texts around the length of a block. */
#include "test.h"

#include "codec/hash.h"

#define BLOCK 64u

static void run_of(char *out, size_t n, char c)
{
    memset(out, c, n);
}

static void check(sv key, sv data, const char *mac)
{
    unsigned char got[SHA256_LEN];
    char hex[SHA256_HEX_LEN + 1] = { 0 };
    hash_hmac_sha256(key, data, got);
    hash_hex(got, strlen(mac) / 2, hex);
    assert_string_equal(hex, mac);
}

TEST(hmac, the_test_cases_of_rfc_4231)
{
    (void)state;
    char key[131], data[152];
    run_of(key, 20, 0x0b);
    check(sv_make(key, 20), SV_LIT("Hi There"),
          "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    check(SV_LIT("Jefe"), SV_LIT("what do ya want for nothing?"),
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    run_of(key, 20, (char)0xaa);
    run_of(data, 50, (char)0xdd);
    check(sv_make(key, 20), sv_make(data, 50),
          "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    for (int i = 0; i < 25; i++)
        key[i] = (char)(i + 1);
    run_of(data, 50, (char)0xcd);
    check(sv_make(key, 25), sv_make(data, 50),
          "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
    /* the first 128 bits */
    run_of(key, 20, 0x0c);
    check(sv_make(key, 20), SV_LIT("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b");
    run_of(key, 131, (char)0xaa);
    check(sv_make(key, 131), SV_LIT("Test Using Larger Than Block-Size Key - Hash Key First"),
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    check(sv_make(key, 131),
          SV_LIT("This is a test using a larger than block-size key and a larger than block-size "
                 "data. The key needs to be hashed before being used by the HMAC algorithm."),
          "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

/* "H(K XOR opad, H(K XOR ipad, text))", where a K longer than a block is hashed first, and one that
 * is shorter is filled with zeros. */
static void by_definition(sv key, sv text, unsigned char out[SHA256_LEN])
{
    unsigned char k[BLOCK] = { 0 }, inner[SHA256_LEN];
    char block[BLOCK + 1000];
    if (key.len > BLOCK)
        hash_sha256_of(key, k);
    else if (key.len)
        memcpy(k, key.ptr, key.len);
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (char)(k[i] ^ 0x36);
    memcpy(block + BLOCK, text.ptr, text.len);
    hash_sha256_of(sv_make(block, BLOCK + text.len), inner);
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (char)(k[i] ^ 0x5c);
    memcpy(block + BLOCK, inner, sizeof inner);
    hash_sha256_of(sv_make(block, BLOCK + sizeof inner), out);
}

TEST(hmac, keys_and_texts_of_any_length_are_as_rfc_2104_says)
{
    (void)state;
    char bytes[300];
    unsigned char want[SHA256_LEN], got[SHA256_LEN];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 151 + 7);
    for (size_t k = 0; k <= 200; k++)
        for (size_t n = 0; n <= 200; n += n < 130 ? 1 : 23) {
            sv key = sv_make(bytes, k), text = sv_make(bytes + 50, n);
            by_definition(key, text, want);
            hash_hmac_sha256(key, text, got);
            assert_memory_equal(got, want, SHA256_LEN);
        }
}

TEST(hmac, a_key_that_is_kept_signs_each_text_as_the_first)
{
    (void)state;
    char bytes[200];
    unsigned char want[SHA256_LEN], got[SHA256_LEN];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 151 + 7);
    for (size_t k = 0; k <= 130; k += 13) {
        struct hash_hmac_key kept, before;
        hash_hmac_key_set(&kept, sv_make(bytes, k));
        before = kept;
        for (size_t n = 0; n <= sizeof bytes; n += 7) {
            by_definition(sv_make(bytes, k), sv_make(bytes, n), want);
            hash_hmac_sha256_with(&kept, sv_make(bytes, n), got);
            assert_memory_equal(got, want, SHA256_LEN);
            hash_hmac_sha256_two(&kept, sv_make(bytes, n / 3), sv_make(bytes + n / 3, n - n / 3),
                                 got);
            assert_memory_equal(got, want, SHA256_LEN);
        }
        assert_memory_equal(&kept, &before, sizeof kept);
    }
}

TEST_MAIN(T(hmac, the_test_cases_of_rfc_4231),
          T(hmac, keys_and_texts_of_any_length_are_as_rfc_2104_says),
          T(hmac, a_key_that_is_kept_signs_each_text_as_the_first))

#include "test.h"

#include "codec/hash.h"

/* compiled here for any processor: another form than the product may choose */
#define XXH_INLINE_ALL
#include <xxhash.h>

static void sha_hex(sv bytes, char out[65])
{
    unsigned char d[SHA256_LEN];
    hash_sha256_of(bytes, d);
    hash_hex(d, sizeof d, out);
    out[64] = 0;
}

static sv all_bytes(size_t times)
{
    static char b[256 * 4096];
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (char)i;
    return sv_make(b, 256 * times);
}

TEST(hash, sha256_of_published_messages)
{
    (void)state;
    /* FIPS 180-4 examples; the last computed by Python's hashlib */
    char hex[65];
    sha_hex(SV_NONE, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha_hex(SV_LIT("abc"), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha_hex(SV_LIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    sha_hex(all_bytes(4096), hex);
    assert_string_equal(hex, "fbbab289f7f94b25736c58be46a994c441fd02552cc6022352e3d86d2fab7c83");
}

TEST(hash, sha256_does_not_depend_on_the_pieces)
{
    (void)state;
    sv text = all_bytes(4);
    unsigned char want[SHA256_LEN], have[SHA256_LEN];
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    for (size_t n = 0; n <= text.len; n += 37) {
        hash_sha256_of(sv_head(text, n), want);
        for (size_t at = 0; at < n; at += 61)
            hash_sha256_add(h, sv_head(sv_tail(text, at), n - at < 61 ? n - at : 61));
        /* starts anew each turn */
        hash_sha256_take(h, have);
        assert_memory_equal(want, have, SHA256_LEN);
    }
}

/* Pieces of any length to two streams at once; what each gives is what EVP gives for the whole. */
TEST(hash, sha256_of_two_streams_side_by_side)
{
    (void)state;
    static char text[2][300000];
    uint64_t seed = 20261125;
    unsigned char want[SHA256_LEN], have[SHA256_LEN];
    CLEANUP(hash_sha256_free) struct hash_sha256 *a = hash_sha256_new();
    CLEANUP(hash_sha256_free) struct hash_sha256 *b = hash_sha256_new();
    struct hash_sha256 *const h[2] = { a, b };
    for (int turn = 0; turn < 400; turn++) {
        size_t at[2] = { 0, 0 };
        for (int piece = 0; piece < 5; piece++) {
            sv add[2];
            for (int s = 0; s < 2; s++) {
                seed = seed * 6364136223846793005ull + 1442695040888963407ull;
                size_t most = turn % 4 == 0 ? 60000 : 300, len = (seed >> 33) % most;
                len = turn % 3 == 0 ? len & ~(size_t)63 : len;
                for (size_t i = 0; i < len; i++)
                    text[s][at[s] + i] = (char)((seed >> 20) + i * (unsigned)(s + 3));
                add[s] = sv_make(text[s] + at[s], len);
                at[s] += len;
            }
            if ((seed >> 40) % 5) {
                hash_sha256_add_pair(h[piece & 1], add[piece & 1], h[!(piece & 1)],
                                     add[!(piece & 1)]);
            } else {
                /* mixed with one alone */
                hash_sha256_add(a, add[0]);
                hash_sha256_add(b, add[1]);
            }
        }
        for (int s = 0; s < 2; s++) {
            hash_sha256_of(sv_make(text[s], at[s]), want);
            hash_sha256_take(h[s], have);
            assert_memory_equal(want, have, SHA256_LEN);
        }
    }
    hash_sha256_add_pair(a, SV_NONE, b, SV_NONE);
    hash_sha256_of(SV_NONE, want);
    hash_sha256_take(b, have);
    assert_memory_equal(want, have, SHA256_LEN);
}

TEST(hash, xxh3_is_the_same_in_every_form)
{
    (void)state;
    sv text = all_bytes(64);
    for (size_t n = 0; n <= text.len; n += n < 600 ? 1 : 89) {
        /* at any address */
        sv head = sv_tail(sv_head(text, n), n % 7);
        uint64_t h[2];
        hash_xxh3_128(head, SV_NONE, h);
        XXH128_hash_t known = XXH3_128bits(head.ptr, head.len);
        assert_true(h[0] == known.low64);
        assert_true(h[1] == known.high64);
    }
}

/* The values that xxh128sum prints; cut anywhere, it is the same text. */
TEST(hash, xxh3_of_known_texts_in_one_piece_and_in_two)
{
    (void)state;
    uint64_t h[2], cut[2];
    hash_xxh3_128(SV_NONE, SV_NONE, h);
    assert_true(h[1] == 0x99aa06d3014798d8u);
    assert_true(h[0] == 0x6001c324468d497fu);
    hash_xxh3_128(SV_LIT("123456789"), SV_NONE, h);
    assert_true(h[1] == 0x33119477ede5dcd5u);
    assert_true(h[0] == 0xe9716427681d5860u);
    sv text = all_bytes(8);
    for (size_t n = 1; n <= text.len; n += 13) {
        hash_xxh3_128(sv_head(text, n), SV_NONE, h);
        for (size_t at = 0; at < n; at += 97) {
            hash_xxh3_128(sv_head(text, at), sv_tail(sv_head(text, n), at), cut);
            assert_memory_equal(cut, h, sizeof h);
        }
    }
}

/* The length in the last block counts bits past 2^32. */
TEST(hash, sha256_of_two_streams_past_512_mib)
{
    (void)state;
    static char block[1u << 20];
    unsigned char one[SHA256_LEN], two[SHA256_LEN];
    CLEANUP(hash_sha256_free) struct hash_sha256 *a = hash_sha256_new();
    CLEANUP(hash_sha256_free) struct hash_sha256 *b = hash_sha256_new();
    if (!hash_sha256_pairs())
        skip();
    for (int i = 0; i < 513; i++)
        hash_sha256_add_pair(a, sv_make(block, sizeof block), b, sv_make(block, sizeof block));
    hash_sha256_take(a, one);
    hash_sha256_take(b, two);
    assert_memory_equal(one, two, SHA256_LEN);
    char hex[65] = { 0 };
    hash_hex(one, sizeof one, hex);
    /* Python's hashlib, 513 MiB of zeros */
    assert_string_equal(hex, "a3e2acbb469e4e59dde406f912e754c933c1ac0fb0092a3634d61d5073309c0c");
}

TEST(hash, hmac_of_rfc_4231)
{
    (void)state;
    static const struct {
        sv key, data;
        const char *mac;
    } cases[] = {
        { { "\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b",
            20 },
          { "Hi There", 8 },
          "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
        { { "Jefe", 4 },
          { "what do ya want for nothing?", 28 },
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
    };
    unsigned char mac[SHA256_LEN];
    char hex[65] = { 0 };
    for (size_t i = 0; i < 2; i++) {
        hash_hmac_sha256(cases[i].key, cases[i].data, mac);
        hash_hex(mac, sizeof mac, hex);
        assert_string_equal(hex, cases[i].mac);
        /* kept, and used twice */
        struct hash_hmac_key k;
        hash_hmac_key_set(&k, cases[i].key);
        for (int turn = 0; turn < 2; turn++) {
            hash_hmac_sha256_with(&k, cases[i].data, mac);
            hash_hex(mac, sizeof mac, hex);
            assert_string_equal(hex, cases[i].mac);
        }
    }
    /* longer than a block: the key is hashed first */
    char key[131];
    memset(key, 0xaa, sizeof key);
    hash_hmac_sha256(sv_make(key, sizeof key),
                     SV_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), mac);
    hash_hex(mac, sizeof mac, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    hash_hmac_sha256(SV_NONE, SV_NONE, mac);
    hash_hex(mac, sizeof mac, hex);
    assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static uint32_t crc_bitwise(uint32_t crc, sv b)
{
    crc = ~crc;
    for (size_t i = 0; i < b.len; i++) {
        crc ^= (unsigned char)b.ptr[i];
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
    }
    return ~crc;
}

TEST(hash, crc32c_of_rfc_3720_and_bit_by_bit)
{
    (void)state;
    char block[32];
    assert_int_equal(hash_crc32c(0, SV_LIT("123456789")), 0xE3069283);
    assert_int_equal(hash_crc32c(0, SV_NONE), 0);
    memset(block, 0, sizeof block);
    assert_int_equal(hash_crc32c(0, sv_make(block, 32)), 0x8A9136AA);
    memset(block, 0xFF, sizeof block);
    assert_int_equal(hash_crc32c(0, sv_make(block, 32)), 0x62A8AB43);
    for (int i = 0; i < 32; i++)
        block[i] = (char)i;
    assert_int_equal(hash_crc32c(0, sv_make(block, 32)), 0x46DD794E);
    sv text = all_bytes(4);
    /* every alignment, every tail */
    for (size_t from = 0; from < 9; from++)
        for (size_t n = 0; n < 100; n++) {
            sv part = sv_head(sv_tail(text, from), n);
            uint32_t whole = hash_crc32c(0, part);
            assert_int_equal(whole, crc_bitwise(0, part));
            uint32_t pieces = hash_crc32c(0, sv_head(part, n / 3));
            assert_int_equal(hash_crc32c(pieces, sv_tail(part, n / 3)), whole);
        }
}

TEST(hash, base64_of_rfc_4648_both_ways)
{
    (void)state;
    static const struct {
        const char *plain, *text;
    } cases[] = { { "", "" },
                  { "f", "Zg==" },
                  { "fo", "Zm8=" },
                  { "foo", "Zm9v" },
                  { "foob", "Zm9vYg==" },
                  { "fooba", "Zm9vYmE=" },
                  { "foobar", "Zm9vYmFy" },
                  { "\xfb\xff\xfe", "+//+" } };
    struct buf b = BUF_INIT(4096), back = BUF_INIT(4096);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        buf_clear(&b);
        buf_clear(&back);
        OK(hash_base64(sv_from(cases[i].plain), &b, e));
        assert_sv(buf_sv(&b), sv_from(cases[i].text));
        OK(hash_base64_decode(buf_sv(&b), &back, e));
        assert_sv(buf_sv(&back), sv_from(cases[i].plain));
    }
    sv bytes = all_bytes(1);
    buf_clear(&b);
    buf_clear(&back);
    /* both append */
    OK(buf_add(&b, SV_LIT("kept "), e));
    OK(hash_base64(bytes, &b, e));
    OK(buf_add(&back, SV_LIT("kept "), e));
    OK(hash_base64_decode(sv_tail(buf_sv(&b), 5), &back, e));
    assert_sv(sv_tail(buf_sv(&back), 5), bytes);
    assert_sv(sv_head(buf_sv(&back), 5), SV_LIT("kept "));
    buf_done(&b);
    buf_done(&back);
}

TEST(hash, broken_base64_is_refused_and_adds_nothing)
{
    (void)state;
    static const sv bad[] = { { "A", 1 },     { "AA", 2 },        { "AAA", 3 },
                              { "AAAAA", 5 }, { "A===", 4 },      { "====", 4 },
                              { "AA=A", 4 },  { "A=AA", 4 },      { "Zg==Zg==", 8 },
                              { "Zm 9", 4 },  { "Zm9v\n", 5 },    { "Zm-_", 4 },
                              { "Zm\0v", 4 }, { "\xc3\xa4zz", 4 } };
    struct buf b = BUF_INIT(4096);
    OK(buf_add(&b, SV_LIT("x"), e));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        FAILS(ERR_INVALID, hash_base64_decode(bad[i], &b, e));
        assert_int_equal(b.len, 1);
    }
    buf_done(&b);
    struct buf small = BUF_INIT(8);
    FAILS(ERR_TOO_LARGE, hash_base64(SV_LIT("more than eight"), &small, e));
    FAILS(ERR_TOO_LARGE, hash_base64_decode(SV_LIT("Zm9vYmFyZm9vYmFyZm9v"), &small, e));
    assert_int_equal(small.len, 0);
    buf_done(&small);
}

TEST(hash, equality_is_of_all_bytes)
{
    (void)state;
    assert_true(hash_equal(SV_NONE, SV_LIT("")));
    assert_true(hash_equal(SV_LIT("a\0b"), SV_LIT("a\0b")));
    assert_false(hash_equal(SV_LIT("a\0b"), SV_LIT("a\0c")));
    assert_false(hash_equal(SV_LIT("abc"), SV_LIT("abd")));
    assert_false(hash_equal(SV_LIT("abc"), SV_LIT("ab")));
    assert_false(hash_equal(SV_LIT(""), SV_LIT("a")));
}

TEST(hash, hexadecimal_digits_come_back_as_the_bytes_they_were)
{
    (void)state;
    unsigned char bytes[256], back[256];
    char text[512];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    hash_hex(bytes, sizeof bytes, text);
    assert_true(hash_unhex(sv_make(text, sizeof text), back, sizeof back));
    assert_memory_equal(back, bytes, sizeof bytes);
    assert_true(hash_unhex(SV_NONE, back, 0));
    assert_false(hash_unhex(SV_LIT("0a0b"), back, 1));
    assert_false(hash_unhex(SV_LIT("0a0"), back, 9));
    static const char *const bad[] = { "0A", "0g", " 0", "0:", "/0", "`0", "\xff\xff" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (hash_unhex(sv_from(bad[i]), back, sizeof back))
            fail_msg("taken: '%s'", bad[i]);
}

TEST_MAIN(T(hash, sha256_of_published_messages), T(hash, sha256_does_not_depend_on_the_pieces),
          T(hash, sha256_of_two_streams_side_by_side), T(hash, sha256_of_two_streams_past_512_mib),
          T(hash, xxh3_is_the_same_in_every_form),
          T(hash, xxh3_of_known_texts_in_one_piece_and_in_two), T(hash, hmac_of_rfc_4231),
          T(hash, crc32c_of_rfc_3720_and_bit_by_bit), T(hash, base64_of_rfc_4648_both_ways),
          T(hash, broken_base64_is_refused_and_adds_nothing), T(hash, equality_is_of_all_bytes),
          T(hash, hexadecimal_digits_come_back_as_the_bytes_they_were))

/* What goes out sealed comes back as it was, or not at all. */
#include "test.h"

#include "base/rng.h"
#include "codec/seal.h"

static const unsigned char key[SEAL_KEY_LEN] = { 1, 2, 3 };

static void seal(sv about, sv plain, struct buf *out)
{
    buf_clear(out);
    OK(seal_close(key, about, plain, out, e));
}

TEST(seal, opens_for_its_key_and_purpose_alone)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20), plain = BUF_INIT(1 << 20);
    unsigned char other[SEAL_KEY_LEN] = { 1, 2, 4 };
    for (size_t n = 0; n < 70; n++) {
        char bytes[70];
        rng_bytes(bytes, n);
        seal(SV_LIT("store 1"), sv_make(bytes, n), &text);
        /* what stands in a URL as it is */
        for (size_t i = 0; i < text.len; i++)
            assert_non_null(
                memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                       text.ptr[i], 64));
        buf_clear(&plain);
        OK(seal_open(key, SV_LIT("store 1"), buf_sv(&text), &plain, e));
        assert_sv(buf_sv(&plain), sv_make(bytes, n));
        FAILS(ERR_INVALID, seal_open(key, SV_LIT("store 2"), buf_sv(&text), &plain, e));
        FAILS(ERR_INVALID, seal_open(key, SV_NONE, buf_sv(&text), &plain, e));
        FAILS(ERR_INVALID, seal_open(other, SV_LIT("store 1"), buf_sv(&text), &plain, e));
        assert_int_equal(plain.len, n);
    }
}

TEST(seal, says_no_to_every_changed_bit_and_every_cut)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20), plain = BUF_INIT(1 << 20);
    seal(SV_LIT("x"), SV_LIT("as of 17, behind Patient/1"), &text);
    for (size_t i = 0; i < text.len; i++) {
        char was = text.ptr[i];
        text.ptr[i] = was == 'A' ? 'B' : 'A';
        FAILS(ERR_INVALID, seal_open(key, SV_LIT("x"), buf_sv(&text), &plain, e));
        text.ptr[i] = was;
        FAILS(ERR_INVALID, seal_open(key, SV_LIT("x"), sv_head(buf_sv(&text), i), &plain, e));
    }
    static const char *const never[] = { "", "A", "AAAA", "1-p-0-0-0--", "%00", "====" };
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        FAILS(ERR_INVALID, seal_open(key, SV_LIT("x"), sv_from(never[i]), &plain, e));
    assert_int_equal(plain.len, 0);
}

TEST(seal, never_seals_twice_alike)
{
    (void)state;
    CLEANUP_BUF struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
    seal(SV_LIT("x"), SV_LIT("family=Smith"), &a);
    seal(SV_LIT("x"), SV_LIT("family=Smith"), &b);
    assert_false(sv_eq(buf_sv(&a), buf_sv(&b)));
    assert_null(memmem(a.ptr, a.len, "Smith", 5));
}

TEST_MAIN(T(seal, opens_for_its_key_and_purpose_alone),
          T(seal, says_no_to_every_changed_bit_and_every_cut), T(seal, never_seals_twice_alike))

/* test_body.c - a body as it stands on the wire. */
#include "test.h"

#include "s3/s3_private.h"

#include <stdlib.h>

#define ABC_SHA256 "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
#define ABC_CRC32C "Nks/tw=="

/* All that is left of a body, read in steps. */
static void read_all(struct s3_body *b, size_t step, struct buf *out)
{
    char *piece = malloc(step);
    size_t n;
    assert_non_null(piece);
    while ((n = s3_body_read(b, piece, step)) != 0) {
        assert_true(n <= step);
        OK(buf_add(out, sv_make(piece, n), e));
    }
    free(piece);
}

static char *make_bytes(size_t n)
{
    char *p = malloc(n + 1);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * 31 + i / 4096);
    return p;
}

TEST(body, one_that_is_framed_has_its_length_before_and_its_checksum_behind_it)
{
    (void)state;
    static const struct {
        s3_checksum kind;
        const char *text;
    } want[] = {
        { S3_CHECKSUM_SHA256, "3\r\nabc\r\n0\r\nx-amz-checksum-sha256:" ABC_SHA256 "\r\n\r\n" },
        { S3_CHECKSUM_CRC32C, "3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:" ABC_CRC32C "\r\n\r\n" },
    };
    const sv pieces[] = { SV_LIT("a"), SV_LIT(""), SV_LIT("bc") };
    for (size_t i = 0; i < 2; i++)
        for (size_t step = 1; step < 100; step += 7) {
            CLEANUP_BUF struct buf got = BUF_INIT(1000);
            struct s3_body b;
            s3_body_init(&b, pieces, 3, want[i].kind);
            assert_int_equal(s3_body_wire_bytes(&b), strlen(want[i].text));
            assert_false(b.ended);
            read_all(&b, step, &got);
            assert_true(b.ended);
            assert_sv(buf_sv(&got), sv_from(want[i].text));
            s3_body_done(&b);
        }
}

/* Length, CRLF, bytes, CRLF, up to a length of 0: the bytes, by another reader than the program. */
static void unframe(sv text, struct buf *out, sv *trailer)
{
    for (;;) {
        char *end;
        unsigned long long n = strtoull(text.ptr, &end, 16);
        text = sv_tail(text, (size_t)(end - text.ptr));
        assert_true(sv_starts(text, SV_LIT("\r\n")));
        text = sv_tail(text, 2);
        if (n == 0)
            break;
        assert_true(n <= S3_CHUNK_BYTES && n + 2 <= text.len);
        OK(buf_add(out, sv_head(text, (size_t)n), e));
        text = sv_tail(text, (size_t)n);
        assert_true(sv_starts(text, SV_LIT("\r\n")));
        text = sv_tail(text, 2);
    }
    *trailer = text;
}

TEST(body, one_of_any_length_is_framed_so_that_it_can_be_read_again)
{
    (void)state;
    const size_t lengths[] = {
        0, 1, S3_CHUNK_BYTES - 1, S3_CHUNK_BYTES, S3_CHUNK_BYTES + 1, (3u << 20) + 77
    };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        CLEANUP_BUF struct buf wire = BUF_INIT(8u << 20), got = BUF_INIT(8u << 20);
        char *bytes = make_bytes(lengths[i]), text[S3_CHECKSUM_TEXT], line[100];
        unsigned char digest[SHA256_LEN];
        struct s3_body b;
        sv trailer, whole = sv_make(bytes, lengths[i]);
        const sv pieces[] = { sv_head(whole, 1000), sv_tail(whole, 1000) };
        s3_body_init(&b, pieces, 2, S3_CHECKSUM_SHA256);
        uint64_t said = s3_body_wire_bytes(&b);
        read_all(&b, 65536, &wire);
        assert_int_equal(wire.len, said);
        OK(buf_add_char(&wire, 0, e));
        unframe(sv_head(buf_sv(&wire), wire.len - 1), &got, &trailer);
        assert_int_equal(got.len, lengths[i]);
        assert_true(got.len == 0 || memcmp(got.ptr, bytes, got.len) == 0);
        hash_sha256_of(whole, digest);
        assert_memory_equal(b.sha256, digest, SHA256_LEN);
        s3_checksum_text(S3_CHECKSUM_SHA256, digest, text);
        (void)snprintf(line, sizeof line, "x-amz-checksum-sha256:%s\r\n\r\n", text);
        assert_sv(trailer, sv_from(line));
        s3_body_done(&b);
        free(bytes);
    }
}

TEST(body, one_that_is_rewound_says_the_same_again)
{
    (void)state;
    char *bytes = make_bytes(3u << 20), some[70000];
    const sv whole = sv_make(bytes, 3u << 20);
    for (s3_checksum kind = S3_CHECKSUM_NONE; kind <= S3_CHECKSUM_CRC32C; kind++) {
        CLEANUP_BUF struct buf first = BUF_INIT(8u << 20), again = BUF_INIT(8u << 20);
        struct s3_body b;
        s3_body_init(&b, &whole, 1, kind);
        read_all(&b, 100000, &first);
        /* once from the end, and once from the middle */
        for (int i = 0; i < 2; i++) {
            buf_clear(&again);
            assert_true(s3_body_rewind(&b, 0));
            assert_false(b.ended);
            if (i == 0)
                for (int n = 0; n < 20; n++)
                    assert_int_equal(s3_body_read(&b, some, sizeof some), sizeof some);
            assert_true(s3_body_rewind(&b, 0));
            read_all(&b, 100001, &again);
            assert_int_equal(again.len, first.len);
            assert_memory_equal(again.ptr, first.ptr, first.len);
        }
        s3_body_done(&b);
    }
    free(bytes);
}

TEST(body, a_plain_one_goes_back_to_any_byte_and_a_framed_one_to_its_start)
{
    (void)state;
    const sv pieces[] = { SV_LIT("one "), SV_LIT("two "), SV_LIT("three") };
    const char *all = "one two three";
    struct s3_body b;
    s3_body_init(&b, pieces, 3, S3_CHECKSUM_NONE);
    for (size_t to = 0; to <= strlen(all); to++) {
        CLEANUP_BUF struct buf got = BUF_INIT(100);
        assert_true(s3_body_rewind(&b, to));
        read_all(&b, 3, &got);
        assert_sv(buf_sv(&got), sv_from(all + to));
    }
    assert_false(s3_body_rewind(&b, strlen(all) + 1));
    s3_body_init(&b, pieces, 3, S3_CHECKSUM_SHA256);
    assert_false(s3_body_rewind(&b, 1));
    assert_true(s3_body_rewind(&b, 0));
    s3_body_done(&b);
}

TEST_MAIN(T(body, one_that_is_framed_has_its_length_before_and_its_checksum_behind_it),
          T(body, one_of_any_length_is_framed_so_that_it_can_be_read_again),
          T(body, one_that_is_rewound_says_the_same_again),
          T(body, a_plain_one_goes_back_to_any_byte_and_a_framed_one_to_its_start))

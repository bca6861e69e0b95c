#include "bytes.h"

#include <isa-l/crc.h>

#define MOST (8u << 20)

/* All plain bytes of `packed`, read in pieces of `cap` from a source with pieces of `step`. */
static err_code unpack_all(sv packed, size_t step, size_t cap, struct buf *out, struct err *e)
{
    struct bytes src = { .rest = packed, .step = step };
    CLEANUP(unpack_close) struct unpack *u = NULL;
    TRY(unpack_open(bytes_reader(&src), &u, e));
    for (;;) {
        size_t n = 0;
        TRY(buf_reserve(out, cap, e));
        err_code rc = unpack_read(u, out->ptr + out->len, cap, &n, e);
        if (rc == ERR_EOF) {
            size_t more;
            char c;
            /* it stays the end */
            assert_int_equal(unpack_read(u, &c, 1, &more, e), ERR_EOF);
            return ERR_OK;
        }
        if (rc != ERR_OK)
            return rc;
        assert_true(n > 0);
        assert_true(n <= cap);
        out->len += n;
    }
}

static void gives(sv packed, size_t step, size_t cap, sv want)
{
    CLEANUP_BUF struct buf out = BUF_INIT(2 * MOST);
    struct err err = { 0 };
    if (unpack_all(packed, step, cap, &out, &err) != ERR_OK)
        fail_msg("%zu bytes in pieces of %zu, out of %zu: %s", packed.len, step, cap, err.msg);
    if (!sv_eq(buf_sv(&out), want))
        fail_msg("%zu bytes in pieces of %zu, out of %zu: %zu bytes, not %zu", packed.len, step,
                 cap, out.len, want.len);
}

/* With no cut and with one at every place; and byte by byte on both sides. */
static void gives_however_cut(sv packed, sv want)
{
    for (size_t step = 1; step <= packed.len + 1; step++)
        gives(packed, step, 4096, want);
    for (size_t cap = 1; cap <= 9; cap++) {
        gives(packed, MOST, cap, want);
        gives(packed, 1, cap, want);
    }
}

/* ---- plain ---- */

TEST(unpack, plain_bytes_come_as_they_are)
{
    (void)state;
    static const sv plain[] = {
        { "", 0 },
        { "\n", 1 },
        { "\x1f", 1 }, /* the first half of gzip's magic number */
        { "\x8b\x1f", 2 },
        { "\x28\xb5\x2f", 3 },
        { "\x28\xb5\x2f\xfe", 4 },
        { "{\"resourceType\":\"Patient\"}\n\0\xff", 29 },
    };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        gives_however_cut(plain[i], plain[i]);
    CLEANUP_BUF struct buf b = BUF_INIT(MOST);
    /* more than what is read ahead */
    bytes_lines(700000, &b);
    gives(buf_sv(&b), MOST, 65536, buf_sv(&b));
    gives(buf_sv(&b), 1000, 333, buf_sv(&b));
    gives(buf_sv(&b), MOST, MOST, buf_sv(&b));
}

/* ---- whole ---- */

typedef void (*pack_fn)(sv text, struct buf *out);
static const pack_fn packers[] = { bytes_gzip, bytes_zstd };
#define N_PACKERS 2

TEST(unpack, small_files_come_out_however_they_are_cut)
{
    (void)state;
    static const sv texts[] = {
        { "", 0 }, { "a", 1 }, { "one\ntwo\r\n\nthree", 15 }, { "\0\0\0\0\xff", 5 }
    };
    for (size_t p = 0; p < N_PACKERS; p++)
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            CLEANUP_BUF struct buf b = BUF_INIT(MOST);
            packers[p](texts[i], &b);
            gives_however_cut(buf_sv(&b), texts[i]);
        }
}

TEST(unpack, large_files_come_out_however_they_are_read)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(MOST), zeros = BUF_INIT(MOST);
    bytes_lines(1500000, &text);
    /* a few bytes that become many */
    OK(buf_reserve(&zeros, 3000000, e));
    memset(zeros.ptr, 0, 3000000);
    zeros.len = 3000000;
    for (size_t p = 0; p < N_PACKERS; p++) {
        CLEANUP_BUF struct buf b = BUF_INIT(MOST), z = BUF_INIT(MOST);
        packers[p](buf_sv(&text), &b);
        static const size_t steps[] = { MOST, 262144, 65537, 4099 };
        static const size_t caps[] = { MOST / 2, 262144, 32769, 1000 };
        for (size_t i = 0; i < 4; i++)
            gives(buf_sv(&b), steps[i], caps[i], buf_sv(&text));
        packers[p](buf_sv(&zeros), &z);
        gives(buf_sv(&z), 7, 50000, buf_sv(&zeros));
    }
}

TEST(unpack, members_and_frames_are_joined)
{
    (void)state;
    for (size_t p = 0; p < N_PACKERS; p++) {
        CLEANUP_BUF struct buf b = BUF_INIT(MOST);
        /* empty ones too, at every place */
        packers[p](SV_LIT(""), &b);
        packers[p](SV_LIT("one\n"), &b);
        packers[p](SV_LIT(""), &b);
        packers[p](SV_LIT(""), &b);
        packers[p](SV_LIT("two\n"), &b);
        packers[p](SV_LIT("three"), &b);
        packers[p](SV_LIT(""), &b);
        gives_however_cut(buf_sv(&b), SV_LIT("one\ntwo\nthree"));
    }
    CLEANUP_BUF struct buf text = BUF_INIT(MOST), b = BUF_INIT(MOST), all = BUF_INIT(MOST);
    bytes_lines(300000, &text);
    for (int i = 0; i < 5; i++) {
        bytes_gzip(buf_sv(&text), &b);
        OK(buf_add(&all, buf_sv(&text), e));
    }
    gives(buf_sv(&b), MOST, MOST / 2, buf_sv(&all));
    gives(buf_sv(&b), 5003, 70001, buf_sv(&all));
}

TEST(unpack, zstd_frames_to_be_skipped_are_skipped)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(MOST);
    bytes_zstd(SV_LIT("one"), &b);
    /* RFC 8878 3.1.2 */
    OK(buf_add(&b, SV_LIT("\x50\x2a\x4d\x18\x05\0\0\0abcde"), e));
    bytes_zstd(SV_LIT("two"), &b);
    gives_however_cut(buf_sv(&b), SV_LIT("onetwo"));
}

/* RFC 1952 2.3: a member with these flags, one stored block, and the trailer. */
static void stored_member(unsigned char flags, sv head, sv text, struct buf *out)
{
    unsigned char fixed[10] = { 0x1F, 0x8B, 8, flags, 1, 2, 3, 4, 0, 3 };
    size_t start = out->len;
    OK(buf_add(out, sv_make(fixed, 10), e));
    OK(buf_add(out, head, e));
    /* CRC of the header */
    if (flags & 2) {
        uint32_t c = crc32_gzip_refl(0, (unsigned char *)out->ptr + start, out->len - start);
        OK(buf_add(out, sv_make((char[]){ (char)c, (char)(c >> 8) }, 2), e));
    }
    unsigned char n = (unsigned char)text.len;
    OK(buf_add(out, sv_make((char[]){ 1, (char)n, 0, (char)~n, (char)0xFF }, 5), e));
    OK(buf_add(out, text, e));
    uint32_t c = crc32_gzip_refl(0, (const unsigned char *)text.ptr, text.len);
    OK(buf_add(out,
               sv_make((char[]){ (char)c, (char)(c >> 8), (char)(c >> 16), (char)(c >> 24), (char)n,
                                 0, 0, 0 },
                       8),
               e));
}

TEST(unpack, every_field_of_a_gzip_header_is_passed_over)
{
    (void)state;
    const struct {
        unsigned char flags;
        sv head;
    } heads[] = {
        { 0, SV_LIT("") },
        { 1, SV_LIT("") },                    /* text */
        { 2, SV_LIT("") },                    /* header CRC */
        { 4, SV_LIT("\4\0abcd") },            /* extra */
        { 8, SV_LIT("Patient.ndjson\0") },    /* name */
        { 16, SV_LIT("made by a test\0") },   /* comment */
        { 31, SV_LIT("\3\0\0\0\0name\0c\0") } /* all */
    };
    CLEANUP_BUF struct buf all = BUF_INIT(MOST);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        CLEANUP_BUF struct buf b = BUF_INIT(MOST);
        stored_member(heads[i].flags, heads[i].head, SV_LIT("text\n"), &b);
        stored_member(heads[i].flags, heads[i].head, SV_LIT("more\n"), &b);
        gives_however_cut(buf_sv(&b), SV_LIT("text\nmore\n"));
        OK(buf_add(&all, buf_sv(&b), e));
    }
    bytes_gzip(SV_LIT("end"), &all);
    CLEANUP_BUF struct buf want = BUF_INIT(MOST);
    for (int i = 0; i < 7; i++)
        OK(buf_add(&want, SV_LIT("text\nmore\n"), e));
    OK(buf_add(&want, SV_LIT("end"), e));
    gives_however_cut(buf_sv(&all), buf_sv(&want));
}

/* ---- broken ---- */

static void is_broken(sv packed, size_t step, sv good)
{
    CLEANUP_BUF struct buf out = BUF_INIT(MOST);
    struct err err = { 0 };
    err_code rc = unpack_all(packed, step, 4096, &out, &err);
    if (rc != ERR_INVALID)
        fail_msg("%zu bytes in pieces of %zu: %s", packed.len, step, err_code_name(rc));
    assert_true(err.msg[0] != 0);
    /* what came was right */
    assert_true(sv_starts(good, buf_sv(&out)));
}

TEST(unpack, a_file_cut_off_anywhere_is_an_error)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(MOST);
    bytes_lines(900, &text);
    for (size_t p = 0; p < N_PACKERS; p++) {
        size_t magic = p == 0 ? 2 : 4;
        CLEANUP_BUF struct buf b = BUF_INIT(MOST), two = BUF_INIT(MOST);
        packers[p](buf_sv(&text), &b);
        for (size_t n = magic; n < b.len; n++) {
            is_broken(sv_head(buf_sv(&b), n), MOST, buf_sv(&text));
            is_broken(sv_head(buf_sv(&b), n), 5, buf_sv(&text));
        }
        /* and so is a second member or frame, from byte 1 */
        OK(buf_add(&two, buf_sv(&b), e));
        OK(buf_add(&two, buf_sv(&b), e));
        for (size_t n = b.len + 1; n < two.len; n += n < b.len + 30 ? 1 : 13) {
            CLEANUP_BUF struct buf out = BUF_INIT(MOST);
            FAILS(ERR_INVALID, unpack_all(sv_head(buf_sv(&two), n), 100, 512, &out, e));
            assert_true(out.len >= text.len);
        }
    }
}

TEST(unpack, a_wrong_bit_never_gives_wrong_bytes)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(MOST);
    bytes_lines(700, &text);
    for (size_t p = 0; p < N_PACKERS; p++) {
        CLEANUP_BUF struct buf b = BUF_INIT(MOST);
        size_t magic = p == 0 ? 2 : 4, n_seen = 0;
        packers[p](buf_sv(&text), &b);
        for (size_t bit = 8 * magic; bit < 8 * b.len; bit++) {
            CLEANUP_BUF struct buf out = BUF_INIT(MOST);
            b.ptr[bit / 8] ^= (char)(1 << bit % 8);
            err_code rc = unpack_all(buf_sv(&b), MOST, 4096, &out, NULL);
            b.ptr[bit / 8] ^= (char)(1 << bit % 8);
            /* the latter: zstd's window */
            bool seen = rc == ERR_INVALID || rc == ERR_TOO_LARGE;
            if (!seen && rc != ERR_OK)
                fail_msg("bit %zu: %s", bit, err_code_name(rc));
            if (rc == ERR_OK && !sv_eq(buf_sv(&out), buf_sv(&text)))
                fail_msg("bit %zu gives %zu other bytes", bit, out.len);
            n_seen += seen;
        }
        /* all but those of times and flags in the head */
        assert_true(n_seen > 8 * (b.len - 20));
    }
}

TEST(unpack, what_follows_the_last_member_is_an_error)
{
    (void)state;
    const sv garbage[] = {
        SV_LIT("x"),
        SV_LIT("\n"),
        SV_LIT("{\"resourceType\":\"Patient\"}\n"),
        SV_LIT("\0"),
        SV_LIT("\x1f"),
        SV_LIT("\x1f\x8c\x08\0\0\0\0\0\0\x03"),
        SV_LIT("\x28\xb5"),
        SV_LIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    };
    struct buf packed[N_PACKERS] = { BUF_INIT(MOST), BUF_INIT(MOST) };
    for (size_t p = 0; p < N_PACKERS; p++) {
        packers[p](SV_LIT("text\n"), &packed[p]);
        for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
            CLEANUP_BUF struct buf b = BUF_INIT(MOST);
            OK(buf_add(&b, buf_sv(&packed[p]), e));
            OK(buf_add(&b, garbage[i], e));
            for (size_t step = 1; step <= b.len; step++)
                is_broken(buf_sv(&b), step, SV_LIT("text\n"));
        }
    }
    /* one kind behind the other */
    for (size_t p = 0; p < N_PACKERS; p++) {
        CLEANUP_BUF struct buf b = BUF_INIT(MOST);
        OK(buf_add(&b, buf_sv(&packed[p]), e));
        OK(buf_add(&b, buf_sv(&packed[1 - p]), e));
        is_broken(buf_sv(&b), MOST, SV_LIT("text\n"));
    }
    for (size_t p = 0; p < N_PACKERS; p++)
        buf_done(&packed[p]);
}

/* ---- sources ---- */

TEST(unpack, faults_of_the_source_come_through_and_it_is_closed_once)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(MOST);
    bytes_lines(3000, &text);
    for (int p = -1; p < N_PACKERS; p++) {
        CLEANUP_BUF struct buf b = BUF_INIT(MOST);
        if (p < 0)
            OK(buf_add(&b, buf_sv(&text), e));
        else
            packers[p](buf_sv(&text), &b);
        for (size_t good = 0; good < b.len; good += good < 20 ? 1 : 61) {
            struct bytes src = { .rest = buf_sv(&b), .step = 50, .good = good, .rc = ERR_PEER };
            CLEANUP_BUF struct buf out = BUF_INIT(MOST);
            struct unpack *u = NULL;
            struct err err = { 0 };
            err_code rc = unpack_open(bytes_reader(&src), &u, &err);
            assert_true((rc == ERR_OK) == (good >= 4));
            while (rc == ERR_OK) {
                char piece[64];
                size_t n = 0;
                rc = unpack_read(u, piece, sizeof piece, &n, &err);
                if (rc == ERR_OK)
                    OK(buf_add(&out, sv_make(piece, n), e));
            }
            assert_int_equal(rc, ERR_PEER);
            assert_string_equal(err.msg, "the source failed");
            assert_true(sv_starts(buf_sv(&text), buf_sv(&out)));
            unpack_close(u);
            assert_int_equal(src.n_closed, 1);
        }
    }
}

/* gzip and zstd say "unexpected end of file" of it; packed, nothing is 20 bytes, or 13. */
TEST(unpack, an_empty_file_whose_name_says_that_it_is_packed_is_cut_off)
{
    (void)state;
    static const struct {
        const char *name;
        bool cut;
    } files[] = {
        { "a.ndjson.gz", true }, { "p/A.NDJSON.ZST", true },
        { ".gz", true },         { "a.ndjson", false },
        { "gz", false },         { "", false },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct bytes src = { .rest = SV_NONE, .step = 1 };
        CLEANUP(unpack_close) struct unpack *u = NULL;
        struct err err;
        err_code rc = unpack_open_file(bytes_reader(&src), sv_from(files[i].name), &u, &err);
        assert_int_equal(rc, files[i].cut ? ERR_INVALID : ERR_OK);
        assert_int_equal(src.n_closed, files[i].cut);
        assert_int_equal(u == NULL, files[i].cut);
        if (rc == ERR_OK) {
            char c;
            size_t n;
            assert_int_equal(unpack_read(u, &c, 1, &n, NULL), ERR_EOF);
        }
    }
    CLEANUP_BUF struct buf packed = BUF_INIT(MOST);
    for (size_t p = 0; p < 2; p++) {
        buf_clear(&packed);
        packers[p](SV_NONE, &packed);
        struct bytes src = { .rest = buf_sv(&packed), .step = 1 };
        CLEANUP(unpack_close) struct unpack *u = NULL;
        char c;
        size_t n;
        OK(unpack_open_file(bytes_reader(&src), SV_LIT("a.gz"), &u, e));
        assert_int_equal(unpack_read(u, &c, 1, &n, NULL), ERR_EOF);
    }
}

TEST(unpack, a_source_without_close_is_fine)
{
    (void)state;
    struct bytes src = { .rest = SV_LIT("abc"), .step = 1 };
    struct byte_reader r = bytes_reader(&src);
    r.close = NULL;
    struct unpack *u = NULL;
    OK(unpack_open(r, &u, e));
    unpack_close(u);
    unpack_close(NULL);
    assert_int_equal(src.n_closed, 0);
}

/* ---- bounds ---- */

/* How many plain bytes come out before the end (*rc ERR_EOF) or an error. */
static uint64_t give_out(sv packed, size_t step, uint64_t max, uint64_t free_bytes, unsigned ratio,
                         err_code *rc, struct err *e)
{
    static char piece[100000];
    struct bytes src = { .rest = packed, .step = step };
    CLEANUP(unpack_close) struct unpack *u = NULL;
    uint64_t n = 0;
    if ((*rc = unpack_open(bytes_reader(&src), &u, e)) != ERR_OK)
        return 0;
    unpack_bound(u, max, free_bytes, ratio);
    for (;;) {
        size_t got = 0;
        *rc = unpack_read(u, piece, sizeof piece, &got, e);
        if (*rc != ERR_OK)
            return n;
        n += got;
    }
}

static void bomb(unsigned packer, size_t n, struct buf *out)
{
    CLEANUP_BUF struct buf zeros = BUF_INIT(SIZE_MAX / 2);
    OK(buf_reserve(&zeros, n, e));
    memset(zeros.ptr, 'x', n);
    zeros.len = n;
    packers[packer](buf_sv(&zeros), out);
}

TEST(bound, what_unpacks_to_more_than_so_many_times_its_size_is_stopped_behind_the_first_bytes)
{
    (void)state;
    enum { N = 30 << 20, FREE = 1 << 20 };
    for (unsigned p = 0; p < N_PACKERS; p++)
        for (unsigned members = 1; members <= 3; members += 2) {
            CLEANUP_BUF struct buf b = BUF_INIT(16 * MOST);
            /* members and frames behind one another count together */
            for (unsigned i = 0; i < members; i++)
                bomb(p, N / members, &b);
            struct err err;
            err_code rc;
            /* its own, rounded down */
            unsigned ratio = (unsigned)(N / b.len);
            assert_true(ratio > 100);
            uint64_t n = give_out(buf_sv(&b), MOST, UINT64_MAX, FREE, ratio / 2, &rc, &err);
            assert_int_equal(rc, ERR_TOO_LARGE);
            assert_non_null(strstr(err.msg, "times its size"));
            assert_true(n >= FREE - 100000);
            assert_true(n < N);
            n = give_out(buf_sv(&b), 1000, UINT64_MAX, N, ratio / 2, &rc, &err);
            /* as many may come out of anything */
            assert_int_equal(rc, ERR_EOF);
            assert_int_equal(n, N / members * members);
            n = give_out(buf_sv(&b), 1000, UINT64_MAX, FREE, 2 * ratio + 10, &rc, &err);
            assert_int_equal(rc, ERR_EOF);
        }
}

TEST(bound, no_more_than_so_many_bytes_come_out_packed_or_not)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(MOST);
    struct err err;
    err_code rc;
    bytes_lines(20000, &text);
    for (unsigned p = 0; p <= N_PACKERS; p++) {
        CLEANUP_BUF struct buf b = BUF_INIT(MOST);
        if (p < N_PACKERS)
            packers[p](buf_sv(&text), &b);
        else
            OK(buf_add(&b, buf_sv(&text), e));
        assert_int_equal(give_out(buf_sv(&b), 777, text.len, UINT64_MAX, 1000, &rc, &err),
                         text.len);
        assert_int_equal(rc, ERR_EOF);
        assert_true(give_out(buf_sv(&b), 777, text.len - 1, UINT64_MAX, 1000, &rc, &err) <
                    text.len);
        assert_int_equal(rc, ERR_TOO_LARGE);
        assert_non_null(strstr(err.msg, "bytes"));
    }
}

TEST(bound, a_zstd_window_of_more_than_128_mib_is_refused_before_it_is_made)
{
    (void)state;
    /* magic number, a frame with a window and nothing else said, then one raw block of two bytes */
    char frame[] = "\x28\xB5\x2F\xFD\x00?\x11\x00\x00x\n";
    struct err err;
    for (int log = 10; log <= 41; log++) {
        CLEANUP_BUF struct buf out = BUF_INIT(MOST);
        frame[5] = (char)((log - 10) << 3);
        err_code rc = unpack_all(sv_make(frame, sizeof frame - 1), MOST, 4096, &out, &err);
        if (log <= 27) {
            assert_int_equal(rc, ERR_OK);
            assert_true(sv_eq_cstr(buf_sv(&out), "x\n"));
        } else {
            assert_int_equal(rc, ERR_TOO_LARGE);
            assert_non_null(strstr(err.msg, "128 MiB"));
        }
    }
}

TEST_MAIN(
    T(unpack, plain_bytes_come_as_they_are), T(unpack, small_files_come_out_however_they_are_cut),
    T(unpack, large_files_come_out_however_they_are_read), T(unpack, members_and_frames_are_joined),
    T(unpack, zstd_frames_to_be_skipped_are_skipped),
    T(unpack, every_field_of_a_gzip_header_is_passed_over),
    T(unpack, a_file_cut_off_anywhere_is_an_error), T(unpack, a_wrong_bit_never_gives_wrong_bytes),
    T(unpack, what_follows_the_last_member_is_an_error),
    T(unpack, faults_of_the_source_come_through_and_it_is_closed_once),
    T(unpack, an_empty_file_whose_name_says_that_it_is_packed_is_cut_off),
    T(unpack, a_source_without_close_is_fine),
    T(bound, what_unpacks_to_more_than_so_many_times_its_size_is_stopped_behind_the_first_bytes),
    T(bound, no_more_than_so_many_bytes_come_out_packed_or_not),
    T(bound, a_zstd_window_of_more_than_128_mib_is_refused_before_it_is_made))

/* Lines of a stream, whatever the pieces that it comes in. */
#include "bytes.h"

#define CAP (4u << 20)

/* All fills of text, read in pieces of `step` bytes; "~" stands for a line that was too long. */
static void lines(const char *text, size_t step, size_t max_line, size_t target, const char *want)
{
    struct bytes src = { .rest = sv_from(text), .step = step };
    struct unpack *u;
    struct ndjson_reader *r;
    struct buf got = BUF_INIT(CAP);
    uint64_t n;
    bool too_long;
    err_code rc;
    OK(unpack_open(bytes_reader(&src), &u, e));
    OK(ndjson_open(u, 0, max_line, &r, e));
    do {
        n = 0;
        too_long = false;
        struct err why = { 0 };
        rc = ndjson_fill(r, target, &got, &n, &too_long, &why);
        if (too_long)
            OK(buf_add_char(&got, '~', e));
    } while (rc == ERR_OK);
    if (rc != ERR_EOF || !sv_eq_cstr(buf_sv(&got), want))
        fail_msg("step %zu: %s, '%.*s'", step, err_code_name(rc), SV_FMT(buf_sv(&got)));
    assert_int_equal(ndjson_offset(r), strlen(text) + (text[0] && text[strlen(text) - 1] != '\n'));
    ndjson_close(r);
    unpack_close(u);
    buf_done(&got);
}

TEST(ndjson, lines_come_whole_whatever_the_pieces)
{
    (void)state;
    for (size_t step = 1; step < 12; step++) {
        lines("{\"a\":1}\n\n{}\n", step, 100, 1, "{\"a\":1}\n\n{}\n");
        lines("{\"a\":1}\n\n{}\n", step, 100, 1000, "{\"a\":1}\n\n{}\n");
    }
}

TEST(ndjson, the_last_line_gets_its_newline)
{
    (void)state;
    lines("{}\n{\"b\":2}", 3, 100, 1000, "{}\n{\"b\":2}\n");
    lines("", 3, 100, 1000, "");
}

TEST(ndjson, a_line_that_is_too_long_is_passed_over_and_told_where_it_stood)
{
    (void)state;
    /* as with lines that are longer than a read of the real size */
    for (size_t step = 1; step < 14; step++)
        lines("{}\n0123456789abcdef\n[]\n", step, 10, 1000, "{}\n~[]\n");
}

/* All fills of text with a pause at 10 bytes; "|" stands in front of a line that one paused at. */
static void pauses(const char *text, size_t step, const char *want)
{
    struct bytes src = { .rest = sv_from(text), .step = step };
    struct unpack *u;
    struct ndjson_reader *r;
    struct buf got = BUF_INIT(CAP), line = BUF_INIT(CAP);
    uint64_t n = 0, n_lines = 0;
    bool too_long;
    err_code rc;
    OK(unpack_open(bytes_reader(&src), &u, e));
    OK(ndjson_open(u, 0, 20, &r, e));
    ndjson_pause(r, 10);
    do {
        struct err why = { 0 };
        bool paused = ndjson_is_paused(r);
        n = 0;
        too_long = false;
        buf_clear(&line);
        rc = ndjson_fill(r, 1000, &line, &n, &too_long, &why);
        OK(buf_add(&got, buf_sv(&line), e));
        n_lines += n;
        if (paused)
            assert_true(rc == ERR_OK && n + too_long == 1);
        if (too_long)
            OK(buf_add_char(&got, '~', e));
        if (ndjson_is_paused(r))
            OK(buf_add_char(&got, '|', e));
    } while (rc == ERR_OK);
    assert_int_equal(rc, ERR_EOF);
    assert_sv(buf_sv(&got), sv_from(want));
    size_t newlines = 0;
    for (const char *p = want; *p; p++)
        newlines += *p == '\n';
    assert_int_equal(n_lines, newlines);
    assert_int_equal(ndjson_offset(r), strlen(text) + (text[strlen(text) - 1] != '\n'));
    ndjson_close(r);
    unpack_close(u);
    buf_done(&got);
    buf_done(&line);
}

TEST(ndjson, a_fill_pauses_in_front_of_a_long_line_and_the_next_one_brings_it_alone)
{
    (void)state;
    for (size_t step = 1; step < 4; step++) {
        pauses("{}\n0123456789abcde\n[]\n", step, "{}\n|0123456789abcde\n[]\n");
        pauses("0123456789abcde\n0123456789ABCDE\n", step, "|0123456789abcde\n|0123456789ABCDE\n");
        /* the last one without its newline; one that is too long as well */
        pauses("a\n0123456789abcde", step, "a\n|0123456789abcde\n");
        pauses("a\n0123456789abcdefghijklmnop\nb\n", step, "a\n|~b\n");
        pauses("0123456789abcdefghijklmnop\n", step, "|~");
        pauses("0123456789\na\n", step, "0123456789\na\n");
    }
}

TEST(ndjson, the_fill_behind_a_pause_changes_memory_where_it_can_and_else_copies)
{
    (void)state;
    static const char text[] = "0123456789abcde\nnext\n0123456789ABCDE\n";
    for (int full = 0; full < 2; full++) {
        struct bytes src = { .rest = sv_make(text, sizeof text - 1), .step = 7 };
        struct unpack *u;
        struct ndjson_reader *r;
        struct buf got = BUF_INIT(CAP);
        uint64_t n;
        bool too_long;
        OK(unpack_open(bytes_reader(&src), &u, e));
        OK(ndjson_open(u, 0, 20, &r, e));
        ndjson_pause(r, 10);
        if (full)
            OK(buf_add(&got, SV_LIT("here: "), e));
        for (int i = 0; i < 5; i++)
            OK(ndjson_fill(r, 1, &got, &n, &too_long, e));
        assert_sv(sv_tail(buf_sv(&got), full ? 6 : 0), sv_make(text, sizeof text - 1));
        assert_int_equal(ndjson_offset(r), sizeof text - 1);
        ndjson_close(r);
        unpack_close(u);
        buf_done(&got);
    }
}

TEST(ndjson, an_offset_is_where_another_reader_goes_on)
{
    (void)state;
    static const char text[] = "one\ntwo\nthree\n";
    for (size_t skip = 0; skip <= sizeof text - 1; skip += 4) {
        struct bytes src = { .rest = sv_make(text, sizeof text - 1), .step = 5 };
        struct buf got = BUF_INIT(CAP);
        struct unpack *u;
        struct ndjson_reader *r;
        uint64_t n = 0;
        bool too_long = false;
        struct err why;
        OK(unpack_open(bytes_reader(&src), &u, e));
        OK(ndjson_open(u, skip, 100, &r, e));
        while (ndjson_fill(r, 1000, &got, &n, &too_long, &why) == ERR_OK)
            ;
        assert_true(sv_eq_cstr(buf_sv(&got), text + skip));
        assert_int_equal(ndjson_offset(r), sizeof text - 1);
        ndjson_close(r);
        unpack_close(u);
        buf_done(&got);
    }
}

TEST(ndjson, an_input_that_is_shorter_than_its_offset_is_refused)
{
    (void)state;
    struct bytes src = { .rest = SV_LIT("{}\n"), .step = 2 };
    struct unpack *u;
    struct ndjson_reader *r = NULL;
    OK(unpack_open(bytes_reader(&src), &u, e));
    FAILS(ERR_INVALID, ndjson_open(u, 9, 100, &r, e));
    assert_null(r);
    unpack_close(u);
}

TEST(ndjson, a_byte_order_mark_in_front_is_passed_over)
{
    (void)state;
    struct bytes src = { .rest = SV_LIT("\xEF\xBB\xBF{}\n"), .step = 1 };
    struct unpack *u;
    struct ndjson_reader *r;
    struct buf got = BUF_INIT(CAP);
    uint64_t n = 0;
    bool too_long = false;
    OK(unpack_open(bytes_reader(&src), &u, e));
    OK(ndjson_open(u, 0, 100, &r, e));
    OK(ndjson_skip_mark(r, e));
    OK(ndjson_fill(r, 1000, &got, &n, &too_long, e));
    assert_true(sv_eq_cstr(buf_sv(&got), "{}\n"));
    ndjson_close(r);
    unpack_close(u);
    buf_done(&got);
}

TEST(ndjson, a_source_that_fails_says_why)
{
    (void)state;
    struct bytes src = { .rest = SV_LIT("{}\n{}\n"), .step = 2, .good = 4, .rc = ERR_PEER };
    struct unpack *u;
    struct ndjson_reader *r;
    struct buf got = BUF_INIT(CAP);
    uint64_t n = 0;
    bool too_long = false;
    struct err why;
    err_code rc;
    OK(unpack_open(bytes_reader(&src), &u, e));
    OK(ndjson_open(u, 0, 100, &r, e));
    while ((rc = ndjson_fill(r, 1, &got, &n, &too_long, &why)) == ERR_OK)
        ;
    assert_int_equal(rc, ERR_PEER);
    ndjson_close(r);
    unpack_close(u);
    buf_done(&got);
}

TEST(ndjson, a_window_is_cut_into_lines_without_their_ends)
{
    (void)state;
    sv rest = SV_LIT("a\r\n\nb"), line;
    assert_true(ndjson_line(&rest, &line));
    assert_true(sv_eq_cstr(line, "a"));
    assert_true(ndjson_line(&rest, &line));
    assert_int_equal(line.len, 0);
    assert_true(ndjson_line(&rest, &line));
    assert_true(sv_eq_cstr(line, "b"));
    assert_false(ndjson_line(&rest, &line));
}

TEST_MAIN(T(ndjson, lines_come_whole_whatever_the_pieces),
          T(ndjson, the_last_line_gets_its_newline),
          T(ndjson, a_line_that_is_too_long_is_passed_over_and_told_where_it_stood),
          T(ndjson, a_fill_pauses_in_front_of_a_long_line_and_the_next_one_brings_it_alone),
          T(ndjson, the_fill_behind_a_pause_changes_memory_where_it_can_and_else_copies),
          T(ndjson, an_offset_is_where_another_reader_goes_on),
          T(ndjson, an_input_that_is_shorter_than_its_offset_is_refused),
          T(ndjson, a_byte_order_mark_in_front_is_passed_over),
          T(ndjson, a_source_that_fails_says_why),
          T(ndjson, a_window_is_cut_into_lines_without_their_ends))

/* test_sink.c - a file that stands nowhere says what the object would be. */
#include "test.h"

#include "codec/hash.h"
#include "sink/sink_private.h"

#define BYTES 300000u

static char text[BYTES], other[BYTES];

static void set_texts(void)
{
    for (size_t i = 0; i < BYTES; i++) {
        text[i] = (char)('a' + i * i % 23);
        other[i] = (char)('A' + i * 7 % 19);
    }
}

static void ends_as(struct sink_file **f, sv want)
{
    struct sink_sending *sending;
    struct sink_object object;
    struct sink_mark mark;
    unsigned char d[SHA256_LEN];
    uint64_t bytes;
    OK(sink_file_send(f, &bytes, &sending, e));
    assert_null(*f);
    assert_true(sink_sending_is_over(sending));
    OK(sink_sending_wait(&sending, &object, &mark, e));
    hash_sha256_of(want, d);
    assert_memory_equal(object.sha256, d, sizeof d);
    assert_int_equal(object.bytes, want.len);
    assert_int_equal(bytes, want.len);
    /* it stands nowhere */
    assert_int_equal(mark.len, 0);
}

TEST(sink, a_file_that_stands_nowhere_has_the_digest_of_what_was_written)
{
    (void)state;
    set_texts();
    for (size_t n = 0; n <= BYTES; n += n < 3 ? 1 : 99999) {
        struct sink_file *f = sink_file_nowhere();
        for (size_t at = 0; at < n; at += 70001)
            OK(sink_file_write(f, sv_head(sv_make(text + at, n - at), 70001), e));
        ends_as(&f, sv_make(text, n));
    }
    /* one that is given up */
    struct sink_file *f = sink_file_nowhere();
    OK(sink_file_write(f, sv_make(text, 10), e));
    sink_file_abort(f);
}

TEST(sink, two_such_files_digested_side_by_side_are_as_two_alone)
{
    (void)state;
    set_texts();
    struct sink_file *f = sink_file_nowhere(), *g = sink_file_nowhere();
    for (size_t at = 0; at < BYTES; at += SINK_WRITE_UNIT) {
        sv x = sv_head(sv_make(text + at, BYTES - at), SINK_WRITE_UNIT);
        sv y = sv_head(sv_make(other + at, BYTES - at), SINK_WRITE_UNIT / 2);
        sink_files_digest(f, x, g, y);
        OK(sink_file_write(f, x, e));
        OK(sink_file_write(g, y, e));
        /* not ahead of what is written */
        OK(sink_file_write(
            g, sv_tail(sv_head(sv_make(other + at, BYTES - at), SINK_WRITE_UNIT), y.len), e));
    }
    ends_as(&f, sv_make(text, BYTES));
    ends_as(&g, sv_make(other, BYTES));
}

TEST_MAIN(T(sink, a_file_that_stands_nowhere_has_the_digest_of_what_was_written),
          T(sink, two_such_files_digested_side_by_side_are_as_two_alone))

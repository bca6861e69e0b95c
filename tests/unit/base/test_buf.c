#include "test.h"

#include "base/buf.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

TEST(buf, what_is_added_stands_in_order)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(1000);
    assert_int_equal(buf_sv(&b).len, 0);
    OK(buf_add(&b, SV_LIT("ab\0c"), e));
    OK(buf_add_char(&b, '|', e));
    OK(buf_add_fmt(&b, e, "%d-%s", 42, "x"));
    OK(buf_add(&b, SV_NONE, e));
    OK(buf_add_fmt(&b, e, "%s", ""));
    assert_sv(buf_sv(&b), SV_LIT("ab\0c|42-x"));
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    OK(buf_add(&b, SV_LIT("z"), e));
    assert_sv(buf_sv(&b), SV_LIT("z"));
}

TEST(buf, the_cap_holds_for_every_size_and_step)
{
    (void)state;
    for (size_t max = 0; max < 1100; max += max < 20 ? 1 : 59) {
        for (size_t step = 1; step <= 26; step += 5) {
            CLEANUP_BUF struct buf b = BUF_INIT(max);
            size_t n = 0;
            while (n + step <= max) {
                OK(buf_add(&b, sv_make(letters, step), e));
                n += step;
            }
            FAILS(ERR_TOO_LARGE, buf_add(&b, sv_make(letters, step), e));
            /* as it was */
            assert_int_equal(b.len, n);
            assert_true(b.cap <= max);
            for (; n < max; n++)
                OK(buf_add_char(&b, 'z', e));
            FAILS(ERR_TOO_LARGE, buf_add_char(&b, 'z', e));
            /* nothing fits always */
            OK(buf_add(&b, SV_NONE, e));
            assert_int_equal(b.len, max);
        }
    }
}

TEST(buf, refusals_say_how_much_is_allowed)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(5);
    struct err err = { 0 };
    OK(buf_add(&b, SV_LIT("abc"), e));
    assert_int_equal(buf_add(&b, SV_LIT("def"), &err), ERR_TOO_LARGE);
    assert_non_null(strstr(err.msg, "5 bytes"));
    assert_int_equal(buf_add(&b, SV_LIT("def"), NULL), ERR_TOO_LARGE);
    assert_sv(buf_sv(&b), SV_LIT("abc"));
}

TEST(buf, formatted_text_that_does_not_fit_adds_nothing)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(300);
    OK(buf_add(&b, SV_LIT("ab"), e));
    FAILS(ERR_TOO_LARGE, buf_add_fmt(&b, e, "%0299d", 7));
    assert_sv(buf_sv(&b), SV_LIT("ab"));
    /* and room for a NUL behind it */
    OK(buf_add_fmt(&b, e, "%0297d", 7));
    assert_int_equal(b.len, 299);
    assert_int_equal(b.ptr[298], '7');
}

TEST(buf, sizes_that_overflow_are_refused)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(SIZE_MAX);
    OK(buf_add(&b, SV_LIT("abc"), e));
    FAILS(ERR_TOO_LARGE, buf_reserve(&b, SIZE_MAX, e));
    FAILS(ERR_TOO_LARGE, buf_reserve(&b, SIZE_MAX - 2, e));
    assert_sv(buf_sv(&b), SV_LIT("abc"));
    CLEANUP_BUF struct buf small = BUF_INIT(100);
    FAILS(ERR_TOO_LARGE, buf_reserve(&small, SIZE_MAX, e));
    FAILS(ERR_TOO_LARGE, buf_reserve(&small, 101, e));
    assert_null(small.ptr);
}

TEST(buf, reserved_room_may_be_written)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(70000);
    OK(buf_add(&b, SV_LIT("head"), e));
    OK(buf_reserve(&b, 69996, e));
    assert_true(b.cap - b.len >= 69996);
    assert_int_equal(b.len, 4);
    memset(b.ptr + b.len, 'x', 69996);
    b.len += 69996;
    assert_sv(sv_head(buf_sv(&b), 6), SV_LIT("headxx"));
    FAILS(ERR_TOO_LARGE, buf_reserve(&b, 1, e));
    OK(buf_reserve(&b, 0, e));
}

TEST(buf, growing_keeps_what_is_there)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    for (size_t i = 0; i < 100000; i++)
        OK(buf_add_char(&b, letters[i % 26], e));
    for (size_t i = 0; i < 100000; i++)
        if (b.ptr[i] != letters[i % 26])
            fail_msg("byte %zu changed", i);
    assert_true(b.cap <= b.max);
}

TEST(buf, shrinking_gives_memory_back_above_a_size)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    OK(buf_reserve(&b, 1000, e));
    size_t cap = b.cap;
    buf_shrink(&b, cap);
    assert_int_equal(b.cap, cap);
    assert_int_equal(b.len, 0);
    buf_shrink(&b, cap - 1);
    assert_null(b.ptr);
    assert_int_equal(b.cap, 0);
    /* and may be used on */
    OK(buf_add(&b, SV_LIT("again"), e));
    assert_sv(buf_sv(&b), SV_LIT("again"));
}

TEST(buf, done_takes_null_and_zeroes)
{
    (void)state;
    struct buf b = { 0 };
    buf_done(NULL);
    buf_done(&b);
    buf_init(&b, 10);
    OK(buf_add(&b, SV_LIT("x"), e));
    buf_done(&b);
    assert_null(b.ptr);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

TEST_MAIN(T(buf, what_is_added_stands_in_order), T(buf, the_cap_holds_for_every_size_and_step),
          T(buf, refusals_say_how_much_is_allowed),
          T(buf, formatted_text_that_does_not_fit_adds_nothing),
          T(buf, sizes_that_overflow_are_refused), T(buf, reserved_room_may_be_written),
          T(buf, growing_keeps_what_is_there), T(buf, shrinking_gives_memory_back_above_a_size),
          T(buf, done_takes_null_and_zeroes))

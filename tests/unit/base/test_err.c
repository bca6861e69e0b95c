/* The one error type: raised, given context, handed on. */
#include "test.h"

#include "base/err.h"

#include <errno.h>

TEST(err, raised_it_holds_code_message_and_place_and_no_context)
{
    (void)state;
    struct err e = { .ctx = "of an error before" };
    assert_int_equal(ERR(&e, ERR_CONFLICT, "version is %d", 7), ERR_CONFLICT);
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_string_equal(e.msg, "version is 7");
    assert_string_equal(e.ctx, "");
    assert_non_null(strstr(e.file, "test_err.c"));
    assert_int_equal(ERR(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

TEST(err, context_is_put_in_front_and_the_message_stays)
{
    (void)state;
    struct err e;
    assert_int_equal(ERR(&e, ERR_IO, "disk"), ERR_IO);
    err_context(&e, "range %d", 4);
    err_context(&e, "export 7f3a");
    assert_string_equal(e.msg, "disk");
    assert_string_equal(e.ctx, "export 7f3a: range 4");
    err_context(NULL, "nobody listens");
}

TEST(err, what_is_too_long_is_cut_between_two_characters)
{
    (void)state;
    struct err e;
    char text[2 * ERR_MSG_LEN + 2] = "";
    /* so that the cut would come inside a character of two bytes */
    text[0] = 'x';
    for (size_t i = 1; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    assert_int_equal(ERR(&e, ERR_INVALID, "%s", text), ERR_INVALID);
    assert_int_equal(strlen(e.msg), ERR_MSG_LEN - 1);
    assert_int_equal(ERR(&e, ERR_INVALID, "%s", text + 1), ERR_INVALID);
    assert_int_equal(strlen(e.msg), ERR_MSG_LEN - 2);
}

TEST(err, handed_on_it_is_whole_and_its_code_is_the_answer)
{
    (void)state;
    struct err why, e = { 0 };
    assert_int_equal(ERR(&why, ERR_DENIED, "not yours"), ERR_DENIED);
    err_context(&why, "bucket b");
    assert_int_equal(err_pass(&e, &why), ERR_DENIED);
    assert_int_equal(e.code, ERR_DENIED);
    assert_string_equal(e.msg, "not yours");
    assert_string_equal(e.ctx, "bucket b");
    assert_int_equal(err_pass(NULL, &why), ERR_DENIED);
}

TEST(err, every_code_has_a_name)
{
    (void)state;
    for (int c = 0; c < ERR_N_CODES; c++)
        assert_string_not_equal(err_code_name((err_code)c), "unknown");
    assert_string_equal(err_code_name(ERR_N_CODES), "unknown");
    assert_string_equal(err_code_name(ERR_NOT_FOUND), "not_found");
}

TEST(err, an_errno_value_has_its_code)
{
    (void)state;
    assert_int_equal(err_from_errno(ENOSPC), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(EROFS), ERR_DENIED);
    assert_int_equal(err_from_errno(EEXIST), ERR_EXISTS);
    assert_int_equal(err_from_errno(ETIMEDOUT), ERR_TIMEOUT);
    assert_int_equal(err_from_errno(EPIPE), ERR_IO);
}

TEST_MAIN(T(err, raised_it_holds_code_message_and_place_and_no_context),
          T(err, context_is_put_in_front_and_the_message_stays),
          T(err, what_is_too_long_is_cut_between_two_characters),
          T(err, handed_on_it_is_whole_and_its_code_is_the_answer), T(err, every_code_has_a_name),
          T(err, an_errno_value_has_its_code))

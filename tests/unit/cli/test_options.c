/* Options of a command: every way to write one, and every way to write it wrong. */
#include "test.h"

#include "cli/options.h"

struct given {
    const char *name, *to;
    bool quiet;
};
static const struct cli_option table[] = {
    { "name", "TEXT", "a name", offsetof(struct given, name) },
    { "to", "URL", "where to", offsetof(struct given, to) },
    { "quiet", NULL, "say nothing", offsetof(struct given, quiet) },
};

struct read {
    struct given given;
    const char *args[2];
    size_t n_args;
    bool help;
    struct err e;
};
#define READ(r, ...)                                                                             \
    cli_options_read(table, 3, (int)(sizeof((char *[]){ "cmd", __VA_ARGS__ }) / sizeof(char *)), \
                     (char *[]){ "cmd", __VA_ARGS__ }, &(r)->given, (r)->args, 2, &(r)->n_args,  \
                     &(r)->help, &(r)->e)

TEST(options, a_value_stands_behind_a_blank_or_an_equals_sign)
{
    (void)state;
    struct read r = { 0 };
    assert_int_equal(READ(&r, "--name", "a b", "--to=x=y", "--quiet"), ERR_OK);
    assert_string_equal(r.given.name, "a b");
    assert_string_equal(r.given.to, "x=y");
    assert_true(r.given.quiet);
    assert_int_equal(r.n_args, 0);
}

TEST(options, what_is_no_option_is_an_argument_and_there_may_be_too_many)
{
    (void)state;
    struct read r = { 0 };
    assert_int_equal(READ(&r, "one", "--quiet", "two"), ERR_OK);
    assert_int_equal(r.n_args, 2);
    assert_string_equal(r.args[0], "one");
    assert_string_equal(r.args[1], "two");
    assert_int_equal(READ(&r, "one", "two", "three"), ERR_INVALID);
    assert_string_equal(r.e.msg, "\"three\" is one argument too many; see fhirlake cmd --help");
}

TEST(options, what_is_not_known_or_has_no_value_is_named)
{
    (void)state;
    struct read r = { 0 };
    assert_int_equal(READ(&r, "--nam=x"), ERR_INVALID);
    assert_string_equal(r.e.msg, "option --nam is not known; see fhirlake cmd --help");
    assert_int_equal(READ(&r, "--name"), ERR_INVALID);
    assert_string_equal(r.e.msg, "--name needs a value: TEXT");
    assert_int_equal(READ(&r, "--to="), ERR_INVALID);
    assert_string_equal(r.e.msg, "--to needs a value: URL");
    assert_int_equal(READ(&r, "--quiet=yes"), ERR_INVALID);
    assert_string_equal(r.e.msg, "--quiet takes no value");
    assert_int_equal(READ(&r, "--to=a", "--quiet", "--quiet", "--to", "b"), ERR_INVALID);
    assert_string_equal(r.e.msg, "--to is given twice");
}

TEST(options, help_wins_over_whatever_else_is_wrong)
{
    (void)state;
    struct read r = { 0 };
    assert_int_equal(READ(&r, "--nam", "--help"), ERR_OK);
    assert_true(r.help);
    assert_int_equal(READ(&r, "-h"), ERR_OK);
    assert_true(r.help);
    assert_int_equal(READ(&r, "--quiet"), ERR_OK);
    assert_false(r.help);
}

TEST_MAIN(T(options, a_value_stands_behind_a_blank_or_an_equals_sign),
          T(options, what_is_no_option_is_an_argument_and_there_may_be_too_many),
          T(options, what_is_not_known_or_has_no_value_is_named),
          T(options, help_wins_over_whatever_else_is_wrong))

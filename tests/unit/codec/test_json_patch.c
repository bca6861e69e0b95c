/* The cases of RFC 6902, appendix A, and what a resource needs beside them. */
#include "test.h"

#include "codec/json_patch.h"

#define DEPTH 64u

static void patch(const char *target, const char *operations, err_code want, const char *result)
{
    struct arena *a = arena_new(4 << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1 << 20);
    const struct json_patch_limits limits = { DEPTH, 0 };
    yyjson_doc *t, *p;
    OK(json_read(a, sv_from(target), 64, &t, e));
    OK(json_read(a, sv_from(operations), 64, &p, e));
    if (want == ERR_OK) {
        OK(json_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), a, &limits, &out, e));
        if (result)
            assert_sv(buf_sv(&out), sv_from(result));
    } else {
        FAILS(want,
              json_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), a, &limits, &out, e));
        assert_int_equal(out.len, 0);
    }
    arena_free(a);
}

TEST(json_patch, does_what_the_rfc_shows)
{
    (void)state;
    patch("{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]", ERR_OK,
          "{\"foo\":\"bar\",\"baz\":\"qux\"}");
    patch("{\"foo\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":3}]", ERR_OK,
          "{\"foo\":[1,3,2]}");
    patch("{\"a\":1,\"b\":2}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", ERR_OK, "{\"b\":2}");
    patch("{\"a\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/a/1\"}]", ERR_OK, "{\"a\":[1,3]}");
    patch("{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":2.50}]", ERR_OK,
          "{\"a\":2.50}");
    patch("{\"foo\":{\"bar\":\"baz\",\"waldo\":\"fred\"},\"qux\":{\"corge\":\"grault\"}}",
          "[{\"op\":\"move\",\"from\":\"/foo/waldo\",\"path\":\"/qux/thud\"}]", ERR_OK,
          "{\"foo\":{\"bar\":\"baz\"},\"qux\":{\"corge\":\"grault\",\"thud\":\"fred\"}}");
    patch("{\"foo\":[1,2,3,4]}", "[{\"op\":\"move\",\"from\":\"/foo/1\",\"path\":\"/foo/3\"}]",
          ERR_OK, "{\"foo\":[1,3,4,2]}");
    patch("{\"a\":\"b\"}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":\"b\"}]", ERR_OK,
          "{\"a\":\"b\"}");
    patch("{\"a\":{}}", "[{\"op\":\"add\",\"path\":\"/a/b\",\"value\":{\"c\":null}}]", ERR_OK,
          "{\"a\":{\"b\":{\"c\":null}}}");
    patch("{\"/\":9,\"~1\":10}", "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":10}]", ERR_OK,
          "{\"/\":9,\"~1\":10}");
    patch("{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":[2]}]", ERR_OK,
          "{\"a\":[1,[2]]}");
    patch("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":2}]", ERR_OK, "{\"a\":2}");
    patch("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"\",\"value\":{\"b\":2}}]", ERR_OK, "{\"b\":2}");
}

TEST(json_patch, tests_values_and_not_their_spelling)
{
    (void)state;
    static const char *const target =
        "{\"a\":{\"n\":1.10,\"l\":[0.0,{\"x\":\"\\u0041\"}]},\"s\":\"1.10\"}";
    static const struct {
        const char *path, *value;
        err_code want;
    } cases[] = {
        { "/a/n", "1.1", ERR_OK },
        { "/a/n", "110e-2", ERR_OK },
        { "/a/n", "1.100000000000000000001", ERR_UNPROCESSABLE },
        { "/a/n", "\"1.10\"", ERR_UNPROCESSABLE },
        { "/s", "1.10", ERR_UNPROCESSABLE },
        { "/s", "\"1.1\"", ERR_UNPROCESSABLE },
        { "/a", "{\"l\":[-0,{\"x\":\"A\"}],\"n\":0.11e1}", ERR_OK },
        { "/a/l", "[{\"x\":\"A\"},0]", ERR_UNPROCESSABLE },
        { "", "{\"s\":\"1.10\",\"a\":{\"n\":1.1,\"l\":[0,{\"x\":\"A\"}]}}", ERR_OK },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char op[256];
        (void)snprintf(op, sizeof op, "[{\"op\":\"test\",\"path\":\"%s\",\"value\":%s}]",
                       cases[i].path, cases[i].value);
        patch(target, op, cases[i].want, NULL);
    }
}

TEST(json_patch, refuses_what_cannot_be_applied)
{
    (void)state;
    static const char *const cannot[] = {
        "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]",
        "[{\"op\":\"test\",\"path\":\"/a\",\"value\":\"1\"}]",
        "[{\"op\":\"add\",\"path\":\"/b/c\",\"value\":2}]",
        "[{\"op\":\"add\",\"path\":\"/a/c\",\"value\":2}]",
        "[{\"op\":\"add\",\"path\":\"/l/3\",\"value\":2}]",
        "[{\"op\":\"add\",\"path\":\"/l/x\",\"value\":2}]",
        "[{\"op\":\"add\",\"path\":\"/l/01\",\"value\":2}]",
        "[{\"op\":\"remove\",\"path\":\"/l/2\"}]",
        "[{\"op\":\"remove\",\"path\":\"\"}]",
        "[{\"op\":\"replace\",\"path\":\"/none\",\"value\":2}]",
        "[{\"op\":\"move\",\"from\":\"/none\",\"path\":\"/a\"}]",
        "[{\"op\":\"move\",\"from\":\"/l\",\"path\":\"/l/0\"}]",
        "[{\"op\":\"copy\",\"from\":\"/none\",\"path\":\"/a\"}]",
        "[{\"op\":\"remove\",\"path\":\"/a\"},{\"op\":\"remove\",\"path\":\"/a\"}]",
    };
    for (size_t i = 0; i < sizeof cannot / sizeof cannot[0]; i++)
        patch("{\"a\":1,\"l\":[1,2]}", cannot[i], ERR_UNPROCESSABLE, NULL);
    static const char *const broken[] = { "{}",
                                          "[1]",
                                          "[{\"op\":\"spam\",\"path\":\"/a\"}]",
                                          "[{\"op\":\"add\",\"value\":1}]",
                                          "[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]",
                                          "[{\"op\":\"add\",\"path\":\"/~2\",\"value\":1}]",
                                          "[{\"op\":\"add\",\"path\":\"/a\"}]",
                                          "[{\"op\":\"move\",\"path\":\"/a\"}]",
                                          "[{\"op\":\"copy\",\"path\":\"/a\",\"from\":7}]" };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        patch("{\"a\":1,\"l\":[1,2]}", broken[i], ERR_INVALID, NULL);
}

/* n operations that differ by their number alone. */
static void many(struct buf *out, unsigned n, const char *front, const char *back, bool numbered)
{
    for (unsigned i = 0; i < n; i++) {
        OK(buf_add_fmt(out, e, "%s%s", i ? "," : "[", front));
        if (numbered)
            OK(buf_add_fmt(out, e, "%u", i));
        OK(buf_add(out, sv_from(back), e));
    }
    OK(buf_add(out, sv_make("]\0", 2), e));
}

TEST(json_patch, ends_where_copies_double_the_resource_over_and_over)
{
    (void)state;
    CLEANUP_BUF struct buf wide = BUF_INIT(1 << 20), list = BUF_INIT(1 << 20),
                           text = BUF_INIT(1 << 20);
    many(&wide, 60, "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b", "\"}", true);
    /* each of these is small */
    patch("{\"a\":[{\"b\":1}]}", wide.ptr, ERR_OK, NULL);
    buf_clear(&wide);
    many(&wide, 60, "{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a", "\"}", true);
    patch("{\"a\":[{\"b\":1}]}", wide.ptr, ERR_TOO_LARGE, NULL);
    many(&list, 60, "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/", "\"}", true);
    patch("{\"a\":[]}", list.ptr, ERR_TOO_LARGE, NULL);
    /* what replaces its like over and over takes its room each time */
    many(&text, 1000, "{\"op\":\"copy\",\"from\":\"/long\",\"path\":\"/same", "\"}", false);
    CLEANUP_BUF struct buf target = BUF_INIT(1 << 20);
    OK(buf_add_fmt(&target, e, "{\"long\":\"%0*d\"}", 100000, 0));
    OK(buf_add_char(&target, 0, e));
    patch(target.ptr, text.ptr, ERR_TOO_LARGE, NULL);
}

TEST(json_patch, never_nests_deeper_than_is_allowed)
{
    (void)state;
    CLEANUP_BUF struct buf into_itself = BUF_INIT(1 << 20), step = BUF_INIT(1 << 20),
                           moves = BUF_INIT(1 << 20), values = BUF_INIT(1 << 20);
    struct err ignored;
    /* each copy of the whole into its deepest place doubles the depth */
    IGNORE(buf_add(&into_itself, SV_LIT("["), &ignored));
    for (unsigned i = 0, depth = 1; i < 12; i++, depth *= 2) {
        IGNORE(buf_add_fmt(&into_itself, &ignored, "%s{\"op\":\"copy\",\"from\":\"\",\"path\":\"",
                           i ? "," : ""));
        for (unsigned k = 0; k < depth; k++)
            IGNORE(buf_add(&into_itself, SV_LIT("/a"), &ignored));
        IGNORE(buf_add(&into_itself, SV_LIT("\"}"), &ignored));
    }
    IGNORE(buf_add(&into_itself, sv_make("]\0", 2), &ignored));
    patch("{}", into_itself.ptr, ERR_TOO_LARGE, NULL);
    /* one level a time, by add, by replace and by move */
    const char *const ops[] = { "add", "replace" };
    for (size_t o = 0; o < 2; o++) {
        char path[400] = "/a";
        buf_clear(&step);
        for (unsigned i = 0; i < 100; i++) {
            OK(buf_add_fmt(&step, e, "%s{\"op\":\"%s\",\"path\":\"%s\",\"value\":{\"a\":{}}}",
                           i ? "," : "[", ops[o], path));
            memcpy(path + 2 + 2 * i, "/a", 3);
        }
        OK(buf_add(&step, sv_make("]\0", 2), e));
        patch("{\"a\":{}}", step.ptr, ERR_TOO_LARGE, NULL);
    }
    /* a value of 40 levels may stand below 20 others, and not below 30 */
    OK(buf_add(&values, SV_LIT("{\"deep\":"), e));
    for (unsigned i = 0; i < 40; i++)
        OK(buf_add(&values, SV_LIT("["), e));
    for (unsigned i = 0; i < 40; i++)
        OK(buf_add(&values, SV_LIT("]"), e));
    OK(buf_add(&values, SV_LIT(",\"x\":"), e));
    for (unsigned i = 0; i < 30; i++)
        OK(buf_add(&values, SV_LIT("{\"y\":"), e));
    OK(buf_add(&values, SV_LIT("1"), e));
    for (unsigned i = 0; i < 31; i++)
        OK(buf_add(&values, SV_LIT("}"), e));
    OK(buf_add_char(&values, 0, e));
    OK(buf_add(&moves, SV_LIT("[{\"op\":\"move\",\"from\":\"/deep\",\"path\":\"/x"), e));
    for (unsigned i = 0; i < 30; i++)
        OK(buf_add(&moves, SV_LIT("/y"), e));
    OK(buf_add(&moves, sv_make("\"}]\0", 4), e));
    patch(values.ptr, moves.ptr, ERR_TOO_LARGE, NULL);
}

TEST(json_patch, is_given_up_when_its_time_is_over)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1 << 20);
    const struct json_patch_limits limits = { DEPTH, 1 };
    yyjson_doc *t, *p;
    OK(json_read(a, SV_LIT("{}"), DEPTH, &t, e));
    OK(json_read(a, SV_LIT("[{\"op\":\"test\",\"path\":\"\",\"value\":{}}]"), DEPTH, &p, e));
    FAILS(ERR_TIMEOUT,
          json_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), a, &limits, &out, e));
    arena_free(a);
}

TEST_MAIN(T(json_patch, does_what_the_rfc_shows),
          T(json_patch, tests_values_and_not_their_spelling),
          T(json_patch, refuses_what_cannot_be_applied),
          T(json_patch, ends_where_copies_double_the_resource_over_and_over),
          T(json_patch, never_nests_deeper_than_is_allowed),
          T(json_patch, is_given_up_when_its_time_is_over))

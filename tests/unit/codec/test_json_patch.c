/* The cases of RFC 6902, appendix A, and what a resource needs beside them. */
#include "test.h"

#include "codec/json_patch.h"

static void patch(const char *target, const char *operations, err_code want, const char *result)
{
    struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1 << 20);
    yyjson_doc *t, *p;
    OK(json_read(a, sv_from(target), 64, &t, e));
    OK(json_read(a, sv_from(operations), 64, &p, e));
    if (want == ERR_OK) {
        OK(json_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), &out, e));
        assert_sv(buf_sv(&out), sv_from(result));
    } else {
        FAILS(want, json_patch(yyjson_doc_get_root(t), yyjson_doc_get_root(p), &out, e));
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

TEST_MAIN(T(json_patch, does_what_the_rfc_shows), T(json_patch, refuses_what_cannot_be_applied))

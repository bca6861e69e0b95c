/* Equality of values: numbers by worth, members in any order. */
#include "test.h"

#include "codec/json_equal.h"

static bool equal_in(const char *a, const char *b, struct arena *scratch, err_code *rc)
{
    struct arena *mem = arena_new(64u << 20);
    yyjson_doc *x, *y;
    bool same = false;
    struct err why;
    OK(json_read(mem, sv_from(a), 300, &x, e));
    OK(json_read(mem, sv_from(b), 300, &y, e));
    yyjson_alc alc = json_allocator(mem);
    yyjson_mut_doc *m = yyjson_mut_doc_new(&alc);
    *rc = json_equal(yyjson_val_mut_copy(m, yyjson_doc_get_root(x)), yyjson_doc_get_root(y),
                     scratch, &same, &why);
    arena_free(mem);
    return same;
}

/* Both ways, and within an array and an object, deep. */
static void is(const char *a, const char *b, bool want)
{
    static const char *const around[][2] = {
        { "", "" }, { "[0,", "]" }, { "{\"k\":[[{\"x\":", "}]]}" }, { "{\"b\":1,\"a\":", "}" }
    };
    struct arena *scratch = arena_new(1u << 20);
    for (size_t i = 0; i < sizeof around / sizeof around[0]; i++)
        for (int swap = 0; swap < 2; swap++) {
            char x[512], y[512];
            err_code rc;
            (void)snprintf(x, sizeof x, "%s%s%s", around[i][0], swap ? b : a, around[i][1]);
            (void)snprintf(y, sizeof y, "%s%s%s", around[i][0], swap ? a : b, around[i][1]);
            bool same = equal_in(x, y, scratch, &rc);
            assert_int_equal(rc, ERR_OK);
            if (same != want)
                fail_msg("%s and %s: %d", x, y, same);
        }
    /* what was taken is given back */
    assert_int_equal(arena_used(scratch), 0);
    arena_free(scratch);
}

TEST(json_equal, numbers_count_by_their_worth)
{
    (void)state;
    static const char *const same[][2] = {
        { "1.1", "1.10" },
        { "1.1", "110e-2" },
        { "1.1", "0.11E+1" },
        { "10", "1e1" },
        { "10", "1.0E1" },
        { "10", "100e-01" },
        { "0", "-0" },
        { "0", "0.000e99" },
        { "0", "-0.0E-7" },
        { "-5", "-5.00" },
        { "0.001", "1e-3" },
        { "0.00100", "0.1e-2" },
        { "100000000000000000000000000000000000001",
          "1.00000000000000000000000000000000000001e38" },
        { "1e999999999999", "10e999999999998" },
        { "1e0000000000000000000000000000002", "100" },
        { "1e9999999999999999999", "1e9999999999999999999" },
        { "12.34", "1234e-2" },
        { "1200", "1.2e3" },
        { "0.1e1", "1" },
    };
    static const char *const other[][2] = {
        { "1.1", "1.2" },
        { "1.1", "11" },
        { "1", "-1" },
        { "1", "10" },
        { "0.1", "0.10000000000000000001" },
        { "9007199254740993", "9007199254740992" },
        { "1e400", "1e401" },
        { "0", "1e-400" },
        { "1.01", "1.1" },
        { "101", "11" },
        { "1e9999999999999999999", "1e9999999999999999998" },
        { "1.10", "\"1.10\"" },
        { "1", "true" },
        { "0", "false" },
        { "0", "null" },
        { "0", "[]" },
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        is(same[i][0], same[i][1], true);
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        is(other[i][0], other[i][1], false);
}

TEST(json_equal, the_order_of_members_does_not_count_and_that_of_items_does)
{
    (void)state;
    is("{\"a\":1,\"b\":[1.0,{\"x\":null,\"y\":true}]}",
       "{\"b\":[1,{\"y\":true,\"x\":null}],\"a\":1e0}", true);
    is("{\"a\":1,\"b\":2}", "{\"a\":1}", false);
    is("{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}", false);
    is("{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":1}", false);
    is("[1,2]", "[2,1]", false);
    is("[1,2]", "[1,2,3]", false);
    is("{}", "{}", true);
    is("[]", "{}", false);
    is("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}", true);
    is("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":1}", false);
    is("\"\\u0041\\u00e4\"", "\"A\xc3\xa4\"", true);
    is("{\"\\u0041\":\"\\/\"}", "{\"A\":\"/\"}", true);
    is("\"a\"", "\"a\\u0000\"", false);
    is("\"a\"", "\"A\"", false);
    is("true", "false", false);
    is("null", "null", true);
}

/* In the worst order for a search from where the last one ended. */
TEST(json_equal, many_members_are_sorted_and_not_searched)
{
    (void)state;
    enum { N = 200000 };
    char *a = malloc(N * 16), *b = malloc(N * 16);
    size_t x = 0, y = 0;
    for (int i = 0; i < N; i++) {
        x += (size_t)snprintf(a + x, 16, "%s\"%06d\":1", i ? "," : "{", i);
        y += (size_t)snprintf(b + y, 16, "%s\"%06d\":1.0", i ? "," : "{", N - 1 - i);
    }
    memcpy(a + x, "}", 2);
    memcpy(b + y, "}", 2);
    struct arena *scratch = arena_new(32u << 20), *small = arena_new(1u << 20);
    err_code rc;
    assert_true(equal_in(a, b, scratch, &rc));
    assert_int_equal(rc, ERR_OK);
    (void)equal_in(a, b, small, &rc);
    assert_int_equal(rc, ERR_TOO_LARGE);
    arena_free(scratch);
    arena_free(small);
    free(a);
    free(b);
}

TEST_MAIN(T(json_equal, numbers_count_by_their_worth),
          T(json_equal, the_order_of_members_does_not_count_and_that_of_items_does),
          T(json_equal, many_members_are_sorted_and_not_searched))

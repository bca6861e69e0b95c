/* test_sigv4_canonical.c - requests that mean the same come out the same.
 * Source: AWS's Signature Version 4 test suite, whose canonical requests stand here as lines;
 * RFC 3986, 5.2.4 for paths. Whole requests, stage by stage, are golden cases of test_sigv4.c. */
#include "test.h"

#include "codec/sigv4.h"

/* The n-th line of the canonical request, from 1. */
static const char *line_of(const struct sigv4_request *req, sv signed_headers, unsigned n)
{
    static char out[2000];
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv all, line;
    OK(sigv4_canonical_request(a, req, signed_headers, &all, e));
    for (unsigned i = 0; i < n; i++)
        assert_true(sv_cut(&all, '\n', &line));
    assert_true(line.len < sizeof out);
    memcpy(out, line.ptr, line.len);
    out[line.len] = 0;
    return out;
}

static const char *path_of(const char *path)
{
    struct sigv4_request req = { .method = SV_LIT("GET"),
                                 .path = sv_from(path),
                                 .normalize_path = true,
                                 .double_encode_path = true };
    return line_of(&req, SV_NONE, 2);
}

static const char *query_of(const char *query)
{
    struct sigv4_request req = { .method = SV_LIT("GET"),
                                 .path = SV_LIT("/"),
                                 .query = sv_from(query) };
    return line_of(&req, SV_NONE, 3);
}

TEST(sigv4_canonical, paths_of_the_test_suite)
{
    (void)state;
    static const char *const cases[][2] = {
        { "/example/..", "/" },                     /* get-relative */
        { "/example1/example2/../..", "/" },        /* get-relative-relative */
        { "/./", "/" },                             /* get-slash-dot-slash */
        { "/./example", "/example" },               /* get-slash-pointless-dot */
        { "//", "/" },                              /* get-slash */
        { "//example//", "/example/" },             /* get-slashes */
        { "/example space/", "/example%20space/" }, /* get-space */
        { "/\xe1\x88\xb4", "/%E1%88%B4" },          /* get-utf8 */
        { "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
          "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" },
        { "", "/" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(path_of(cases[i][0]), cases[i][1]);
}

/* RFC 3986, 5.2.4, "Remove Dot Segments": its steps A to E, for a path that begins with a slash. */
static void remove_dot_segments(const char *in, char *out)
{
    size_t n = 0;
    while (*in) {
        if (strncmp(in, "/./", 3) == 0) {
            in += 2;
        } else if (strcmp(in, "/.") == 0) {
            in = "/";
        } else if (strncmp(in, "/../", 4) == 0 || strcmp(in, "/..") == 0) {
            in = in[3] ? in + 3 : "/";
            while (n && out[--n] != '/')
                ;
        } else {
            do
                out[n++] = *in++;
            while (*in && *in != '/');
        }
    }
    out[n] = 0;
}

TEST(sigv4_canonical, every_path_of_a_few_segments_is_as_rfc_3986_says)
{
    (void)state;
    static const char *const segments[] = { "", ".", "..", "a", "b.", ".c", "..d" };
    enum { N = sizeof segments / sizeof segments[0], MOST = 5 };
    for (unsigned n = 1; n <= MOST; n++) {
        unsigned all = 1;
        for (unsigned i = 0; i < n; i++)
            all *= N;
        for (unsigned which = 0; which < all; which++) {
            char path[64] = "", one[64], want[64];
            size_t len = 0;
            for (unsigned i = 0, rest = which; i < n; i++, rest /= N) {
                strncat(path, "/", sizeof path - strlen(path) - 1);
                strncat(path, segments[rest % N], sizeof path - strlen(path) - 1);
            }
            /* runs of slashes are one slash */
            for (size_t i = 0; path[i]; i++)
                if (path[i] != '/' || i == 0 || path[i - 1] != '/')
                    one[len++] = path[i];
            one[len] = 0;
            remove_dot_segments(one, want);
            if (strcmp(path_of(path), want) != 0)
                fail_msg("%s came out as %s, not %s", path, path_of(path), want);
        }
    }
}

TEST(sigv4_canonical, of_s3_a_path_stays_as_it_is)
{
    (void)state;
    static const char *const paths[] = { "/a//b/../c", "/./", "/%2e%2E/a%20b", "/" };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct sigv4_request req = { .method = SV_LIT("PUT"), .path = sv_from(paths[i]) };
        assert_string_equal(line_of(&req, SV_NONE, 2), paths[i]);
    }
    /* elsewhere what is encoded is encoded once more */
    assert_string_equal(path_of("/a%20b/%7E"), "/a%2520b/%257E");
}

TEST(sigv4_canonical, queries_of_the_test_suite)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "" },
        { "Param1=value1", "Param1=value1" },                             /* get-vanilla-query */
        { "Param2=value2&Param1=value1", "Param1=value1&Param2=value2" }, /* -order-key-case */
        { "Param1=value2&Param1=Value1", "Param1=Value1&Param1=value2" }, /* -order-key */
        { "Param1=value2&Param1=value1", "Param1=value1&Param1=value2" }, /* -order-value */
        { "Param1", "Param1=" },
        { "\xe1\x88\xb4=bar", "%E1%88%B4=bar" }, /* get-vanilla-utf8-query */
        { "-._~0123456789Aa=-._~0123456789Aa", "-._~0123456789Aa=-._~0123456789Aa" },
        /* each way to write a character is the same */
        { "a=%7e%41", "a=~A" },
        { "a=b%20c", "a=b%20c" },
        { "a=b+c", "a=b%20c" },
        { "a=b%2Bc", "a=b%2Bc" },
        { "a=/:,", "a=%2F%3A%2C" },
        /* only the first equals sign parts them */
        { "a=b=c", "a=b%3Dc" },
        /* what is no escape is encoded as it stands */
        { "a=100%", "a=100%25" },
        /* the order is that of encoded bytes: "A" < "a", "%" < "0" */
        { "b=1&B=2&a=3&A=4", "A=4&B=2&a=3&b=1" },
        { "a0=1&a%26=2", "a%26=2&a0=1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(query_of(cases[i][0]), cases[i][1]);
}

TEST(sigv4_canonical, a_presigned_query_is_signed_without_its_signature)
{
    (void)state;
    assert_string_equal(query_of("X-Amz-Signature=00&X-Amz-Date=x"), "X-Amz-Date=x");
    assert_string_equal(query_of("X-Amz-Signature=00"), "");
    /* no other name is left out */
    assert_string_equal(query_of("x-amz-signature=00"), "x-amz-signature=00");
}

TEST(sigv4_canonical, headers_of_the_test_suite)
{
    (void)state;
    const struct sigv4_header headers[] = {
        { SV_LIT("My-Header1"), SV_LIT("value4") },
        { SV_LIT("Host"), SV_LIT("example.amazonaws.com") },
        { SV_LIT("My-Header1"), SV_LIT("value1") }, /* get-header-value-order: as they came */
        { SV_LIT("my-header1"), SV_LIT(" value3 ") },
        { SV_LIT("My-Header2"), SV_LIT(" \"a   b   c\" ") }, /* get-header-value-trim */
        { SV_LIT("Unsigned"), SV_LIT("x") },
        { SV_LIT("Empty"), SV_LIT("  ") },
    };
    struct sigv4_request req = { .method = SV_LIT("POST"),
                                 .path = SV_LIT("/"),
                                 .headers = headers,
                                 .n_headers = sizeof headers / sizeof headers[0],
                                 .payload_hash = SV_LIT("HASH") };
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv all;
    OK(sigv4_canonical_request(a, &req, SV_LIT("empty;host;my-header1;my-header2"), &all, e));
    assert_sv(all, SV_LIT("POST\n"
                          "/\n"
                          "\n"
                          "empty:\n"
                          "host:example.amazonaws.com\n"
                          "my-header1:value4,value1,value3\n"
                          "my-header2:\"a b c\"\n"
                          "\n"
                          "empty;host;my-header1;my-header2\n"
                          "HASH"));
    /* a header that is signed and not sent */
    FAILS(ERR_AUTH_SIGNATURE, sigv4_canonical_request(a, &req, SV_LIT("host;x-amz-date"), &all, e));
}

TEST_MAIN(T(sigv4_canonical, paths_of_the_test_suite),
          T(sigv4_canonical, every_path_of_a_few_segments_is_as_rfc_3986_says),
          T(sigv4_canonical, of_s3_a_path_stays_as_it_is),
          T(sigv4_canonical, queries_of_the_test_suite),
          T(sigv4_canonical, a_presigned_query_is_signed_without_its_signature),
          T(sigv4_canonical, headers_of_the_test_suite))

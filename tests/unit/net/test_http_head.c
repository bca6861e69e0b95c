/* Heads that may be read in two ways are refused; all others say how their body is framed. */
#include "net/http_private.h"

#include "../test.h"

#define HOST                        \
    {                               \
        SV_LIT("Host"), SV_LIT("h") \
    }

/* The fault of a head with these headers; NULL: none. */
static const char *fault(const char *method, const char *target, const char *version,
                         const struct http_header *headers, size_t n, struct http_framing *framing)
{
    const struct http_request req = {
        .method = sv_from(method), .target = sv_from(target), .headers = headers, .n_headers = n
    };
    return http_head_fault(&req, sv_from(version), framing);
}

static void target_is(const char *target, bool good)
{
    const struct http_header host = HOST;
    struct http_framing f;
    const char *why = fault("GET", target, "HTTP/1.1", &host, 1, &f);
    if ((why == NULL) != good)
        fail_msg("%s: %s", target, why ? why : "was taken");
}

static void header_is(const char *name, const char *value, bool good)
{
    const struct http_header h[] = { HOST, { sv_from(name), sv_from(value) } };
    struct http_framing f;
    const char *why = fault("POST", "/", "HTTP/1.1", h, 2, &f);
    if ((why == NULL) != good)
        fail_msg("%s: %s: %s", name, value, why ? why : "was taken");
}

static void host_is(const char *value, bool good)
{
    const struct http_header h = { SV_LIT("host"), sv_from(value) };
    struct http_framing f;
    const char *why = fault("GET", "/", "HTTP/1.1", &h, 1, &f);
    if ((why == NULL) != good)
        fail_msg("Host: %s: %s", value, why ? why : "was taken");
}

TEST(http_head, a_target_is_a_path_without_dots_and_bytes_that_need_escapes)
{
    (void)state;
    static const char *const good[] = { "/",          "/a?b=c%20d", "/a/..b", "/...",
                                        "/%2e%2e%2e", "/a?../..",   "/a//b" };
    static const char *const bad[] = { "",     "*",       "http://h/", "a",      "/a b",
                                       "/a#b", "/a\tb",   "/.",        "/..",    "/a/../b",
                                       "/a/.", "/a%2f..", "/a/.%2e",   "/a/.?b", "/%2e%2E/b" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        target_is(good[i], true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        target_is(bad[i], false);
}

TEST(http_head, a_host_is_needed_and_is_a_name_or_an_address)
{
    (void)state;
    static const char *const good[] = { "h", "a-b.c:80", "127.0.0.1", "[::1]:8080", "[::1]" };
    static const char *const bad[] = { "", "a b", "h:", "h:x", "[::1", "[::1]x", "a@b", "a/b" };
    struct http_framing f;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        host_is(good[i], true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        host_is(bad[i], false);
    assert_non_null(fault("GET", "/", "HTTP/1.1", NULL, 0, &f));
    assert_null(fault("GET", "/", "HTTP/1.0", NULL, 0, &f));
    assert_non_null(fault("GET", "/", "HTTP/2.0", NULL, 0, &f));
}

TEST(http_head, what_may_stand_once_stands_once)
{
    (void)state;
    const struct http_header twice[] = { HOST,
                                         { SV_LIT("Content-Type"), SV_LIT("a/b") },
                                         { SV_LIT("content-TYPE"), SV_LIT("a/b") } };
    const struct http_header accept[] = { HOST,
                                          { SV_LIT("Accept"), SV_LIT("a/b") },
                                          { SV_LIT("Accept"), SV_LIT("c/d") } };
    struct http_framing f;
    const char *why = fault("POST", "/", "HTTP/1.1", twice, 3, &f);
    assert_non_null(why);
    assert_string_equal(why, "More than one Content-Type header");
    assert_null(fault("POST", "/", "HTTP/1.1", accept, 3, &f));
}

TEST(http_head, names_are_tokens_and_values_hold_no_control_bytes)
{
    (void)state;
    struct http_framing f;
    const struct http_header host = HOST;
    header_is("X-A", "a\tb \xc3\xa4", true);
    header_is("X A", "b", false);
    header_is("X:A", "b", false);
    header_is("", "b", false);
    header_is("X-A", "12345678\x01", false);
    header_is("X-A", "1234567\x7f 90", false);
    header_is("X-A", "\r\n", false);
    assert_non_null(fault("G T", "/", "HTTP/1.1", &host, 1, &f));
}

TEST(http_head, a_body_has_one_framing)
{
    (void)state;
    struct http_framing f;
    const struct http_header length = { SV_LIT("Content-Length"), SV_LIT("12") };
    const struct http_header chunks = { SV_LIT("Transfer-Encoding"), SV_LIT("chunked") };
    const struct http_header with_length[] = { HOST, length }, with_chunks[] = { HOST, chunks };
    const struct http_header with_both[] = { HOST, chunks, length };
    assert_null(fault("POST", "/", "HTTP/1.1", with_length, 2, &f));
    assert_false(f.chunked);
    assert_int_equal(f.length, 12);
    assert_null(fault("POST", "/", "HTTP/1.1", with_chunks, 2, &f));
    assert_true(f.chunked);
    assert_non_null(fault("POST", "/", "HTTP/1.0", with_chunks, 2, &f));
    assert_non_null(fault("POST", "/", "HTTP/1.1", with_both, 3, &f));
    header_is("Content-Length", "+1", false);
    header_is("Content-Length", "1, 1", false);
    header_is("Content-Length", "18446744073709551616", false);
    header_is("Transfer-Encoding", "gzip, chunked", false);
    header_is("Transfer-Encoding", "Chunked", false);
}

TEST(http_head, runs_of_slashes_become_one)
{
    (void)state;
    struct arena *a = arena_new(1u << 16), *none = arena_new(1);
    const sv plain = SV_LIT("/a/b/");
    assert_ptr_equal(http_path_collapse(a, plain).ptr, plain.ptr);
    assert_true(sv_eq_cstr(http_path_collapse(a, SV_LIT("//a///b//")), "/a/b/"));
    assert_null(http_path_collapse(none, SV_LIT("//a////////////////////////////////")).ptr);
    arena_free(a);
    arena_free(none);
}

/* A head as a parser that works in place leaves it, with NUL behind each text: 0 GET, 4 target,
 * 6 version, 16 the name of its only header, whose value stands at value_from. */
static bool in_place(const char *text, size_t len, size_t value_from)
{
    char m[128];
    memcpy(m, text, len);
    struct http_header h = { sv_make(m + 16, 1), sv_make(m + value_from, 1) };
    const struct http_head_layout l = { m, m + 4, m + 6, 1, len };
    return http_head_in_place(&l, &h, 1);
}

TEST(http_head, between_the_texts_of_a_head_stands_just_what_belongs_there)
{
    (void)state;
    assert_true(in_place("GET\0/\0HTTP/1.1\0\nA\0b\0\n\r\n", 23, 18));
    assert_true(in_place("GET\0/\0HTTP/1.1\0\nA\0 \tb\0\n\r\n", 25, 20));
    assert_false(in_place("GET\0/\0HTTP/1.1\0\nA\0x b\0\n\r\n", 25, 20));
    assert_false(in_place("GET\0/\0HTTP/1.1\0\nA\0b\0\r\n", 22, 18));
}

TEST(http_head, a_header_is_found_by_its_name_in_any_case_and_the_first_counts)
{
    (void)state;
    const struct http_header h[] = { { SV_LIT("X-a"), SV_LIT("1") },
                                     { SV_LIT("x-A"), SV_LIT("2") } };
    const struct http_request req = { .headers = h, .n_headers = 2 };
    assert_true(sv_eq_cstr(http_header_get(&req, "X-A"), "1"));
    assert_null(http_header_get(&req, "X").ptr);
}

TEST_MAIN(T(http_head, a_target_is_a_path_without_dots_and_bytes_that_need_escapes),
          T(http_head, a_host_is_needed_and_is_a_name_or_an_address),
          T(http_head, what_may_stand_once_stands_once),
          T(http_head, names_are_tokens_and_values_hold_no_control_bytes),
          T(http_head, a_body_has_one_framing), T(http_head, runs_of_slashes_become_one),
          T(http_head, between_the_texts_of_a_head_stands_just_what_belongs_there),
          T(http_head, a_header_is_found_by_its_name_in_any_case_and_the_first_counts))

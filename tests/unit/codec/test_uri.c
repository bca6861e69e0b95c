#include "test.h"

#include "codec/uri.h"

/* ---- s3:// ---- */

TEST(uri, s3_uri_is_cut_into_bucket_and_key)
{
    (void)state;
    static const struct {
        const char *text, *bucket, *key;
    } good[] = { { "s3://bucket", "bucket", "" },
                 { "s3://bucket/", "bucket", "" },
                 { "s3://b.c-d.9/k", "b.c-d.9", "k" },
                 { "s3://abc/pre fix/a%2Fb/", "abc", "pre fix/a%2Fb/" }, /* keys are literal */
                 { "s3://abc/\xc3\xa4?x#y", "abc", "\xc3\xa4?x#y" },
                 { "s3://abc/..a/b../...", "abc", "..a/b../..." },
                 { "s3://1.2.3.x/k", "1.2.3.x", "k" } };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct uri_s3 u = { 0 };
        OK(uri_s3_parse(sv_from(good[i].text), &u, e));
        assert_sv(u.bucket, sv_from(good[i].bucket));
        assert_sv(u.key, sv_from(good[i].key));
    }
}

TEST(uri, wrong_s3_uris_are_refused)
{
    (void)state;
    static const sv bad[] = {
        { "", 0 },
        { "s3:/abc/k", 9 },
        { "S3://abc/k", 10 },
        { "http://abc/k", 12 },
        { "s3://", 5 },
        { "s3:///k", 7 },
        { "s3://ab/k", 9 },
        { "s3://Abc/k", 10 },
        { "s3://a_c/k", 10 },
        { "s3://-abc/k", 11 },
        { "s3://abc-/k", 11 },
        { "s3://.abc/k", 11 },
        { "s3://a..bc/k", 12 },
        { "s3://192.168.0.1/k", 18 },
        { "s3://abc?x/k", 12 },
        { "s3://a\0c/k", 10 },
        { "s3://abc/../k", 13 },
        { "s3://abc/./k", 12 },
        { "s3://abc/k/..", 13 },
        { "s3://abc/k/../../etc", 20 },
        { "s3://abc//k", 11 },
        { "s3://abc/a//b", 13 },
        { "s3://abc/a\0b", 12 },
        { "s3://abc/a\nb", 12 },
        { "s3://abc/a\x7f", 11 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct uri_s3 u = { .key = SV_LIT("untouched") };
        struct err err = { 0 };
        if (uri_s3_parse(bad[i], &u, &err) != ERR_INVALID)
            fail_msg("\"%.*s\" passed", SV_FMT(bad[i]));
        assert_true(err.msg[0] != 0);
        assert_sv(u.key, SV_LIT("untouched"));
    }
}

TEST(uri, s3_limits_are_63_and_1024)
{
    (void)state;
    char text[1200];
    struct uri_s3 u;
    memset(text, 'a', sizeof text);
    memcpy(text, "s3://", 5);
    OK(uri_s3_parse(sv_make(text, 5 + 63), &u, e));
    FAILS(ERR_INVALID, uri_s3_parse(sv_make(text, 5 + 64), &u, e));
    text[5 + 10] = '/';
    OK(uri_s3_parse(sv_make(text, 5 + 11 + 1024), &u, e));
    assert_int_equal(u.key.len, 1024);
    FAILS(ERR_INVALID, uri_s3_parse(sv_make(text, 5 + 11 + 1025), &u, e));
}

/* ---- percent coding ---- */

TEST(uri, encode_keeps_the_unreserved_and_decode_gives_all_back)
{
    (void)state;
    char all[256];
    struct buf b = BUF_INIT(4096), back = BUF_INIT(4096);
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    OK(uri_encode(sv_make(all, 256), false, &b, e));
    /* RFC 3986 2.3: 26 + 26 + 10 + 4 stay */
    assert_int_equal(b.len, 66 + 190 * 3);
    OK(uri_decode(buf_sv(&b), false, &back, e));
    assert_sv(buf_sv(&back), sv_make(all, 256));
    buf_clear(&b);
    OK(uri_encode(SV_LIT("AZaz09-_.~/ +%\xc3\xa4"), true, &b, e));
    assert_sv(buf_sv(&b), SV_LIT("AZaz09-_.~/%20%2B%25%C3%A4"));
    buf_clear(&b);
    OK(uri_encode(SV_LIT("a/b"), false, &b, e));
    assert_sv(buf_sv(&b), SV_LIT("a%2Fb"));
    buf_done(&b);
    buf_done(&back);
}

TEST(uri, decode_reads_plus_as_asked_and_hex_of_both_cases)
{
    (void)state;
    struct buf b = BUF_INIT(64);
    OK(uri_decode(SV_LIT("a+b%2b%2B"), false, &b, e));
    assert_sv(buf_sv(&b), SV_LIT("a+b++"));
    buf_clear(&b);
    OK(uri_decode(SV_LIT("a+b%2b%00"), true, &b, e));
    assert_sv(buf_sv(&b), SV_LIT("a b+\0"));
    buf_done(&b);
}

TEST(uri, broken_escapes_are_refused_and_add_nothing)
{
    (void)state;
    static const char *const bad[] = { "%",   "%2",   "a%",  "a%4", "%zz",    "%4z",
                                       "%z4", "%%41", "%-1", "% 1", "%u0041", "ok%41%" };
    struct buf b = BUF_INIT(64);
    OK(buf_add(&b, SV_LIT("x"), e));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        FAILS(ERR_INVALID, uri_decode(sv_from(bad[i]), true, &b, e));
        assert_int_equal(b.len, 1);
    }
    buf_done(&b);
    struct buf small = BUF_INIT(4);
    FAILS(ERR_TOO_LARGE, uri_encode(SV_LIT("\xff\xff"), false, &small, e));
    FAILS(ERR_TOO_LARGE, uri_decode(SV_LIT("abcde"), false, &small, e));
    buf_done(&small);
}

/* ---- queries ---- */

TEST(uri, query_pairs_stay_in_order_and_encoded)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 16);
    struct uri_pair *p = NULL;
    size_t n = 9;
    OK(uri_query_split(a, SV_LIT("b=2&a=%20x&flag&c=&b=1=1&&=v"), 10, &p, &n, e));
    /* the empty pair between && is none */
    assert_int_equal(n, 6);
    static const char *const want[][2] = { { "b", "2" }, { "a", "%20x" }, { "flag", "" },
                                           { "c", "" },  { "b", "1=1" },  { "", "v" } };
    for (size_t i = 0; i < n; i++) {
        assert_sv(p[i].name, sv_from(want[i][0]));
        assert_sv(p[i].value, sv_from(want[i][1]));
    }
    OK(uri_query_split(a, SV_NONE, 10, &p, &n, e));
    assert_int_equal(n, 0);
    OK(uri_query_split(a, SV_LIT("&&&&"), 0, &p, &n, e));
    assert_int_equal(n, 0);
}

TEST(uri, query_with_too_many_pairs_is_refused)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(256);
    struct uri_pair *p = NULL;
    size_t n = 7;
    OK(uri_query_split(a, SV_LIT("a&b&c"), 3, &p, &n, e));
    n = 7;
    FAILS(ERR_TOO_LARGE, uri_query_split(a, SV_LIT("a&b&c"), 2, &p, &n, e));
    assert_int_equal(n, 7);
    /* allowed by the count, not by the arena */
    char text[4000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 ? '&' : 'a';
    FAILS(ERR_TOO_LARGE, uri_query_split(a, sv_make(text, sizeof text), 100000, &p, &n, e));
}

/* ---- endpoints ---- */

TEST(uri, endpoint_is_cut_into_its_parts)
{
    (void)state;
    static const struct {
        const char *text, *scheme, *host, *path;
        unsigned port;
    } good[] = { { "http://localhost", "http", "localhost", "", 0 },
                 { "https://s3.eu-west-1.amazonaws.com/", "https", "s3.eu-west-1.amazonaws.com", "",
                   0 },
                 { "http://127.0.0.1:9000/minio//", "http", "127.0.0.1", "/minio", 9000 },
                 { "http://[::1]:65535/a/b", "http", "[::1]", "/a/b", 65535 },
                 { "http://[fe80::1]", "http", "[fe80::1]", "", 0 } };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct uri_http u = { 0 };
        OK(uri_http_parse(sv_from(good[i].text), &u, e));
        assert_sv(u.scheme, sv_from(good[i].scheme));
        assert_sv(u.host, sv_from(good[i].host));
        assert_sv(u.path, sv_from(good[i].path));
        assert_int_equal(u.port, good[i].port);
    }
}

TEST(uri, wrong_endpoints_are_refused)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "localhost:9000",
                                       "ftp://h",
                                       "http:/h",
                                       "http://",
                                       "http:///p",
                                       "http://:80",
                                       "http://h:",
                                       "http://h:0",
                                       "http://h:65536",
                                       "http://h:8x",
                                       "http://h:-1",
                                       "http://[::1",
                                       "http://[::1]9",
                                       "http://user@h",
                                       "http://user:pw@h:80",
                                       "http://h h/",
                                       "http://h/a?b",
                                       "http://h/a#b",
                                       "http://h/a b",
                                       "http://h\r\nX: y/",
                                       "http://[]",
                                       "http://[::1",
                                       "http://[g::1]",
                                       "http://a[b]c",
                                       "http://a]",
                                       "http://[",
                                       "http://h\"x/",
                                       "http://h<x/",
                                       "http://h,g/",
                                       "http://h/a\"b",
                                       "http://h/a\\b",
                                       "http://h/<a>",
                                       "http://h/\x7f",
                                       "http://h/\xc3\xa4" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct uri_http u = { .port = 7 };
        if (uri_http_parse(sv_from(bad[i]), &u, NULL) != ERR_INVALID)
            fail_msg("\"%s\" passed", bad[i]);
        assert_int_equal(u.port, 7);
    }
}

TEST(uri, an_authority_is_a_host_and_perhaps_a_port)
{
    (void)state;
    static const struct {
        const char *text, *host;
        unsigned port;
    } good[] = { { "localhost", "localhost", 0 },
                 { "fhir_lake-1.example:8080", "fhir_lake-1.example", 8080 },
                 { "127.0.0.1:1", "127.0.0.1", 1 },
                 { "[::ffff:127.0.0.1]:65535", "[::ffff:127.0.0.1]", 65535 } };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        sv host;
        uint16_t port;
        OK(uri_authority_parse(sv_from(good[i].text), &host, &port, e));
        assert_sv(host, sv_from(good[i].host));
        assert_int_equal(port, good[i].port);
    }
    char text[300];
    static const char *const bad[] = { "",        ":80", "h:",   "h:0",      "h:65536",
                                       "h:80:80", "h/p", "h?q",  "h#f",      "u@h",
                                       "h h",     " h",  "h\t",  "h\"",      "h\\",
                                       "h<",      "h,g", "[::1", "::1",      "[::1]x",
                                       "[::1]:x", "[x]", "[]",   "\xc3\xa4", "h\r\nX" };
    for (size_t i = 0; i <= sizeof bad / sizeof bad[0]; i++) {
        sv host = SV_LIT("kept");
        uint16_t port = 7;
        memset(text, 'h', sizeof text);
        sv one = i < sizeof bad / sizeof bad[0] ? sv_from(bad[i]) : sv_make(text, 256);
        if (uri_authority_parse(one, &host, &port, NULL) != ERR_INVALID)
            fail_msg("\"%.*s\" passed", SV_FMT(one));
        assert_sv(host, SV_LIT("kept"));
        assert_int_equal(port, 7);
    }
}

TEST_MAIN(T(uri, s3_uri_is_cut_into_bucket_and_key), T(uri, wrong_s3_uris_are_refused),
          T(uri, s3_limits_are_63_and_1024),
          T(uri, encode_keeps_the_unreserved_and_decode_gives_all_back),
          T(uri, decode_reads_plus_as_asked_and_hex_of_both_cases),
          T(uri, broken_escapes_are_refused_and_add_nothing),
          T(uri, query_pairs_stay_in_order_and_encoded),
          T(uri, query_with_too_many_pairs_is_refused), T(uri, endpoint_is_cut_into_its_parts),
          T(uri, wrong_endpoints_are_refused), T(uri, an_authority_is_a_host_and_perhaps_a_port))

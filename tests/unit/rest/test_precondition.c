/* Entity tags, and conditions that are read before a store is asked. */
#include "test.h"

#include "codec/instant.h"
#include "rest/route_private.h"
#include "rest/write/write_private.h"

static struct rest_interaction create = { "POST", REST_TYPE }, update = { "PUT", REST_INSTANCE };

TEST(precondition, reads_tags_as_clients_write_them)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    struct rest_tags t;
    static const struct {
        const char *text, *tags; /* by space */
    } good[] = {
        { "W/\"3\"", "3" },
        { "\"3\"", "3" },
        { "3", "3" },
        { "W/3", "3" },
        { " W/\"1\" , \"2\",W/\"x,y\" ", "1 2 x,y" }, /* a comma may stand within quotes */
        { ",W/\"1\",,", "1" },                        /* RFC 9110 5.6.1.2: empty items are none */
        { "\"\"", "" },
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CLEANUP_BUF struct buf all = BUF_INIT(256);
        OK(rest_tags_read(sv_from(good[i].text), "If-Match", a, &t, e));
        for (size_t k = 0; k < t.n; k++)
            OK(buf_add_fmt(&all, e, "%s%.*s", k ? " " : "", SV_FMT(t.tags[k])));
        assert_sv(buf_sv(&all), sv_from(good[i].tags));
        assert_true(t.there);
        assert_false(t.any);
    }
    OK(rest_tags_read(SV_LIT(" * "), "If-Match", a, &t, e));
    assert_true(t.any);
    OK(rest_tags_read(SV_NONE, "If-Match", a, &t, e));
    assert_false(t.there);
}

TEST(precondition, refuses_what_is_no_tag_and_what_says_nothing)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    static const char *const bad[] = { "",        " ",        ",",       "\"3",     "W/",
                                       "abc",     "3 4",      "\"3\" 4", "w/\"3\"", "*, 3",
                                       "\"a b\"", "\"a\tb\"", "-3",      "3.0" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rest_tags t = { .n = 77 };
        FAILS(ERR_INVALID, rest_tags_read(sv_from(bad[i]), "If-Match", a, &t, e));
        assert_int_equal(t.n, 77);
    }
}

TEST(precondition, finds_a_version_among_tags_by_its_digits)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    struct rest_tags t;
    OK(rest_tags_read(SV_LIT("W/\"3\", \"17\", \"03\", \"abc\""), "If-Match", a, &t, e));
    assert_true(rest_tags_have(&t, 3));
    assert_true(rest_tags_have(&t, 17));
    assert_false(rest_tags_have(&t, 1));
    assert_false(rest_tags_have(&t, 7));
    OK(rest_tags_read(SV_LIT("*"), "If-Match", a, &t, e));
    assert_true(rest_tags_have(&t, 99));
    assert_false(rest_tags_have(&(struct rest_tags){ 0 }, 3));
}

TEST(precondition, reads_a_date_to_the_end_of_its_second)
{
    (void)state;
    int64_t ms = 5, want;
    assert_true(instant_parse(SV_LIT("2026-11-23T18:30:00.999Z"), &want));
    assert_true(rest_unmodified_read(SV_LIT("Mon, 23 Nov 2026 18:30:00 GMT"), &ms));
    assert_int_equal(ms, want);
    assert_true(rest_unmodified_read(SV_LIT("2026-11-23T18:30:00.250Z"), &ms));
    assert_int_equal(ms, want - 749);
    assert_false(rest_unmodified_read(SV_LIT("yesterday"), &ms));
    assert_false(rest_unmodified_read(SV_NONE, &ms));
}

static err_code read_of(struct arena *a, const struct rest_interaction *it, struct rest_request in,
                        struct rest_conditions *out, struct err *e)
{
    struct rest_call c = { .a = a, .it = it, .in = in };
    c.in.method = sv_from(it->method);
    *out = (struct rest_conditions){ 0 };
    return rest_conditions_read(&c, out, e);
}

TEST(precondition, refuses_conditions_that_contradict_or_are_about_another_write)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    const sv tag = SV_LIT("W/\"1\""), query = SV_LIT("identifier=x"),
             date = SV_LIT("Mon, 23 Nov 2026 18:30:00 GMT");
    struct rest_conditions k;
    OK(read_of(a, &update, (struct rest_request){ .if_match = tag }, &k, e));
    assert_int_equal(k.match.n, 1);
    OK(read_of(a, &update, (struct rest_request){ .if_none_match = SV_LIT("*") }, &k, e));
    assert_true(k.none_match.any);
    OK(read_of(a, &create, (struct rest_request){ .if_none_exist = query }, &k, e));
    FAILS(ERR_INVALID, read_of(a, &update, (struct rest_request){ .if_none_exist = query }, &k, e));
    FAILS(ERR_INVALID,
          read_of(a, &create, (struct rest_request){ .if_none_exist = SV_LIT(" ") }, &k, e));
    FAILS(ERR_INVALID,
          read_of(a, &create,
                  (struct rest_request){ .if_none_exist = query, .if_none_exist_twice = true }, &k,
                  e));
    FAILS(ERR_INVALID, read_of(a, &create, (struct rest_request){ .if_match = tag }, &k, e));
    FAILS(
        ERR_INVALID,
        read_of(a, &update, (struct rest_request){ .if_match = tag, .if_none_match = tag }, &k, e));
    /* RFC 9110 13.1.4: beside If-Match, or when it is no date, the date is passed over */
    OK(read_of(a, &update, (struct rest_request){ .if_unmodified_since = date }, &k, e));
    assert_true(k.dated);
    OK(read_of(a, &update, (struct rest_request){ .if_match = tag, .if_unmodified_since = date },
               &k, e));
    assert_false(k.dated);
    OK(read_of(a, &update, (struct rest_request){ .if_unmodified_since = SV_LIT("soon") }, &k, e));
    assert_false(k.dated);
}

TEST(precondition, leaves_one_version_and_absence_to_the_committer)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    struct rest_call c = { .a = a, .it = &update, .in = { .method = SV_LIT("PUT") } };
    struct rest_pending p = { 0 };
    OK(rest_conditions_apply(&c, NULL, &p, e));
    assert_int_equal(p.w.condition, STORE_IF_ANY);
    OK(rest_tags_read(SV_LIT("W/\"4\""), "If-Match", a, &p.conditions.match, e));
    OK(rest_conditions_apply(&c, NULL, &p, e));
    assert_int_equal(p.w.condition, STORE_IF_VERSION);
    assert_int_equal(p.w.if_version, 4);
    assert_false(p.guarded);
    p = (struct rest_pending){ .conditions.none_match = { .there = true, .any = true } };
    OK(rest_conditions_apply(&c, NULL, &p, e));
    assert_int_equal(p.w.condition, STORE_IF_ABSENT);
}

/* The rest of the table on top of precondition.c, with the version that is there at hand. */
TEST(precondition, decides_by_the_version_that_was_read)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    static const struct {
        const char *match, *none, *method;
        int64_t until_ms; /* 0: no date */
        bool deleted, fails;
    } rows[] = {
        { "*", NULL, "PUT", 0, false, false },
        { "*", NULL, "PUT", 0, true, true },
        { "\"4\", \"5\"", NULL, "PUT", 0, false, false },
        { "\"4\", \"6\"", NULL, "PUT", 0, false, true },
        { "\"4\", \"5\"", NULL, "PUT", 0, true, true },
        { NULL, "\"5\"", "PUT", 0, false, true },
        { NULL, "\"4\"", "PUT", 0, false, false },
        { NULL, "\"5\"", "PUT", 0, true, false },
        { NULL, NULL, "PUT", 1000, false, false },
        { NULL, NULL, "PUT", 999, false, true },
        { NULL, NULL, "PUT", 999, true, true },
        { NULL, NULL, "DELETE", 999, true, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rest_call c = { .a = a, .it = &update, .in = { .method = sv_from(rows[i].method) } };
        const struct store_version now = { .version = 5,
                                           .instant_ms = 1000,
                                           .method = rows[i].deleted ? STORE_METHOD_DELETE
                                                                     : STORE_METHOD_UPDATE };
        struct rest_pending p = { .conditions.dated = rows[i].until_ms != 0,
                                  .conditions.until_ms = rows[i].until_ms };
        OK(rest_tags_read(sv_from(rows[i].match), "If-Match", a, &p.conditions.match, e));
        OK(rest_tags_read(sv_from(rows[i].none), "If-None-Match", a, &p.conditions.none_match, e));
        struct err e;
        err_code rc = rest_conditions_apply(&c, &now, &p, &e);
        if (rc != (rows[i].fails ? ERR_PRECONDITION : ERR_OK))
            fail_msg("row %zu: %s", i, err_code_name(rc));
        if (rc != ERR_OK)
            continue;
        assert_true(p.guarded);
        assert_int_equal(p.w.condition, rows[i].deleted ? STORE_IF_DELETED : STORE_IF_VERSION);
        assert_int_equal(p.w.if_version, 5);
    }
}

TEST_MAIN(T(precondition, reads_tags_as_clients_write_them),
          T(precondition, refuses_what_is_no_tag_and_what_says_nothing),
          T(precondition, finds_a_version_among_tags_by_its_digits),
          T(precondition, reads_a_date_to_the_end_of_its_second),
          T(precondition, refuses_conditions_that_contradict_or_are_about_another_write),
          T(precondition, leaves_one_version_and_absence_to_the_committer),
          T(precondition, decides_by_the_version_that_was_read))

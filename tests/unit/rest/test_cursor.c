/* Tokens of pages: for whom, for what and for how long they are good. */
#include "test.h"

#include "base/clock.h"
#include "store/store_private.h"

static int64_t now_ms = 1767225600000;
#define clock_wall_ms() now_ms
#include "rest/read/cursor.c"
#undef clock_wall_ms

static struct store *st;
static struct service service = { .cursor_key = { 7 } };
static const struct datastore one = { .id = { "1", 1 } }, other = { .id = { "2", 1 } };

static struct rest_call call(struct arena *a, const struct datastore *ds, const char *arn,
                             const char *query)
{
    struct rest_call c = {
        .service = &service, .a = a, .ds = ds, .st = st, .caller.arn = sv_from(arn)
    };
    OK(rest_params_add(&c, sv_from(query), e));
    return c;
}

static sv token_of(struct arena *a, const char *query, const char *place)
{
    struct rest_call c = call(a, &one, "user/a", query);
    sv out;
    OK(rest_cursor_make(&c, SV_LIT("Patient"), sv_from(place), &out, e));
    return out;
}

static err_code open_as(struct arena *a, const struct datastore *ds, const char *arn,
                        const char *path, const char *beside, sv token, struct rest_call *out,
                        sv *place, struct err *e)
{
    sv query = arena_fmt(a, "%s%spage=%.*s", beside, beside[0] ? "&" : "", SV_FMT(token));
    *out = call(a, ds, arn, query.ptr);
    return rest_cursor_open(out, sv_from(path), place, e);
}

TEST(rest_cursor, brings_the_query_and_the_place_of_its_page)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c;
    sv place;
    sv t = token_of(a, "name=a%26b%3D&_count=5&_sort=-birthdate&name=%C3%BC", "17-p-x");
    OK(open_as(a, &one, "user/a", "Patient", "_count=9", t, &c, &place, e));
    assert_sv(place, SV_LIT("17-p-x"));
    assert_sv(rest_param(&c, "_count"), SV_LIT("9"));
    assert_sv(rest_param(&c, "_sort"), SV_LIT("-birthdate"));
    assert_sv(rest_param(&c, "name"), SV_LIT("a&b="));
    assert_int_equal(c.params.n, 5);
    OK(open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
    assert_sv(rest_param(&c, "_count"), SV_LIT("5"));
    OK(open_as(a, &one, "user/a", "Patient", "_sort=-birthdate&name=a%26b%3D&_pretty=true", t, &c,
               &place, e));
    assert_int_equal(c.params.n, 6);
    c = call(a, &one, "user/a", "name=x");
    OK(rest_cursor_open(&c, SV_LIT("Patient"), &place, e));
    assert_null(place.ptr);
}

TEST(rest_cursor, is_good_for_its_store_path_caller_and_query_alone)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c;
    sv place, t = token_of(a, "name=x&gender=male", "17-b");
    FAILS(ERR_INVALID, open_as(a, &other, "user/a", "Patient", "", t, &c, &place, e));
    FAILS(ERR_INVALID, open_as(a, &one, "user/b", "Patient", "", t, &c, &place, e));
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Observation", "", t, &c, &place, e));
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "", "", t, &c, &place, e));
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Patient", "name=y", t, &c, &place, e));
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Patient", "_sort=name", t, &c, &place, e));
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Patient", "", SV_LIT("17-b"), &c, &place, e));
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Patient", "", SV_LIT(""), &c, &place, e));
    OK(open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
}

TEST(rest_cursor, is_good_for_a_day)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c;
    const int64_t made = now_ms, hour = 3600000;
    sv place, t = token_of(a, "name=x", "17-b");
    now_ms = made + 24 * hour;
    OK(open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
    now_ms = made + 24 * hour + 1;
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
    /* a clock that was set right */
    now_ms = made - 50000;
    OK(open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
    now_ms = made - hour;
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
    now_ms = made;
}

/* A database that gives its commits marks. */
static uint64_t mark_now = 5;

static err_code mark(struct store *of, uint64_t t, uint64_t *out, struct err *e)
{
    (void)of;
    *out = mark_now;
    return t == 17 ? ERR_OK : ERR(e, ERR_NOT_FOUND, "none");
}

TEST(rest_cursor, is_of_no_use_when_its_commit_is_another_one)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    const struct store_ops *files = st->ops;
    struct store_ops ops = *files;
    struct rest_call c = call(a, &one, "user/a", "name=x");
    sv place, out, t, of_files = token_of(a, "name=x", "17-b");
    ops.mark = mark;
    st->ops = &ops;
    t = token_of(a, "name=x", "17-b");
    OK(open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
    assert_sv(place, SV_LIT("17-b"));
    OK(open_as(a, &one, "user/a", "Patient", "", of_files, &c, &place, e));
    mark_now = 6;
    FAILS(ERR_INVALID, open_as(a, &one, "user/a", "Patient", "", t, &c, &place, e));
    FAILS(ERR_UNAVAILABLE, rest_cursor_make(&c, SV_LIT("Patient"), SV_LIT("18-b"), &out, e));
    st->ops = files;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rest_cursor, brings_the_query_and_the_place_of_its_page),
        T(rest_cursor, is_good_for_its_store_path_caller_and_query_alone),
        T(rest_cursor, is_good_for_a_day),
        T(rest_cursor, is_of_no_use_when_its_commit_is_another_one),
    };
    struct err e;
    if (store_open(NULL, "memory:", true, &st, &e) != ERR_OK)
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_close(st);
    return rc;
}

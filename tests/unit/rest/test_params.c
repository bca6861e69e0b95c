/* Parameters of a call: decoded once, names that clients encode twice, and what says nothing. */
#include "test.h"

#include "codec/instant.h"
#include "rest/params_private.h"

static struct rest_call call(struct arena *a, const char *query)
{
    struct rest_call c = { .a = a };
    OK(rest_params_add(&c, sv_from(query), e));
    return c;
}

TEST(params, are_decoded_once_and_kept_in_order)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c = call(a, "name=a%20b+c&name=%C3%A9&x&=y&code=s%7Cv%2541&&z=");
    static const char *const want[][2] = {
        { "name", "a b c" }, { "name", "\xC3\xA9" }, { "x", "" }, { "code", "s|v%41" }, { "z", "" }
    };
    assert_int_equal(c.params.n, sizeof want / sizeof want[0]);
    for (size_t i = 0; i < c.params.n; i++) {
        assert_sv(c.params.items[i].name, sv_from(want[i][0]));
        assert_sv(c.params.items[i].value, sv_from(want[i][1]));
    }
    assert_sv(rest_param(&c, "name"), SV_LIT("a b c"));
    assert_null(rest_param(&c, "nam").ptr);
    /* a form comes behind the query */
    OK(rest_params_add(&c, SV_LIT("name=form"), e));
    assert_int_equal(c.params.n, 6);
    assert_sv(c.params.items[5].value, SV_LIT("form"));
    assert_sv(c.params.items[0].value, SV_LIT("a b c"));
}

TEST(params, a_name_that_was_encoded_twice_means_what_it_says)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c = call(a, "name%253Acontains=x&name%3Aexact=y&val%253Aue=z%253A");
    assert_sv(c.params.items[0].name, SV_LIT("name:contains"));
    assert_true(c.params.items[0].twice);
    assert_sv(c.params.items[1].name, SV_LIT("name:exact"));
    assert_false(c.params.items[1].twice);
    /* a value is what it is */
    assert_sv(c.params.items[2].value, SV_LIT("z%3A"));
}

TEST(params, refuse_what_no_search_can_mean)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    static const char *const bad[] = { "name=%",   "name=%4",  "n%zz=1",
                                       "name=%C3", "name=%00", "%FF=1" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rest_call c = { .a = a };
        FAILS(ERR_INVALID, rest_params_add(&c, sv_from(bad[i]), e));
        assert_int_equal(c.params.n, 0);
    }
}

TEST(params, have_limits_that_the_token_of_a_page_does_not_count_in)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    struct rest_call c = { .a = a };
    for (int i = 0; i < 256; i++)
        OK(buf_add(&text, SV_LIT("a=b&"), e));
    OK(rest_params_add(&c, sv_head(buf_sv(&text), text.len - 1), e));
    assert_int_equal(c.params.n, 256);
    c = (struct rest_call){ .a = a };
    OK(buf_add(&text, SV_LIT("a=b"), e));
    FAILS(ERR_TOO_LARGE, rest_params_add(&c, buf_sv(&text), e));
    buf_clear(&text);
    OK(buf_add(&text, SV_LIT("page="), e));
    for (int i = 0; i < 33 << 10; i++)
        OK(buf_add_char(&text, 'x', e));
    OK(rest_params_add(&c, buf_sv(&text), e));
    memcpy(text.ptr, "mage", 4);
    FAILS(ERR_TOO_LARGE, rest_params_add(&c, buf_sv(&text), e));
}

TEST(params, that_say_nothing_lose_their_names_in_a_read)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf out = BUF_INIT(1024);
    struct rest_call c = call(a, "a=&b=,%20,&c=x&page=&d%2525%253ae=1&f=%09%0D%0A");
    OK(rest_read_names(&c, e));
    assert_int_equal(c.params.items[0].name.len, 0);
    assert_int_equal(c.params.items[1].name.len, 0);
    assert_sv(c.params.items[2].name, SV_LIT("c"));
    assert_sv(c.params.items[3].name, SV_LIT("page"));
    assert_int_equal(c.params.items[5].name.len, 0);
    c = call(a, "c=x%26y&page=t&b=&name:exact=%2B");
    OK(rest_read_names(&c, e));
    OK(rest_params_write(&c, &out, e));
    /* the self link: without the page, and without what was passed over */
    struct rest_call again = { .a = a };
    OK(rest_params_add(&again, buf_sv(&out), e));
    assert_int_equal(again.params.n, 2);
    assert_sv(again.params.items[0].value, SV_LIT("x&y"));
    assert_sv(again.params.items[1].name, SV_LIT("name:exact"));
    assert_sv(again.params.items[1].value, SV_LIT("+"));
    assert_true(rest_says_nothing(SV_NONE));
    assert_true(rest_says_nothing(SV_LIT(" ,\t,")));
    assert_false(rest_says_nothing(SV_LIT(",x")));
}

TEST(params, a_date_is_a_span_of_its_precision)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c = { .a = a, .base = SV_LIT("http://h/r4") };
    static const struct {
        const char *text, *lo, *hi;
    } rows[] = {
        { "2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z" },
        { "2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z" },
        { "2024-02-29", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z" },
        { "2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z", "2026-01-31T10:00:01Z" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t lo, hi, want_lo, want_hi;
        assert_true(instant_parse(sv_from(rows[i].lo), &want_lo));
        assert_true(instant_parse(sv_from(rows[i].hi), &want_hi));
        OK(rest_read_date(&c, "start", sv_from(rows[i].text), &lo, &hi, e));
        assert_int_equal(lo, want_lo);
        assert_int_equal(hi, want_hi);
        OK(rest_read_date(&c, "start", sv_from(rows[i].text), NULL, NULL, e));
    }
    static const char *const bad[] = {
        "", "ge2026", "2026-13", "2026,2027", "today", "2026-02-30"
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        FAILS(ERR_INVALID, rest_read_date(&c, "start", sv_from(bad[i]), NULL, NULL, e));
}

TEST_MAIN(T(params, are_decoded_once_and_kept_in_order),
          T(params, a_name_that_was_encoded_twice_means_what_it_says),
          T(params, refuse_what_no_search_can_mean),
          T(params, have_limits_that_the_token_of_a_page_does_not_count_in),
          T(params, that_say_nothing_lose_their_names_in_a_read),
          T(params, a_date_is_a_span_of_its_precision))

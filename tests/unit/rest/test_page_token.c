/* Places of pages: what is written is read back as it was, and nothing else is taken. */
#include "test.h"

#include "fhir/envelope.h"
#include "rest/read/page_private.h"

static struct store *st;
static uint64_t newest;

static int set_up(void **state)
{
    struct fhir_reader *r = fhir_reader_new(1 << 16);
    struct buf stored = BUF_INIT(1 << 16);
    struct fhir_envelope env;
    struct store_commit at = { 0 };
    (void)state;
    OK(store_open(NULL, "memory:", true, &st, e));
    OK(fhir_envelope_read(r, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"p\"}"), SV_NONE,
                          &stored, &env, e));
    for (int i = 0; i < 9; i++) {
        struct store_write w = {
            .type = env.type, .id = env.id, .method = STORE_METHOD_UPDATE, .body = env.body
        };
        OK(store_commit(st, &w, 1, &at, e));
    }
    newest = at.t;
    buf_done(&stored);
    fhir_reader_free(r);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_close(st);
    return 0;
}

static struct rest_page *page(struct arena *a)
{
    struct rest_call *c = ARENA_NEW(a, struct rest_call);
    struct rest_page *p = ARENA_NEW(a, struct rest_page);
    *c = (struct rest_call){ .a = a, .st = st };
    p->call = c;
    p->types[p->n_types++] = fhir_type_find(SV_LIT("Patient"));
    p->as_of = newest;
    return p;
}

TEST(page_token, brings_back_where_a_walk_stood)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    static const struct query_place places[] = {
        { .clause = -1 },
        { .type_at = 3, .clause = -1, .id = "p1", .id_len = 2 },
        { .clause = 2,
          .driver = 1,
          .value = { 0, 0xFF, 0x2D },
          .value_len = 3,
          .number = UINT64_MAX },
        { .clause = 0, .driver = 1000, .type_at = 1000 },
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct rest_page *from = page(a), *to = page(a);
        from->as_of = newest - i;
        sv text = rest_page_place(from, &places[i]);
        OK(rest_page_place_read(to, text, e));
        assert_int_equal(to->as_of, newest - i);
        assert_true(to->from_place);
        assert_null(to->after);
        assert_memory_equal(&to->place, &places[i], sizeof places[i]);
    }
}

TEST(page_token, brings_back_the_last_row_of_a_sorted_page)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct query_row row = { .number = 1u << 28,
                             .keys = { { "ann\0-.", 6 }, { "", 0 }, { "\xFF", 1 } } };
    struct rest_page *from = page(a), *to = page(a);
    from->n_sort = 3;
    OK(rest_page_place_read(to, rest_page_place_sorted(from, &row), e));
    assert_int_equal(to->n_after, 3);
    assert_true(to->after->number == row.number);
    for (size_t i = 0; i < 3; i++)
        assert_sv(to->after->keys[i], row.keys[i]);
    assert_false(to->from_place);
}

TEST(page_token, of_a_first_page_says_its_commit_alone)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_page *p = page(a);
    p->as_of = 0;
    OK(rest_page_place_read(p, arena_fmt(a, "%llu-b", (unsigned long long)newest), e));
    assert_int_equal(p->as_of, newest);
    assert_false(p->from_place);
    assert_null(p->after);
}

/* A place comes out of a sealed token, so none of these is expected; all the same none may pass. */
TEST(page_token, takes_nothing_else)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    sv future = arena_fmt(a, "%llu-b", (unsigned long long)newest + 1);
    FAILS(ERR_INVALID, rest_page_place_read(page(a), future, e));
    static const char *const bad[] = {
        "",
        "1",
        "b",
        "0-b",
        "x-b",
        "-b",
        "1-",
        "1-q",
        "1-p",
        "1-p-0-0-0",
        "1-p-x-0-0--p",
        "1-p-0-x-0--p",
        "1-p-1001-0-0--p",
        "1-p-0-0-0-0-p",
        "1-p-0-0-0-0G-p",
        "1-p-0-0-0-AB-p",
        "1-p-0-0-0--p_",
        "1-s",
        "1-s-",
        "1-s-00",
        "1-s-00-",
        "1-s-0-1",
        "1-s-zz-1",
        "1-s-00-p",
        "1-s-00-0",
        "1-s-00-18446744073709551616",
        "1-s-00.00.00.00.00.00-1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e;
        err_code rc = rest_page_place_read(page(a), sv_from(bad[i]), &e);
        if (rc != ERR_INVALID)
            fail_msg("\"%s\": %s", bad[i], err_code_name(rc));
    }
    CLEANUP_BUF struct buf long_key = BUF_INIT(1 << 20);
    OK(buf_add(&long_key, SV_LIT("1-s-"), e));
    for (unsigned i = 0; i <= SEARCH_SORT_KEY_MAX; i++)
        OK(buf_add(&long_key, SV_LIT("00"), e));
    OK(buf_add(&long_key, SV_LIT("-1"), e));
    FAILS(ERR_INVALID, rest_page_place_read(page(a), buf_sv(&long_key), e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(page_token, brings_back_where_a_walk_stood),
        T(page_token, brings_back_the_last_row_of_a_sorted_page),
        T(page_token, of_a_first_page_says_its_commit_alone),
        T(page_token, takes_nothing_else),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* NextToken: for whom it is good, and how long. The room itself is included, so that a token of
 * another time can be made. */
#include "test.h"

#include "aws/next_token.c"

static struct arena *a;
static struct service service;
static const struct operation list = { .name = "ListFHIRExportJobs" };
static const struct operation other_list = { .name = "ListFHIRImportJobs" };

static int set_up(void **state)
{
    (void)state;
    a = arena_new(1u << 20);
    memset(service.cursor_key, 7, sizeof service.cursor_key);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(a);
    return 0;
}

/* A call of the operation with these members; token: its NextToken, or SV_NONE. */
static struct call call_of(const struct operation *op, const char *who, const char *members,
                           sv token)
{
    yyjson_doc *doc;
    sv text = token.len ? arena_fmt(a, "{\"NextToken\":\"%.*s\",%s}", SV_FMT(token), members)
                        : arena_fmt(a, "{%s}", members);
    OK(json_read(a, text, 8, &doc, e));
    return (struct call){ .service = &service,
                          .op = op,
                          .a = a,
                          .caller = { .arn = sv_from(who) },
                          .input = yyjson_doc_get_root(doc) };
}

#define MEMBERS_OF_IT "\"DatastoreId\":\"d\",\"JobName\":\"x\",\"JobStatus\":null,\"MaxResults\":7"

static sv token_of(const char *position)
{
    sv token = SV_NONE;
    struct call c = call_of(&list, "me", MEMBERS_OF_IT, SV_NONE);
    OK(next_token_make(&c, sv_from(position), &token, e));
    return token;
}

TEST(next_token, it_goes_on_for_its_caller_with_the_same_request)
{
    (void)state;
    sv position, token = token_of("place-1");
    static const char *const same[] = {
        MEMBERS_OF_IT,
        "\"JobName\":\"x\",\"DatastoreId\":\"d\"", /* in another order, without what is null */
        "\"DatastoreId\":\"d\",\"MaxResults\":100,\"JobName\":\"x\"",
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct call c = call_of(&list, "me", same[i], token);
        OK(next_token_read(&c, &position, e));
        assert_sv(position, SV_LIT("place-1"));
    }
}

TEST(next_token, without_one_a_list_begins_at_its_begin)
{
    (void)state;
    sv position = SV_LIT("x");
    struct call c = call_of(&list, "me", MEMBERS_OF_IT, SV_NONE);
    OK(next_token_read(&c, &position, e));
    assert_int_equal(position.len, 0);
    c = call_of(&list, "me", MEMBERS_OF_IT ",\"NextToken\":\"\"", SV_NONE);
    OK(next_token_read(&c, &position, e));
    assert_int_equal(position.len, 0);
}

TEST(next_token, it_is_no_token_for_anybody_or_anything_else)
{
    (void)state;
    sv position, token = token_of("place-1");
    struct call c = call_of(&list, "you", MEMBERS_OF_IT, token);
    FAILS(ERR_INVALID, next_token_read(&c, &position, e));
    c = call_of(&other_list, "me", MEMBERS_OF_IT, token);
    FAILS(ERR_INVALID, next_token_read(&c, &position, e));
    c = call_of(&list, "me", "\"DatastoreId\":\"d\",\"JobName\":\"y\"", token);
    FAILS(ERR_INVALID, next_token_read(&c, &position, e));
    c = call_of(&list, "me", "\"DatastoreId\":\"d\"", token);
    FAILS(ERR_INVALID, next_token_read(&c, &position, e));
    c = call_of(&list, "me", MEMBERS_OF_IT, SV_LIT("bm9uc2Vuc2U"));
    FAILS(ERR_INVALID, next_token_read(&c, &position, e));
    for (size_t i = 0; i < token.len; i += 7) { /* any byte of it that is another */
        char *text = arena_alloc(a, token.len);
        memcpy(text, token.ptr, token.len);
        text[i] = text[i] == 'A' ? 'B' : 'A';
        c = call_of(&list, "me", MEMBERS_OF_IT, sv_make(text, token.len));
        FAILS(ERR_INVALID, next_token_read(&c, &position, e));
    }
}

/* A token that was made so long ago. */
static sv aged(int64_t age_ms)
{
    CLEANUP_BUF struct buf about = BUF_INIT(TEXT), plain = BUF_INIT(SEALED),
                           text = BUF_INIT(SEALED);
    uint64_t made = (uint64_t)(clock_wall_ms() - age_ms);
    struct call c = call_of(&list, "me", MEMBERS_OF_IT, SV_NONE);
    for (unsigned i = 0; i < 8; i++)
        OK(buf_add_char(&plain, (char)(made >> 8 * i), e));
    OK(buf_add(&plain, SV_LIT("place"), e));
    OK(asked(&c, &about, e));
    OK(seal_close(service.cursor_key, buf_sv(&about), buf_sv(&plain), &text, e));
    return arena_sv(a, buf_sv(&text));
}

TEST(next_token, it_is_good_for_a_day)
{
    (void)state;
    static const struct {
        int64_t age_ms;
        bool good;
    } ages[] = {
        { 0, true },       { 86400000 - 10000, true }, { 86400000 + 1, false },
        { -50000, true }, /* the clock was set back a little */
        { -70000, false },
    };
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        sv position;
        struct call c = call_of(&list, "me", MEMBERS_OF_IT, aged(ages[i].age_ms));
        struct err err = { 0 };
        err_code rc = next_token_read(&c, &position, &err);
        if (rc != (ages[i].good ? ERR_OK : ERR_INVALID))
            fail_msg("age %lld ms: %s", (long long)ages[i].age_ms, err_code_name(rc));
        if (rc != ERR_OK)
            assert_non_null(strstr(err.msg, "older than 24 hours"));
    }
}

TEST(next_token, a_page_has_the_size_that_is_asked_for_or_the_default)
{
    (void)state;
    struct call c = call_of(&list, "me", MEMBERS_OF_IT, SV_NONE);
    assert_int_equal(page_size(&c), 7);
    c = call_of(&list, "me", "\"MaxResults\":null", SV_NONE);
    assert_int_equal(page_size(&c), LIMIT_PAGE_DEFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(next_token, it_goes_on_for_its_caller_with_the_same_request),
        T(next_token, without_one_a_list_begins_at_its_begin),
        T(next_token, it_is_no_token_for_anybody_or_anything_else),
        T(next_token, it_is_good_for_a_day),
        T(next_token, a_page_has_the_size_that_is_asked_for_or_the_default),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Records of client tokens, as they stand in data folders. */
#include "test.h"

#include "job/client_token.h"

/* printf '%s' '["name","R4"]' | sha256sum */
#define DIGEST "33deb2c36996d08e752abc3dadef412d8c6b52ddffbad4e2f8678cbfd46a723e"
#define ID     "0123456789abcdef0123456789abcdef"

static struct arena *a;
static struct records *records;

static int set_up(void **state)
{
    (void)state;
    a = arena_new(1u << 20);
    OK(records_open(NULL, &records, e));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    records_close(records);
    arena_free(a);
    return 0;
}

TEST(client_token, the_digest_is_the_sha256_of_the_request)
{
    (void)state;
    sv digest;
    OK(client_token_digest(a, SV_LIT("[\"name\",\"R4\"]"), &digest, e));
    assert_sv(digest, SV_LIT(DIGEST));
}

TEST(client_token, records_are_written_as_older_releases_wrote_them)
{
    (void)state;
    sv text;
    struct client_token t = { .datastore_id = SV_LIT(ID), .digest = SV_LIT("d1") };
    OK(client_token_print(&t, a, &text, e));
    assert_sv(text, SV_LIT("{\"datastore\":\"" ID "\",\"digest\":\"d1\"}"));
    t.job_id = SV_LIT("j1");
    OK(client_token_print(&t, a, &text, e));
    assert_sv(text, SV_LIT("{\"datastore\":\"" ID "\",\"job\":\"j1\",\"digest\":\"d1\"}"));
}

TEST(client_token, a_record_is_read_back_whole)
{
    (void)state;
    struct client_token t;
    OK(records_put(records, SV_LIT("k"),
                   SV_LIT("{\"datastore\":\"" ID "\",\"job\":\"j1\",\"digest\":\"d1\"}"), e));
    OK(client_token_read(records, SV_LIT("k"), a, &t, e));
    assert_sv(t.datastore_id, SV_LIT(ID));
    assert_sv(t.job_id, SV_LIT("j1"));
    assert_sv(t.digest, SV_LIT("d1"));
    OK(client_token_parse(SV_LIT("{\"datastore\":\"" ID "\",\"digest\":\"d1\"}"), a, &t, e));
    assert_int_equal(t.job_id.len, 0);
}

TEST(client_token, a_new_one_is_not_found_and_a_damaged_one_is_said_to_be_so)
{
    (void)state;
    struct client_token t;
    static const char *const bad[] = { "", "{", "{\"datastore\":[[]]}", "nonsense" };
    FAILS(ERR_NOT_FOUND, client_token_read(records, SV_LIT("other"), a, &t, e));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        FAILS(ERR_CORRUPT, client_token_parse(sv_from(bad[i]), a, &t, e));
}

TEST(client_token, another_request_is_refused_by_the_name_of_what_it_would_make)
{
    (void)state;
    struct client_token t = { .digest = SV_LIT("d1") };
    struct err err = { 0 };
    OK(client_token_same(&t, SV_LIT("d1"), "job", e));
    assert_int_equal(client_token_same(&t, SV_LIT("d2"), "data store", &err), ERR_INVALID);
    assert_string_equal(err.msg, "ClientToken was used before with other parameters; use a new "
                                 "one for a new data store");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(client_token, the_digest_is_the_sha256_of_the_request),
        T(client_token, records_are_written_as_older_releases_wrote_them),
        T(client_token, a_record_is_read_back_whole),
        T(client_token, a_new_one_is_not_found_and_a_damaged_one_is_said_to_be_so),
        T(client_token, another_request_is_refused_by_the_name_of_what_it_would_make),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

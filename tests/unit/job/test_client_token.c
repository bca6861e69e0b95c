/* Records of client tokens, as they stand in data folders; and a job's token stands for one request
 * and its job. */
#include "job/sample.h"

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

TEST(job_token, a_token_stands_for_one_job_and_a_second_one_writes_nothing)
{
    CLEANUP(records_close) struct records *r = in_memory();
    struct job_record first = sample("a", 1), second = sample("b", 2), got;
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    sv datastore, id, digest;
    q.client_token = SV_LIT("t/1");
    FAILS(ERR_NOT_FOUND, job_token_read(r, &q, a, &datastore, &id, &digest, e));
    OK(job_record_create(r, &first, q.client_token, NULL, 0, e));
    FAILS(ERR_EXISTS, job_record_create(r, &second, q.client_token, NULL, 0, e));
    FAILS(ERR_NOT_FOUND, job_record_read(r, JOB_EXPORT, FX_STORE, SV_LIT("b"), a, &got, e));
    OK(job_token_read(r, &q, a, &datastore, &id, &digest, e));
    assert_sv(datastore, FX_STORE);
    assert_sv(id, SV_LIT("a"));
    assert_sv(digest, SV_LIT("00ff"));
    /* a token belongs to an operation and an account */
    q.kind = JOB_IMPORT;
    FAILS(ERR_NOT_FOUND, job_token_read(r, &q, a, &datastore, &id, &digest, e));
    q.kind = JOB_EXPORT;
    q.account_id = SV_LIT("999999999999");
    FAILS(ERR_NOT_FOUND, job_token_read(r, &q, a, &datastore, &id, &digest, e));
}

TEST(job_token, every_part_of_a_request_counts_and_parts_do_not_run_into_each_other)
{
    const struct job_export_params p = { .since_ms = 1 };
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    sv first = job_token_digest(a, &q);
    assert_sv(job_token_digest(a, &q), first);
    struct job_request other = q;
    other.job_name = SV_LIT("x");
    assert_false(sv_eq(job_token_digest(a, &other), first));
    other = q;
    other.params = &p;
    assert_false(sv_eq(job_token_digest(a, &other), first));
    other = q;
    other.job_name = SV_LIT("ab");
    other.role_arn = SV_LIT("c");
    sv one = job_token_digest(a, &other);
    other.job_name = SV_LIT("a");
    other.role_arn = SV_LIT("bc");
    assert_false(sv_eq(job_token_digest(a, &other), one));
    /* the token itself and who asks are no part of it */
    other = q;
    other.client_token = SV_LIT("t");
    other.account_id = SV_LIT("210987654321");
    assert_sv(job_token_digest(a, &other), first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(client_token, the_digest_is_the_sha256_of_the_request),
        T(client_token, records_are_written_as_older_releases_wrote_them),
        T(client_token, a_record_is_read_back_whole),
        T(client_token, a_new_one_is_not_found_and_a_damaged_one_is_said_to_be_so),
        T(client_token, another_request_is_refused_by_the_name_of_what_it_would_make),
        T(job_token, a_token_stands_for_one_job_and_a_second_one_writes_nothing),
        T(job_token, every_part_of_a_request_counts_and_parts_do_not_run_into_each_other),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

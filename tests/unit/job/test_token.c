/* test_token.c - a client token stands for one request and its job. */
#include "job/sample.h"

TEST(token, a_token_stands_for_one_job_and_a_second_one_writes_nothing)
{
    CLEANUP(records_close) struct records *r = in_memory();
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct job_record first = sample("a", 1), second = sample("b", 2), got;
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    sv datastore, id, digest;
    q.client_token = SV_LIT("t/1");
    FAILS(ERR_NOT_FOUND, job_token_read(r, &q, a, &datastore, &id, &digest, e));
    OK(job_record_create(r, &first, q.client_token, e));
    FAILS(ERR_EXISTS, job_record_create(r, &second, q.client_token, e));
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

TEST(token, every_part_of_a_request_counts_and_parts_do_not_run_into_each_other)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
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

TEST_MAIN(T(token, a_token_stands_for_one_job_and_a_second_one_writes_nothing),
          T(token, every_part_of_a_request_counts_and_parts_do_not_run_into_each_other))

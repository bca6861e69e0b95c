/* test_submit.c - how a job comes in: what is refused before it exists, tokens, a full queue. */
#include "job/filled.h"

static const struct job_export_params served = {
    .served = true, .request_url = { "http://x/r4/$export", sizeof("http://x/r4/$export") - 1 }
};

TEST(submit, what_cannot_work_is_refused_and_no_job_exists)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store *st = fx_store(&f);
    fx_engine(&f, 1, 0, 0);
    struct job j, *jobs;
    struct job_request q = fx_request(JOB_IMPORT, "s3://input/none/", "s3://out/p");
    size_t n;
    sv next;
    /* no such bucket */
    FAILS(ERR_NOT_FOUND, job_submit(f.engine, &q, a, &j, e));
    fx_put(&f, "input/other/x.ndjson", SV_LIT("{}"));
    /* nothing there */
    FAILS(ERR_NOT_FOUND, job_submit(f.engine, &q, a, &j, e));
    q = fx_request(JOB_EXPORT, "", "s3://out/../up");
    FAILS(ERR_INVALID, job_submit(f.engine, &q, a, &j, e));
    struct job_filter all = { .datastore_id = FX_STORE };
    OK(job_list(f.engine, JOB_IMPORT, &all, SV_NONE, 10, a, &jobs, &n, &next, e));
    assert_int_equal(n, 0);
    OK(job_list(f.engine, JOB_EXPORT, &all, SV_NONE, 10, a, &jobs, &n, &next, e));
    assert_int_equal(n, 0);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

static err_code run_until_it_is_stopped(struct job_run *r, job_status *status, struct buf *message,
                                        struct err *e)
{
    (void)status, (void)message;
    while (!job_run_should_stop(r))
        job_run_pause(r, 5);
    return ERR(e, ERR_CANCELLED, "stopped");
}

TEST(submit, a_token_gives_the_first_job_and_a_full_queue_refuses)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct store *st = fx_store(&f);
    /* the first one runs as long as anybody asks */
    struct job_kind_ops ops = export_ops;
    ops.run = run_until_it_is_stopped;
    struct job_engine_config cfg = fx_config(&f, 1);
    cfg.kinds[JOB_EXPORT] = &ops;
    OK(job_engine_start(&cfg, &f.engine, e));
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    struct job first, again, other;
    q.client_token = SV_LIT("token");
    OK(job_submit(f.engine, &q, a, &first, e));
    OK(job_submit(f.engine, &q, a, &again, e));
    assert_sv(again.id, first.id);
    q.output_uri = SV_LIT("s3://out/q");
    FAILS(ERR_INVALID, job_submit(f.engine, &q, a, &other, e));
    q.client_token = SV_NONE;
    OK(job_submit(f.engine, &q, a, &again, e));
    OK(job_get(f.engine, JOB_EXPORT, FX_STORE, again.id, a, &other, e));
    assert_int_equal(other.status, JOB_QUEUED);
    OK(job_submit(f.engine, &q, a, &other, e));
    /* one runs, two wait */
    FAILS(ERR_THROTTLED, job_submit(f.engine, &q, a, &other, e));
    OK(job_datastore_drop(f.engine, FX_STORE, e));
    first = fx_wait(&f, JOB_EXPORT, first.id, a);
    assert_int_equal(first.status, JOB_FAILED);
    assert_sv(first.message, SV_LIT("The data store was deleted"));
    again = fx_wait(&f, JOB_EXPORT, again.id, a);
    assert_int_equal(again.status, JOB_FAILED);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST(submit, parameters_survive_a_restart_and_belong_to_the_client_token)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    fill(st);
    store_registry_release(f.stores, st);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job j, again;
    struct err err;
    struct job_export_params p = served, other = served;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.client_token = SV_LIT("token");
    q.params = &p;
    OK(job_submit(f.engine, &q, a, &j, e));
    other.partial_manifests = true;
    q.params = &other;
    assert_int_equal(job_submit(f.engine, &q, a, &again, &err), ERR_INVALID);
    q.params = NULL;
    assert_int_equal(job_submit(f.engine, &q, a, &again, &err), ERR_INVALID);
    q.params = &p;
    OK(job_submit(f.engine, &q, a, &again, e));
    assert_sv(again.id, j.id);
    fx_wait(&f, JOB_EXPORT, j.id, a);
    fx_engine_stop(&f);
    fx_engine(&f, 2, 0, 0);
    OK(job_get(f.engine, JOB_EXPORT, FX_STORE, j.id, a, &again, e));
    assert_sv(again.request_url, p.request_url);
    assert_true(again.served && again.params && again.params->served);
    fx_close(&f);
}

/* A place so deep that what a job writes below it has no key any more. */
TEST(submit, places_that_leave_no_room_for_the_jobs_names_are_refused_at_the_start)
{
    struct fx f;
    fx_open(&f);
    fx_put(&f, "input/a.ndjson", SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"a\"}"));
    store_registry_release(f.stores, fx_store(&f));
    fx_engine(&f, 1, 0, 0);
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    /* the folder's own name has 77 bytes */
    static const struct {
        size_t prefix;
        bool fits;
    } cases[] = { { 1024, false },
                  { 1024 - 78, false },
                  { 1024 - 79 - 128 + 1, false },
                  { 1024 - 79 - 128, true } };
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            char uri[1200] = "s3://out/";
            size_t n = strlen(uri);
            for (size_t k = 0; k < cases[i].prefix; k++)
                uri[n + k] = k % 2 ? '/' : 'a';
            if (uri[n + cases[i].prefix - 1] == '/')
                uri[n + cases[i].prefix - 1] = 'a';
            uri[n + cases[i].prefix] = 0;
            struct job_request q =
                fx_request(kind ? JOB_IMPORT : JOB_EXPORT, kind ? "s3://input/" : "", uri);
            struct job j;
            struct err why;
            err_code rc = job_submit(f.engine, &q, a, &j, &why);
            if (!cases[i].fits) {
                assert_int_equal(rc, ERR_INVALID);
                assert_non_null(strstr(why.msg, "1024 bytes"));
                continue;
            }
            assert_int_equal(rc, ERR_OK);
            j = fx_wait(&f, kind ? JOB_IMPORT : JOB_EXPORT, j.id, a);
            assert_int_equal(j.status, JOB_COMPLETED);
        }
    fx_close(&f);
}

TEST_MAIN(T(submit, what_cannot_work_is_refused_and_no_job_exists),
          T(submit, a_token_gives_the_first_job_and_a_full_queue_refuses),
          T(submit, parameters_survive_a_restart_and_belong_to_the_client_token),
          T(submit, places_that_leave_no_room_for_the_jobs_names_are_refused_at_the_start))

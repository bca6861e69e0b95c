/* test_forget.c - when a data store is deleted, nothing that its callers wrote in a request is left
 * in any file: not in records, nor in what RocksDB keeps beside them. */
#include "fixture.h"

#include "base/rng.h"
#include "codec/json.h"

#define WORD  "Zqsecretname" /* stands for a patient's name, in everything that a caller may say */
#define OTHER SV_LIT("fedcba9876543210fedcba9876543210")

/* Records on disk, and small, so that there are several sorted files. */
static void open_records(struct fx *f)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/records", f->root);
    if (f->records)
        records_close(f->records);
    OK(records_open(path, &f->records, e));
}

/* How many files below the root hold the text. */
static unsigned n_files_with(const struct fx *f, const char *text, const char *below)
{
    char path[256], line[512];
    unsigned n = 0;
    (void)snprintf(path, sizeof path, "grep -rlaF '%s' %s/%s", text, f->root, below);
    FILE *p = popen(path, "r");
    assert_non_null(p);
    while (fgets(line, sizeof line, p))
        n++;
    (void)pclose(p);
    return n;
}

static const struct job_export_params telling = {
    .level = JOB_EXPORT_SYSTEM,
    .types = LIST(S("Patient")),
    .type_filters = LIST(S("Patient?name=" WORD)),
    .elements = LIST(S("Patient.name")),
    .security = LIST(S("http://x|" WORD)),
    .tag = LIST(S("http://x|" WORD)),
    .served = true,
    .request_url = S("http://x/r4/$export?_typeFilter=Patient%3Fname%3D" WORD),
    .notes = LIST(S("passed over: " WORD)),
};

static struct job start(struct fx *f, sv store, const struct job_export_params *p,
                        const char *token, struct arena *a)
{
    struct job j;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.datastore_id = store;
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.client_token = sv_from(token);
    q.params = p;
    OK(job_submit(f->engine, &q, a, &j, e));
    return j;
}

static struct job end_of(struct fx *f, sv store, sv id, struct arena *a)
{
    struct job j;
    for (;;) {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f->engine, JOB_EXPORT, store, id, a, &j, e));
        if (job_status_is_final(j.status))
            return j;
        arena_rewind(a, m);
        fx_nap();
    }
}

static void make_store(struct fx *f, sv id)
{
    struct store *st = NULL;
    OK(store_registry_acquire(f->stores, id, true, &st, e));
    fx_write(st, fhir_type_find(SV_LIT("Patient")), "p", WORD);
    store_registry_release(f->stores, st);
}

static void begin(struct fx *f)
{
    fx_open(f);
    open_records(f);
    make_store(f, FX_STORE);
    make_store(f, OTHER);
    fx_engine(f, 2, 0, 0);
}

static void restart(struct fx *f)
{
    fx_engine_stop(f);
    open_records(f);
    fx_engine(f, 2, 0, 0);
}

static void check_described(struct fx *f, sv id, job_status status)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    struct job_filter all = { .datastore_id = FX_STORE };
    struct job j, *jobs;
    size_t n, found = 0;
    sv next;
    OK(job_get(f->engine, JOB_EXPORT, FX_STORE, id, a, &j, e));
    assert_int_equal(j.status, status);
    assert_true(j.submit_ms && j.end_ms);
    assert_null(j.params);
    assert_int_equal(j.request_url.len, 0);
    OK(job_list(f->engine, JOB_EXPORT, &all, SV_NONE, 500, a, &jobs, &n, &next, e));
    for (size_t i = 0; i < n; i++)
        found += sv_eq(jobs[i].id, id);
    assert_int_equal(found, 1);
}

TEST(forget, what_jobs_asked_for_is_in_no_file_and_they_stay_describable)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    char ids[40][33], token[64];
    begin(&f);
    /* in the log, in memory, and in sorted files of several ages */
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(token, sizeof token, "token-" WORD "-%u", i);
        struct job j = start(&f, FX_STORE, &telling, token, a);
        (void)snprintf(ids[i], sizeof ids[i], "%.*s", SV_FMT(j.id));
        assert_int_equal(end_of(&f, FX_STORE, j.id, a).status, JOB_COMPLETED);
        if (i % 13 == 0)
            restart(&f);
        if (i == 20)
            OK(records_scrub(f.records, e));
    }
    assert_true(n_files_with(&f, WORD, "records") > 1);
    /* the store's, and the served files */
    assert_true(n_files_with(&f, WORD, "") > 3);
    OK(job_datastore_drop(f.engine, FX_STORE, e));
    OK(store_registry_remove(f.stores, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    OK(store_registry_remove(f.stores, OTHER, e));
    assert_int_equal(n_files_with(&f, WORD, ""), 0);
    for (unsigned i = 0; i < 40; i++)
        check_described(&f, sv_from(ids[i]), JOB_COMPLETED);
    restart(&f);
    check_described(&f, sv_from(ids[7]), JOB_COMPLETED);
    fx_close(&f);
}

TEST(forget, jobs_that_wait_or_run_when_it_comes_are_forgotten_too)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    char ids[3][33];
    begin(&f);
    for (unsigned i = 0; i < 3; i++) {
        struct job j = start(&f, FX_STORE, &telling, "", a);
        (void)snprintf(ids[i], sizeof ids[i], "%.*s", SV_FMT(j.id));
    }
    OK(job_datastore_drop(f.engine, FX_STORE, e));
    OK(store_registry_remove(f.stores, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    OK(store_registry_remove(f.stores, OTHER, e));
    assert_int_equal(n_files_with(&f, WORD, ""), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct job j;
        OK(job_get(f.engine, JOB_EXPORT, FX_STORE, sv_from(ids[i]), a, &j, e));
        check_described(&f, sv_from(ids[i]), j.status);
        assert_true(j.status == JOB_FAILED || j.status == JOB_COMPLETED);
    }
    fx_close(&f);
}

TEST(forget, a_run_that_a_crash_ended_is_made_good_by_the_next)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    bool any = false;
    begin(&f);
    struct job j = start(&f, FX_STORE, &telling, "token-" WORD, a);
    (void)end_of(&f, FX_STORE, j.id, a);
    OK(store_registry_remove(f.stores, FX_STORE, e));
    /* and here the process ends */
    OK(job_records_forget(f.records, FX_STORE, &any, e));
    assert_true(any);
    assert_true(n_files_with(&f, WORD, "records") > 0);
    restart(&f);
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    assert_int_equal(n_files_with(&f, WORD, "records"), 0);
    check_described(&f, j.id, JOB_COMPLETED);
    fx_close(&f);
}

TEST(forget, other_data_stores_keep_theirs)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    struct err why;
    begin(&f);
    struct job mine = start(&f, FX_STORE, &telling, "mine", a);
    struct job other = start(&f, OTHER, &telling, "other", a);
    (void)end_of(&f, FX_STORE, mine.id, a);
    (void)end_of(&f, OTHER, other.id, a);
    OK(job_datastore_drop(f.engine, FX_STORE, e));
    OK(store_registry_remove(f.stores, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    struct job j;
    OK(job_get(f.engine, JOB_EXPORT, OTHER, other.id, a, &j, e));
    assert_non_null(j.params);
    assert_sv(j.request_url, telling.request_url);
    CLEANUP_BUF struct buf manifest = BUF_INIT(1 << 20);
    bool complete = false;
    OK(job_export_manifest(f.engine, OTHER, other.id, &manifest, &complete, e));
    assert_true(complete);
    /* its token still stands for it */
    j = start(&f, OTHER, &telling, "other", a);
    assert_sv(j.id, other.id);
    /* and the deleted one takes no more: nothing is written down */
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = &telling;
    q.client_token = SV_LIT("mine");
    assert_int_equal(job_submit(f.engine, &q, a, &j, &why), ERR_INVALID);
    struct job_filter all = { .datastore_id = FX_STORE };
    struct job *jobs;
    size_t n;
    sv next;
    OK(job_list(f.engine, JOB_EXPORT, &all, SV_NONE, 500, a, &jobs, &n, &next, e));
    assert_int_equal(n, 1);
    fx_close(&f);
}

/* A request that came in while its data store was being deleted: it is held until it has entered
 * the queue, so that the deletion finds it. */
struct late {
    struct fx *f;
    atomic_uint n_in;
};

static void *submit_on_and_on(void *ctx)
{
    struct late *l = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    for (;;) {
        struct job_request q = fx_request(JOB_EXPORT, "", "");
        struct job j;
        struct err e;
        q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
        q.params = &telling;
        err_code rc = job_submit(l->f->engine, &q, a, &j, &e);
        if (rc == ERR_OK)
            atomic_fetch_add(&l->n_in, 1);
        else if (rc != ERR_THROTTLED)
            return rc == ERR_INVALID || rc == ERR_NOT_FOUND || rc == ERR_GONE ? NULL : ctx;
        arena_reset(a);
    }
}

TEST(forget, whoever_comes_in_during_the_deletion_is_forgotten_or_refused)
{
    struct fx f;
    begin(&f);
    fx_engine_stop(&f);
    struct job_engine_config cfg = fx_config(&f, 2);
    cfg.max_queued = 10000;
    OK(job_engine_start(&cfg, &f.engine, e));
    struct late l = { .f = &f };
    pthread_t t[8];
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, submit_on_and_on, &l), 0);
    while (atomic_load(&l.n_in) < 5)
        fx_nap();
    /* the service would have dropped its jobs before */
    OK(store_registry_remove(f.stores, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    for (unsigned i = 0; i < 8; i++) {
        void *wrong = NULL;
        pthread_join(t[i], &wrong);
        assert_null(wrong);
    }
    OK(store_registry_remove(f.stores, OTHER, e));
    assert_int_equal(n_files_with(&f, WORD, ""), 0);
    fx_close(&f);
}

TEST(forget, tokens_of_before_are_still_found)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    begin(&f);
    struct job j = start(&f, FX_STORE, &telling, "old", a), again;
    /* as an earlier version wrote it: the token itself in the key */
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    sv digest, store, id;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.client_token = SV_LIT("old");
    OK(job_token_read(f.records, &q, a, &store, &id, &digest, e));
    OK(buf_add_fmt(&b, e, "{\"datastore\":\"%.*s\",\"job\":\"%.*s\",\"digest\":\"%.*s\"}",
                   SV_FMT(store), SV_FMT(id), SV_FMT(digest)));
    OK(records_put(f.records, SV_LIT("jobtoken/123456789012/export/older"), buf_sv(&b), e));
    again = start(&f, FX_STORE, &telling, "older", a);
    assert_sv(again.id, j.id);
    (void)end_of(&f, FX_STORE, j.id, a);
    OK(store_registry_remove(f.stores, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    buf_clear(&b);
    struct err why;
    assert_int_equal(records_get(f.records, SV_LIT("jobtoken/123456789012/export/older"), &b, &why),
                     ERR_NOT_FOUND);
    fx_close(&f);
}

TEST_MAIN(T(forget, what_jobs_asked_for_is_in_no_file_and_they_stay_describable),
          T(forget, jobs_that_wait_or_run_when_it_comes_are_forgotten_too),
          T(forget, a_run_that_a_crash_ended_is_made_good_by_the_next),
          T(forget, other_data_stores_keep_theirs),
          T(forget, whoever_comes_in_during_the_deletion_is_forgotten_or_refused),
          T(forget, tokens_of_before_are_still_found))

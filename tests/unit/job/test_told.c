/* What is told of jobs: an event for each status, in the batch that writes it, in the form of
 * HealthLake's. The endpoint is not there, so that all events are still in the records. */
#include "fixture.h"

struct seen {
    struct arena *a;
    char types[4096]; /* detail types, '\n' behind each */
    yyjson_val *last;
};

static bool see(void *ctx, sv key, sv body)
{
    struct seen *s = ctx;
    yyjson_doc *doc;
    OK(json_read(s->a, arena_sv(s->a, body), 8, &doc, e));
    s->last = yyjson_doc_get_root(doc);
    size_t len = strlen(s->types);
    (void)snprintf(s->types + len, sizeof s->types - len, "%.*s\n",
                   SV_FMT(json_string(json_get(s->last, "detail-type"))));
    return true;
}

static struct seen see_all(struct fx *f, struct arena *a)
{
    struct seen s = { .a = a };
    OK(records_scan(f->records, SV_LIT("event/"), SV_NONE, see, &s, e));
    return s;
}

static struct events *events_of(struct fx *f)
{
    static char dead[128];
    struct events *events = NULL;
    (void)snprintf(dead, sizeof dead, "%s/dead", f->root);
    /* nobody listens on port 1, and it is asked again in five minutes */
    struct events_config cfg = { .records = f->records,
                                 .url = "http://127.0.0.1:1/",
                                 .dead_path = dead,
                                 .first_wait_ms = 300000 };
    OK(events_start(&cfg, &events, e));
    return events;
}

static void start(struct fx *f, struct events *events)
{
    struct job_engine_config cfg = {
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = f->records,
        .stores = f->stores,
        .world = f->world,
        .spool_dir = f->spool,
        .n_workers = 1,
        .events = events
    };
    OK(job_engine_start(&cfg, &f->engine, e));
}

TEST(told, is_each_status_of_a_job_in_its_order)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 24);
    struct fx f;
    struct job job;
    fx_open(&f);
    store_registry_release(f.stores, fx_store(&f));
    fx_put(&f, "input/a/p.ndjson",
           SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"smith\"}\nbad\n"));
    struct events *events = events_of(&f);
    start(&f, events);
    struct job_request request = fx_request(JOB_IMPORT, "s3://input/a/", "s3://out/o");
    OK(job_submit(f.engine, &request, a, &job, e));
    assert_int_equal(fx_wait(&f, JOB_IMPORT, job.id, a).status, JOB_COMPLETED_WITH_ERRORS);
    struct seen s = see_all(&f, a);
    assert_string_equal(s.types, "Import Job Submitted\nImport Job In Progress\n"
                                 "Import Job Completed With Errors\n");
    yyjson_val *detail = json_get(s.last, "detail");
    assert_sv(json_string(json_get(detail, "jobId")), job.id);
    assert_sv(json_string(json_get(detail, "datastoreId")), FX_STORE);
    assert_int_equal(json_string(json_get(detail, "submitTime")).len, 24);
    assert_sv(json_string(json_get(json_get(detail, "inputDataConfig"), "s3Uri")),
              SV_LIT("s3://input/a/"));
    assert_int_equal(yyjson_obj_size(detail), 4);
    assert_sv(json_string(json_get(s.last, "account")), SV_LIT("123456789012"));

    request = fx_request(JOB_EXPORT, "", "s3://out/o");
    OK(job_submit(f.engine, &request, a, &job, e));
    job = fx_wait(&f, JOB_EXPORT, job.id, a);
    s = see_all(&f, a);
    assert_non_null(strstr(s.types, "Export Job Submitted\nExport Job In Progress\n"
                                    "Export Job Completed\n"));
    assert_sv(
        json_string(json_get(json_get(json_get(s.last, "detail"), "outputDataConfig"), "s3Uri")),
        job.job_folder_uri);
    fx_engine_stop(&f);
    events_stop(events);
    fx_close(&f);
}

/* A move that another process has made already is none. */
TEST(told, is_no_status_twice_and_none_of_a_cancellation)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 24);
    struct fx f;
    fx_open(&f);
    struct events *events = events_of(&f);
    struct job_engine en = { .cfg = { .records = f.records, .events = events } };
    struct job_record rec = { .job = { .kind = JOB_EXPORT,
                                       .id = SV_LIT("0123456789abcdef0123456789abcdef"),
                                       .datastore_id = FX_STORE,
                                       .datastore_arn = SV_LIT("arn:aws:healthlake:r:1:x") } };
    static const job_status moves[] = {
        JOB_QUEUED,           JOB_IN_PROGRESS,        JOB_IN_PROGRESS,
        JOB_CANCEL_SUBMITTED, JOB_CANCEL_IN_PROGRESS, JOB_CANCEL_COMPLETED
    };
    pthread_mutex_init(&en.record_lock, NULL);
    en.kept = job_kept_new(&(struct job_served_limits){ 0 });
    OK(job_record_create(f.records, &rec, SV_NONE, NULL, 0, e));
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        struct job_change change = { .to = moves[i] };
        OK(job_engine_change(&en, JOB_EXPORT, FX_STORE, rec.job.id, &change, e));
    }
    /* one that is not allowed is not told */
    struct job_change change = { .to = JOB_COMPLETED };
    FAILS(ERR_CONFLICT, job_engine_change(&en, JOB_EXPORT, FX_STORE, rec.job.id, &change, e));
    assert_string_equal(see_all(&f, a).types, "Export Job Queued\nExport Job In Progress\n");
    struct events_counts n;
    events_count(events, &n);
    assert_int_equal(n.waiting, 2);
    job_kept_free(en.kept);
    pthread_mutex_destroy(&en.record_lock);
    events_stop(events);
    fx_close(&f);
}

/* Both are in one batch: of a job that does not come to be nothing is told. */
TEST(told, is_nothing_of_a_job_whose_record_is_refused)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 24);
    struct fx f;
    fx_open(&f);
    struct events *events = events_of(&f);
    struct job_record first = { .digest = SV_LIT("00ff"),
                                .order = 1,
                                .job = { .kind = JOB_EXPORT,
                                         .id = SV_LIT("0123456789abcdef0123456789abcdef"),
                                         .account_id = SV_LIT("123456789012"),
                                         .datastore_id = FX_STORE,
                                         .datastore_arn = SV_LIT("arn:aws:healthlake:r:1:x") } };
    struct job_record second = first;
    second.order = 2;
    second.job.id = SV_LIT("fedcba9876543210fedcba9876543210");
    OK(job_told(events, &first, a, e));
    assert_non_null(first.told);
    OK(job_record_create(f.records, &first, SV_LIT("token"), NULL, 0, e));
    job_told_written(events, &first);
    OK(job_told(events, &second, a, e));
    FAILS(ERR_EXISTS, job_record_create(f.records, &second, SV_LIT("token"), NULL, 0, e));
    struct seen s = see_all(&f, a);
    assert_string_equal(s.types, "Export Job Submitted\n");
    assert_sv(json_string(json_get(json_get(s.last, "detail"), "jobId")), first.job.id);
    events_stop(events);
    fx_close(&f);
}

TEST_MAIN(T(told, is_nothing_of_a_job_whose_record_is_refused),
          T(told, is_each_status_of_a_job_in_its_order),
          T(told, is_no_status_twice_and_none_of_a_cancellation))

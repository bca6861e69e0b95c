/* What jobs come to: how many there are, how they ended, and what they have moved, by kind. */
#include "fixture.h"

#define LINES 50u

static void put_lines(struct fx *f)
{
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    for (unsigned i = 0; i < LINES; i++)
        OK(buf_add_fmt(&text, e, "{\"resourceType\":\"Patient\",\"id\":\"p%u\"}\n", i));
    fx_put(f, "input/a/p.ndjson", buf_sv(&text));
}

static struct job run_one(struct fx *f, job_kind kind, const char *input, struct arena *a)
{
    struct job_request request = fx_request(kind, input, "s3://out/o");
    struct job job;
    OK(job_submit(f->engine, &request, a, &job, e));
    return fx_wait(f, kind, job.id, a);
}

/* A job is counted just after its record says that it ended. */
static void count_ended(struct fx *f, job_kind kind, uint64_t n_ended, struct job_counts *out)
{
    uint64_t n;
    do {
        (void)sched_yield();
        job_engine_count(f->engine, kind, out);
        n = out->ended[JOB_COMPLETED] + out->ended[JOB_FAILED];
    } while (n < n_ended);
}

TEST(counts, follow_an_import_an_export_and_a_failure)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 24);
    struct fx f;
    struct job_counts n;
    fx_open(&f);
    store_registry_release(f.stores, fx_store(&f));
    put_lines(&f);
    fx_put(&f, "input/empty/readme.txt", SV_LIT("none"));
    fx_engine(&f, 1, 0, 0);
    job_engine_count(f.engine, JOB_IMPORT, &n);
    assert_int_equal(n.n_waiting + n.n_running + n.n_cancelling, 0);
    assert_int_equal(n.resources + n.bytes, 0);

    struct job import = run_one(&f, JOB_IMPORT, "s3://input/a/", a);
    assert_int_equal(import.status, JOB_COMPLETED);
    assert_int_equal(run_one(&f, JOB_IMPORT, "s3://input/empty/", a).status, JOB_FAILED);
    struct job export = run_one(&f, JOB_EXPORT, "", a);
    assert_int_equal(export.status, JOB_COMPLETED);

    count_ended(&f, JOB_IMPORT, 2, &n);
    assert_int_equal(n.ended[JOB_COMPLETED], 1);
    assert_int_equal(n.ended[JOB_FAILED], 1);
    assert_int_equal(n.resources, LINES);
    assert_int_equal(n.bytes, import.progress.bytes_imported);
    count_ended(&f, JOB_EXPORT, 1, &n);
    assert_int_equal(n.ended[JOB_COMPLETED], 1);
    assert_int_equal(n.ended[JOB_FAILED], 0);
    assert_int_equal(n.resources, LINES);
    assert_int_equal(n.bytes, export.progress.bytes_exported);
    assert_true(n.bytes > 0);
    fx_close(&f);
}

/* An engine of which only the list is looked at. */
TEST(counts, tell_those_that_wait_from_those_that_run_and_those_that_are_to_end)
{
    struct job_engine en = { 0 };
    struct job_entry entries[] = { { .kind = JOB_EXPORT, .running = true },
                                   { .kind = JOB_EXPORT },
                                   { .kind = JOB_EXPORT },
                                   { .kind = JOB_EXPORT, .running = true, .wish = CANCEL },
                                   { .kind = JOB_IMPORT, .running = true } };
    struct job_counts n;
    pthread_mutex_init(&en.locked.lock, NULL);
    for (size_t i = 0; i + 1 < sizeof entries / sizeof entries[0]; i++)
        entries[i].next = &entries[i + 1];
    en.locked.first = entries;
    job_engine_count(&en, JOB_EXPORT, &n);
    assert_int_equal(n.n_waiting, 2);
    assert_int_equal(n.n_running, 1);
    assert_int_equal(n.n_cancelling, 1);
    job_engine_count(&en, JOB_IMPORT, &n);
    assert_int_equal(n.n_waiting, 0);
    assert_int_equal(n.n_running, 1);
    pthread_mutex_destroy(&en.locked.lock);
}

TEST(counts, of_what_was_moved_never_go_back)
{
    struct job_engine en = { 0 };
    struct job_counts n;
    const struct job_progress none = { 0 },
                              ten = { .resources_exported = 10, .bytes_exported = 99 },
                              five = { .resources_exported = 5, .bytes_exported = 50 };
    pthread_mutex_init(&en.locked.lock, NULL);
    job_count_progress(&en, JOB_EXPORT, &none, &ten);
    job_count_progress(&en, JOB_EXPORT, &ten, &five);
    job_engine_count(&en, JOB_EXPORT, &n);
    assert_int_equal(n.resources, 10);
    assert_int_equal(n.bytes, 99);
    job_count_progress(&en, JOB_EXPORT, &five, &ten);
    job_engine_count(&en, JOB_EXPORT, &n);
    assert_int_equal(n.resources, 15);
    pthread_mutex_destroy(&en.locked.lock);
}

TEST_MAIN(T(counts, follow_an_import_an_export_and_a_failure),
          T(counts, tell_those_that_wait_from_those_that_run_and_those_that_are_to_end),
          T(counts, of_what_was_moved_never_go_back))

/* test_run.c - whose turn it is, and how a job ends, with a kind of job that does what it is told;
 * and what a running job may call, without an engine.
 *
 * The kind waits at a gate until the test opens it or the job is to stop, and writes down which of
 * its operations were called. */
#include "fixture.h"

#include "base/clock.h"
#include "store/store_private.h"

#include <sched.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_running, n_opened; /* runs that came to the gate; that may pass it */
    err_code end;                 /* of a run that passed it */
    err_code undo;
    bool has_giant;  /* a run wants the place for one first */
    uint64_t n_told; /* resources that a run says it has imported; 0: it says nothing */
    char calls[256];
} stage = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void say(const char *what)
{
    pthread_mutex_lock(&stage.lock);
    strncat(stage.calls, what, sizeof stage.calls - strlen(stage.calls) - 1);
    pthread_cond_broadcast(&stage.changed);
    pthread_mutex_unlock(&stage.lock);
}

static err_code fake_run(struct job_run *r, job_status *status, struct buf *message, struct err *e)
{
    say("run ");
    if (stage.n_told)
        job_run_progress_set(r, &(struct job_progress){ .resources_imported = stage.n_told });
    pthread_mutex_lock(&stage.lock);
    unsigned mine = ++stage.n_running;
    bool has_giant = stage.has_giant;
    pthread_cond_broadcast(&stage.changed);
    if (has_giant) {
        pthread_mutex_unlock(&stage.lock);
        TRY(store_giant_enter(r->store, r->halt, e));
        store_giant_leave(r->store);
        pthread_mutex_lock(&stage.lock);
    }
    while (stage.n_opened < mine && !job_run_should_stop(r)) {
        pthread_mutex_unlock(&stage.lock);
        job_run_pause(r, 5);
        pthread_mutex_lock(&stage.lock);
    }
    bool passed = stage.n_opened >= mine;
    pthread_mutex_unlock(&stage.lock);
    if (!passed)
        return ERR(e, ERR_CANCELLED, "stopped");
    if (stage.end != ERR_OK)
        return ERR(e, stage.end, "it did not work");
    *status = JOB_COMPLETED_WITH_ERRORS;
    return buf_add(message, SV_LIT("some lines were bad"), e);
}

static err_code fake_undo(struct job_run *r, struct err *e)
{
    (void)r;
    say("undo ");
    return stage.undo == ERR_OK ? ERR_OK : ERR(e, stage.undo, "the objects cannot be removed");
}

static void fake_forget(struct job_run *r)
{
    (void)r;
    say("forget ");
}

static void fake_settle(struct job_run *r)
{
    (void)r;
    say("settle ");
}

static err_code fake_check(const struct job_engine_config *cfg, sv datastore_id,
                           const struct job_export_params *p, struct err *e)
{
    (void)cfg;
    (void)datastore_id;
    return p && p->since_ms == 1 ? ERR(e, ERR_INVALID, "not that") : ERR_OK;
}

static const struct job_kind_ops with_undo = { .run = fake_run,
                                               .undo = fake_undo,
                                               .check = fake_check };
static const struct job_kind_ops without_undo = {
    .run = fake_run, .forget = fake_forget, .settle = fake_settle, .check = fake_check
};

static void engine(struct fx *f, const struct job_kind_ops *ops)
{
    struct job_engine_config cfg = { .kinds = { [JOB_EXPORT] = ops, [JOB_IMPORT] = ops },
                                     .records = f->records,
                                     .stores = f->stores,
                                     .world = f->world,
                                     .spool_dir = f->spool,
                                     .n_workers = 1,
                                     .max_queued = 3 };
    OK(job_engine_start(&cfg, &f->engine, e));
}

static void begin(struct fx *f, const struct job_kind_ops *ops)
{
    fx_open(f);
    store_registry_release(f->stores, fx_store(f));
    stage.n_running = stage.n_opened = 0;
    stage.end = stage.undo = ERR_OK;
    stage.has_giant = false;
    stage.n_told = 0;
    stage.calls[0] = 0;
    engine(f, ops);
}

static void wait_running(unsigned n)
{
    pthread_mutex_lock(&stage.lock);
    while (stage.n_running < n)
        pthread_cond_wait(&stage.changed, &stage.lock);
    pthread_mutex_unlock(&stage.lock);
}

static void open_gate(unsigned n)
{
    pthread_mutex_lock(&stage.lock);
    stage.n_opened = n;
    pthread_mutex_unlock(&stage.lock);
}

static sv submit(struct fx *f, struct arena *a)
{
    struct job j;
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    OK(job_submit(f->engine, &q, a, &j, e));
    return j.id;
}

static job_status status_of(struct fx *f, sv id, struct arena *a)
{
    struct job j;
    OK(job_get(f->engine, JOB_EXPORT, FX_STORE, id, a, &j, e));
    return j.status;
}

TEST(runner, one_of_a_data_store_runs_and_the_next_begins_when_it_has_ended)
{
    struct fx f;
    begin(&f, &with_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    sv one = submit(&f, a), two = submit(&f, a);
    wait_running(1);
    assert_int_equal(status_of(&f, one, a), JOB_IN_PROGRESS);
    assert_int_equal(status_of(&f, two, a), JOB_QUEUED);
    open_gate(1);
    struct job j = fx_wait(&f, JOB_EXPORT, one, a);
    assert_int_equal(j.status, JOB_COMPLETED_WITH_ERRORS);
    assert_sv(j.message, SV_LIT("some lines were bad"));
    assert_true(j.end_ms >= j.start_ms);
    wait_running(2);
    open_gate(2);
    assert_int_equal(fx_wait(&f, JOB_EXPORT, two, a).status, JOB_COMPLETED_WITH_ERRORS);
    fx_engine_stop(&f);
    assert_string_equal(stage.calls, "run run ");
    fx_close(&f);
}

TEST(runner, a_cancel_ends_the_wait_for_a_giants_place)
{
    struct fx f;
    begin(&f, &with_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    struct gate *alone = &f.env->alone;
    stage.has_giant = true;
    /* another job's */
    gate_enter(alone, &stage);
    sv id = submit(&f, a);
    for (bool waits = false; !waits; sched_yield()) {
        pthread_mutex_lock(&alone->lock);
        waits = alone->waiting != NULL;
        pthread_mutex_unlock(&alone->lock);
    }
    OK(job_cancel(f.engine, JOB_EXPORT, FX_STORE, id, e));
    assert_int_equal(fx_wait(&f, JOB_EXPORT, id, a).status, JOB_CANCEL_COMPLETED);
    assert_int_equal(alone->n_inside, 1);
    gate_leave(alone, &stage);
    fx_engine_stop(&f);
    fx_close(&f);
}

TEST(runner, a_cancelled_run_is_undone_and_says_when_it_could_not_be)
{
    struct fx f;
    begin(&f, &with_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    sv one = submit(&f, a);
    wait_running(1);
    OK(job_cancel(f.engine, JOB_EXPORT, FX_STORE, one, e));
    assert_int_equal(fx_wait(&f, JOB_EXPORT, one, a).status, JOB_CANCEL_COMPLETED);
    stage.undo = ERR_PEER;
    sv two = submit(&f, a);
    wait_running(2);
    OK(job_cancel(f.engine, JOB_EXPORT, FX_STORE, two, e));
    struct job j = fx_wait(&f, JOB_EXPORT, two, a);
    assert_int_equal(j.status, JOB_CANCEL_FAILED);
    assert_sv(j.message, SV_LIT("the objects cannot be removed"));
    fx_engine_stop(&f);
    assert_string_equal(stage.calls, "run undo run undo ");
    fx_close(&f);
}

TEST(runner, a_failed_run_is_undone_and_its_message_is_the_jobs)
{
    struct fx f;
    begin(&f, &with_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    stage.end = ERR_DENIED;
    open_gate(1);
    struct job j = fx_wait(&f, JOB_EXPORT, submit(&f, a), a);
    assert_int_equal(j.status, JOB_FAILED);
    assert_sv(j.message, SV_LIT("it did not work"));
    fx_engine_stop(&f);
    assert_string_equal(stage.calls, "run undo ");
    fx_close(&f);
}

TEST(runner, a_run_that_the_engine_stops_keeps_its_status_and_is_taken_up)
{
    struct fx f;
    begin(&f, &without_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    sv one = submit(&f, a);
    wait_running(1);
    fx_engine_stop(&f);
    /* neither undone nor forgotten nor settled */
    assert_string_equal(stage.calls, "run ");
    engine(&f, &without_undo);
    assert_int_equal(status_of(&f, one, a), JOB_IN_PROGRESS);
    open_gate(2);
    assert_int_equal(fx_wait(&f, JOB_EXPORT, one, a).status, JOB_COMPLETED_WITH_ERRORS);
    fx_engine_stop(&f);
    assert_string_equal(stage.calls, "run run forget settle ");
    fx_close(&f);
}

/* As it is while a run looks for the place where the one before it was. */
TEST(runner, an_imports_progress_is_what_it_was_until_the_next_run_tells_its_own)
{
    struct fx f;
    begin(&f, &without_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    struct job_request q = fx_request(JOB_IMPORT, "s3://input/p/", "s3://out/p");
    struct job j, *list;
    CLEANUP_BUF struct buf note = BUF_INIT(4096);
    size_t n;
    sv next;
    stage.n_told = 7;
    fx_put(&f, "input/p/a.ndjson", SV_LIT("{}"));
    OK(job_submit(f.engine, &q, a, &j, e));
    sv id = j.id;
    for (unsigned run = 1; run <= 4; run++) {
        wait_running(run);
        OK(job_get(f.engine, JOB_IMPORT, FX_STORE, id, a, &j, e));
        assert_int_equal(j.status, JOB_IN_PROGRESS);
        assert_int_equal(j.progress.resources_imported, run < 4 ? 7 : 9);
        OK(job_list(f.engine, JOB_IMPORT, &(struct job_filter){ .datastore_id = FX_STORE }, SV_NONE,
                    10, a, &list, &n, &next, e));
        assert_int_equal(n, 1);
        assert_int_equal(list[0].progress.resources_imported, run < 4 ? 7 : 9);
        fx_engine_stop(&f);
        /* nothing; less, of what was not on disk yet; more */
        stage.n_told = run == 1 ? 0 : run == 2 ? 5 : 9;
        engine(&f, &without_undo);
    }
    open_gate(5);
    assert_int_equal(fx_wait(&f, JOB_IMPORT, id, a).progress.resources_imported, 9);
    fx_engine_stop(&f);
    const struct job_engine_config cfg = { .records = f.records };
    struct job_run after = { .job = &j, .cfg = &cfg };
    FAILS(ERR_NOT_FOUND, job_run_note_get(&after, SV_LIT("progress"), &note, e));
    fx_close(&f);
}

/* Its record is read, it ends, and what it has told is gone. */
TEST(runner, who_asks_while_an_import_ends_sees_no_progress_go_back)
{
    struct fx f;
    begin(&f, &without_undo);
    struct job_request q = fx_request(JOB_IMPORT, "s3://input/p/", "s3://out/p");
    const struct job_filter all = { .datastore_id = FX_STORE };
    const struct job_filter running = { .datastore_id = FX_STORE,
                                        .has_status = true,
                                        .status = JOB_IN_PROGRESS };
    stage.n_told = 7;
    fx_put(&f, "input/p/a.ndjson", SV_LIT("{}"));
    for (unsigned run = 1; run <= 100; run++) {
        CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
        struct job j, *list;
        size_t n;
        sv next, id;
        OK(job_submit(f.engine, &q, a, &j, e));
        id = j.id;
        wait_running(run);
        open_gate(run);
        do {
            arena_mark m = arena_mark_get(a);
            OK(job_get(f.engine, JOB_IMPORT, FX_STORE, id, a, &j, e));
            assert_int_equal(j.progress.resources_imported, 7);
            OK(job_list(f.engine, JOB_IMPORT, &all, SV_NONE, 1, a, &list, &n, &next, e));
            assert_int_equal(n, 1);
            assert_int_equal(list[0].progress.resources_imported, 7);
            OK(job_list(f.engine, JOB_IMPORT, &running, SV_NONE, 1, a, &list, &n, &next, e));
            if (n)
                assert_int_equal(list[0].status, JOB_IN_PROGRESS);
            arena_rewind(a, m);
        } while (!job_status_is_final(j.status));
    }
    fx_engine_stop(&f);
    fx_close(&f);
}

TEST(runner, a_dropped_data_store_ends_what_runs_and_what_waits)
{
    struct fx f;
    begin(&f, &with_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    sv ids[] = { submit(&f, a), submit(&f, a), submit(&f, a) };
    wait_running(1);
    OK(job_datastore_drop(f.engine, FX_STORE, e));
    for (size_t i = 0; i < 3; i++) {
        struct job j = fx_wait(&f, JOB_EXPORT, ids[i], a);
        assert_int_equal(j.status, JOB_FAILED);
        assert_sv(j.message, SV_LIT("The data store was deleted"));
    }
    fx_close(&f);
}

TEST(runner, what_the_kind_refuses_has_no_job)
{
    struct fx f;
    begin(&f, &with_undo);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    const struct job_export_params p = { .since_ms = 1 };
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    struct job j;
    q.params = &p;
    FAILS(ERR_INVALID, job_submit(f.engine, &q, a, &j, e));
    FAILS(ERR_INVALID, job_export_check(f.engine, FX_STORE, &p, e));
    OK(job_export_check(f.engine, FX_STORE, NULL, e));
    fx_engine_stop(&f);
    assert_string_equal(stage.calls, "");
    fx_close(&f);
}

struct waker {
    struct job_run *r;
    atomic_bool *halt;
};

static void *stop_it(void *arg)
{
    struct waker *w = arg;
    atomic_store(w->halt, true);
    job_run_wake(w->r);
    return NULL;
}

TEST(run, a_pause_ends_with_the_stop_and_not_with_its_time)
{
    atomic_bool halt = false;
    struct job_run r = { .halt = &halt };
    struct waker w = { &r, &halt };
    pthread_t t;
    job_run_init(&r);
    assert_int_equal(pthread_create(&t, NULL, stop_it, &w), 0);
    uint64_t before = clock_mono_us();
    job_run_pause(&r, 600000);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_true(clock_mono_us() - before < 60u * 1000000);
    /* one that is to stop already does not pause at all */
    job_run_pause(&r, 600000);
    assert_true(clock_mono_us() - before < 60u * 1000000);
    job_run_done(&r);
}

TEST(run, a_pause_that_nobody_ends_takes_its_time)
{
    atomic_bool halt = false;
    struct job_run r = { .halt = &halt };
    job_run_init(&r);
    uint64_t before = clock_mono_us();
    job_run_pause(&r, 2);
    assert_true(clock_mono_us() - before >= 2000);
    job_run_done(&r);
}

static bool count(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    ++*(size_t *)ctx;
    return true;
}

TEST(run, notes_are_its_own_and_are_found_by_their_beginning)
{
    CLEANUP(records_close) struct records *records = NULL;
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 10);
    OK(records_open(NULL, &records, e));
    const struct job one = { .id = SV_LIT("one") }, two = { .id = SV_LIT("two") };
    const struct job_engine_config cfg = { .records = records };
    struct job_run r = { .job = &one, .cfg = &cfg }, other = { .job = &two, .cfg = &cfg };
    size_t n = 0;
    OK(job_run_note_put(&r, SV_LIT("done/1"), SV_LIT("a"), e));
    OK(job_run_note_put_unsynced(&r, SV_LIT("done/2"), SV_LIT("b"), e));
    OK(job_run_note_put(&r, SV_LIT("plan"), SV_LIT("c"), e));
    OK(job_run_note_put(&other, SV_LIT("done/3"), SV_LIT("d"), e));
    OK(job_run_note_scan(&r, SV_LIT("done/"), count, &n, e));
    assert_int_equal(n, 2);
    OK(job_run_note_get(&r, SV_LIT("plan"), &b, e));
    assert_sv(buf_sv(&b), SV_LIT("c"));
    FAILS(ERR_NOT_FOUND, job_run_note_get(&other, SV_LIT("plan"), &b, e));
}

TEST_MAIN(T(runner, one_of_a_data_store_runs_and_the_next_begins_when_it_has_ended),
          T(runner, a_cancel_ends_the_wait_for_a_giants_place),
          T(runner, a_cancelled_run_is_undone_and_says_when_it_could_not_be),
          T(runner, a_failed_run_is_undone_and_its_message_is_the_jobs),
          T(runner, a_run_that_the_engine_stops_keeps_its_status_and_is_taken_up),
          T(runner, an_imports_progress_is_what_it_was_until_the_next_run_tells_its_own),
          T(runner, who_asks_while_an_import_ends_sees_no_progress_go_back),
          T(runner, a_dropped_data_store_ends_what_runs_and_what_waits),
          T(runner, what_the_kind_refuses_has_no_job),
          T(run, a_pause_ends_with_the_stop_and_not_with_its_time),
          T(run, a_pause_that_nobody_ends_takes_its_time),
          T(run, notes_are_its_own_and_are_found_by_their_beginning))

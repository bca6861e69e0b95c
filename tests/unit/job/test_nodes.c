/* Two engines on one database, as two nodes have it: who runs a job, who goes on with one, and what
 * both know of all. */
#include "job/fixture.h"
#include "store/postgres_sql.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_running, most_running, n_runs, n_undone, n_first;
    unsigned n_lost; /* runs that lost their lease, and tried to write all the same */
    bool open;       /* runs may come to their end */
    err_code lost;   /* what became of that */
    err_code end;
} stage = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static err_code fake_run(struct job_run *r, job_status *status, struct buf *message, struct err *e)
{
    const struct job_progress p = { .resources_exported = 7, .ranges_total = 3 };
    const bool first = job_run_is_first(r);
    job_run_progress_set(r, &p);
    pthread_mutex_lock(&stage.lock);
    stage.n_runs++;
    stage.n_first += first;
    if (++stage.n_running > stage.most_running)
        stage.most_running = stage.n_running;
    pthread_cond_broadcast(&stage.changed);
    while (!stage.open && !job_run_should_stop(r)) {
        pthread_mutex_unlock(&stage.lock);
        job_run_pause(r, 5);
        pthread_mutex_lock(&stage.lock);
    }
    const bool passed = stage.open;
    const err_code end = stage.end;
    stage.n_running--;
    pthread_mutex_unlock(&stage.lock);
    if (!passed && !lease_is_held(r->lease)) {
        struct err why;
        const err_code rc = job_run_note_put(r, SV_LIT("late"), SV_LIT("1"), &why);
        pthread_mutex_lock(&stage.lock);
        stage.lost = rc;
        stage.n_lost++;
        pthread_cond_broadcast(&stage.changed);
        pthread_mutex_unlock(&stage.lock);
    }
    if (!passed)
        return ERR(e, ERR_CANCELLED, "stopped");
    if (end != ERR_OK)
        return ERR(e, end, "it did not work");
    *status = JOB_COMPLETED;
    return ERR_OK;
}

static err_code fake_undo(struct job_run *r, struct err *e)
{
    (void)r;
    (void)e;
    pthread_mutex_lock(&stage.lock);
    stage.n_undone++;
    pthread_mutex_unlock(&stage.lock);
    return ERR_OK;
}

static err_code fake_check(const struct job_engine_config *cfg, sv datastore_id,
                           const struct job_export_params *p, struct err *e)
{
    (void)cfg;
    (void)datastore_id;
    (void)p;
    (void)e;
    return ERR_OK;
}

static const struct job_kind_ops fake = { .run = fake_run, .undo = fake_undo, .check = fake_check };

struct two {
    struct fx f;
    char uri[256];
    struct records *records[2];
    struct job_engine *engine[2];
    struct arena *a;
};

/* lease_ms: of a job's, whose loss its holder sees within a third of it; 0: the usual half minute,
 * in which no node is held up for so long that it loses it. */
static bool begin_with(struct two *t, unsigned lease_ms)
{
    memset(t, 0, sizeof *t);
    if (!pg_new_place(t->uri, sizeof t->uri))
        return false;
    fx_open(&t->f);
    store_registry_release(t->f.stores, fx_store(&t->f));
    stage.n_running = stage.most_running = stage.n_runs = stage.n_undone = stage.n_first = 0;
    stage.n_lost = 0;
    stage.open = false;
    stage.end = stage.lost = ERR_OK;
    t->a = arena_new(512u << 20);
    for (unsigned i = 0; i < 2; i++) {
        char spool[128];
        (void)snprintf(spool, sizeof spool, "%s%u", t->f.spool, i);
        OK(records_open(t->uri, &t->records[i], e));
        const struct job_engine_config cfg = {
            .kinds = { [JOB_EXPORT] = &fake, [JOB_IMPORT] = &fake },
            .records = t->records[i],
            .stores = t->f.stores,
            .world = t->f.world,
            .spool_dir = spool,
            .n_workers = 1,
            .max_queued = 2,
            .lease_ms = lease_ms,
            .look_ms = 50
        };
        OK(job_engine_start(&cfg, &t->engine[i], e));
    }
    return true;
}

static bool begin(struct two *t)
{
    return begin_with(t, 0);
}

static void finish(struct two *t)
{
    for (unsigned i = 0; i < 2; i++) {
        job_engine_stop(t->engine[i]);
        records_close(t->records[i]);
    }
    arena_free(t->a);
    fx_close(&t->f);
    pg_drop(t->uri);
}

static sv submit(struct two *t, unsigned node)
{
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    struct job job;
    OK(job_submit(t->engine[node], &q, t->a, &job, e));
    return arena_sv(t->a, job.id);
}

static void wait_for(const unsigned *what, unsigned n)
{
    pthread_mutex_lock(&stage.lock);
    while (*what < n)
        pthread_cond_wait(&stage.changed, &stage.lock);
    pthread_mutex_unlock(&stage.lock);
}

static void wait_runs(unsigned n)
{
    wait_for(&stage.n_runs, n);
}

static unsigned now(const unsigned *what)
{
    pthread_mutex_lock(&stage.lock);
    unsigned n = *what;
    pthread_mutex_unlock(&stage.lock);
    return n;
}

static void open_stage(err_code end)
{
    pthread_mutex_lock(&stage.lock);
    stage.end = end;
    stage.open = true;
    pthread_mutex_unlock(&stage.lock);
}

static struct job get(struct two *t, unsigned node, sv id)
{
    struct job job;
    OK(job_get(t->engine[node], JOB_EXPORT, FX_STORE, id, t->a, &job, e));
    return job;
}

static job_status wait_status(struct two *t, unsigned node, sv id, job_status wanted)
{
    for (;;) {
        const job_status s = get(t, node, id).status;
        if (s == wanted || job_status_is_final(s))
            return s;
        fx_nap();
    }
}

/* Which node has it: what runs there it tells by itself. */
static unsigned runner_of(struct two *t, sv id)
{
    for (;;) {
        for (unsigned i = 0; i < 2; i++) {
            struct job_engine *engine = t->engine[i];
            pthread_mutex_lock(&engine->locked.lock);
            struct job_entry *entry = job_entry_find_locked(engine, JOB_EXPORT, FX_STORE, id);
            const bool here = entry && entry->run;
            pthread_mutex_unlock(&engine->locked.lock);
            if (here)
                return i;
        }
        fx_nap();
    }
}

TEST(nodes, a_job_runs_on_one_and_both_show_how_it_goes)
{
    (void)state;
    struct two t;
    if (!begin(&t))
        return;
    const sv id = submit(&t, 0);
    wait_runs(1);
    const unsigned there = runner_of(&t, id);
    while (get(&t, 1 - there, id).progress.resources_exported != 7)
        fx_nap();
    assert_int_equal(get(&t, 1 - there, id).status, JOB_IN_PROGRESS);
    open_stage(ERR_OK);
    assert_int_equal(wait_status(&t, 1 - there, id, JOB_COMPLETED), JOB_COMPLETED);
    assert_int_equal(get(&t, there, id).status, JOB_COMPLETED);
    assert_int_equal(now(&stage.n_runs), 1);
    finish(&t);
}

TEST(nodes, of_a_store_and_kind_one_runs_at_a_time_and_so_many_wait_on_both_together)
{
    (void)state;
    struct two t;
    struct job job;
    sv ids[3];
    if (!begin(&t))
        return;
    for (unsigned i = 0; i < 3; i++)
        ids[i] = submit(&t, i % 2);
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    FAILS(ERR_THROTTLED, job_submit(t.engine[0], &q, t.a, &job, e));
    FAILS(ERR_THROTTLED, job_submit(t.engine[1], &q, t.a, &job, e));
    wait_runs(1);
    open_stage(ERR_OK);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(wait_status(&t, i % 2, ids[i], JOB_COMPLETED), JOB_COMPLETED);
    assert_int_equal(now(&stage.most_running), 1);
    assert_int_equal(now(&stage.n_runs), 3);
    finish(&t);
}

TEST(nodes, a_cancel_on_one_reaches_the_other)
{
    (void)state;
    struct two t;
    if (!begin(&t))
        return;
    const sv id = submit(&t, 0), behind = submit(&t, 1);
    wait_runs(1);
    const unsigned there = runner_of(&t, id);
    OK(job_cancel(t.engine[1 - there], JOB_EXPORT, FX_STORE, behind, e));
    assert_int_equal(wait_status(&t, there, behind, JOB_CANCEL_COMPLETED), JOB_CANCEL_COMPLETED);
    /* it ran for that alone, beside the one before it, and is told so */
    assert_int_equal(now(&stage.n_runs), 2);
    assert_int_equal(now(&stage.n_first), 1);
    OK(job_cancel(t.engine[1 - there], JOB_EXPORT, FX_STORE, id, e));
    assert_int_equal(wait_status(&t, 1 - there, id, JOB_CANCEL_COMPLETED), JOB_CANCEL_COMPLETED);
    finish(&t);
}

TEST(nodes, who_has_lost_a_job_writes_nothing_of_it_and_another_goes_on)
{
    (void)state;
    struct two t;
    if (!begin_with(&t, 6000))
        return;
    const sv id = submit(&t, 0);
    wait_runs(1);
    /* as if its node had been frozen for as long as its lease lasts */
    while (pg_sql(t.uri, "select count(*) from leases") != 1)
        fx_nap();
    assert_int_equal(pg_sql(t.uri, "update leases set until = clock_timestamp()"), 0);
    wait_runs(2);
    wait_for(&stage.n_lost, 1);
    open_stage(ERR_OK);
    assert_int_equal(wait_status(&t, 0, id, JOB_COMPLETED), JOB_COMPLETED);
    assert_int_equal(now(&stage.n_undone), 0);
    finish(&t);
    assert_int_equal(stage.lost, ERR_CANCELLED);
}

TEST(nodes, a_job_that_was_failing_when_its_node_went_fails_on_another)
{
    (void)state;
    struct two t;
    if (!begin(&t))
        return;
    const sv id = submit(&t, 0);
    wait_runs(1);
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    OK(records_put(t.records[0], job_key_note(a, id, SV_LIT("failed")), SV_LIT("as told"), e));
    assert_int_equal(pg_sql(t.uri, "update leases set until = clock_timestamp()"), 0);
    assert_int_equal(wait_status(&t, 0, id, JOB_FAILED), JOB_FAILED);
    assert_true(sv_eq_cstr(get(&t, 1, id).message, "as told"));
    assert_int_equal(now(&stage.n_runs), 1);
    assert_int_equal(now(&stage.n_undone), 1);
    finish(&t);
}

TEST(nodes, a_data_store_that_is_dropped_on_one_has_no_job_on_any_and_takes_none)
{
    (void)state;
    struct two t;
    struct job job;
    if (!begin(&t))
        return;
    const sv id = submit(&t, 0), behind = submit(&t, 1);
    wait_runs(1);
    const unsigned there = runner_of(&t, id);
    OK(job_datastore_drop(t.engine[1 - there], FX_STORE, e));
    assert_int_equal(get(&t, there, id).status, JOB_FAILED);
    assert_int_equal(get(&t, there, behind).status, JOB_FAILED);
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    for (unsigned i = 0; i < 2; i++)
        FAILS(ERR_INVALID, job_submit(t.engine[i], &q, t.a, &job, e));
    finish(&t);
}

TEST_MAIN(T(nodes, a_job_runs_on_one_and_both_show_how_it_goes),
          T(nodes, of_a_store_and_kind_one_runs_at_a_time_and_so_many_wait_on_both_together),
          T(nodes, a_cancel_on_one_reaches_the_other),
          T(nodes, who_has_lost_a_job_writes_nothing_of_it_and_another_goes_on),
          T(nodes, a_job_that_was_failing_when_its_node_went_fails_on_another),
          T(nodes, a_data_store_that_is_dropped_on_one_has_no_job_on_any_and_takes_none))

/* test_share.c - an export that two runs write together: who has which range, what each knows of
 * the other's, and who may take part. */
#include "export/one_range.h"

#include "codec/json.h"

struct two { /* a run that has the job, and one that takes part */
    struct one_range o;
    struct leases *leases;
    struct lease *lease; /* of the job */
    struct job_run run;  /* of the one that takes part */
    struct export_job x;
    bool done[4], places[5];
};

static void two_open(struct two *t)
{
    static const struct job_export_params none = { 0 };
    memset(t, 0, sizeof *t);
    one_open(&t->o, &none);
    t->o.job.kind = JOB_EXPORT;
    t->o.job.datastore_id = FX_STORE;
    t->o.job.datastore_arn = SV_LIT("arn:x");
    t->o.job.account_id = SV_LIT("123456789012");
    t->o.job.status = JOB_IN_PROGRESS;
    t->o.job.submit_ms = 1700000000123;
    const struct job_record rec = { .order = 1, .digest = SV_LIT("00ff"), .job = t->o.job };
    OK(job_record_create(t->o.f.records, &rec, SV_NONE, NULL, 0, e));
    OK(leases_open(t->o.f.records, 0, &t->leases, e));
    OK(lease_take(t->leases, SV_LIT("job/x"), NULL, NULL, &t->lease, e));
    for (unsigned i = 0; i < 4; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%u", i);
        fx_write(t->o.st, patients(), id, "x");
    }
    one_view(&t->o, false, 0);
    for (unsigned i = 0; i < 4; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%u", i);
        const store_number n = one_number(t->o.st, patients(), id);
        t->o.items[i] =
            (struct export_item){ .kind = EXPORT_SCAN, .range = { patients(), n, n + 1 } };
    }
    t->o.x.plan.n = 4;
    t->o.run.leases = t->leases;
    t->o.run.lease = t->lease;
    t->run = t->o.run;
    t->run.lease = NULL;
    t->run.guest = true;
    job_run_init(&t->run);
    t->x = t->o.x;
    t->x.run = &t->run;
    t->x.plan.done = t->done;
    t->x.shared.places = t->places;
    pthread_mutex_init(&t->x.shared.lock, NULL);
}

static void two_close(struct two *t)
{
    pthread_mutex_destroy(&t->x.shared.lock);
    job_run_done(&t->run);
    lease_release(t->lease);
    leases_close(t->leases);
    one_close(&t->o);
}

static void write_range(struct export_job *x, size_t range)
{
    CLEANUP_BUF struct buf block = BUF_INIT(EXPORT_BLOCK_MAX);
    CLEANUP(export_range_free) struct export_range *g = NULL;
    struct export_tally tally;
    struct err err;
    err_code rc = ERR_OK;
    OK(export_range_open(x, range, &block, &g, e));
    while (rc == ERR_OK) {
        OK(export_range_fill(g, e));
        rc = export_range_flush(g, &err);
    }
    assert_int_equal(rc, ERR_EOF);
    OK(export_range_finish(g, &tally, e));
    export_progress_range(x, &tally);
    export_share_leave(x, range, true);
}

static uint64_t place_of(struct two *t, size_t range)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    char name[32];
    uint64_t place = 99;
    yyjson_doc *doc;
    (void)snprintf(name, sizeof name, "done/%08zu", range);
    OK(job_run_note_get(&t->o.run, sv_from(name), &b, e));
    OK(json_read(t->o.a, arena_sv(t->o.a, buf_sv(&b)), 5, &doc, e));
    assert_true(sv_to_u64(json_number(json_get(yyjson_doc_get_root(doc), "place")), &place));
    return place;
}

static size_t n_files(const struct two *t)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    size_t n = 0, at = 0;
    fx_tree(&t->o.f, "out", &b);
    for (sv rest = buf_sv(&b); (at = sv_find(rest, '=')) < rest.len; n++)
        rest = sv_tail(rest, at + 2);
    return n;
}

TEST(share, two_runs_write_one_export_and_each_knows_of_the_others_ranges)
{
    struct two t;
    size_t r[4];
    bool more;
    two_open(&t);
    struct export_job *x = &t.o.x, *y = &t.x;
    FAILS(ERR_CANCELLED, export_share_join(y, t.o.a, e));
    OK(export_share_open(x, t.o.a, e));
    OK(export_share_join(y, t.o.a, e));
    OK(export_share_take(x, &r[0], e));
    OK(export_share_take(y, &r[1], e));
    OK(export_share_take(y, &r[2], e));
    assert_true(r[0] == 0 && r[1] == 1 && r[2] == 2);
    assert_true(export_share_has(y, 1));
    assert_false(export_share_has(x, 1));
    write_range(y, 2);
    write_range(y, 1);
    /* x finds out that 1 and 2 are done when it takes them */
    OK(export_share_take(x, &r[3], e));
    assert_int_equal(r[3], 3);
    assert_true(t.o.done[1] && t.o.done[2] && !t.o.done[3]);
    assert_int_equal(x->shared.progress.ranges_done, 2);
    assert_int_equal(x->shared.progress.resources_exported, 2);
    write_range(x, 3);
    FAILS(ERR_EOF, export_share_take(y, &r[1], e));
    assert_true(export_share_is_idle(y));
    write_range(x, 0);
    OK(export_share_wait(x, &more, e));
    assert_false(more);
    OK(export_share_wait(y, &more, e));
    assert_false(more);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(place_of(&t, i), i);
    assert_int_equal(x->shared.progress.ranges_done, 4);
    assert_int_equal(y->shared.progress.resources_exported, 4);
    /* four objects, and the mark that goes */
    assert_int_equal(n_files(&t), 5);
    OK(export_share_end(x, e));
    assert_int_equal(n_files(&t), 4);
    two_close(&t);
}

TEST(share, a_range_that_is_given_back_is_taken_by_the_other)
{
    struct two t;
    size_t r;
    bool more;
    two_open(&t);
    OK(export_share_open(&t.o.x, t.o.a, e));
    OK(export_share_join(&t.x, t.o.a, e));
    for (size_t i = 0; i < 4; i++)
        OK(export_share_take(&t.x, &r, e));
    FAILS(ERR_EOF, export_share_take(&t.o.x, &r, e));
    export_share_leave(&t.x, 2, false);
    OK(export_share_wait(&t.o.x, &more, e));
    assert_true(more);
    assert_false(export_share_is_idle(&t.o.x));
    OK(export_share_take(&t.o.x, &r, e));
    assert_int_equal(r, 2);
    for (size_t i = 0; i < 4; i++)
        export_share_leave(i == 2 ? &t.o.x : &t.x, i, false);
    two_close(&t);
}

/* Those that are checked come first, whoever takes them. */
TEST(share, ranges_that_are_checked_are_taken_before_the_others)
{
    (void)state;
    static const size_t want[] = { 1, 3, 0, 2 };
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct two t;
    two_open(&t);
    t.o.items[1].check = t.o.items[3].check = true;
    OK(export_share_open(&t.o.x, a, e));
    OK(export_share_join(&t.x, a, e));
    for (size_t i = 0; i < 4; i++) {
        size_t r;
        OK(export_share_take(i % 2 ? &t.x : &t.o.x, &r, e));
        assert_int_equal(r, want[i]);
    }
    for (size_t i = 0; i < 4; i++)
        export_share_leave(i % 2 ? &t.x : &t.o.x, want[i], false);
    two_close(&t);
}

TEST(share, who_does_not_see_where_the_export_writes_takes_no_part)
{
    struct two t;
    char path[512];
    two_open(&t);
    OK(export_share_open(&t.o.x, t.o.a, e));
    fx_path(&t.o.f, "out", path);
    OK(file_remove_tree(path, e));
    FAILS(ERR_NOT_FOUND, export_share_join(&t.x, t.o.a, e));
    two_close(&t);
}

TEST(share, a_new_run_of_the_job_locks_out_who_came_in_before)
{
    struct two t;
    size_t r;
    two_open(&t);
    OK(export_share_open(&t.o.x, t.o.a, e));
    OK(export_share_join(&t.x, t.o.a, e));
    OK(export_share_open(&t.o.x, t.o.a, e));
    assert_int_equal(n_files(&t), 1);
    FAILS(ERR_CANCELLED, export_share_take(&t.x, &r, e));
    OK(export_share_take(&t.o.x, &r, e));
    export_share_leave(&t.o.x, r, false);
    two_close(&t);
}

TEST(share, files_that_we_serve_and_those_of_a_process_alone_are_nobody_elses)
{
    struct two t;
    two_open(&t);
    t.o.job.served = true;
    OK(export_share_open(&t.o.x, t.o.a, e));
    assert_null(t.o.x.share);
    t.o.job.served = false;
    t.o.run.leases = NULL;
    OK(export_share_open(&t.o.x, t.o.a, e));
    assert_null(t.o.x.share);
    FAILS(ERR_CANCELLED, export_share_join(&t.x, t.o.a, e));
    assert_int_equal(n_files(&t), 0);
    two_close(&t);
}

/* A range whose lines are out, and which is another's by now. */
static struct export_range *lost_range(struct two *t, size_t range, struct buf *block)
{
    struct export_range *g;
    struct err err;
    size_t r;
    err_code rc = ERR_OK;
    OK(export_share_take(&t->x, &r, e));
    assert_int_equal(r, range);
    OK(export_range_open(&t->x, range, block, &g, e));
    while (rc == ERR_OK) {
        OK(export_range_fill(g, e));
        rc = export_range_flush(g, &err);
    }
    assert_int_equal(rc, ERR_EOF);
    while (!export_range_has_arrived(g))
        fx_nap();
    export_share_leave(&t->x, range, false);
    return g;
}

TEST(share, what_came_in_late_goes_when_the_job_was_given_up_and_stays_when_it_goes_on)
{
    static const struct {
        job_status status;
        bool stays;
    } cases[] = { { JOB_IN_PROGRESS, true },       { JOB_CANCEL_SUBMITTED, false },
                  { JOB_CANCEL_COMPLETED, false }, { JOB_FAILED, false },
                  { JOB_COMPLETED, true },         { JOB_COMPLETED_WITH_ERRORS, true } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct two t;
        CLEANUP_BUF struct buf block = BUF_INIT(EXPORT_BLOCK_MAX);
        two_open(&t);
        OK(export_share_open(&t.o.x, t.o.a, e));
        OK(export_share_join(&t.x, t.o.a, e));
        struct export_range *g = lost_range(&t, 0, &block);
        /* and the mark of the door */
        assert_int_equal(n_files(&t), 2);
        t.o.job.status = cases[i].status;
        const struct job_record rec = { .order = 1, .digest = SV_LIT("00ff"), .job = t.o.job };
        OK(job_record_update(t.o.f.records, &rec, true, e));
        export_range_free(g);
        assert_int_equal(n_files(&t), cases[i].stays ? 2 : 1);
        two_close(&t);
    }
}

TEST_MAIN(T(share, two_runs_write_one_export_and_each_knows_of_the_others_ranges),
          T(share, a_range_that_is_given_back_is_taken_by_the_other),
          T(share, ranges_that_are_checked_are_taken_before_the_others),
          T(share, who_does_not_see_where_the_export_writes_takes_no_part),
          T(share, a_new_run_of_the_job_locks_out_who_came_in_before),
          T(share, files_that_we_serve_and_those_of_a_process_alone_are_nobody_elses),
          T(share, what_came_in_late_goes_when_the_job_was_given_up_and_stays_when_it_goes_on))

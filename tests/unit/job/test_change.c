/* test_change.c - a record changes by the table of moves alone, and whoever waits for a job's end
 * is told when the record says so. */
#include "job/sample.h"

#include "base/clock.h"

#define HOUR_MS 3600000

static const char *const names[] = { "SUBMITTED",        "QUEUED",
                                     "IN_PROGRESS",      "COMPLETED",
                                     "FAILED",           "COMPLETED_WITH_ERRORS",
                                     "CANCEL_SUBMITTED", "CANCEL_IN_PROGRESS",
                                     "CANCEL_COMPLETED", "CANCEL_FAILED" };
enum { N_STATUSES = sizeof names / sizeof names[0] };

struct bench { /* of an engine what a change needs */
    struct fx f;
    struct job_engine en;
    struct job_record rec;
    unsigned n_ended;
    job_status told; /* what the record said then */
};

static void ended(void *ctx, const struct job_end *end)
{
    struct bench *b = ctx;
    struct arena *a = arena_new(1 << 20);
    struct job_record now;
    struct err e;
    b->n_ended++;
    if (sv_eq(end->id, b->rec.job.id) &&
        job_record_read(b->f.records, JOB_EXPORT, FX_STORE, end->id, a, &now, &e) == ERR_OK &&
        now.job.status == end->status)
        b->told = now.job.status;
    arena_free(a);
}

static err_code removed(void *ctx, sv datastore_id, sv id, struct err *e)
{
    return ERR_OK;
}

static void bench_open(struct bench *b)
{
    const struct job_served_limits limits = { .per_store = 1, .per_caller = 1 };
    memset(b, 0, sizeof *b);
    fx_open(&b->f);
    OK(file_mkdirs(b->f.served, e));
    b->en.cfg = (struct job_engine_config){
        .records = b->f.records, .served_ms = HOUR_MS, .ended = ended, .ended_ctx = b
    };
    pthread_mutex_init(&b->en.record_lock, NULL);
    b->en.kept = job_kept_new(&limits);
    const struct job_files_config at = { .dir = b->f.served,
                                         .scratch_dir = b->f.spool,
                                         .records = b->f.records };
    struct job_files *place = NULL;
    OK(job_files_open(&at, &place, e));
    OK(job_served_start(b->f.records, &place, removed, NULL, &b->en.served, e));
    b->rec = sample("0123456789abcdef0123456789abcdef", 1);
    OK(job_record_create(b->f.records, &b->rec, SV_NONE, NULL, 0, e));
}

static void bench_close(struct bench *b)
{
    job_served_stop(b->en.served);
    job_kept_free(b->en.kept);
    pthread_mutex_destroy(&b->en.record_lock);
    fx_close(&b->f);
}

static err_code change(struct bench *b, const struct job_change *c, struct err *e)
{
    return job_engine_change(&b->en, JOB_EXPORT, FX_STORE, b->rec.job.id, c, e);
}
#define CHANGE(b, ...) OK(change((b), &(struct job_change){ __VA_ARGS__ }, e))

static struct job_record now_of(struct bench *b, struct arena *a)
{
    struct job_record r;
    OK(job_record_read(b->f.records, JOB_EXPORT, FX_STORE, b->rec.job.id, a, &r, e));
    return r;
}

static sv text_of(struct bench *b, struct arena *a)
{
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    const struct job_record r = now_of(b, a);
    OK(job_record_format(&r, &text, e));
    return arena_sv(a, buf_sv(&text));
}

static void count(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order)
{
    ++*(unsigned *)ctx;
}

TEST(change, a_move_is_made_when_the_table_has_it_and_nothing_is_changed_when_not)
{
    for (unsigned i = 0; i < N_STATUSES; i++)
        for (unsigned k = 0; k < N_STATUSES; k++) {
            CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
            struct bench b;
            struct err why;
            job_status from, to;
            unsigned n_active = 0;
            bench_open(&b);
            assert_true(job_status_parse(sv_from(names[i]), &from));
            assert_true(job_status_parse(sv_from(names[k]), &to));
            b.rec.job.status = from;
            OK(job_record_update(b.f.records, &b.rec, true, e));
            sv before = text_of(&b, a);
            int64_t began = clock_wall_ms();
            err_code rc = change(
                &b, &(struct job_change){ .to = to, .message = SV_LIT("why"), .t = 5 }, &why);
            const struct job_record r = now_of(&b, a);
            OK(job_records_active(b.f.records, count, &n_active, e));
            if (from != to && !job_status_may(from, to)) {
                assert_int_equal(rc, ERR_CONFLICT);
                assert_sv(text_of(&b, a), before);
                assert_int_equal(b.n_ended, 0);
                assert_int_equal(n_active, 1);
            } else {
                bool is_final = job_status_is_final(to), ends = is_final && from != to;
                assert_int_equal(rc, ERR_OK);
                assert_int_equal(r.job.status, to);
                assert_sv(r.job.message, SV_LIT("why"));
                assert_int_equal(r.job.start_ms >= began, to == JOB_IN_PROGRESS);
                assert_int_equal(r.job.end_ms >= began, is_final);
                assert_int_equal(b.n_ended, ends);
                assert_int_equal(n_active, !ends);
                if (ends)
                    assert_int_equal(b.told, to);
            }
            bench_close(&b);
        }
}

TEST(change, what_is_not_given_stays_and_times_are_written_once)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct bench b;
    const struct job_progress p = { .resources_exported = 7, .bytes_exported = 8 };
    bench_open(&b);
    CHANGE(&b, .to = JOB_IN_PROGRESS, .progress = &p, .message = SV_LIT("one"));
    struct job_record first = now_of(&b, a);
    b.rec = first;
    b.rec.job.start_ms = 5;
    OK(job_record_update(b.f.records, &b.rec, true, e));
    CHANGE(&b, .to = JOB_IN_PROGRESS, .set_instant = true, .t = UINT64_MAX, .instant_ms = 99);
    struct job_record r = now_of(&b, a);
    assert_int_equal(r.job.start_ms, 5);
    assert_int_equal(r.job.as_of_t, UINT64_MAX);
    assert_int_equal(r.job.transaction_ms, 99);
    assert_int_equal(r.job.progress.resources_exported, 7);
    assert_int_equal(r.job.progress.bytes_exported, 8);
    assert_sv(r.job.message, SV_LIT("one"));
    assert_int_equal(r.job.end_ms, 0);
    /* an instant that is not set is not taken */
    CHANGE(&b, .to = JOB_COMPLETED, .t = 1, .instant_ms = 2, .message = SV_LIT("two"));
    r = now_of(&b, a);
    assert_int_equal(r.job.as_of_t, UINT64_MAX);
    assert_int_equal(r.job.transaction_ms, 99);
    assert_sv(r.job.message, SV_LIT("two"));
    assert_int_equal(r.job.progress.resources_exported, 7);
    /* nobody said that files expire */
    assert_int_equal(r.job.expires_ms, 0);
    bench_close(&b);
}

TEST(change, a_job_that_is_not_there_is_not_found)
{
    struct bench b;
    const struct job_change c = { .to = JOB_IN_PROGRESS };
    bench_open(&b);
    FAILS(ERR_NOT_FOUND, job_engine_change(&b.en, JOB_EXPORT, FX_STORE, SV_LIT("other"), &c, e));
    FAILS(ERR_NOT_FOUND, job_engine_change(&b.en, JOB_IMPORT, FX_STORE, b.rec.job.id, &c, e));
    assert_int_equal(b.n_ended, 0);
    bench_close(&b);
}

/* Is there a place for another served export of the data store? */
static bool has_place(struct bench *b)
{
    struct job other = b->rec.job;
    unsigned wait_s;
    struct err why;
    other.id = SV_LIT("other");
    if (job_kept_enter(b->en.kept, &other, &wait_s, &why) != ERR_OK)
        return false;
    job_kept_leave(b->en.kept, other.id);
    return true;
}

static void bench_served(struct bench *b)
{
    unsigned wait_s;
    bench_open(b);
    OK(job_kept_enter(b->en.kept, &b->rec.job, &wait_s, e));
    assert_false(has_place(b));
    CHANGE(b, .to = JOB_IN_PROGRESS);
    assert_false(has_place(b));
}

TEST(change, files_that_expire_keep_their_place_until_they_are_removed)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct bench b;
    bench_served(&b);
    CHANGE(&b, .to = JOB_COMPLETED, .files_expire = true);
    struct job_record r = now_of(&b, a);
    assert_int_equal(r.job.expires_ms, r.job.end_ms + HOUR_MS);
    assert_int_equal(r.files_removed_ms, 0);
    assert_false(has_place(&b));
    CHANGE(&b, .to = JOB_COMPLETED, .files_removed = true);
    r = now_of(&b, a);
    assert_int_equal(r.job.expires_ms, r.job.end_ms + HOUR_MS);
    assert_true(r.files_removed_ms >= r.job.end_ms);
    assert_true(has_place(&b));
    /* it ended once */
    assert_int_equal(b.n_ended, 1);
    bench_close(&b);
}

TEST(change, an_export_that_ends_without_files_gives_its_place_back)
{
    struct bench b;
    bench_served(&b);
    CHANGE(&b, .to = JOB_FAILED);
    assert_true(has_place(&b));
    bench_close(&b);
    bench_served(&b);
    CHANGE(&b, .to = JOB_CANCEL_SUBMITTED);
    CHANGE(&b, .to = JOB_CANCEL_IN_PROGRESS);
    assert_false(has_place(&b));
    CHANGE(&b, .to = JOB_CANCEL_COMPLETED);
    assert_true(has_place(&b));
    bench_close(&b);
}

/* ---- many at a time ---- */

struct rival {
    struct bench *b;
    job_status to;
    err_code rc;
};

static void *try_it(void *arg)
{
    struct rival *r = arg;
    struct err e;
    r->rc = change(r->b, &(struct job_change){ .to = r->to }, &e);
    return NULL;
}

TEST(change, of_many_that_end_a_job_one_does)
{
    enum { N = 8 };
    static const job_status ends[] = { JOB_COMPLETED, JOB_FAILED, JOB_COMPLETED_WITH_ERRORS };
    for (unsigned round = 0; round < 20; round++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        struct rival rivals[N];
        pthread_t threads[N];
        struct bench b;
        bench_open(&b);
        CHANGE(&b, .to = JOB_IN_PROGRESS);
        for (unsigned i = 0; i < N; i++) {
            rivals[i] = (struct rival){ &b, ends[i % 3], ERR_OK };
            assert_int_equal(pthread_create(&threads[i], NULL, try_it, &rivals[i]), 0);
        }
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        job_status is = now_of(&b, a).job.status;
        /* to the same status again is no move; to another is refused */
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(rivals[i].rc, rivals[i].to == is ? ERR_OK : ERR_CONFLICT);
        assert_int_equal(b.n_ended, 1);
        assert_int_equal(b.told, is);
        bench_close(&b);
    }
}

TEST_MAIN(T(change, a_move_is_made_when_the_table_has_it_and_nothing_is_changed_when_not),
          T(change, what_is_not_given_stays_and_times_are_written_once),
          T(change, a_job_that_is_not_there_is_not_found),
          T(change, files_that_expire_keep_their_place_until_they_are_removed),
          T(change, an_export_that_ends_without_files_gives_its_place_back),
          T(change, of_many_that_end_a_job_one_does))

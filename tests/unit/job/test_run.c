/* test_run.c - what a running job may call, without an engine. */
#include "fixture.h"

#include "base/clock.h"

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

TEST_MAIN(T(run, a_pause_ends_with_the_stop_and_not_with_its_time),
          T(run, a_pause_that_nobody_ends_takes_its_time),
          T(run, notes_are_its_own_and_are_found_by_their_beginning))

/* test_retention.c - served files go when their time is over, and at a start what a crash left. */
#include "job/served.h"

#include "base/clock.h"

#include <errno.h>

TEST(retention, files_go_when_their_time_is_over_and_not_before)
{
    struct fx f;
    fx_open(&f);
    f.served_ms = 600;
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job one = submit(&f, &served, a);
    one = fx_wait(&f, JOB_EXPORT, one.id, a);
    for (;;) {
        struct job j;
        bool there = n_served(&f) != 0;
        int64_t now = clock_wall_ms();
        arena_mark m = arena_mark_get(a);
        OK(job_get(f.engine, JOB_EXPORT, FX_STORE, one.id, a, &j, e));
        if (now < one.expires_ms)
            assert_true(there || clock_wall_ms() >= one.expires_ms);
        if (j.discarded)
            break;
        assert_true(now < one.expires_ms + 20000);
        arena_rewind(a, m);
        fx_nap();
    }
    assert_int_equal(n_served(&f), 0);
    fx_close(&f);
}

TEST(retention, a_restart_removes_what_expired_meanwhile_and_what_a_crash_left)
{
    struct fx f;
    fx_open(&f);
    f.served_ms = 1;
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    f.served_ms = 3600000;
    fx_engine_stop(&f);
    fx_engine(&f, 2, 0, 0);
    struct job kept = submit(&f, &served, a);
    kept = fx_wait(&f, JOB_EXPORT, kept.id, a);
    size_t n = n_served(&f);
    fx_engine_stop(&f);
    /* a crash between the files of a cancelled job and its last status */
    char path[256];
    (void)snprintf(path, sizeof path, "%s/0123456789abcdef0123456789abcde0/Patient", f.served);
    OK(file_mkdirs(path, e));
    (void)snprintf(path, sizeof path, "%s/0123456789abcdef0123456789abcde0/Patient/x.ndjson",
                   f.served);
    OK(file_write_atomic(path, SV_LIT("x"), e));
    f.served_ms = 1;
    fx_engine(&f, 2, 0, 0);
    /* its own time counts, not today's setting */
    assert_int_equal(n_served(&f), n);
    struct job brief = submit(&f, &served, a);
    brief = fx_wait(&f, JOB_EXPORT, brief.id, a);
    fx_engine_stop(&f);
    fx_engine(&f, 2, 0, 0);
    const sv brief_id = brief.id;
    for (int i = 0; i < 5000 && !brief.discarded; i++) {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f.engine, JOB_EXPORT, FX_STORE, brief_id, a, &brief, e));
        arena_rewind(a, m);
        fx_nap();
    }
    assert_true(brief.discarded);
    assert_int_equal(n_served(&f), n);
    OK(job_get(f.engine, JOB_EXPORT, FX_STORE, kept.id, a, &kept, e));
    assert_false(kept.discarded);
    OK(store_registry_remove(f.stores, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    assert_int_equal(n_served(&f), 0);
    fx_close(&f);
}

TEST_MAIN(T(retention, files_go_when_their_time_is_over_and_not_before),
          T(retention, a_restart_removes_what_expired_meanwhile_and_what_a_crash_left))

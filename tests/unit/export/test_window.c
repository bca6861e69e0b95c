/* test_window.c - _since and _until: what changed between two instants. */
#include "served_run.h"

TEST(window, a_window_that_ends_before_now_is_the_store_as_it_was)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    struct store *st = fx_store(&f);
    struct store_commit c1, c2;
    put_text(st, "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"male\"}", &c1);
    for (int i = 0; i < 5; i++)
        fx_nap();
    put_text(st, "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"female\"}", &c2);
    assert_true(c2.instant_ms > c1.instant_ms);
    struct job j = run(&f, &(struct job_export_params){ .until_ms = c1.instant_ms }, a, &t, &m);
    assert_true(has(&t, "\"male\""));
    assert_int_equal(j.transaction_ms, c1.instant_ms);
    run(&f, &(struct job_export_params){ .since_ms = c1.instant_ms }, a, &t, &m);
    assert_true(has(&t, "\"female\""));
    j = run(&f, &(struct job_export_params){ .since_ms = c2.instant_ms }, a, &t, &m);
    assert_int_equal(number(m, "count"), 0);
    assert_true(j.transaction_ms >= c2.instant_ms);
    run(&f, &(struct job_export_params){ .since_ms = INT64_MAX / 2 }, a, &t, &m);
    assert_int_equal(number(m, "count"), 0);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST_MAIN(T(window, a_window_that_ends_before_now_is_the_store_as_it_was))

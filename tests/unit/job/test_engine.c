/* test_engine.c - jobs that the engine stops in the middle are taken up. */
#include "fixture.h"

static bool an_import_is_stopped(void)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf want = BUF_INIT(64 << 20), got = BUF_INIT(64 << 20);
    struct store *st = fx_store(&f);
    for (int i = 0; i < 2000; i += 10) {
        CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
        char name[64];
        for (int k = i; k < i + 10; k++) {
            OK(buf_add_fmt(
                &text, e,
                "{\"resourceType\":\"Patient\",\"id\":\"r%05d\",\"multipleBirthInteger\":%d}\n", k,
                k));
            OK(buf_add_fmt(
                &want, e,
                "Patient/r%05d 1 "
                "{\"resourceType\":\"Patient\",\"id\":\"r%05d\",\"multipleBirthInteger\":%d}\n",
                k, k, k));
        }
        (void)snprintf(name, sizeof name, "input/p/%05d.ndjson", i);
        fx_put(&f, name, buf_sv(&text));
    }
    struct job_request q = fx_request(JOB_IMPORT, "s3://input/p/", "s3://out/p");
    struct job j;
    uint64_t told = 0;
    int stops = 0;
    fx_engine(&f, 2, 0, 600);
    OK(job_submit(f.engine, &q, a, &j, e));
    sv id = j.id;
    for (uint64_t seen = 0;; fx_nap()) {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f.engine, JOB_IMPORT, FX_STORE, id, a, &j, e));
        if (job_status_is_final(j.status))
            break;
        arena_rewind(a, m);
        assert_true(j.progress.resources_imported <= 2000);
        /* it goes back nowhere, not when an engine has just begun either */
        assert_true(j.progress.resources_imported >= told);
        told = j.progress.resources_imported;
        if (stops < 6 && j.progress.resources_imported > seen) {
            seen = j.progress.resources_imported + 100;
            fx_engine_stop(&f);
            fx_engine(&f, 2, 0, 600);
            stops++;
            OK(job_get(f.engine, JOB_IMPORT, FX_STORE, id, a, &j, e));
            assert_true(j.progress.resources_imported >= told);
        }
    }
    assert_int_equal(j.status, JOB_COMPLETED);
    assert_int_equal(j.progress.resources_imported, 2000);
    assert_int_equal(j.progress.files_imported, 200);
    fx_dump(st, true, &got);
    fx_same(buf_sv(&got), buf_sv(&want));
    /* waits for the run's own cleaning up */
    fx_engine_stop(&f);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%.*s", f.spool, SV_FMT(j.id));
    assert_int_not_equal(access(path, F_OK), 0);
    FAILS(ERR_NOT_FOUND, store_note_get(st, arena_fmt(a, "import/%.*s", SV_FMT(j.id)), &got, e));
    store_registry_release(f.stores, st);
    fx_close(&f);
    return stops >= 2;
}

TEST(engine, an_import_stopped_in_the_middle_is_taken_up_and_leaves_no_scratch)
{
    FX_UNTIL(an_import_is_stopped());
}

TEST_MAIN(T(engine, an_import_stopped_in_the_middle_is_taken_up_and_leaves_no_scratch))

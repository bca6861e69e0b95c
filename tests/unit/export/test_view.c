/* test_view.c - Provenance that comes with what it is about. */
#include "served_run.h"

TEST(view, associated_data_is_what_is_about_the_exported)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    put_sample(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    struct job_export_params p = { .types = LIST(S("Observation")) };
    run(&f, &p, a, &t, &m);
    assert_false(has(&t, "Provenance"));
    p.associated = JOB_ASSOCIATED_LATEST_PROVENANCE;
    run(&f, &p, a, &t, &m);
    assert_true(has_id(&t, "Provenance", "v2"));
    assert_false(has_id(&t, "Provenance", "v1") || has_id(&t, "Provenance", "v3"));
    /* the least restrictive wins */
    p.associated |= JOB_ASSOCIATED_RELEVANT_PROVENANCE;
    run(&f, &p, a, &t, &m);
    assert_true(has_id(&t, "Provenance", "v1") && has_id(&t, "Provenance", "v2"));
    assert_false(has_id(&t, "Provenance", "v3"));
    fx_close(&f);
}

TEST_MAIN(T(view, associated_data_is_what_is_about_the_exported))

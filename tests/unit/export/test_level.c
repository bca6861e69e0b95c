/* test_level.c - whose resources a Group gives. */
#include "served_run.h"

TEST(level, a_group_gives_its_members_and_an_empty_one_nothing_but_itself)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    put_sample(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    run(&f, &(struct job_export_params){ .level = JOB_EXPORT_GROUP, .group_id = SV_LIT("g") }, a,
        &t, &m);
    assert_true(has_id(&t, "Patient", "p1") && has_id(&t, "Observation", "o1") &&
                has_id(&t, "Group", "g") && has_id(&t, "Provenance", "v1") &&
                has_id(&t, "Provenance", "v2"));
    assert_int_equal(number(m, "count"), 5);
    run(&f, &(struct job_export_params){ .level = JOB_EXPORT_GROUP, .group_id = SV_LIT("empty") },
        a, &t, &m);
    assert_int_equal(number(m, "count"), 1);
    assert_true(has_id(&t, "Group", "empty"));
    run(&f,
        &(struct job_export_params){
            .level = JOB_EXPORT_GROUP, .group_id = SV_LIT("empty"), .types = LIST(S("Patient")) },
        a, &t, &m);
    assert_int_equal(number(m, "count"), 0);
    assert_int_equal(yyjson_arr_size(json_get(m, "output")), 0);
    fx_close(&f);
}

TEST_MAIN(T(level, a_group_gives_its_members_and_an_empty_one_nothing_but_itself))

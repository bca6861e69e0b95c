/* test_sink.c - the file of errors, and files of the size that is asked for. */
#include "served_run.h"

TEST(sink, notes_become_outcomes_and_sizes_are_kept_to)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    put_sample(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m, *v;
    const struct job_export_params p = { .max_file_bytes = 300,
                                         .notes = LIST(S("_x \"was\" passed over"), S("_y")) };
    run(&f, &p, a, &t, &m);
    yyjson_val *errors = json_get(m, "error");
    assert_int_equal(yyjson_arr_size(errors), 1);
    v = yyjson_arr_get_first(errors);
    assert_sv(json_string(json_get(v, "type")), SV_LIT("OperationOutcome"));
    assert_int_equal(number(v, "count"), 2);
    assert_true(has(&t, "\"diagnostics\":\"_x \\\"was\\\" passed over\""));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(m, "output"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        assert_true(number(v, "bytes") <= 300 || number(v, "count") == 1);
    assert_int_equal(number(m, "count"), 10);
    assert_int_equal(number(json_get(m, "storeCountPerType"), "Observation"), 2);
    fx_close(&f);
}

TEST_MAIN(T(sink, notes_become_outcomes_and_sizes_are_kept_to))

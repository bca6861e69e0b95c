/* test_plan.c - which items a plan has, and that it is read as it was written. */
#include "one_range.h"

static void plan_it(struct one_range *o, size_t object_bytes, struct export_plan *out)
{
    OK(export_plan_make(&o->x, object_bytes, e));
    OK(export_plan_read(&o->run, o->a, out, e));
}

TEST(plan, ranges_of_a_type_are_end_to_end_and_types_that_are_not_there_have_one)
{
    static const struct job_export_params all;
    struct one_range o;
    struct export_plan p;
    one_open(&o, &all);
    fx_write(o.st, patients(), "a", "1");
    one_view(&o, false, 0);
    plan_it(&o, 1 << 20, &p);
    assert_int_equal(p.object_bytes, 1 << 20);
    size_t n = 0;
    for (size_t i = 0; i < p.n; i++) {
        assert_int_equal(p.items[i].kind, EXPORT_SCAN);
        assert_false(p.done[i]);
        if (p.items[i].range.type != patients())
            continue;
        assert_int_equal(p.items[i].range.from == 0, n == 0);
        n++;
    }
    assert_true(n > 0);
    one_close(&o);
}

TEST(plan, a_window_without_changes_has_no_items)
{
    static const struct job_export_params since = { .since_ms = 1 };
    struct one_range o;
    struct export_plan p;
    one_open(&o, &since);
    fx_write(o.st, patients(), "a", "1");
    uint64_t t = last_of(o.st).t;
    one_view(&o, true, t);
    plan_it(&o, 1 << 20, &p);
    assert_int_equal(p.n, 0);
    fx_write(o.st, patients(), "b", "1");
    one_view(&o, true, t);
    plan_it(&o, 1 << 20, &p);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.items[0].kind, EXPORT_CHANGES);
    assert_int_equal(p.items[0].range.type, patients());
    one_close(&o);
}

TEST(plan, sizes_that_are_asked_for_bound_the_objects)
{
    static const struct job_export_params small = { .max_file_bytes = 1000 };
    static const struct job_export_params large = { .min_file_bytes = 4 << 20 };
    struct one_range o;
    struct export_plan p;
    one_open(&o, &small);
    one_view(&o, false, 0);
    plan_it(&o, 1 << 20, &p);
    assert_int_equal(p.object_bytes, 1000);
    o.x.params = &large;
    plan_it(&o, 1 << 20, &p);
    assert_int_equal(p.object_bytes, 8 << 20);
    one_close(&o);
}

TEST(plan, one_that_was_never_made_is_not_found)
{
    static const struct job_export_params all;
    struct one_range o;
    struct export_plan p;
    one_open(&o, &all);
    FAILS(ERR_NOT_FOUND, export_plan_read(&o.run, o.a, &p, e));
    one_close(&o);
}

TEST_MAIN(T(plan, ranges_of_a_type_are_end_to_end_and_types_that_are_not_there_have_one),
          T(plan, a_window_without_changes_has_no_items),
          T(plan, sizes_that_are_asked_for_bound_the_objects),
          T(plan, one_that_was_never_made_is_not_found))

/* test_plan.c - which items a plan has, and that it is read as it was written. */
#include "one_range.h"

#include "export/reuse/reuse.h"

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

/* ---- what an earlier export left ---- */

enum { EARLIER = 151, CHECK_ONE = 50, JOBS = 1000 };

struct chosen {
    size_t n;
    bool check[EARLIER];
};

/* export_item_fn */
static err_code note_item(void *ctx, const struct export_item *x, struct err *e)
{
    struct chosen *c = ctx;
    (void)e;
    assert_non_null(x->earlier);
    assert_true(c->n < EARLIER);
    c->check[c->n++] = x->check;
    return ERR_OK;
}

TEST(plan, of_fifty_ranges_in_a_row_that_could_be_copied_a_job_checks_one_of_its_own)
{
    static const struct job_export_params all;
    static struct export_earlier_range ranges[EARLIER];
    struct export_earlier earlier = { .ranges = ranges, .n = EARLIER };
    unsigned n_chosen[EARLIER] = { 0 };
    struct one_range o;
    struct chosen c, again;
    yyjson_doc *doc;
    one_open(&o, &all);
    fx_write(o.st, patients(), "a", "1");
    one_view(&o, false, 0);
    earlier.t = o.x.t;
    OK(json_read(o.a, SV_LIT("{\"objects\":[]}"), 8, &doc, e));
    for (unsigned i = 0; i < EARLIER; i++)
        ranges[i] = (struct export_earlier_range){ .range = { patients(), i * 10,
                                                              i + 1 < EARLIER ? (i + 1) * 10 : 0 },
                                                   .note = yyjson_doc_get_root(doc),
                                                   .bytes = 1 << 20 };
    for (unsigned job = 0; job < JOBS; job++) {
        char id[33];
        (void)snprintf(id, sizeof id, "%032x", job * 2654435761u);
        o.job.id = sv_from(id);
        c = again = (struct chosen){ 0 };
        OK(export_reuse_plan(&o.x, &earlier, patients(), 1 << 20, o.a, note_item, &c, e));
        assert_int_equal(c.n, EARLIER);
        for (unsigned i = 0; i < EARLIER; i += CHECK_ONE) {
            unsigned n = 0;
            for (unsigned k = i; k < i + CHECK_ONE && k < EARLIER; k++) {
                n += c.check[k];
                n_chosen[k] += c.check[k];
            }
            assert_true(i + CHECK_ONE <= EARLIER ? n == 1 : n <= 1);
        }
        /* after a crash the same ones */
        OK(export_reuse_plan(&o.x, &earlier, patients(), 1 << 20, o.a, note_item, &again, e));
        assert_memory_equal(c.check, again.check, sizeof c.check);
    }
    for (unsigned i = 0; i < EARLIER; i++)
        assert_in_range(n_chosen[i], 1, 3 * JOBS / CHECK_ONE);
    o.job.id = SV_LIT("0123456789abcdef0123456789abcdef");
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
          T(plan, of_fifty_ranges_in_a_row_that_could_be_copied_a_job_checks_one_of_its_own),
          T(plan, sizes_that_are_asked_for_bound_the_objects),
          T(plan, one_that_was_never_made_is_not_found))

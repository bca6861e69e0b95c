/* test_range.c - a range becomes objects and a note: rounds, full objects, and ranges given up. */
#include "one_range.h"

static const struct job_export_params none;

static size_t count(const struct buf *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text->ptr; p && (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    return n;
}

static void tree_of(struct one_range *o, struct buf *out)
{
    fx_tree(&o->f, "out", out);
    OK(buf_add_char(out, 0, e));
}

TEST(range, an_object_that_is_full_is_followed_by_another)
{
    struct one_range o;
    CLEANUP_BUF struct buf tree = BUF_INIT(1 << 20);
    one_open(&o, &none);
    for (int i = 0; i < 10; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%d", i);
        fx_write(o.st, patients(), id, "x");
    }
    one_view(&o, false, 0);
    one_item(&o, EXPORT_SCAN, 300); /* two lines of about 110 bytes */
    struct export_tally t = one_write(&o, 0);
    tree_of(&o, &tree);
    assert_int_equal(t.resources, 10);
    assert_int_equal(t.objects, 5);
    assert_int_equal(count(&tree, "== "), 5);
    assert_int_equal(count(&tree, "\"resourceType\":\"Patient\""), 10);
    one_close(&o);
}

TEST(range, deletions_are_a_second_round_in_objects_of_their_own)
{
    struct one_range o;
    CLEANUP_BUF struct buf tree = BUF_INIT(1 << 20), note = BUF_INIT(1 << 20);
    one_open(&o, &none);
    fx_write(o.st, patients(), "a", "x");
    fx_write(o.st, patients(), "b", "x");
    uint64_t since = last_of(o.st).t;
    one_delete(o.st, patients(), "a");
    one_delete(o.st, patients(), "b");
    fx_write(o.st, patients(), "c", "x");
    one_view(&o, true, since);
    one_item(&o, EXPORT_CHANGES, 1 << 20);
    struct export_tally t = one_write(&o, 0);
    tree_of(&o, &tree);
    /* of resources alone; the deletions' object counts as an object */
    assert_int_equal(t.resources, 1);
    assert_int_equal(t.objects, 2);
    assert_int_equal(count(&tree, "== p/deleted/Patient-"), 1);
    assert_int_equal(count(&tree, "== p/Patient/Patient-"), 1);
    assert_int_equal(count(&tree, "\"method\":\"DELETE\",\"url\":\"Patient/"), 2);
    assert_int_equal(count(&tree, "\"id\":\"c\""), 1);
    OK(job_run_note_get(&o.run, SV_LIT("done/00000000"), &note, e));
    OK(buf_add_char(&note, 0, e));
    assert_non_null(strstr(note.ptr, "\"deleted\":true,\"entries\":2,\"count\":1"));
    assert_non_null(strstr(note.ptr, "\"place\":0"));
    one_close(&o);
}

TEST(range, where_everything_went_there_is_the_second_round_alone)
{
    struct one_range o;
    CLEANUP_BUF struct buf tree = BUF_INIT(1 << 20);
    one_open(&o, &none);
    fx_write(o.st, patients(), "a", "x");
    uint64_t since = last_of(o.st).t;
    one_delete(o.st, patients(), "a");
    one_view(&o, true, since);
    one_item(&o, EXPORT_CHANGES, 1 << 20);
    struct export_tally t = one_write(&o, 0);
    tree_of(&o, &tree);
    assert_int_equal(t.resources, 0);
    assert_int_equal(t.objects, 1);
    assert_int_equal(count(&tree, "== "), 1);
    one_close(&o);
}

TEST(range, nothing_makes_no_object_and_a_note_all_the_same)
{
    struct one_range o;
    CLEANUP_BUF struct buf tree = BUF_INIT(1 << 20), note = BUF_INIT(1 << 20);
    one_open(&o, &none);
    one_view(&o, false, 0);
    one_item(&o, EXPORT_SCAN, 1 << 20);
    assert_int_equal(one_write(&o, 0).objects, 0);
    tree_of(&o, &tree);
    assert_int_equal(count(&tree, "== "), 0);
    OK(job_run_note_get(&o.run, SV_LIT("done/00000000"), &note, e));
    one_close(&o);
}

TEST(range, a_range_that_is_given_up_leaves_no_progress)
{
    struct one_range o;
    CLEANUP_BUF struct buf block = BUF_INIT(EXPORT_BLOCK_MAX);
    struct export_range *g = NULL;
    struct err err;
    one_open(&o, &none);
    for (int i = 0; i < 4; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%d", i);
        fx_write(o.st, patients(), id, "x");
    }
    one_view(&o, false, 0);
    one_item(&o, EXPORT_SCAN, 1); /* an object a line */
    OK(export_range_open(&o.x, 0, &block, &g, e));
    OK(export_range_fill(g, e));
    assert_int_equal(export_range_flush(g, &err), ERR_OK);
    assert_int_equal(o.x.shared.progress.resources_exported, 1);
    export_range_free(g);
    assert_int_equal(o.x.shared.progress.resources_exported, 0);
    assert_int_equal(o.x.shared.progress.bytes_exported, 0);
    one_close(&o);
}

TEST_MAIN(T(range, an_object_that_is_full_is_followed_by_another),
          T(range, deletions_are_a_second_round_in_objects_of_their_own),
          T(range, where_everything_went_there_is_the_second_round_alone),
          T(range, nothing_makes_no_object_and_a_note_all_the_same),
          T(range, a_range_that_is_given_up_leaves_no_progress))

/* The mark of what is copied from: who takes it over, who removes it. */
#include "test.h"

#include "store/move.h"

static bool is_marked(struct records *r)
{
    struct err e = { 0 };
    err_code rc = store_source_check(r, "folder", &e);
    assert_true(rc == ERR_OK || rc == ERR_CONFLICT);
    return rc == ERR_CONFLICT;
}

TEST(source, a_mark_is_taken_over_and_goes_with_the_end)
{
    (void)state;
    CLEANUP(records_close) struct records *r = NULL;
    struct store_source killed, next, later;
    OK(records_open(NULL, &r, e));
    assert_false(is_marked(r));
    OK(store_source_take(r, &killed, e));
    assert_true(killed.is_new && is_marked(r));
    OK(store_source_take(r, &next, e));
    assert_true(!next.is_new && is_marked(r));
    assert_string_equal(next.mark, killed.mark);
    OK(store_source_end(&next, e));
    assert_false(is_marked(r));
    OK(store_source_take(r, &later, e));
    assert_true(later.is_new && strcmp(later.mark, killed.mark) != 0);
}

TEST(source, who_leaves_removes_its_own_and_nobody_elses)
{
    (void)state;
    CLEANUP(records_close) struct records *r = NULL;
    struct store_source a, b;
    OK(records_open(NULL, &r, e));
    OK(store_source_take(r, &a, e));
    store_source_leave(&a);
    assert_false(is_marked(r));
    /* b goes on under a's mark, which a had made */
    OK(store_source_take(r, &a, e));
    OK(store_source_take(r, &b, e));
    store_source_leave(&a);
    assert_true(is_marked(r));
    /* b did not make it */
    store_source_leave(&b);
    assert_true(is_marked(r));
}

TEST(source, the_end_removes_what_another_took_over_and_no_later_one)
{
    (void)state;
    CLEANUP(records_close) struct records *r = NULL;
    struct store_source a, b;
    bool was;
    OK(records_open(NULL, &r, e));
    OK(store_source_take(r, &a, e));
    OK(store_source_take(r, &b, e));
    OK(store_source_end(&a, e));
    assert_false(is_marked(r));
    OK(store_source_take(r, &a, e));
    OK(store_source_end(&b, e));
    assert_true(is_marked(r));
    OK(store_source_free(r, &was, e));
    assert_true(was && !is_marked(r));
    OK(store_source_free(r, &was, e));
    assert_false(was);
}

TEST_MAIN(T(source, a_mark_is_taken_over_and_goes_with_the_end),
          T(source, who_leaves_removes_its_own_and_nobody_elses),
          T(source, the_end_removes_what_another_took_over_and_no_later_one))

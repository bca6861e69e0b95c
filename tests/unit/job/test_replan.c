/* test_replan.c - exports under way in a data store that is converted: a plan of which nothing is
 * done goes, one of which a part is done forbids it. */
#include "job/sample.h"

static void put_note(struct records *r, const char *key)
{
    OK(records_put(r, sv_from(key), SV_LIT("x"), e));
}

static bool there(struct records *r, const char *key)
{
    struct buf b = BUF_INIT(64);
    struct err why;
    bool yes = records_get(r, sv_from(key), &b, &why) == ERR_OK;
    buf_done(&b);
    return yes;
}

TEST(replan, a_plan_of_which_nothing_is_done_goes)
{
    CLEANUP(records_close) struct records *r = in_memory();
    struct job_record a = sample("a", 1), b = sample("b", 2), import = sample("c", 3);
    struct job_record other = sample("d", 4), ended = sample("e", 5);
    (void)state;
    import.job.kind = JOB_IMPORT;
    other.job.datastore_id = SV_LIT("ffffffffffffffffffffffffffffffff");
    OK(job_record_create(r, &a, SV_NONE, NULL, 0, e));
    OK(job_record_create(r, &b, SV_NONE, NULL, 0, e));
    OK(job_record_create(r, &import, SV_NONE, NULL, 0, e));
    OK(job_record_create(r, &other, SV_NONE, NULL, 0, e));
    OK(job_record_create(r, &ended, SV_NONE, NULL, 0, e));
    ended.job.status = JOB_COMPLETED;
    OK(job_record_finish(r, &ended, e));
    put_note(r, "jobnote/a/plan");
    put_note(r, "jobnote/a/shared");
    put_note(r, "jobnote/c/plan");
    put_note(r, "jobnote/c/done/1");
    put_note(r, "jobnote/d/plan");
    put_note(r, "jobnote/d/done/1");
    put_note(r, "jobnote/ab/done/1");
    OK(job_plans_check(r, FX_STORE, e));
    assert_true(there(r, "jobnote/a/plan"));
    OK(job_plans_drop(r, FX_STORE, e));
    assert_false(there(r, "jobnote/a/plan"));
    assert_true(there(r, "jobnote/a/shared") && there(r, "jobnote/c/plan"));
    assert_true(there(r, "jobnote/d/plan") && there(r, "jobnote/d/done/1"));
    OK(job_plans_drop(r, FX_STORE, e));
}

TEST(replan, a_plan_of_which_a_part_is_done_is_named)
{
    CLEANUP(records_close) struct records *r = in_memory();
    struct job_record a = sample("a", 1), b = sample("b", 2);
    struct err why = { 0 };
    (void)state;
    OK(job_record_create(r, &a, SV_NONE, NULL, 0, e));
    OK(job_record_create(r, &b, SV_NONE, NULL, 0, e));
    put_note(r, "jobnote/a/plan");
    put_note(r, "jobnote/b/plan");
    put_note(r, "jobnote/b/done/3");
    assert_int_equal(job_plans_check(r, FX_STORE, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.msg, "export job b of data store"));
    assert_true(there(r, "jobnote/a/plan") && there(r, "jobnote/b/plan"));
}

TEST_MAIN(T(replan, a_plan_of_which_nothing_is_done_goes),
          T(replan, a_plan_of_which_a_part_is_done_is_named))

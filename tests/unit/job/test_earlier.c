/* test_earlier.c - what exports leave to later ones: the newest few of a data store, until it goes.
 * */
#include "fixture.h"

struct room {
    struct fx f;
    struct job job;
    struct job_engine_config cfg;
    struct job_run run;
};

static void room_open(struct room *r)
{
    memset(r, 0, sizeof *r);
    fx_open(&r->f);
    r->cfg.records = r->f.records;
    r->job.datastore_id = FX_STORE;
    r->run.job = &r->job;
    r->run.cfg = &r->cfg;
}

static bool count(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    ++*(unsigned *)ctx;
    return true;
}

static unsigned n_left(struct room *r)
{
    unsigned n = 0;
    OK(records_scan(r->f.records, SV_LIT("jobearlier/"), SV_NONE, count, &n, e));
    return n;
}

static err_code get(struct room *r, const char *name, struct buf *out)
{
    struct err why;
    buf_clear(out);
    return job_run_earlier_get(&r->run, sv_from(name), out, &why);
}

TEST(earlier, what_was_put_last_under_a_name_is_got_whole)
{
    struct room r;
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    room_open(&r);
    assert_int_equal(get(&r, "aa", &b), ERR_NOT_FOUND);
    OK(job_run_earlier_put(&r.run, SV_LIT("aa"), SV_LIT("one"), e));
    OK(job_run_earlier_put(&r.run, SV_LIT("ab"), SV_LIT(""), e));
    OK(job_run_earlier_put(&r.run, SV_LIT("aa"), SV_LIT("two"), e));
    assert_int_equal(get(&r, "aa", &b), ERR_OK);
    assert_sv(buf_sv(&b), SV_LIT("two"));
    assert_int_equal(get(&r, "ab", &b), ERR_OK);
    assert_int_equal(b.len, 0);
    OK(job_run_earlier_delete(&r.run, SV_LIT("aa"), e));
    assert_int_equal(get(&r, "aa", &b), ERR_NOT_FOUND);
    OK(records_put(r.f.records, SV_LIT("jobearlier/0123456789abcdef0123456789abcdef/aa"),
                   SV_LIT("short"), e));
    assert_int_equal(get(&r, "aa", &b), ERR_CORRUPT);
    fx_close(&r.f);
}

TEST(earlier, of_a_data_store_the_newest_few_are_kept)
{
    struct room r;
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    char name[16];
    room_open(&r);
    r.job.datastore_id = SV_LIT("other");
    OK(job_run_earlier_put(&r.run, SV_LIT("aa"), SV_LIT("theirs"), e));
    r.job.datastore_id = FX_STORE;
    for (unsigned i = 0; i < JOB_EARLIER_MAX * 2; i++) {
        (void)snprintf(name, sizeof name, "n%02u", 97 - i);
        OK(job_run_earlier_put(&r.run, sv_from(name), SV_LIT("x"), e));
        /* one is put again and again, and so stays */
        OK(job_run_earlier_put(&r.run, SV_LIT("again"), SV_LIT("y"), e));
        for (unsigned k = 0; k < 3; k++)
            fx_nap();
    }
    assert_int_equal(n_left(&r), JOB_EARLIER_MAX + 1);
    assert_int_equal(get(&r, "again", &b), ERR_OK);
    assert_int_equal(get(&r, name, &b), ERR_OK);
    assert_int_equal(get(&r, "n97", &b), ERR_NOT_FOUND);
    /* the data store is gone */
    bool any = false;
    OK(job_records_forget(r.f.records, FX_STORE, &any, e));
    assert_int_equal(n_left(&r), 1);
    fx_close(&r.f);
}

TEST_MAIN(T(earlier, what_was_put_last_under_a_name_is_got_whole),
          T(earlier, of_a_data_store_the_newest_few_are_kept))

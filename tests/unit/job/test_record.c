/* test_record.c - job records: legal moves, what is written is read, lists, tokens, notes. */
#include "job/sample.h"

#include "base/limits.h"

#include "codec/json.h"

TEST(record, what_is_written_is_read)
{
    CLEANUP(records_close) struct records *r = in_memory();
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct job_record rec = sample("a", 1), got;
    OK(job_record_create(r, &rec, SV_NONE, NULL, 0, e));
    rec.job.status = JOB_CANCEL_IN_PROGRESS;
    rec.job.start_ms = 1;
    rec.job.end_ms = INT64_MAX;
    /* no digit is lost */
    rec.job.as_of_t = UINT64_MAX;
    rec.job.transaction_ms = 1700000000999;
    rec.job.message = SV_LIT("why");
    struct job_progress *p = &rec.job.progress;
    *p = (struct job_progress){ 1, 2,  3,  UINT64_MAX, 5,  6,  7,  8,
                                9, 10, 11, 12,         13, 14, 15, .throughput = 15.5 };
    OK(job_record_update(r, &rec, true, e));
    OK(job_record_read(r, JOB_EXPORT, FX_STORE, SV_LIT("a"), a, &got, e));
    assert_int_equal(got.order, 1);
    assert_sv(got.digest, rec.digest);
    assert_sv(got.job.id, rec.job.id);
    assert_sv(got.job.datastore_id, rec.job.datastore_id);
    assert_sv(got.job.datastore_arn, rec.job.datastore_arn);
    assert_sv(got.job.account_id, rec.job.account_id);
    assert_sv(got.job.job_name, rec.job.job_name);
    assert_sv(got.job.role_arn, rec.job.role_arn);
    assert_sv(got.job.output_uri, rec.job.output_uri);
    assert_sv(got.job.job_folder_uri, rec.job.job_folder_uri);
    assert_sv(got.job.kms_key_id, rec.job.kms_key_id);
    assert_sv(got.job.input_uri, SV_NONE);
    assert_sv(got.job.message, rec.job.message);
    assert_int_equal(got.job.status, JOB_CANCEL_IN_PROGRESS);
    assert_int_equal(got.job.submit_ms, rec.job.submit_ms);
    assert_int_equal(got.job.start_ms, 1);
    assert_true(got.job.end_ms == INT64_MAX && got.job.as_of_t == UINT64_MAX);
    assert_int_equal(got.job.transaction_ms, rec.job.transaction_ms);
    assert_memory_equal(&got.job.progress, p, sizeof *p);
    /* another kind, another store, another id: not there */
    FAILS(ERR_NOT_FOUND, job_record_read(r, JOB_IMPORT, FX_STORE, SV_LIT("a"), a, &got, e));
    FAILS(ERR_NOT_FOUND, job_record_read(r, JOB_EXPORT, SV_LIT("b"), SV_LIT("a"), a, &got, e));
    FAILS(ERR_NOT_FOUND, job_record_read(r, JOB_EXPORT, FX_STORE, SV_LIT("b"), a, &got, e));
}

static void collect(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order)
{
    OK(buf_add_fmt(ctx, e, "%s %.*s %.*s %llu\n", job_kind_name(kind), SV_FMT(datastore_id),
                   SV_FMT(job_id), (unsigned long long)order));
}

static bool count_keys(void *ctx, sv key, sv value)
{
    ++*(size_t *)ctx;
    return true;
}

TEST(record, an_ended_job_is_active_no_more_and_its_notes_are_gone)
{
    CLEANUP(records_close) struct records *r = in_memory();
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf got = BUF_INIT(4096);
    struct job_record old = sample("a", 1), young = sample("b", UINT64_MAX - 1), back;
    young.job.kind = JOB_IMPORT;
    OK(job_record_create(r, &young, SV_NONE, NULL, 0, e));
    OK(job_record_create(r, &old, SV_NONE, NULL, 0, e));
    /* oldest first */
    OK(job_records_active(r, collect, &got, e));
    assert_sv(buf_sv(&got), SV_LIT("export 0123456789abcdef0123456789abcdef a 1\n"
                                   "import 0123456789abcdef0123456789abcdef b "
                                   "18446744073709551614\n"));
    /* more than one batch of them */
    for (int i = 0; i < 600; i++) {
        OK(records_put(r, arena_fmt(a, "jobnote/a/done/%08d", i), SV_LIT("x"), e));
        OK(records_put(r, arena_fmt(a, "jobnote/ab/done/%08d", i), SV_LIT("x"), e));
    }
    old.job.status = JOB_COMPLETED;
    OK(job_record_finish(r, &old, e));
    buf_clear(&got);
    OK(job_records_active(r, collect, &got, e));
    assert_sv(buf_sv(&got),
              SV_LIT("import 0123456789abcdef0123456789abcdef b 18446744073709551614\n"));
    size_t n = 0, others = 0;
    OK(records_scan(r, SV_LIT("jobnote/a/"), SV_NONE, count_keys, &n, e));
    OK(records_scan(r, SV_LIT("jobnote/ab/"), SV_NONE, count_keys, &others, e));
    assert_int_equal(n, 0);
    assert_int_equal(others, 600);
    /* describable */
    OK(job_record_read(r, JOB_EXPORT, FX_STORE, SV_LIT("a"), a, &back, e));
    assert_int_equal(back.job.status, JOB_COMPLETED);
}

/* All pages of a list as "id id ...", with max a page. */
static void list(struct records *r, const struct job_filter *f, unsigned max, const char *want)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf got = BUF_INIT(4096);
    sv after = SV_NONE;
    do {
        struct job *jobs;
        size_t n;
        OK(job_record_list(r, JOB_EXPORT, f, after, max, a, &jobs, &n, &after, e));
        assert_true(n <= max);
        /* only the last page is short */
        assert_true(n == max || after.len == 0);
        for (size_t i = 0; i < n; i++)
            OK(buf_add_fmt(&got, e, "%.*s ", SV_FMT(jobs[i].id)));
    } while (after.len);
    assert_sv(buf_sv(&got), sv_from(want));
}

TEST(record, lists_are_newest_first_filtered_and_paged)
{
    CLEANUP(records_close) struct records *r = in_memory();
    struct job_filter all = { .datastore_id = FX_STORE };
    list(r, &all, 3, "");
    for (int i = 0; i < 9; i++) {
        char id[2] = { (char)('1' + i), 0 };
        struct job_record rec = sample(id, (uint64_t)i + 1);
        rec.job.submit_ms = 1000 * (i + 1);
        rec.job.job_name = i % 3 ? SV_LIT("often") : SV_LIT("seldom");
        rec.job.status = i % 2 ? JOB_COMPLETED : JOB_QUEUED;
        OK(job_record_create(r, &rec, SV_NONE, NULL, 0, e));
    }
    struct job_record other = sample("x", 100);
    other.job.datastore_id = SV_LIT("another");
    OK(job_record_create(r, &other, SV_NONE, NULL, 0, e));
    for (unsigned max = 1; max < 11; max++) {
        list(r, &all, max, "9 8 7 6 5 4 3 2 1 ");
        struct job_filter f = all;
        f.name = SV_LIT("seldom");
        list(r, &f, max, "7 4 1 ");
        f = all;
        f.has_status = true;
        f.status = JOB_COMPLETED;
        list(r, &f, max, "8 6 4 2 ");
        f = all;
        /* both ends are outside */
        f.submitted_after_ms = 3000;
        f.submitted_before_ms = 6000;
        list(r, &f, max, "5 4 ");
        f.name = SV_LIT("none");
        list(r, &f, max, "");
    }
}

/* Whoever filters for what is rare does not have all jobs there ever were read for one page. */
TEST(record, a_page_looks_at_so_many_jobs_and_its_position_goes_on)
{
    CLEANUP(records_close) struct records *r = in_memory();
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    enum { N = 2 * LIMIT_LIST_SEEN + 100 };
    for (unsigned i = 0; i < N; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "j%u", i);
        struct job_record rec = sample(id, i + 1);
        rec.job.job_name = i == 0 || i == 1 ? SV_LIT("rare") : SV_LIT("often");
        OK(job_record_create(r, &rec, SV_NONE, NULL, 0, e));
    }
    struct job_filter f = { .datastore_id = FX_STORE, .name = SV_LIT("rare") };
    struct job *jobs;
    size_t n, used = 0;
    sv after = SV_NONE;
    unsigned n_pages = 0, found = 0;
    do {
        OK(job_record_list(r, JOB_EXPORT, &f, after, 100, a, &jobs, &n, &after, e));
        /* what does not match costs no memory either */
        if (n_pages == 0)
            used = arena_used(a);
        n_pages++;
        found += (unsigned)n;
        assert_true(n == 0 || n == 2);
    } while (after.len);
    assert_int_equal(n_pages, 3);
    assert_int_equal(found, 2);
    assert_true(used < 200000);
}

TEST(record, damage_is_said_and_not_guessed_over)
{
    CLEANUP(records_close) struct records *r = in_memory();
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct job_record got;
    sv key = SV_LIT("job/0123456789abcdef0123456789abcdef/export/a");
    OK(records_put(r, key, SV_LIT("{\"status\":\"DONE\"}"), e));
    FAILS(ERR_CORRUPT, job_record_read(r, JOB_EXPORT, FX_STORE, SV_LIT("a"), a, &got, e));
    OK(records_put(r, key, SV_LIT("{\"status\""), e));
    FAILS(ERR_CORRUPT, job_record_read(r, JOB_EXPORT, FX_STORE, SV_LIT("a"), a, &got, e));
}

TEST_MAIN(T(record, what_is_written_is_read),
          T(record, an_ended_job_is_active_no_more_and_its_notes_are_gone),
          T(record, lists_are_newest_first_filtered_and_paged),
          T(record, a_page_looks_at_so_many_jobs_and_its_position_goes_on),
          T(record, damage_is_said_and_not_guessed_over))

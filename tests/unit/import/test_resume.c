/* test_resume.c - the resume point comes back as it was written; what is damaged is refused, and
 * where there is none an import begins at the beginning. */
#include "one_import.h"

static struct import_file inputs[5] = { { .key = S("k0"), .out_name = S("o0.ndjson") },
                                        { .key = S("k1"), .out_name = S("o1.ndjson") },
                                        { .key = S("k2"), .out_name = S("o2.ndjson") },
                                        { .key = S("k3"), .out_name = S("o3.ndjson") },
                                        { .key = S("k4"), .out_name = S("o4.ndjson") } };

struct bench { /* an import of five files, without an engine */
    struct store *st;
    struct job job;
    struct job_run r;
    struct import_job m;
};

static void fresh(struct bench *b)
{
    import_outcome_free(b->m.outcome);
    b->m = (struct import_job){ .run = &b->r, .files = { inputs, 5, 500 } };
    b->m.outcome = import_outcome_new(&b->r, NULL, &b->m.files);
}

static void bench_open(struct bench *b)
{
    memset(b, 0, sizeof *b);
    b->st = memory_store();
    b->job = (struct job){ .id = SV_LIT(JOB) };
    b->r = (struct job_run){ .job = &b->job, .store = b->st, .spool_dir = "/nowhere" };
    fresh(b);
}

static void bench_close(struct bench *b)
{
    import_outcome_free(b->m.outcome);
    store_close(b->st);
}

/* As a chunk is published: the note goes with it. */
static void put_note(struct bench *b, sv note)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    struct store_bulk *bulk = NULL;
    struct store_commit at;
    OK(store_bulk_begin(b->st, &bulk, e));
    OK(store_bulk_fill(bulk, NULL, 0, e));
    OK(store_bulk_publish(&bulk, import_resume_key(a, &b->r), note, &at, e));
}

TEST(resume, an_import_without_a_point_begins_at_the_first_line)
{
    struct bench b;
    bench_open(&b);
    OK(import_resume_read(&b.m, e));
    assert_int_equal(b.m.at.file, 0);
    assert_int_equal(b.m.at.offset, 0);
    assert_int_equal(b.m.at.line, 1);
    assert_int_equal(b.m.at.unpacked, 0);
    bench_close(&b);
}

static uint64_t seed = 99;
/* Of 4 to 63 bits. */
static uint64_t draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> (1 + (seed >> 20) % 60);
}

TEST(resume, a_point_comes_back_as_it_was_written)
{
    for (unsigned round = 0; round < 200; round++) {
        CLEANUP_BUF struct buf note = BUF_INIT(1 << 16);
        struct bench b;
        bench_open(&b);
        struct import_chunk c = { .next_file = draw() % 6,
                                  .next_offset = draw(),
                                  .next_line = draw(),
                                  .next_unpacked = draw() };
        struct job_progress p = { .files_imported = draw(),
                                  .files_unreadable = draw(),
                                  .bytes_imported = draw(),
                                  .resources_scanned = draw(),
                                  .resources_imported = draw(),
                                  .resources_customer_error = draw(),
                                  .resources_with_issues = draw() };
        b.m.progress = p;
        OK(import_resume_write(&b.m, &c, &note, e));
        put_note(&b, buf_sv(&note));
        fresh(&b);
        OK(import_resume_read(&b.m, e));
        assert_int_equal(b.m.at.file, c.next_file);
        assert_int_equal(b.m.at.offset, c.next_offset);
        assert_int_equal(b.m.at.line, c.next_line);
        assert_int_equal(b.m.at.unpacked, c.next_unpacked);
        assert_memory_equal(&b.m.progress, &p, sizeof p);
        bench_close(&b);
    }
}

#define COUNTS                                                                     \
    "\"filesImported\":1,\"filesUnreadable\":2,\"bytesImported\":3,\"scanned\":4," \
    "\"imported\":5,\"rejected\":6,\"withIssues\":7"

TEST(resume, a_point_that_is_damaged_is_refused)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"offset\":1,\"line\":1," COUNTS "}",
        "{\"file\":1,\"line\":1," COUNTS "}",
        "{\"file\":1,\"offset\":1," COUNTS "}",
        "{\"file\":-1,\"offset\":1,\"line\":1," COUNTS "}",
        "{\"file\":\"1\",\"offset\":1,\"line\":1," COUNTS "}",
        "{\"file\":1,\"offset\":1.5,\"line\":1," COUNTS "}",
        /* there are five files */
        "{\"file\":6,\"offset\":1,\"line\":1," COUNTS "}",
        /* no count may be missing */
        "{\"file\":1,\"offset\":1,\"line\":1,\"filesImported\":1}",
        "{\"file\":1,\"offset\":1,\"line\":1," COUNTS ",\"outcome\":[{\"file\":5,\"success\":0,"
        "\"failure\":0,\"withIssues\":0}]}",
        "{\"file\":1,\"offset\":1,\"line\":1," COUNTS ",\"outcome\":[{\"file\":0,\"success\":0,"
        "\"failure\":0}]}",
        "{\"file\":1,\"offset\":1,\"line\":1," COUNTS
        ",\"outcome\":{\"bytes\":[0,0],\"files\":[]}}",
    };
    for (size_t i = 0; i < CASES(bad); i++) {
        struct bench b;
        struct err why;
        bench_open(&b);
        put_note(&b, sv_from(bad[i]));
        err_code rc = import_resume_read(&b.m, &why);
        if (rc != ERR_CORRUPT)
            fail_msg("%s: %s", bad[i], err_code_name(rc));
        bench_close(&b);
    }
}

TEST(resume, a_point_of_before_plain_bytes_were_counted_is_taken)
{
    struct bench b;
    bench_open(&b);
    put_note(&b, SV_LIT("{\"file\":5,\"offset\":8,\"line\":9," COUNTS ",\"outcome\":[]}"));
    OK(import_resume_read(&b.m, e));
    assert_int_equal(b.m.at.file, 5);
    assert_int_equal(b.m.at.offset, 8);
    assert_int_equal(b.m.at.line, 9);
    assert_int_equal(b.m.at.unpacked, 0);
    assert_int_equal(b.m.progress.resources_with_issues, 7);
    bench_close(&b);
}

TEST(resume, a_point_is_its_own_jobs_and_goes_when_it_is_forgotten)
{
    struct bench b, other;
    bench_open(&b);
    bench_open(&other);
    store_close(other.st);
    other.r.store = other.st = b.st;
    other.job.id = SV_LIT("0123456789abcdef0123456789abcdef");
    put_note(&b, SV_LIT("{\"file\":2,\"offset\":8,\"line\":9," COUNTS "}"));
    OK(import_resume_read(&other.m, e));
    assert_int_equal(other.m.at.file, 0);
    import_resume_forget(&other.r);
    OK(import_resume_read(&b.m, e));
    assert_int_equal(b.m.at.file, 2);
    import_resume_forget(&b.r);
    /* again, after a crash */
    import_resume_forget(&b.r);
    fresh(&b);
    OK(import_resume_read(&b.m, e));
    assert_int_equal(b.m.at.file, 0);
    assert_int_equal(b.m.at.line, 1);
    import_outcome_free(other.m.outcome);
    bench_close(&b);
}

TEST_MAIN(T(resume, an_import_without_a_point_begins_at_the_first_line),
          T(resume, a_point_comes_back_as_it_was_written),
          T(resume, a_point_that_is_damaged_is_refused),
          T(resume, a_point_of_before_plain_bytes_were_counted_is_taken),
          T(resume, a_point_is_its_own_jobs_and_goes_when_it_is_forgotten))

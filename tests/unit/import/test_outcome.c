/* test_outcome.c - input that was made to do harm: what is written about it is bounded. */
#include "one_outcome.h"

#include "codec/hash.h"

/* ---- bombs ---- */

#define BAD_JSON(n) BAD_LINE(n, "Invalid JSON found in input file")
#define MORE_LINE(n, left, status)                                                                 \
    "{\"lineId\":" #n ",\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":"               \
    "\"OperationOutcome\",\"issue\":[{\"severity\":\"information\",\"code\":\"incomplete\","       \
    "\"diagnostics\":\"" #left                                                                     \
    " more lines from this one on are not written: they are too many\"}]},\"statusCode\":" #status \
    "}}\n"

TEST(bomb, failures_past_their_number_are_counted_and_a_last_line_says_how_many)
{
    struct fx f;
    fx_open(&f);
    struct import_bounds b = wide;
    b.file_failures = 3;
    fx_put(&f, "input/a.ndjson",
           SV_LIT("x\n" PATIENT("a") "\n{}\n\n[]\n\"\"\n" PATIENT("b") "\nx\n{\n"));
    /* just as many as may be */
    fx_put(&f, "input/b.ndjson", SV_LIT("1\n2\n3"));
    /* one more */
    fx_put(&f, "input/c.ndjson", SV_LIT("1\n2\n3\n4"));
    CLEANUP(store_close) struct store *st = memory_store();
    /* a line or two a chunk */
    struct one o = {
        .f = &f, .st = st, .input = "s3://input/", .output = "out", .bounds = &b, .chunk = 8
    };
    OK(run(&o, e));
    assert_int_equal(o.status, JOB_COMPLETED_WITH_ERRORS);
    /* all are counted */
    assert_int_equal(o.progress.resources_scanned, 15);
    assert_int_equal(o.progress.resources_imported, 2);
    assert_int_equal(o.progress.resources_customer_error, 13);
    assert_string_equal(o.message,
                        "4 lines of the outcome are not written because they are too many. "
                        "All are counted");
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/" FOLDER "/FAILURE", &got);
    fx_same(buf_sv(&got), SV_LIT("== a.ndjson\n" BAD_JSON(1) BAD_LINE(
                              3, "Missing required resourceType field in resource json") BAD_JSON(5)
                                     MORE_LINE(6, 3, 400) "== b.ndjson\n" BAD_JSON(1) BAD_JSON(2)
                                         BAD_JSON(3) "== c.ndjson\n" BAD_JSON(1) BAD_JSON(2)
                                             BAD_JSON(3) MORE_LINE(4, 1, 400)));
    buf_clear(&got);
    fx_tree(&f, "out/" FOLDER, &got);
    OK(buf_add_char(&got, 0, e));
    assert_non_null(strstr(got.ptr, "\"numberOfFailureLinesNotWritten\":4}"));
    fx_close(&f);
}

TEST(bomb, of_many_files_together_no_more_lines_are_written_than_a_job_may)
{
    struct fx f;
    fx_open(&f);
    struct import_bounds b = wide;
    b.job_failures = 25;
    /* the last lines of a few files */
    b.ends_bytes = 1500;
    for (unsigned i = 0; i < 40; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "input/%02u.ndjson", i);
        fx_put(&f, name, SV_LIT("x\nx\n"));
    }
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/", .output = "out", .bounds = &b };
    OK(run(&o, e));
    assert_int_equal(o.progress.resources_customer_error, 80);
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/" FOLDER "/FAILURE", &got);
    OK(buf_add_char(&got, 0, e));
    unsigned n_failures = 0, n_ends = 0;
    for (const char *p = got.ptr; (p = strstr(p, "Invalid JSON")) != NULL; p++)
        n_failures++;
    for (const char *p = got.ptr; (p = strstr(p, "more lines")) != NULL; p++)
        n_ends++;
    assert_int_equal(n_failures, 25);
    assert_in_range(n_ends, 3, 8);
    buf_clear(&got);
    fx_tree(&f, "out/" FOLDER, &got);
    OK(buf_add_char(&got, 0, e));
    assert_non_null(strstr(got.ptr, "\"numberOfFailureLinesNotWritten\":55}"));
    fx_close(&f);
}

/* Whatever kind a line's outcome is of: so many bytes, by the size of the input as it stands
 * there. */
TEST(bomb, bytes_of_every_kind_are_bounded_by_the_input_as_it_stands_there)
{
    struct fx f;
    fx_open(&f);
    static const struct {
        const char *line, *level, *folder;
    } cases[] = {
        { "x", "strict", "FAILURE" },
        { "{}", "strict", "FAILURE" },
        { "[]", "minimal", "FAILURE" },
        { "{\"resourceType\":\"Patient\",\"id\":\"a\",\"q\":1,\"w\":1,\"e\":1,\"r\":1,\"t\":1}",
          "strict", "FAILURE" },
        { "{\"resourceType\":\"Patient\",\"id\":\"a\",\"q\":1,\"w\":1,\"e\":1,\"r\":1,\"t\":1}",
          "minimal", "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES" },
        { PATIENT("a"), "strict", "SUCCESS" },
    };
    struct import_bounds b = wide;
    b.file_bytes = 10000;
    b.job_bytes = 30000;
    b.ratio = 10;
    for (size_t i = 0; i < CASES(cases); i++)
        for (unsigned packed = 0; packed < 3; packed++) {
            enum { N = 3000 };
            CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST), file = BUF_INIT(FX_MOST),
                                   got = BUF_INIT(FX_MOST);
            for (unsigned k = 0; k < N; k++)
                OK(buf_add_fmt(&text, e, "%s\n", cases[i].line));
            if (packed == 0)
                gzip(buf_sv(&text), &file);
            else if (packed == 1)
                zstd(buf_sv(&text), &file);
            else
                /* members */
                for (unsigned k = 0; k < 3; k++)
                    gzip(sv_make(text.ptr + k * text.len / 3, text.len / 3), &file);
            char out[32], folder[256];
            static const char *const names[] = { "input/x.ndjson.gz", "input/x.ndjson.zst",
                                                 "input/x.ndjson.gz" };
            fx_put(&f, names[packed], buf_sv(&file));
            (void)snprintf(out, sizeof out, "out%zu%u", i, packed);
            CLEANUP(store_close) struct store *st = memory_store();
            char input[64];
            (void)snprintf(input, sizeof input, "s3://%s", names[packed]);
            struct one o = { .f = &f,
                             .st = st,
                             .input = input,
                             .output = out,
                             .level = cases[i].level,
                             .bounds = &b };
            OK(run(&o, e));
            assert_int_equal(o.progress.resources_scanned, N);
            assert_int_equal(o.progress.resources_imported + o.progress.resources_customer_error,
                             N);
            (void)snprintf(folder, sizeof folder, "%s/" FOLDER "/%s", out, cases[i].folder);
            fx_tree(&f, folder, &got);
            /* and the last line, and its name here */
            size_t most = 10000 + 10 * file.len + 400;
            assert_true(got.len <= most && got.len > 9000);
            OK(buf_add_char(&got, 0, e));
            uint64_t written = 0;
            for (const char *p = got.ptr; (p = strstr(p, "{\"lineId\"")) != NULL; p++)
                written++;
            char end[64];
            (void)snprintf(end, sizeof end, "\"%llu more lines",
                           (unsigned long long)(N - (written - 1)));
            assert_non_null(strstr(got.ptr, end));
            assert_true(strstr(o.message, "not written") != NULL);
        }
    fx_close(&f);
}

TEST(bomb, with_the_bounds_as_they_are_two_kilobytes_come_to_no_more_than_a_megabyte)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST), gz = BUF_INIT(FX_MOST),
                           got = BUF_INIT(FX_MOST);
    for (unsigned k = 0; k < 300000; k++)
        OK(buf_add(&text, SV_LIT("x\n"), e));
    gzip(buf_sv(&text), &gz);
    fx_put(&f, "input/x.ndjson.gz", buf_sv(&gz));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/", .output = "out" };
    OK(run(&o, e));
    fx_tree(&f, "out/" FOLDER "/FAILURE", &got);
    assert_true(got.len < (512u << 10) + 200 * gz.len + 400);
    assert_int_equal(o.progress.resources_customer_error, 300000);
    fx_close(&f);
}

TEST(bomb, a_file_that_unpacks_to_a_thousand_times_its_size_costs_only_itself)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST), zs = BUF_INIT(FX_MOST);
    OK(buf_add(&text, SV_LIT(PATIENT("first") "\n"), e));
    size_t n = (size_t)LIMIT_UNPACK_FREE_BYTES + (8u << 20);
    OK(buf_reserve(&text, n, e));
    /* blank lines have no outcome, and take time */
    memset(text.ptr + text.len, ' ', n);
    for (size_t i = 0; i < n; i += 65536)
        text.ptr[text.len + i] = '\n';
    text.len += n;
    zstd(buf_sv(&text), &zs);
    buf_done(&text);
    assert_true(zs.len < n / 1000);
    fx_put(&f, "input/a.ndjson", SV_LIT(PATIENT("a")));
    fx_put(&f, "input/b.ndjson.zst", buf_sv(&zs));
    fx_put(&f, "input/c.ndjson", SV_LIT(PATIENT("c")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/", .output = "out" };
    OK(run(&o, e));
    assert_int_equal(o.status, JOB_COMPLETED_WITH_ERRORS);
    assert_int_equal(o.progress.files_unreadable, 1);
    assert_int_equal(o.progress.files_imported, 2);
    check_store(st, "Patient/a 1 " PATIENT("a") "\nPatient/c 1 " PATIENT(
                        "c") "\nPatient/first 1 " PATIENT("first") "\n");
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/" FOLDER "/FAILURE", &got);
    OK(buf_add_char(&got, 0, e));
    assert_non_null(strstr(got.ptr, "it unpacks to more than 1000 times its size"));
    fx_close(&f);
}

TEST(bomb, files_that_unpack_to_too_much_together_end_the_job)
{
    struct fx f;
    fx_open(&f);
    struct import_bounds b = wide;
    struct err why;
    b.job_unpacked = 5 * sizeof PATIENT("a0");
    for (unsigned i = 0; i < 9; i++) {
        char name[64], text[64];
        (void)snprintf(name, sizeof name, "input/%u.ndjson", i);
        (void)snprintf(text, sizeof text, "{\"resourceType\":\"Patient\",\"id\":\"a%u\"}\n", i);
        fx_put(&f, name, sv_from(text));
    }
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/", .output = "out", .bounds = &b };
    assert_int_equal(run(&o, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "unpack to more than"));
    assert_true(o.progress.resources_imported <= 5);
    fx_close(&f);
}

TEST(bomb, a_disk_that_is_nearly_full_ends_the_job_and_nothing_more_is_published)
{
    struct fx f;
    fx_open(&f);
    struct err why;
    fx_put(&f, "input/a.ndjson", SV_LIT(PATIENT("a") "\nx\n"));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = {
        .f = &f, .st = st, .input = "s3://input/", .output = "out", .min_free = UINT64_MAX
    };
    assert_int_equal(run(&o, &why), ERR_NO_SPACE);
    assert_non_null(strstr(why.msg, "MiB free"));
    check_store(st, "");
    /* there is room again */
    o.min_free = 1;
    OK(run(&o, e));
    check_store(st, "Patient/a 1 " PATIENT("a") "\n");
    fx_close(&f);
}

/* What is written does not depend on where a run was ended and taken up: the bounds are counted
 * over all runs. */
TEST(bomb, a_run_that_is_ended_and_taken_up_writes_and_counts_the_same)
{
    struct fx f;
    fx_open(&f);
    struct import_bounds b = wide;
    b.file_failures = 40;
    b.job_failures = 130;
    b.file_bytes = 1000;
    b.job_bytes = 30000;
    b.ends_bytes = 1200;
    uint64_t seed = 7;
    for (unsigned i = 0; i < 8; i++) {
        char name[64];
        CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST);
        (void)snprintf(name, sizeof name, "input/%u.ndjson", i);
        for (unsigned k = 0; k < 260; k++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            unsigned what = (unsigned)(seed >> 33) % 10;
            if (what < 3)
                OK(buf_add(&text, SV_LIT("x\n"), e));
            else if (what < 4)
                OK(buf_add(&text, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"i\",\"q\":1}\n"),
                           e));
            else
                OK(buf_add_fmt(&text, e, "{\"resourceType\":\"Patient\",\"id\":\"p%u-%u\"}\n", i,
                               k));
        }
        fx_put(&f, name, buf_sv(&text));
    }
    CLEANUP(store_close) struct store *calm_store = memory_store(), *cut_store = memory_store();
    struct one calm = { .f = &f,
                        .st = calm_store,
                        .input = "s3://input/",
                        .output = "calm",
                        .level = "minimal",
                        .bounds = &b,
                        .chunk = 3000 };
    struct one cut = calm;
    cut.st = cut_store;
    cut.output = "cut";
    /* chunks are cut elsewhere, too */
    cut.chunk = 700;
    OK(run(&calm, e));
    unsigned n_stops = 0;
    for (cut.stop_at = 20;; cut.stop_at += 60) {
        struct err why;
        err_code rc = run(&cut, &why);
        if (rc == ERR_OK)
            break;
        assert_int_equal(rc, ERR_CANCELLED);
        n_stops++;
    }
    assert_true(n_stops > 3);
    CLEANUP_BUF struct buf x = BUF_INIT(FX_MOST), y = BUF_INIT(FX_MOST);
    static const char *const folders[] = { "FAILURE", "SUCCESS",
                                           "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES" };
    for (size_t i = 0; i < CASES(folders); i++) {
        char path[256];
        buf_clear(&x);
        buf_clear(&y);
        (void)snprintf(path, sizeof path, "calm/" FOLDER "/%s", folders[i]);
        fx_tree(&f, path, &x);
        (void)snprintf(path, sizeof path, "cut/" FOLDER "/%s", folders[i]);
        fx_tree(&f, path, &y);
        fx_same(buf_sv(&y), buf_sv(&x));
        OK(buf_add_char(&x, 0, e));
        assert_non_null(strstr(x.ptr, "more lines"));
    }
    assert_string_equal(cut.message, calm.message);
    assert_int_equal(cut.progress.resources_customer_error, calm.progress.resources_customer_error);
    assert_int_equal(cut.progress.resources_with_issues, calm.progress.resources_with_issues);
    assert_int_equal(cut.progress.resources_imported, calm.progress.resources_imported);
    fx_close(&f);
}

TEST_MAIN(T(bomb, failures_past_their_number_are_counted_and_a_last_line_says_how_many),
          T(bomb, of_many_files_together_no_more_lines_are_written_than_a_job_may),
          T(bomb, bytes_of_every_kind_are_bounded_by_the_input_as_it_stands_there),
          T(bomb, with_the_bounds_as_they_are_two_kilobytes_come_to_no_more_than_a_megabyte),
          T(bomb, a_file_that_unpacks_to_a_thousand_times_its_size_costs_only_itself),
          T(bomb, files_that_unpack_to_too_much_together_end_the_job),
          T(bomb, a_disk_that_is_nearly_full_ends_the_job_and_nothing_more_is_published),
          T(bomb, a_run_that_is_ended_and_taken_up_writes_and_counts_the_same))

/* test_read.c - a byte order mark at the start of a file is passed over. */
#include "one_import.h"

#define BOM "\xEF\xBB\xBF"

TEST(read, a_mark_at_the_start_of_a_file_is_passed_over_and_nowhere_else)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf gz = BUF_INIT(FX_MOST), zs = BUF_INIT(FX_MOST);
    gzip(SV_LIT(BOM PATIENT("gz") "\n" BOM PATIENT("no1") "\n"), &gz);
    /* a second member is no second file */
    gzip(SV_LIT(BOM PATIENT("no2") "\n"), &gz);
    zstd(SV_LIT(BOM PATIENT("zs")), &zs);
    fx_put(&f, "input/a.ndjson", SV_LIT(BOM PATIENT("a") "\n" PATIENT("b") "\n"));
    fx_put(&f, "input/b.ndjson.gz", buf_sv(&gz));
    fx_put(&f, "input/c.ndjson.zst", buf_sv(&zs));
    fx_put(&f, "input/d.ndjson", SV_LIT(BOM BOM PATIENT("no3") "\n"));
    fx_put(&f, "input/e.ndjson", SV_LIT(BOM));
    fx_put(&f, "input/f.ndjson", SV_LIT("\xEF\xBB"));
    fx_put(&f, "input/g.ndjson", SV_LIT("\xFE\xFF" PATIENT("no4")));
    fx_put(&f, "input/h.ndjson", SV_LIT(BOM "\n" PATIENT("h")));
    fx_put(&f, "input/i.ndjson", SV_LIT("\n" BOM PATIENT("no5")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/", .output = "out" };
    OK(run(&o, e));
    check_store(st,
                "Patient/a 1 " PATIENT("a") "\nPatient/b 1 " PATIENT("b") "\nPatient/gz 1 " PATIENT(
                    "gz") "\nPatient/h 1 " PATIENT("h") "\nPatient/zs 1 " PATIENT("zs") "\n");
    assert_int_equal(o.progress.files_imported, 9);
    assert_int_equal(o.progress.resources_scanned, 11);
    assert_int_equal(o.progress.resources_customer_error, 6);
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/" FOLDER "/SUCCESS", &got);
    fx_same(buf_sv(&got),
            SV_LIT("== a.ndjson\n" OK_LINE(1, "Patient", "a")
                       OK_LINE(2, "Patient", "b") "== b.ndjson\n" OK_LINE(
                           1, "Patient",
                           "gz") "== c.ndjson\n" OK_LINE(1, "Patient",
                                                         "zs") "== h.ndjson\n" OK_LINE(2, "Patient",
                                                                                       "h")));
    fx_close(&f);
}

TEST_MAIN(T(read, a_mark_at_the_start_of_a_file_is_passed_over_and_nowhere_else))

/* test_import.c - lines in, versions and outcomes out: golden cases, then random input against an
 * account kept beside it, undisturbed and stopped at random moments, on both stores. */
#include "one_import.h"

#include <dlfcn.h>
#include <rocksdb/c.h>
#include <sys/resource.h>

static uint64_t rnd_state = 1;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(rnd_state >> 33) % n;
}

/* ---- what RocksDB says of itself ----
 * These stand before the library's own. */

static atomic_int crowded_asks; /* so many times more it holds many files that are not folded */
static atomic_int folding;      /* compactions under way meanwhile */
static bool stop_when_asked;    /* the run that asks */

char *rocksdb_property_value_cf(rocksdb_t *db, rocksdb_column_family_handle_t *cf, const char *name)
{
    char *(*own)(rocksdb_t *, rocksdb_column_family_handle_t *, const char *);
    *(void **)&own = dlsym(RTLD_NEXT, "rocksdb_property_value_cf");
    if (strcmp(name, "rocksdb.num-files-at-level0") != 0 || atomic_load(&crowded_asks) <= 0)
        return own(db, cf, name);
    atomic_fetch_sub(&crowded_asks, 1);
    if (stop_when_asked)
        atomic_store(halt_of_this_run, true);
    return strdup("129");
}

int rocksdb_property_int_cf(rocksdb_t *db, rocksdb_column_family_handle_t *cf, const char *name,
                            uint64_t *out)
{
    int (*own)(rocksdb_t *, rocksdb_column_family_handle_t *, const char *, uint64_t *);
    *(void **)&own = dlsym(RTLD_NEXT, "rocksdb_property_int_cf");
    if (strcmp(name, "rocksdb.num-running-compactions") != 0)
        return own(db, cf, name, out);
    *out = (uint64_t)atomic_load(&folding);
    return 0;
}

/* ---- golden ---- */

#define MANIFEST(in, out, files, imported, mb, mb_in, scanned, good, bad)                         \
    "== Manifest.json\n{\"inputDataConfig\":{\"s3Uri\":\"" in                                     \
    "\"},\"outputDataConfig\":{\"s3Uri\":\"s3://" out "/" FOLDER                                  \
    "/\",\"encryptionKeyID\":\"arn:aws:kms:us-east-1:123456789012:key/k\"},"                      \
    "\"successOutput\":{\"successOutputS3Uri\":\"s3://" out "/" FOLDER                            \
    "/SUCCESS/\"},\"failureOutput\":{\"failureOutputS3Uri\":\"s3://" out "/" FOLDER               \
    "/FAILURE/\"},\"numberOfScannedFiles\":" #files ",\"numberOfFilesImported\":" #imported       \
    ",\"sizeOfScannedFilesInMB\":" #mb ",\"sizeOfDataImportedSuccessfullyInMB\":" #mb_in          \
    ",\"numberOfResourcesScanned\":" #scanned ",\"numberOfResourcesImportedSuccessfully\":" #good \
    ",\"numberOfResourcesWithCustomerError\":" #bad ",\"numberOfResourcesWithServerError\":0}"

#define DECIMAL(digits) "\"extension\":[{\"url\":\"u\",\"valueDecimal\":" digits "}]"

TEST(import, a_bad_line_costs_only_itself)
{
    struct fx f;
    fx_open(&f);
    /* 11, no newline */
    static const char text[] = "{\"resourceType\":\"Patient\",\"id\":\"a\"," DECIMAL(
        "1.50") "}\r\n"                                                        /* 1 */
                "\n"                                                           /* 2 blank */
                "{\"resourceType\":\"Patient\"}\n"                             /* 3 no id */
                "not json\n"                                                   /* 4 */
                " \t\r\n"                                                      /* 5 blank */
                "{\"resourceType\":\"Patient\",\"id\":\"b\"} trailing\n"       /* 6 */
                "{\"resourceType\":\"Patient\",\"id\":\"c\",\"n\":\"\xff\"}\n" /* 7 UTF-8 */
                "{\"resourceType\":\"Patient\",\"id\":\"d\",\"n\":\"\0\"}\n"   /* 8 NUL */
                "{\"id\":\"e\"}\n"                                             /* 9 no type */
                "[]\n"                                                         /* 10 */
                "  { \"resourceType\" : \"Device\", \"id\" : \"g\" }";
    fx_put(&f, "input/p/one.ndjson", sv_make(text, sizeof text - 1));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/one.ndjson", .output = "out" };
    OK(run(&o, e));
    assert_int_equal(o.status, JOB_COMPLETED_WITH_ERRORS);
    assert_int_equal(o.progress.files_scanned, 1);
    assert_int_equal(o.progress.files_imported, 1);
    assert_int_equal(o.progress.bytes_scanned, sizeof text - 1);
    assert_int_equal(o.progress.resources_scanned, 9);
    assert_int_equal(o.progress.resources_imported, 2);
    assert_int_equal(o.progress.resources_customer_error, 7);
    check_store(st,
                "Device/g 1 {\"resourceType\":\"Device\",\"id\":\"g\"}\n"
                "Patient/a 1 {\"resourceType\":\"Patient\",\"id\":\"a\"," DECIMAL("1.50") "}\n");
    check_tree(&f, "out/" FOLDER,
               "== FAILURE/one.ndjson\n" BAD_LINE(3, "Missing required id field in resource json")
                   BAD_LINE(4, "Invalid JSON found in input file")
                       BAD_LINE(6, "Invalid JSON found in input file")
                           BAD_LINE(7, "Invalid JSON found in input file")
                               BAD_LINE(8, "Invalid JSON found in input file") BAD_LINE(
                                   9, "Missing required resourceType field in resource json")
                                   BAD_LINE(10, "Invalid JSON found in input file") MANIFEST(
                                       "s3://input/p/one.ndjson", "out", 1, 1, 0.000314, 0.000126,
                                       9, 2, 7) "== SUCCESS/one.ndjson\n" OK_LINE(1, "Patient", "a")
                                       OK_LINE(11, "Device", "g"));
    fx_close(&f);
}

TEST(import, a_prefix_is_read_below_all_its_folders)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf gz = BUF_INIT(FX_MOST), zs = BUF_INIT(FX_MOST);
    gzip(SV_LIT(PATIENT("b") "\n"), &gz);
    /* a second member */
    gzip(SV_LIT(PATIENT("b2")), &gz);
    zstd(SV_LIT(PATIENT("c") "\r\n"), &zs);
    fx_put(&f, "input/p/a.ndjson", SV_LIT(PATIENT("a")));
    fx_put(&f, "input/p/deep/er/B.NDJSON.GZ", buf_sv(&gz));
    fx_put(&f, "input/p/deep/c.ndjson.zst", buf_sv(&zs));
    fx_put(&f, "input/p/empty.ndjson", SV_NONE);
    fx_put(&f, "input/p/blank.ndjson", SV_LIT("\n \n\r\n"));
    fx_put(&f, "input/p/readme.txt", SV_LIT("not input"));
    fx_put(&f, "input/p/x.json", SV_LIT("not input"));
    fx_put(&f, "input/p/" FOLDER "/SUCCESS/a.ndjson", SV_LIT("a former job's"));
    fx_put(&f, "input/other/d.ndjson", SV_LIT(PATIENT("d")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    OK(run(&o, e));
    assert_int_equal(o.status, JOB_COMPLETED);
    assert_int_equal(o.progress.files_scanned, 5);
    check_store(st, "Patient/a 1 " PATIENT("a") "\nPatient/b 1 " PATIENT(
                        "b") "\nPatient/b2 1 " PATIENT("b2") "\nPatient/c 1 " PATIENT("c") "\n");
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/" FOLDER "/SUCCESS", &got);
    fx_same(buf_sv(&got),
            SV_LIT("== a.ndjson\n" OK_LINE(1, "Patient", "a") "== deep/c.ndjson\n" OK_LINE(
                1, "Patient", "c") "== deep/er/B.NDJSON\n" OK_LINE(1, "Patient", "b")
                       OK_LINE(2, "Patient", "b2")));
    fx_close(&f);
}

TEST(import, one_named_object_is_read_whatever_its_name)
{
    struct fx f;
    fx_open(&f);
    fx_put(&f, "input/p/patients.txt", SV_LIT(PATIENT("a")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/patients.txt", .output = "out" };
    OK(run(&o, e));
    check_store(st, "Patient/a 1 " PATIENT("a") "\n");
    check_tree(&f, "out/" FOLDER "/SUCCESS", "== patients.txt.ndjson\n" OK_LINE(1, "Patient", "a"));
    fx_close(&f);
}

TEST(import, it_waits_while_the_store_has_much_to_fold_and_a_stop_ends_that)
{
    struct fx f;
    fx_open(&f);
    fx_put(&f, "input/p/patients.ndjson", SV_LIT(PATIENT("a") "\n" PATIENT("b")));
    CLEANUP(store_close) struct store *st = rocks(&f);
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "waits" };
    struct err why;
    atomic_store(&folding, 1);
    atomic_store(&crowded_asks, 3);
    OK(run(&o, e));
    assert_int_equal(atomic_load(&crowded_asks), 0);
    check_store(st, "Patient/a 1 " PATIENT("a") "\nPatient/b 1 " PATIENT("b") "\n");

    /* nothing of it is published; then all, once */
    o.output = "stopped";
    atomic_store(&crowded_asks, INT_MAX);
    stop_when_asked = true;
    assert_int_equal(run(&o, &why), ERR_CANCELLED);
    stop_when_asked = false;
    check_store(st, "Patient/a 1 " PATIENT("a") "\nPatient/b 1 " PATIENT("b") "\n");
    atomic_store(&crowded_asks, 0);
    OK(run(&o, e));
    check_store(st, "Patient/a 2 " PATIENT("a") "\nPatient/b 2 " PATIENT("b") "\n");

    /* much to fold and nobody who does: waiting would never end */
    o.output = "stuck";
    atomic_store(&folding, 0);
    atomic_store(&crowded_asks, INT_MAX);
    OK(run(&o, e));
    atomic_store(&crowded_asks, 0);
    store_close(st);
    st = NULL;
    fx_close(&f);
}

TEST(import, files_whose_names_differ_in_compression_keep_their_outcomes)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf gz = BUF_INIT(FX_MOST), zs = BUF_INIT(FX_MOST);
    gzip(SV_LIT(PATIENT("b")), &gz);
    zstd(SV_LIT(PATIENT("c")), &zs);
    fx_put(&f, "input/p/a.ndjson", SV_LIT(PATIENT("a")));
    fx_put(&f, "input/p/a.ndjson.gz", buf_sv(&gz));
    fx_put(&f, "input/p/b.ndjson.zst", buf_sv(&zs));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p", .output = "out" };
    OK(run(&o, e));
    check_tree(&f, "out/" FOLDER "/SUCCESS",
               "== a.ndjson\n" OK_LINE(1, "Patient", "a") "== a.ndjson.gz.ndjson\n" OK_LINE(
                   1, "Patient", "b") "== b.ndjson\n" OK_LINE(1, "Patient", "c"));
    fx_close(&f);
}

TEST(import, the_later_line_wins_in_a_chunk_and_over_chunks)
{
    struct fx f;
    fx_open(&f);
    fx_put(&f, "input/p/1.ndjson",
           SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"a\",\"multipleBirthInteger\":1}\n"
                  "{\"resourceType\":\"Patient\",\"id\":\"a\",\"multipleBirthInteger\":2}\n"));
    fx_put(&f, "input/p/2.ndjson",
           SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"a\",\"multipleBirthInteger\":3}\n"));
    CLEANUP(store_close) struct store *one_chunk = memory_store();
    struct one o = { .f = &f, .st = one_chunk, .input = "s3://input/p/", .output = "out1" };
    OK(run(&o, e));
    assert_int_equal(o.progress.resources_imported, 3);
    check_store(
        one_chunk,
        "Patient/a 1 {\"resourceType\":\"Patient\",\"id\":\"a\",\"multipleBirthInteger\":3}\n");
    CLEANUP(store_close) struct store *chunks = memory_store();
    o = (struct one){
        .f = &f, .st = chunks, .input = "s3://input/p/", .output = "out2", .chunk = 1
    };
    OK(run(&o, e));
    check_store(
        chunks,
        "Patient/a 2 {\"resourceType\":\"Patient\",\"id\":\"a\",\"multipleBirthInteger\":3}\n");
    o = (struct one){ .f = &f, .st = chunks, .input = "s3://input/p/", .output = "out3" };
    /* importing again adds a version */
    OK(run(&o, e));
    check_store(
        chunks,
        "Patient/a 3 {\"resourceType\":\"Patient\",\"id\":\"a\",\"multipleBirthInteger\":3}\n");
    fx_close(&f);
}

TEST(import, a_resource_may_have_very_many_values_and_some_of_them_again)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST);
    OK(buf_add(
        &text,
        SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"a\",\"identifier\":[{\"value\":\"0\"}"), e));
    for (int i = 1; i < 300; i++)
        OK(buf_add_fmt(&text, e, ",{\"value\":\"%d\"}", i % 100));
    OK(buf_add(&text, SV_LIT("]}"), e));
    fx_put(&f, "input/p/1.ndjson", buf_sv(&text));
    struct store *st = rocks(&f);
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    OK(run(&o, e));
    assert_int_equal(o.progress.resources_imported, 1);
    store_close(st);
    fx_close(&f);
}

TEST(import, nothing_to_read_is_said)
{
    struct fx f;
    fx_open(&f);
    fx_put(&f, "input/p/readme.txt", SV_LIT("not input"));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    struct err err;
    assert_int_equal(run(&o, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "No .ndjson"));
    fx_close(&f);
}

TEST(import, many_tiny_files_need_few_descriptors)
{
    enum { N = 1000 };
    struct fx f;
    fx_open(&f);
    struct rlimit old, few;
    for (int i = 0; i < N; i++) {
        char name[64], text[128];
        (void)snprintf(name, sizeof name, "input/p/%04d.ndjson", i);
        (void)snprintf(text, sizeof text,
                       "{\"resourceType\":\"Patient\",\"id\":\"p%d\"}\n{\"n\":%d}\n", i, i);
        fx_put(&f, name, sv_from(text));
    }
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){ 128, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    OK(run(&o, e));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(o.progress.files_imported, N);
    assert_int_equal(o.progress.resources_imported, N);
    assert_int_equal(o.progress.resources_customer_error, N);
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST), want = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/" FOLDER "/SUCCESS", &got);
    for (int i = 0; i < N; i++)
        OK(buf_add_fmt(&want, e,
                       "== %04d.ndjson\n{\"lineId\":1,\"UpdateResourceResponse\":{\"jsonBlob\":{"
                       "\"resourceType\":\"Patient\",\"id\":\"p%d\"},\"statusCode\":200}}\n",
                       i, i));
    fx_same(buf_sv(&got), buf_sv(&want));
    fx_close(&f);
}

/* ---- files that cannot be read ---- */

TEST(import, a_broken_file_costs_what_follows_in_it)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST), gz = BUF_INIT(FX_MOST),
                           cut = BUF_INIT(FX_MOST);
    for (int i = 0; i < 20000; i++)
        OK(buf_add_fmt(
            &text, e,
            "{\"resourceType\":\"Patient\",\"id\":\"p%05d\",\"multipleBirthInteger\":%u}\n", i,
            rnd(1u << 30)));
    gzip(buf_sv(&text), &gz);
    OK(buf_add(&cut, sv_head(buf_sv(&gz), gz.len / 2), e));
    fx_put(&f, "input/p/1.ndjson.gz", buf_sv(&cut));
    fx_put(&f, "input/p/2.ndjson.gz", SV_LIT("\x1f\x8b rubbish"));
    fx_put(&f, "input/p/3.ndjson", SV_LIT(PATIENT("last")));
    fx_put(&f, "input/p/4.ndjson", SV_LIT(PATIENT("gone")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    /* the list of files is written down; then one of them vanishes */
    o.stop_at = 0;
    char spool[256], path[512];
    (void)snprintf(spool, sizeof spool, "%s/out-" JOB, f.spool);
    OK(file_mkdirs(spool, e));
    (void)snprintf(path, sizeof path, "%s/files", spool);
    CLEANUP_BUF struct buf list = BUF_INIT(4096);
    OK(buf_add_fmt(&list, e, "%zu p/1.ndjson.gz\n10 p/2.ndjson.gz\n34 p/3.ndjson\n34 p/4.ndjson\n",
                   cut.len));
    OK(file_write_atomic(path, buf_sv(&list), e));
    fx_path(&f, "input/p/4.ndjson", path);
    assert_int_equal(unlink(path), 0);
    OK(run(&o, e));
    assert_int_equal(o.status, JOB_COMPLETED_WITH_ERRORS);
    assert_int_equal(o.progress.files_scanned, 4);
    assert_int_equal(o.progress.files_imported, 1);
    assert_int_equal(o.progress.files_unreadable, 3);
    assert_int_equal(o.progress.resources_customer_error, 0);
    /* what stood before the cut */
    uint64_t n = o.progress.resources_imported - 1;
    assert_true(n > 5000 && n < 15000);
    assert_int_equal(o.progress.resources_scanned, n + 1);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    for (uint64_t i = 0; i < 20000; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "p%05d", (int)i);
        struct err err;
        err_code rc =
            store_get(st, fhir_type_find(SV_LIT("Patient")), sv_from(id), STORE_NOW, a, &v, &err);
        assert_int_equal(rc, i < n ? ERR_OK : ERR_NOT_FOUND);
        arena_reset(a);
    }
    OK(store_get(st, fhir_type_find(SV_LIT("Patient")), SV_LIT("last"), STORE_NOW, a, &v, e));
    /* one failure line for each, at the place */
    static const char *const names[] = { "1", "2", "4" };
    for (int i = 0; i < 3; i++) {
        CLEANUP_BUF struct buf got = BUF_INIT(4096);
        char start[128];
        (void)snprintf(path, sizeof path, "%s/objects/out/" FOLDER "/FAILURE/%s.ndjson", f.root,
                       names[i]);
        OK(file_read(path, &got, e));
        (void)snprintf(start, sizeof start, "{\"lineId\":%d,", i == 0 ? (int)n + 1 : 1);
        assert_true(sv_starts(buf_sv(&got), sv_from(start)));
        assert_int_equal(sv_find(buf_sv(&got), '\n'), got.len - 1);
    }
    fx_close(&f);
}

TEST(import, an_empty_file_is_no_lines_and_an_empty_packed_one_is_cut_off)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf zs = BUF_INIT(FX_MOST), got = BUF_INIT(4096);
    zstd(SV_NONE, &zs);
    fx_put(&f, "input/p/1.ndjson", SV_NONE);
    fx_put(&f, "input/p/2.ndjson.gz", SV_NONE);
    fx_put(&f, "input/p/3.ndjson.zst", SV_NONE);
    fx_put(&f, "input/p/4.ndjson.zst", buf_sv(&zs));
    fx_put(&f, "input/p/5.ndjson", SV_LIT(PATIENT("last")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    OK(run(&o, e));
    assert_int_equal(o.status, JOB_COMPLETED_WITH_ERRORS);
    assert_int_equal(o.progress.files_imported, 3);
    assert_int_equal(o.progress.files_unreadable, 2);
    check_store(st, "Patient/last 1 " PATIENT("last") "\n");
    char path[512];
    (void)snprintf(path, sizeof path, "%s/objects/out/" FOLDER "/FAILURE/2.ndjson", f.root);
    OK(file_read(path, &got, e));
    OK(buf_add_char(&got, 0, e));
    assert_non_null(strstr(got.ptr, "compressed data is cut off: the file is empty"));
    fx_close(&f);
}

TEST(import, a_line_over_the_limit_is_passed_over)
{
    struct fx f;
    fx_open(&f);
    CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST), zs = BUF_INIT(FX_MOST);
    OK(buf_add(&text, SV_LIT(PATIENT("a") "\n"), e));
    size_t n = LIMIT_IMPORT_LINE_BYTES + 1;
    OK(buf_reserve(&text, n + 100, e));
    memset(text.ptr + text.len, 'x', n);
    /* it is not to be taken for a bomb */
    for (size_t i = 0; i < n; i += 200)
        text.ptr[text.len + i] = (char)('a' + rnd(26));
    text.len += n;
    OK(buf_add(&text, SV_LIT("\n" PATIENT("b") "\n"), e));
    zstd(buf_sv(&text), &zs);
    fx_put(&f, "input/p/1.ndjson.zst", buf_sv(&zs));
    buf_done(&text);
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    OK(run(&o, e));
    check_store(st, "Patient/a 1 " PATIENT("a") "\nPatient/b 1 " PATIENT("b") "\n");
    assert_int_equal(o.progress.resources_scanned, 3);
    assert_int_equal(o.progress.resources_customer_error, 1);
    check_tree(&f, "out/" FOLDER "/FAILURE",
               "== 1.ndjson\n" BAD_LINE(2, "Resource is larger than the limit of 172 MiB"));
    check_tree(&f, "out/" FOLDER "/SUCCESS",
               "== 1.ndjson\n" OK_LINE(1, "Patient", "a") OK_LINE(3, "Patient", "b"));
    fx_close(&f);
}

/* ---- random input, an account beside it ---- */

enum { N_FILES = 40, N_IDS = 3000 };

struct account {
    struct { /* shared ids, used again and again: the last one counts */
        int last;
        unsigned times;
    } shared[N_IDS];
    unsigned n_single; /* ids used once: "s<number>" of Device */
    uint64_t scanned, good, bad;
    struct buf success, failure; /* the trees expected */
};

static void account_init(struct account *a)
{
    *a = (struct account){ 0 };
    buf_init(&a->success, FX_MOST);
    buf_init(&a->failure, FX_MOST);
}

static void account_done(struct account *a)
{
    buf_done(&a->success);
    buf_done(&a->failure);
}

static void bad_line(struct buf *text, struct buf *failure, int number)
{
    static const struct {
        const char *text, *why, *code, *path;
    } kinds[] = {
        { "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"active\":\"yes\"}",
          "'active' is not a JSON boolean", "structure", "Patient.active" },
        { "{\"resourceType\":\"Device\",\"id\":\"p1\",\"status\":\"asleep\"}",
          "The code is not in the required value set http://hl7.org/fhir/ValueSet/device-status",
          "code-invalid", "Device.status" },
        { "{\"resourceType\":\"Patient\",", "Invalid JSON found in input file" },
        { "\"text\"", "Invalid JSON found in input file" },
        { "{\"resourceType\":\"Patient\"}", "Missing required id field in resource json" },
        { "{\"id\":\"p1\"}", "Missing required resourceType field in resource json" },
        { "{\"resourceType\":\"Teapot\",\"id\":\"p1\"}",
          "Resource type is not a resource type of FHIR R4" },
    };
    unsigned k = rnd(sizeof kinds / sizeof kinds[0]);
    OK(buf_add(text, sv_from(kinds[k].text), e));
    OK(buf_add_fmt(failure, e,
                   "{\"lineId\":%d,\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":"
                   "\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":",
                   number));
    if (kinds[k].code)
        OK(buf_add_fmt(
            failure, e,
            "\"%s\",\"details\":{\"text\":\"%s\"},\"diagnostics\":\"%s\",\"location\":[\"%s\"],"
            "\"expression\":[\"%s\"]",
            kinds[k].code, kinds[k].why, kinds[k].why, kinds[k].path, kinds[k].path));
    else
        OK(buf_add_fmt(failure, e, "\"processing\",\"diagnostics\":\"%s\"", kinds[k].why));
    OK(buf_add(failure, SV_LIT("}]},\"statusCode\":400}}\n"), e));
}

static void good_line(struct account *a, struct buf *text, struct buf *success, int number)
{
    static int serial;
    static const char *const gaps[] = { "", "", "", " ", "\t ", "   " };
#define GAP gaps[rnd(6)]
    bool single = rnd(2);
    char id[16];
    const char *type = single ? "Device" : "Patient";
    if (single) {
        (void)snprintf(id, sizeof id, "s%06u", a->n_single++);
    } else {
        unsigned i = rnd(N_IDS);
        a->shared[i].last = ++serial;
        a->shared[i].times++;
        (void)snprintf(id, sizeof id, "p%04u", i);
    }
    OK(buf_add_fmt(
        text, e,
        "%s{%s\"resourceType\"%s:\"%s\",%s\"id\":\"%s\"%s,\"extension\":%s[{\"url\":\"u\","
        "\"valueDecimal\": %d.10 }]}%s",
        GAP, GAP, GAP, type, GAP, id, GAP, GAP, single ? 0 : serial, GAP));
    OK(buf_add_fmt(success, e,
                   "{\"lineId\":%d,\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":"
                   "\"%s\",\"id\":\"%s\"},\"statusCode\":200}}\n",
                   number, type, id));
}

static void random_file(const struct fx *f, struct account *a, int i)
{
    CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST), packed = BUF_INIT(FX_MOST);
    CLEANUP_BUF struct buf success = BUF_INIT(FX_MOST), failure = BUF_INIT(FX_MOST);
    int n = i % 10 == 3 ? 12000 : (int)rnd(60);
    for (int line = 1; line <= n; line++) {
        unsigned what = rnd(20);
        if (what == 0) {
            OK(buf_add(&text, SV_LIT("  "), e));
        } else if (what == 1) {
            bad_line(&text, &failure, line);
            a->bad++;
        } else {
            good_line(a, &text, &success, line);
            a->good++;
        }
        if (line < n || rnd(2))
            OK(buf_add(&text, rnd(4) ? SV_LIT("\n") : SV_LIT("\r\n"), e));
    }
    char name[32], key[64];
    (void)snprintf(name, sizeof name, "d%d/f%d.ndjson", i / 8, i % 8);
    (void)snprintf(key, sizeof key, "input/r/%s%s", name,
                   i % 4 == 1   ? ".gz"
                   : i % 4 == 3 ? ".zst"
                                : "");
    if (i % 4 == 1)
        gzip(buf_sv(&text), &packed);
    else if (i % 4 == 3)
        zstd(buf_sv(&text), &packed);
    fx_put(f, key, i % 2 ? buf_sv(&packed) : buf_sv(&text));
    if (success.len)
        OK(buf_add_fmt(&a->success, e, "== %s\n%.*s", name, SV_FMT(buf_sv(&success))));
    if (failure.len)
        OK(buf_add_fmt(&a->failure, e, "== %s\n%.*s", name, SV_FMT(buf_sv(&failure))));
}

static void check_against(const struct fx *f, const struct account *a, const struct one *o)
{
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST), want = BUF_INIT(FX_MOST);
    char place[160];
    assert_int_equal(o->status, JOB_COMPLETED_WITH_ERRORS);
    assert_int_equal(o->progress.files_imported, N_FILES);
    assert_int_equal(o->progress.resources_scanned, a->good + a->bad);
    assert_int_equal(o->progress.resources_imported, a->good);
    assert_int_equal(o->progress.resources_customer_error, a->bad);
    for (unsigned i = 0; i < a->n_single; i++)
        OK(buf_add_fmt(
            &want, e,
            "Device/s%06u 1 {\"resourceType\":\"Device\",\"id\":\"s%06u\"," DECIMAL("0.10") "}\n",
            i, i));
    fx_dump(o->st, true, &got);
    /* each once, nothing doubled */
    fx_same(sv_head(buf_sv(&got), want.len), buf_sv(&want));
    for (unsigned i = 0; i < N_IDS; i++)
        if (a->shared[i].times)
            OK(buf_add_fmt(
                &want, e,
                "Patient/p%04u 0 {\"resourceType\":\"Patient\",\"id\":\"p%04u\"," DECIMAL(
                    "%d.10") "}\n",
                i, i, a->shared[i].last));
    for (char *p = want.ptr; (p = memmem(p, (size_t)(want.ptr + want.len - p), " 1 {", 4)) != NULL;
         p++)
        p[1] = '0';
    buf_clear(&got);
    fx_dump(o->st, false, &got);
    fx_same(buf_sv(&got), buf_sv(&want));
    buf_clear(&got);
    (void)snprintf(place, sizeof place, "%s/" FOLDER "/SUCCESS", o->output);
    fx_tree(f, place, &got);
    fx_same(buf_sv(&got), buf_sv(&a->success));
    buf_clear(&got);
    (void)snprintf(place, sizeof place, "%s/" FOLDER "/FAILURE", o->output);
    fx_tree(f, place, &got);
    fx_same(buf_sv(&got), buf_sv(&a->failure));
}

/* What a crash may leave behind the lengths that count. */
static void soil_spool(const struct fx *f, const char *output)
{
    char dir[256], path[600];
    (void)snprintf(dir, sizeof dir, "%s/%s-" JOB, f->spool, output);
    DIR *d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d)) != NULL;) {
        if (x->d_name[0] != 's' && x->d_name[0] != 'w' &&
            !(x->d_name[0] == 'f' && strcmp(x->d_name, "files") != 0))
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", dir, x->d_name);
        FILE *o = fopen(path, "ab");
        assert_non_null(o);
        assert_true(fputs("half a li", o) >= 0);
        assert_int_equal(fclose(o), 0);
    }
    if (d)
        closedir(d);
}

/* The next run finds nothing in the folder, as on another machine, and an input that has grown. */
static void change_machine(const struct fx *f, const char *output)
{
    char dir[256];
    (void)snprintf(dir, sizeof dir, "%s/%s-" JOB, f->spool, output);
    OK(file_remove_tree(dir, e));
    fx_put(f, "input/r/a-later.ndjson", SV_LIT(PATIENT("later")));
}

/* Run and stop at random, again and again, to the end. */
static void run_with_stops(struct one *s, bool on_rocks)
{
    int stops = 0;
    err_code rc;
    s->st = on_rocks ? rocks(s->f) : memory_store();
    do {
        struct err err;
        s->stop_at = s->progress.resources_imported + 1 + rnd(3000);
        rc = run(s, &err);
        if (rc != ERR_OK) {
            assert_int_equal(rc, ERR_CANCELLED);
            stops++;
            soil_spool(s->f, s->output);
            if (s->shared && rnd(3))
                change_machine(s->f, s->output);
            if (on_rocks) {
                store_close(s->st);
                s->st = rocks(s->f);
            }
        }
    } while (rc != ERR_OK);
    assert_true(stops >= 5);
}

static void random_input_stopped_and_not(bool on_rocks, bool shared)
{
    struct fx f;
    struct account a;
    fx_open(&f);
    account_init(&a);
    for (int i = 0; i < N_FILES; i++)
        random_file(&f, &a, i);
    struct store *calm = memory_store();
    struct one o = {
        .f = &f, .st = calm, .input = "s3://input/r", .output = "calm", .chunk = 3000
    };
    OK(run(&o, e));
    check_against(&f, &a, &o);
    struct one s = { .f = &f, .input = "s3://input/r", .output = "stop", .chunk = 3000 };
    s.shared = shared;
    run_with_stops(&s, on_rocks);
    check_against(&f, &a, &s);
    CLEANUP_BUF struct buf x = BUF_INIT(FX_MOST), y = BUF_INIT(FX_MOST);
    fx_dump(calm, true, &x);
    fx_dump(s.st, true, &y);
    /* the same versions, too */
    fx_same(buf_sv(&y), buf_sv(&x));
    store_close(calm);
    store_close(s.st);
    account_done(&a);
    fx_close(&f);
}

/* Level minimal: faults are stored, and said in a third folder. */
TEST(import, stopped_at_random_with_faults_let_in_it_ends_as_if_undisturbed)
{
    struct fx f;
    struct account a;
    fx_open(&f);
    account_init(&a);
    for (int i = 0; i < N_FILES; i++)
        random_file(&f, &a, i);
    struct one o = { .f = &f, .input = "s3://input/r", .output = "calm", .chunk = 3000 };
    o.level = "minimal";
    o.st = memory_store();
    OK(run(&o, e));
    assert_true(o.progress.resources_with_issues > 100);
    assert_true(o.progress.resources_customer_error > 100);
    assert_int_equal(o.progress.resources_imported + o.progress.resources_customer_error,
                     a.good + a.bad);
    assert_int_equal(o.progress.resources_imported - o.progress.resources_with_issues, a.good);
    struct one s = { .f = &f, .input = "s3://input/r", .output = "stop", .chunk = 3000 };
    s.level = "minimal";
    run_with_stops(&s, true);
    assert_int_equal(s.progress.resources_with_issues, o.progress.resources_with_issues);
    static const char *const folders[] = { "SUCCESS", "FAILURE",
                                           "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES" };
    for (int i = 0; i < 3; i++) {
        CLEANUP_BUF struct buf x = BUF_INIT(FX_MOST), y = BUF_INIT(FX_MOST);
        char place[200];
        (void)snprintf(place, sizeof place, "calm/" FOLDER "/%s", folders[i]);
        fx_tree(&f, place, &x);
        (void)snprintf(place, sizeof place, "stop/" FOLDER "/%s", folders[i]);
        fx_tree(&f, place, &y);
        assert_true(x.len > 1000);
        fx_same(buf_sv(&y), buf_sv(&x));
    }
    CLEANUP_BUF struct buf x = BUF_INIT(FX_MOST), y = BUF_INIT(FX_MOST);
    fx_dump(o.st, true, &x);
    fx_dump(s.st, true, &y);
    fx_same(buf_sv(&y), buf_sv(&x));
    store_close(o.st);
    store_close(s.st);
    account_done(&a);
    fx_close(&f);
}

TEST(import, stopped_at_random_it_ends_as_if_undisturbed_in_memory)
{
    random_input_stopped_and_not(false, false);
}

TEST(import, taken_up_by_other_machines_it_ends_as_if_undisturbed)
{
    random_input_stopped_and_not(false, true);
}

TEST(import, stopped_at_random_it_ends_as_if_undisturbed_on_rocksdb)
{
    random_input_stopped_and_not(true, false);
}

TEST(import, a_sink_that_fails_fails_the_job_and_doubles_nothing_when_taken_up)
{
    struct fx f;
    struct account a;
    fx_open(&f);
    account_init(&a);
    for (int i = 0; i < N_FILES; i++)
        random_file(&f, &a, i);
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/r", .output = "out", .chunk = 3000 };
    fx_put(&f, "out/" FOLDER "/SUCCESS/d2", SV_LIT("a file where a folder has to be"));
    struct err err;
    assert_int_not_equal(run(&o, &err), ERR_OK);
    assert_int_not_equal(o.progress.resources_imported, 0);
    char path[512];
    fx_path(&f, "out/" FOLDER "/SUCCESS/d2", path);
    assert_int_equal(unlink(path), 0);
    OK(run(&o, e));
    check_against(&f, &a, &o);
    account_done(&a);
    fx_close(&f);
}

TEST_MAIN(T(import, a_bad_line_costs_only_itself),
          T(import, it_waits_while_the_store_has_much_to_fold_and_a_stop_ends_that),
          T(import, a_prefix_is_read_below_all_its_folders),
          T(import, one_named_object_is_read_whatever_its_name),
          T(import, files_whose_names_differ_in_compression_keep_their_outcomes),
          T(import, the_later_line_wins_in_a_chunk_and_over_chunks),
          T(import, a_resource_may_have_very_many_values_and_some_of_them_again),
          T(import, nothing_to_read_is_said), T(import, many_tiny_files_need_few_descriptors),
          T(import, a_broken_file_costs_what_follows_in_it),
          T(import, an_empty_file_is_no_lines_and_an_empty_packed_one_is_cut_off),
          T(import, a_line_over_the_limit_is_passed_over),
          T(import, stopped_at_random_with_faults_let_in_it_ends_as_if_undisturbed),
          T(import, taken_up_by_other_machines_it_ends_as_if_undisturbed),
          T(import, stopped_at_random_it_ends_as_if_undisturbed_in_memory),
          T(import, stopped_at_random_it_ends_as_if_undisturbed_on_rocksdb),
          T(import, a_sink_that_fails_fails_the_job_and_doubles_nothing_when_taken_up))

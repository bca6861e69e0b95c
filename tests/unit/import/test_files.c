/* test_files.c - which files are read, and what their outcome is called. */
#include "one_import.h"

#include "codec/hash.h"

TEST(files, keys_may_hold_newlines_and_per_cents_and_stand_for_themselves_alone)
{
    struct fx f;
    fx_open(&f);
    static const char *const names[] = { "a\nb.ndjson", "a%0Ab.ndjson",
                                         "a%25.ndjson", "a%.ndjson",
                                         "\n.ndjson",   "x\n9 input/other/secret.ndjson" };
    for (size_t i = 0; i < CASES(names); i++) {
        char object[128], text[64];
        (void)snprintf(object, sizeof object, "input/p/%s", names[i]);
        (void)snprintf(text, sizeof text, "{\"resourceType\":\"Patient\",\"id\":\"p%zu\"}", i);
        fx_put(&f, object, sv_from(text));
    }
    fx_put(&f, "input/other/secret.ndjson", SV_LIT(PATIENT("secret")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    OK(run(&o, e));
    assert_int_equal(o.progress.files_imported, CASES(names));
    assert_int_equal(o.progress.files_unreadable, 0);
    check_store(
        st,
        "Patient/p0 1 " PATIENT("p0") "\nPatient/p1 1 " PATIENT("p1") "\nPatient/p2 1 " PATIENT(
            "p2") "\nPatient/p3 1 " PATIENT("p3") "\nPatient/p4 1 " PATIENT("p4") "\nPatient/p5 "
                                                                                  "1 " PATIENT(
                                                                                      "p5") "\n");
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/" FOLDER "/SUCCESS", &got);
    for (size_t i = 0; i < CASES(names); i++)
        assert_non_null(strstr(got.ptr, names[i]));
    fx_close(&f);
}

/* "== long-key-<digest>.ndjson" and the outcome of the first line. */
static void expect_long(struct buf *out, const char *key, const char *outcome)
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_sha256_of(sv_from(key), digest);
    hash_hex(digest, sizeof digest, hex);
    OK(buf_add_fmt(out, e, "== long-key-%.*s.ndjson\n%s", (int)sizeof hex, hex, outcome));
}

TEST(files, a_key_too_long_for_its_outcome_costs_only_that_name)
{
    struct fx f;
    fx_open(&f);
    char n[242], deep[1100], path[1400], packed[300], object[320];
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST), gz = BUF_INIT(FX_MOST),
                           want = BUF_INIT(FX_MOST);
    memset(n, 'n', 241);
    n[241] = 0;
    /* four folders, and what the job puts in front of them, are more than a key may have */
    (void)snprintf(deep, sizeof deep, "d/%s/%s/%s/%s/x.ndjson", n, n, n, n);
    (void)snprintf(path, sizeof path, "%s/objects/input/%s", f.root, deep);
    *strrchr(path, '/') = 0;
    OK(file_mkdirs(path, e));
    (void)snprintf(path, sizeof path, "%s/objects/input/%s", f.root, deep);
    OK(file_write_atomic(path, SV_LIT(PATIENT("deep")), e));
    /* beside a plain one its outcome keeps ".gz", and is 258 bytes long then */
    (void)snprintf(packed, sizeof packed, "p/%s.ndjson.gz", n);
    gzip(SV_LIT(PATIENT("packed")), &gz);
    (void)snprintf(object, sizeof object, "input/%s", packed);
    fx_put(&f, object, buf_sv(&gz));
    object[strlen(object) - 3] = 0;
    fx_put(&f, object, SV_LIT(PATIENT("plain")));
    fx_put(&f, "input/z.ndjson", SV_LIT(PATIENT("z")));
    CLEANUP(store_close) struct store *st = memory_store();
    struct one o = { .f = &f, .st = st, .input = "s3://input/", .output = "out" };
    OK(run(&o, e));
    assert_int_equal(o.progress.files_imported, 4);
    bool deep_first = false;
    fx_tree(&f, "out/" FOLDER "/SUCCESS", &got);
    /* digests are in no order */
    for (int turn = 0; turn < 2; turn++, deep_first = true) {
        buf_clear(&want);
        if (deep_first)
            expect_long(&want, deep, OK_LINE(1, "Patient", "deep"));
        expect_long(&want, packed, OK_LINE(1, "Patient", "packed"));
        if (!deep_first)
            expect_long(&want, deep, OK_LINE(1, "Patient", "deep"));
        OK(buf_add_fmt(&want, e, "== p/%s.ndjson\n%s== z.ndjson\n%s", n,
                       OK_LINE(1, "Patient", "plain"), OK_LINE(1, "Patient", "z")));
        if (sv_eq(buf_sv(&got), buf_sv(&want)))
            break;
        assert_false(deep_first);
    }
    fx_close(&f);
}

TEST_MAIN(T(files, keys_may_hold_newlines_and_per_cents_and_stand_for_themselves_alone),
          T(files, a_key_too_long_for_its_outcome_costs_only_that_name))

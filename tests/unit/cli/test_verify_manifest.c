/* What a manifest says of its files, and which manifests are none.
 * Source: FHIR Bulk Data Access 2.0, "Response - Complete Status"; docs/bulk-data.md. */
#include "cli/verifying.h"

#define DS  "0123456789abcdef0123456789abcdef"
#define JOB "fedcba9876543210fedcba9876543210"
#define MANIFEST(members)                                                                \
    "{'transactionTime':'2026-11-23T18:30:00.123Z','datastoreId':'" DS "','jobId':'" JOB \
    "'," members "}"

static err_code read_it(const char *manifest, struct err *why)
{
    struct verify_options none = { 0 };
    err_code rc;
    if (manifest)
        put("manifest.json", manifest);
    OK(place_open(&none, folder, &v.place, e));
    v.n_files = 0;
    rc = verify_manifest_read(&v, why);
    if (rc == ERR_OK)
        rc = verify_manifest_files(&v, why);
    place_free(v.place);
    v.place = NULL;
    return rc;
}

/* The name of the one file with this url, or "!". */
static const char *named(const char *url)
{
    static char out[400];
    char text[900];
    struct err e = { 0 };
    (void)snprintf(text, sizeof text, MANIFEST("'output':[{'type':'Patient','url':'%s'}]"), url);
    err_code rc = read_it(text, &e);
    if (rc != ERR_OK) {
        assert_int_equal(rc, ERR_INVALID);
        return "!";
    }
    (void)snprintf(out, sizeof out, "%.*s", SV_FMT(v.files[0].name));
    return out;
}

TEST(verify_manifest, a_file_is_named_by_where_it_stands_below_the_folder)
{
    (void)state;
    assert_string_equal(named("Patient/a.ndjson"), "Patient/a.ndjson");
    assert_string_equal(named("s3://out/p/" DS "-FHIR_EXPORT-" JOB "/Patient/a.ndjson"),
                        "Patient/a.ndjson");
    assert_string_equal(
        named("http://h:1/datastore/" DS "/r4/export/" JOB "/files/Patient/a.ndjson"),
        "Patient/a.ndjson");
    assert_string_equal(named("Patient/a%20b.ndjson"), "Patient/a b.ndjson");
    /* a plus is a plus in a path */
    assert_string_equal(named("Patient/a+b.ndjson"), "Patient/a+b.ndjson");
}

TEST(verify_manifest, a_url_that_leads_out_of_the_folder_is_refused)
{
    (void)state;
    static const char *const out[] = {
        "",
        "/etc/passwd",
        "../secret",
        "Patient/../../secret",
        "Patient/%2e%2e/%2E%2E/secret",
        "%2Fetc/passwd",
        "Patient/a%00b",
        "s3://out/other/file",
        "http://elsewhere/file",
        "file%3A//etc/passwd",
        "s3://out/p/" DS "-FHIR_EXPORT-" JOB "/../x",
        "s3://out/p/" DS "-FHIR_EXPORT-" JOB "/",
        /* of another job */
        "http://h/datastore/" DS "/r4/export/" DS "/files/a",
    };
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        if (strcmp(named(out[i]), "!") != 0)
            fail_msg("%s is taken as %s", out[i], named(out[i]));
}

TEST(verify_manifest, all_that_is_said_of_files_is_read)
{
    (void)state;
    OK(read_it(MANIFEST("'request':'StartFHIRExportJob','asOfCommit':77,'output':["
                        "{'type':'Patient','url':'b','count':3,'bytes':4,'sha256':'00ff'},"
                        "{'url':'c','blocks':2,'count':0,'continuesInFile':'b'}],"
                        "'deleted':[{'type':'Bundle','url':'a'}],"
                        "'error':[{'type':'OperationOutcome','url':'d'}],"
                        "'extension':{'attachmentUrls':{'base':'http://h/r4','otherBase':'http://o'"
                        "}}"),
               e));
    assert_int_equal(v.n_files, 4);
    assert_int_equal(v.as_of, 77);
    assert_true(v.whole);
    assert_sv(v.datastore_id, SV_LIT(DS));
    assert_sv(v.instant, SV_LIT("2026-11-23T18:30:00.123Z"));
    assert_sv(v.urls.base, SV_LIT("http://h/r4"));
    assert_sv(v.urls.other, SV_LIT("http://o"));
    const struct verify_file *b = &v.files[0], *c = &v.files[1];
    assert_int_equal(b->role, VERIFY_OUTPUT);
    assert_sv(b->type, SV_LIT("Patient"));
    assert_true(b->has_count && b->count == 3);
    assert_true(b->has_bytes && b->bytes == 4);
    assert_false(b->has_blocks);
    assert_sv(b->sha256, SV_LIT("00ff"));
    assert_int_equal(b->continues.len, 0);
    /* a count of 0 is a count */
    assert_true(c->has_count && c->count == 0);
    assert_false(c->has_bytes);
    assert_true(c->has_blocks && c->blocks == 2);
    assert_sv(c->continues, SV_LIT("b"));
    assert_int_equal(c->type.len, 0);
    assert_int_equal(v.files[2].role, VERIFY_DELETED);
    assert_int_equal(v.files[3].role, VERIFY_ERROR);
    /* names are sorted, whatever the role */
    static const char *const sorted[] = { "a", "b", "c", "d" };
    for (size_t i = 0; i < 4; i++)
        assert_sv(v.names[i], sv_from(sorted[i]));
    assert_string_equal(differences(), "");
}

TEST(verify_manifest, what_the_manifest_leaves_out_is_not_made_up)
{
    (void)state;
    OK(read_it(MANIFEST("'request':'http://h/$export','output':[]"), e));
    assert_int_equal(v.n_files, 0);
    assert_int_equal(v.as_of, 0);
    assert_false(v.whole);
    assert_int_equal(v.urls.base.len, 0);
}

TEST(verify_manifest, a_file_that_is_named_twice_is_told)
{
    (void)state;
    OK(read_it(MANIFEST("'output':[{'url':'x'},{'url':'y'}],'deleted':[{'url':'x'}]"), e));
    assert_string_equal(differences(), "manifest: x is named twice\n");
}

TEST(verify_manifest, what_is_no_manifest_is_refused)
{
    (void)state;
    FAILS(ERR_NOT_FOUND, read_it(NULL, e));
    static const char *const none[] = {
        "",
        "{",
        "[]",
        "{}",
        "{'transactionTime':'2026-11-23T18:30:00Z'}",
        "{'output':[]}",
        "{'transactionTime':'yesterday','output':[]}",
        "{'transactionTime':'2026-11-23T18:30:00Z','output':{}}",
        MANIFEST("'output':[{'type':'Martian','url':'x'}]"),
    };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        FAILS(ERR_INVALID, read_it(none[i], e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERIFYING(verify_manifest, a_file_is_named_by_where_it_stands_below_the_folder),
        VERIFYING(verify_manifest, a_url_that_leads_out_of_the_folder_is_refused),
        VERIFYING(verify_manifest, all_that_is_said_of_files_is_read),
        VERIFYING(verify_manifest, what_the_manifest_leaves_out_is_not_made_up),
        VERIFYING(verify_manifest, a_file_that_is_named_twice_is_told),
        VERIFYING(verify_manifest, what_is_no_manifest_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

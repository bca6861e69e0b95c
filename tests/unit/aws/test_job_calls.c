/* Start, Describe and List of jobs: members of a request that become a job, and a job that becomes
 * members of an answer.
 * Source: Amazon HealthLake service model 2017-07-01 (StartFHIRExportJob and its like). */
#include "aws/whole.h"

#define ROLE  "arn:aws:iam::123456789012:role/r"
#define ALLOW "{\"Effect\":\"Allow\",\"Action\":\"healthlake:*\",\"Resource\":\"*\"}"
/* To pass a role to a service, and no more than that. */
#define PASS(role, service)                                                                    \
    ",{\"Effect\":\"Allow\",\"Action\":\"iam:PassRole\",\"Resource\":\"" role "\",\"Condition" \
    "\":{\"StringEquals\":{\"iam:PassedToService\":\"" service "\"}}}"
#define POLICY(pass) "{\"Statement\":[" ALLOW pass "]}"

static int set_up(void **state)
{
    (void)state;
    begin_all();
    put_file("credentials",
             KEYS("admin", "policy = admin.json\n") KEYS("passes_none", "policy = none.json\n")
                 KEYS("passes_other", "policy = other.json\n")
                     KEYS("passes_elsewhere", "policy = elsewhere.json\n"));
    put_file("admin.json", POLICY(PASS(ROLE, "healthlake.amazonaws.com")));
    put_file("none.json", POLICY(""));
    put_file("other.json",
             POLICY(PASS("arn:aws:iam::123456789012:role/s", "healthlake.amazonaws.com")));
    put_file("elsewhere.json", POLICY(PASS(ROLE, "ec2.amazonaws.com")));
    open_all();
    put_store(NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return end_all();
}

#define PLACE(name) "'" name "':{'S3Configuration':{'S3Uri':'s3://out/p','KmsKeyId':'alias/key'}}"
#define WHERE       "'DatastoreId':'" ID "'"
#define EXPORT(more) \
    WHERE ",'DataAccessRoleArn':'" ROLE "'," PLACE("OutputDataConfig") ",'ClientToken':'" more
#define IMPORT(more)                                \
    WHERE ",'DataAccessRoleArn':'" ROLE "'," PLACE( \
        "JobOutputDataConfig") ",'InputDataConfig':{'S3Uri':'s3://input/'},'ClientToken':'" more

/* The id of a job that the call started. */
static sv started(struct arena *a, const char *operation, const char *members)
{
    yyjson_val *is = answered(a, operation, members);
    job_status status;
    assert_sv(text_at(is, "DatastoreId"), SV_LIT(ID));
    assert_true(job_status_parse(text_at(is, "JobStatus"), &status));
    assert_int_equal(text_at(is, "JobId").len, 32);
    return text_at(is, "JobId");
}

/* Its properties once it has ended. */
static yyjson_val *ended(struct arena *a, const char *kind, sv id)
{
    char operation[40], properties[40], members[200];
    (void)snprintf(operation, sizeof operation, "DescribeFHIR%sJob", kind);
    (void)snprintf(properties, sizeof properties, "%sJobProperties", kind);
    (void)snprintf(members, sizeof members, WHERE ",'JobId':'%.*s'", SV_FMT(id));
    return json_get(answered(a, operation, members), properties);
}

static double number_at(yyjson_val *v, const char *path)
{
    double d = -1;
    if (!sv_to_double(text_at(v, path), &d))
        fail_msg("there is no number %s", path);
    return d;
}

/* A call that is refused; ' stands for ". */
static unsigned refused(const char *who, const char *operation, const char *members,
                        const char *says)
{
    char raw[1500];
    (void)snprintf(raw, sizeof raw, CALL("%s", "{%s}"), operation, members);
    for (char *q = raw; *q; q++)
        *q = *q == '\'' ? '"' : *q;
    return ask_as(who, raw, says);
}

static size_t listed(struct arena *a, const char *kind, const char *more)
{
    char operation[40], list[40], members[300];
    (void)snprintf(operation, sizeof operation, "ListFHIR%sJobs", kind);
    (void)snprintf(list, sizeof list, "%sJobPropertiesList", kind);
    (void)snprintf(members, sizeof members, WHERE "%s", more);
    return yyjson_arr_size(json_get(answered(a, operation, members), list));
}

TEST(job_calls, an_export_is_described_as_it_was_asked_for)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    char folder[200];
    double before = (double)clock_wall_ms() / 1000;
    sv id = started(a, "StartFHIRExportJob", EXPORT("t','JobName':'night'"));
    yyjson_val *is = ended(a, "Export", id);
    double after = (double)clock_wall_ms() / 1000;
    assert_sv(text_at(is, "JobId"), id);
    assert_sv(text_at(is, "JobName"), SV_LIT("night"));
    assert_sv(text_at(is, "JobStatus"), SV_LIT("COMPLETED"));
    assert_sv(text_at(is, "DatastoreId"), SV_LIT(ID));
    assert_sv(text_at(is, "DataAccessRoleArn"), SV_LIT(ROLE));
    (void)snprintf(folder, sizeof folder, "s3://out/p/" ID "-FHIR_EXPORT-%.*s/", SV_FMT(id));
    assert_sv(text_at(is, "OutputDataConfig.S3Configuration.S3Uri"), sv_from(folder));
    assert_sv(text_at(is, "OutputDataConfig.S3Configuration.KmsKeyId"), SV_LIT("alias/key"));
    /* times are seconds */
    assert_true(before - 0.001 <= number_at(is, "SubmitTime"));
    assert_true(number_at(is, "SubmitTime") <= number_at(is, "EndTime"));
    assert_true(number_at(is, "EndTime") <= after + 0.001);
    /* what is an import's alone */
    assert_null(json_get(is, "InputDataConfig"));
    assert_null(json_get(is, "JobProgressReport"));
    assert_null(json_get(is, "JobOutputDataConfig"));
}

TEST(job_calls, an_import_reports_what_it_scanned_and_took)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    static const char text[] = "{\"resourceType\":\"Patient\",\"id\":\"a\",\"active\":true}\n"
                               "{\"resourceType\":\"Patient\",\"id\":\"b\",\"active\":false}\n"
                               "this is no resource\n"
                               "{\"resourceType\":\"Patient\",\"id\":\"c\",\"active\":true}\n";
    char in[160];
    (void)snprintf(in, sizeof in, "%s/input", w.objects);
    OK(file_mkdirs(in, e));
    put_file("objects/input/one.ndjson", text);
    sv id = started(a, "StartFHIRImportJob", IMPORT("t','ValidationLevel':'minimal'"));
    yyjson_val *is = ended(a, "Import", id);
    assert_sv(text_at(is, "JobStatus"), SV_LIT("COMPLETED_WITH_ERRORS"));
    assert_sv(text_at(is, "InputDataConfig.S3Uri"), SV_LIT("s3://input/"));
    assert_sv(text_at(is, "ValidationLevel"), SV_LIT("minimal"));
    assert_sv(text_at(is, "JobOutputDataConfig.S3Configuration.KmsKeyId"), SV_LIT("alias/key"));
    assert_null(json_get(is, "OutputDataConfig"));
    assert_null(json_get(is, "JobName"));
    yyjson_val *report = json_get(is, "JobProgressReport");
    assert_int_equal(number_at(report, "TotalNumberOfScannedFiles"), 1);
    assert_int_equal(number_at(report, "TotalNumberOfImportedFiles"), 1);
    assert_int_equal(number_at(report, "TotalNumberOfResourcesScanned"), 4);
    assert_int_equal(number_at(report, "TotalNumberOfResourcesImported"), 3);
    assert_int_equal(number_at(report, "TotalNumberOfResourcesWithCustomerError"), 1);
    assert_int_equal(number_at(report, "TotalNumberOfFilesReadWithCustomerError"), 0);
    assert_float_equal(number_at(report, "TotalSizeOfScannedFilesInMB"),
                       (double)(sizeof text - 1) / 1e6, 1e-9);
    assert_int_equal(ask("GET /datastore/" ID "/r4/Patient/c HTTP/1.1\n\n", "\"active\":true"),
                     200);
}

TEST(job_calls, a_job_of_one_kind_is_none_of_the_other)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    char members[200];
    sv id = started(a, "StartFHIRExportJob", EXPORT("t'"));
    (void)ended(a, "Export", id);
    (void)snprintf(members, sizeof members, WHERE ",'JobId':'%.*s'", SV_FMT(id));
    assert_true(refused("admin", "DescribeFHIRImportJob", members, "ResourceNotFoundException") >=
                400);
    assert_int_equal(listed(a, "Export", ""), 1);
    assert_int_equal(listed(a, "Import", ""), 0);
}

/* "Grant permissions to pass an IAM role to a service": the role and the service must both fit. */
TEST(job_calls, whoever_may_not_pass_the_role_starts_nothing)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    static const char *const callers[] = { "passes_none", "passes_other", "passes_elsewhere" };
    for (size_t i = 0; i < 3; i++) {
        assert_true(refused(callers[i], "StartFHIRExportJob", EXPORT("t'"),
                            "AccessDeniedException") >= 400);
        assert_true(refused(callers[i], "StartFHIRImportJob", IMPORT("t'"),
                            "AccessDeniedException") >= 400);
    }
    assert_int_equal(listed(a, "Export", ""), 0);
    assert_int_equal(listed(a, "Import", ""), 0);
}

TEST(job_calls, jobs_start_on_a_data_store_that_is_active)
{
    (void)state;
    static const char *const others[] = { "CREATING", "CREATE_FAILED", "DELETING", "DELETED" };
    for (size_t i = 0; i < 4; i++) {
        put_record(others[i], NULL, NULL);
        datastore_forget(w.service, SV_LIT(ID));
        assert_int_equal(refused("admin", "StartFHIRExportJob", EXPORT("t'"), others[i]), 400);
        assert_int_equal(
            refused("admin", "StartFHIRImportJob", IMPORT("t'"), "ValidationException"), 400);
    }
}

/* Every filter against a plain look at the whole list. */
TEST(job_calls, a_list_is_newest_first_and_filtered)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(4 << 20);
    enum { N = 6 };
    sv ids[N];
    for (int i = 0; i < N; i++) {
        char members[500];
        (void)snprintf(members, sizeof members, EXPORT("t%d','JobName':'%s'"), i,
                       i % 2 ? "odd" : "even");
        ids[i] = started(a, "StartFHIRExportJob", members);
        (void)ended(a, "Export", ids[i]);
    }
    yyjson_val *all = json_get(answered(a, "ListFHIRExportJobs", WHERE), "ExportJobPropertiesList");
    assert_int_equal(yyjson_arr_size(all), N);
    for (size_t i = 0; i < N; i++)
        assert_sv(text_at(yyjson_arr_get(all, i), "JobId"), ids[N - 1 - i]);
    assert_int_equal(listed(a, "Export", ",'JobName':'odd'"), N / 2);
    assert_int_equal(listed(a, "Export", ",'JobName':'neither'"), 0);
    assert_int_equal(listed(a, "Export", ",'JobStatus':'COMPLETED'"), N);
    assert_int_equal(listed(a, "Export", ",'JobStatus':'FAILED'"), 0);
    /* later or earlier than each of them, the one itself not */
    for (size_t i = 0; i < N; i++) {
        sv at = text_at(yyjson_arr_get(all, i), "SubmitTime");
        double t = number_at(yyjson_arr_get(all, i), "SubmitTime");
        size_t n_later = 0, n_earlier = 0;
        char later[60], earlier[60];
        for (size_t k = 0; k < N; k++) {
            n_later += number_at(yyjson_arr_get(all, k), "SubmitTime") > t;
            n_earlier += number_at(yyjson_arr_get(all, k), "SubmitTime") < t;
        }
        (void)snprintf(later, sizeof later, ",'SubmittedAfter':%.*s", SV_FMT(at));
        (void)snprintf(earlier, sizeof earlier, ",'SubmittedBefore':%.*s", SV_FMT(at));
        assert_int_equal(listed(a, "Export", later), n_later);
        assert_int_equal(listed(a, "Export", earlier), n_earlier);
    }
    /* pages of any size are the list cut to pieces */
    for (unsigned size = 1; size <= N + 1; size++) {
        size_t n = 0;
        char next[1500];
        (void)snprintf(next, sizeof next, WHERE ",'MaxResults':%u", size);
        while (next[0]) {
            yyjson_val *page = answered(a, "ListFHIRExportJobs", next);
            yyjson_val *jobs = json_get(page, "ExportJobPropertiesList");
            sv token = text_at(page, "NextToken");
            assert_true(yyjson_arr_size(jobs) <= size);
            for (size_t i = 0; i < yyjson_arr_size(jobs); i++, n++)
                assert_sv(text_at(yyjson_arr_get(jobs, i), "JobId"), ids[N - 1 - n]);
            next[0] = 0;
            if (token.len)
                (void)snprintf(next, sizeof next, WHERE ",'MaxResults':%u,'NextToken':'%.*s'", size,
                               SV_FMT(token));
        }
        assert_int_equal(n, N);
    }
}

#define IN_ITS_FOLDER(sentence)                                                     \
    {                                                                               \
        "job_calls: " #sentence, test_job_calls_##sentence, set_up, tear_down, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ITS_FOLDER(an_export_is_described_as_it_was_asked_for),
        IN_ITS_FOLDER(an_import_reports_what_it_scanned_and_took),
        IN_ITS_FOLDER(a_job_of_one_kind_is_none_of_the_other),
        IN_ITS_FOLDER(whoever_may_not_pass_the_role_starts_nothing),
        IN_ITS_FOLDER(jobs_start_on_a_data_store_that_is_active),
        IN_ITS_FOLDER(a_list_is_newest_first_and_filtered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A kick-off starts one job of what was asked for, or none.
 * Source: FHIR Bulk Data Access, "Bulk Data Kick-off Request"; docs/bulk-data.md. */
#include "rest/entries.h"

#include "codec/instant.h"

#define ASYNC "Prefer: respond-async\n"

/* How many the data store has. */
static size_t n_jobs(void)
{
    struct arena *a = arena_new(4u << 20);
    const struct job_filter of = { .datastore_id = sv_from(here.id) };
    struct job *list;
    size_t n;
    sv next;
    OK(job_list(here.w.jobs, JOB_EXPORT, &of, SV_NONE, 100, a, &list, &n, &next, e));
    arena_free(a);
    return n;
}

/* The job of the status URL that was answered, in a. */
static struct job job_of_answer(struct arena *a)
{
    char base[100];
    struct job j;
    int n = snprintf(base, sizeof base, "http://localhost/datastore/%s/r4/export/", here.id);
    sv url = header("Content-Location");
    assert_true(sv_starts(url, sv_from(base)));
    OK(job_get(here.w.jobs, JOB_EXPORT, sv_from(here.id), sv_tail(url, (size_t)n), a, &j, e));
    assert_non_null(j.params);
    return j;
}

#define NO_JOB(status, how, where, more, text)           \
    do {                                                 \
        size_t before_ = n_jobs();                       \
        ASKED((status), (how), (where), (more), (text)); \
        SAYS("/resourceType", "OperationOutcome");       \
        SAYS("/issue/0/severity", "error");              \
        assert_null(header("Content-Location").ptr);     \
        assert_int_equal(n_jobs(), before_);             \
    } while (0)

static void filled_store(void)
{
    fresh_store();
    PUT_NEW("Patient/p", "{'resourceType':'Patient','id':'p'}");
    PUT_NEW("Group/g", "{'resourceType':'Group','id':'g','type':'person','actual':true,"
                       "'member':[{'entity':{'reference':'Patient/p'}}]}");
}

TEST(kick_off, of_each_level_is_accepted_with_the_status_url)
{
    (void)state;
    static const struct {
        const char *path;
        job_export_level level;
        const char *group;
    } levels[] = {
        { "$export", JOB_EXPORT_SYSTEM, "" },
        { "Patient/$export", JOB_EXPORT_PATIENT, "" },
        { "Group/g/$export", JOB_EXPORT_GROUP, "g" },
    };
    for (size_t i = 0; i < 6; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
        const char *path = levels[i / 2].path;
        filled_store();
        ASKED(202, i % 2 ? "POST" : "GET", path, ASYNC, NULL);
        SAYS("/resourceType", "OperationOutcome");
        SAYS("/issue/0/severity", "information");
        struct job j = job_of_answer(a);
        assert_int_equal(j.params->level, levels[i / 2].level);
        assert_sv(j.params->group_id, sv_from(levels[i / 2].group));
        /* The files stay here, and the manifest repeats the request. */
        assert_true(j.served);
        assert_true(sv_ends(j.request_url, sv_from(path)));
        assert_int_equal(n_jobs(), 1);
    }
}

TEST(kick_off, asks_for_an_asynchronous_answer)
{
    (void)state;
    filled_store();
    NO_JOB(400, "GET", "$export", "", NULL);
    NO_JOB(400, "POST", "Patient/$export", "Prefer: return=minimal\n", NULL);
    /* among other preferences */
    ASKED(202, "GET", "$export", "Prefer: handling=lenient, respond-async\n", NULL);
}

TEST(kick_off, changes_nothing_under_HEAD)
{
    (void)state;
    filled_store();
    ASKED(405, "HEAD", "$export", ASYNC, NULL);
    assert_int_equal(n_jobs(), 0);
}

TEST(kick_off, takes_parameters_from_the_query_or_a_resource)
{
    (void)state;
    static const char *const query =
        "?_type=Patient,Observation&_since=2020-01-01T00:00:00Z&_elements=id";
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
        char path[200];
        int64_t since;
        filled_store();
        (void)snprintf(path, sizeof path, "$export%s", i ? "" : query);
        ASKED(202, i ? "POST" : "GET", path, ASYNC,
              i ? "{'resourceType':'Parameters','parameter':["
                  "{'name':'_type','valueString':'Patient'},"
                  "{'name':'_type','valueString':'Observation'},"
                  "{'name':'_since','valueInstant':'2020-01-01T00:00:00Z'},"
                  "{'name':'_elements','valueString':'id'}]}"
                : NULL);
        struct job j = job_of_answer(a);
        assert_int_equal(j.params->types.n, 2);
        assert_int_equal(j.params->elements.n, 1);
        assert_sv(j.params->elements.items[0], SV_LIT("id"));
        assert_true(instant_parse(SV_LIT("2020-01-01T00:00:00Z"), &since));
        assert_int_equal(j.params->since_ms, since);
        assert_true(j.served);
    }
}

TEST(kick_off, patients_are_named_by_a_post_alone)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    filled_store();
    NO_JOB(400, "GET", "Patient/$export?patient=Patient/p", ASYNC, NULL);
#define NAMED(patient)                            \
    "{'resourceType':'Parameters','parameter':[{" \
    "'name':'patient','valueReference':{'reference':'" patient "'}}]}"
    NO_JOB(400, "POST", "$export", ASYNC, NAMED("Patient/p"));
    NO_JOB(400, "POST", "Patient/$export", ASYNC, NAMED("Device/p"));
    ASKED(202, "POST", "Patient/$export", ASYNC, NAMED("Patient/p"));
    struct job j = job_of_answer(a);
    assert_int_equal(j.params->patients.n, 1);
    assert_sv(j.params->patients.items[0], SV_LIT("p"));
}

TEST(kick_off, tells_all_faults_at_once_and_starts_nothing)
{
    (void)state;
    filled_store();
    NO_JOB(400, "GET", "$export?_type=Nothing&_since=soon&shoesize=44", ASYNC, NULL);
    assert_int_equal(yyjson_arr_size(value_at("/issue")), 3);
    assert_true(mentions("_type"));
    assert_true(mentions("_since"));
    assert_true(mentions("shoesize"));
    NO_JOB(400, "GET", "$export?_outputFormat=text/csv", ASYNC, NULL);
    NO_JOB(400, "GET", "$export?_since=2020-01-01T00:00:00Z&_since=2021-01-01T00:00:00Z", ASYNC,
           NULL);
    NO_JOB(404, "GET", "Group/never/$export", ASYNC, NULL);
    /* What is only not offered is passed over by who is lenient; what is malformed is not. */
#define LENIENT "Prefer: respond-async, handling=lenient\n"
    NO_JOB(400, "GET", "$export?_since=soon", LENIENT, NULL);
    NO_JOB(400, "GET", "$export?_typeFilter=Patient%3Fshoesize%3D44", LENIENT, NULL);
    ASKED(202, "GET", "$export?shoesize=44", LENIENT, NULL);
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    assert_int_equal(job_of_answer(a).params->notes.n, 1);
}

TEST(kick_off, takes_no_other_body)
{
    (void)state;
    filled_store();
    NO_JOB(400, "POST", "$export", ASYNC, "{'resourceType':'Patient'}");
    assert_true(mentions("takes a Parameters resource"));
    NO_JOB(400, "POST", "$export", ASYNC, "[]");
    NO_JOB(400, "POST", "$export", ASYNC, "{");
    NO_JOB(400, "POST", "$export", ASYNC, "{}");
}

TEST(kick_off, is_no_entry_of_a_bundle)
{
    (void)state;
    filled_store();
    ASKED(200, "POST", "", "", BUNDLE("batch", ENTRY("GET", "$export", "")));
    SAYS("/entry/0/response/status", "405");
    assert_int_equal(n_jobs(), 0);
}

#define ROLE "arn:aws:iam::000000000000:role/export"
#define TARGET(more)                                                           \
    "{'DataAccessRoleArn':'" ROLE "','JobName':'nightly','OutputDataConfig':{" \
    "'S3Configuration':{'S3Uri':'s3://output/nightly','KmsKeyId':'alias/export'}}" more "}"

TEST(kick_off, of_HealthLake_goes_to_the_bucket)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    filled_store();
    ASKED(202, "POST", "$export?_type=Patient", ASYNC, TARGET(""));
    assert_sv(header("Content-Type"), SV_LIT("application/json"));
    assert_sv(said("/datastoreId"), sv_from(here.id));
    SAYS("/jobStatus", "SUBMITTED");
    struct job j = job_of_answer(a);
    assert_sv(said("/jobId"), j.id);
    assert_false(j.served);
    assert_sv(j.role_arn, SV_LIT(ROLE));
    assert_sv(j.output_uri, SV_LIT("s3://output/nightly"));
    assert_sv(j.kms_key_id, SV_LIT("alias/export"));
    assert_sv(j.job_name, SV_LIT("nightly"));
    assert_int_equal(j.params->types.n, 1);
    /* Where files go is nobody's base. */
    assert_int_equal(j.params->attachment_base.len, 0);
}

TEST(kick_off, of_HealthLake_names_what_is_missing)
{
    (void)state;
    filled_store();
    NO_JOB(400, "POST", "$export", ASYNC, "{'DataAccessRoleArn':'" ROLE "'}");
    assert_true(mentions("utputDataConfig"));
    NO_JOB(400, "POST", "$export", ASYNC,
           "{'DataAccessRoleArn':'" ROLE "','OutputDataConfig':{'S3Configuration':{"
           "'S3Uri':'s3://output/x'}}}");
    assert_true(mentions("msKeyId"));
    NO_JOB(400, "POST", "$export", ASYNC,
           TARGET(",'DatastoreId':'ffffffffffffffffffffffffffffffff'"));
    assert_true(mentions("DatastoreId"));
    NO_JOB(400, "POST", "$export", ASYNC, "{'DataAccessRoleArn':7}");
}

TEST(kick_off, writes_the_base_of_the_caller_into_files)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    char want[100];
    filled_store();
    ASKED(202, "GET", "$export", ASYNC, NULL);
    struct job j = job_of_answer(a);
    (void)snprintf(want, sizeof want, "http://localhost/datastore/%s/r4", here.id);
    assert_sv(j.params->attachment_base, sv_from(want));
    assert_int_equal(j.params->attachment_other.len, 0);
    /* A Host that is none would stand in the files. */
    NO_JOB(400, "GET", "$export", ASYNC "Host: localhost:99999\n", NULL);
}

ASKING_MAIN(T(kick_off, of_each_level_is_accepted_with_the_status_url),
            T(kick_off, asks_for_an_asynchronous_answer), T(kick_off, changes_nothing_under_HEAD),
            T(kick_off, takes_parameters_from_the_query_or_a_resource),
            T(kick_off, patients_are_named_by_a_post_alone),
            T(kick_off, tells_all_faults_at_once_and_starts_nothing),
            T(kick_off, takes_no_other_body), T(kick_off, is_no_entry_of_a_bundle),
            T(kick_off, of_HealthLake_goes_to_the_bucket),
            T(kick_off, of_HealthLake_names_what_is_missing),
            T(kick_off, writes_the_base_of_the_caller_into_files))

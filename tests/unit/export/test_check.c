/* test_check.c - what contradicts or is not there is refused before any job exists. */
#include "served_run.h"

TEST(check, what_contradicts_or_is_not_there_is_refused_and_no_job_exists)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    put_sample(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    const struct {
        err_code want;
        const char *says;
        struct job_export_params p;
    } cases[] = {
        /* without the id: of a job that runs, it is in the log */
        { ERR_NOT_FOUND, "no Group of the id", { .level = JOB_EXPORT_GROUP, .group_id = S("x") } },
        { ERR_INVALID, "system level", { .patients = LIST(S("p1")) } },
        { ERR_NOT_FOUND, "Patient/p9", { .level = JOB_EXPORT_PATIENT, .patients = LIST(S("p9")) } },
        { ERR_INVALID, "legal id", { .level = JOB_EXPORT_PATIENT, .patients = LIST(S("a/b")) } },
        { ERR_INVALID,
          "not a member",
          { .level = JOB_EXPORT_GROUP, .group_id = S("g"), .patients = LIST(S("p2")) } },
        { ERR_INVALID, "no resource type", { .types = LIST(S("Patients")) } },
        { ERR_INVALID,
          "compartment",
          { .level = JOB_EXPORT_PATIENT, .types = LIST(S("Organization")) } },
        { ERR_INVALID, "_until", { .since_ms = 2, .until_ms = 1 } },
        { ERR_INVALID, "_maximumFileSize", { .min_file_bytes = 2, .max_file_bytes = 1 } },
        { ERR_INVALID, "Type?parameter", { .type_filters = LIST(S("Observation")) } },
        { ERR_INVALID, "Type?parameter", { .type_filters = LIST(S("Nothing?code=1")) } },
        { ERR_INVALID, "no place", { .type_filters = LIST(S("Observation?_sort=date")) } },
        { ERR_INVALID, "no place", { .type_filters = LIST(S("Observation?_include=x")) } },
        { ERR_NOT_FOUND, "", { .type_filters = LIST(S("Observation?nonsense=1")) } },
        { ERR_INVALID,
          "does not hold",
          { .types = LIST(S("Patient")), .type_filters = LIST(S("Observation?status=final")) } },
        { ERR_NOT_FOUND,
          "parameter behind it",
          { .type_filters = LIST(S("Observation?subject.nonsense=x")) } },
        { ERR_INVALID,
          "_has",
          { .type_filters = LIST(S("Patient?_has:Observation:code:code=1")) } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct job_request q = fx_request(JOB_EXPORT, "", "");
        struct job_export_params p = cases[i].p;
        struct job j, *jobs;
        struct err err = { 0 }, again = { 0 };
        size_t n;
        sv next;
        struct job_filter all = { .datastore_id = FX_STORE };
        p.served = true;
        q.params = &p;
        err_code rc = job_submit(f.engine, &q, a, &j, &err);
        if (rc != cases[i].want || strstr(err.msg, cases[i].says) == NULL)
            fail_msg("case %zu: %s: %s", i, err_code_name(rc), err.msg);
        assert_int_equal(job_export_check(f.engine, FX_STORE, &p, &again), rc);
        OK(job_list(f.engine, JOB_EXPORT, &all, SV_NONE, 10, a, &jobs, &n, &next, e));
        assert_int_equal(n, 0);
    }
    fx_close(&f);
}

TEST_MAIN(T(check, what_contradicts_or_is_not_there_is_refused_and_no_job_exists))

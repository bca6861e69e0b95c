/* job_calls.c - Start, Describe and List of export and import jobs.
 *
 * The job engine (job/job.h) does the work. Here members of a request become a job_request, and a
 * job becomes members of an answer. Starting also asks for the right to pass the role. */
#include "aws/aws_private.h"

/* ---- start ---- */

static err_code start(struct call *call, job_kind kind, struct err *e)
{
    struct datastore datastore;
    yyjson_val *output =
        call_member(call, kind == JOB_EXPORT ? "OutputDataConfig" : "JobOutputDataConfig");
    yyjson_val *s3 = json_get(output, "S3Configuration");
    struct job_request q = { .kind = kind,
                             .datastore_id = call_text(call, "DatastoreId"),
                             .account_id = call->service->cfg.account_id,
                             .job_name = call_text(call, "JobName"),
                             .client_token = call_text(call, "ClientToken"),
                             .role_arn = call_text(call, "DataAccessRoleArn"),
                             .output_uri = json_string(json_get(s3, "S3Uri")),
                             .kms_key_id = json_string(json_get(s3, "KmsKeyId")) };
    if (kind == JOB_IMPORT) {
        q.input_uri = json_string(json_get(call_member(call, "InputDataConfig"), "S3Uri"));
        q.validation_level = call_text(call, "ValidationLevel");
    }
    TRY(call_datastore(call, q.datastore_id, &datastore, e));
    struct policy_fact to = { SV_LIT("iam:PassedToService"), SV_LIT("healthlake.amazonaws.com") };
    TRY(auth_allows(&call->caller, SV_LIT("iam:PassRole"), q.role_arn,
                    &(struct policy_context){ &to, 1 }, e));
    if (!sv_eq(datastore.status, SV_LIT("ACTIVE")))
        return ERR(e, ERR_INVALID, "The data store is %.*s; jobs can be started when it is ACTIVE",
                   SV_FMT(datastore.status));
    TRY(datastore_check_place(call->service, q.datastore_id, e));
    q.datastore_arn = datastore.arn;
    struct job j;
    TRY(job_submit_fault(job_submit(call->service->cfg.jobs, &q, call->a, &j, e), e));
    json_kv_str(&call->out, "JobId", j.id);
    json_kv_str(&call->out, "JobStatus", sv_from(job_status_name(j.status)));
    json_kv_str(&call->out, "DatastoreId", j.datastore_id);
    return ERR_OK;
}

err_code op_start_export(struct call *call, struct err *e)
{
    return start(call, JOB_EXPORT, e);
}

err_code op_start_import(struct call *call, struct err *e)
{
    return start(call, JOB_IMPORT, e);
}

/* ---- printing ---- */

static void kv_time(struct json_writer *w, const char *name, int64_t ms)
{
    if (ms == 0)
        return;
    json_key(w, name);
    json_epoch_ms(w, ms);
}

static void kv_text(struct json_writer *w, const char *name, sv text)
{
    if (text.len)
        json_kv_str(w, name, text);
}

static void print_output(struct json_writer *w, const char *name, const struct job *j)
{
    json_key(w, name);
    json_obj(w);
    json_key(w, "S3Configuration");
    json_obj(w);
    /* Files that are served over HTTP are not in S3, but the model requires a place in S3 and a
     * key: these two can be nobody's. */
    if (j->served) {
        char uri[160];
        int n = snprintf(uri, sizeof uri, "s3://served.invalid/%.*s-FHIR_EXPORT-%.*s/",
                         SV_FMT(j->datastore_id), SV_FMT(j->id));
        json_kv_str(w, "S3Uri", sv_make(uri, n > 0 ? (size_t)n : 0));
        json_kv_str(w, "KmsKeyId", SV_LIT("alias/none"));
    } else {
        json_kv_str(w, "S3Uri", j->job_folder_uri);
        json_kv_str(w, "KmsKeyId", j->kms_key_id);
    }
    json_obj_end(w);
    json_obj_end(w);
}

static void print_report(struct json_writer *w, const struct job_progress *p)
{
    json_key(w, "JobProgressReport");
    json_obj(w);
    json_kv_i64(w, "TotalNumberOfScannedFiles", (int64_t)p->files_scanned);
    json_key(w, "TotalSizeOfScannedFilesInMB");
    json_fixed(w, (double)p->bytes_scanned / 1e6, 6);
    json_kv_i64(w, "TotalNumberOfImportedFiles", (int64_t)p->files_imported);
    json_kv_i64(w, "TotalNumberOfResourcesScanned", (int64_t)p->resources_scanned);
    json_kv_i64(w, "TotalNumberOfResourcesImported", (int64_t)p->resources_imported);
    json_kv_i64(w, "TotalNumberOfResourcesWithCustomerError", (int64_t)p->resources_customer_error);
    json_kv_i64(w, "TotalNumberOfFilesReadWithCustomerError", (int64_t)p->files_unreadable);
    json_key(w, "Throughput");
    json_fixed(w, p->throughput, 1);
    json_obj_end(w);
}

static void print_job(struct json_writer *w, const struct job *j)
{
    json_obj(w);
    json_kv_str(w, "JobId", j->id);
    kv_text(w, "JobName", j->job_name);
    json_kv_str(w, "JobStatus", sv_from(job_status_name(j->status)));
    kv_time(w, "SubmitTime", j->submit_ms);
    kv_time(w, "EndTime", j->end_ms);
    json_kv_str(w, "DatastoreId", j->datastore_id);
    if (j->kind == JOB_IMPORT) {
        json_key(w, "InputDataConfig");
        json_obj(w);
        json_kv_str(w, "S3Uri", j->input_uri);
        json_obj_end(w);
        print_output(w, "JobOutputDataConfig", j);
        print_report(w, &j->progress);
        kv_text(w, "ValidationLevel", j->validation_level);
    } else {
        print_output(w, "OutputDataConfig", j);
    }
    kv_text(w, "DataAccessRoleArn", j->role_arn);
    kv_text(w, "Message", j->message);
    json_obj_end(w);
}

/* ---- describe and list ---- */

static err_code describe(struct call *call, job_kind kind, struct err *e)
{
    struct datastore datastore;
    struct job j;
    sv id = call_text(call, "DatastoreId"), job = call_text(call, "JobId");
    call_watch(call, job);
    TRY(call_datastore(call, id, &datastore, e));
    TRY(job_get(call->service->cfg.jobs, kind, id, job, call->a, &j, e));
    call->unended = !job_status_is_final(j.status);
    json_key(&call->out, kind == JOB_EXPORT ? "ExportJobProperties" : "ImportJobProperties");
    print_job(&call->out, &j);
    return ERR_OK;
}

err_code op_describe_export(struct call *call, struct err *e)
{
    return describe(call, JOB_EXPORT, e);
}

err_code op_describe_import(struct call *call, struct err *e)
{
    return describe(call, JOB_IMPORT, e);
}

static err_code list(struct call *call, job_kind kind, struct err *e)
{
    struct datastore datastore;
    struct job *jobs;
    size_t n;
    sv position, next, token;
    struct job_filter f = { .datastore_id = call_text(call, "DatastoreId"),
                            .name = call_text(call, "JobName"),
                            .submitted_after_ms = call_time_ms(call_member(call, "SubmittedAfter")),
                            .submitted_before_ms =
                                call_time_ms(call_member(call, "SubmittedBefore")) };
    f.has_status = job_status_parse(call_text(call, "JobStatus"), &f.status);
    TRY(call_datastore(call, f.datastore_id, &datastore, e));
    TRY(next_token_read(call, &position, e));
    TRY(job_list(call->service->cfg.jobs, kind, &f, position, page_size(call), call->a, &jobs, &n,
                 &next, e));
    json_key(&call->out,
             kind == JOB_EXPORT ? "ExportJobPropertiesList" : "ImportJobPropertiesList");
    json_arr(&call->out);
    for (size_t i = 0; i < n; i++)
        print_job(&call->out, &jobs[i]);
    json_arr_end(&call->out);
    if (next.len) {
        TRY(next_token_make(call, next, &token, e));
        json_kv_str(&call->out, "NextToken", token);
    }
    return ERR_OK;
}

err_code op_list_exports(struct call *call, struct err *e)
{
    return list(call, JOB_EXPORT, e);
}

err_code op_list_imports(struct call *call, struct err *e)
{
    return list(call, JOB_IMPORT, e);
}

/* kick_off.c - a kick-off: which dialect, at which level, into which job.
 *
 *   body                        dialect     files go to         answer's body
 *   {"DataAccessRoleArn": ...}  HealthLake  the caller's S3     {"datastoreId","jobStatus","jobId"}
 *   Parameters, or none         Bulk Data   us, over HTTP       OperationOutcome
 *
 * Both answer 202 with the status URL in Content-Location. Everything is checked before a job
 * exists.
 * Source: FHIR Bulk Data Access, "Bulk Data Kick-off Request"; HealthLake "Exporting data with FHIR
 * REST". */
#include "rest/answer_private.h"
#include "rest/export/export_private.h"
#include "rest/params_private.h"

#include "base/limits.h"
#include "codec/uri.h"

sv rest_export_url(const struct rest_call *call, sv job_id)
{
    return arena_fmt(call->a, "%.*s/export/%.*s", SV_FMT(call->base), SV_FMT(job_id));
}

static err_code read_body(const struct rest_call *call, yyjson_val **out, struct err *e)
{
    yyjson_doc *doc;
    *out = NULL;
    if (!sv_eq(call->in.method, SV_LIT("POST")) || call->in.body.len == 0)
        return ERR_OK;
    TRY(rest_json_body(call, e));
    TRY(json_read(call->a, call->in.body, LIMIT_JSON_DEPTH, &doc, e));
    *out = yyjson_doc_get_root(doc);
    return yyjson_is_obj(*out) ? ERR_OK
                               : ERR(e, ERR_INVALID, "The request body is not a JSON object");
}

/* Check HealthLake's body as if it were StartFHIRExportJob's, of which it lacks only the data
 * store's id. */
static err_code read_target(struct rest_call *call, yyjson_val *body, struct job_request *q,
                            struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(LIMIT_CONTROL_BODY_BYTES), faults = BUF_INIT(256u << 10);
    struct json_writer w;
    yyjson_doc *doc;
    yyjson_val *key;
    json_writer_init(&w, &text);
    json_obj(&w);
    json_kv_str(&w, "DatastoreId", call->ds->id);
    yyjson_obj_iter it = yyjson_obj_iter_with(body);
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        if (!sv_eq(json_string(key), SV_LIT("DatastoreId"))) {
            json_key(&w, yyjson_get_str(key));
            json_val(&w, v);
        } else if (!yyjson_is_null(v) && !sv_eq(json_string(v), call->ds->id)) {
            return ERR(e, ERR_INVALID, "DatastoreId is not the data store of the URL");
        }
    }
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    sv json = arena_sv(call->a, buf_sv(&text));
    if (json.ptr == NULL)
        return arena_oom(call->a, e);
    TRY(json_read(call->a, json, LIMIT_JSON_DEPTH, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    err_code rc = shape_check_input(SHAPE_StartFHIRExportJobRequest, root, &faults, e);
    if (rc == ERR_INVALID) {
        sv all = arena_sv(call->a, buf_sv(&faults));
        if (all.ptr == NULL)
            return arena_oom(call->a, e);
        TRY(rest_issue_set(call, (struct rest_issue){ "error", "invalid", all, SV_NONE }, e));
    }
    /* A member has a wrong JSON type. */
    if (rc == ERR_UNSUPPORTED && e)
        e->code = rc = ERR_INVALID;
    TRY(rc);
    yyjson_val *s3 = json_get(json_get(root, "OutputDataConfig"), "S3Configuration");
    q->job_name = json_string(json_get(root, "JobName"));
    q->client_token = json_string(json_get(root, "ClientToken"));
    q->role_arn = json_string(json_get(root, "DataAccessRoleArn"));
    q->output_uri = json_string(json_get(s3, "S3Uri"));
    q->kms_key_id = json_string(json_get(s3, "KmsKeyId"));
    struct policy_fact to = { SV_LIT("iam:PassedToService"), SV_LIT("healthlake.amazonaws.com") };
    return auth_allows(&call->caller, SV_LIT("iam:PassRole"), q->role_arn,
                       &(struct policy_context){ &to, 1 }, e);
}

static err_code answer(struct rest_call *call, const struct job *job, bool served, struct err *e)
{
    call->out.status = 202;
    call->out.job_id = job->id;
    rest_header(call, "Content-Location", rest_export_url(call, job->id));
    if (served) {
        struct rest_issue told = {
            "information", "informational",
            arena_fmt(call->a, "Export job %.*s is accepted; its status is at Content-Location",
                      SV_FMT(job->id)),
            SV_NONE
        };
        return rest_outcome_write(&told, 1, &call->out.body, e);
    }
    struct json_writer w;
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    json_kv_str(&w, "datastoreId", job->datastore_id);
    json_kv_str(&w, "jobStatus", sv_from(job_status_name(job->status)));
    json_kv_str(&w, "jobId", job->id);
    json_obj_end(&w);
    call->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}

/* The engine knows what was asked for and does not offer it. The request could ask for less, so it
 * is no 501. */
static err_code not_supported(struct rest_call *call, struct err *e)
{
    const struct rest_issue told = { "error", "not-supported", arena_sv(call->a, sv_from(e->msg)),
                                     SV_NONE };
    TRY(rest_issue_set(call, told, e));
    e->code = ERR_INVALID;
    return ERR_INVALID;
}

/* Urls of Attachments in served files are absolute, below the [base] that the caller knows. With
 * --public-url that is another one than the request's Host makes, and resources may name either.
 * Source: Bulk Data Access, "Attachments". */
static err_code read_bases(struct rest_call *call, struct job_export_params *p, struct err *e)
{
    bool given = call->service->cfg.public_url.len != 0;
    struct err why;
    uint16_t port;
    sv host;
    bool good = uri_authority_parse(call->host, &host, &port, &why) == ERR_OK;
    /* The host would be written into files. */
    if (!given && !good)
        return ERR(e, ERR_INVALID, "The Host header %s; it is HOST or HOST:PORT", why.msg);
    if (!p->served)
        return ERR_OK;
    p->attachment_base = call->base;
    if (!given || !good)
        return ERR_OK;
    p->attachment_other = ARENA_JOIN(call->a, call->scheme, call->host, SV_LIT("/datastore/"),
                                     call->ds->id, SV_LIT("/r4"));
    return p->attachment_other.ptr ? ERR_OK : arena_oom(call->a, e);
}

static job_export_level level_of(const struct rest_call *call)
{
    return call->it->shape == REST_EXPORT_SYSTEM ? JOB_EXPORT_SYSTEM
           : call->it->shape == REST_EXPORT_TYPE ? JOB_EXPORT_PATIENT
                                                 : JOB_EXPORT_GROUP;
}

err_code rest_export(struct rest_call *call, struct err *e)
{
    struct job_request q = { .kind = JOB_EXPORT,
                             .datastore_id = call->ds->id,
                             .datastore_arn = call->ds->arn,
                             .account_id = call->service->cfg.account_id };
    struct job_export_params p;
    struct job job;
    yyjson_val *body;
    if (call->in_bundle)
        return ERR(e, ERR_UNSUPPORTED, "$export is not called from within a Bundle");
    /* HEAD must change nothing, and a kick-off starts a job. */
    if (sv_eq(call->in.method, SV_LIT("HEAD")))
        return ERR(e, ERR_METHOD, "HEAD is not offered at this path");
    if (!rest_prefers(call, "respond-async"))
        return ERR(e, ERR_INVALID, "$export works asynchronously only: send Prefer: respond-async");
    TRY(read_body(call, &body, e));
    bool parameters = sv_eq(json_string(json_get(body, "resourceType")), SV_LIT("Parameters"));
    bool served = body == NULL || parameters;
    if (!served && json_get(body, "resourceType"))
        return ERR(e, ERR_INVALID,
                   "$export takes a Parameters resource, or HealthLake's DataAccessRoleArn and "
                   "OutputDataConfig");
    if (!served)
        TRY(read_target(call, body, &q, e));
    TRY(rest_export_params_read(call, level_of(call), parameters ? body : NULL, &p, e));
    TRY(rest_export_grant(call, &p, e));
    p.served = served;
    TRY(read_bases(call, &p, e));
    p.request_url = arena_fmt(call->a, "%.*s/%.*s%s%.*s", SV_FMT(call->base), SV_FMT(call->in.path),
                              call->in.query.len ? "?" : "", SV_FMT(call->in.query));
    if (p.request_url.ptr == NULL)
        return arena_oom(call->a, e);
    q.params = &p;
    q.caller = call->caller.arn;
    unsigned wait_s = 0;
    q.wait_s = &wait_s;
    err_code rc = job_submit_fault(job_submit(call->service->cfg.jobs, &q, call->a, &job, e), e);
    if (rc == ERR_THROTTLED && wait_s)
        rest_header(call, "Retry-After", arena_fmt(call->a, "%u", wait_s));
    if (rc == ERR_UNSUPPORTED)
        return not_supported(call, e);
    TRY(rc);
    return answer(call, &job, served, e);
}

/* status.c - [base]/export/<jobId>: how far an export is, its manifest, its files, its end.
 *
 * P stands for exportJobProperties, which HealthLake answers with.
 *
 *              files in S3 (HealthLake's         files served by us (Bulk Data guide)
 *              dialect, StartFHIRExportJob)
 *   GET
 *   running    202, X-Progress, P                202, X-Progress, Retry-After, or 429; with
 *                                                allowPartialManifests the pages that are full
 *   done       200 P, output[] s3://             200 manifest, output[] http://.../files/NAME
 *   failed     200 P with its message            500 OperationOutcome
 *   cancelled  200 P                             404 OperationOutcome
 *   DELETE     202 P, CANCEL_SUBMITTED; 409      202, the files go; 404 from then on
 *              when it has ended
 *
 * Source: FHIR Bulk Data Access, "Bulk Data Status Request", "File Request"; HealthLake's recorded
 * answers. */
#include "rest/answer_private.h"
#include "rest/export/status_private.h"
#include "rest/params_private.h"
#include "rest/rest_private.h"

#include "base/clock.h"
#include "codec/instant.h"

#define MANIFEST_MAX  (64u << 20)
#define MANIFEST_TREE (512u << 20) /* parsed */
#define RETRY_MAX     10           /* seconds */
#define PROGRESS_MAX  99u          /* "less than 100 characters" */

static bool takes_partial(const struct job *job)
{
    return job->served && job->params && job->params->partial_manifests;
}

/* ---- GET ---- */

static sv http_date(struct arena *a, int64_t ms)
{
    char text[INSTANT_HTTP_LEN];
    instant_format_http(ms, text);
    return arena_sv(a, sv_make(text, sizeof text));
}

static sv progress_of(struct rest_call *call, const struct job *job)
{
    /* Clients take a number at the beginning for a percentage. */
    if (job->status == JOB_IN_PROGRESS) {
        sv text = job_progress_text(job, call->a);
        size_t n = 0;
        while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
            n++;
        if (n && (n == text.len || text.ptr[n] != '%'))
            text = arena_fmt(call->a, "running - %.*s", SV_FMT(text));
        return sv_head(text, PROGRESS_MAX);
    }
    return job->status == JOB_SUBMITTED || job->status == JOB_QUEUED ? SV_LIT("waiting")
                                                                     : SV_LIT("being cancelled");
}

/* Seconds until the next question: few at first, then a tenth of the time the job has run. */
static unsigned retry_after(const struct job *job)
{
    int64_t s = (clock_wall_ms() - job->submit_ms) / 10000;
    return s < 1 ? 1 : s > RETRY_MAX ? RETRY_MAX : (unsigned)s;
}

static err_code gone(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND,
               "There is no export of this id here, or it was cancelled, or its time "
               "is over");
}

static err_code running(struct rest_call *call, const struct job *job, struct err *e)
{
    call->out.status = 202;
    rest_header(call, "X-Progress", progress_of(call, job));
    rest_header(call, "Retry-After", arena_fmt(call->a, "%u", retry_after(job)));
    return job->served ? ERR_OK : rest_export_properties_answer(call, job, e);
}

/* Asked for far more often than Retry-After says (polls_private.h). */
static err_code too_often(struct rest_call *call, unsigned wait_s, struct err *e)
{
    struct rest_issue issue = { "error", "throttled",
                                SV_LIT("The status is asked for too often; wait for Retry-After"),
                                SV_NONE };
    call->out.status = 429;
    rest_header(call, "Retry-After", arena_fmt(call->a, "%u", wait_s));
    return rest_outcome_write(&issue, 1, &call->out.body, e);
}

static err_code failed(struct rest_call *call, const struct job *job, struct err *e)
{
    struct rest_issue issue = { "error", "exception",
                                job->message.len ? job->message : SV_LIT("The export has failed"),
                                SV_NONE };
    call->out.status = 500;
    return rest_outcome_write(&issue, 1, &call->out.body, e);
}

static err_code with_manifest(struct rest_call *call, const struct job *job, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(MANIFEST_TREE);
    CLEANUP_BUF struct buf text = BUF_INIT(MANIFEST_MAX);
    struct err why = { 0 };
    yyjson_doc *doc;
    struct rest_export_page p = { 0 };
    bool complete = true;
    err_code rc = job_export_manifest(call->service->cfg.jobs, job->datastore_id, job->id, &text,
                                      &complete, &why);
    if (rc == ERR_CONFLICT)
        return running(call, job, e);
    if (rc == ERR_GONE)
        return gone(e);
    /* Someone took the manifest out of the bucket: the answer tells about the job all the same. */
    if (rc != ERR_OK && !job->served)
        return rest_export_properties_answer(call, job, e);
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(json_read(a, buf_sv(&text), 64, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!complete) {
        TRY(running(call, job, e));
        size_t n =
            yyjson_arr_size(json_get(root, "output")) + yyjson_arr_size(json_get(root, "deleted"));
        /* A page that was shown never changes, so only full ones are shown. */
        if (n < PAGE_FILES)
            return ERR_OK;
    } else if (job->expires_ms) {
        rest_header(call, "Expires", http_date(call->a, job->expires_ms));
    }
    TRY(rest_export_page_of(call, root, complete, takes_partial(job), &p, e));
    return rest_export_manifest_write(call, job, root, &p, e);
}

static err_code find(struct rest_call *call, struct job *job, struct err *e)
{
    if (call->in_bundle)
        return ERR(e, ERR_UNSUPPORTED, "Exports are not looked at from within a Bundle");
    bool his;
    TRY(job_get(call->service->cfg.jobs, JOB_EXPORT, call->ds->id, call->id, call->a, job, e));
    TRY(rest_export_is_his(call, job, &his, e));
    if (!his)
        return ERR(e, ERR_NOT_FOUND, "Export job %.*s does not exist in this data store",
                   SV_FMT(sv_head(call->id, 64)));
    bool ended = job->status == JOB_CANCEL_SUBMITTED || job->status == JOB_CANCEL_IN_PROGRESS ||
                 job->status == JOB_CANCEL_COMPLETED || job->status == JOB_CANCEL_FAILED;
    return job->served && (ended || job->discarded) ? gone(e) : ERR_OK;
}

err_code rest_export_status(struct rest_call *call, struct err *e)
{
    struct job job;
    unsigned wait_s;
    TRY(find(call, &job, e));
    if (job.served && !job_status_is_final(job.status) && rest_param(call, "page").len == 0 &&
        !polls_take(call->service->rest->polls, job.id, clock_mono_us(), retry_after(&job),
                    &wait_s))
        return too_often(call, wait_s, e);
    call->out.status = 200;
    if (job.status == JOB_COMPLETED || job.status == JOB_COMPLETED_WITH_ERRORS ||
        (takes_partial(&job) && job.status == JOB_IN_PROGRESS))
        return with_manifest(call, &job, e);
    if (!job_status_is_final(job.status))
        return running(call, &job, e);
    return job.served ? failed(call, &job, e) : rest_export_properties_answer(call, &job, e);
}

/* ---- GET a file ---- */

static struct http_file answer_of(const struct job_export_file *file)
{
    return (struct http_file){ .fd = file->fd,
                               .len = file->bytes,
                               .cipher = file->cipher,
                               .etag = file->sha256,
                               .modified_ms = file->written_ms,
                               .may_gzip = true };
}

static struct job_export_part part_of(void *ctx, const struct job_export_file *file)
{
    const struct rest_call *call = ctx;
    const struct http_file answer = answer_of(file);
    struct job_export_part part;
    http_file_part(call->http, &answer, &part.first, &part.len);
    return part;
}

err_code rest_export_file(struct rest_call *call, struct err *e)
{
    struct job job;
    struct job_export_file f;
    const struct job_export_want want = { part_of, call };
    TRY(find(call, &job, e));
    if (!job.served)
        return ERR(e, ERR_NOT_FOUND, "The files of this export are in S3; its status says where");
    err_code rc = job_export_file_open(call->service->cfg.jobs, call->ds->id, call->id, call->vid,
                                       store_ring(call->st), &want, call->a, &f, e);
    if (rc == ERR_GONE)
        return gone(e);
    TRY(rc);
    struct http_file *out = ARENA_NEW(call->a, struct http_file);
    /* A request of one line cannot have filled its arena. */
    if (out == NULL)
        abort();
    *out = answer_of(&f);
    call->out.status = 200;
    call->out.content_type = SV_LIT("application/fhir+ndjson");
    call->out.file = out;
    return ERR_OK;
}

/* ---- DELETE ---- */

static err_code deleted(struct rest_call *call, const struct job *job, struct err *e)
{
    call->out.status = 202;
    if (job->served) {
        struct rest_issue told = { "information", "informational",
                                   SV_LIT("The export is cancelled and its files are removed"),
                                   SV_NONE };
        return rest_outcome_write(&told, 1, &call->out.body, e);
    }
    struct json_writer w;
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    json_key(&w, "exportJobProperties");
    json_obj(&w);
    json_kv_str(&w, "jobId", job->id);
    json_kv_str(&w, "jobStatus", sv_from(job_status_name(JOB_CANCEL_SUBMITTED)));
    json_kv_str(&w, "datastoreId", job->datastore_id);
    json_obj_end(&w);
    json_obj_end(&w);
    call->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}

err_code rest_export_delete(struct rest_call *call, struct err *e)
{
    struct job job;
    struct err why = { 0 };
    TRY(find(call, &job, e));
    err_code rc = job_cancel(call->service->cfg.jobs, JOB_EXPORT, call->ds->id, call->id, &why);
    /* The job has ended: only its files can be removed. */
    if (rc == ERR_CONFLICT && job.served)
        rc = job_discard(call->service->cfg.jobs, call->ds->id, call->id, &why);
    if (rc == ERR_CONFLICT)
        return ERR(e, ERR_CONFLICT,
                   "The export has ended; only one that waits or runs can be "
                   "cancelled");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    return deleted(call, &job, e);
}

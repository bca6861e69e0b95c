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

static bool takes_partial(const struct job *j)
{
    return j->served && j->params && j->params->partial_manifests;
}

/* ---- GET ---- */

static sv http_date(struct arena *a, int64_t ms)
{
    char text[INSTANT_HTTP_LEN];
    instant_format_http(ms, text);
    return arena_sv(a, sv_make(text, sizeof text));
}

static sv progress_of(struct rest_call *c, const struct job *j)
{
    /* Clients take a number at the beginning for a percentage. */
    if (j->status == JOB_IN_PROGRESS) {
        sv text = job_progress_text(j, c->a);
        size_t n = 0;
        while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
            n++;
        if (n && (n == text.len || text.ptr[n] != '%'))
            text = arena_fmt(c->a, "running - %.*s", SV_FMT(text));
        return sv_head(text, PROGRESS_MAX);
    }
    return j->status == JOB_SUBMITTED || j->status == JOB_QUEUED ? SV_LIT("waiting")
                                                                 : SV_LIT("being cancelled");
}

/* Seconds until the next question: few at first, then a tenth of the time the job has run. */
static unsigned retry_after(const struct job *j)
{
    int64_t s = (clock_wall_ms() - j->submit_ms) / 10000;
    return s < 1 ? 1 : s > RETRY_MAX ? RETRY_MAX : (unsigned)s;
}

static err_code gone(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND,
               "There is no export of this id here, or it was cancelled, or its time "
               "is over");
}

static err_code running(struct rest_call *c, const struct job *j, struct err *e)
{
    c->out.status = 202;
    rest_header(c, "X-Progress", progress_of(c, j));
    rest_header(c, "Retry-After", arena_fmt(c->a, "%u", retry_after(j)));
    return j->served ? ERR_OK : rest_export_properties_answer(c, j, e);
}

/* Asked for far more often than Retry-After says (polls_private.h). */
static err_code too_often(struct rest_call *c, unsigned wait_s, struct err *e)
{
    struct rest_issue issue = { "error", "throttled",
                                SV_LIT("The status is asked for too often; wait for Retry-After"),
                                SV_NONE };
    c->out.status = 429;
    rest_header(c, "Retry-After", arena_fmt(c->a, "%u", wait_s));
    return rest_outcome_write(&issue, 1, &c->out.body, e);
}

static err_code failed(struct rest_call *c, const struct job *j, struct err *e)
{
    struct rest_issue issue = { "error", "exception",
                                j->message.len ? j->message : SV_LIT("The export has failed"),
                                SV_NONE };
    c->out.status = 500;
    return rest_outcome_write(&issue, 1, &c->out.body, e);
}

static err_code with_manifest(struct rest_call *c, const struct job *j, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(MANIFEST_TREE);
    CLEANUP_BUF struct buf text = BUF_INIT(MANIFEST_MAX);
    struct err why = { 0 };
    yyjson_doc *doc;
    struct rest_export_page p = { 0 };
    bool complete = true;
    err_code rc =
        job_export_manifest(c->s->cfg.jobs, j->datastore_id, j->id, &text, &complete, &why);
    if (rc == ERR_CONFLICT)
        return running(c, j, e);
    if (rc == ERR_GONE)
        return gone(e);
    /* Someone took the manifest out of the bucket: the answer tells about the job all the same. */
    if (rc != ERR_OK && !j->served)
        return rest_export_properties_answer(c, j, e);
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(json_read(a, buf_sv(&text), 64, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!complete) {
        TRY(running(c, j, e));
        size_t n =
            yyjson_arr_size(json_get(root, "output")) + yyjson_arr_size(json_get(root, "deleted"));
        /* A page that was shown never changes, so only full ones are shown. */
        if (n < PAGE_FILES)
            return ERR_OK;
    } else if (j->expires_ms) {
        rest_header(c, "Expires", http_date(c->a, j->expires_ms));
    }
    TRY(rest_export_page_of(c, root, complete, takes_partial(j), &p, e));
    return rest_export_manifest_write(c, j, root, &p, e);
}

static err_code find(struct rest_call *c, struct job *j, struct err *e)
{
    if (c->in_bundle)
        return ERR(e, ERR_UNSUPPORTED, "Exports are not looked at from within a Bundle");
    TRY(job_get(c->s->cfg.jobs, JOB_EXPORT, c->ds->id, c->id, c->a, j, e));
    bool ended = j->status == JOB_CANCEL_SUBMITTED || j->status == JOB_CANCEL_IN_PROGRESS ||
                 j->status == JOB_CANCEL_COMPLETED || j->status == JOB_CANCEL_FAILED;
    return j->served && (ended || j->discarded) ? gone(e) : ERR_OK;
}

err_code rest_export_status(struct rest_call *c, struct err *e)
{
    struct job j;
    unsigned wait_s;
    TRY(find(c, &j, e));
    if (j.served && !job_status_is_final(j.status) && rest_param(c, "page").len == 0 &&
        !polls_take(c->s->rest->polls, j.id, clock_mono_us(), retry_after(&j), &wait_s))
        return too_often(c, wait_s, e);
    c->out.status = 200;
    if (j.status == JOB_COMPLETED || j.status == JOB_COMPLETED_WITH_ERRORS ||
        (takes_partial(&j) && j.status == JOB_IN_PROGRESS))
        return with_manifest(c, &j, e);
    if (!job_status_is_final(j.status))
        return running(c, &j, e);
    return j.served ? failed(c, &j, e) : rest_export_properties_answer(c, &j, e);
}

/* ---- GET a file ---- */

err_code rest_export_file(struct rest_call *c, struct err *e)
{
    struct job j;
    struct job_export_file f;
    TRY(find(c, &j, e));
    if (!j.served)
        return ERR(e, ERR_NOT_FOUND, "The files of this export are in S3; its status says where");
    err_code rc = job_export_file_open(c->s->cfg.jobs, c->ds->id, c->id, c->vid, c->a, &f, e);
    if (rc == ERR_GONE)
        return gone(e);
    TRY(rc);
    struct http_file *out = ARENA_NEW(c->a, struct http_file);
    /* A request of one line cannot have filled its arena. */
    if (out == NULL)
        abort();
    *out = (struct http_file){
        .fd = f.fd, .len = f.bytes, .etag = f.sha256, .modified_ms = f.written_ms, .may_gzip = true
    };
    c->out.status = 200;
    c->out.content_type = SV_LIT("application/fhir+ndjson");
    c->out.file = out;
    return ERR_OK;
}

/* ---- DELETE ---- */

static err_code deleted(struct rest_call *c, const struct job *j, struct err *e)
{
    c->out.status = 202;
    if (j->served) {
        struct rest_issue told = { "information", "informational",
                                   SV_LIT("The export is cancelled and its files are removed"),
                                   SV_NONE };
        return rest_outcome_write(&told, 1, &c->out.body, e);
    }
    struct json_writer w;
    json_writer_init(&w, &c->out.body);
    json_obj(&w);
    json_key(&w, "exportJobProperties");
    json_obj(&w);
    json_kv_str(&w, "jobId", j->id);
    json_kv_str(&w, "jobStatus", sv_from(job_status_name(JOB_CANCEL_SUBMITTED)));
    json_kv_str(&w, "datastoreId", j->datastore_id);
    json_obj_end(&w);
    json_obj_end(&w);
    c->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}

err_code rest_export_delete(struct rest_call *c, struct err *e)
{
    struct job j;
    struct err why = { 0 };
    TRY(find(c, &j, e));
    err_code rc = job_cancel(c->s->cfg.jobs, JOB_EXPORT, c->ds->id, c->id, &why);
    /* The job has ended: only its files can be removed. */
    if (rc == ERR_CONFLICT && j.served)
        rc = job_discard(c->s->cfg.jobs, c->ds->id, c->id, &why);
    if (rc == ERR_CONFLICT)
        return ERR(e, ERR_CONFLICT,
                   "The export has ended; only one that waits or runs can be "
                   "cancelled");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    return deleted(c, &j, e);
}

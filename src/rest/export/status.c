/* status.c - [base]/export/<jobId>: how far an export is, its manifest, its files, its end.
 *
 *                  files in S3 (HealthLake's dialect,         files served by us (Bulk Data guide)
 *                  StartFHIRExportJob)
 *   GET, running   202, X-Progress, exportJobProperties        202, X-Progress, Retry-After, or 429; with
 *                                                              allowPartialManifests the pages that
 *                                                              are full
 *   GET, done      200 exportJobProperties, output[] s3://     200 manifest, output[] http://.../files/NAME
 *   GET, failed    200 exportJobProperties with its message    500 OperationOutcome
 *   GET, cancelled 200 exportJobProperties                     404 OperationOutcome
 *   DELETE         202 exportJobProperties CANCEL_SUBMITTED,   202; the files go; 404 from then on
 *                  409 when it has ended
 *
 * The manifest is the one that the job wrote; here it gets its URLs and is divided into pages.
 * Source: FHIR Bulk Data Access, "Bulk Data Status Request", "File Request"; HealthLake's recorded
 * answers. */
#include "rest/answer_private.h"
#include "rest/export/export_private.h"
#include "rest/params_private.h"
#include "rest/rest_private.h"

#include "base/clock.h"
#include "codec/instant.h"
#include "codec/uri.h"

#define MANIFEST_MAX  (64u << 20)
#define MANIFEST_TREE (512u << 20) /* parsed */
#define PAGE_FILES    50u          /* of a manifest when the client takes partial ones */
#define RETRY_MAX     10           /* seconds */
#define PROGRESS_MAX  99u          /* "less than 100 characters" */

static bool takes_partial(const struct job *j)
{
    return j->served && j->params && j->params->partial_manifests;
}

/* ---- HealthLake's view of a job ---- */

/* "Jul 18, 2023 8:53:26 PM" */
static sv java_date(struct arena *a, int64_t ms)
{
    char day[40], tail[16];
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    (void)strftime(day, sizeof day, "%b", &tm);
    (void)strftime(tail, sizeof tail, "%M:%S %p", &tm);
    int hour = tm.tm_hour % 12 ? tm.tm_hour % 12 : 12;
    return arena_fmt(a, "%s %d, %d %d:%s", day, tm.tm_mday, tm.tm_year + 1900, hour, tail);
}

static void kv_text(struct json_writer *w, const char *name, sv text)
{
    if (text.len)
        json_kv_str(w, name, text);
}

static void write_properties(struct rest_call *c, struct json_writer *w, const struct job *j)
{
    json_key(w, "exportJobProperties");
    json_obj(w);
    json_kv_str(w, "jobId", j->id);
    kv_text(w, "jobName", j->job_name);
    json_kv_str(w, "jobStatus", sv_from(job_status_name(j->status)));
    json_kv_str(w, "submitTime", java_date(c->a, j->submit_ms));
    if (j->end_ms)
        json_kv_str(w, "endTime", java_date(c->a, j->end_ms));
    json_kv_str(w, "datastoreId", j->datastore_id);
    if (!j->served) {
        json_key(w, "outputDataConfig");
        json_obj(w);
        json_key(w, "s3Configuration");
        json_obj(w);
        json_kv_str(w, "s3Uri", j->job_folder_uri);
        json_kv_str(w, "kmsKeyId", j->kms_key_id);
        json_obj_end(w);
        json_obj_end(w);
        json_kv_str(w, "dataAccessRoleArn", j->role_arn);
    }
    kv_text(w, "message", j->message);
    json_obj_end(w);
}

/* ---- the manifest on its way out ---- */

static bool is_url(sv name)
{
    return sv_starts(name, SV_LIT("s3://"));
}

/* Entries [from, to) of output, deleted or error. */
static err_code write_files(struct rest_call *c, struct json_writer *w, const struct job *j,
                            const char *as, yyjson_val *list, size_t from, size_t to, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *file, *key;
    json_key(w, as);
    json_arr(w);
    for (size_t i = 0; (file = yyjson_arr_iter_next(&it)) != NULL && i < to; i++) {
        if (i < from)
            continue;
        arena_reset(a);
        json_obj(w);
        yyjson_obj_iter members = yyjson_obj_iter_with(file);
        while ((key = yyjson_obj_iter_next(&members)) != NULL) {
            sv name = json_string(key), text;
            yyjson_val *v = yyjson_obj_iter_get_val(key);
            json_key(w, yyjson_get_str(key));
            if (j->served && !is_url(json_string(v)) &&
                (sv_eq(name, SV_LIT("url")) || sv_eq(name, SV_LIT("continuesInFile")))) {
                CLEANUP_BUF struct buf path = BUF_INIT(4096);
                TRY(uri_encode(json_string(v), true, &path, e));
                text = arena_fmt(a, "%.*s/export/%.*s/files/%.*s", SV_FMT(c->base), SV_FMT(j->id),
                                 SV_FMT(buf_sv(&path)));
                json_str(w, text);
            } else {
                json_val(w, v);
            }
        }
        /* STU4's name for it */
        if (j->served && json_get(file, "bytes")) {
            json_key(w, "fileSize");
            json_val(w, json_get(file, "bytes"));
        }
        json_obj_end(w);
    }
    json_arr_end(w);
    return ERR_OK;
}

static bool printed_by_us(sv name)
{
    static const char *const names[] = { "transactionTime",
                                         "request",
                                         "requiresAccessToken",
                                         "output",
                                         "deleted",
                                         "error",
                                         "link",
                                         "outcome",
                                         "outputFormat",
                                         "outputOrganizedBy",
                                         "exportJobProperties" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sv_eq_cstr(name, names[i]))
            return true;
    return false;
}

struct page {
    size_t from, to; /* of output and deleted, one behind the other */
    bool next, last; /* last: of a manifest that is complete */
};

/* from, to of the two lists together -> of one that stands behind `before` others. */
static size_t within(size_t at, size_t before, size_t n)
{
    return at <= before ? 0 : at - before < n ? at - before : n;
}

static err_code write_manifest(struct rest_call *c, const struct job *j, yyjson_val *root,
                               const struct page *p, struct err *e)
{
    struct json_writer w;
    yyjson_val *output = json_get(root, "output"), *deleted = json_get(root, "deleted"), *key;
    size_t n_out = yyjson_arr_size(output), n_del = yyjson_arr_size(deleted);
    sv request =
        j->request_url.len ? j->request_url : arena_fmt(c->a, "%.*s/$export", SV_FMT(c->base));
    json_writer_init(&w, &c->out.body);
    json_obj(&w);
    if (!j->served)
        write_properties(c, &w, j);
    json_kv_str(&w, "transactionTime", json_string(json_get(root, "transactionTime")));
    json_kv_str(&w, "request", request);
    /* who has signed the status request has to sign the download too; HealthLake's own never is
     * ours to give */
    json_kv_bool(&w, "requiresAccessToken", j->served && c->caller.credential != NULL);
    if (j->served)
        json_kv_str(&w, "outputFormat", SV_LIT("application/fhir+ndjson"));
    TRY(write_files(c, &w, j, "output", output, within(p->from, 0, n_out), within(p->to, 0, n_out),
                    e));
    if (j->served || n_del)
        TRY(write_files(c, &w, j, "deleted", deleted, within(p->from, n_out, n_del),
                        within(p->to, n_out, n_del), e));
    /* known at the end only, and a page does not change */
    size_t errors = p->last ? SIZE_MAX : 0;
    TRY(write_files(c, &w, j, "error", json_get(root, "error"), 0, errors, e));
    if (j->served)
        TRY(write_files(c, &w, j, "outcome", json_get(root, "error"), 0, errors, e));
    if (p->next) {
        json_key(&w, "link");
        json_arr(&w);
        json_obj(&w);
        json_kv_str(&w, "relation", SV_LIT("next"));
        json_kv_str(&w, "url",
                    arena_fmt(c->a, "%.*s?page=%zu", SV_FMT(rest_export_url(c, j->id)),
                              p->from / PAGE_FILES + 1));
        json_obj_end(&w);
        json_arr_end(&w);
    }
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    sv organized = json_string(json_get(root, "outputOrganizedBy"));
    if (j->served && organized.len)
        json_kv_str(&w, "outputOrganizedBy", organized);
    while (j->served && p->last && (key = yyjson_obj_iter_next(&it)) != NULL)
        if (!printed_by_us(json_string(key))) {
            json_key(&w, yyjson_get_str(key));
            json_val(&w, yyjson_obj_iter_get_val(key));
        }
    json_obj_end(&w);
    c->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}

/* ---- GET ---- */

static sv http_date(struct arena *a, int64_t ms)
{
    char text[32];
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return arena_sv(a, sv_make(text, n));
}

static sv progress_of(struct rest_call *c, const struct job *j)
{
    /* clients take a number in front for a percentage */
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

/* Seconds: soon at first, then a tenth of the time it has run. */
static unsigned retry_after(const struct job *j)
{
    int64_t s = (clock_wall_ms() - j->submit_ms) / 10000;
    return s < 1 ? 1 : s > RETRY_MAX ? RETRY_MAX : (unsigned)s;
}

static err_code properties_only(struct rest_call *c, const struct job *j, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, &c->out.body);
    json_obj(&w);
    write_properties(c, &w, j);
    json_obj_end(&w);
    c->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}

static err_code no_page(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "The manifest has no such page");
}

/* Which part of the manifest is asked for. Without partial manifests there is one page, and it is
 * the whole. */
static err_code page_of(struct rest_call *c, yyjson_val *root, bool complete, bool paged,
                        struct page *out, struct err *e)
{
    size_t n =
        yyjson_arr_size(json_get(root, "output")) + yyjson_arr_size(json_get(root, "deleted"));
    sv asked = rest_param(c, "page");
    uint64_t at = 0;
    if (asked.len && (!sv_to_u64(asked, &at) || at > 1000000))
        return no_page(e);
    if (!paged) {
        *out = (struct page){ 0, SIZE_MAX, false, true };
        return at ? no_page(e) : ERR_OK;
    }
    out->from = (size_t)at * PAGE_FILES;
    out->to = out->from + PAGE_FILES;
    if (at && out->from >= n)
        return no_page(e);
    out->next = complete ? out->to < n : out->to + PAGE_FILES <= n;
    out->last = complete && !out->next;
    /* not yet: it would change */
    if (!complete && out->to > n)
        return no_page(e);
    return ERR_OK;
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
    return j->served ? ERR_OK : properties_only(c, j, e);
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
    struct page p = { 0 };
    bool complete = true;
    err_code rc =
        job_export_manifest(c->s->cfg.jobs, j->datastore_id, j->id, &text, &complete, &why);
    if (rc == ERR_CONFLICT)
        return running(c, j, e);
    if (rc == ERR_GONE)
        return gone(e);
    /* someone took it away from the bucket: the job is told all the same */
    if (rc != ERR_OK && !j->served)
        return properties_only(c, j, e);
    if (rc != ERR_OK) {
        *e = why;
        return rc;
    }
    TRY(json_read(a, buf_sv(&text), 64, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!complete) {
        TRY(running(c, j, e));
        size_t n =
            yyjson_arr_size(json_get(root, "output")) + yyjson_arr_size(json_get(root, "deleted"));
        /* a page that was shown never changes: only full ones are */
        if (n < PAGE_FILES)
            return ERR_OK;
    } else if (j->expires_ms) {
        rest_header(c, "Expires", http_date(c->a, j->expires_ms));
    }
    TRY(page_of(c, root, complete, takes_partial(j), &p, e));
    return write_manifest(c, j, root, &p, e);
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
    return j.served ? failed(c, &j, e) : properties_only(c, &j, e);
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
    /* a request of one line cannot have filled its arena */
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
    /* it has ended: what is left are its files */
    if (rc == ERR_CONFLICT && j.served)
        rc = job_discard(c->s->cfg.jobs, c->ds->id, c->id, &why);
    if (rc == ERR_CONFLICT)
        return ERR(e, ERR_CONFLICT,
                   "The export has ended; only one that waits or runs can be "
                   "cancelled");
    if (rc != ERR_OK) {
        *e = why;
        return rc;
    }
    return deleted(c, &j, e);
}

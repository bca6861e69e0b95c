/* manifest.c - the manifest that a job wrote, on its way out: names of files become URLs, and a
 * client that takes partial manifests gets it page by page.
 *
 * A page has PAGE_FILES entries of output and deleted, one list behind the other. A page that was
 * shown never changes, so only full ones are shown while the export runs. What went wrong (error)
 * is known at the end only, and stands on the last page.
 * Source: FHIR Bulk Data Access, "Response - Complete Status"; HealthLake's recorded answers. */
#include "rest/export/status_private.h"
#include "rest/params_private.h"

#include "codec/uri.h"

static bool is_url(sv name)
{
    return sv_starts(name, SV_LIT("s3://"));
}

/* Write the entries [from, to) of output, deleted or error. */
static err_code write_files(struct rest_call *call, struct json_writer *w, const struct job *job,
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
            if (job->served && !is_url(json_string(v)) &&
                (sv_eq(name, SV_LIT("url")) || sv_eq(name, SV_LIT("continuesInFile")))) {
                CLEANUP_BUF struct buf path = BUF_INIT(4096);
                TRY(uri_encode(json_string(v), true, &path, e));
                text = arena_fmt(a, "%.*s/export/%.*s/files/%.*s", SV_FMT(call->base),
                                 SV_FMT(job->id), SV_FMT(buf_sv(&path)));
                json_str(w, text);
            } else {
                json_val(w, v);
            }
        }
        /* STU4 names it so. */
        if (job->served && json_get(file, "bytes")) {
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

/* An index into both lists together becomes one into a list of n that has `before` others in
 * front. */
static size_t within(size_t at, size_t before, size_t n)
{
    return at <= before ? 0 : at - before < n ? at - before : n;
}

err_code rest_export_manifest_write(struct rest_call *call, const struct job *job, yyjson_val *root,
                                    const struct rest_export_page *p, struct err *e)
{
    struct json_writer w;
    yyjson_val *output = json_get(root, "output"), *deleted = json_get(root, "deleted"), *key;
    size_t n_out = yyjson_arr_size(output), n_del = yyjson_arr_size(deleted);
    sv request = job->request_url.len ? job->request_url
                                      : arena_fmt(call->a, "%.*s/$export", SV_FMT(call->base));
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    if (!job->served)
        rest_export_properties_write(call, &w, job);
    json_kv_str(&w, "transactionTime", json_string(json_get(root, "transactionTime")));
    json_kv_str(&w, "request", request);
    /* Whoever had to sign the status request has to sign the download too. Files in S3 are not ours
     * to give. */
    json_kv_bool(&w, "requiresAccessToken", job->served && call->caller.credential != NULL);
    if (job->served)
        json_kv_str(&w, "outputFormat", SV_LIT("application/fhir+ndjson"));
    TRY(write_files(call, &w, job, "output", output, within(p->from, 0, n_out),
                    within(p->to, 0, n_out), e));
    if (job->served || n_del)
        TRY(write_files(call, &w, job, "deleted", deleted, within(p->from, n_out, n_del),
                        within(p->to, n_out, n_del), e));
    /* Errors are known at the end only, and a page that was shown does not change. */
    size_t errors = p->last ? SIZE_MAX : 0;
    TRY(write_files(call, &w, job, "error", json_get(root, "error"), 0, errors, e));
    if (job->served)
        TRY(write_files(call, &w, job, "outcome", json_get(root, "error"), 0, errors, e));
    if (p->next) {
        json_key(&w, "link");
        json_arr(&w);
        json_obj(&w);
        json_kv_str(&w, "relation", SV_LIT("next"));
        json_kv_str(&w, "url",
                    arena_fmt(call->a, "%.*s?page=%zu", SV_FMT(rest_export_url(call, job->id)),
                              p->from / PAGE_FILES + 1));
        json_obj_end(&w);
        json_arr_end(&w);
    }
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    sv organized = json_string(json_get(root, "outputOrganizedBy"));
    if (job->served && organized.len)
        json_kv_str(&w, "outputOrganizedBy", organized);
    while (job->served && p->last && (key = yyjson_obj_iter_next(&it)) != NULL)
        if (!printed_by_us(json_string(key))) {
            json_key(&w, yyjson_get_str(key));
            json_val(&w, yyjson_obj_iter_get_val(key));
        }
    json_obj_end(&w);
    call->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}

/* ---- pages ---- */

static err_code no_page(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "The manifest has no such page");
}

/* Without partial manifests there is one page, and it is the whole. */
err_code rest_export_page_of(struct rest_call *call, yyjson_val *root, bool complete, bool paged,
                             struct rest_export_page *out, struct err *e)
{
    size_t n =
        yyjson_arr_size(json_get(root, "output")) + yyjson_arr_size(json_get(root, "deleted"));
    sv asked = rest_param(call, "page");
    uint64_t at = 0;
    if (asked.len && (!sv_to_u64(asked, &at) || at > 1000000))
        return no_page(e);
    if (!paged) {
        *out = (struct rest_export_page){ 0, SIZE_MAX, false, true };
        return at ? no_page(e) : ERR_OK;
    }
    out->from = (size_t)at * PAGE_FILES;
    out->to = out->from + PAGE_FILES;
    if (at && out->from >= n)
        return no_page(e);
    out->next = complete ? out->to < n : out->to + PAGE_FILES <= n;
    out->last = complete && !out->next;
    /* Not yet: such a page would still change. */
    if (!complete && out->to > n)
        return no_page(e);
    return ERR_OK;
}

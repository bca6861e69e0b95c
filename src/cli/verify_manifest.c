/* verify_manifest.c - manifest.json: what an export says of itself and of each of its files. Urls
 * of files become names below the export's folder; one that would lead out of it is refused. */
#include "cli/verify_private.h"

#include "codec/instant.h"
#include "codec/uri.h"

#define MANIFEST_MAX ((size_t)1 << 30)

yyjson_val *verify_attachments(const struct verify *v)
{
    return json_get(json_get(v->manifest, "extension"), "attachmentUrls");
}

/* The name of a file below the folder: behind the job's folder in an s3:// URL, behind files/ in
 * one of a served export, or the URL itself when it is a plain name. */
static err_code name_of(struct verify *v, sv url, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf plain = BUF_INIT(4096);
    sv job = json_string(json_get(v->manifest, "jobId"));
    sv folder = arena_fmt(v->a, "/%.*s-FHIR_EXPORT-%.*s/", SV_FMT(v->datastore_id), SV_FMT(job));
    sv files = arena_fmt(v->a, "/export/%.*s/files/", SV_FMT(job));
    sv name = url;
    const char *at;
    if (folder.ptr == NULL || files.ptr == NULL)
        return arena_oom(v->a, e);
    if ((at = memmem(url.ptr, url.len, folder.ptr, folder.len)) != NULL)
        name = sv_tail(url, (size_t)(at - url.ptr) + folder.len);
    else if ((at = memmem(url.ptr, url.len, files.ptr, files.len)) != NULL)
        name = sv_tail(url, (size_t)(at - url.ptr) + files.len);
    TRY(uri_decode(name, false, &plain, e));
    *out = arena_sv(v->a, buf_sv(&plain));
    if (out->ptr == NULL)
        return arena_oom(v->a, e);
    if (out->len == 0 || out->ptr[0] == '/' || memmem(out->ptr, out->len, "..", 2) ||
        memmem(out->ptr, out->len, "://", 3) || memchr(out->ptr, 0, out->len))
        return ERR(e, ERR_INVALID, "manifest.json: a url leads out of the export's folder");
    return ERR_OK;
}

static err_code read_entry(struct verify *v, verify_role role, yyjson_val *item,
                           struct verify_file *f, struct err *e)
{
    *f = (struct verify_file){ .role = role,
                               .type = json_string(json_get(item, "type")),
                               .sha256 = json_string(json_get(item, "sha256")) };
    f->has_count = sv_to_u64(json_number(json_get(item, "count")), &f->count);
    f->has_bytes = sv_to_u64(json_number(json_get(item, "bytes")), &f->bytes);
    f->has_blocks = sv_to_u64(json_number(json_get(item, "blocks")), &f->blocks);
    sv next = json_string(json_get(item, "continuesInFile"));
    if (next.len)
        TRY(name_of(v, next, &f->continues, e));
    if (role == VERIFY_OUTPUT && f->type.len && fhir_type_find(f->type) == FHIR_TYPE_NONE)
        return ERR(e, ERR_INVALID, "manifest.json: a type is no resource type");
    return name_of(v, json_string(json_get(item, "url")), &f->name, e);
}

err_code verify_manifest_read(struct verify *v, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(MANIFEST_MAX);
    struct byte_reader r;
    yyjson_doc *doc;
    size_t n = 0;
    err_code rc = place_read(v->place, SV_LIT("manifest.json"), &r, e);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_NOT_FOUND,
                   "there is no manifest.json: this is not the folder of a completed export");
    TRY(rc);
    while (rc == ERR_OK) {
        rc = buf_reserve(&text, 64u << 10, e);
        if (rc == ERR_OK)
            rc = r.read(r.ctx, text.ptr + text.len, 64u << 10, &n, e);
        text.len += rc == ERR_OK ? n : 0;
    }
    if (r.close)
        r.close(r.ctx);
    if (rc != ERR_EOF)
        return rc;
    sv kept = arena_sv(v->a, buf_sv(&text));
    if (kept.ptr == NULL)
        return arena_oom(v->a, e);
    if (json_read(v->a, kept, EXPORT_MANIFEST_DEPTH, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_INVALID, "manifest.json is not JSON");
    v->manifest = yyjson_doc_get_root(doc);
    v->datastore_id = json_string(json_get(v->manifest, "datastoreId"));
    v->instant = json_string(json_get(v->manifest, "transactionTime"));
    int64_t ms;
    if (!yyjson_is_arr(json_get(v->manifest, "output")) || !instant_parse(v->instant, &ms))
        return ERR(e, ERR_INVALID, "manifest.json is no manifest of an export");
    /* stays 0 */
    IGNORE(!sv_to_u64(json_number(json_get(v->manifest, "asOfCommit")), &v->as_of));
    yyjson_val *urls = verify_attachments(v);
    v->urls.base = json_string(json_get(urls, "base"));
    v->urls.other = json_string(json_get(urls, "otherBase"));
    v->whole = sv_eq(json_string(json_get(v->manifest, "request")), SV_LIT("StartFHIRExportJob"));
    return ERR_OK;
}

err_code verify_manifest_files(struct verify *v, struct err *e)
{
    static const char *const roles[] = { "output", "deleted", "error" };
    size_t most = 0;
    for (size_t i = 0; i < 3; i++)
        most += yyjson_arr_size(json_get(v->manifest, roles[i]));
    v->files = arena_calloc(v->a, most + 1, sizeof *v->files);
    v->names = arena_calloc(v->a, most + 1, sizeof *v->names);
    if (v->files == NULL || v->names == NULL)
        return arena_oom(v->a, e);
    for (size_t i = 0; i < 3; i++) {
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(v->manifest, roles[i]));
        yyjson_val *item;
        while ((item = yyjson_arr_iter_next(&it)) != NULL) {
            TRY(read_entry(v, (verify_role)i, item, &v->files[v->n_files], e));
            v->names[v->n_files] = v->files[v->n_files].name;
            v->n_files++;
        }
    }
    if (v->n_files)
        qsort(v->names, v->n_files, sizeof(sv), verify_by_text);
    for (size_t i = 1; i < v->n_files; i++)
        if (sv_eq(v->names[i - 1], v->names[i]))
            verify_differs(v, "manifest: %.*s is named twice", SV_FMT(v->names[i]));
    return ERR_OK;
}

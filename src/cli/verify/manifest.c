/* manifest.c - manifest.json: what an export says of itself and of each of its files. Urls
 * of files become names below the export's folder; one that would lead out of it is refused. */
#include "cli/verify/verify_private.h"

#include "codec/instant.h"
#include "codec/uri.h"

#define MANIFEST_MAX ((size_t)1 << 30)

yyjson_val *verify_attachments(const struct verify *verify)
{
    return json_get(json_get(verify->manifest, "extension"), "attachmentUrls");
}

/* The name of a file below the folder: behind the job's folder in an s3:// URL, behind files/ in
 * one of a served export, or the URL itself when it is a plain name. */
static err_code name_of(struct verify *verify, sv url, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf plain = BUF_INIT(4096);
    sv job = json_string(json_get(verify->manifest, "jobId"));
    sv folder =
        arena_fmt(verify->a, "/%.*s-FHIR_EXPORT-%.*s/", SV_FMT(verify->datastore_id), SV_FMT(job));
    sv files = arena_fmt(verify->a, "/export/%.*s/files/", SV_FMT(job));
    sv name = url;
    const char *at;
    if (folder.ptr == NULL || files.ptr == NULL)
        return arena_oom(verify->a, e);
    if ((at = memmem(url.ptr, url.len, folder.ptr, folder.len)) != NULL)
        name = sv_tail(url, (size_t)(at - url.ptr) + folder.len);
    else if ((at = memmem(url.ptr, url.len, files.ptr, files.len)) != NULL)
        name = sv_tail(url, (size_t)(at - url.ptr) + files.len);
    TRY(uri_decode(name, false, &plain, e));
    *out = arena_sv(verify->a, buf_sv(&plain));
    if (out->ptr == NULL)
        return arena_oom(verify->a, e);
    if (out->len == 0 || out->ptr[0] == '/' || memmem(out->ptr, out->len, "..", 2) ||
        memmem(out->ptr, out->len, "://", 3) || memchr(out->ptr, 0, out->len))
        return ERR(e, ERR_INVALID, "manifest.json: a url leads out of the export's folder");
    return ERR_OK;
}

static err_code read_entry(struct verify *verify, verify_role role, yyjson_val *item,
                           struct verify_file *file, struct err *e)
{
    *file = (struct verify_file){ .role = role,
                                  .type = json_string(json_get(item, "type")),
                                  .sha256 = json_string(json_get(item, "sha256")) };
    file->has_count = sv_to_u64(json_number(json_get(item, "count")), &file->count);
    file->has_bytes = sv_to_u64(json_number(json_get(item, "bytes")), &file->bytes);
    file->has_blocks = sv_to_u64(json_number(json_get(item, "blocks")), &file->blocks);
    sv next = json_string(json_get(item, "continuesInFile"));
    if (next.len)
        TRY(name_of(verify, next, &file->continues, e));
    if (role == VERIFY_OUTPUT && file->type.len && fhir_type_find(file->type) == FHIR_TYPE_NONE)
        return ERR(e, ERR_INVALID, "manifest.json: a type is no resource type");
    return name_of(verify, json_string(json_get(item, "url")), &file->name, e);
}

err_code verify_manifest_read(struct verify *verify, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(MANIFEST_MAX);
    struct byte_reader r;
    yyjson_doc *doc;
    size_t n = 0;
    err_code rc = place_read(verify->place, SV_LIT("manifest.json"), &r, e);
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
    sv kept = arena_sv(verify->a, buf_sv(&text));
    if (kept.ptr == NULL)
        return arena_oom(verify->a, e);
    if (json_read(verify->a, kept, EXPORT_MANIFEST_DEPTH, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_INVALID, "manifest.json is not JSON");
    verify->manifest = yyjson_doc_get_root(doc);
    verify->datastore_id = json_string(json_get(verify->manifest, "datastoreId"));
    verify->instant = json_string(json_get(verify->manifest, "transactionTime"));
    int64_t ms;
    if (!yyjson_is_arr(json_get(verify->manifest, "output")) ||
        !instant_parse(verify->instant, &ms))
        return ERR(e, ERR_INVALID, "manifest.json is no manifest of an export");
    /* stays 0 */
    IGNORE(!sv_to_u64(json_number(json_get(verify->manifest, "asOfCommit")), &verify->as_of));
    yyjson_val *urls = verify_attachments(verify);
    verify->urls.base = json_string(json_get(urls, "base"));
    verify->urls.other = json_string(json_get(urls, "otherBase"));
    verify->whole =
        sv_eq(json_string(json_get(verify->manifest, "request")), SV_LIT("StartFHIRExportJob"));
    return ERR_OK;
}

err_code verify_manifest_files(struct verify *verify, struct err *e)
{
    static const char *const roles[] = { "output", "deleted", "error" };
    size_t most = 0;
    for (size_t i = 0; i < 3; i++)
        most += yyjson_arr_size(json_get(verify->manifest, roles[i]));
    verify->files = arena_calloc(verify->a, most + 1, sizeof *verify->files);
    verify->names = arena_calloc(verify->a, most + 1, sizeof *verify->names);
    if (verify->files == NULL || verify->names == NULL)
        return arena_oom(verify->a, e);
    for (size_t i = 0; i < 3; i++) {
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(verify->manifest, roles[i]));
        yyjson_val *item;
        while ((item = yyjson_arr_iter_next(&it)) != NULL) {
            TRY(read_entry(verify, (verify_role)i, item, &verify->files[verify->n_files], e));
            verify->names[verify->n_files] = verify->files[verify->n_files].name;
            verify->n_files++;
        }
    }
    if (verify->n_files)
        qsort(verify->names, verify->n_files, sizeof(sv), sv_by_bytes);
    for (size_t i = 1; i < verify->n_files; i++)
        if (sv_eq(verify->names[i - 1], verify->names[i]))
            verify_differs(verify, "manifest: %.*s is named twice", SV_FMT(verify->names[i]));
    return ERR_OK;
}

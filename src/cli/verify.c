/* verify.c - is an export what its manifest says, and is that what the store held? */
#include "cli/verify.h"

#include "cli/options.h"
#include "cli/verify_private.h"

#include "codec/instant.h"
#include "codec/uri.h"

#define MANIFEST_MAX ((size_t)1 << 30)

#define O(member) offsetof(struct verify_options, member)
static const struct cli_option table[] = {
    { "objects", "DIR", "s3:// is this folder, as for fhirlake serve", O(objects) },
    { "s3-endpoint", "URL", "s3:// is at this endpoint", O(s3_endpoint) },
    { "s3-credentials", "FILE", "keys for it, AWS shared format [AWS_* variables]",
      O(s3_credentials) },
    { "s3-addressing", "HOW", "auto, path or virtual [auto]", O(s3_addressing) },
    { "against", "URL", "compare with a running store as of the export's commit:", O(against) },
    { "full", NULL, "with --against: every resource, not a sample", O(full) },
    { "sample", "N", "with --against: how many resources to compare [200]", O(sample) },
    { "credentials", "FILE", "callers' keys for --against [AWS_* variables, ~/.aws/credentials]",
      O(to.credentials) },
    { "profile", "NAME", "section of that file [default]", O(to.profile) },
    { "region", "NAME", "to sign for [AWS_REGION, else us-east-1]", O(to.region) },
    { "quiet", NULL, "tell differences only", O(quiet) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake verify s3://BUCKET/FOLDER | DIR [options]\n\n"
        "Check an export against its manifest.json: every file is there with its count, bytes and\n"
        "SHA-256, each line is a resource of the file's type, no resource is there twice or both\n"
        "exported and deleted, nothing stands beside what is named, and sums and the digests over\n"
        "all are right. With --against, also whether that is what the store held at the export's\n"
        "instant, whatever was written since. In a served export whose urls of Attachments were "
        "made\n"
        "absolute, the files have a digest of their own, and the store's urls are made absolute\n"
        "likewise before they are compared.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs(
        "\n--against takes http://HOST:PORT or http://HOST:PORT/datastore/ID/r4.\n\n"
        "Exit status: 0 no difference, 1 differences (each told), 2 wrong usage,\n"
        "3 something cannot be read.\n\n"
        "Examples:\n"
        "  fhirlake verify export/ID-FHIR_EXPORT-JOB\n"
        "  fhirlake verify s3://output/ID-FHIR_EXPORT-JOB --objects fhirlake-data/objects \\\n"
        "      --against http://127.0.0.1:8080 --credentials fhirlake-data/credentials\n",
        f);
}

/* ---- what the rooms share ---- */

void verify_differs(struct verify *v, const char *fmt, ...)
{
    va_list ap;
    if (++v->differences > VERIFY_TOLD_MAX)
        return;
    (void)fputs("differs: ", stdout);
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)fputc('\n', stdout);
}

void verify_note(const struct verify *v, const char *fmt, ...)
{
    va_list ap;
    if (v->o.quiet)
        return;
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)fputc('\n', stdout);
}

int verify_key_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(verify_key));
}

int verify_by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

static verify_key cut(const unsigned char digest[SHA256_LEN])
{
    verify_key k;
    memcpy(k.b, digest, sizeof k.b);
    return k;
}

verify_key verify_key_of(sv type, sv id)
{
    char text[128];
    unsigned char d[SHA256_LEN];
    int n = snprintf(text, sizeof text, "%.*s/%.*s", SV_FMT(type), SV_FMT(id));
    hash_sha256_of(sv_make(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1), d);
    return cut(d);
}

bool verify_key_is_none(const verify_key *k)
{
    static const verify_key none;
    return memcmp(k, &none, sizeof none) == 0;
}

static bool is_cut(yyjson_val *resource)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(json_get(resource, "meta"), "tag"));
    yyjson_val *tag;
    while ((tag = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(json_string(json_get(tag, "code")), SV_LIT("SUBSETTED")))
            return true;
    return false;
}

static err_code write_text(yyjson_val *resource, struct buf *out, struct err *e)
{
    struct json_writer w;
    buf_clear(out);
    json_writer_init(&w, out);
    json_val(&w, resource);
    return json_writer_end(&w, e);
}

err_code verify_text_of(yyjson_val *resource, struct buf *scratch, verify_key *out, struct err *e)
{
    unsigned char d[SHA256_LEN];
    if (is_cut(resource)) {
        *out = (verify_key){ 0 };
        return ERR_OK;
    }
    TRY(write_text(resource, scratch, e));
    hash_sha256_of(buf_sv(scratch), d);
    *out = cut(d);
    return ERR_OK;
}

err_code verify_text_served(const struct verify *v, yyjson_val *resource, struct buf *scratch,
                            verify_key *out, struct err *e)
{
    unsigned char d[SHA256_LEN];
    yyjson_doc *doc;
    struct fhir_body now;
    size_t n;
    TRY(verify_text_of(resource, scratch, out, e));
    if (verify_key_is_none(out) || v->urls.base.len == 0 ||
        !fhir_attachments_may(&v->urls, buf_sv(scratch)))
        return ERR_OK;
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)2 << 30);
    CLEANUP_BUF struct buf served = BUF_INIT((size_t)2 * VERIFY_LINE_MAX);
    struct fhir_body body = { .json = buf_sv(scratch) };
    TRY(json_read(a, body.json, 512, &doc, e));
    TRY(fhir_attachments_absolute(&v->urls, &body, yyjson_doc_get_root(doc), &served, &now, &n, e));
    hash_sha256_of(buf_sv(&served), d);
    *out = cut(d);
    return ERR_OK;
}

/* ---- the manifest ---- */

yyjson_val *verify_attachments(const struct verify *v)
{
    return json_get(json_get(v->manifest, "extension"), "attachmentUrls");
}

/* The name of a file below the folder: behind the job's folder in an s3:// URL, behind files/ in one of a served
 * export, or the URL itself when it is a plain name. */
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

static err_code read_manifest(struct verify *v, struct err *e)
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
    if (json_read(v->a, kept, 64, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_INVALID, "manifest.json is not JSON");
    v->manifest = yyjson_doc_get_root(doc);
    v->datastore_id = json_string(json_get(v->manifest, "datastoreId"));
    v->instant = json_string(json_get(v->manifest, "transactionTime"));
    int64_t ms;
    if (!yyjson_is_arr(json_get(v->manifest, "output")) || !instant_parse(v->instant, &ms))
        return ERR(e, ERR_INVALID, "manifest.json is no manifest of an export");
    IGNORE(!sv_to_u64(json_number(json_get(v->manifest, "asOfCommit")), &v->as_of)); /* stays 0 */
    yyjson_val *urls = verify_attachments(v);
    v->urls.base = json_string(json_get(urls, "base"));
    v->urls.other = json_string(json_get(urls, "otherBase"));
    v->whole = sv_eq(json_string(json_get(v->manifest, "request")), SV_LIT("StartFHIRExportJob"));
    return ERR_OK;
}

static err_code read_files(struct verify *v, struct err *e)
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

/* ---- the command ---- */

static err_code run(struct verify *v, const char *target, struct err *e)
{
    uint64_t n = 200;
    if (v->o.sample && (!sv_to_u64(sv_from(v->o.sample), &n) || n > 100000))
        return ERR(e, ERR_INVALID, "--sample takes a number from 0 to 100000");
    v->max_samples = v->o.against && !v->o.full ? (size_t)n : 0;
    v->samples = arena_calloc(v->a, v->max_samples + 1, sizeof *v->samples);
    if (v->samples == NULL)
        return arena_oom(v->a, e);
    TRY(place_open(&v->o, target, &v->place, e));
    TRY(read_manifest(v, e));
    TRY(read_files(v, e));
    TRY(verify_files(v, e));
    return v->o.against ? verify_against(v, e) : ERR_OK;
}

static int verdict(const struct verify *v)
{
    if (v->differences > VERIFY_TOLD_MAX)
        (void)printf("differs: and %llu more\n",
                     (unsigned long long)(v->differences - VERIFY_TOLD_MAX));
    (void)printf("%s: %zu files, %llu resources, %llu bytes as of %.*s%s; %llu difference%s\n",
                 v->differences ? "NOT VERIFIED" : "verified", v->n_files,
                 (unsigned long long)v->resources, (unsigned long long)v->bytes, SV_FMT(v->instant),
                 v->o.against ? ", compared with the store" : "",
                 (unsigned long long)v->differences, v->differences == 1 ? "" : "s");
    return v->differences ? 1 : 0;
}

int cli_verify(int argc, char **argv)
{
    struct verify v = { .deleted = BUF_INIT((size_t)4 << 30) };
    struct err e = { 0 };
    const char *target = NULL;
    size_t n;
    bool help;
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &v.o, &target, 1, &n, &help, &e);
    if (rc == ERR_OK && !help && n == 0)
        rc = ERR(&e, ERR_INVALID,
                 "say what to verify: s3://BUCKET/FOLDER or DIR; see fhirlake "
                 "verify --help");
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake verify: %s\n", e.msg);
        return 2;
    }
    if (help) {
        usage(stdout);
        return 0;
    }
    v.a = arena_new((size_t)4 << 30);
    rc = run(&v, target, &e);
    int status = rc == ERR_OK ? verdict(&v) : 3;
    if (rc != ERR_OK)
        (void)fprintf(stderr, "fhirlake verify: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
    verify_content_end(&v);
    place_free(v.place);
    buf_done(&v.deleted);
    arena_free(v.a);
    return status;
}

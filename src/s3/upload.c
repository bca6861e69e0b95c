/* upload.c - multipart uploads.
 *
 *   begin -> part* -> complete     the object appears at complete
 *                  -> abort        the server forgets the parts
 *
 * CompleteMultipartUpload may answer 200 and then an <Error>, and an answer that got lost leaves an
 * upload that is no more: NoSuchUpload after a first attempt is checked against the object.
 * Source: Amazon S3 API Reference, "Multipart upload". */
#include "s3/s3_private.h"

#include "codec/uri.h"

#include <ctype.h>

#define UPLOAD_PARTS_MAX 10000u
#define ABORT_MS         3000u /* for the abort of one that was cancelled: a stop waits for it */

struct s3_upload {
    struct s3_client *client;
    struct arena *a;
    sv bucket, key, id; /* id: URL-encoded */
    uint64_t bytes;
    unsigned n_parts;
    /* Of each part, told when the upload begins. NONE where parts are signed: a second checksum of
     * the same bytes would say nothing more. */
    s3_checksum checksum;
    unsigned tries; /* of complete */
    struct buf xml; /* the parts so far, as complete wants them */
};

struct begun {
    struct arena *a;
    sv id;
};

static err_code find_id(void *ctx, sv path, sv text, struct err *e)
{
    struct begun *b = ctx;
    if (!sv_eq_cstr(path, "InitiateMultipartUploadResult/UploadId"))
        return ERR_OK;
    b->id = arena_sv(b->a, text);
    return b->id.ptr ? ERR_OK : arena_oom(b->a, e);
}

static err_code accept_begin(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct begun *b = ctx;
    TRY(s3_xml_parse(buf_sv(&conn->answer), find_id, b, e));
    return b->id.len ? ERR_OK : ERR(e, ERR_PEER, "an answer without an upload id");
}

err_code s3_upload_begin(struct s3_client *client, const struct s3_put *p, struct s3_upload **out,
                         struct err *e)
{
    CLEANUP(s3_upload_abort) struct s3_upload *upload = calloc(1, sizeof *upload);
    CLEANUP_BUF struct buf id = BUF_INIT(32768);
    if (upload == NULL)
        abort();
    upload->a = arena_new(64u << 10);
    upload->client = client;
    upload->checksum = s3_client_streams(client) ? S3_CHECKSUM_CRC32C : S3_CHECKSUM_NONE;
    buf_init(&upload->xml, UPLOAD_PARTS_MAX * 400u);
    upload->bucket = arena_sv(upload->a, p->bucket);
    upload->key = arena_sv(upload->a, p->key);
    struct begun b = { .a = upload->a };
    struct s3_request request = { .op = "CreateMultipartUpload",
                                  .method = "POST",
                                  .bucket = p->bucket,
                                  .key = p->key,
                                  .query = SV_LIT("uploads="),
                                  .accept = accept_begin,
                                  .accept_ctx = &b };
    s3_request_header(&request, "content-type", p->content_type);
    s3_request_header(&request, "x-amz-checksum-algorithm",
                      sv_from(s3_checksum_form(upload->checksum).algorithm));
    if (p->kms_key_id.len) {
        s3_request_header(&request, "x-amz-server-side-encryption", SV_LIT("aws:kms"));
        s3_request_header(&request, "x-amz-server-side-encryption-aws-kms-key-id", p->kms_key_id);
    }
    TRY(s3_request_run(client, &request, e));
    TRY(uri_encode(b.id, false, &id, e));
    sv kept = arena_sv(upload->a, buf_sv(&id));
    if (kept.ptr == NULL || upload->bucket.ptr == NULL || upload->key.ptr == NULL)
        return arena_oom(upload->a, e);
    upload->id = kept;
    *out = upload;
    upload = NULL;
    return ERR_OK;
}

/* A server that keeps the checksums of parts wants to hear them again at the end. */
static err_code add_checksum(struct s3_upload *upload, struct s3_conn *conn, struct err *e)
{
    struct s3_checksum_form form = s3_checksum_form(upload->checksum);
    if (upload->checksum == S3_CHECKSUM_NONE)
        return ERR_OK;
    sv said = s3_conn_header(conn, form.header);
    if (said.len == 0)
        return ERR_OK;
    for (size_t i = 0; i < said.len; i++)
        if (!isalnum((unsigned char)said.ptr[i]) && strchr("+/=", said.ptr[i]) == NULL)
            return ERR(e, ERR_PEER, "an answer whose checksum is none");
    return buf_add_fmt(&upload->xml, e, "<%s>%.*s</%s>", form.element, SV_FMT(sv_head(said, 64)),
                       form.element);
}

static err_code accept_part(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct s3_upload *upload = ctx;
    sv etag = s3_conn_header(conn, "etag");
    if (etag.len == 0 || etag.len > 200)
        return ERR(e, ERR_PEER, "an answer without an ETag");
    size_t had = upload->xml.len;
    err_code rc = buf_add_fmt(&upload->xml, e, "<Part><PartNumber>%u</PartNumber><ETag>",
                              upload->n_parts + 1);
    for (size_t i = 0; rc == ERR_OK && i < etag.len; i++) {
        char c = etag.ptr[i];
        rc = c == '"'   ? buf_add(&upload->xml, SV_LIT("&quot;"), e)
             : c == '&' ? buf_add(&upload->xml, SV_LIT("&amp;"), e)
             : c == '<' ? buf_add(&upload->xml, SV_LIT("&lt;"), e)
                        : buf_add_char(&upload->xml, c, e);
    }
    if (rc == ERR_OK)
        rc = buf_add(&upload->xml, SV_LIT("</ETag>"), e);
    if (rc == ERR_OK)
        rc = add_checksum(upload, conn, e);
    if (rc == ERR_OK)
        rc = buf_add(&upload->xml, SV_LIT("</Part>"), e);
    if (rc != ERR_OK)
        upload->xml.len = had;
    return rc;
}

err_code s3_upload_part(struct s3_upload *upload, const sv *pieces, size_t n_pieces, struct err *e)
{
    if (upload->n_parts == UPLOAD_PARTS_MAX)
        return ERR(e, ERR_TOO_LARGE, "an object has at most %u parts", UPLOAD_PARTS_MAX);
    CLEANUP_BUF struct buf query = BUF_INIT(65536);
    TRY(buf_add_fmt(&query, e, "partNumber=%u&uploadId=%.*s", upload->n_parts + 1,
                    SV_FMT(upload->id)));
    struct s3_request request = { .op = "UploadPart",
                                  .method = "PUT",
                                  .bucket = upload->bucket,
                                  .key = upload->key,
                                  .query = buf_sv(&query),
                                  .pieces = pieces,
                                  .n_pieces = n_pieces,
                                  .checksum = upload->checksum,
                                  .accept = accept_part,
                                  .accept_ctx = upload };
    TRY(s3_request_run(upload->client, &request, e));
    upload->n_parts++;
    for (size_t i = 0; i < n_pieces; i++)
        upload->bytes += pieces[i].len;
    return ERR_OK;
}

static err_code find_root(void *ctx, sv path, sv text, struct err *e)
{
    bool *done = ctx;
    (void)text;
    (void)e;
    /* some servers say ...Response */
    *done = *done || sv_eq_cstr(path, "CompleteMultipartUploadResult") ||
            sv_eq_cstr(path, "CompleteMultipartUploadResponse");
    return ERR_OK;
}

static err_code accept_complete(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct s3_upload *upload = ctx;
    char code[64];
    upload->tries++;
    if (s3_fault_code_of(conn, code)) {
        struct s3_fault f;
        s3_fault_by_code(code, 200, &f);
        return ERR(e, f.rc, "%s", f.what);
    }
    bool done = false;
    TRY(s3_xml_parse(buf_sv(&conn->answer), find_root, &done, e));
    return done ? ERR_OK : ERR(e, ERR_PEER, "an answer that completes nothing");
}

/* Is the object of this upload there? */
static bool arrived(struct s3_upload *upload)
{
    struct err e = { 0 };
    uint64_t size = 0;
    sv key;
    return s3_object_head(upload->client, upload->bucket, upload->key, upload->a, &size, &key,
                          &e) == ERR_OK &&
           size == upload->bytes;
}

err_code s3_upload_complete(struct s3_upload **up, struct err *e)
{
    struct s3_upload *u = *up;
    CLEANUP_BUF struct buf body = BUF_INIT(u->xml.max + 256);
    CLEANUP_BUF struct buf query = BUF_INIT(65536);
    TRY(buf_add(&body,
                SV_LIT("<CompleteMultipartUpload "
                       "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"),
                e));
    TRY(buf_add(&body, buf_sv(&u->xml), e));
    TRY(buf_add(&body, SV_LIT("</CompleteMultipartUpload>"), e));
    TRY(buf_add_fmt(&query, e, "uploadId=%.*s", SV_FMT(u->id)));
    struct s3_request request = { .op = "CompleteMultipartUpload",
                                  .method = "POST",
                                  .bucket = u->bucket,
                                  .key = u->key,
                                  .query = buf_sv(&query),
                                  .body = buf_sv(&body),
                                  .accept = accept_complete,
                                  .accept_ctx = u };
    s3_request_header(&request, "content-type", SV_LIT("application/xml"));
    struct err why = { 0 };
    err_code rc = s3_request_run(u->client, &request, &why);
    if (rc == ERR_NOT_FOUND && arrived(u))
        rc = ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    /* nothing to abort any more */
    u->id = SV_NONE;
    s3_upload_abort(u);
    *up = NULL;
    return ERR_OK;
}

void s3_upload_abort(struct s3_upload *upload)
{
    if (upload == NULL)
        return;
    CLEANUP_BUF struct buf query = BUF_INIT(65536);
    struct err e = { 0 };
    if (upload->id.len && buf_add_fmt(&query, &e, "uploadId=%.*s", SV_FMT(upload->id)) == ERR_OK) {
        struct s3_request request = { .op = "AbortMultipartUpload",
                                      .method = "DELETE",
                                      .bucket = upload->bucket,
                                      .key = upload->key,
                                      .query = buf_sv(&query) };
        err_code rc = s3_request_run(upload->client, &request, &e);
        if (rc == ERR_CANCELLED) {
            /* what is cancelled has left parts too, which would be paid for */
            CLEANUP(s3_client_free)
            struct s3_client *last = s3_client_last_word(upload->client, ABORT_MS);
            rc = s3_request_run(last, &request, &e);
        }
        /* best effort: a bucket's lifecycle rule is there for what stays */
        IGNORE(rc);
    }
    arena_free(upload->a);
    buf_done(&upload->xml);
    free(upload);
}

/* copy.c - CopyObject: the server makes an object of another one.
 *
 * The request names the ETag (and version) that the other must have, asks for a SHA-256 of the
 * copy, and sends what a PUT would send: content type and key. The digest in the answer must be the
 * one that is known; so nothing is read to prove it. A server that passes over the condition is
 * found out by the digest, and one that passes over the digest, or takes the request for a PUT of
 * nothing, is not believed; what stands there then is the caller's to replace, who alone knows
 * whether it is still his. An error can come inside a 200. Who asks is copies.c.
 * Source: Amazon S3 API Reference, "CopyObject". */
#include "s3/s3_private.h"

#include "codec/uri.h"

#define COPY_ATTEMPTS 2u /* whoever asks can write the object instead */

static void take_text(char *out, size_t cap, sv text)
{
    size_t n = text.len < cap ? text.len : 0;
    memcpy(out, text.ptr ? text.ptr : "", n);
    out[n] = 0;
}

static err_code read_answer(void *ctx, sv path, sv text, struct err *e)
{
    struct s3_copy_call *a = ctx;
    (void)e;
    /* some servers say ...Response */
    if (!sv_starts(path, SV_LIT("CopyObjectResult")) &&
        !sv_starts(path, SV_LIT("CopyObjectResponse")))
        return ERR_OK;
    a->is_result = true;
    if (sv_ends(path, SV_LIT("/ETag")))
        take_text(a->etag, sizeof a->etag, text);
    if (sv_ends(path, SV_LIT("/ChecksumSHA256")))
        take_text(a->sha256, sizeof a->sha256, text);
    return ERR_OK;
}

/* The digest of the copy, as the answer says it. */
static err_code check_digest(struct s3_copy_call *a, struct s3_conn *conn, struct err *e)
{
    CLEANUP_BUF struct buf want = BUF_INIT(64);
    sv said = a->sha256[0] ? sv_from(a->sha256) : s3_conn_header(conn, "x-amz-checksum-sha256");
    TRY(hash_base64(sv_make(a->copy->sha256, SHA256_LEN), &want, e));
    if (sv_eq(said, buf_sv(&want)))
        return ERR_OK;
    return said.len == 0 ? ERR(e, ERR_UNSUPPORTED, "the copy's digest was not told")
                         : ERR(e, ERR_PRECONDITION, "the copy has another digest");
}

static err_code accept_copy(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct s3_copy_call *a = ctx;
    char code[64];
    struct err why = { 0 };
    a->is_result = false;
    a->etag[0] = a->sha256[0] = 0;
    /* what is no XML tells nothing */
    IGNORE(s3_xml_parse(buf_sv(&conn->answer), read_answer, a, &why));
    if (!a->is_result && s3_fault_code_of(conn, code)) {
        struct s3_fault f;
        s3_fault_by_code(code, 200, &f);
        return ERR(e, f.rc, "%s", f.what);
    }
    if (!a->is_result)
        return ERR(e, ERR_UNSUPPORTED, "an answer that tells of no copy");
    TRY(check_digest(a, conn, e));
    s3_entity_of(conn, sv_from(a->etag), a->out);
    return ERR_OK;
}

/* bucket/key?versionId=... */
static err_code source_of(const struct s3_copy *c, struct buf *out, struct err *e)
{
    TRY(buf_add(out, c->from_bucket, e));
    TRY(buf_add_char(out, '/', e));
    TRY(uri_encode(c->from_key, true, out, e));
    if (c->from_version.len == 0)
        return ERR_OK;
    TRY(buf_add(out, SV_LIT("?versionId="), e));
    return uri_encode(c->from_version, false, out, e);
}

err_code s3_copy_call_init(struct s3_copy_call *call, const struct s3_copy *c,
                           struct s3_entity *out, struct err *e)
{
    *call = (struct s3_copy_call){ .copy = c, .out = out };
    buf_init(&call->source, 8192);
    TRY(source_of(c, &call->source, e));
    struct s3_request *request = &call->request;
    *request = (struct s3_request){ .op = "CopyObject",
                                    .method = "PUT",
                                    .bucket = c->bucket,
                                    .key = c->key,
                                    .max_attempts = COPY_ATTEMPTS,
                                    .accept = accept_copy,
                                    .accept_ctx = call };
    s3_request_header(request, "x-amz-copy-source", buf_sv(&call->source));
    s3_request_header(request, "x-amz-copy-source-if-match", c->from_etag);
    s3_request_header(request, "x-amz-checksum-algorithm", SV_LIT("SHA256"));
    s3_request_header(request, "x-amz-metadata-directive", SV_LIT("REPLACE"));
    s3_request_header(request, "content-type", c->content_type);
    if (c->kms_key_id.len) {
        s3_request_header(request, "x-amz-server-side-encryption", SV_LIT("aws:kms"));
        s3_request_header(request, "x-amz-server-side-encryption-aws-kms-key-id", c->kms_key_id);
    }
    return ERR_OK;
}

void s3_copy_call_done(struct s3_copy_call *call)
{
    buf_done(&call->source);
}

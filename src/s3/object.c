/* object.c - PutObject, HeadObject, DeleteObject, HeadBucket.
 *
 * Each is one request with its attempts (request.c). A body goes out with its SHA-256 as a
 * checksum, before it or behind it, so that S3 refuses bytes that the wire has changed.
 * Source: Amazon S3 API Reference. */
#include "s3/s3_private.h"

static void take_text(char *out, size_t cap, sv text)
{
    out[0] = 0;
    if (text.len < cap) {
        memcpy(out, text.ptr ? text.ptr : "", text.len);
        out[text.len] = 0;
    }
}

void s3_entity_of(const struct s3_conn *conn, sv etag, struct s3_entity *out)
{
    sv version = s3_conn_header(conn, "x-amz-version-id");
    take_text(out->etag, sizeof out->etag, etag);
    take_text(out->version, sizeof out->version, version);
    /* a version that is too long to be kept: the object cannot be told */
    if (version.len && out->version[0] == 0)
        out->etag[0] = 0;
}

static err_code accept_put(void *ctx, struct s3_conn *conn, struct err *e)
{
    (void)e;
    s3_entity_of(conn, s3_conn_header(conn, "etag"), ctx);
    return ERR_OK;
}

err_code s3_object_put(struct s3_client *client, const struct s3_put *p, struct err *e)
{
    /* The server checks the checksum and keeps it with the object, for readers to verify. */
    struct s3_request request = { .op = "PutObject",
                                  .method = "PUT",
                                  .bucket = p->bucket,
                                  .key = p->key,
                                  .body = p->body,
                                  .pieces = p->pieces,
                                  .n_pieces = p->n_pieces,
                                  .sha256 = p->sha256,
                                  .digest = p->digest,
                                  .checksum = S3_CHECKSUM_SHA256,
                                  .accept = p->entity ? accept_put : NULL,
                                  .accept_ctx = p->entity };
    s3_request_header(&request, "content-type", p->content_type);
    if (p->kms_key_id.len) {
        s3_request_header(&request, "x-amz-server-side-encryption", SV_LIT("aws:kms"));
        s3_request_header(&request, "x-amz-server-side-encryption-aws-kms-key-id", p->kms_key_id);
    }
    return s3_request_run(client, &request, e);
}

struct head {
    struct arena *a;
    uint64_t size;
    sv kms_key_id;
};

static err_code accept_head(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct head *h = ctx;
    if (!sv_to_u64(s3_conn_header(conn, "content-length"), &h->size))
        return ERR(e, ERR_PEER, "an answer without a length");
    sv key = s3_conn_header(conn, "x-amz-server-side-encryption-aws-kms-key-id");
    h->kms_key_id = arena_sv(h->a, key);
    return h->kms_key_id.ptr ? ERR_OK : arena_oom(h->a, e);
}

err_code s3_object_head(struct s3_client *client, sv bucket, sv key, struct arena *a,
                        uint64_t *size, sv *kms_key_id, struct err *e)
{
    struct head h = { .a = a };
    struct s3_request request = { .op = "HeadObject",
                                  .method = "HEAD",
                                  .bucket = bucket,
                                  .key = key,
                                  .accept = accept_head,
                                  .accept_ctx = &h };
    TRY(s3_request_run(client, &request, e));
    *size = h.size;
    *kms_key_id = h.kms_key_id;
    return ERR_OK;
}

err_code s3_object_delete(struct s3_client *client, sv bucket, sv key, struct err *e)
{
    struct s3_request request = {
        .op = "DeleteObject", .method = "DELETE", .bucket = bucket, .key = key
    };
    return s3_request_run(client, &request, e);
}

err_code s3_bucket_head(struct s3_client *client, sv bucket, struct err *e)
{
    struct s3_request request = { .op = "HeadBucket", .method = "HEAD", .bucket = bucket };
    struct err why = { 0 };
    err_code rc = s3_request_run(client, &request, &why);
    /* HEAD has no body, so no code: say what it means here */
    if (rc == ERR_NOT_FOUND)
        return ERR(e, rc, "S3 HeadBucket, bucket %.*s: bucket does not exist",
                   SV_FMT(sv_head(bucket, 64)));
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

/* s3_copy.c - one object of an S3 endpoint, made of an earlier one.
 *
 * The mark of an object is its ETag and, where the bucket keeps versions, its version. The endpoint
 * makes the copy if the earlier object still has them, and says its SHA-256 (s3/copy.c). It does so
 * under the role of the job that asks, which needs s3:GetObject on the earlier object, and under
 * the key of that job. */
#include "sink/sink_private.h"

#define MARK_HEAD "s3 "

void s3_mark(const struct s3_entity *entity, struct sink_mark *out)
{
    int n = snprintf(out->text, sizeof out->text, MARK_HEAD "%s %s", entity->etag, entity->version);
    out->len = entity->etag[0] ? (size_t)n : 0;
}

err_code s3_copying_new(const struct sink *sink, const struct sink_earlier *from, sv key,
                        sv content_type, struct s3_copying **out, struct err *e)
{
    CLEANUP(s3_copying_free) struct s3_copying *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->sink = sink;
    c->a = arena_new(16u << 10);
    sv mark = arena_sv(c->a, from->mark), etag;
    if (mark.ptr == NULL)
        return arena_oom(c->a, e);
    sv rest = sv_tail(mark, sizeof MARK_HEAD - 1);
    if (!sv_starts(mark, SV_LIT(MARK_HEAD)) || !sv_cut(&rest, ' ', &etag) || etag.len == 0)
        return ERR(e, ERR_PRECONDITION, "nothing tells what the earlier object was");
    memcpy(c->sha256, from->object.sha256, sizeof c->sha256);
    c->copy = (struct s3_copy){ .bucket = sink->bucket,
                                .key = arena_sv(c->a, key),
                                .from_bucket = arena_sv(c->a, from->bucket),
                                .from_key = arena_sv(c->a, from->key),
                                .from_etag = etag,
                                .from_version = rest,
                                .content_type = arena_sv(c->a, content_type),
                                .kms_key_id = sink->kms_key_id,
                                .sha256 = c->sha256 };
    if (!c->copy.key.ptr || !c->copy.from_bucket.ptr || !c->copy.from_key.ptr ||
        !c->copy.content_type.ptr)
        return arena_oom(c->a, e);
    *out = c;
    c = NULL;
    return ERR_OK;
}

void s3_copying_free(struct s3_copying *copying)
{
    if (copying == NULL)
        return;
    arena_free(copying->a);
    free(copying);
}

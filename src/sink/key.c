/* key.c - the KMS key of a place, looked at before a job exists: with the credentials of the role
 * that will write under it, so that a role learns of no key but those that KMS lets it see.
 *
 * The roles file has spoken before (sink_open), and so has who may pass the role. Under an S3
 * endpoint a data key is asked for in the context that S3 gives, the ARN of an object: key policies
 * may depend on it.
 * Source: Amazon S3 User Guide, "Encryption context" of SSE-KMS. */
#include "sink/sink_private.h"

#include "kms/kms.h"

/* arn:aws:s3:::bucket/prefix/probe, in the partition of the role */
static sv object_arn(const struct sink *sink, struct arena *a)
{
    sv partition = sv_tail(sink->who.role_arn, sizeof "arn:" - 1);
    partition = sv_head(partition, sv_find(partition, ':'));
    return arena_fmt(a, "arn:%.*s:s3:::%.*s/%.*s%s%s", SV_FMT(partition), SV_FMT(sink->bucket),
                     SV_FMT(sink->prefix), sink->prefix.len ? "/" : "", SINK_PROBE_NAME);
}

err_code sink_probe_key(struct sink *sink, struct err *e)
{
    if (!sink->world->has_kms || sink->kms_key_id.len == 0)
        return ERR_OK;
    CLEANUP(kms_close) struct kms *kms = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(16u << 10);
    struct s3_endpoint endpoint = sink->world->kms;
    struct kms_context context = { "aws:s3:arn", object_arn(sink, a) };
    if (context.value.ptr == NULL)
        return arena_oom(a, e);
    endpoint.until_us = sink->who.until_us;
    TRY(kms_open(&endpoint, sink_credentials, sink, sink->who.cancel, &kms, e));
    return kms_key_ask(kms, sink->kms_key_id, sink->s3 ? &context : NULL, "the role", e);
}

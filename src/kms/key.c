/* key.c - is a key good for data keys? It must be there, enabled, of the right kind, and whoever
 * asks must be allowed to make data keys under it.
 *
 * DescribeKey tells the first three. Whether a data key may be made is asked by a dry run of
 * GenerateDataKey, because only KMS knows the policies and grants.
 * Source: AWS KMS API Reference, DescribeKey, KeyMetadata, GenerateDataKey (DryRun). */
#include "kms/kms_private.h"

static bool is_word(sv text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!((text.ptr[i] | 0x20) >= 'a' && (text.ptr[i] | 0x20) <= 'z'))
            return false;
    return text.len > 0 && text.len <= 32;
}

static err_code check_state(sv state, struct err *e)
{
    if (sv_eq_cstr(state, "Enabled"))
        return ERR_OK;
    if (sv_eq_cstr(state, "Disabled"))
        return ERR(e, ERR_PRECONDITION, "the key is disabled");
    return ERR(e, ERR_CONFLICT, "the key cannot be used: its state is %.*s", SV_FMT(state));
}

err_code kms_read_described(void *ctx, yyjson_val *answer, struct err *e)
{
    struct kms_described *d = ctx;
    yyjson_val *key = json_get(answer, "KeyMetadata");
    sv state = json_string(json_get(key, "KeyState")),
       usage = json_string(json_get(key, "KeyUsage"));
    sv spec = json_string(json_get(key, "KeySpec")), arn = json_string(json_get(key, "Arn"));
    /* older answers have one of usage and spec */
    if (!is_word(state) || usage.len + spec.len == 0 || arn.len == 0 || arn.len > KMS_NAME_MAX)
        return ERR(e, ERR_PEER, "an answer without a key's state, usage and ARN");
    TRY(check_state(state, e));
    if ((usage.len && !sv_eq_cstr(usage, "ENCRYPT_DECRYPT")) ||
        (spec.len && !sv_eq_cstr(spec, "SYMMETRIC_DEFAULT")))
        return ERR(e, ERR_UNSUPPORTED, "the key is no symmetric key for encryption");
    d->arn = d->a ? arena_sv(d->a, arn) : SV_NONE;
    return d->a && d->arn.ptr == NULL ? arena_oom(d->a, e) : ERR_OK;
}

err_code kms_describe_key(struct kms *kms, sv key, struct arena *a, sv *arn, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(KMS_BODY_MAX);
    struct kms_described d = { .a = arn ? a : NULL };
    struct json_writer w;
    kms_body(&w, &b, "KeyId", key);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    TRY(kms_call(kms, "DescribeKey", &b, false, kms_read_described, &d, e));
    if (arn)
        *arn = d.arn;
    return ERR_OK;
}

/* kms_read_fn: the peer has made a key after all, which goes with the answer. */
static err_code read_made(void *ctx, yyjson_val *answer, struct err *e)
{
    (void)ctx;
    if (json_string(json_get(answer, "CiphertextBlob")).len == 0)
        return ERR(e, ERR_PEER, "an answer without a data key");
    return ERR_OK;
}

err_code kms_may_generate(struct kms *kms, sv key, const struct kms_context *context, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(KMS_BODY_MAX);
    struct json_writer w;
    kms_body(&w, &b, "KeyId", key);
    kms_body_context(&w, "EncryptionContext", context);
    json_kv_str(&w, "KeySpec", SV_LIT("AES_256"));
    json_kv_bool(&w, "DryRun", true);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return kms_call(kms, "GenerateDataKey", &b, true, read_made, NULL, e);
}

err_code kms_key_check(struct kms *kms, sv key, const struct kms_context *context, struct err *e)
{
    TRY(kms_describe_key(kms, key, NULL, NULL, e));
    return kms_may_generate(kms, key, context, e);
}

err_code kms_key_ask(struct kms *kms, sv key, const struct kms_context *context, const char *who,
                     struct err *e)
{
    struct err why = { 0 };
    err_code rc = kms_key_check(kms, key, context, &why);
    key = sv_head(key, 128);
    switch ((int)rc) {
    case ERR_OK:
        return ERR_OK;
    case ERR_NOT_FOUND:
        return ERR(e, ERR_INVALID, "KmsKeyId %.*s: KMS knows no such key", SV_FMT(key));
    case ERR_PRECONDITION:
        return ERR(e, ERR_INVALID, "KmsKeyId %.*s: the key is disabled", SV_FMT(key));
    case ERR_DENIED:
        return ERR(e, ERR_DENIED,
                   "KmsKeyId %.*s: %s may not use the key; it needs kms:DescribeKey and "
                   "kms:GenerateDataKey (%s)",
                   SV_FMT(key), who, why.msg);
    case ERR_CONFLICT:
    case ERR_UNSUPPORTED:
    case ERR_INVALID:
        return ERR(e, ERR_INVALID, "KmsKeyId %.*s: %s", SV_FMT(key), why.msg);
    default:
        /* a token of ours that has expired is no fault of who asks */
        return ERR(e, rc == ERR_AUTH_EXPIRED ? ERR_PEER : rc,
                   "KmsKeyId %.*s: KMS cannot be asked: %s", SV_FMT(key), why.msg);
    }
}

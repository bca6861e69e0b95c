/* call.c - an endpoint, and one call of it: TrentService, which is KMS's name in X-Amz-Target.
 *
 * A call is bounded as a whole (KMS_TOTAL_MS), because people wait for it: who starts a job, and
 * who asks a data store that is being opened. */
#include "kms/kms_private.h"

#include "codec/uri.h"

err_code kms_endpoint_check(sv url, struct err *e)
{
    struct uri_http u;
    TRY(uri_http_parse(url, &u, e));
    bool near = sv_eq_nocase(u.host, SV_LIT("localhost")) || sv_eq_cstr(u.host, "[::1]") ||
                uri_is_loopback_v4(u.host);
    if (!sv_eq_cstr(u.scheme, "https") && !near)
        return ERR(e, ERR_INVALID,
                   "a KMS endpoint beyond loopback must be https://, because keys are sent there");
    return ERR_OK;
}

static unsigned least(unsigned given, unsigned most)
{
    return given && given < most ? given : most;
}

err_code kms_open(const struct s3_endpoint *ep, s3_credentials_fn cred, void *cred_ctx,
                  const atomic_bool *cancel, struct kms **out, struct err *e)
{
    struct s3_endpoint mine = *ep;
    struct s3_client *client;
    TRY(kms_endpoint_check(ep->url, e));
    mine.max_attempts = least(ep->max_attempts, KMS_ATTEMPTS);
    mine.timeout_ms = least(ep->timeout_ms, KMS_TIMEOUT_MS);
    mine.total_ms = least(ep->total_ms, KMS_TOTAL_MS);
    TRY(s3_json_client_new(&mine, "kms", cred, cred_ctx, cancel, &client, e));
    struct kms *kms = calloc(1, sizeof *kms);
    if (kms == NULL)
        abort();
    kms->client = client;
    *out = kms;
    return ERR_OK;
}

void kms_close(struct kms *kms)
{
    if (kms == NULL)
        return;
    s3_client_free(kms->client);
    free(kms);
}

void kms_body(struct json_writer *w, struct buf *b, const char *key_member, sv key)
{
    json_writer_init(w, b);
    json_obj(w);
    json_kv_str(w, key_member, key);
}

void kms_body_context(struct json_writer *w, const char *member, const struct kms_context *context)
{
    if (context == NULL || context->name == NULL)
        return;
    json_key(w, member);
    json_obj(w);
    json_kv_str(w, context->name, context->value);
    json_obj_end(w);
}

err_code kms_call(struct kms *kms, const char *op, struct buf *b, bool dry, kms_read_fn read,
                  void *ctx, struct err *e)
{
    char target[64], code[S3_JSON_CODE_MAX];
    struct err why = { 0 };
    (void)snprintf(target, sizeof target, "TrentService.%s", op);
    struct s3_json_call call = { .op = op,
                                 .target = target,
                                 .body = buf_sv(b),
                                 .max_answer = KMS_ANSWER_MAX,
                                 .read = read,
                                 .ctx = ctx };
    err_code rc = s3_json_call(kms->client, &call, code, &why);
    if (rc == ERR_OK || (dry && strcmp(code, "DryRunOperationException") == 0))
        return ERR_OK;
    return err_pass(e, &why);
}

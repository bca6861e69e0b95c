/* kms.c - the Key Management Service that the options name, and fhirlake's own keys for it and for
 * STS. */
#include "auth/credentials.h"
#include "server/serve_private.h"

err_code own_credentials(const struct server_config *config, const char *option, struct arena *a,
                         struct s3_credentials *out, struct err *e)
{
    if (config->s3_credentials)
        return credentials_own_load(config->s3_credentials, a, &out->access_key_id,
                                    &out->secret_key, &out->session_token, e);
    credentials_own_environment(&out->access_key_id, &out->secret_key, &out->session_token);
    if (out->access_key_id.len == 0 || out->secret_key.len == 0)
        return ERR(e, ERR_INVALID,
                   "%s needs fhirlake's own keys: give --s3-credentials FILE, or "
                   "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
                   option);
    return ERR_OK;
}

/* s3_credentials_fn */
static err_code give_own(void *ctx, sv refused_key_id, struct arena *a, struct s3_credentials *out,
                         struct err *e)
{
    const struct kms_room *room = ctx;
    (void)refused_key_id;
    (void)a;
    (void)e;
    /* they outlive every call, so there is nothing to copy; and there are no others */
    *out = room->own;
    return ERR_OK;
}

err_code kms_room_open(const struct server_config *config, struct arena *a, struct kms_room *out,
                       struct err *e)
{
    struct err why = { 0 };
    if (config->kms_endpoint == NULL)
        return ERR_OK;
    TRY(own_credentials(config, "--kms-endpoint", a, &out->own, e));
    out->endpoint = (struct s3_endpoint){ .url = sv_from(config->kms_endpoint),
                                          .region = sv_from(config->region) };
    err_code rc = kms_open(&out->endpoint, give_own, out, NULL, &out->kms, &why);
    if (rc != ERR_OK)
        return ERR(e, rc, "--kms-endpoint %.200s: %.200s", config->kms_endpoint, why.msg);
    return ERR_OK;
}

void kms_room_close(struct kms_room *room)
{
    kms_close(room->kms);
}

/* kms.c - the Key Management Service that the options name, and fhirlake's own keys for it and for
 * STS. */
#include "auth/credentials.h"
#include "server/serve_private.h"
#include "sink/sink.h"

#define OWN_BYTES (1u << 20) /* a credentials file, read */

static err_code load(const char *path, struct arena *a, struct s3_credentials *out, struct err *e)
{
    err_code rc = credentials_own_load(path, a, &out->access_key_id, &out->secret_key,
                                       &out->session_token, e);
    if (rc != ERR_OK)
        err_context(e, "--s3-credentials");
    return rc;
}

static err_code read_again(void *ctx, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(OWN_BYTES);
    const struct own_keys *own = ctx;
    struct s3_credentials now = { 0 };
    TRY(load(own->path, a, &now, e));
    sink_world_set_own(own->world, &now);
    if (own->exports)
        sink_world_set_own(own->exports, &now);
    if (own->kms->own)
        s3_held_set(own->kms->own, &now);
    explicit_bzero((void *)(uintptr_t)now.secret_key.ptr, now.secret_key.len);
    LOG(LOG_INFO, "s3_credentials", LOG_STR("state", "read again"), LOG_STR("file", own->path));
    return ERR_OK;
}

err_code own_credentials(const struct server_config *config, const char *option, struct arena *a,
                         struct s3_credentials *out, struct err *e)
{
    if (config->s3_credentials)
        return load(config->s3_credentials, a, out, e);
    credentials_own_environment(&out->access_key_id, &out->secret_key, &out->session_token);
    if (out->access_key_id.len == 0 || out->secret_key.len == 0)
        return ERR(e, ERR_INVALID,
                   "%s needs fhirlake's own keys: give --s3-credentials FILE, or "
                   "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
                   option);
    return ERR_OK;
}

void own_watch(struct own_keys *own, const char *path, struct watch *watch)
{
    const struct watch_files file = { .event = "s3_credentials",
                                      .note = "the keys before stay",
                                      .paths = { path },
                                      .read = read_again,
                                      .ctx = own };
    own->path = path;
    if (path)
        watch_add(watch, &file);
}

err_code kms_room_open(const struct server_config *config, struct arena *a, struct kms_room *out,
                       struct s3_credentials *own, struct err *e)
{
    struct err why = { 0 };
    if (config->kms_endpoint == NULL)
        return ERR_OK;
    TRY(own_credentials(config, "--kms-endpoint", a, own, e));
    out->own = s3_held_new(own);
    out->endpoint = (struct s3_endpoint){ .url = sv_from(config->kms_endpoint),
                                          .region = sv_from(config->region) };
    err_code rc = kms_open(&out->endpoint, s3_held_give, out->own, NULL, &out->kms, &why);
    if (rc != ERR_OK)
        return ERR(e, rc, "--kms-endpoint %.200s: %.200s", config->kms_endpoint, why.msg);
    return ERR_OK;
}

void kms_room_close(struct kms_room *room)
{
    kms_close(room->kms);
    s3_held_free(room->own);
}

/* place.c - where backups stand, as a command line says it.
 *
 * A bucket's keys are those of whoever runs the command: a file in AWS's shared format, else the
 * environment. The file is read again when the store calls its keys expired, so that somebody who
 * renews keys can renew them under a long backup. */
#include "cli/backup/place.h"

#include "auth/credentials.h"
#include "codec/uri.h"

#include <stdlib.h>

static bool is_given(const struct cli_place *o)
{
    return o->s3_endpoint || o->s3_addressing || o->region || o->s3_credentials || o->kms_key;
}

static sv text_of(const char *name)
{
    const char *value = getenv(name);
    return value ? sv_from(value) : SV_NONE;
}

/* s3_credentials_fn */
static err_code own_keys(void *ctx, sv refused_key_id, struct arena *a, struct s3_credentials *out,
                         struct err *e)
{
    const struct cli_place *o = ctx;
    (void)refused_key_id;
    if (o->s3_credentials)
        return credentials_own_load(o->s3_credentials, a, &out->access_key_id, &out->secret_key,
                                    &out->session_token, e);
    credentials_own_environment(&out->access_key_id, &out->secret_key, &out->session_token);
    return ERR_OK;
}

static err_code check_keys(const struct cli_place *o, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct s3_credentials keys = { 0 };
    TRY(own_keys((void *)(uintptr_t)o, SV_NONE, a, &keys, e));
    if (keys.access_key_id.len == 0 || keys.secret_key.len == 0)
        return ERR(e, ERR_INVALID,
                   "s3:// needs keys: give --s3-credentials FILE, or AWS_ACCESS_KEY_ID and "
                   "AWS_SECRET_ACCESS_KEY in the environment");
    return ERR_OK;
}

static err_code addressing(const char *style, s3_addressing *out, struct err *e)
{
    *out = S3_ADDRESSING_AUTO;
    if (style == NULL || strcmp(style, "auto") == 0)
        return ERR_OK;
    *out = strcmp(style, "path") == 0 ? S3_ADDRESSING_PATH : S3_ADDRESSING_VIRTUAL;
    return *out == S3_ADDRESSING_PATH || strcmp(style, "virtual") == 0
               ? ERR_OK
               : ERR(e, ERR_INVALID, "--s3-addressing is auto, path or virtual");
}

static err_code open_bucket(const char *where, const struct cli_place *o, struct backup_place **out,
                            struct err *e)
{
    struct backup_bucket b = { .cred = own_keys, .cred_ctx = (void *)(uintptr_t)o };
    struct uri_s3 at;
    TRY(uri_s3_parse(sv_from(where), &at, e));
    if (o->s3_endpoint == NULL)
        return ERR(e, ERR_INVALID,
                   "s3:// needs --s3-endpoint URL, such as https://s3.eu-west-1.amazonaws.com");
    b.bucket = at.bucket;
    b.prefix = at.key;
    b.endpoint.url = sv_from(o->s3_endpoint);
    b.endpoint.region = o->region ? sv_from(o->region) : text_of("AWS_REGION");
    if (b.endpoint.region.len == 0)
        b.endpoint.region = SV_LIT("us-east-1");
    if (o->kms_key)
        b.kms_key_id = sv_from(o->kms_key);
    if (o->kms_key && b.kms_key_id.len == 0)
        return ERR(e, ERR_INVALID, "--kms-key is empty");
    TRY(addressing(o->s3_addressing, &b.endpoint.addressing, e));
    TRY(check_keys(o, e));
    return backup_place_bucket(&b, out, e);
}

err_code cli_place_open(const char *where, const struct cli_place *o, struct backup_place **out,
                        struct err *e)
{
    if (where[0] == 0)
        return ERR(e, ERR_INVALID, "the name of the folder is empty");
    if (strncmp(where, "s3:", 3) == 0)
        return open_bucket(where, o, out, e);
    if (is_given(o))
        return ERR(e, ERR_INVALID,
                   "%.200s is a folder: --s3-endpoint, --s3-addressing, --region, "
                   "--s3-credentials and --kms-key go with s3://bucket/prefix",
                   where);
    return backup_place_folder(where, out, e);
}

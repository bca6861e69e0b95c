/* keys.c - the options that commands have which open encrypted data stores. */
#include "cli/keys.h"

#include "auth/credentials.h"
#include "kms/keeper.h"
#include "kms/kms.h"

#include <stdlib.h>

struct cli_keyring {
    struct key_keeper *keeper; /* NULL: none */
    struct kms *kms;           /* which it borrows; NULL: none */
};

static const char *given(const char *option, const char *variable)
{
    const char *value = option ? option : getenv(variable);
    return value && value[0] ? value : NULL;
}

/* s3_credentials_fn. The environment outlives every call. */
static err_code from_environment(void *ctx, sv refused_key_id, struct arena *a,
                                 struct s3_credentials *out, struct err *e)
{
    (void)ctx;
    (void)refused_key_id;
    (void)a;
    (void)e;
    *out = (struct s3_credentials){ 0 };
    credentials_own_environment(&out->access_key_id, &out->secret_key, &out->session_token);
    return ERR_OK;
}

static err_code open_kms(const char *url, struct kms **out, struct err *e)
{
    const char *region = given(NULL, "AWS_REGION");
    const struct s3_endpoint at = { .url = sv_from(url),
                                    .region = sv_from(region ? region : "us-east-1") };
    struct err why;
    if (given(NULL, "AWS_ACCESS_KEY_ID") == NULL || given(NULL, "AWS_SECRET_ACCESS_KEY") == NULL)
        return ERR(e, ERR_INVALID,
                   "--kms-endpoint needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
                   "environment");
    err_code rc = kms_open(&at, from_environment, NULL, NULL, out, &why);
    return rc == ERR_OK ? rc : ERR(e, rc, "--kms-endpoint %.200s: %.200s", url, why.msg);
}

static err_code open_keeper(const struct cli_keys *keys, struct cli_keyring *ring, struct err *e)
{
    const char *file = given(keys->file, "FHIRLAKE_ENCRYPTION_KEY_FILE");
    const char *kms = given(keys->kms_endpoint, "FHIRLAKE_KMS_ENDPOINT");
    struct err why;
    if (file) {
        err_code rc = key_keeper_local(file, &ring->keeper, &why);
        if (rc != ERR_OK)
            return ERR(e, rc, "--encryption-key-file %.200s: %s", file, why.msg);
    }
    if (kms) {
        TRY(open_kms(kms, &ring->kms, e));
        struct key_keeper *service = kms_keeper_new(ring->kms, 0);
        service->next = ring->keeper;
        ring->keeper = service;
    }
    return ERR_OK;
}

err_code cli_keys_open(const struct cli_keys *keys, struct cli_keyring **out, struct err *e)
{
    struct cli_keyring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        abort();
    *out = ring;
    return open_keeper(keys, ring, e);
}

struct key_keeper *cli_keys_keeper(const struct cli_keyring *ring)
{
    return ring->keeper;
}

void cli_keys_close(struct cli_keyring *ring)
{
    if (ring == NULL)
        return;
    key_keeper_close(ring->keeper);
    kms_close(ring->kms);
    free(ring);
}

/* keys.c - who wraps the data keys of encrypted data stores: the file of --encryption-key-file for
 * those under fhirlake's own keys, the KMS of --kms-endpoint for those under a customer's key. */
#include "server/serve_private.h"

#include "base/log.h"
#include "kms/keeper.h"

err_code keys_open(const struct server_config *config, struct kms *kms, struct store_env *env,
                   struct key_keeper **out, struct err *e)
{
    struct err why;
    struct key_keeper *first = NULL;
    const char *file = config->encryption_key_file;
    if (file) {
        err_code rc = key_keeper_local(file, &first, &why);
        if (rc != ERR_OK)
            return ERR(e, rc, "--encryption-key-file %.200s: %s", file, why.msg);
        LOG(LOG_INFO, "encryption", LOG_STR("keys", "file"),
            LOG_STR("note",
                    "new data stores are encrypted; the system's records and objects are not"));
    }
    if (kms) {
        struct key_keeper *service = kms_keeper_new(kms, 0);
        service->next = first;
        first = service;
        LOG(LOG_INFO, "encryption", LOG_STR("keys", "kms"),
            LOG_STR("note", "new data stores under a customer's key are encrypted"));
    }
    if (first)
        store_env_keep(env, first);
    *out = first;
    return ERR_OK;
}

void keys_close(struct key_keeper *keeper)
{
    key_keeper_close(keeper);
}

/* keys.c - who wraps the data keys of encrypted data stores: the file of --encryption-key-file. */
#include "server/serve_private.h"

#include "base/log.h"
#include "store/keeper.h"

err_code keys_open(const struct server_config *config, struct store_env *env,
                   struct key_keeper **out, struct err *e)
{
    struct err why;
    const char *file = config->encryption_key_file;
    if (file == NULL)
        return ERR_OK;
    err_code rc = key_keeper_local(file, out, &why);
    if (rc != ERR_OK)
        return ERR(e, rc, "--encryption-key-file %.200s: %s", file, why.msg);
    store_env_keep(env, *out);
    LOG(LOG_INFO, "encryption", LOG_STR("keys", "file"),
        LOG_STR("note", "new data stores are encrypted; the system's records and objects are not"));
    return ERR_OK;
}

void keys_close(struct key_keeper *keeper)
{
    key_keeper_close(keeper);
}

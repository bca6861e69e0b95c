/* keys.c - the option that commands have which open encrypted data stores. */
#include "cli/keys.h"

#include <stdlib.h>

err_code cli_keys_open(const char *path, struct key_keeper **out, struct err *e)
{
    struct err why;
    const char *file = path ? path : getenv("FHIRLAKE_ENCRYPTION_KEY_FILE");
    *out = NULL;
    if (file == NULL || file[0] == 0)
        return ERR_OK;
    err_code rc = key_keeper_local(file, out, &why);
    return rc == ERR_OK ? ERR_OK : ERR(e, rc, "--" CLI_KEYS_OPTION " %.200s: %s", file, why.msg);
}

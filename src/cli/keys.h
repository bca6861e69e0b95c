/* keys.h - the keys of encrypted data stores, for commands that open them.   Floor: cli. */
#pragma once
#include "store/keeper.h"

#define CLI_KEYS_OPTION "encryption-key-file"
#define CLI_KEYS_HELP   "the keys of encrypted data stores, as of fhirlake serve"

/* path: of the option; NULL: of FHIRLAKE_ENCRYPTION_KEY_FILE, if that is set. *out: NULL when there
 * is neither. Errors of key_keeper_local(); the message names the file. */
MUST_USE err_code cli_keys_open(const char *path, struct key_keeper **out, struct err *e);

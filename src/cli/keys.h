/* keys.h - the keys of encrypted data stores, for commands that open them.   Floor: cli. */
#pragma once
#include "cli/options.h"
#include "store/keeper.h"

struct cli_keys { /* as on the command line; NULL: not given */
    const char *file, *kms_endpoint;
};
/* Rows of a table of options; `at`: of the struct cli_keys in the command's struct. */
#define CLI_KEYS_OPTIONS(at)                                                                    \
    { "encryption-key-file", "FILE", "the keys of encrypted data stores, as of fhirlake serve", \
      (at) + offsetof(struct cli_keys, file) },                                                 \
    {                                                                                           \
        "kms-endpoint", "URL",                                                                  \
            "where customers' keys are; asked with the keys of AWS_* variables",                \
            (at) + offsetof(struct cli_keys, kms_endpoint)                                      \
    }

struct cli_keyring;
/* What is not given is FHIRLAKE_ENCRYPTION_KEY_FILE and FHIRLAKE_KMS_ENDPOINT, if these are set.
 * ERR_INVALID: no keys for KMS, or an endpoint that cannot be meant; errors of key_keeper_local().
 * The message names the option. */
MUST_USE err_code cli_keys_open(const struct cli_keys *keys, struct cli_keyring **out,
                                struct err *e);
/* NULL when there are no keys. Borrowed. */
struct key_keeper *cli_keys_keeper(const struct cli_keyring *ring);
void cli_keys_close(struct cli_keyring *ring); /* NULL: nothing */
DEFINE_CLEANUP(struct cli_keyring, cli_keys_close)

/* options.h - what backup and restore are asked alike: where backups stand, and the keys of
 * encrypted data stores.   Floor: cli. */
#pragma once
#include "backup/backup.h"
#include "cli/backup/place.h"
#include "cli/keys.h"

#define BACKUPS_CACHE_BYTES ((size_t)64 << 20) /* of the data stores that are read again */

struct cli_backups {
    struct cli_place place;
    struct cli_keys keys;
};
/* Rows of a table of options; `at`: of the struct cli_backups in the command's struct. */
#define CLI_BACKUPS_OPTIONS(at)                                    \
    CLI_PLACE_OPTIONS((at) + offsetof(struct cli_backups, place)), \
        CLI_KEYS_OPTIONS((at) + offsetof(struct cli_backups, keys))
#define CLI_BACKUPS_KMS(at) CLI_PLACE_KMS((at) + offsetof(struct cli_backups, place))

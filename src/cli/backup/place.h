/* place.h - where backups stand, as a command line says it: a folder, or s3://bucket/prefix.
 * Floor: cli. */
#pragma once
#include "backup/backup.h"
#include "cli/options.h"

struct cli_place { /* NULL: not given */
    const char *s3_endpoint, *s3_addressing, *region, *s3_credentials, *kms_key;
};
/* Rows of a table of options; `at`: of the struct cli_place in the command's struct. */
#define CLI_PLACE_OPTIONS(at)                                                                  \
    { "s3-endpoint", "URL", "where s3:// is (AWS, MinIO, Ceph ...)",                           \
      (at) + offsetof(struct cli_place, s3_endpoint) },                                        \
        { "s3-addressing", "auto|path|virtual", "how a bucket stands in URLs (default: auto)", \
          (at) + offsetof(struct cli_place, s3_addressing) },                                  \
        { "region", "NAME", "to sign for (default: AWS_REGION, else us-east-1)",               \
          (at) + offsetof(struct cli_place, region) },                                         \
    {                                                                                          \
        "s3-credentials", "FILE", "keys, AWS shared format (default: AWS_* environment)",      \
            (at) + offsetof(struct cli_place, s3_credentials)                                  \
    }
#define CLI_PLACE_KMS(at)                                                               \
    {                                                                                   \
        "kms-key", "ID", "s3:// alone: objects are encrypted under this key (SSE-KMS)", \
            (at) + offsetof(struct cli_place, kms_key)                                  \
    }

/* ERR_INVALID: what is missing, or does not go together. o is borrowed until the place is freed. */
MUST_USE err_code cli_place_open(const char *where, const struct cli_place *o,
                                 struct backup_place **out, struct err *e);

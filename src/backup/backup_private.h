/* backup_private.h - what the rooms of backups share.
 *
 *   snapshot.c  a folder of links         objects.c   files by their content
 *   manifest.c  what a backup holds       put.c       a snapshot becomes a backup
 *   verify.c    are the files whole?      restore.c   a backup becomes a data folder
 *   path.c      paths, and folders by name
 * Floor: backup. */
#pragma once
#include "backup/backup.h"
#include "codec/hash.h"
#include "codec/json.h"

#include <limits.h>

#define BACKUP_ID_LEN       32u
#define BACKUP_MANIFEST_MAX ((size_t)512 << 20)

/* ---- path.c ---- */
/* ERR_INVALID: it is too long. */
MUST_USE err_code backup_path(char out[PATH_MAX], struct err *e, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Names in a folder in their order, without those that begin with a dot; owned by the arena. */
MUST_USE err_code backup_names(const char *folder, struct arena *a, sv **out, size_t *n,
                               struct err *e);

/* ---- objects.c ---- */
struct backup_file {
    uint64_t bytes;
    char sha[SHA256_HEX_LEN];
};
/* A file becomes an object, unless there is one with its content. *is_new: there was none. */
MUST_USE err_code backup_object_put(const char *target, const char *from, struct backup_file *out,
                                    bool *is_new, struct err *e);
/* An object becomes a file, on disk. ERR_CORRUPT: it is not what it was. ERR_NOT_FOUND. */
MUST_USE err_code backup_object_get(const char *target, const struct backup_file *file,
                                    const char *to, struct err *e);
/* ERR_CORRUPT, ERR_NOT_FOUND. */
MUST_USE err_code backup_object_check(const char *target, const struct backup_file *file,
                                      struct err *e);
/* What a put that was cut off left, and all objects that are not among these, sorted: n times
 * SHA256_HEX_LEN characters. */
MUST_USE err_code backup_objects_prune(const char *target, const char *shas, size_t n,
                                       struct err *e);

/* ---- manifest.c ---- */
struct backup_part {             /* a folder of the data folder */
    sv folder;                   /* "system", "stores/<id>" */
    yyjson_val *files, *content; /* arrays; content: of a data store */
    struct store_commit at;
};
/* The names of all backups, the oldest first. Owned by the arena. ERR_NOT_FOUND: there is no such
 * folder, or it is none of backups. */
MUST_USE err_code backup_manifests(const char *target, struct arena *a, sv **out, size_t *n,
                                   struct err *e);
/* A manifest's parts. ERR_CORRUPT: it is not what was written under that name. */
MUST_USE err_code backup_manifest_read(const char *target, sv name, struct arena *a,
                                       struct backup_part **out, size_t *n, struct err *e);
/* A row of part.files. name: of the file in its folder. */
MUST_USE err_code backup_file_read(yyjson_val *row, sv *name, struct backup_file *out,
                                   struct err *e);
void backup_content_write(struct json_writer *w, const struct store_sums *sums);
/* ERR_CORRUPT: a data store does not hold what its part says; the message names the type. */
MUST_USE err_code backup_content_check(const struct backup_part *part,
                                       const struct store_sums *sums, struct err *e);
/* Writes it, on disk. name: BACKUP_NAME_MAX bytes. */
MUST_USE err_code backup_manifest_write(const char *target, sv json, char *name, struct err *e);
/* Hashes of all files of all backups, sorted, each once. */
MUST_USE err_code backup_shas(const char *target, struct buf *out, uint64_t *n_backups,
                              struct err *e);

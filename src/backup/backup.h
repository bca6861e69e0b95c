/* backup.h - a data folder, copied to another place while it is used, and brought back from there.
 *
 *   place     where backups stand: a folder, or objects below a prefix of an S3 bucket
 *   snapshot  the system's records and every data store, each as of one commit, linked into a
 *             folder of the same disk
 *   put       the files of a snapshot that the place does not have yet, and a manifest
 *   verify    the place's files are those that its manifests say
 *   prune     files that no manifest names go
 *   restore   a new data folder out of a place, compared with the manifest
 *
 *   objects/<SHA-256>  a file by its content, of however many backups
 *   backups/<name>     a manifest; name: when it was written, and the begin of its own SHA-256
 *   lock               of a folder: one put at a time
 *
 * A backup is there when its manifest is, which is written last. docs/backup.md says what is not
 * in one.   Floor: backup (uses job, store, s3, fhir, codec, base). */
#pragma once
#include "s3/s3.h"
#include "store/records.h"
#include "store/registry.h"

#define BACKUP_NAME_MAX 64u

/* What the running process has of a data folder, into a new folder of the same disk. Records come
 * first: what a job has done behind them is found again when it goes on. ERR_EXISTS, ERR_CONFLICT
 * (data stores are deleted faster than they are read), ERR_IO, ERR_NO_SPACE. */
MUST_USE err_code backup_snapshot(struct records *records, struct store_registry *stores,
                                  const char *folder, struct err *e);

struct backup_place; /* one thread */
/* A folder. Nothing is touched yet; a put makes what is not there. ERR_INVALID. */
MUST_USE err_code backup_place_folder(const char *folder, struct backup_place **out, struct err *e);
struct backup_bucket {
    struct s3_endpoint endpoint;
    s3_credentials_fn cred; /* s3.h says when it is asked; any number of times */
    void *cred_ctx;         /* borrowed until the place is freed */
    sv bucket, prefix;      /* prefix: may be empty */
    sv kms_key_id;          /* of what is put: SSE-KMS; empty: no SSE headers */
};
/* Objects below a prefix of a bucket, which is there. Texts are copied. ERR_INVALID. */
MUST_USE err_code backup_place_bucket(const struct backup_bucket *b, struct backup_place **out,
                                      struct err *e);
void backup_place_free(struct backup_place *place);
DEFINE_CLEANUP(struct backup_place, backup_place_free)

struct backup_done {
    char name[BACKUP_NAME_MAX];
    uint64_t n_stores, n_resources, n_versions;
    uint64_t n_files, bytes;     /* of the backup; of verify: of all backups */
    uint64_t n_new, new_bytes;   /* of put: those that the place did not have */
    uint64_t n_read, read_bytes; /* of put: those that were read to know their hashes */
    uint64_t n_backups;          /* of verify */
    uint64_t n_wrong;            /* of verify: files that are lost or not what they were */
    /* each of these, and why; or NULL */
    void (*wrong)(void *ctx, sv sha, const struct err *why);
    void *wrong_ctx;
};
/* Of a snapshot, which nobody writes to. version: of the program. record: a file that remembers the
 * hashes of files that never change (digests.c), or NULL. A folder loses what no backup names any
 * more; a bucket loses nothing. ERR_EXISTS: another put is under way. ERR_CORRUPT, ERR_IO,
 * ERR_NO_SPACE, ERR_DENIED, and what s3.h raises: there is no new backup, and the old ones are what
 * they were. */
MUST_USE err_code backup_put(struct store_env *env, const char *snapshot,
                             struct backup_place *place, const char *version, const char *record,
                             struct backup_done *out, struct err *e);
/* All files of all backups are read, from a bucket too. ERR_NOT_FOUND: there is none; ERR_CORRUPT:
 * a manifest is not what it was; ERR_PEER, ERR_TIMEOUT: a bucket's store does not answer. What is
 * wrong with files is no failure of the call. */
MUST_USE err_code backup_verify(struct backup_place *place, struct backup_done *out, struct err *e);
/* Files that no backup names go; *n_gone of them. No put into a bucket may be under way meanwhile:
 * it would find its files gone, and fail. ERR_NOT_FOUND: there is no backup. ERR_CORRUPT: a
 * manifest is not what it was, and nothing goes. ERR_EXISTS: a put into a folder is under way. */
MUST_USE err_code backup_prune(struct backup_place *place, uint64_t *n_gone, struct err *e);
/* name: of a backup; NULL: the newest. data: nothing is there, or an empty folder. Jobs that had
 * not ended end FAILED. ERR_NOT_FOUND, ERR_EXISTS, ERR_CORRUPT (a file, or what the data stores
 * hold, is not what the manifest says), ERR_IO, ERR_NO_SPACE: there is nothing at data. */
MUST_USE err_code backup_restore(struct store_env *env, struct backup_place *place,
                                 const char *name, const char *data, struct backup_done *out,
                                 struct err *e);

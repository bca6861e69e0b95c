/* backup.h - a data folder, copied to another disk while it is used, and brought back from there.
 *
 *   snapshot  the system's records and every data store, each as of one commit, linked into a
 *             folder of the same disk
 *   put       the files of a snapshot that the target does not have yet, and a manifest
 *   verify    the target's files are those that its manifests say
 *   restore   a new data folder out of a target, compared with the manifest
 *
 *   DIR/objects/<SHA-256>  a file by its content, of however many backups
 *   DIR/backups/<name>     a manifest; name: when it was written, and the begin of its own
 *                         SHA-256
 *   DIR/lock               one put at a time
 *
 * A backup is there when its manifest is, which is written last. docs/backup.md says what is not
 * in one.   Floor: backup (uses job, store, fhir, codec, base). */
#pragma once
#include "store/records.h"
#include "store/registry.h"

#define BACKUP_NAME_MAX 64u

/* What the running process has of a data folder, into a new folder of the same disk. Records come
 * first: what a job has done behind them is found again when it goes on. ERR_EXISTS, ERR_CONFLICT
 * (data stores are deleted faster than they are read), ERR_IO, ERR_NO_SPACE. */
MUST_USE err_code backup_snapshot(struct records *records, struct store_registry *stores,
                                  const char *folder, struct err *e);

struct backup_done {
    char name[BACKUP_NAME_MAX];
    uint64_t n_stores, n_resources, n_versions;
    uint64_t n_files, bytes;          /* of the backup; of verify: of all backups */
    uint64_t n_new, new_bytes;        /* of put: those that the target did not have */
    uint64_t n_backups;               /* of verify */
    uint64_t n_wrong;                 /* of verify: files that are lost or not what they were */
    void (*wrong)(void *ctx, sv sha); /* each of these; or NULL */
    void *wrong_ctx;
};
/* Of a snapshot, which nobody writes to. version: of the program. ERR_EXISTS: another put is under
 * way. ERR_CORRUPT, ERR_IO, ERR_NO_SPACE, ERR_DENIED: there is no new backup, and the old ones are
 * what they were. */
MUST_USE err_code backup_put(struct store_env *env, const char *snapshot, const char *target,
                             const char *version, struct backup_done *out, struct err *e);
/* All files of all backups are read. ERR_NOT_FOUND: there is none; ERR_CORRUPT: a manifest is not
 * what it was. What is wrong with files is no failure of the call. */
MUST_USE err_code backup_verify(const char *target, struct backup_done *out, struct err *e);
/* name: of a backup; NULL: the newest. data: nothing is there, or an empty folder. Jobs that had
 * not ended end FAILED. ERR_NOT_FOUND, ERR_EXISTS, ERR_CORRUPT (a file, or what the data stores
 * hold, is not what the manifest says), ERR_IO, ERR_NO_SPACE: there is nothing at data. */
MUST_USE err_code backup_restore(struct store_env *env, const char *target, const char *name,
                                 const char *data, struct backup_done *out, struct err *e);

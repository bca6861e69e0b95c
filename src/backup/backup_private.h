/* backup_private.h - what the rooms of backups share.
 *
 *   folder.c    a place that is a folder       snapshot.c  a folder of links
 *   bucket.c    a place in an S3 bucket        put.c       a snapshot becomes a backup
 *   objects.c   files by their content         verify.c    are the files whole?
 *   manifest.c  what a backup holds            restore.c   a backup becomes a data folder
 *   digests.c   hashes of files that never change
 *   path.c      paths, and folders by name
 * Floor: backup. */
#pragma once
#include "backup/backup.h"
#include "codec/hash.h"
#include "codec/json.h"

#include <limits.h>
#include <sys/stat.h>

#define BACKUP_ID_LEN       32u
#define BACKUP_MANIFEST_MAX ((size_t)512 << 20)

struct backup_file {
    uint64_t bytes;
    char sha[SHA256_HEX_LEN];
};

/* ---- a place (folder.c, bucket.c) ---- */
struct backup_place_ops {
    /* Of what stands in backups/, in their order; owned by the arena. */
    err_code (*names)(struct backup_place *, struct arena *, sv **out, size_t *n, struct err *);
    err_code (*read_manifest)(struct backup_place *, sv name, struct buf *out, struct err *);
    /* It appears whole, or not at all. */
    err_code (*write_manifest)(struct backup_place *, sv name, sv json, struct err *);
    /* A put or a prune begins: alone, and with what is there known. ERR_EXISTS. */
    err_code (*begin)(struct backup_place *, struct err *);
    void (*end)(struct backup_place *);
    /* Is there an object of this name and size? After begin. */
    bool (*has)(struct backup_place *, const struct backup_file *);
    /* All that fd has, from its begin. ERR_IO: it is not what `want` says, and nothing was put. */
    err_code (*put)(struct backup_place *, int fd, const struct backup_file *want, struct err *);
    /* What was put stays; has() says from now on what is there now. */
    err_code (*settle)(struct backup_place *, struct err *);
    err_code (*open)(struct backup_place *, const char *sha, struct byte_reader *out, struct err *);
    /* All but these go, and what a put that was cut off left. Sorted: n times SHA256_HEX_LEN
     * characters. After begin. */
    err_code (*prune)(struct backup_place *, const char *shas, size_t n, uint64_t *n_gone,
                      struct err *);
    void (*free)(struct backup_place *);
    bool is_alone; /* between begin and end nobody else puts or prunes there */
};
struct backup_place { /* the first member of each kind's own */
    const struct backup_place_ops *ops;
};
/* Of sorted shas, as prune has them. */
bool backup_sha_among(const char *shas, size_t n, const char *sha);

/* ---- path.c ---- */
/* ERR_INVALID: it is too long. */
MUST_USE err_code backup_path(char out[PATH_MAX], struct err *e, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Names in a folder in their order, without those that begin with a dot; owned by the arena. */
MUST_USE err_code backup_names(const char *folder, struct arena *a, sv **out, size_t *n,
                               struct err *e);

/* ---- objects.c ---- */
/* Of an open file, from where it stands; its close closes fd. */
struct byte_reader backup_fd_reader(int fd);
/* All of an open file, from its begin, hashed, and written to `to` unless that is -1. */
MUST_USE err_code backup_hash_fd(int fd, int to, struct backup_file *out, struct err *e);
static inline bool backup_file_same(const struct backup_file *a, const struct backup_file *b)
{
    return a->bytes == b->bytes && memcmp(a->sha, b->sha, sizeof a->sha) == 0;
}
/* An object becomes a new file, on disk. ERR_CORRUPT: it is not what it was. ERR_NOT_FOUND. */
MUST_USE err_code backup_object_get(struct backup_place *place, const struct backup_file *file,
                                    const char *to, struct err *e);
/* *bytes: its size. ERR_CORRUPT, ERR_NOT_FOUND. */
MUST_USE err_code backup_object_check(struct backup_place *place, const char *sha, uint64_t *bytes,
                                      struct err *e);

/* ---- digests.c ---- */
struct backup_digests;
/* The record in a file; an empty one where there is none, or none that can be read. path: NULL:
 * nothing is remembered. */
struct backup_digests *backup_digests_open(const char *path);
void backup_digests_free(struct backup_digests *d);
DEFINE_CLEANUP(struct backup_digests, backup_digests_free)
/* Is the hash of this open file, which never changes, known? */
bool backup_digests_find(struct backup_digests *d, int fd, struct backup_file *out);
/* It is now. */
void backup_digests_note(struct backup_digests *d, int fd, const struct backup_file *file);
/* Writes down what was found or noted since the opening, and nothing else. */
MUST_USE err_code backup_digests_save(const struct backup_digests *d, struct err *e);

/* ---- manifest.c ---- */
struct backup_part {             /* a folder of the data folder */
    sv folder;                   /* "system", "stores/<id>" */
    yyjson_val *files, *content; /* arrays; content: of a data store */
    struct store_commit at;
};
/* Is this the name of a backup, exactly as they are made? What else somebody puts there is none of
 * ours, and a key in a bucket may hold any byte. */
bool backup_is_manifest(sv name);
/* The names of all backups, the oldest first. Owned by the arena. ERR_NOT_FOUND: there is no such
 * folder, or it is none of backups. */
MUST_USE err_code backup_manifests(struct backup_place *place, struct arena *a, sv **out, size_t *n,
                                   struct err *e);
/* A manifest's parts. ERR_CORRUPT: it is not what was written under that name. */
MUST_USE err_code backup_manifest_read(struct backup_place *place, sv name, struct arena *a,
                                       struct backup_part **out, size_t *n, struct err *e);
/* A row of part.files. name: of the file in its folder. */
MUST_USE err_code backup_file_read(yyjson_val *row, sv *name, struct backup_file *out,
                                   struct err *e);
void backup_content_write(struct json_writer *w, const struct store_sums *sums);
/* ERR_CORRUPT: a data store does not hold what its part says; the message names the type. */
MUST_USE err_code backup_content_check(const struct backup_part *part,
                                       const struct store_sums *sums, struct err *e);
/* Writes it, on disk. name: BACKUP_NAME_MAX bytes. */
MUST_USE err_code backup_manifest_write(struct backup_place *place, sv json, char *name,
                                        struct err *e);
/* Hashes of all files of all backups, sorted, each once. */
MUST_USE err_code backup_shas(struct backup_place *place, struct buf *out, uint64_t *n_backups,
                              struct err *e);

/* ---- verify.c ---- */
/* backup_prune() between begin and end. */
MUST_USE err_code backup_prune_rest(struct backup_place *place, uint64_t *n_gone, struct err *e);

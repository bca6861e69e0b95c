/* sink_private.h - what the rooms of sink/ share.
 *
 *   world.c    configuration, opening a place under a role
 *   roles.c    the roles file
 *   key.c      a place's KMS key, looked at
 *   assume.c   credentials of assumed roles, kept and renewed
 *   dir.c      the directory store: buckets, walking keys, reading
 *   dir_list.c what stands below a prefix of it
 *   dir_file.c one file of it, written
 *   dir_copy.c one file of it, made of an earlier one
 *   dir_bytes.c  ... how its bytes come there
 *   s3_file.c  one object of an S3 endpoint, written
 *   s3_copy.c  one object of it, made of an earlier one
 *   sending.c  objects on their way to an S3 endpoint while their writer goes on
 *   sink.c     the calls of sink.h over either                                                  */
#pragma once
#include "codec/hash.h"
#include "sink/sink.h"

#include <pthread.h>
#include <sys/stat.h>

#define SINK_TEMP_PREFIX    ".fhirlake-tmp-"
#define SINK_PROBE_NAME     ".healthlake_write_access_check_file.temp"
#define SINK_KEY_MAX        1024u
#define SINK_S3_PART_BYTES  (16u << 20)
#define SINK_S3_PART_MIN    (5u << 20) /* S3's own floor for all parts but the last */
#define SINK_ROLES_FILE_MAX (4u << 20) /* bytes */

/* ---- roles.c ---- */
struct role {
    sv arn;
    sv *allow; /* s3://bucket/key with '*' and '?' */
    size_t n_allow;
    sv *kms_keys; /* empty: any */
    size_t n_kms_keys;
    bool has_credentials;
    struct s3_credentials cred;
};
struct roles { /* as one reading of the file gave them */
    atomic_uint n_holders;
    struct arena *arena;
    struct role *items;
    size_t n;
};
/* ERR_INVALID: what and where ("roles[1].allow[0]: ..."). */
err_code roles_load(const char *path, bool need_credentials, struct roles **out, struct err *e);
err_code roles_parse(sv text, bool need_credentials, struct roles **out, struct err *e);
struct roles *roles_hold(struct roles *r);
void roles_free(struct roles *r); /* gives up one hold; the last frees it */
DEFINE_CLEANUP(struct roles, roles_free)
const struct role *roles_find(const struct roles *r, sv arn);
bool role_arn_ok(sv arn);
bool role_may(const struct role *role, sv bucket, sv key);
/* May it touch every key below prefix ("" for the whole bucket)? */
bool role_may_below(const struct role *role, sv bucket, sv prefix);
bool role_may_use_key(const struct role *role, sv kms_key_id);

/* ---- assume.c ---- */
struct assume_cache;
struct assume_who {
    sv role_arn, session_name, source_arn, source_account;
    const atomic_bool *cancel;
    uint64_t until_us; /* as the target's */
};
/* borrowed */
struct assume_cache *assume_cache_new(const struct s3_endpoint *sts, struct s3_held *own);
void assume_cache_free(struct assume_cache *cache);
/* Before the first call: another clock than the wall's, for tests of what expires. */
void assume_cache_clock(struct assume_cache *cache, int64_t (*now_ms)(void));
/* Kept credentials while they last; others 5 minutes before they expire, or at once when the peer
 * refused the key refused_key_id as expired. Strings copied into a. */
err_code assume_cache_get(struct assume_cache *cache, const struct assume_who *who,
                          sv refused_key_id, struct arena *a, struct s3_credentials *out,
                          struct err *e);

/* ---- world.c ---- */
struct sink_world {
    struct arena *arena;
    int root_fd; /* OBJECTS, or -1 */
    bool has_s3, make_buckets, sync, links;
    bool digest_first; /* never while an object is sent: two digests side by side cost as one */
    char boot[40];     /* without sync: which start of the machine this is */
    bool has_kms;
    struct s3_endpoint s3, sts, kms;
    struct s3_held *own;
    struct assume_cache *assume; /* or NULL */
    struct {
        pthread_mutex_t lock;
        struct roles *roles; /* the newest; NULL: there is no file */
    } locked;
};
/* Memory of objects that are out, for the next ones: taking it from the system anew for each object
 * costs more than sending them. No more than was held at once; gone with the sink. */
#define SINK_BLOCK_BYTES  ((size_t)2 * SINK_WRITE_UNIT)
#define SINK_BLOCKS_SPARE 512u
struct sink_blocks {
    pthread_mutex_t lock;
    char *spare[SINK_BLOCKS_SPARE];
    unsigned n;
};
struct sink {
    struct sink_blocks *blocks;   /* of s3_file.c; NULL: directory store */
    struct sink_senders *senders; /* of sending.c; NULL: directory store */
    struct sink_world *world;
    struct arena *arena;
    sv bucket;
    sv prefix;   /* without a slash at its end; may be empty */
    bool folder; /* the URI ended in '/', so it names no object */
    bool below;  /* the role may touch all below the prefix, not only the object itself */
    sv kms_key_id;
    const struct cipher_ring *ring; /* borrowed; NULL: files are plain */
    struct roles *roles;            /* held, of which role is one */
    const struct role *role;        /* NULL: may touch everything */
    struct assume_who who;
    struct s3_client *s3; /* NULL: directory store */
};
/* s3_credentials_fn; ctx: a sink. The role's, or fhirlake's own where roles have none. */
err_code sink_credentials(void *ctx, sv refused_key_id, struct arena *a, struct s3_credentials *out,
                          struct err *e);
/* ERR_DENIED unless the role may touch this key. */
err_code sink_may(const struct sink *sink, sv key, struct err *e);
/* The same in any bucket. */
err_code sink_may_in(const struct sink *sink, sv bucket, sv key, struct err *e);

/* ---- dir.c ---- */
/* Open folder of a bucket. ERR_NOT_FOUND "bucket x does not exist" unless make. */
err_code dir_bucket_open(const struct sink_world *world, sv bucket, bool make, int *fd,
                         struct err *e);
/* ERR_INVALID for a key that the directory store cannot hold. */
err_code dir_key_check(sv key, struct err *e);
/* Open folder in which key stands; *leaf its last segment, NUL-terminated. */
err_code dir_parent_open(int bucket_fd, sv key, bool make, bool sync, int *fd, char leaf[256],
                         struct err *e);
/* The folder `name` of an open one, links not followed. ERR_NOT_FOUND unless make. */
err_code dir_step(int from, const char *name, bool make, bool sync, int *to, struct err *e);
/* The size of an object in an open folder. ERR_NOT_FOUND; ERR_DENIED: a link. */
err_code dir_stat_at(int parent, const char *leaf, uint64_t *bytes, struct err *e);
err_code dir_stat(const struct sink *sink, sv key, uint64_t *bytes, struct err *e);
/* A file that is there, open for reading, with the folder it stands in. */
err_code dir_open(const struct sink *sink, sv bucket, sv key, int *parent, char leaf[256], int *fd,
                  struct err *e);
err_code dir_delete(const struct sink *sink, sv key, struct err *e);
err_code dir_read(const struct sink *sink, sv key, uint64_t offset, struct byte_reader *out,
                  struct err *e);
/* ---- dir_list.c ---- */
err_code dir_list(const struct sink *sink, sink_list_fn each, void *ctx, struct err *e);

/* ---- dir.c ---- */
/* Remove what dead writers left in any bucket; a file that is being written is locked. */
void dir_sweep(const struct sink_world *world);

/* A file's digest, which may be ahead of what was written. */
struct sink_digest {
    struct hash_sha256 *hash;
    uint64_t bytes; /* of the object, digested */
};
/* The object's bytes [at, at + bytes.len): what is not digested yet is. */
static inline void sink_digest_add(struct sink_digest *d, uint64_t at, sv bytes)
{
    sv rest = sv_tail(bytes, d->bytes > at ? d->bytes - at : 0);
    hash_sha256_add(d->hash, rest);
    d->bytes += rest.len;
}

/* ---- dir_file.c ---- */
struct dir_file;
/* Digest what was given so far; the caller may go on in it. Borrowed. */
struct sink_digest *dir_file_digest(struct dir_file *file);
err_code dir_file_create(const struct sink *sink, sv key, struct dir_file **out, struct err *e);
err_code dir_file_write(struct dir_file *file, sv bytes, struct err *e);
/* Instead of writing: the bytes of an open file, shared with it where the file system can do that,
 * else copied by the kernel. Its digest is nobody's. ERR_UNSUPPORTED: neither goes here. */
err_code dir_file_copy(struct dir_file *file, int from, uint64_t bytes, struct err *e);
/* Instead of create: a second name of an open file, which stands as leaf in parent. Takes from. */
err_code dir_file_link(const struct sink *sink, sv key, int parent, const char *leaf, int from,
                       struct dir_file **out, struct err *e);
/* The file stays: free it with dir_file_free, which removes what was not committed. mark may be
 * NULL. */
err_code dir_file_commit(struct dir_file *file, struct sink_object *out, struct sink_mark *mark,
                         struct err *e);
void dir_file_free(struct dir_file *file);
void dir_mark(const struct sink_world *world, const struct stat *st, struct sink_mark *out);

/* ---- dir_bytes.c ---- */
#define DIR_FLUSH_BYTES (8u << 20) /* when fsync is to come: start the disk early */
/* All bytes of an open file into an empty one. ERR_UNSUPPORTED: there are fewer of them, or it does
 * not go here. */
err_code dir_bytes_copy(int from, int to, uint64_t bytes, bool sync, const atomic_bool *cancel,
                        struct err *e);

/* ---- dir_copy.c ---- */
err_code dir_copy(const struct sink *sink, const struct sink_earlier *from, sv key,
                  struct sink_mark *mark, struct err *e);

/* ---- s3_file.c ---- */
struct s3_file;
/* As dir_file_digest. NULL: it is computed while the object is sent. */
struct sink_digest *s3_file_digest(struct s3_file *file);
struct sink_blocks *sink_blocks_new(void);
void sink_blocks_free(struct sink_blocks *p);
size_t s3_file_held(const struct s3_file *file); /* bytes that wait for being sent */
err_code s3_file_create(const struct sink *sink, sv key, sv content_type, size_t max_bytes,
                        struct s3_file **out, struct err *e);
err_code s3_file_write(struct s3_file *file, sv bytes, struct err *e);
/* What it will be, once nothing more is written: its digest ends here, or when it has been sent. */
void s3_file_end(struct s3_file *file, struct sink_object *out);
/* Ends it, if s3_file_end() has not. mark may be NULL. */
err_code s3_file_commit(struct s3_file *file, struct sink_object *out, struct sink_mark *mark,
                        struct err *e);
void s3_file_free(struct s3_file *file);
err_code s3_file_put(const struct sink *sink, sv key, sv content_type, sv bytes,
                     struct sink_object *out, struct err *e);

/* ---- s3_copy.c ---- */
struct s3_copying { /* an object to be made of an earlier one */
    const struct sink *sink;
    struct arena *a;
    struct s3_copy copy;
    unsigned char sha256[SHA256_LEN];
};
void s3_mark(const struct s3_entity *entity, struct sink_mark *out);
/* ERR_PRECONDITION: the mark is none of an S3 endpoint. */
err_code s3_copying_new(const struct sink *sink, const struct sink_earlier *from, sv key,
                        sv content_type, struct s3_copying **out, struct err *e);
void s3_copying_free(struct s3_copying *copying);
DEFINE_CLEANUP(struct s3_copying, s3_copying_free)

/* ---- sending.c ---- */
/* most_bytes: so much is held at most by what is on its way, but for one object. */
#define SINK_SENDING_BYTES ((size_t)64 << 20)
struct sink_senders *sink_senders_new(size_t most_bytes);
void sink_senders_free(struct sink_senders *x); /* everything given was waited for */
/* Takes file, or copying: the other is NULL. */
struct sink_sending *sink_senders_give(struct sink_senders *x, struct s3_file *file,
                                       struct s3_copying *copying);
/* Of what needed no sending. */
struct sink_sending *sink_sending_ended(const struct sink_object *object,
                                        const struct sink_mark *mark);

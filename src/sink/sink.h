/* sink.h - s3:// as jobs see it: a place to list, read and write objects, under a role.
 *
 * Behind it stands a directory (OBJECTS/bucket/key, 0600 in 0700) or an S3 endpoint; whose
 * credentials are used and what they may touch follows from the request's DataAccessRoleArn:
 *   STS endpoint     AssumeRole with fhirlake's own credentials, kept per role and source ARN,
 *                    renewed 5 minutes before they expire, or when S3 calls them expired
 *   roles file       role ARN -> credentials and allowed s3:// prefixes (form: sink/roles.c)
 *   both             the roles file says what a role may touch, STS gives the credentials
 *   neither          directory store only: any well-formed role may touch everything
 * With a KMS endpoint, a target's key is looked at there with the role's credentials; where a role
 * has none, as over a directory, with fhirlake's own.
 * A sink never asks a store or a service anything.
 *
 * Directory buckets: a bucket is a folder; a missing one is ERR_NOT_FOUND ("bucket does not
 * exist"), never made silently - except that `make_buckets` (default on for the directory store)
 * makes it on a write, because that store has no other way to make one. Keys cannot escape their
 * bucket: "..", ".", empty segments, NUL and symbolic links are refused.
 * Floor: sink (uses s3, kms). */
#pragma once
#include "base/arena.h"
#include "codec/ndjson.h"
#include "s3/s3.h"

struct sink_world; /* the configured outside: one per process, thread-safe */
struct sink_config {
    const char *objects_dir;       /* directory store, or NULL */
    const struct s3_endpoint *s3;  /* S3 endpoint, or NULL */
    const struct s3_endpoint *sts; /* or NULL */
    const struct s3_endpoint *kms; /* or NULL: keys are named, and nobody looks at them */
    struct s3_credentials own;     /* fhirlake's own, for AssumeRole and KMS */
    const char *roles_file;        /* or NULL */
    bool make_buckets;
    bool sync; /* directory store: fsync files before commit (default true) */
    /* directory store: nobody but us changes its files, so that a copy may be a second name of the
     * same file */
    bool links;
    /* directory store: other processes write there, too; what dead writers left stays */
    bool shared;
    /* S3 endpoint: all is done with fhirlake's own credentials; roles are nobody's affair */
    bool as_own;
    bool *at_roles; /* out: whatever fails, it is the roles file; NULL: nobody asks */
};
/* ERR_INVALID names what is missing or wrong in the configuration or the roles file, and its place
 * ("roles[1].allow[0]"). Removes what writers that died left in the directory store. */
MUST_USE err_code sink_world_new(const struct sink_config *cfg, struct sink_world **out,
                                 struct err *e);
/* Reads the roles file, which the world must have, again: it counts for each sink that is opened
 * from now on. On failure the roles before stay. Errors as of the roles in sink_world_new(). */
MUST_USE err_code sink_world_read_roles(struct sink_world *world, const char *path, struct err *e);
/* Other keys of fhirlake's own: they count for each call from now on. Copied. */
void sink_world_set_own(struct sink_world *world, const struct s3_credentials *own);
void sink_world_free(struct sink_world *world);
DEFINE_CLEANUP(struct sink_world, sink_world_free)

struct sink; /* one s3://bucket/prefix under one role; thread-safe; files of it are not */
struct cipher_ring;
struct sink_target {
    sv uri; /* s3://bucket[/prefix]; names below are appended with one '/' between */
    sv role_arn;
    sv kms_key_id; /* empty for reading */
    /* for the trust policy: SourceArn = data store's ARN */
    sv account_id, source_arn, session_name;
    const atomic_bool *cancel; /* or NULL: makes waits end with ERR_CANCELLED */
    /* What has been asked of S3 makes an object whether anybody waits or not. Not NULL: after a
     * cancel the answers to that are awaited, for some seconds, until *leave is set */
    const atomic_bool *leave;
    /* of the monotonic clock: when each call of the sink has ended, whatever peers do, with
     * ERR_TIMEOUT for example; 0: nobody says. It is for sinks that ask and write little */
    uint64_t until_us;
    /* directory store: its files are encrypted (codec/crypt/cipher.h); borrowed; NULL: plain */
    const struct cipher_ring *ring;
};
/* Resolves the role. ERR_DENIED: role unknown, may not be assumed, or may not touch this place.
 * ERR_INVALID: URI or key. */
MUST_USE err_code sink_open(struct sink_world *world, const struct sink_target *t,
                            struct sink **out, struct err *e);
void sink_close(struct sink *sink);
DEFINE_CLEANUP(struct sink, sink_close)

/* Does it work, before a job exists? Writes a 0-byte ".healthlake_write_access_check_file.temp"
 * below the prefix and removes it again (not being allowed to remove is no failure). ERR_DENIED,
 * ERR_NOT_FOUND (bucket), ERR_INVALID (key), ERR_PEER/ERR_TIMEOUT. */
MUST_USE err_code sink_probe_write(struct sink *sink, struct err *e);
/* Is the target's key good? It is there, enabled, and symmetric, and the role may make data keys
 * under it. Without a KMS endpoint nobody is asked. The message begins with KmsKeyId. Errors of
 * kms_key_ask(). */
MUST_USE err_code sink_probe_key(struct sink *sink, struct err *e);
/* The same for reading: the bucket is there and may be listed, and something is below the prefix.
 * ERR_NOT_FOUND: bucket, or nothing there. */
MUST_USE err_code sink_probe_read(struct sink *sink, struct err *e);

/* ---- writing one object ---- */
/* Could an object of this name stand below the prefix? Nothing is touched and no role is asked.
 * ERR_INVALID says which limit its key would break: 1,024 bytes, and what the directory store
 * takes. */
MUST_USE err_code sink_name_check(const struct sink *sink, sv name, struct err *e);
struct sink_file; /* one thread */
struct sink_object {
    uint64_t bytes;
    unsigned char sha256[32];
};
/* name: key below the prefix. The object appears whole at commit, or not at all; one of the same
 * name is replaced. Digests are computed on the way. max_bytes bounds the buffer where the object
 * has to be sent in one piece; a larger object goes out in parts. */
MUST_USE err_code sink_file_create(struct sink *sink, sv name, sv content_type, size_t max_bytes,
                                   struct sink_file **out, struct err *e);
/* A file that stands nowhere: what is written to it is digested and counted, and no more. It ends
 * with sink_file_send(), which tells of the object that it would be; it has no mark. */
struct sink_file *sink_file_nowhere(void);
MUST_USE err_code sink_file_write(struct sink_file *file, sv bytes, struct err *e);
/* Multiples of this are written as they stand, without being gathered: what a writer of much should
 * give. */
#define SINK_WRITE_UNIT (128u << 10)
/* Digests of what f and g will be given next (x and y: the same bytes must follow), side by side:
 * one thread that writes two files pays for one digest where hash_sha256_pairs() holds. Two
 * different files. */
void sink_files_digest(struct sink_file *f, sv x, struct sink_file *g, sv y);
/* Who an object is that stands at its key: a text by which it can be told later from anything else
 * that somebody has put there or made of it. Empty: it cannot be told. */
struct sink_mark {
    size_t len;
    char text[256];
};
static inline sv sink_mark_sv(const struct sink_mark *mark)
{
    return sv_make(mark->text, mark->len);
}
/* Takes *f in any case: what fails leaves nothing behind. out may be NULL. */
MUST_USE err_code sink_file_commit(struct sink_file **f, struct sink_object *out, struct err *e);
/* Ends a file as sink_file_commit does, without waiting for a peer: the object is on its way,
 * several of a sink side by side, and *bytes says how large it is. Takes *f in any case. A writer
 * that is ahead by eight objects, or by 64 MiB, waits for one to end. The directory store has
 * committed when this returns. *sending has to be waited for before the sink is closed. */
struct sink_sending;
MUST_USE err_code sink_file_send(struct sink_file **f, uint64_t *bytes,
                                 struct sink_sending **sending, struct err *e);
bool sink_sending_is_over(const struct sink_sending *sending);
/* Waits for the end and takes *s; a file that failed left nothing behind. object and mark, or NULL:
 * what it is, and who. */
MUST_USE err_code sink_sending_wait(struct sink_sending **s, struct sink_object *object,
                                    struct sink_mark *mark, struct err *e);
/* An object made of an earlier one, if that is still who its mark says. It may be
 * on its way, as after sink_file_send(). Any failure but ERR_CANCELLED, here or in
 * sink_sending_wait(), means that the object had better be written, to the same name: there may
 * stand what the endpoint made instead, and only who writes knows that the name is still his.
 * ERR_PRECONDITION: the earlier one has changed; ERR_DENIED: the role may not read it. */
struct sink_earlier {
    sv bucket; /* empty: the sink's own */
    sv key;    /* whole key within the bucket */
    sv mark;   /* as of then */
    struct sink_object object;
};
MUST_USE err_code sink_copy_send(struct sink *sink, const struct sink_earlier *from, sv name,
                                 sv content_type, struct sink_sending **sending, struct err *e);
void sink_file_abort(struct sink_file *file);
DEFINE_CLEANUP(struct sink_file, sink_file_abort)
/* The S3 endpoint refused a body that is not signed, though it came over TLS with a checksum; so
 * bodies are signed, which costs a wait for each digest. */
bool sink_signs_after_all(const struct sink *sink);
/* an open file holds its object, up to max_bytes, in memory */
bool sink_keeps_objects(const struct sink *sink);
/* Small object in one call. */
/* out may be NULL */
MUST_USE err_code sink_put(struct sink *sink, sv name, sv content_type, sv bytes,
                           struct sink_object *out, struct err *e);
/* A local file as one object, in parts when it is large. ring: of an encrypted file; NULL: it is
 * plain. */
MUST_USE err_code sink_put_path(struct sink *sink, sv name, sv content_type, const char *path,
                                const struct cipher_ring *ring, struct sink_object *out,
                                struct err *e);
/* Nothing there is success, as on S3. Folders that become empty go too. */
MUST_USE err_code sink_delete(struct sink *sink, sv name, struct err *e);
/* ERR_NOT_FOUND when it is not there. */
MUST_USE err_code sink_stat(struct sink *sink, sv name, uint64_t *bytes, struct err *e);

/* ---- reading ---- */
/* Objects below the prefix (recursive), names relative to the bucket (whole keys), in key order; a
 * prefix that is itself an object gives that one alone. "Folder" markers (keys ending in '/') are
 * passed over. */
typedef bool (*sink_list_fn)(void *ctx, sv key, uint64_t bytes);
MUST_USE err_code sink_list(struct sink *sink, sink_list_fn each, void *ctx, struct err *e);
/* What sink_stat() would say of objects that were written, a thousand in one request, names as it
 * takes them. Only an S3 endpoint is asked: a directory tells of none here. each gives false to
 * end it. ERR_DENIED: the role may not list. */
MUST_USE err_code sink_survey(struct sink *sink, sink_list_fn each, void *ctx, struct err *e);
/* key: whole key within the bucket, as sink_list gave it. */
MUST_USE err_code sink_read(struct sink *sink, sv key, uint64_t offset, struct byte_reader *out,
                            struct err *e);
/* Likewise, of an S3 endpoint alone: at most len bytes, and which object they are of. */
MUST_USE err_code sink_read_part(struct sink *sink, sv key, uint64_t offset, uint64_t len,
                                 struct byte_reader *out, struct s3_whole *whole, struct err *e);

/* kms.h - AWS's Key Management Service as fhirlake asks it: is a key good, and data keys under it.
 *
 * A key is named by id, ARN, alias or the alias's ARN; what it may do is KMS's to say, under the
 * credentials with which it is asked. A call ends within KMS_TOTAL_MS, with at most KMS_ATTEMPTS
 * attempts: what may pass (5xx, throttling, a broken or damaged answer) is tried again with full
 * jitter. Errors of all calls; the message names the operation and KMS's code, never key material:
 *   ERR_NOT_FOUND     there is no such key                            (NotFoundException)
 *   ERR_PRECONDITION  it is disabled                                  (DisabledException)
 *   ERR_CONFLICT      its state forbids it: pending deletion, ...     (KMSInvalidStateException)
 *   ERR_UNSUPPORTED   it is no symmetric key that encrypts            (InvalidKeyUsageException)
 *   ERR_DENIED        these credentials may not                       (AccessDeniedException ...)
 *   ERR_CORRUPT       the wrapped key is damaged, of another key, or of another context
 *                     (InvalidCiphertextException, IncorrectKeyException)
 *   ERR_INVALID       any other refusal, as of a key's name that is none
 *   ERR_PEER, ERR_TIMEOUT, ERR_AUTH_EXPIRED   not to be had now: no answer about the key
 *   ERR_CANCELLED
 * Data keys are overwritten wherever we held them, but in the caller's own memory.
 * Source: AWS KMS API Reference.   Floor: kms (uses s3). */
#pragma once
#include "s3/s3.h"

#define KMS_KEY_LEN    32u   /* bytes of a data key: AES-256 */
#define KMS_BLOB_MAX   6144u /* bytes of a wrapped one */
#define KMS_NAME_MAX   2048u /* bytes of a key's name */
#define KMS_ATTEMPTS   3u
#define KMS_TIMEOUT_MS 5000u  /* without any progress */
#define KMS_TOTAL_MS   20000u /* a call, whatever happens */

struct kms; /* one endpoint under one source of credentials; thread-safe */
/* url: https://, or http:// to loopback alone, because data keys are sent there (ERR_INVALID).
 * The endpoint's limits of time are ours, but for those that are less. */
MUST_USE err_code kms_open(const struct s3_endpoint *ep, s3_credentials_fn cred, void *cred_ctx,
                           const atomic_bool *cancel, struct kms **out, struct err *e);
void kms_close(struct kms *kms);
DEFINE_CLEANUP(struct kms, kms_close)
/* What kms_open() says of an endpoint, without making one. */
MUST_USE err_code kms_endpoint_check(sv url, struct err *e);

/* What a wrapped key is bound to: without the same pair it is not unwrapped. */
struct kms_context {
    const char *name; /* NULL: bound to nothing */
    sv value;
};
/* A wrapped key, and the ARN of the key that wraps it: an alias may lead elsewhere tomorrow. */
struct kms_blob {
    size_t len;
    unsigned char bytes[KMS_BLOB_MAX];
    char key[KMS_NAME_MAX + 1];
};
static inline sv kms_blob_sv(const struct kms_blob *blob)
{
    return sv_make(blob->bytes, blob->len);
}

/* The key as DescribeKey has it: it is there, it is enabled, and it is a symmetric key for
 * encryption.
 *   arn  the arena's; NULL: nobody asks */
MUST_USE err_code kms_describe_key(struct kms *kms, sv key, struct arena *a, sv *arn,
                                   struct err *e);
/* May a data key be made under it? GenerateDataKey as a dry run; a KMS that knows no dry runs makes
 * one, which is thrown away. */
MUST_USE err_code kms_may_generate(struct kms *kms, sv key, const struct kms_context *context,
                                   struct err *e);
/* Both of these. */
MUST_USE err_code kms_key_check(struct kms *kms, sv key, const struct kms_context *context,
                                struct err *e);
/* The same in the words of a request, for who sent it; messages begin with KmsKeyId and the key.
 *   who  is asking: "the role"
 * ERR_INVALID: the key is not good. ERR_DENIED: who asks may not use it. ERR_PEER, ERR_TIMEOUT,
 * ERR_CANCELLED: KMS cannot be asked. */
MUST_USE err_code kms_key_ask(struct kms *kms, sv key, const struct kms_context *context,
                              const char *who, struct err *e);

/* A new data key, and the same wrapped. */
MUST_USE err_code kms_generate_data_key(struct kms *kms, sv key, const struct kms_context *context,
                                        unsigned char out[KMS_KEY_LEN], struct kms_blob *blob,
                                        struct err *e);
/* A data key that is there already, wrapped. */
MUST_USE err_code kms_encrypt(struct kms *kms, sv key, const struct kms_context *context,
                              const unsigned char data_key[KMS_KEY_LEN], struct kms_blob *blob,
                              struct err *e);
/* Unwraps. Under no other key than `key`. */
MUST_USE err_code kms_decrypt(struct kms *kms, sv key, const struct kms_context *context, sv blob,
                              unsigned char out[KMS_KEY_LEN], struct err *e);
/* ---- the data key of a data store ---- */
/* Bound to the data store's id (aws:healthlake:datastore-id), so that what was wrapped for one data
 * store opens no other. Errors as who keeps data stores needs them:
 *   ERR_DENIED       the key is disabled, pending deletion or gone, or we may not use it
 *   ERR_UNSUPPORTED  wrapping: there is no such key, or it is of another kind
 *   ERR_CORRUPT      unwrapping: this was not wrapped for this data store
 *   ERR_UNAVAILABLE  KMS cannot be asked now
 * used, blob: the key's ARN, and the wrapped key as text (base64); appended. */
MUST_USE err_code kms_wrap(struct kms *kms, sv key, sv datastore_id,
                           const unsigned char data_key[KMS_KEY_LEN], struct buf *used,
                           struct buf *blob, struct err *e);
/* key, blob: what kms_wrap() gave. */
MUST_USE err_code kms_unwrap(struct kms *kms, sv key, sv blob, sv datastore_id,
                             unsigned char out[KMS_KEY_LEN], struct err *e);

/* ---- is it still allowed? ---- */
/* Asks for each data store again and again whether its key may still be unwrapped.
 *
 *           yes            no              no answer for grace_s
 *   OPEN <------- any -----------> CLOSED      OPEN ----------> UNKNOWN
 *
 * "No" is an answer about the key: ERR_DENIED, ERR_UNSUPPORTED, ERR_CORRUPT, and what else is said
 * of it above. No answer (ERR_UNAVAILABLE and the rest) leaves the last one for grace_s.
 * Only OPEN lets anybody in. A key that is taken away is seen within every_s and the time of one
 * question: with KMS_WATCH_EVERY_S within a minute. A key that is given back is seen as soon. */
#define KMS_WATCH_EVERY_S 30u
#define KMS_WATCH_GRACE_S 900u
typedef enum { KMS_WATCH_OPEN, KMS_WATCH_CLOSED, KMS_WATCH_UNKNOWN } kms_watch_state;
struct kms_watch; /* thread-safe; nothing is asked or told under its lock */
struct kms_watch_config {
    unsigned every_s, grace_s; /* 0: the figures above */
    /* One question, as kms_unwrap() of what is stored for the data store. */
    err_code (*ask)(void *ctx, sv datastore_id, struct err *e);
    /* Each change of a state, once, in order, by the thread that asks; why: of the last answer.
     * NULL: nobody is told. */
    void (*told)(void *ctx, sv datastore_id, kms_watch_state state, const struct err *why);
    void *ctx;
    /* The monotonic clock in microseconds, or a test's. NULL: the clock. */
    uint64_t (*now_us)(void);
};
/* Without a thread: kms_watch_turn() is the caller's to call. */
struct kms_watch *kms_watch_new(const struct kms_watch_config *cfg);
/* A thread calls kms_watch_turn() as it falls due, until kms_watch_free(). */
void kms_watch_start(struct kms_watch *watch);
/* Waits for a question that is being asked. */
void kms_watch_free(struct kms_watch *watch);
/* From now on this one is asked for; it was just unwrapped, and is OPEN. Again: nothing new. */
void kms_watch_add(struct kms_watch *watch, sv datastore_id);
/* No longer. A question that is being asked may still be answered; nobody is told of it. */
void kms_watch_remove(struct kms_watch *watch, sv datastore_id);
/* Of one that was not added: UNKNOWN. Asks nobody. */
kms_watch_state kms_watch_of(struct kms_watch *watch, sv datastore_id);
/* Asks for all that are due. Answers in how many microseconds the next one is; 0: there is none.
 * One thread at a time. */
uint64_t kms_watch_turn(struct kms_watch *watch);

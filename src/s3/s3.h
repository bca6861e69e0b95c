/* s3.h - the S3 and STS calls fhirlake makes, and signed calls in JSON for other services of AWS,
 * over libcurl with our own SigV4.
 *
 * One s3_client per endpoint and credentials; thread-safe (a small pool of curl handles inside, so
 * connections are kept alive). Every call retries what may pass: 5xx, SlowDown, RequestTimeout,
 * 429, timeouts, resets, truncated answers; exponential backoff with full jitter, at most
 * `max_attempts`. A 4xx is final. Bodies given are memory, so a retry sends the same bytes again.
 * Errors: ERR_DENIED (403, with the S3 code in the message), ERR_NOT_FOUND (NoSuchKey,
 * NoSuchBucket: the message says which), ERR_AUTH_EXPIRED (ExpiredToken), ERR_PEER (gave up on a
 * failure that may pass), ERR_TIMEOUT, ERR_INVALID (other 4xx, e.g. a KMS key that does not exist),
 * ERR_CANCELLED. Messages hold the S3 error code and the operation, never keys, tokens or object
 * content. Source: Amazon S3 API Reference; AWS STS API Reference.   Floor: s3 (uses codec). */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "codec/json.h"
#include "codec/ndjson.h"

#include <stdatomic.h>

typedef enum { S3_ADDRESSING_AUTO, S3_ADDRESSING_PATH, S3_ADDRESSING_VIRTUAL } s3_addressing;

struct s3_endpoint {
    sv url; /* http[s]://host[:port] */
    sv region;
    /* AUTO: path for IP addresses, localhost and ports; else virtual host */
    s3_addressing addressing;
    unsigned max_attempts;       /* 0: 6 */
    unsigned timeout_ms;         /* without any progress; 0: 30000 */
    unsigned connect_timeout_ms; /* 0: 5000 */
    unsigned total_ms; /* a call with all its attempts and waits; 0: as long as they take */
    uint64_t until_us; /* of the monotonic clock: when each call has ended; 0: nobody says */
};

/* Credentials come from a function, asked before each signature (by any thread), so that they can
 * be renewed inside a long job. Strings are copied into the arena by the function. refused_key_id
 * empty, or the access key that the peer just called expired: the function has to give others, or
 * these again when it has none */
struct s3_credentials {
    sv access_key_id, secret_key, session_token;
    int64_t expires_ms; /* 0: never */
};
typedef err_code (*s3_credentials_fn)(void *ctx, sv refused_key_id, struct arena *a,
                                      struct s3_credentials *out, struct err *e);

/* A key pair that is read again while it is used; thread-safe. */
struct s3_held;
struct s3_held *s3_held_new(const struct s3_credentials *first); /* copied */
void s3_held_free(struct s3_held *held);
void s3_held_set(struct s3_held *held, const struct s3_credentials *now); /* copied */
/* s3_credentials_fn; ctx: one that is held. The newest pair, as the arena's. */
err_code s3_held_give(void *ctx, sv refused_key_id, struct arena *a, struct s3_credentials *out,
                      struct err *e);

struct s3_client;
MUST_USE err_code s3_client_new(const struct s3_endpoint *ep, s3_credentials_fn cred,
                                void *cred_ctx, const atomic_bool *cancel, struct s3_client **out,
                                struct err *e);
void s3_client_free(struct s3_client *client);
/* After a cancel, a request that makes an object and has gone out is awaited, for S3_LINGER_MS at
 * most, until *leave is set. NULL: none is. Before the first call. */
#define S3_LINGER_MS 15000u
void s3_client_linger(struct s3_client *client, const atomic_bool *leave);
/* May it send bodies unsigned, with their checksum behind them? */
bool s3_client_streams(const struct s3_client *client);
/* It might have, but the server refused that. */
bool s3_client_was_refused(const struct s3_client *client);
DEFINE_CLEANUP(struct s3_client, s3_client_free)

/* Which object stands at a key: what tells it from any other that may come to stand there. NUL ends
 * both. etag empty: not known; version empty: the bucket keeps none. */
struct s3_entity {
    char etag[128]; /* with its quotes */
    char version[100];
};
/* How a body is vouched for. A digest that is known is signed with the head of the request, and so
 * is every body that goes over plain HTTP. What goes over TLS without a known digest is not signed:
 * its checksum is computed while it is sent and follows it, and the server has to say the same one
 * in its answer. A server that refuses this, or does not say it, gets the signed form at once, and
 * so does all that this client sends afterwards. */
struct s3_put {
    sv bucket, key, body;
    const sv *pieces; /* instead of body: its bytes one behind the other; or NULL */
    size_t n_pieces;
    sv content_type;
    sv kms_key_id;               /* empty: no SSE headers */
    const unsigned char *sha256; /* of body, when the caller has it; NULL: computed */
    unsigned char *digest;       /* out: the SHA-256 of body; NULL: nobody asks */
    struct s3_entity *entity;    /* out: what was put; NULL: nobody asks */
};
MUST_USE err_code s3_object_put(struct s3_client *client, const struct s3_put *p, struct err *e);
/* A new object with the bytes of another, made by the server. ERR_PRECONDITION: the other is not
 * the one that is meant any more, or the copy has another digest.
 * ERR_UNSUPPORTED: the server makes no copies, or does not say their digest. Bytes that a failed
 * copy left behind are for the caller to replace. */
struct s3_copy {
    sv bucket, key;           /* of the new one */
    sv from_bucket, from_key; /* of the other, at most 5 GiB */
    sv from_etag, from_version;
    sv content_type;
    sv kms_key_id;               /* of the new one; empty: no SSE headers */
    const unsigned char *sha256; /* that it must have */
};
/* Many of them at a time, by the one thread that calls all of this but s3_copies_wake(). */
struct s3_copies;
/* ctx: as it was asked with. entity and e: until it returns; e only of a failure. */
typedef void (*s3_copied_fn)(void *ctx, err_code rc, const struct s3_entity *entity,
                             const struct err *e);
struct s3_copies *s3_copies_new(struct s3_client *client, s3_copied_fn done);
void s3_copies_free(struct s3_copies *x); /* none is under way */
unsigned s3_copies_under_way(const struct s3_copies *x);
bool s3_copies_has_room(const struct s3_copies *x); /* for one more */
/* copy: borrowed until done() has been called, which may be at once. */
void s3_copies_ask(struct s3_copies *x, const struct s3_copy *copy, void *ctx);
/* Wait, and tell of those that are over. It returns soon, also when none is. */
void s3_copies_turn(struct s3_copies *x);
void s3_copies_wake(struct s3_copies *x); /* by any thread: s3_copies_turn() returns */
/* Size and stored KMS key of an object (key copied into the arena, empty when none). */
MUST_USE err_code s3_object_head(struct s3_client *client, sv bucket, sv key, struct arena *a,
                                 uint64_t *size, sv *kms_key_id, struct err *e);
MUST_USE err_code s3_object_delete(struct s3_client *client, sv bucket, sv key, struct err *e);
/* Read an object from byte `offset` on, as a byte_reader. A connection lost on the way is taken up
 * again with a Range request and If-Match on the first answer's ETag; ERR_PEER when the object
 * changed. */
MUST_USE err_code s3_object_open(struct s3_client *client, sv bucket, sv key, uint64_t offset,
                                 struct byte_reader *out, struct err *e);
/* Which object a reader is of, as the first answer said. */
struct s3_whole {
    uint64_t bytes;
    char etag[200]; /* "" when the server gives none */
};
/* Likewise, of at most len bytes from offset on: no more than these are asked for. */
MUST_USE err_code s3_object_open_part(struct s3_client *client, sv bucket, sv key, uint64_t offset,
                                      uint64_t len, struct byte_reader *out, struct s3_whole *whole,
                                      struct err *e);
/* Keys below prefix, in S3's order, page by page. each() may return false to stop. */
typedef bool (*s3_list_fn)(void *ctx, sv key, uint64_t size);
MUST_USE err_code s3_object_list(struct s3_client *client, sv bucket, sv prefix, s3_list_fn each,
                                 void *ctx, struct err *e);
MUST_USE err_code s3_bucket_head(struct s3_client *client, sv bucket, struct err *e);

/* Multipart, for what does not fit into memory: parts of at least 5 MiB but the last, numbered
 * from 1. */
struct s3_upload;
/* p->body is ignored */
MUST_USE err_code s3_upload_begin(struct s3_client *client, const struct s3_put *p,
                                  struct s3_upload **out, struct err *e);
MUST_USE err_code s3_upload_part(struct s3_upload *upload, const sv *pieces, size_t n_pieces,
                                 struct err *e);
MUST_USE err_code s3_upload_complete(struct s3_upload **u, struct err *e);
void s3_upload_abort(struct s3_upload *upload);
DEFINE_CLEANUP(struct s3_upload, s3_upload_abort)

/* ---- STS ---- */
struct sts_assume_role {
    sv role_arn, session_name;
    sv external_id; /* empty: none */
    /* For conditions on aws:SourceArn and aws:SourceAccount in a trust policy; sent (and signed) as
     * x-amz-source-arn and x-amz-source-account, as AWS's own services do. Empty: not sent. */
    sv source_arn, source_account;
    unsigned duration_s;       /* 0: 3600 */
    const atomic_bool *cancel; /* or NULL */
};
/* ERR_DENIED when the role may not be assumed. */
MUST_USE err_code sts_assume_role(const struct s3_endpoint *sts, const struct s3_credentials *own,
                                  const struct sts_assume_role *req, struct arena *a,
                                  struct s3_credentials *out, struct err *e);

/* ---- JSON 1.1, of other services (kms/) ---- */
/* A client of `service` ("kms"), as it is named in signatures. What it receives is overwritten when
 * it was read, because it may be a secret. */
MUST_USE err_code s3_json_client_new(const struct s3_endpoint *ep, const char *service,
                                     s3_credentials_fn cred, void *cred_ctx,
                                     const atomic_bool *cancel, struct s3_client **out,
                                     struct err *e);
#define S3_JSON_CODE_MAX 64u
struct s3_json_call {
    const char *op;     /* "DescribeKey": for messages */
    const char *target; /* X-Amz-Target */
    sv body;            /* JSON; overwriting it is the caller's affair */
    size_t max_answer;  /* bytes; a longer one is ERR_PEER */
    /* Takes what it needs out of the answer, whose tree is overwritten when it returns. ERR_PEER:
     * the answer is none of this operation, and the call is tried again. */
    err_code (*read)(void *ctx, yyjson_val *answer, struct err *e);
    void *ctx;
};
/* code: "" or the peer's name of the fault ("NotFoundException"), also where the call failed;
 * letters and digits only. A 4xx without such a name is no answer of a service: ERR_PEER. */
MUST_USE err_code s3_json_call(struct s3_client *client, const struct s3_json_call *call,
                               char code[S3_JSON_CODE_MAX], struct err *e);

/* s3_private.h - what the rooms of s3/ share.
 *
 *   client.c   endpoint, addressing, the pool of connections
 *   body.c     a body on its way, plain or in chunks with a checksum behind them
 *   conn.c     one connection: curl set up, driven in short slices so that a cancel is seen
 *   request.c  one call: credentials, signature, attempts, backoff
 *   fault.c    what an answer that is no success means
 *   xml.c      answers, by expat, with limits
 *   object.c copy.c list.c reader.c upload.c sts.c json.c   the calls of s3.h
 *   copies.c   many copies under way, driven by one thread
 *   pace.c     how many of them */
#pragma once
#include "callout/callout.h"
#include "codec/hash.h"
#include "codec/sigv4.h"
#include "s3/s3.h"

#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>

#define S3_ANSWER_MAX         (64u << 10) /* bytes; error bodies and small answers */
#define S3_LIST_ANSWER_MAX    (8u << 20)  /* 1,000 keys of 1,024 bytes, escaped */
#define S3_WINDOW_BYTES       (1u << 20)  /* bytes a reader holds ahead of its caller */
#define S3_BACKOFF_BASE_MS    100u
#define S3_BACKOFF_CAP_MS     20000u
#define S3_RETRY_AFTER_CAP_MS 30000u
/* A peer that gives fewer bytes of an object within timeout_ms is as one that gives none. */
#define S3_PACE_BYTES (16u << 10)
/* From the last byte of a request to the last of its answer, which has to be held in memory: a
 * server may send blanks while it works, for several minutes. */
#define S3_ANSWER_MS   300000u
#define S3_CHUNK_BYTES (1u << 20) /* of a framed body; S3's floor is 8 KiB */
/* A body below this is signed: its digest costs nothing beside the request. */
#define S3_STREAM_MIN (64u << 10)

/* ---- body.c ---- */
typedef enum { S3_CHECKSUM_NONE, S3_CHECKSUM_SHA256, S3_CHECKSUM_CRC32C } s3_checksum;
struct s3_checksum_form {
    const char *header, *algorithm, *element;
    size_t bytes;
};
struct s3_checksum_form s3_checksum_form(s3_checksum kind);
#define S3_CHECKSUM_TEXT 48 /* base64, NUL-terminated */
void s3_checksum_text(s3_checksum kind, const unsigned char *sum, char out[S3_CHECKSUM_TEXT]);
void s3_crc32c_text(uint32_t crc, char out[S3_CHECKSUM_TEXT]); /* the same of a CRC32C */
struct s3_body {
    const sv *pieces; /* borrowed */
    size_t n_pieces;
    uint64_t len;
    s3_checksum framed; /* NONE: plain */
    size_t piece, piece_at;
    uint64_t sent, chunk_left;
    char frame[128];
    size_t frame_len, frame_at;
    struct hash_sha256 *hash; /* NULL: another checksum, or none */
    uint32_t crc;
    bool ended; /* a framed one: its checksum is made */
    unsigned char sha256[SHA256_LEN];
    char checksum[S3_CHECKSUM_TEXT];
};
void s3_body_init(struct s3_body *b, const sv *pieces, size_t n_pieces, s3_checksum framed);
void s3_body_done(struct s3_body *b);
size_t s3_body_read(struct s3_body *b, char *dst, size_t cap); /* 0: that was all */
/* To the byte `to` of what is on the wire. False: it cannot; a framed one can only go to 0. */
bool s3_body_rewind(struct s3_body *b, uint64_t to);
uint64_t s3_body_wire_bytes(const struct s3_body *b); /* Content-Length */

/* ---- client.c ---- */
struct s3_conn;
struct s3_client {
    struct arena *arena; /* the strings below */
    sv scheme, host, host_port, base_path, region;
    sv service; /* "s3", "sts", or another that answers in JSON */
    bool json;
    bool secret; /* answers are overwritten when they were read */
    const char *ca_file;
    bool path_style, loopback;
    bool tls;
    atomic_bool refused; /* bodies with their checksum behind them */
    unsigned max_attempts, timeout_ms, connect_timeout_ms, total_ms;
    uint64_t until_us;  /* as the endpoint's */
    unsigned answer_ms; /* 0: an answer takes as long as it moves */
    s3_credentials_fn cred;
    void *cred_ctx;
    const atomic_bool *cancel, *leave; /* leave: as of s3_client_linger() */
    _Atomic uint64_t cancelled_us;     /* when one that lingers saw a cancel; 0: none did */
    struct {
        pthread_mutex_t lock;
        struct s3_conn *idle;
    } locked; /* touch only while holding locked.lock */
};
err_code s3_client_make(const struct s3_endpoint *ep, sv service, s3_credentials_fn cred,
                        void *cred_ctx, const atomic_bool *cancel, struct s3_client **out,
                        struct err *e);
/* The same endpoint and credentials for what has to be said after a cancel: one attempt, and that
 * within total_ms. It lives no longer than of, and is freed as any. */
struct s3_client *s3_client_last_word(const struct s3_client *of, unsigned total_ms);
struct s3_conn *s3_client_conn_take(struct s3_client *client);
void s3_client_conn_give(struct s3_client *client, struct s3_conn *conn);
static inline bool s3_client_cancelled(const struct s3_client *client)
{
    return client->cancel && atomic_load_explicit(client->cancel, memory_order_relaxed);
}
/* Sleep in slices; ERR_CANCELLED as soon as the cancel flag is seen. */
err_code s3_client_wait(const struct s3_client *client, unsigned ms, struct err *e);
/* Host (with port) and raw path of a bucket and key, in the client's addressing. */
err_code s3_client_address(const struct s3_client *client, sv bucket, sv key, struct arena *a,
                           sv *host, sv *path, struct err *e);

/* ---- conn.c ---- */
struct s3_wire { /* a request as it goes out */
    const char *method;
    const char *url;
    struct curl_slist *headers; /* borrowed until the exchange has ended */
    struct s3_body *body;       /* borrowed, as headers; NULL: none */
    bool has_body;              /* PUT and POST: Content-Length goes out even when it is 0 */
    bool stream;                /* a 200 or 206 answer goes into the window instead of the answer */
    size_t max_answer;
    unsigned most_ms; /* from begin to end; 0: as long as it moves */
};
typedef enum { CONN_RUNNING, CONN_DONE, CONN_CANCELLED, CONN_STALLED } s3_conn_state;
struct s3_conn {
    struct s3_conn *next;
    CURL *easy;
    CURLM *multi;
    struct callout *callout;
    struct s3_client *client;
    bool attached, stream, paused, overflow, done;
    bool awaits; /* nothing but the answer's bytes will move */
    struct s3_body *body;
    const struct curl_slist *sent; /* headers of the request, until it is stopped; borrowed */
    struct buf answer;
    char *window; /* S3_WINDOW_BYTES, made by the first stream */
    size_t window_from, window_to;
    CURLcode result; /* once CONN_DONE */
    curl_off_t moved;
    uint64_t moved_at_us;
    uint64_t sent_at_us; /* all of the request had been sent; 0: not yet */
    unsigned slice_ms;   /* for how long the next wait is at most */
    bool makes;          /* the request makes an object */
    /* What libcurl had counted when the last socket was made: by itself it sends a request again,
     * when a connection that was kept turns out to be dead. */
    long asked_before;
    curl_off_t connected_before;
};
struct s3_conn *s3_conn_new(struct s3_client *client);
void s3_conn_free(struct s3_conn *conn);
/* Overwrites the answer, of a client whose answers are secret. */
void s3_conn_forget(struct s3_conn *conn);
void s3_conn_start(struct s3_conn *conn, const struct s3_wire *w);
/* Do what can be done; when nothing can, wait for the peer, but not for long. */
s3_conn_state s3_conn_step(struct s3_conn *conn);
/* For who waits for several: do what can be done, and look at no cancel. */
s3_conn_state s3_conn_turn(struct s3_conn *conn);
#define S3_CONN_SOCKETS 8u
/* What such a one waits for: where bytes of the peer come, and whether it can be reached at all. */
unsigned s3_conn_sockets(const struct s3_conn *conn, struct pollfd *out, unsigned most);
/* Has the request gone out? Before that there is more to do than sockets tell of: names, TLS. */
bool s3_conn_has_asked(const struct s3_conn *conn);
/* Is it over because of a cancel? One that has gone out and makes an object may be awaited yet. */
bool s3_conn_is_cancelled(struct s3_conn *conn);
/* End the exchange. What was not read through costs the connection. */
void s3_conn_stop(struct s3_conn *conn);
long s3_conn_status(const struct s3_conn *conn);                 /* 0 before the status line */
sv s3_conn_header(const struct s3_conn *conn, const char *name); /* borrowed until the next start */
/* Bytes of the window into dst; lets a paused stream go on. */
size_t s3_conn_drain(struct s3_conn *conn, void *dst, size_t cap);
/* A consumer that was away for long is no stalled peer. */
void s3_conn_touch(struct s3_conn *conn);

/* ---- pace.c ---- */
#define S3_PACE_FIRST 8u
#define S3_PACE_MOST  32u
struct s3_pace {
    unsigned most;      /* at a time; the rest is pace.c's own, but may be read */
    unsigned n_answers; /* since there was one more */
    uint64_t takes_us;  /* an answer, on the mean of the last ones; 0: there was none */
    uint64_t first_us;  /* the same of the first ones; 0: they are not there yet */
};
void s3_pace_init(struct s3_pace *p);
void s3_pace_answer(struct s3_pace *p, uint64_t took_us); /* from when its request went out */
void s3_pace_too_much(struct s3_pace *p);                 /* as the peer says */
bool s3_pace_takes_long(const struct s3_pace *p);         /* its answers do */

/* ---- fault.c ---- */
struct s3_fault {
    err_code rc;
    bool retry;
    bool renew;  /* other credentials may help */
    bool digest; /* x-amz-content-sha256 is not what the server made of the body */
    unsigned retry_after_ms;
    char code[64];  /* "SlowDown"; or "" */
    char what[160]; /* "SlowDown (503)" */
};
/* After an exchange that ended in state st and was no success; reads conn's answer. */
void s3_fault_of(struct s3_conn *conn, s3_conn_state st, bool has_token, struct s3_fault *out);
/* An <Error> document (S3's or STS's), as in a 200 answer of CompleteMultipartUpload. False when
 * xml is none. code: NUL-terminated, letters, digits and dots only. */
bool s3_fault_code(sv xml, char code[64]);
/* Of an answer of either kind, while its request's headers are there: what the peer has of them is
 * no code. */
bool s3_fault_code_of(const struct s3_conn *conn, char code[64]);
/* The same of a JSON service: "com.amazonaws.kms#NotFoundException" is NotFoundException. */
bool s3_fault_code_json(sv json, char code[64]);
void s3_fault_by_code(const char *code, long status, struct s3_fault *out);

/* ---- request.c ---- */
#define S3_MAX_HEADERS 8
struct s3_request {
    const char *op; /* "PutObject": for messages */
    const char *method;
    sv bucket, key;
    sv query; /* encoded; without '?' */
    struct sigv4_header headers[S3_MAX_HEADERS];
    size_t n_headers;
    sv body;
    const sv *pieces; /* instead of body; NULL: body */
    size_t n_pieces;
    const unsigned char *sha256; /* of body, or NULL */
    unsigned char *digest;       /* out: its SHA-256; NULL: nobody asks */
    /* Goes with the body: in a header, or behind it where the body is not signed. */
    s3_checksum checksum;
    size_t max_answer;     /* 0: S3_ANSWER_MAX */
    unsigned max_attempts; /* 0: the client's */
    /* Looks at a 2xx answer, inside the attempts: ERR_PEER is tried again, the rest is final. */
    err_code (*accept)(void *ctx, struct s3_conn *conn, struct err *e);
    void *accept_ctx;
    char *code; /* out, 64 bytes: the peer's code of what failed last; NULL: nobody asks */
};
void s3_request_header(struct s3_request *request, const char *name, sv value);
/* All attempts; ERR_OK once there was a 2xx that accept (if any) took. */
err_code s3_request_run(struct s3_client *client, const struct s3_request *request, struct err *e);

/* The parts of it, for the reader, whose answer outlives the call, and for who has several of them
 * under way. */
struct s3_attempts {
    unsigned n, most; /* most: 0: the client's */
    bool renewed;
    char refused_key[129]; /* access key called expired by the peer */
    bool has_token;
    uint64_t since_us, until_us; /* of the monotonic clock; until: 0: no end */
    bool framed;       /* this attempt's body: it is not signed, its checksum follows it */
    unsigned n_spoilt; /* framed ones of which the server said that their bytes were damaged */
    struct s3_fault last;
};
/* Credentials, signature, start. body: borrowed until the exchange has ended, and NULL where there
 * is none; a plain one's digest is in the request. keep: the slist, freed by the caller
 * after the exchange. */
err_code s3_request_start(struct s3_client *client, const struct s3_request *request,
                          struct s3_attempts *at, struct s3_body *body, bool stream,
                          struct s3_conn *conn, struct curl_slist **keep, struct err *e);
/* The first attempt is about to begin. */
void s3_attempts_init(const struct s3_client *client, unsigned most, struct s3_attempts *out);
/* An attempt without a body has ended in state st. True: it succeeded. */
bool s3_request_took(const struct s3_request *request, struct s3_attempts *at, struct s3_conn *conn,
                     s3_conn_state st);
/* After a failure in at->last: ERR_OK: to be tried again in *ms, or the final error. */
err_code s3_request_again(const struct s3_client *client, const char *op, sv bucket,
                          struct s3_attempts *at, unsigned *ms, struct err *e);
/* The same, and wait. */
err_code s3_request_next(struct s3_client *client, const char *op, sv bucket,
                         struct s3_attempts *at, struct err *e);

/* ---- object.c ---- */
/* What an answer says of the object that it made. */
void s3_entity_of(const struct s3_conn *conn, sv etag, struct s3_entity *out);

/* ---- copy.c ---- */
/* One CopyObject: what is asked, and what came of it. */
struct s3_copy_call {
    const struct s3_copy *copy;
    struct s3_entity *out;
    struct buf source; /* bucket/key?versionId=... */
    struct s3_request request;
    char etag[128], sha256[64]; /* base64 */
    bool is_result;
};
/* It stays where it is until it is done with. copy, out: borrowed. */
err_code s3_copy_call_init(struct s3_copy_call *call, const struct s3_copy *copy,
                           struct s3_entity *out, struct err *e);
void s3_copy_call_done(struct s3_copy_call *call);

/* ---- xml.c ---- */
/* Called at the end of each element, with the path of local names ("ListBucketResult/Contents/Key")
 * and its own text. A failure stops the parse and is returned. */
typedef err_code (*s3_xml_fn)(void *ctx, sv path, sv text, struct err *e);
/* ERR_PEER: not well-formed, a document type, too deep, too long a text. */
err_code s3_xml_parse(sv xml, s3_xml_fn fn, void *ctx, struct err *e);

/* http_server.h - HTTP/1.1 on libmicrohttpd: an epoll thread pool, whole bodies in, whole answers,
 * files or streams out.
 *
 * The handler gets a request when its body is complete. It answers exactly once, with http_reply(),
 * at once or later and from any thread; meanwhile the connection is suspended and costs no thread.
 * Server threads do only short work; callouts go to workers. The target is passed as received, byte
 * for byte, because signatures cover it. A head that a proxy may read in another way than we do is
 * refused.
 * With TLS (struct http_tls) it speaks 1.2 and 1.3, and nothing else on that port.
 * Limits: base/limits.h; past them 413, or 431 with a plain text answer of the server itself.
 * Floor: net. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#include <netinet/in.h>

struct http_header {
    sv name, value;
};

/* Why the handler gets a request whose body was not read: it answers, and the connection ends. */
typedef enum {
    HTTP_TAKEN,     /* nothing is wrong */
    HTTP_MALFORMED, /* the head can be read in two ways, or is none: 400, `why` says what */
    HTTP_REFUSED,   /* by accept() */
    HTTP_NO_ROOM,   /* for the body: 503 */
    HTTP_STRANGER,  /* callers must show a certificate, and this one shows none that is taken: 403,
                       `why` says what */
} http_refusal;

struct http_request { /* views valid until http_reply */
    sv method;
    sv target; /* path and query as on the request line */
    sv path;   /* target up to '?', runs of slashes as one */
    sv query;  /* behind '?', or empty */
    const struct http_header *headers;
    size_t n_headers;
    sv body;
    sv peer;             /* address of the caller, for the log */
    bool secure;         /* it came over TLS */
    sv tls, cipher;      /* then: "TLSv1.3", "TLS_AES_256_GCM_SHA384"; constant texts */
    sv certificate;      /* whom the caller's certificate names; empty: none was asked for */
    struct arena *arena; /* the request's own, LIMIT_REQUEST_MEMORY */
    uint64_t start_us;   /* clock_mono_us() when the request began */
    bool body_too_large; /* body was over what accept() allowed: it is empty, answer 413 */
    http_refusal refusal;
    const char *why;
    uint64_t length; /* of the body, as the head says; HTTP_UNTOLD: it comes in chunks */
    void *left;      /* what accept() leaves for the handler; owned by the arena */
    bool crowded;    /* there is no place for this connection: 503, but for what costs nothing */
};
#define HTTP_UNTOLD UINT64_MAX
/* First header of that name (ASCII case-insensitive), or SV_NONE. */
sv http_header_get(const struct http_request *req, const char *name);

struct http_exchange; /* one request and its answer */
const struct http_request *http_exchange_request(struct http_exchange *exchange);
/* What the handler keeps with the exchange until it has answered; nothing here looks at it. */
void http_exchange_keep(struct http_exchange *exchange, void *kept);
void *http_exchange_kept(const struct http_exchange *exchange);
/* Has the caller of the exchange hung up? Long work may ask, from any thread, until it is answered;
 * it costs one poll(2). The caller's end of stream counts, because nothing else is seen of a caller
 * who closed, was killed or gave up. A caller who ends only his sending side and goes on reading is
 * taken for gone as well. No client that we know does that; still, whoever asks must give him an
 * answer. */
bool http_exchange_gone(struct http_exchange *exchange);

/* What connections may take; 0: as base/limits.h says. A connection without a place has one request
 * answered, as `crowded`. Only n_crowded of these are kept: each further one ends the oldest.
 * Between two requests a connection keeps its place as long as nobody else wants it. */
struct http_limits {
    unsigned n, n_per_address, n_crowded;
    /* A connection whose head is not whole gives up its place for a new one, the oldest first: who
     * opens connections and sends nothing keeps nobody out. For callers that send heads at once. */
    bool heads_give_way;
    uint64_t head_us; /* for a head */
    uint64_t slow_us; /* in each such time a body or an answer goes on by slow_bytes */
    uint64_t slow_bytes;
    uint64_t sweep_us; /* how often that is looked at */
    /* memory of bodies, arriving and worked on: of all, and of those of one address */
    size_t bodies, bodies_per_address;
    /* Bodies of callers who are not known yet: each has `unproven` bytes in memory, or up to
     * unproven_most while all together have no more than unproven_all. The rest of it goes into a
     * file. When files have no room, one that is older than old_us, or got nothing for still_us,
     * makes room: the one that has waited longest for more. */
    size_t unproven, unproven_most, unproven_all;
    uint64_t files, files_per_address, old_us, still_us, free_disk;
    unsigned n_files; /* half of them of one address */
    /* Answers that are not read yet, half of it of one address: bytes in memory, then in files. */
    size_t answers;
    uint64_t answer_files;
    unsigned n_answer_files;
};

/* What accept() says of a request with a body. */
struct http_allowance {
    size_t body_max;
    bool proven;  /* the caller is known by the head alone */
    bool refused; /* the handler is to answer now, the body is not wanted */
};

/* ---- TLS: http_tls.c ---- */

/* The certificate that a server shows, its key, and whose certificates callers must show. Any
 * thread may put a new certificate in. */
struct http_tls;
struct http_certificate {   /* for the log */
    char subject[128];      /* as RFC 4514 writes it */
    char sha256[65];        /* of the certificate, in hex */
    int64_t from_ms, to_ms; /* when it holds */
};
/* ERR_UNSUPPORTED: libmicrohttpd was built without TLS. */
MUST_USE err_code http_tls_new(struct http_tls **out, struct err *e);
struct http_authorities { /* for the log */
    unsigned n, n_lists;
    int64_t until_ms; /* when the first list must have been replaced; INT64_MAX: there are none */
};
/* From now on callers must show a certificate of these authorities. Before the server starts, or in
 * place of what was given then: who is connected is looked at again at his next request.
 *   authorities  PEM
 *   revoked      PEM: a revocation list of each of them; SV_NONE: none is asked
 * ERR_INVALID says what is wrong, and what was there before stays. */
MUST_USE err_code http_tls_trust(struct http_tls *tls, sv authorities, sv revoked, int64_t now_ms,
                                 struct http_authorities *told, struct err *e);
/* From now on new connections see this certificate; those that are there stay as they are.
 *   certificate  PEM: the server's own first, then those that lead to its authority
 *   key          PEM, without a password
 * Checked first: the key is the certificate's and not a weak one, and the certificate is a server's
 * and holds at now_ms. ERR_INVALID says what is wrong, and the certificate before stays. */
MUST_USE err_code http_tls_show(struct http_tls *tls, sv certificate, sv key, int64_t now_ms,
                                struct http_certificate *told, struct err *e);
/* Every server that uses it has stopped. Accepts NULL. */
void http_tls_free(struct http_tls *tls);
/* A certificate that is its own authority, with a new key (P-256), both as PEM. It names localhost,
 * 127.0.0.1, ::1 and host, which is a name or an address (an IPv6 one in brackets), or empty. */
MUST_USE err_code http_tls_make(sv host, int64_t from_ms, int64_t to_ms, struct buf *certificate,
                                struct buf *key, struct err *e);
/* Does the certificate (PEM) name host? */
bool http_tls_names(sv certificate, sv host);

/* Handshakes that came to nothing, since this was told last. */
struct http_handshakes {
    unsigned n;
    const char *why;             /* of the last one */
    char peer[INET6_ADDRSTRLEN]; /* likewise; of an IPv6 one its /64 */
};

struct http_server;
struct http_server_config {
    sv listen;            /* HOST:PORT, [V6]:PORT; port 0 takes a free one */
    struct http_tls *tls; /* has a certificate, outlives the server; NULL: plain HTTP */
    bool hsts;            /* answers tell browsers to come over TLS only (RFC 6797) */
    /* At most once a second, from a thread of the server's own; NULL: nobody wants to know. */
    void (*handshakes)(void *ctx, const struct http_handshakes *failed);
    unsigned n_threads;
    struct http_limits limits;
    unsigned idle_timeout_s;
    const char *spool_dir; /* for bodies and answers in files without a name; NULL: none are made */
    /* Called when the head of a request with a body is there: what may the body be? */
    void (*accept)(void *ctx, struct http_request *req, struct http_allowance *out);
    void (*handler)(void *ctx, struct http_exchange *x);
    void *ctx;
};
/* ERR_EXISTS: address in use. ERR_INVALID: not an address. */
MUST_USE err_code http_server_start(const struct http_server_config *cfg, struct http_server **out,
                                    struct err *e);
/* Host and port really bound, as "127.0.0.1:8080" (arena-free, lives with the server). */
sv http_server_address(const struct http_server *server);
/* Connections that are open now. */
unsigned http_server_connections(struct http_server *server);
/* Handshakes of TLS so far: that were done, and that came to nothing. */
void http_server_handshakes(struct http_server *server, uint64_t *done, uint64_t *failed);
/* Does it still do its work? No thread is in one call of the handler for longer than stuck_us, and
 * a connection of our own to its address is taken within wait_us. Without a descriptor for that the
 * threads alone count. For a watchdog; one caller at a time. */
bool http_server_alive(struct http_server *server, uint64_t stuck_us, uint64_t wait_us);
/* No new connections; waits until the exchanges under way are answered, at most drain_ms. */
void http_server_stop(struct http_server *server, unsigned drain_ms);

/* Is there room for an answer with a body of so many bytes? It is kept for the exchange until that
 * ends. False: answers that are not read yet take all that they may. Then answer something under 64
 * KiB, for which there is always room. A handler that does not ask gets room for the answer that it
 * has made, or memory beyond it. */
MUST_USE bool http_room(struct http_exchange *exchange, size_t len);

/* Send the answer; the exchange ends with it. Headers are copied; body is taken (it is emptied;
 * NULL: no body). Content-Length and Date are added; a HEAD request gets no body. A body of
 * HTTP_PACK_MIN or more goes out in gzip's form to a caller that takes it (Accept-Encoding). */
void http_reply(struct http_exchange *exchange, unsigned status, const struct http_header *headers,
                size_t n_headers, struct buf *body);

/* ---- an answer that goes out while it is made: http_stream.c ---- */
struct http_stream;                   /* one thread makes it */
#define HTTP_STREAM_ROOM (256u << 10) /* bytes that are made and not sent yet */
/* Does the caller take one? HTTP/1.0 has no chunks: there an answer that breaks looks whole. */
bool http_may_stream(const struct http_exchange *exchange);
/* Begin the answer; its body follows, in chunks. Headers are copied. The request's body is given
 * back; all else of the exchange and its request is valid until http_stream_end(). Never NULL
 * (aborts when the machine is out).
 *   may_gzip  packed on the way for who takes it */
struct http_stream *http_stream_begin(struct http_exchange *exchange, unsigned status,
                                      const struct http_header *headers, size_t n_headers,
                                      bool may_gzip);
/* More of the body. Waits for room, wait_ms at most.
 *   taken  how many of the bytes; fewer, or none: there is no room for more now
 * ERR_CANCELLED: the caller has gone. */
MUST_USE err_code http_stream_put(struct http_stream *stream, sv bytes, unsigned wait_ms,
                                  size_t *taken, struct err *e);
/* What was put and has not gone out does not. The stream is to end, not whole. */
void http_stream_drop(struct http_stream *stream);
/* The exchange ends with it. What was put goes out; behind that comes the end of the body, or, when
 * it is not whole, that of the connection. */
void http_stream_end(struct http_stream *stream, bool whole);

/* ---- a file as answer: http_file.c ---- */
struct cipher;
struct http_file {
    int fd;               /* taken: closed when the answer has gone */
    uint64_t offset, len; /* the answer's bytes within it; they must not change any more */
    sv etag;              /* strong, without quotes, under 100 bytes; empty: none */
    int64_t modified_ms;  /* 0: not told */
    bool may_gzip;        /* packed on the way for who takes it */
    /* taken: of a file that begins with a prefix, behind which offset is counted; NULL: plain */
    struct cipher *cipher;
};
/* Send the file, or the part of it that the request's Range asks for, or what its conditions make
 * of it: 200, 206, 304 or 416. Headers (Content-Type among them) are copied; ETag, Last-Modified,
 * Accept-Ranges, Content-Range, Content-Encoding and Vary are added. The exchange ends with it.
 *   sent  bytes of the file that go out (plain, before packing): for the log
 * Answers the status. Source: RFC 9110. */
unsigned http_reply_file(struct http_exchange *exchange, const struct http_header *headers,
                         size_t n_headers, const struct http_file *file, uint64_t *sent);
/* The bytes of the file that http_reply_file() will read, of offset, len, etag, modified_ms and
 * may_gzip; *len is 0 when it reads none. */
void http_file_part(const struct http_request *req, const struct http_file *file, uint64_t *first,
                    uint64_t *len);
/* The status that http_reply_file() will answer: asked before, because the request is gone then. */
unsigned http_file_status(const struct http_request *req, const struct http_file *file);

/* The parts of it that can be tried alone. */
typedef enum { HTTP_RANGE_NONE, HTTP_RANGE_SOME, HTTP_RANGE_BEHIND } http_range;
/* A Range header over size bytes. NONE: not one that is served (another unit, several ranges,
 * malformed): it is passed over. BEHIND: it holds no byte of the file. */
http_range http_range_read(sv header, uint64_t size, uint64_t *first, uint64_t *len);
/* Does an Accept-Encoding header take gzip? */
bool http_takes_gzip(sv accept_encoding);

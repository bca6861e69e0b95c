/* http_private.h - what the rooms of net share.
 *
 *   http_server.c   the server: start and stop
 *   http_listen.c   the socket that it listens on
 *   http_alive.c    do its threads still take turns?
 *   http_request.c  a request as the library shows it, piece by piece
 *   http_exchange.c a request and its answer: birth, death, answering
 *   http_head.c     the head of a request, judged
 *   http_conn.c     who is connected: limits, what each is at, what its body takes
 *   http_body.c     a body that arrives, in memory or in a file
 *   http_answer.c   an answer that is not read yet, in memory or in a file
 *   http_spool.c    files without a name
 *   http_watch.c    the thread that ends what goes on too long
 *   http_linger.c   sockets that are read on behind a refusal
 *   http_gzip.c     answers in gzip's form
 *   http_file.c     a file as answer: conditions, ranges
 *   http_stored.c   bytes of a descriptor as answer
 *   http_stream.c   an answer that goes out while it is made
 *   http_tls.c      the certificate that is shown
 *   http_trust.c    whose certificates callers must show
 *   http_make.c     a certificate of our own making
 *   http_shake.c    TLS of one connection: handshake, whose certificate
 * Floor: net. */
#pragma once
#include "net/http_server.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* ---- answers in gzip's form: http_gzip.c ---- */
/* Body in gzip's form instead of its own, when that is smaller. False: it stays as it is. */
bool http_gzip(struct buf *body);
/* A body that is packed piece by piece; what was added can be read at once. */
struct http_packer;
struct http_packer *http_packer_new(void); /* never NULL */
void http_packer_free(struct http_packer *packer);
/* last: the body ends behind the piece, which may be empty. */
void http_packer_add(struct http_packer *packer, sv piece, bool last, struct buf *out);
/* The file, packed while it is sent; its descriptor is taken. NULL, and it is as it was: enough are
 * under way. */
struct MHD_Response *http_gzip_file(const struct http_file *file);
#define HTTP_PACK_MIN (1u << 10) /* bytes; below, packing saves less than its headers cost */

/* ---- heads: http_head.c ---- */
struct http_framing { /* of the body */
    bool chunked;
    uint64_t length; /* when not chunked */
};
/* What is wrong with the head, as a sentence for the caller; NULL: nothing. */
const char *http_head_fault(const struct http_request *req, sv version, struct http_framing *out);
/* Path with runs of slashes as one; itself when it has none. ptr is NULL past the arena's
 * budget. */
sv http_path_collapse(struct arena *a, sv path);

/* Where a parser that works in place has left the texts of a head. */
struct http_head_layout {
    const char *method, *target, *version; /* where they stand, with NUL behind */
    size_t target_len;                     /* as received: what stands there may be decoded */
    size_t bytes;                          /* from the method to behind the empty line */
};
/* Is between the texts just what belongs there: one blank or colon, blanks in front of a value,
 * CRLF? */
bool http_head_in_place(const struct http_head_layout *l, const struct http_header *headers,
                        size_t n);

/* ---- connections: http_conn.c ---- */

/* What a connection is at:
 *
 *   HEAD --its end--> BODY --its end--> WORK --answered--> ANSWER --sent--> IDLE
 *   IDLE --request line--> HEAD
 */
typedef enum { CONN_HEAD, CONN_BODY, CONN_WORK, CONN_ANSWER, CONN_IDLE } conn_phase;

struct http_share {          /* of what may be taken, in bytes */
    size_t memory, unproven; /* by bodies */
    uint64_t file;
    unsigned n_files;
    size_t answer; /* by answers */
    uint64_t answer_file;
    unsigned n_answer_files;
};

struct http_peer;  /* an address, or the /64 of an IPv6 one */
struct http_pair;  /* a certificate and its key: http_tls.c */
struct http_trust; /* whose certificates callers must show: http_trust.c */

/* TLS of a connection; what is not the lock's is its thread's. */
struct http_shake {
    struct MHD_Connection *library; /* the connection as the library knows it */
    gnutls_session_t session;       /* NULL: plain HTTP; the library's, as long as it */
    struct http_pair *pair;         /* that it was shown; NULL: none yet */
    bool heard;                     /* a byte came */
    bool done;
    bool held;            /* what is sent waits for http_shake_release() */
    bool watched;         /* its socket is in shake_fd */
    unsigned char *ahead; /* AHEAD_BYTES: read from the socket, and not taken by GnuTLS */
    size_t ahead_at, ahead_len;
    bool waits;             /* all.locked: for the next byte of its handshake, suspended */
    struct http_trust *met; /* whose certificate it is was looked at under this; NULL: not yet */
    const char *version;    /* of TLS, once the handshake is done; constant */
    const char *cipher;     /* likewise */
    const char *why;        /* the handshake cannot succeed; or NULL */
    const char *stranger;   /* why the caller's certificate is not taken; NULL: it is */
    char name[256];         /* that it names; empty: none was asked for */
};

struct http_conn {
    struct http_conns *all;
    struct http_conn *prev, *next; /* all.locked: in the order in which they came */
    struct http_peer *peer;
    int fd;       /* all.locked: open as long as this is in the list */
    bool crowded; /* its thread's: without a place */
    bool unread;  /* its thread's: answered before the request was read */
    struct http_shake shake;
    struct http_exchange *exchange; /* its thread's: that has begun and not ended */
    /* written by whoever has the request */
    atomic_int phase;
    atomic_uint_fast64_t since_us, body_bytes, body_us; /* body_us: when some of it came last */
    /* all.locked: */
    bool has_place; /* counts against the limits */
    bool is_cut;
    struct http_share share;
    struct { /* the watch's */
        uint64_t since_us, mark_us, mark_bytes;
        int64_t late_read; /* bytes that had been read when a late head was looked at last */
        bool late;         /* it was */
        conn_phase phase;
    } seen;
};

#define PEER_SLOTS 256u
#define LINGER_MAX 64u
struct http_conns {
    struct http_limits limits;
    int wake_fd;  /* the watch's eventfd */
    int shake_fd; /* its epoll: sockets whose handshakes wait for bytes */
    /* set before the first connection: */
    struct http_tls *tls; /* NULL: plain HTTP */
    void (*handshakes)(void *ctx, const struct http_handshakes *failed);
    void *ctx;                                 /* of handshakes() */
    atomic_uint_fast64_t n_shaken, n_unshaken; /* handshakes that were done, and that were not */
    pthread_t watch;
    struct {
        pthread_mutex_t lock;
        struct http_conn *first, *last;
        struct http_peer *peers[PEER_SLOTS];
        unsigned n, n_places, n_crowded;
        uint64_t n_taken;          /* connections that came, ever */
        pthread_cond_t taken;      /* one more; for http_server_alive() */
        struct http_share shares;  /* of all */
        int lingering[LINGER_MAX]; /* sockets for the watch to read to their end */
        unsigned n_lingering;
        struct http_handshakes failed; /* not told yet */
        pthread_cond_t none_waits;
        unsigned n_waiting; /* handshakes; their connections are suspended */
        bool no_waits;      /* from now on none waits */
        bool stop;
    } locked;
};

/* The watch looks at once. */
void http_conns_wake(const struct http_conns *all);
/* A connection came. Never NULL. */
struct http_conn *http_conn_open(struct http_conns *all, int fd, const struct sockaddr *from);
/* It is about to be closed. */
void http_conn_close(struct http_conn *conn);
/* Ends all handshakes that wait. Behind that the library may stop. */
void http_conns_end_waits(struct http_conns *all);
/* It asks something: is there still no place for it? */
bool http_conn_is_crowded(struct http_conn *conn);
/* Has the other side closed, or its sending side? One poll(2). */
bool http_conn_has_hung_up(const struct http_conn *conn);
/* now_us: clock_mono_us(), or 0 for CONN_WORK, which has no time. */
void http_conn_is_at(struct http_conn *conn, conn_phase phase, uint64_t now_us);
/* End it: its thread sees a socket at its end. */
void http_conn_cut_locked(struct http_conn *conn);

/* From now on the connection's body takes `want` (its answer's part is not looked at). False: there
 * is no room for what it grows by; all is as it was. */
bool http_share_set(struct http_conn *conn, struct http_share want);
/* Likewise of its answer: so much memory and a file of so many bytes; 0: none. */
bool http_share_set_answer(struct http_conn *conn, size_t memory, uint64_t file);
/* Is there room for so much memory beside what all have? Nothing is taken. */
bool http_share_would_fit(struct http_conn *conn, uint64_t memory);

/* ---- sockets that linger: http_linger.c ---- */
#define LINGER_FIRST 2u
struct lingering {
    struct pollfd fds[LINGER_FIRST + LINGER_MAX]; /* [0] is the wake, [1] the handshakes */
    uint64_t until_us[LINGER_MAX], left[LINGER_MAX];
    unsigned n;
    char sink[64u << 10];
};
/* The connection ends: does a copy of its socket stay for the watch? */
bool http_linger_locked(struct http_conn *conn);
/* Takes over what connections have left. When there are too many the oldest end. */
void http_linger_take(struct lingering *lingering, struct http_conns *all, uint64_t now_us);
/* A turn's worth of each; ends those that are over. */
void http_linger_read(struct lingering *lingering, uint64_t now_us);
void http_linger_end(struct lingering *lingering); /* all of them */

/* ---- bodies: http_body.c ---- */
struct http_body {
    struct buf memory;
    int fd;                /* of the file in which it stands; -1: it stands in memory */
    struct cipher *cipher; /* of that file */
    uint64_t len, said;
    size_t max;
    bool proven;
};
typedef enum { BODY_OK, BODY_TOO_LARGE, BODY_NO_ROOM } body_result;
void http_body_init(struct http_body *body, const struct http_allowance *a, uint64_t said);
body_result http_body_add(struct http_body *body, struct http_conn *conn, const char *spool_dir,
                          sv piece);
/* It is all there: it stands in memory from now on. */
body_result http_body_end(struct http_body *body, struct http_conn *conn);
/* Accepts one with fd -1 and nothing else. */
void http_body_done(struct http_body *body, struct http_conn *conn);

/* ---- answers: http_answer.c ---- */
#define HTTP_SMALL (64u << 10) /* bytes; from here on an answer is counted */
struct http_answer {
    bool counted, in_file;
    int fd;                /* when in_file: owned until the answer is taken */
    struct cipher *cipher; /* likewise */
};
/* See http_room(). Asked again, another length takes the place of the one before. */
bool http_answer_find_room(struct http_answer *answer, struct http_conn *conn,
                           const char *spool_dir, size_t len);
/* As an answer of the library's, where it has room; the body is taken. Never NULL when memory is
 * there. */
struct MHD_Response *http_answer_take(struct http_answer *answer, struct http_conn *conn,
                                      const char *spool_dir, struct buf *body);
void http_answer_done(struct http_answer *answer, struct http_conn *conn);

/* ---- files without a name: http_spool.c ---- */
/* Empty, to write and read, and the key of what is written, which is nowhere else; -1: there can be
 * none in that folder, or dir is NULL. */
int http_spool_open(const char *dir, struct cipher **cipher);
/* Encrypted, behind at bytes that were written before. */
bool http_spool_write(int fd, const struct cipher *cipher, uint64_t at, sv bytes);
/* Are there so many bytes on its disk, and keep_free beside them? */
bool http_spool_has_room(int fd, uint64_t len, uint64_t keep_free);

/* ---- bytes of a descriptor as answer: http_stored.c ---- */
/* The answer closes what it takes. secure: it goes out over TLS. NULL: nothing is taken. */
struct http_stored {
    int fd;                /* taken */
    struct cipher *cipher; /* taken; NULL: the bytes are plain */
    uint64_t base;         /* where in the file the byte stands that offset 0 is */
    uint64_t offset, len;
};
struct MHD_Response *http_stored(const struct http_stored *stored, bool secure);

/* ---- TLS: http_tls.c, http_trust.c, http_shake.c ---- */
/* What is shown now; never NULL. Counted: each take has its drop. */
struct http_pair *http_pair_take(struct http_tls *tls);
void http_pair_drop(struct http_pair *pair);
/* Certificates as the library reads them. */
struct http_crts {
    gnutls_x509_crt_t *all;
    unsigned n;
};
static inline void http_crts_done(struct http_crts *crts)
{
    for (unsigned i = 0; i < crts->n; i++)
        gnutls_x509_crt_deinit(crts->all[i]);
    gnutls_free(crts->all);
}
static inline gnutls_datum_t http_datum(sv text)
{
    return (gnutls_datum_t){ (unsigned char *)(uintptr_t)text.ptr, (unsigned)text.len };
}
/* For gnutls_certificate_retrieve_function2; the pair's. */
void http_pair_show(struct http_pair *pair, gnutls_pcert_st **chain, unsigned *n,
                    gnutls_privkey_t *key);
/* Must callers show a certificate? */
bool http_tls_asks(const struct http_tls *tls);
/* Whose certificates count now; NULL: callers need none. Counted: each take and hold has its
 * drop. */
struct http_trust *http_trust_take(struct http_tls *tls);
struct http_trust *http_trust_hold(struct http_trust *trust);
void http_trust_drop(struct http_trust *trust);
/* See http_tls_trust(). */
MUST_USE err_code http_trust_read(sv authorities, sv revoked, int64_t now_ms,
                                  struct http_trust **out, struct http_authorities *told,
                                  struct err *e);
/* Why the chain, the caller's own first, is not taken; NULL: it is. */
const char *http_trust_judge(const struct http_trust *trust, const gnutls_datum_t *chain,
                             unsigned n);

/* What libmicrohttpd is told at the start, ended by MHD_OPTION_END. */
#define HTTP_SHAKE_OPTIONS 3u
void http_shake_options(const struct http_tls *tls, struct MHD_OptionItem out[HTTP_SHAKE_OPTIONS]);
/* A connection came; before its first byte is read. */
void http_shake_begin(struct http_conn *conn, struct MHD_Connection *library,
                      gnutls_session_t session);
/* For the watch: handshakes that waited, and for which something came, go on. */
void http_shake_go_on(struct http_conns *all);
/* Whose certificate is it? Once, when the first head is there. */
void http_shake_meet(struct http_conn *conn);
/* An answer of so many bytes begins, and is over: what is small goes out as one record. */
#define HTTP_HOLD_MAX (8u << 10)
void http_shake_hold(struct http_conn *conn);
void http_shake_release(struct http_conn *conn);
/* It is about to be closed; the session is gone. Why the handshake failed; NULL: it did not. */
const char *http_shake_end(struct http_conn *conn);

/* ---- the watch: http_watch.c ---- */
/* limits: all of them given. Starts the watch. */
MUST_USE err_code http_conns_start(struct http_conns *all, const struct http_limits *limits,
                                   struct err *e);
/* Every connection is closed. */
void http_conns_stop(struct http_conns *all);
/* Is it over its time? Reads the kernel's counters of the socket. */
bool http_conn_is_late_locked(struct http_conn *conn, uint64_t now_us);

/* ---- turns of the server's threads: http_alive.c ---- */
struct http_turns {
    unsigned n;
    atomic_uint n_known;
    atomic_uint_fast64_t *since_us; /* one of each thread: since when it is in our code; 0: not */
};
void http_turns_init(struct http_turns *turns, unsigned n_threads);
void http_turns_done(struct http_turns *turns);
/* The calling thread, which is one of the library's, begins and ends a turn of ours. */
void http_turn_begin(struct http_turns *turns);
void http_turn_end(void);

/* ---- the server ---- */
struct http_server {
    struct MHD_Daemon *daemon;
    struct http_server_config cfg;
    struct http_conns conns;
    int listen_fd;
    struct http_turns turns;
    char address[NI_MAXHOST + 16];
    struct {
        pthread_mutex_t lock;
        pthread_cond_t idle;
        unsigned n_open; /* exchanges handed to the handler and not yet over */
        struct http_exchange *spare;
        unsigned n_spare;
    } locked;
};

/* Every limit that is 0 becomes that of base/limits.h. */
void http_limits_complete(struct http_limits *limits);
/* "HOST:PORT" or "[V6]:PORT" -> a bound, listening socket. ERR_INVALID, ERR_EXISTS. */
MUST_USE err_code http_listen(sv address, int *out_fd, struct err *e);
/* The address that fd is bound to, likewise. */
void http_listen_name(int fd, char *out, size_t size);

/* ---- exchanges: http_exchange.c ---- */
struct http_exchange {
    struct http_exchange *next_spare;
    struct http_server *server;
    struct MHD_Connection *conn;
    struct http_conn *at; /* conn as we know it; both outlive x */
    struct arena *arena;
    struct http_request req;
    struct http_body body;
    struct http_answer answer;
    void *kept;                   /* the handler's */
    uint64_t over_us, over_bytes; /* since when it is too much, and what came of it since then */
    bool begun;                   /* headers seen */
    bool last;                    /* the connection ends behind the answer */
    bool small;                   /* the answer has a body, of HTTP_HOLD_MAX at most */
    bool counted;                 /* in n_open */
    bool chunks;                  /* the caller takes an answer of unknown length */
    /* its answer, when that goes out while it is made: http_stream.c; else NULL */
    struct http_stream *stream;
    /* Then: the exchange is over, but for its memory. Has the maker ended it, too? Else it stays,
     * and the maker clears it up. */
    bool (*stream_over)(struct http_stream *stream);
    bool (*stream_gone)(struct http_stream *stream); /* see http_exchange_gone() */
    char peer[INET6_ADDRSTRLEN];
    struct {
        pthread_mutex_t lock;
        enum { READING, HANDLED, SUSPENDED, ANSWERED } state;
        struct MHD_Response *response;
        unsigned status;
    } locked;
};

/* Called by the library: cls is the server. A request line was read; a request is over; a
 * connection comes or goes. */
void *http_exchange_begin(void *cls, const char *uri, struct MHD_Connection *conn);
void http_exchange_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                             enum MHD_RequestTerminationCode toe);
void http_exchange_connection(void *cls, struct MHD_Connection *conn, void **context,
                              enum MHD_ConnectionNotificationCode what);
/* Behind its end: what it had in memory is for the next one. */
void http_exchange_leave(struct http_exchange *exchange);
/* A spare one, when the server ends. */
void http_exchange_free(struct http_exchange *exchange);
/* The answer of the exchange: r is taken, headers are copied. Once per exchange. */
void http_exchange_answer(struct http_exchange *exchange, unsigned status,
                          const struct http_header *headers, size_t n_headers,
                          struct MHD_Response *r);
/* Hands the answer that the exchange has to the library. */
enum MHD_Result http_exchange_send(struct http_exchange *exchange);

/* ---- requests: http_request.c ---- */
/* Called by the library: with the head, with each piece of body, with the end of the body, and once
 * more after a resume. */
enum MHD_Result http_request_go_on(void *cls, struct MHD_Connection *conn, const char *url,
                                   const char *method, const char *version, const char *upload,
                                   size_t *upload_size, void **con_cls);

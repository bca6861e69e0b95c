/* http_server.c - libmicrohttpd behind http_server.h.
 *
 * An exchange is born when the request line is read (that is where libmicrohttpd shows the target
 * as it was received) and dies when libmicrohttpd says the request is over. Between the two:
 *
 *   READING --body complete--> HANDLED --reply inside the handler--> ANSWERED (no suspension)
 *                                 \--handler returned first--> SUSPENDED --reply--> ANSWERED
 *
 * The lock decides the race between a handler that returns and a worker that answers. A suspended
 * connection is not read and not timed out, so its exchange outlives the caller's hang-up.
 *
 * A chunked request is the last of its connection: the library does not show the lines between the chunks, and takes
 * some that others read differently, so nothing behind them is taken for a request. */
#include "net/http_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_HEADERS 128u
#define MAX_SPARE   64u /* exchanges kept for the next request, each with an empty arena */
#define DYING       24u /* connections that are cut, and not cleared up yet */

struct http_server {
    struct MHD_Daemon *daemon;
    struct http_server_config cfg;
    struct http_conns conns;
    int listen_fd;
    char address[NI_MAXHOST + 16];
    struct {
        pthread_mutex_t lock;
        pthread_cond_t idle;
        unsigned n_open; /* exchanges handed to the handler and not yet over */
        struct http_exchange *spare;
        unsigned n_spare;
    } locked;
};

struct http_exchange {
    struct http_exchange *next_spare;
    struct http_server *server;
    struct MHD_Connection *conn;
    struct http_conn *at; /* conn as we know it; both outlive x */
    struct arena *arena;
    struct http_request req;
    struct http_body body;
    struct http_answer answer;
    uint64_t over_us, over_bytes; /* since when it is too much, and what came of it since then */
    bool begun;                   /* headers seen */
    bool last;                    /* the connection ends behind the answer */
    bool counted;                 /* in n_open */
    char peer[INET6_ADDRSTRLEN];
    struct {
        pthread_mutex_t lock;
        enum { READING, HANDLED, SUSPENDED, ANSWERED } state;
        struct MHD_Response *response;
        unsigned status;
    } locked;
};

const struct http_request *http_exchange_request(struct http_exchange *x)
{
    return &x->req;
}

bool http_exchange_gone(struct http_exchange *x)
{
    struct pollfd p = { .fd = x->at->fd, .events = POLLRDHUP };
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

sv http_header_get(const struct http_request *req, const char *name)
{
    sv n = sv_from(name);
    for (size_t i = 0; i < req->n_headers; i++)
        if (sv_eq_nocase(req->headers[i].name, n))
            return req->headers[i].value;
    return SV_NONE;
}

/* ---- birth and death ---- */

static struct http_exchange *exchange_take(struct http_server *s)
{
    pthread_mutex_lock(&s->locked.lock);
    struct http_exchange *x = s->locked.spare;
    if (x) {
        s->locked.spare = x->next_spare;
        s->locked.n_spare--;
    }
    pthread_mutex_unlock(&s->locked.lock);
    struct arena *a = x ? x->arena : arena_new(LIMIT_REQUEST_MEMORY);
    if (x == NULL && (x = malloc(sizeof *x)) == NULL)
        abort();
    memset(x, 0, sizeof *x);
    x->arena = a;
    return x;
}

static void exchange_free(struct http_exchange *x)
{
    arena_free(x->arena);
    free(x);
}

/* The library would take memory of the connection for each pair of a query, and, when a thousand pairs have used
 * it up, answer nothing until the connection times out. We read the target ourselves: show it one pair. The text
 * is the connection's own buffer, which the library writes into as well. */
static void hide_pairs(const char *uri)
{
    char *c = (char *)(uintptr_t)uri + strcspn(uri, "?");
    while ((c = strchr(c, '&')) != NULL)
        *c = '_';
}

static void *exchange_begin(void *cls, const char *uri, struct MHD_Connection *conn)
{
    struct http_exchange *x = exchange_take(cls);
    x->server = cls;
    x->conn = conn;
    x->at = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    x->at->exchange = x;
    x->body.fd = -1;
    x->req.arena = x->arena;
    x->req.start_us = clock_mono_us();
    if (atomic_load(&x->at->phase) == CONN_IDLE)
        http_conn_is_at(x->at, CONN_HEAD, x->req.start_us);
    x->req.target = arena_sv(x->arena, sv_from(uri));
    hide_pairs(uri);
    pthread_mutex_init(&x->locked.lock, NULL);
    return x;
}

static void exchange_end(struct http_server *s, struct http_exchange *x)
{
    x->at->exchange = NULL;
    x->at->unread |= x->locked.state == READING; /* the library has refused it by itself */
    http_conn_is_at(x->at, CONN_IDLE, clock_mono_us());
    if (x->locked.response)
        MHD_destroy_response(x->locked.response);
    pthread_mutex_destroy(&x->locked.lock);
    http_body_done(&x->body, x->at);
    http_answer_done(&x->answer, x->at);
    arena_reset(x->arena);
    pthread_mutex_lock(&s->locked.lock);
    if (x->counted && --s->locked.n_open == 0)
        pthread_cond_broadcast(&s->locked.idle);
    bool keep = s->locked.n_spare < MAX_SPARE;
    if (keep) {
        x->next_spare = s->locked.spare;
        s->locked.spare = x;
        s->locked.n_spare++;
    }
    pthread_mutex_unlock(&s->locked.lock);
    if (!keep)
        exchange_free(x);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode toe)
{
    (void)conn, (void)toe;
    if (*con_cls)
        exchange_end(cls, *con_cls);
    *con_cls = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *s = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        const union MHD_ConnectionInfo *ci =
            MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        *context = http_conn_open(&s->conns, fd, ci ? ci->client_addr : NULL);
    } else {
        struct http_conn *c = *context;
        if (c->exchange) /* a head that it found two faults in ends without on_completed() */
            exchange_end(s, c->exchange);
        http_conn_close(c);
        *context = NULL;
    }
}

/* ---- the request's parts ---- */

struct header_list {
    struct http_exchange *x;
    struct http_header *items;
    size_t n;
    bool full;
};

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                  size_t key_size, const char *value, size_t value_size)
{
    (void)kind;
    struct header_list *l = cls;
    if (l->n == MAX_HEADERS) {
        l->full = true;
        return MHD_NO;
    }
    l->items[l->n].name = sv_make(key, key_size);
    l->items[l->n++].value = value ? sv_make(value, value_size) : SV_NONE;
    return MHD_YES;
}

static void set_peer(struct http_exchange *x)
{
    const union MHD_ConnectionInfo *ci =
        MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = ci ? ci->client_addr : NULL;
    const void *addr = NULL;
    if (sa && sa->sa_family == AF_INET)
        addr = &((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    else if (sa && sa->sa_family == AF_INET6)
        addr = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
    if (addr)
        inet_ntop(sa->sa_family, addr, x->peer, sizeof x->peer);
    x->req.peer = sv_from(x->peer);
}

/* What stands between the texts of a head is not shown; see http_head.c. */
static bool is_in_place(struct http_exchange *x, const char *method, const char *target,
                        const char *version)
{
#if MHD_VERSION < 0x01000000
    const union MHD_ConnectionInfo *ci =
        MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const struct http_head_layout l = { method, target, version, x->req.target.len,
                                        ci ? ci->header_size : 0 };
    return http_head_in_place(&l, x->req.headers, x->req.n_headers);
#else /* it refuses by itself what is not */
    (void)x, (void)method, (void)target, (void)version;
    return true;
#endif
}

/* False when the head cannot be taken: too many headers, or a target over the arena's budget. */
static bool read_head(struct http_exchange *x, const char *method, const char *target,
                      const char *version, struct http_framing *framing)
{
    struct header_list l = { .x = x };
    l.items = arena_alloc(x->arena, MAX_HEADERS * sizeof *l.items);
    if (l.items == NULL || x->req.target.ptr == NULL)
        return false;
    MHD_get_connection_values_n(x->conn, MHD_HEADER_KIND, add_header, &l);
    if (l.full)
        return false;
    x->req.method = arena_sv(x->arena, sv_from(method));
    x->req.headers = l.items;
    x->req.n_headers = l.n;
    size_t q = sv_find(x->req.target, '?');
    x->req.path = http_path_collapse(x->arena, sv_head(x->req.target, q));
    x->req.query = sv_tail(x->req.target, q + 1);
    set_peer(x);
    x->req.why = http_head_fault(&x->req, sv_from(version), framing);
    x->req.length = framing->chunked ? HTTP_UNTOLD : framing->length;
    if (x->req.why == NULL && !is_in_place(x, method, target, version))
        x->req.why = "The head of the request is not made of lines that end in CRLF";
    x->req.refusal = x->req.why ? HTTP_MALFORMED : HTTP_TAKEN;
    x->req.crowded = http_conn_is_crowded(x->at);
    x->last = framing->chunked || x->req.crowded;
    return x->req.path.ptr != NULL;
}

static enum MHD_Result refuse(struct MHD_Connection *conn, unsigned status, const char *text)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                             MHD_RESPMEM_PERSISTENT);
    struct http_conn *at =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    at->unread = true;
    MHD_add_response_header(r, "Content-Type", "text/plain");
    MHD_add_response_header(r, "Connection", "close");
    enum MHD_Result ok = MHD_queue_response(conn, status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result send_response(struct http_exchange *x)
{
    enum MHD_Result ok = MHD_queue_response(x->conn, x->locked.status, x->locked.response);
    MHD_destroy_response(x->locked.response);
    x->locked.response = NULL;
    return ok;
}

/* What is handed over before its body was read is answered then, and the connection ends. */
static enum MHD_Result hand_over(struct http_exchange *x, bool unread)
{
    struct http_server *s = x->server;
    http_conn_is_at(x->at, CONN_WORK, 0);
    x->at->unread = unread;
    x->last |= unread;
    if (!unread && !x->over_us && http_body_end(&x->body, x->at) != BODY_OK)
        x->req.refusal = HTTP_NO_ROOM;
    x->req.body = x->req.refusal ? SV_NONE : buf_sv(&x->body.memory);
    x->counted = true;
    pthread_mutex_lock(&s->locked.lock);
    s->locked.n_open++;
    pthread_mutex_unlock(&s->locked.lock);
    x->locked.state = HANDLED; /* no other thread knows x yet */
    s->cfg.handler(s->cfg.ctx, x);
    enum MHD_Result ok = MHD_YES;
    pthread_mutex_lock(&x->locked.lock);
    bool answered = x->locked.state == ANSWERED;
    if (!answered) {
        x->locked.state = SUSPENDED;
        MHD_suspend_connection(x->conn);
    }
    pthread_mutex_unlock(&x->locked.lock);
    if (answered)
        ok = send_response(x);
    return ok;
}

/* What is too much can be answered when it is over, not before: it is read for as long as behind a refusal, and
 * thrown away. False: it goes on for too long, the connection ends. */
static bool take_piece(struct http_exchange *x, sv piece)
{
    uint64_t now_us = clock_mono_us();
    if (!x->over_us) {
        body_result r = http_body_add(&x->body, x->at, x->server->cfg.spool_dir, piece);
        if (r == BODY_OK)
            return true;
        x->req.body_too_large = r == BODY_TOO_LARGE;
        x->req.refusal = r == BODY_NO_ROOM ? HTTP_NO_ROOM : HTTP_TAKEN;
        x->last = true;
        x->over_us = now_us;
        http_body_done(&x->body, x->at);
    }
    x->over_bytes += piece.len;
    return now_us - x->over_us < LIMIT_LINGER_S * UINT64_C(1000000) &&
           x->over_bytes < LIMIT_LINGER_BYTES;
}

/* The head is there. True: the body is read, if there is one. */
static bool may_go_on(struct http_exchange *x)
{
    struct http_server *s = x->server;
    struct http_allowance a = { 0 };
    if (x->req.refusal)
        return false;
    if (x->req.length == 0)
        return true;
    if (x->req.crowded)
        return false;
    s->cfg.accept(s->cfg.ctx, &x->req, &a);
    if (a.refused)
        x->req.refusal = HTTP_REFUSED;
    else if (x->req.length != HTTP_UNTOLD && x->req.length > a.body_max)
        x->req.body_too_large = true;
    else if (a.proven && x->req.length != HTTP_UNTOLD &&
             !http_share_would_fit(x->at, x->req.length))
        x->req.refusal = HTTP_NO_ROOM;
    else
        http_body_init(&x->body, &a, x->req.length);
    return !x->req.refusal && !x->req.body_too_large;
}

/* Called by libmicrohttpd: with the head, with each piece of body, with the end of the body, and
 * once more after a resume. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **con_cls)
{
    (void)cls;
    struct http_exchange *x = *con_cls;
    if (!x->begun) {
        x->begun = true;
        struct http_framing framing;
        if (!read_head(x, method, url, version, &framing))
            return refuse(conn, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers\n");
        if (!may_go_on(x))
            return hand_over(x, true);
        if (x->req.length) {
            atomic_store(&x->at->body_bytes, 0);
            http_conn_is_at(x->at, CONN_BODY, clock_mono_us());
        }
        return MHD_YES;
    }
    if (x->locked.state == READING) {
        if (*upload_size) {
            sv piece = sv_make(upload, *upload_size);
            atomic_fetch_add(&x->at->body_bytes, piece.len);
            *upload_size = 0;
            return take_piece(x, piece) ? MHD_YES : MHD_NO;
        }
        return hand_over(x, false);
    }
    pthread_mutex_lock(&x->locked.lock);
    bool answered = x->locked.state == ANSWERED && x->locked.response != NULL;
    pthread_mutex_unlock(&x->locked.lock);
    if (answered)
        return send_response(x);
    *upload_size = 0;
    return MHD_YES;
}

void http_exchange_answer(struct http_exchange *x, unsigned status,
                          const struct http_header *headers, size_t n_headers,
                          struct MHD_Response *r)
{
    if (r == NULL)
        abort();
    for (size_t i = 0; i < n_headers; i++) {
        char *name = arena_str(x->arena, headers[i].name);
        char *value = arena_str(x->arena, headers[i].value);
        if (name && value)
            MHD_add_response_header(r, name, value);
    }
    if (x->last)
        MHD_add_response_header(r, "Connection", "close");
    pthread_mutex_lock(&x->locked.lock);
    bool resume = x->locked.state == SUSPENDED;
    http_conn_is_at(x->at, CONN_ANSWER, clock_mono_us());
    x->locked.state = ANSWERED;
    x->locked.status = status;
    x->locked.response = r;
    struct MHD_Connection *conn = x->conn;
    pthread_mutex_unlock(&x->locked.lock);
    if (resume)
        MHD_resume_connection(conn);
}

bool http_room(struct http_exchange *x, size_t len)
{
    return http_answer_find_room(&x->answer, x->at, x->server->cfg.spool_dir, len);
}

void http_reply(struct http_exchange *x, unsigned status, const struct http_header *headers,
                size_t n_headers, struct buf *body)
{
    bool large = body && body->len >= HTTP_PACK_MIN, packed = false;
    if (large && http_takes_gzip(http_header_get(&x->req, "Accept-Encoding")))
        packed = http_pack(body);
    struct MHD_Response *r = http_answer_take(&x->answer, x->at, x->server->cfg.spool_dir, body);
    if (r && large)
        MHD_add_response_header(r, "Vary", "Accept-Encoding");
    if (r && packed)
        MHD_add_response_header(r, "Content-Encoding", "gzip");
    http_exchange_answer(x, status, headers, n_headers, r);
}

/* ---- life of the server ---- */

/* "HOST:PORT" or "[V6]:PORT" -> a bound, listening socket. */
static err_code listen_on(sv address, int *out_fd, struct err *e)
{
    size_t colon = address.len;
    while (colon > 0 && address.ptr[colon - 1] != ':')
        colon--;
    uint64_t port;
    if (colon == 0 || !sv_to_u64(sv_tail(address, colon), &port) || port > 65535)
        return ERR(e, ERR_INVALID, "listen address \"%.*s\" is not HOST:PORT", SV_FMT(address));
    sv host = sv_head(address, colon - 1);
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = sv_make(host.ptr + 1, host.len - 2);
    char host_z[NI_MAXHOST], port_z[8];
    if (host.len == 0 || host.len >= sizeof host_z)
        return ERR(e, ERR_INVALID, "listen address \"%.*s\" is not HOST:PORT", SV_FMT(address));
    memcpy(host_z, host.ptr, host.len);
    host_z[host.len] = 0;
    (void)snprintf(port_z, sizeof port_z, "%u", (unsigned)port);
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE };
    struct addrinfo *ai;
    if (getaddrinfo(host_z, port_z, &hints, &ai) != 0)
        return ERR(e, ERR_INVALID, "listen address \"%.*s\" cannot be resolved", SV_FMT(address));
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    int bad = fd < 0;
    if (!bad) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* a nicety */
        bad = bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, 1024) != 0;
    }
    int saved = errno;
    freeaddrinfo(ai);
    if (bad) {
        if (fd >= 0)
            close(fd);
        if (saved == EADDRINUSE)
            return ERR(e, ERR_EXISTS,
                       "address %.*s is in use: stop what listens there, or give --listen another",
                       SV_FMT(address));
        return ERR(e, err_from_errno(saved), "cannot listen on %.*s: %s", SV_FMT(address),
                   strerrordesc_np(saved));
    }
    *out_fd = fd;
    return ERR_OK;
}

static void name_address(struct http_server *s)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char host[NI_MAXHOST] = "", port[8] = "";
    if (getsockname(s->listen_fd, (struct sockaddr *)&ss, &len) == 0)
        (void)getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV); /* numeric: cannot fail usefully */
    (void)snprintf(s->address, sizeof s->address, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
                   host, port);
}

static void set_limits(struct http_limits *l)
{
    if (l->n == 0)
        l->n = LIMIT_CONNECTIONS;
    if (l->n_per_address == 0)
        l->n_per_address = l->n / LIMIT_CONNECTIONS_SHARE > LIMIT_CONNECTIONS_LEAST
                               ? l->n / LIMIT_CONNECTIONS_SHARE
                               : LIMIT_CONNECTIONS_LEAST;
    if (l->n_crowded == 0)
        l->n_crowded = LIMIT_CONNECTIONS_HEALTH;
    if (l->head_us == 0)
        l->head_us = LIMIT_HEAD_S * UINT64_C(1000000);
    if (l->slow_us == 0)
        l->slow_us = LIMIT_SLOW_S * UINT64_C(1000000);
    if (l->slow_bytes == 0)
        l->slow_bytes = LIMIT_SLOW_BYTES;
    if (l->sweep_us == 0)
        l->sweep_us = 500000;
    if (l->bodies == 0)
        l->bodies = LIMIT_BODIES_BYTES;
    if (l->bodies_per_address == 0)
        l->bodies_per_address = LIMIT_BODIES_ADDRESS_BYTES;
    if (l->unproven == 0)
        l->unproven = LIMIT_UNPROVEN_BYTES;
    if (l->unproven_most == 0)
        l->unproven_most = LIMIT_UNPROVEN_MOST_BYTES;
    if (l->unproven_all == 0)
        l->unproven_all = LIMIT_UNPROVEN_MEMORY_BYTES;
    if (l->files == 0)
        l->files = LIMIT_UNPROVEN_FILES_BYTES;
    if (l->files_per_address == 0)
        l->files_per_address = LIMIT_UNPROVEN_ADDRESS_FILES_BYTES;
    if (l->n_files == 0)
        l->n_files = LIMIT_UNPROVEN_FILES;
    if (l->old_us == 0)
        l->old_us = LIMIT_UNPROVEN_S * UINT64_C(1000000);
    if (l->still_us == 0)
        l->still_us = LIMIT_UNPROVEN_STILL_MS * UINT64_C(1000);
    if (l->free_disk == 0)
        l->free_disk = LIMIT_BODIES_FREE_DISK_BYTES;
    if (l->answers == 0)
        l->answers = LIMIT_ANSWERS_BYTES;
    if (l->answer_files == 0)
        l->answer_files = LIMIT_ANSWER_FILES_BYTES;
    if (l->n_answer_files == 0)
        l->n_answer_files = LIMIT_ANSWER_FILES;
}

err_code http_server_start(const struct http_server_config *cfg, struct http_server **out,
                           struct err *e)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->cfg = *cfg;
    err_code rc = listen_on(cfg->listen, &s->listen_fd, e);
    if (rc != ERR_OK) {
        free(s);
        return rc;
    }
    set_limits(&s->cfg.limits);
    rc = http_conns_start(&s->conns, &s->cfg.limits, e);
    if (rc != ERR_OK) {
        close(s->listen_fd);
        free(s);
        return rc;
    }
    pthread_mutex_init(&s->locked.lock, NULL);
    pthread_cond_init(&s->locked.idle, NULL);
    name_address(s);
    unsigned n_threads = cfg->n_threads > 1 ? cfg->n_threads : 0; /* 0: one, without a pool */
    /* the library takes no connection past this, and shares it out to its threads; we cut before */
    unsigned places = s->cfg.limits.n + s->cfg.limits.n_crowded + DYING + n_threads;
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
        MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_THREAD_POOL_SIZE, n_threads,
        MHD_OPTION_CONNECTION_LIMIT, places, MHD_OPTION_CONNECTION_TIMEOUT, cfg->idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LIMIT_HEADERS_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, exchange_begin, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        s, MHD_OPTION_END);
    if (s->daemon == NULL) {
        http_conns_stop(&s->conns);
        close(s->listen_fd);
        free(s);
        return ERR(e, ERR_IO,
                   "the HTTP server does not start: too few file descriptors or threads");
    }
    *out = s;
    return ERR_OK;
}

sv http_server_address(const struct http_server *s)
{
    return sv_from(s->address);
}

void http_server_stop(struct http_server *s, unsigned drain_ms)
{
    if (s == NULL)
        return;
    int fd = MHD_quiesce_daemon(s->daemon);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += drain_ms / 1000;
    until.tv_nsec += (long)(drain_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->locked.lock);
    int timed_out = 0;
    while (s->locked.n_open && !timed_out)
        timed_out = pthread_cond_timedwait(&s->locked.idle, &s->locked.lock, &until);
    bool idle = s->locked.n_open == 0;
    pthread_mutex_unlock(&s->locked.lock);
    if (!idle)
        return; /* exchanges still out there use s: the process is about to end anyway */
    MHD_stop_daemon(s->daemon);
    http_conns_stop(&s->conns);
    if (fd >= 0)
        close(fd);
    for (struct http_exchange *x = s->locked.spare, *next; x; x = next) {
        next = x->next_spare;
        exchange_free(x);
    }
    pthread_mutex_destroy(&s->locked.lock);
    pthread_cond_destroy(&s->locked.idle);
    free(s);
}

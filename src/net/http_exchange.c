/* http_exchange.c - one request and its answer.
 *
 * An exchange is born when the request line is read: that is where libmicrohttpd shows the target
 * as it was received. It dies when libmicrohttpd says that the request is over. Between the two:
 *
 *   READING --body complete--> HANDLED --reply inside the handler--> ANSWERED (no suspension)
 *                                 \--handler returned first--> SUSPENDED --reply--> ANSWERED
 *
 * The exchange's lock decides the race between a handler that returns and a worker that answers. A
 * suspended connection is neither read nor timed out, so its exchange outlives a caller who hangs
 * up. An answer that is sent while it is made (http_stream.c) keeps it until whoever makes it has
 * ended. Exchanges are kept for the next request, with their arenas empty. */
#include "net/http_private.h"

#include "base/clock.h"
#include "base/limits.h"

#define MAX_SPARE 64u /* exchanges kept for the next request, each with an empty arena */
#define HSTS      "max-age=31536000" /* a year, and this name alone */

const struct http_request *http_exchange_request(struct http_exchange *exchange)
{
    return &exchange->req;
}

void http_exchange_keep(struct http_exchange *exchange, void *kept)
{
    exchange->kept = kept;
}

void *http_exchange_kept(const struct http_exchange *exchange)
{
    return exchange->kept;
}

bool http_exchange_gone(struct http_exchange *exchange)
{
    return exchange->stream ? exchange->stream_gone(exchange->stream)
                            : http_conn_has_hung_up(exchange->at);
}

/* ---- birth and death ---- */

static struct http_exchange *exchange_take(struct http_server *server)
{
    pthread_mutex_lock(&server->locked.lock);
    struct http_exchange *exchange = server->locked.spare;
    if (exchange) {
        server->locked.spare = exchange->next_spare;
        server->locked.n_spare--;
    }
    pthread_mutex_unlock(&server->locked.lock);
    struct arena *a = exchange ? exchange->arena : arena_new(LIMIT_REQUEST_MEMORY);
    if (exchange == NULL && (exchange = malloc(sizeof *exchange)) == NULL)
        abort();
    memset(exchange, 0, sizeof *exchange);
    exchange->arena = a;
    return exchange;
}

void http_exchange_free(struct http_exchange *exchange)
{
    arena_free(exchange->arena);
    free(exchange);
}

/* The library would take memory of the connection for each pair of a query, and, when a thousand
 * pairs have used it up, answer nothing until the connection times out. We read the target
 * ourselves: show it one pair. The text is the connection's own buffer, which the library writes
 * into as well. */
static void hide_pairs(const char *uri)
{
    char *c = (char *)(uintptr_t)uri + strcspn(uri, "?");
    while ((c = strchr(c, '&')) != NULL)
        *c = '_';
}

void *http_exchange_begin(void *cls, const char *uri, struct MHD_Connection *conn)
{
    struct http_exchange *exchange = exchange_take(cls);
    exchange->server = cls;
    exchange->conn = conn;
    exchange->at =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    exchange->at->exchange = exchange;
    exchange->body.fd = -1;
    exchange->req.arena = exchange->arena;
    exchange->req.start_us = clock_mono_us();
    if (atomic_load(&exchange->at->phase) == CONN_IDLE)
        http_conn_is_at(exchange->at, CONN_HEAD, exchange->req.start_us);
    exchange->req.target = arena_sv(exchange->arena, sv_from(uri));
    hide_pairs(uri);
    pthread_mutex_init(&exchange->locked.lock, NULL);
    return exchange;
}

static void exchange_end(struct http_exchange *exchange)
{
    exchange->at->exchange = NULL;
    http_shake_release(exchange->at);
    /* the library has refused it by itself */
    exchange->at->unread |= exchange->locked.state == READING;
    http_conn_is_at(exchange->at, CONN_IDLE, clock_mono_us());
    if (exchange->locked.response)
        MHD_destroy_response(exchange->locked.response);
    http_body_done(&exchange->body, exchange->at);
    http_answer_done(&exchange->answer, exchange->at);
    if (exchange->stream == NULL || exchange->stream_over(exchange->stream))
        http_exchange_leave(exchange);
}

void http_exchange_leave(struct http_exchange *exchange)
{
    struct http_server *server = exchange->server;
    pthread_mutex_destroy(&exchange->locked.lock);
    arena_reset(exchange->arena);
    pthread_mutex_lock(&server->locked.lock);
    assert(!exchange->counted || server->locked.n_open > 0);
    if (exchange->counted && --server->locked.n_open == 0)
        pthread_cond_broadcast(&server->locked.idle);
    bool keep = server->locked.n_spare < MAX_SPARE;
    if (keep) {
        exchange->next_spare = server->locked.spare;
        server->locked.spare = exchange;
        server->locked.n_spare++;
    }
    pthread_mutex_unlock(&server->locked.lock);
    if (!keep)
        http_exchange_free(exchange);
}

void http_exchange_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                             enum MHD_RequestTerminationCode toe)
{
    (void)cls, (void)conn, (void)toe;
    if (*con_cls)
        exchange_end(*con_cls);
    *con_cls = NULL;
}

void http_exchange_connection(void *cls, struct MHD_Connection *conn, void **context,
                              enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = cls;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        const union MHD_ConnectionInfo *ci =
            MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        struct http_conn *c = http_conn_open(&server->conns, fd, ci ? ci->client_addr : NULL);
        ci = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        if (ci && server->cfg.tls)
            http_shake_begin(c, conn, ci->tls_session);
        *context = c;
    } else {
        struct http_conn *c = *context;
        /* a head that it found two faults in ends without http_exchange_completed() */
        if (c->exchange)
            exchange_end(c->exchange);
        http_conn_close(c);
        *context = NULL;
    }
}

/* ---- the answer ---- */

enum MHD_Result http_exchange_send(struct http_exchange *exchange)
{
    if (exchange->small)
        http_shake_hold(exchange->at);
    enum MHD_Result ok =
        MHD_queue_response(exchange->conn, exchange->locked.status, exchange->locked.response);
    MHD_destroy_response(exchange->locked.response);
    exchange->locked.response = NULL;
    return ok;
}

void http_exchange_answer(struct http_exchange *exchange, unsigned status,
                          const struct http_header *headers, size_t n_headers,
                          struct MHD_Response *r)
{
    if (r == NULL)
        abort();
    for (size_t i = 0; i < n_headers; i++) {
        char *name = arena_str(exchange->arena, headers[i].name);
        char *value = arena_str(exchange->arena, headers[i].value);
        if (name && value)
            MHD_add_response_header(r, name, value);
    }
    if (exchange->last)
        MHD_add_response_header(r, "Connection", "close");
    if (exchange->server->cfg.tls && exchange->server->cfg.hsts)
        MHD_add_response_header(r, "Strict-Transport-Security", HSTS);
    pthread_mutex_lock(&exchange->locked.lock);
    /* the handler answers once */
    assert(exchange->locked.state == HANDLED || exchange->locked.state == SUSPENDED);
    bool resume = exchange->locked.state == SUSPENDED;
    http_conn_is_at(exchange->at, CONN_ANSWER, clock_mono_us());
    exchange->locked.state = ANSWERED;
    exchange->locked.status = status;
    exchange->locked.response = r;
    struct MHD_Connection *conn = exchange->conn;
    pthread_mutex_unlock(&exchange->locked.lock);
    if (resume)
        MHD_resume_connection(conn);
}

bool http_room(struct http_exchange *exchange, size_t len)
{
    return http_answer_find_room(&exchange->answer, exchange->at, exchange->server->cfg.spool_dir,
                                 len);
}

void http_reply(struct http_exchange *exchange, unsigned status, const struct http_header *headers,
                size_t n_headers, struct buf *body)
{
    bool large = body && body->len >= HTTP_PACK_MIN, packed = false;
    if (large && http_takes_gzip(http_header_get(&exchange->req, "Accept-Encoding")))
        packed = http_gzip(body);
    exchange->small = body && body->len > 0 && body->len <= HTTP_HOLD_MAX;
    struct MHD_Response *r =
        http_answer_take(&exchange->answer, exchange->at, exchange->server->cfg.spool_dir, body);
    if (r && large)
        MHD_add_response_header(r, "Vary", "Accept-Encoding");
    if (r && packed)
        MHD_add_response_header(r, "Content-Encoding", "gzip");
    http_exchange_answer(exchange, status, headers, n_headers, r);
}

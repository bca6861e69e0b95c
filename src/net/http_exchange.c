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
 * up. Exchanges are kept for the next request, with their arenas empty. */
#include "net/http_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <poll.h>

#define MAX_SPARE 64u /* exchanges kept for the next request, each with an empty arena */

const struct http_request *http_exchange_request(struct http_exchange *x)
{
    return &x->req;
}

bool http_exchange_gone(struct http_exchange *x)
{
    struct pollfd p = { .fd = x->at->fd, .events = POLLRDHUP };
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
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

void http_exchange_free(struct http_exchange *x)
{
    arena_free(x->arena);
    free(x);
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
    /* the library has refused it by itself */
    x->at->unread |= x->locked.state == READING;
    http_conn_is_at(x->at, CONN_IDLE, clock_mono_us());
    if (x->locked.response)
        MHD_destroy_response(x->locked.response);
    pthread_mutex_destroy(&x->locked.lock);
    http_body_done(&x->body, x->at);
    http_answer_done(&x->answer, x->at);
    arena_reset(x->arena);
    pthread_mutex_lock(&s->locked.lock);
    assert(!x->counted || s->locked.n_open > 0);
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
        http_exchange_free(x);
}

void http_exchange_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                             enum MHD_RequestTerminationCode toe)
{
    (void)conn, (void)toe;
    if (*con_cls)
        exchange_end(cls, *con_cls);
    *con_cls = NULL;
}

void http_exchange_connection(void *cls, struct MHD_Connection *conn, void **context,
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
        /* a head that it found two faults in ends without http_exchange_completed() */
        if (c->exchange)
            exchange_end(s, c->exchange);
        http_conn_close(c);
        *context = NULL;
    }
}

/* ---- the answer ---- */

enum MHD_Result http_exchange_send(struct http_exchange *x)
{
    enum MHD_Result ok = MHD_queue_response(x->conn, x->locked.status, x->locked.response);
    MHD_destroy_response(x->locked.response);
    x->locked.response = NULL;
    return ok;
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
    /* the handler answers once */
    assert(x->locked.state == HANDLED || x->locked.state == SUSPENDED);
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
        packed = http_gzip(body);
    struct MHD_Response *r = http_answer_take(&x->answer, x->at, x->server->cfg.spool_dir, body);
    if (r && large)
        MHD_add_response_header(r, "Vary", "Accept-Encoding");
    if (r && packed)
        MHD_add_response_header(r, "Content-Encoding", "gzip");
    http_exchange_answer(x, status, headers, n_headers, r);
}

/* http_request.c - A request as libmicrohttpd shows it: the head, pieces of the body, the end of
 * the body. Each step may end in a refusal; the handler then answers, and the connection ends.
 *
 * A chunked request is the last one of its connection. The library does not show the lines between
 * the chunks, and takes some that others read differently; so nothing behind them is taken for a
 * request. */
#include "net/http_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <arpa/inet.h>

#define MAX_HEADERS 128u

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

static void set_peer(struct http_exchange *exchange)
{
    const union MHD_ConnectionInfo *ci =
        MHD_get_connection_info(exchange->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *sa = ci ? ci->client_addr : NULL;
    const void *addr = NULL;
    if (sa && sa->sa_family == AF_INET)
        addr = &((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    else if (sa && sa->sa_family == AF_INET6)
        addr = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
    if (addr)
        inet_ntop(sa->sa_family, addr, exchange->peer, sizeof exchange->peer);
    exchange->req.peer = sv_from(exchange->peer);
}

/* What stands between the texts of a head is not shown; see http_head.c. */
static bool is_in_place(struct http_exchange *exchange, const char *method, const char *target,
                        const char *version)
{
#if MHD_VERSION < 0x01000000
    const union MHD_ConnectionInfo *ci =
        MHD_get_connection_info(exchange->conn, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const struct http_head_layout l = { method, target, version, exchange->req.target.len,
                                        ci ? ci->header_size : 0 };
    return http_head_in_place(&l, exchange->req.headers, exchange->req.n_headers);
#else /* it refuses by itself what is not */
    (void)exchange, (void)method, (void)target, (void)version;
    return true;
#endif
}

/* Over TLS: whose certificate is it, and is it taken? */
static void read_caller(struct http_exchange *exchange)
{
    struct http_shake *shake = &exchange->at->shake;
    http_shake_meet(exchange->at);
    exchange->req.secure = shake->session != NULL;
    exchange->req.tls = sv_from(shake->version);
    exchange->req.cipher = sv_from(shake->cipher);
    if (shake->stranger == NULL)
        exchange->req.certificate = sv_from(shake->name);
    else if (exchange->req.refusal == HTTP_TAKEN) {
        exchange->req.refusal = HTTP_STRANGER;
        exchange->req.why = shake->stranger;
    }
}

/* False when the head cannot be taken: too many headers, or a target over the arena's budget. */
static bool read_head(struct http_exchange *exchange, const char *method, const char *target,
                      const char *version, struct http_framing *framing)
{
    struct header_list l = { .x = exchange };
    l.items = arena_alloc(exchange->arena, MAX_HEADERS * sizeof *l.items);
    if (l.items == NULL || exchange->req.target.ptr == NULL)
        return false;
    MHD_get_connection_values_n(exchange->conn, MHD_HEADER_KIND, add_header, &l);
    if (l.full)
        return false;
    exchange->req.method = arena_sv(exchange->arena, sv_from(method));
    exchange->req.headers = l.items;
    exchange->req.n_headers = l.n;
    size_t q = sv_find(exchange->req.target, '?');
    exchange->req.path = http_path_collapse(exchange->arena, sv_head(exchange->req.target, q));
    exchange->req.query = sv_tail(exchange->req.target, q + 1);
    set_peer(exchange);
    exchange->req.why = http_head_fault(&exchange->req, sv_from(version), framing);
    exchange->req.length = framing->chunked ? HTTP_UNTOLD : framing->length;
    if (exchange->req.why == NULL && !is_in_place(exchange, method, target, version))
        exchange->req.why = "The head of the request is not made of lines that end in CRLF";
    /* behind the checks, which look at the values as they came */
    for (size_t i = 0; i < l.n; i++)
        l.items[i].value = sv_trim(l.items[i].value);
    exchange->req.refusal = exchange->req.why ? HTTP_MALFORMED : HTTP_TAKEN;
    read_caller(exchange);
    exchange->req.crowded = http_conn_is_crowded(exchange->at);
    exchange->last = framing->chunked || exchange->req.crowded;
    exchange->chunks = strcmp(version, "HTTP/1.1") == 0;
    return exchange->req.path.ptr != NULL;
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

/* What is handed over before its body was read is answered then, and the connection ends. */
static enum MHD_Result hand_over(struct http_exchange *exchange, bool unread)
{
    struct http_server *server = exchange->server;
    http_conn_is_at(exchange->at, CONN_WORK, 0);
    exchange->at->unread = unread;
    exchange->last |= unread;
    if (!unread && !exchange->over_us && http_body_end(&exchange->body, exchange->at) != BODY_OK)
        exchange->req.refusal = HTTP_NO_ROOM;
    exchange->req.body = exchange->req.refusal ? SV_NONE : buf_sv(&exchange->body.memory);
    exchange->counted = true;
    pthread_mutex_lock(&server->locked.lock);
    server->locked.n_open++;
    pthread_mutex_unlock(&server->locked.lock);
    /* no other thread knows the exchange yet */
    exchange->locked.state = HANDLED;
    server->cfg.handler(server->cfg.ctx, exchange);
    enum MHD_Result ok = MHD_YES;
    pthread_mutex_lock(&exchange->locked.lock);
    bool answered = exchange->locked.state == ANSWERED;
    if (!answered) {
        exchange->locked.state = SUSPENDED;
        MHD_suspend_connection(exchange->conn);
    }
    pthread_mutex_unlock(&exchange->locked.lock);
    if (answered)
        ok = http_exchange_send(exchange);
    return ok;
}

/* What is too much can be answered when it is over, not before: it is read for as long as behind a
 * refusal, and thrown away. False: it goes on for too long, the connection ends. */
static bool take_piece(struct http_exchange *exchange, sv piece)
{
    uint64_t now_us = clock_mono_us();
    if (!exchange->over_us) {
        body_result r =
            http_body_add(&exchange->body, exchange->at, exchange->server->cfg.spool_dir, piece);
        if (r == BODY_OK)
            return true;
        exchange->req.body_too_large = r == BODY_TOO_LARGE;
        exchange->req.refusal = r == BODY_NO_ROOM ? HTTP_NO_ROOM : HTTP_TAKEN;
        exchange->last = true;
        exchange->over_us = now_us;
        http_body_done(&exchange->body, exchange->at);
    }
    exchange->over_bytes += piece.len;
    return now_us - exchange->over_us < LIMIT_LINGER_S * UINT64_C(1000000) &&
           exchange->over_bytes < LIMIT_LINGER_BYTES;
}

/* The head is there. True: the body is read, if there is one. */
static bool may_go_on(struct http_exchange *exchange)
{
    struct http_server *server = exchange->server;
    struct http_allowance a = { 0 };
    if (exchange->req.refusal)
        return false;
    if (exchange->req.length == 0)
        return true;
    if (exchange->req.crowded)
        return false;
    server->cfg.accept(server->cfg.ctx, &exchange->req, &a);
    if (a.refused)
        exchange->req.refusal = HTTP_REFUSED;
    else if (exchange->req.length != HTTP_UNTOLD && exchange->req.length > a.body_max)
        exchange->req.body_too_large = true;
    else if (a.proven && exchange->req.length != HTTP_UNTOLD &&
             !http_share_would_fit(exchange->at, exchange->req.length))
        exchange->req.refusal = HTTP_NO_ROOM;
    else
        http_body_init(&exchange->body, &a, exchange->req.length);
    return !exchange->req.refusal && !exchange->req.body_too_large;
}

static enum MHD_Result go_on(struct MHD_Connection *conn, const char *url, const char *method,
                             const char *version, const char *upload, size_t *upload_size,
                             void **con_cls)
{
    struct http_exchange *exchange = *con_cls;
    if (!exchange->begun) {
        exchange->begun = true;
        struct http_framing framing;
        if (!read_head(exchange, method, url, version, &framing))
            return refuse(conn, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers\n");
        if (!may_go_on(exchange))
            return hand_over(exchange, true);
        if (exchange->req.length) {
            atomic_store(&exchange->at->body_bytes, 0);
            http_conn_is_at(exchange->at, CONN_BODY, clock_mono_us());
        }
        return MHD_YES;
    }
    if (exchange->locked.state == READING) {
        if (*upload_size) {
            sv piece = sv_make(upload, *upload_size);
            atomic_fetch_add(&exchange->at->body_bytes, piece.len);
            *upload_size = 0;
            return take_piece(exchange, piece) ? MHD_YES : MHD_NO;
        }
        return hand_over(exchange, false);
    }
    pthread_mutex_lock(&exchange->locked.lock);
    bool answered = exchange->locked.state == ANSWERED && exchange->locked.response != NULL;
    pthread_mutex_unlock(&exchange->locked.lock);
    if (answered)
        return http_exchange_send(exchange);
    *upload_size = 0;
    return MHD_YES;
}

/* Called by libmicrohttpd: with the head, with each piece of body, with the end of the body, and
 * once more after a resume. */
enum MHD_Result http_request_go_on(void *cls, struct MHD_Connection *conn, const char *url,
                                   const char *method, const char *version, const char *upload,
                                   size_t *upload_size, void **con_cls)
{
    struct http_server *server = cls;
    http_turn_begin(&server->turns);
    enum MHD_Result ok = go_on(conn, url, method, version, upload, upload_size, con_cls);
    http_turn_end();
    return ok;
}

/* monitor.c - a listener of its own for whoever watches the server, so that the port of the clients
 * tells them nothing.
 *
 *   GET /health    is the server there? Everybody may ask
 *   GET /metrics   page.c
 *
 * Nothing else is answered, and no body is read. The metrics are for this machine, or for whoever
 * has the token. On loopback without a token Host must be a name of loopback: a page in a browser
 * can have its own name resolve to this address, and would read the metrics otherwise. */
#include "server/serve_private.h"

#include "base/file.h"
#include "base/limits.h"
#include "codec/hash.h"
#include "codec/uri.h"
#include "service/service.h"

#include <pthread.h>
#include <stdlib.h>

#define PAGE_MAX      (8u << 20) /* bytes */
#define CONNECTIONS   16u
#define PER_ADDRESS   8u
#define IDLE_S        30u
#define STOP_MS       2000u
#define BEARER        SV_LIT("Bearer ")
#define SHOWN_ADDRESS 64u

struct monitor {
    struct http_server *http;
    struct page *page;
    bool loopback;
    const char *token_file; /* NULL: there is no token */
    struct {
        pthread_mutex_t lock;
        struct buf token;
    } locked;
};

/* ---- who may read ---- */

/* Is it the token, a visible text? Lines behind it are none of it. */
static err_code check_token(struct buf *token, struct err *e)
{
    while (token->len && strchr("\r\n \t", token->ptr[token->len - 1]))
        token->len--;
    for (size_t i = 0; i < token->len; i++)
        if (token->ptr[i] <= ' ' || token->ptr[i] > '~')
            return ERR(e, ERR_INVALID,
                       "the token is one word of visible characters, on one line alone");
    if (token->len < MONITOR_TOKEN_MIN)
        return ERR(e, ERR_INVALID, "the token has %zu characters, %u at least are wanted",
                   token->len, MONITOR_TOKEN_MIN);
    return ERR_OK;
}

static bool has_token(struct monitor *monitor, const struct http_request *req)
{
    sv said = http_header_get(req, "Authorization"), bearer = BEARER;
    if (!sv_eq_nocase(sv_head(said, bearer.len), bearer))
        return false;
    pthread_mutex_lock(&monitor->locked.lock);
    bool same = hash_equal(sv_trim(sv_tail(said, bearer.len)), buf_sv(&monitor->locked.token));
    pthread_mutex_unlock(&monitor->locked.lock);
    return same;
}

static void forget(struct buf *token)
{
    if (token->ptr)
        explicit_bzero(token->ptr, token->cap);
    buf_done(token);
}

static err_code read_token(struct monitor *monitor, struct err *e)
{
    struct buf fresh = BUF_INIT(MONITOR_TOKEN_MAX);
    err_code rc = file_read_private(monitor->token_file, &fresh, e);
    if (rc == ERR_OK)
        rc = check_token(&fresh, e);
    if (rc == ERR_OK) {
        pthread_mutex_lock(&monitor->locked.lock);
        struct buf before = monitor->locked.token;
        monitor->locked.token = fresh;
        pthread_mutex_unlock(&monitor->locked.lock);
        fresh = before;
    }
    forget(&fresh);
    return rc;
}

static err_code read_again(void *ctx, struct err *e)
{
    struct monitor *monitor = ctx;
    TRY(read_token(monitor, e));
    LOG(LOG_INFO, "metrics_token", LOG_STR("state", "read again"),
        LOG_STR("file", monitor->token_file));
    return ERR_OK;
}

static bool names_loopback(const struct http_request *req)
{
    sv host = sv_trim(http_header_get(req, "Host"));
    size_t end = host.len;
    while (end && host.ptr[end - 1] >= '0' && host.ptr[end - 1] <= '9')
        end--;
    if (end && host.ptr[end - 1] == ':')
        host.len = end - 1;
    return sv_eq_nocase(host, SV_LIT("localhost")) || sv_eq(host, SV_LIT("[::1]")) ||
           uri_is_loopback_v4(host);
}

/* ---- answers ---- */

static void answer(struct http_exchange *x, unsigned status, sv kind, const char *more,
                   struct buf *body)
{
    struct http_header h[4] = { { SV_LIT("Content-Type"), kind },
                                { SV_LIT("Cache-Control"), SV_LIT("no-store") } };
    size_t n = 2;
    if (status == 401)
        h[n++] = (struct http_header){ SV_LIT("WWW-Authenticate"), sv_from(more) };
    if (status == 405)
        h[n++] = (struct http_header){ SV_LIT("Allow"), sv_from(more) };
    http_reply(x, status, h, n, body);
}

static void say(struct http_exchange *x, unsigned status, const char *more, const char *text)
{
    CLEANUP_BUF struct buf body = BUF_INIT(1024);
    /* short: there is room */
    struct err ignored;
    IGNORE(buf_add_fmt(&body, &ignored, "%s\n", text));
    answer(x, status, SV_LIT("text/plain; charset=utf-8"), more, &body);
}

static void health(struct http_exchange *x)
{
    CLEANUP_BUF struct buf body = BUF_INIT(1024);
    service_health_write(&body);
    answer(x, 200, SV_LIT(SERVICE_HEALTH_TYPE), NULL, &body);
}

static void metrics(struct monitor *monitor, struct http_exchange *x)
{
    const struct http_request *req = http_exchange_request(x);
    CLEANUP_BUF struct buf body = BUF_INIT(PAGE_MAX);
    struct err e;
    if (monitor->token_file && !has_token(monitor, req)) {
        say(x, 401, "Bearer realm=\"metrics\"",
            "The metrics are read with Authorization: Bearer and the token of "
            "--metrics-token-file");
    } else if (!monitor->token_file && !monitor->loopback) {
        say(x, 403, NULL,
            "The metrics are read from other machines only with a token: give "
            "--metrics-token-file");
    } else if (!monitor->token_file && !names_loopback(req)) {
        say(x, 421, NULL,
            "Host must name this machine: localhost, 127.0.0.0/8 and [::1] are answered");
    } else if (page_write(monitor->page, &body, &e) != ERR_OK) {
        LOG_ERR("metrics", &e, LOG_STR("note", "the page could not be made"));
        say(x, 500, NULL, "The page could not be made; the log says why");
    } else {
        answer(x, 200, SV_LIT(PROMETHEUS_CONTENT_TYPE), NULL, &body);
    }
}

static void handle(void *ctx, struct http_exchange *x)
{
    struct monitor *monitor = ctx;
    const struct http_request *req = http_exchange_request(x);
    bool get = sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD"));
    bool is_health = sv_eq(req->path, SV_LIT("/health"));
    if (req->refusal == HTTP_MALFORMED)
        say(x, 400, NULL, req->why);
    else if (req->crowded && !is_health)
        say(x, 503, NULL, "Too many connections are open");
    else if (!is_health && !sv_eq(req->path, SV_LIT("/metrics")))
        say(x, 404, NULL, "Nothing is served here but /health and /metrics");
    else if (!get)
        say(x, 405, "GET, HEAD", "GET is answered here, and nothing else");
    else if (is_health)
        health(x);
    else
        metrics(monitor, x);
}

/* A body is not read: the handler says what is wrong with its request. */
static void refuse_body(void *ctx, struct http_request *req, struct http_allowance *out)
{
    (void)ctx, (void)req;
    *out = (struct http_allowance){ .refused = true };
}

/* ---- life ---- */

static err_code start(const struct monitor_config *cfg, struct monitor *monitor, struct err *e)
{
    struct err why;
    const struct watch_files token = { .event = "metrics_token",
                                       .note = "the token before stays",
                                       .paths = { cfg->token_file },
                                       .read = read_again,
                                       .ctx = monitor };
    if (cfg->token_file) {
        watch_add(cfg->watch, &token);
        err_code rc = read_token(monitor, &why);
        if (rc != ERR_OK)
            return ERR(e, rc, "--metrics-token-file %.200s: %s", cfg->token_file, why.msg);
    }
    struct http_server_config hc = {
        .listen = sv_from(cfg->listen),
        .n_threads = 1,
        .limits = { .n = CONNECTIONS, .n_per_address = PER_ADDRESS, .heads_give_way = true },
        .idle_timeout_s = IDLE_S,
        .accept = refuse_body,
        .handler = handle,
        .ctx = monitor
    };
    err_code rc = http_server_start(&hc, &monitor->http, &why);
    return rc == ERR_OK ? rc : ERR(e, rc, "--health-listen: %s", why.msg);
}

err_code monitor_start(const struct monitor_config *cfg, struct monitor **out, struct err *e)
{
    struct monitor *monitor = calloc(1, sizeof *monitor);
    if (monitor == NULL)
        abort();
    monitor->token_file = cfg->token_file;
    monitor->locked.token = BUF_INIT(MONITOR_TOKEN_MAX);
    pthread_mutex_init(&monitor->locked.lock, NULL);
    monitor->loopback = server_config_is_loopback(sv_from(cfg->listen));
    monitor->page = page_new(&cfg->sources);
    err_code rc = start(cfg, monitor, e);
    if (rc != ERR_OK) {
        monitor_stop(monitor);
        return rc;
    }
    if (!monitor->loopback && !monitor->token_file)
        LOG(LOG_WARN, "metrics", LOG_STR("listen", cfg->listen),
            LOG_STR("note", "beyond loopback and without --metrics-token-file: /health is answered "
                            "there, /metrics is refused"));
    *out = monitor;
    return ERR_OK;
}

sv monitor_address(const struct monitor *monitor)
{
    return http_server_address(monitor->http);
}

void monitor_stop(struct monitor *monitor)
{
    if (monitor == NULL)
        return;
    http_server_stop(monitor->http, STOP_MS);
    page_free(monitor->page);
    forget(&monitor->locked.token);
    pthread_mutex_destroy(&monitor->locked.lock);
    free(monitor);
}

/* client.c - an endpoint, how its buckets are addressed, and a pool of connections.
 * A connection belongs to one call at a time; the pool grows to the number of threads that call at
 * once and keeps them, so that the next call finds its TCP (and TLS) connection open. */
#include "s3/s3_private.h"

#include "codec/uri.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_up(void)
{
    /* no memory, or a broken TLS library */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

static bool host_is_ip(sv host)
{
    if (host.len && host.ptr[0] == '[')
        return true;
    for (size_t i = 0; i < host.len; i++)
        if (host.ptr[i] != '.' && (host.ptr[i] < '0' || host.ptr[i] > '9'))
            return false;
    return true;
}

static bool host_is_loopback(sv host)
{
    return sv_eq_nocase(host, SV_LIT("localhost")) || sv_eq_cstr(host, "[::1]") ||
           (sv_starts(host, SV_LIT("127.")) && host_is_ip(host));
}

static err_code fill(struct s3_client *client, const struct s3_endpoint *ep, struct err *e)
{
    struct arena *a = client->arena;
    struct uri_http u = { 0 };
    sv url = arena_sv(a, ep->url);
    TRY(uri_http_parse(url, &u, e));
    if (ep->region.len == 0)
        return ERR(e, ERR_INVALID, "an S3 endpoint needs a region to sign for");
    client->scheme = u.scheme;
    client->tls = sv_eq_cstr(u.scheme, "https");
    client->host = u.host;
    client->base_path = u.path;
    bool own_port = u.port != 0 && !(sv_eq_cstr(u.scheme, "http") && u.port == 80) &&
                    !(sv_eq_cstr(u.scheme, "https") && u.port == 443);
    client->host_port =
        own_port ? arena_fmt(a, "%.*s:%u", SV_FMT(u.host), (unsigned)u.port) : u.host;
    client->region = arena_sv(a, ep->region);
    if (client->host_port.ptr == NULL || client->region.ptr == NULL)
        return arena_oom(a, e);
    client->loopback = host_is_loopback(u.host);
    client->path_style = ep->addressing == S3_ADDRESSING_PATH ||
                         (ep->addressing == S3_ADDRESSING_AUTO &&
                          (own_port || host_is_ip(u.host) || client->loopback));
    const char *ca = getenv("SSL_CERT_FILE");
    client->ca_file = ca && ca[0] ? arena_str(a, sv_from(ca)) : NULL;
    return ERR_OK;
}

err_code s3_client_make(const struct s3_endpoint *ep, sv service, s3_credentials_fn cred,
                        void *cred_ctx, const atomic_bool *cancel, struct s3_client **out,
                        struct err *e)
{
    /* cannot happen with a static control */
    if (pthread_once(&curl_once, curl_up) != 0)
        abort();
    struct s3_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        abort();
    client->arena = arena_new(64u << 10);
    client->service = service;
    client->cred = cred;
    client->cred_ctx = cred_ctx;
    client->cancel = cancel;
    client->max_attempts = ep->max_attempts ? ep->max_attempts : 6;
    client->timeout_ms = ep->timeout_ms ? ep->timeout_ms : 30000;
    client->connect_timeout_ms = ep->connect_timeout_ms ? ep->connect_timeout_ms : 5000;
    client->total_ms = ep->total_ms;
    client->until_us = ep->until_us;
    client->answer_ms = S3_ANSWER_MS;
    pthread_mutex_init(&client->locked.lock, NULL);
    err_code rc = fill(client, ep, e);
    if (rc != ERR_OK) {
        s3_client_free(client);
        return rc;
    }
    *out = client;
    return ERR_OK;
}

err_code s3_client_new(const struct s3_endpoint *ep, s3_credentials_fn cred, void *cred_ctx,
                       const atomic_bool *cancel, struct s3_client **out, struct err *e)
{
    return s3_client_make(ep, SV_LIT("s3"), cred, cred_ctx, cancel, out, e);
}

struct s3_client *s3_client_last_word(const struct s3_client *of, unsigned total_ms)
{
    struct s3_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        abort();
    client->scheme = of->scheme;
    client->host = of->host;
    client->host_port = of->host_port;
    client->base_path = of->base_path;
    client->region = of->region;
    client->service = of->service;
    client->ca_file = of->ca_file;
    client->path_style = of->path_style;
    client->loopback = of->loopback;
    client->tls = of->tls;
    client->max_attempts = 1;
    client->timeout_ms = client->connect_timeout_ms = client->total_ms = total_ms;
    client->cred = of->cred;
    client->cred_ctx = of->cred_ctx;
    pthread_mutex_init(&client->locked.lock, NULL);
    return client;
}

void s3_client_free(struct s3_client *client)
{
    if (client == NULL)
        return;
    while (client->locked.idle) {
        struct s3_conn *next = client->locked.idle->next;
        s3_conn_free(client->locked.idle);
        client->locked.idle = next;
    }
    pthread_mutex_destroy(&client->locked.lock);
    arena_free(client->arena);
    free(client);
}

void s3_client_linger(struct s3_client *client, const atomic_bool *leave)
{
    client->leave = leave;
}

bool s3_client_streams(const struct s3_client *client)
{
    return client->tls && !atomic_load_explicit(&client->refused, memory_order_relaxed);
}

bool s3_client_was_refused(const struct s3_client *client)
{
    return atomic_load_explicit(&client->refused, memory_order_relaxed);
}

struct s3_conn *s3_client_conn_take(struct s3_client *client)
{
    pthread_mutex_lock(&client->locked.lock);
    struct s3_conn *conn = client->locked.idle;
    if (conn)
        client->locked.idle = conn->next;
    pthread_mutex_unlock(&client->locked.lock);
    return conn ? conn : s3_conn_new(client);
}

void s3_client_conn_give(struct s3_client *client, struct s3_conn *conn)
{
    s3_conn_stop(conn);
    s3_conn_forget(conn);
    buf_shrink(&conn->answer, S3_ANSWER_MAX);
    pthread_mutex_lock(&client->locked.lock);
    conn->next = client->locked.idle;
    client->locked.idle = conn;
    pthread_mutex_unlock(&client->locked.lock);
}

err_code s3_client_wait(const struct s3_client *client, unsigned ms, struct err *e)
{
    /* The caller's flag is all there is to hear of a cancel: no event comes with it, so this looks
     * at it every 20 ms. */
    for (;;) {
        if (s3_client_cancelled(client))
            return ERR(e, ERR_CANCELLED, "cancelled");
        if (ms == 0)
            return ERR_OK;
        unsigned slice = ms < 20 ? ms : 20;
        struct timespec ts = { 0, (long)slice * 1000000 };
        /* a signal only makes the slice shorter */
        (void)nanosleep(&ts, NULL);
        ms -= slice;
    }
}

err_code s3_client_address(const struct s3_client *client, sv bucket, sv key, struct arena *a,
                           sv *host, sv *path, struct err *e)
{
    CLEANUP_BUF struct buf p = BUF_INIT(8192);
    /* A bucket with dots does not fit the one label of a TLS wildcard certificate. */
    bool dotted = sv_find(bucket, '.') < bucket.len;
    bool in_path = client->path_style || (dotted && sv_eq_cstr(client->scheme, "https"));
    sv h = client->host_port;
    TRY(buf_add(&p, client->base_path, e));
    TRY(buf_add_char(&p, '/', e));
    if (bucket.len && in_path) {
        TRY(uri_encode(bucket, false, &p, e));
        if (key.len)
            TRY(buf_add_char(&p, '/', e));
    } else if (bucket.len) {
        h = arena_fmt(a, "%.*s.%.*s", SV_FMT(bucket), SV_FMT(client->host_port));
    }
    TRY(uri_encode(key, true, &p, e));
    sv kept = arena_sv(a, buf_sv(&p));
    if (h.ptr == NULL || kept.ptr == NULL)
        return arena_oom(a, e);
    *host = h;
    *path = kept;
    return ERR_OK;
}

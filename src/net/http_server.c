/* http_server.c - the server as a whole, started and stopped: the socket, the watch over
 * connections, and libmicrohttpd with its threads. It calls http_exchange.c and http_request.c for
 * each request.
 *
 * A stop closes the socket for newcomers, waits for the exchanges under way, and only then ends the
 * threads. When the wait was too short everything stays as it is, because handlers still use it:
 * the process is about to end. */
#include "net/http_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#define DYING 24u /* connections that are cut, and not cleared up yet */

err_code http_server_start(const struct http_server_config *cfg, struct http_server **out,
                           struct err *e)
{
    struct http_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        abort();
    server->cfg = *cfg;
    err_code rc = http_listen(cfg->listen, &server->listen_fd, e);
    if (rc != ERR_OK) {
        free(server);
        return rc;
    }
    http_limits_complete(&server->cfg.limits);
    rc = http_conns_start(&server->conns, &server->cfg.limits, e);
    if (rc != ERR_OK) {
        close(server->listen_fd);
        free(server);
        return rc;
    }
    server->conns.tls = cfg->tls;
    server->conns.handshakes = cfg->handshakes;
    server->conns.ctx = cfg->ctx;
    pthread_mutex_init(&server->locked.lock, NULL);
    clock_cond_init(&server->locked.idle);
    http_turns_init(&server->turns, cfg->n_threads);
    http_listen_name(server->listen_fd, server->address, sizeof server->address);
    /* 0: one, without a pool */
    unsigned n_threads = cfg->n_threads > 1 ? cfg->n_threads : 0;
    /* the library takes no connection past this, and shares it out to its threads; we cut before */
    unsigned places = server->cfg.limits.n + server->cfg.limits.n_crowded + DYING + n_threads;
    struct MHD_OptionItem shake[HTTP_SHAKE_OPTIONS];
    http_shake_options(cfg->tls, shake);
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
            (cfg->tls ? MHD_USE_TLS : MHD_NO_FLAG),
        0, NULL, NULL, http_request_go_on, server, MHD_OPTION_LISTEN_SOCKET, server->listen_fd,
        MHD_OPTION_THREAD_POOL_SIZE, n_threads, MHD_OPTION_CONNECTION_LIMIT, places,
        MHD_OPTION_CONNECTION_TIMEOUT, cfg->idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)LIMIT_HEADERS_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK,
        http_exchange_begin, server, MHD_OPTION_NOTIFY_COMPLETED, http_exchange_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, http_exchange_connection, server, MHD_OPTION_ARRAY, shake,
        MHD_OPTION_END);
    if (server->daemon == NULL) {
        http_conns_stop(&server->conns);
        close(server->listen_fd);
        http_turns_done(&server->turns);
        free(server);
        return ERR(e, ERR_IO,
                   "the HTTP server does not start: too few file descriptors or threads");
    }
    *out = server;
    return ERR_OK;
}

sv http_server_address(const struct http_server *server)
{
    return sv_from(server->address);
}

unsigned http_server_connections(struct http_server *server)
{
    pthread_mutex_lock(&server->conns.locked.lock);
    unsigned n = server->conns.locked.n;
    pthread_mutex_unlock(&server->conns.locked.lock);
    return n;
}

void http_server_handshakes(struct http_server *server, uint64_t *done, uint64_t *failed)
{
    *done = atomic_load(&server->conns.n_shaken);
    *failed = atomic_load(&server->conns.n_unshaken);
}

/* A socket that nobody listens at takes the number of the one where callers are accepted, which
 * goes with all that waits for it. MHD_quiesce_daemon() is made for this, but it and MHD's threads
 * may remove the socket from the same epoll at a time, and who comes second ends the process. */
static void stop_accepting(struct http_server *server)
{
    int none = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* without one, callers come until the end */
    if (none < 0)
        return;
    (void)dup3(none, server->listen_fd, O_CLOEXEC);
    (void)close(none);
}

void http_server_stop(struct http_server *server, unsigned drain_ms)
{
    if (server == NULL)
        return;
    stop_accepting(server);
    const struct timespec until = clock_mono_at(clock_mono_us() + drain_ms * UINT64_C(1000));
    pthread_mutex_lock(&server->locked.lock);
    int timed_out = 0;
    while (server->locked.n_open && !timed_out)
        timed_out = pthread_cond_timedwait(&server->locked.idle, &server->locked.lock, &until);
    bool idle = server->locked.n_open == 0;
    pthread_mutex_unlock(&server->locked.lock);
    /* exchanges still out there use the server: the process is about to end anyway */
    if (!idle)
        return;
    http_conns_end_waits(&server->conns);
    MHD_stop_daemon(server->daemon);
    http_conns_stop(&server->conns);
    for (struct http_exchange *exchange = server->locked.spare, *next; exchange; exchange = next) {
        next = exchange->next_spare;
        http_exchange_free(exchange);
    }
    pthread_mutex_destroy(&server->locked.lock);
    pthread_cond_destroy(&server->locked.idle);
    http_turns_done(&server->turns);
    free(server);
}

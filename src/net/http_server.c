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

#include <pthread.h>
#include <unistd.h>

#define DYING 24u /* connections that are cut, and not cleared up yet */

err_code http_server_start(const struct http_server_config *cfg, struct http_server **out,
                           struct err *e)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->cfg = *cfg;
    err_code rc = http_listen(cfg->listen, &s->listen_fd, e);
    if (rc != ERR_OK) {
        free(s);
        return rc;
    }
    http_limits_complete(&s->cfg.limits);
    rc = http_conns_start(&s->conns, &s->cfg.limits, e);
    if (rc != ERR_OK) {
        close(s->listen_fd);
        free(s);
        return rc;
    }
    pthread_mutex_init(&s->locked.lock, NULL);
    clock_cond_init(&s->locked.idle);
    http_listen_name(s->listen_fd, s->address, sizeof s->address);
    /* 0: one, without a pool */
    unsigned n_threads = cfg->n_threads > 1 ? cfg->n_threads : 0;
    /* the library takes no connection past this, and shares it out to its threads; we cut before */
    unsigned places = s->cfg.limits.n + s->cfg.limits.n_crowded + DYING + n_threads;
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, http_request_go_on,
        s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_THREAD_POOL_SIZE, n_threads,
        MHD_OPTION_CONNECTION_LIMIT, places, MHD_OPTION_CONNECTION_TIMEOUT, cfg->idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LIMIT_HEADERS_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_URI_LOG_CALLBACK, http_exchange_begin, s,
        MHD_OPTION_NOTIFY_COMPLETED, http_exchange_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
        http_exchange_connection, s, MHD_OPTION_END);
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
    const struct timespec until = clock_mono_at(clock_mono_us() + drain_ms * UINT64_C(1000));
    pthread_mutex_lock(&s->locked.lock);
    int timed_out = 0;
    while (s->locked.n_open && !timed_out)
        timed_out = pthread_cond_timedwait(&s->locked.idle, &s->locked.lock, &until);
    bool idle = s->locked.n_open == 0;
    pthread_mutex_unlock(&s->locked.lock);
    /* exchanges still out there use s: the process is about to end anyway */
    if (!idle)
        return;
    MHD_stop_daemon(s->daemon);
    http_conns_stop(&s->conns);
    if (fd >= 0)
        close(fd);
    for (struct http_exchange *x = s->locked.spare, *next; x; x = next) {
        next = x->next_spare;
        http_exchange_free(x);
    }
    pthread_mutex_destroy(&s->locked.lock);
    pthread_cond_destroy(&s->locked.idle);
    free(s);
}

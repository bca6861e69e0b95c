/* http_alive.c - do the threads of the server still take turns? For a watchdog, which must not be
 * fed by a thread that only knows of itself.
 *
 * Two things are looked at. A thread that calls our code says since when; one that does not come
 * back is stuck, while others may go on. And a connection of our own is made to the address where
 * callers are taken: somebody must take it. It sends nothing, and is closed at once. */
#include "net/http_private.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* A thread is of one server for all its life. */
static _Thread_local atomic_uint_fast64_t *mine;

void http_turns_init(struct http_turns *turns, unsigned n_threads)
{
    turns->n = n_threads > 1 ? n_threads : 1;
    atomic_init(&turns->n_known, 0);
    turns->since_us = calloc(turns->n, sizeof *turns->since_us);
    if (turns->since_us == NULL)
        abort();
}

void http_turns_done(struct http_turns *turns)
{
    free(turns->since_us);
}

void http_turn_begin(struct http_turns *turns)
{
    if (mine == NULL) {
        unsigned i = atomic_fetch_add(&turns->n_known, 1);
        assert(i < turns->n);
        mine = &turns->since_us[i];
    }
    atomic_store_explicit(mine, clock_mono_us(), memory_order_relaxed);
}

void http_turn_end(void)
{
    atomic_store_explicit(mine, 0, memory_order_relaxed);
}

static bool is_stuck(struct http_turns *turns, uint64_t stuck_us)
{
    for (unsigned i = 0; i < turns->n; i++) {
        uint64_t since = atomic_load_explicit(&turns->since_us[i], memory_order_relaxed);
        /* the clock is asked behind it: it is never smaller */
        if (since && clock_mono_us() - since > stuck_us)
            return true;
    }
    return false;
}

/* A connection to where callers are taken, or -1. refused: nobody listens there. */
static int dial(const struct http_server *server, bool *refused)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    if (getsockname(server->listen_fd, (struct sockaddr *)&at, &len) != 0)
        return -1;
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, len) != 0 && errno != EINPROGRESS &&
        errno != EAGAIN) {
        *refused = errno == ECONNREFUSED;
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

bool http_server_alive(struct http_server *server, uint64_t stuck_us, uint64_t wait_us)
{
    struct http_conns *all = &server->conns;
    if (is_stuck(&server->turns, stuck_us))
        return false;
    pthread_mutex_lock(&all->locked.lock);
    uint64_t before = all->locked.n_taken;
    pthread_mutex_unlock(&all->locked.lock);
    bool refused = false;
    int fd = dial(server, &refused);
    /* no descriptor or no port is left: that is no proof of anything */
    if (fd < 0)
        return !refused;
    const struct timespec until = clock_mono_at(clock_mono_us() + wait_us);
    pthread_mutex_lock(&all->locked.lock);
    int rc = 0;
    while (rc == 0 && all->locked.n_taken == before)
        rc = pthread_cond_timedwait(&all->locked.taken, &all->locked.lock, &until);
    bool taken = all->locked.n_taken != before;
    pthread_mutex_unlock(&all->locked.lock);
    (void)close(fd);
    return taken;
}

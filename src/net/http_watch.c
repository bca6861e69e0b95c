/* http_watch.c - the thread that ends what goes on for too long, however little of it arrives.
 *
 * The library ends a connection that is silent for a time. A caller who sends a byte now and then
 * is never silent. So a head has a time as a whole, and bodies and answers have a least pace
 * (struct http_limits). The kernel tells how far an answer has come: the bytes that the other side
 * has acknowledged. On a connection that was used before, a head begins when bytes arrive. Our own
 * work has no deadline here, and what has come of a head and is not read yet is our work, too: a
 * process that stood still, or a machine that is starved, is not the caller's fault.
 *
 * Over TLS a first head includes the handshake. A connection that was used before begins a head
 * with any byte, also with one that is TLS's own: callers send none between two requests but to say
 * the end.
 *
 * The same thread reads what still comes on sockets that linger (http_linger.c), has handshakes go
 * on for which something came (http_shake.c), and tells how many failed. */
#include "net/http_private.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/tcp.h> /* its tcp_info has the counters of bytes */
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool counters(int fd, uint64_t *received, uint64_t *acknowledged)
{
    struct tcp_info i = { 0 };
    socklen_t len = sizeof i;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len) != 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof i.tcpi_bytes_received)
        return false;
    *received = i.tcpi_bytes_received;
    *acknowledged = i.tcpi_bytes_acked;
    return true;
}

/* Of a head that is late: has it come, and nobody here has read it? That is so when there are
 * unread bytes, and none was read since the last look. Who sends as fast as he is read, as TLS's
 * own messages can be, is not waited for. */
static bool waits_for_us(struct http_conn *conn)
{
    int unread = 0;
    uint64_t received, acknowledged;
    /* in this order: what comes in between makes fewer of those that were read */
    if (!counters(conn->fd, &received, &acknowledged) || ioctl(conn->fd, FIONREAD, &unread) != 0 ||
        unread <= 0)
        return false;
    const int64_t n_read = (int64_t)received - unread;
    const bool waits = !conn->seen.late || n_read <= conn->seen.late_read;
    conn->seen.late = true;
    conn->seen.late_read = n_read;
    return waits;
}

/* A head on a connection that was used before: its time runs from its first byte. */
static bool next_head_is_late(struct http_conn *conn, bool fresh, uint64_t now_us)
{
    uint64_t received, acknowledged;
    if (!counters(conn->fd, &received, &acknowledged))
        return false;
    if (fresh) {
        conn->seen.mark_bytes = received;
        conn->seen.mark_us = 0;
    } else if (conn->seen.mark_us == 0 && received != conn->seen.mark_bytes) {
        conn->seen.mark_us = now_us;
    }
    return conn->seen.mark_us && now_us - conn->seen.mark_us > conn->all->limits.head_us &&
           !waits_for_us(conn);
}

static bool is_slow(struct http_conn *conn, bool fresh, uint64_t bytes, uint64_t now_us)
{
    if (fresh) {
        conn->seen.mark_bytes = bytes;
        conn->seen.mark_us = conn->seen.since_us;
    }
    if (now_us < conn->seen.mark_us + conn->all->limits.slow_us)
        return false;
    if (bytes - conn->seen.mark_bytes < conn->all->limits.slow_bytes)
        return true;
    conn->seen.mark_bytes = bytes;
    conn->seen.mark_us = now_us;
    return false;
}

bool http_conn_is_late_locked(struct http_conn *conn, uint64_t now_us)
{
    conn_phase phase = (conn_phase)atomic_load(&conn->phase);
    uint64_t since_us = atomic_load(&conn->since_us), received, acknowledged;
    bool fresh = phase != conn->seen.phase || since_us != conn->seen.since_us;
    conn->seen.phase = phase;
    conn->seen.since_us = since_us;
    if (fresh)
        conn->seen.late = false;
    switch (phase) {
    case CONN_HEAD:
        return now_us > since_us + conn->all->limits.head_us && !waits_for_us(conn);
    case CONN_BODY:
        return is_slow(conn, fresh, atomic_load(&conn->body_bytes), now_us);
    case CONN_ANSWER:
        return counters(conn->fd, &received, &acknowledged) &&
               is_slow(conn, fresh, acknowledged, now_us);
    case CONN_IDLE:
        return next_head_is_late(conn, fresh, now_us);
    case CONN_WORK:
        break;
    }
    return false;
}

/* ---- what is told ---- */

#define TELL_US 1000000u /* not more often */

static void tell_handshakes(struct http_conns *all)
{
    pthread_mutex_lock(&all->locked.lock);
    struct http_handshakes failed = all->locked.failed;
    all->locked.failed.n = 0;
    pthread_mutex_unlock(&all->locked.lock);
    if (failed.n && all->handshakes)
        all->handshakes(all->ctx, &failed);
}

/* ---- the thread ---- */

static void sweep(struct http_conns *all, uint64_t now_us)
{
    pthread_mutex_lock(&all->locked.lock);
    for (struct http_conn *conn = all->locked.first; conn; conn = conn->next)
        if (!conn->is_cut && http_conn_is_late_locked(conn, now_us))
            http_conn_cut_locked(conn);
    pthread_mutex_unlock(&all->locked.lock);
}

static void *watch(void *arg)
{
    struct http_conns *all = arg;
    struct lingering *lingering = calloc(1, sizeof *lingering);
    if (lingering == NULL)
        abort();
    lingering->fds[0] = (struct pollfd){ .fd = all->wake_fd, .events = POLLIN };
    lingering->fds[1] = (struct pollfd){ .fd = all->shake_fd, .events = POLLIN };
    uint64_t swept_us = 0, told_us = 0, ignored;
    for (;;) {
        pthread_mutex_lock(&all->locked.lock);
        bool busy = all->locked.n > 0 || lingering->n > 0 || all->locked.failed.n > 0;
        bool stop = all->locked.stop;
        pthread_mutex_unlock(&all->locked.lock);
        if (stop)
            break;
        (void)poll(lingering->fds, LINGER_FIRST + lingering->n,
                   busy ? (int)(all->limits.sweep_us / 1000) : -1);
        uint64_t now_us = clock_mono_us();
        /* The number only wakes this thread. */
        if (lingering->fds[0].revents)
            (void)!read(all->wake_fd, &ignored, sizeof ignored);
        if (lingering->fds[1].revents)
            http_shake_go_on(all);
        http_linger_read(lingering, now_us);
        http_linger_take(lingering, all, now_us);
        if (now_us - swept_us >= all->limits.sweep_us) {
            swept_us = now_us;
            sweep(all, now_us);
        }
        if (now_us - told_us >= TELL_US) {
            told_us = now_us;
            tell_handshakes(all);
        }
    }
    tell_handshakes(all);
    http_linger_take(lingering, all, 0);
    http_linger_end(lingering);
    free(lingering);
    return NULL;
}

/* ---- life ---- */

err_code http_conns_start(struct http_conns *all, const struct http_limits *limits, struct err *e)
{
    *all = (struct http_conns){ .limits = *limits };
    pthread_mutex_init(&all->locked.lock, NULL);
    pthread_cond_init(&all->locked.none_waits, NULL);
    clock_cond_init(&all->locked.taken);
    all->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    all->shake_fd = epoll_create1(EPOLL_CLOEXEC);
    if (all->wake_fd < 0 || all->shake_fd < 0 ||
        pthread_create(&all->watch, NULL, watch, all) != 0) {
        /* nothing was written */
        if (all->wake_fd >= 0)
            (void)close(all->wake_fd);
        if (all->shake_fd >= 0)
            (void)close(all->shake_fd);
        pthread_cond_destroy(&all->locked.none_waits);
        pthread_cond_destroy(&all->locked.taken);
        pthread_mutex_destroy(&all->locked.lock);
        return ERR(e, ERR_IO,
                   "the HTTP server does not start: too few file descriptors or threads");
    }
    return ERR_OK;
}

void http_conns_stop(struct http_conns *all)
{
    pthread_mutex_lock(&all->locked.lock);
    all->locked.stop = true;
    pthread_mutex_unlock(&all->locked.lock);
    http_conns_wake(all);
    pthread_join(all->watch, NULL);
    /* nothing is lost with it */
    (void)close(all->wake_fd);
    (void)close(all->shake_fd);
    pthread_cond_destroy(&all->locked.none_waits);
    pthread_cond_destroy(&all->locked.taken);
    pthread_mutex_destroy(&all->locked.lock);
}

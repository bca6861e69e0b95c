/* http_watch.c - the thread that ends what goes on too long, whatever little of it arrives.
 *
 * The library ends a connection that is silent for a time. Who says a byte now and then is never silent; so there is
 * a time for a head as a whole, and a least pace of bodies and of answers (struct http_limits). How far an answer has
 * come is asked of the kernel: bytes that the other side has acknowledged. A head behind a first request begins when
 * bytes arrive on a connection that was idle. Work of ours has no deadline here. */
#include "net/http_private.h"

#include "base/clock.h"

#include <linux/tcp.h> /* its tcp_info has the counters of bytes */
#include <netinet/in.h>
#include <poll.h>
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

/* A head on a connection that was used before: its time runs from its first byte. */
static bool next_head_is_late(struct http_conn *c, bool fresh, uint64_t now_us)
{
    uint64_t received, acknowledged;
    if (!counters(c->fd, &received, &acknowledged))
        return false;
    if (fresh) {
        c->seen.mark_bytes = received;
        c->seen.mark_us = 0;
    } else if (c->seen.mark_us == 0 && received != c->seen.mark_bytes) {
        c->seen.mark_us = now_us;
    }
    return c->seen.mark_us && now_us - c->seen.mark_us > c->all->limits.head_us;
}

static bool is_slow(struct http_conn *c, bool fresh, uint64_t bytes, uint64_t now_us)
{
    if (fresh) {
        c->seen.mark_bytes = bytes;
        c->seen.mark_us = c->seen.since_us;
    }
    if (now_us < c->seen.mark_us + c->all->limits.slow_us)
        return false;
    if (bytes - c->seen.mark_bytes < c->all->limits.slow_bytes)
        return true;
    c->seen.mark_bytes = bytes;
    c->seen.mark_us = now_us;
    return false;
}

bool http_conn_is_late_locked(struct http_conn *c, uint64_t now_us)
{
    conn_phase phase = (conn_phase)atomic_load(&c->phase);
    uint64_t since_us = atomic_load(&c->since_us), received, acknowledged;
    bool fresh = phase != c->seen.phase || since_us != c->seen.since_us;
    c->seen.phase = phase;
    c->seen.since_us = since_us;
    switch (phase) {
    case CONN_HEAD:
        return now_us > since_us + c->all->limits.head_us;
    case CONN_BODY:
        return is_slow(c, fresh, atomic_load(&c->body_bytes), now_us);
    case CONN_ANSWER:
        return counters(c->fd, &received, &acknowledged) &&
               is_slow(c, fresh, acknowledged, now_us);
    case CONN_IDLE:
        return next_head_is_late(c, fresh, now_us);
    case CONN_WORK:
        break;
    }
    return false;
}

void *http_watch_run(void *arg)
{
    struct http_conns *all = arg;
    for (;;) {
        struct pollfd p = { .fd = all->wake_fd, .events = POLLIN };
        uint64_t ignored;
        pthread_mutex_lock(&all->locked.lock);
        bool busy = all->locked.n > 0, stop = all->locked.stop;
        pthread_mutex_unlock(&all->locked.lock);
        if (stop)
            return NULL;
        if (poll(&p, 1, busy ? (int)(all->limits.sweep_us / 1000) : -1) > 0)
            (void)!read(all->wake_fd, &ignored, sizeof ignored); /* it only wakes */
        uint64_t now_us = clock_mono_us();
        pthread_mutex_lock(&all->locked.lock);
        for (struct http_conn *c = all->locked.first; c; c = c->next)
            if (!c->is_cut && http_conn_is_late_locked(c, now_us))
                http_conn_cut_locked(c);
        pthread_mutex_unlock(&all->locked.lock);
    }
}

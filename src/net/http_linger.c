/* http_linger.c - sockets that linger: their connection was answered before its request was read,
 * and what still comes on them is read and thrown away, for a time and up to a number of bytes.
 *
 * A socket that is closed while bytes still come is reset, and what the other side has not read by
 * then, the refusal, is lost to it. So a connection that ends leaves a copy of its socket, its end
 * being said behind the answer, and the watch (http_watch.c) reads on.
 * Source: RFC 9112, section 9.6. */
#include "net/http_private.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool http_linger_locked(struct http_conn *conn)
{
    struct http_conns *all = conn->all;
    int waiting = 0;
    if (conn->is_cut || all->locked.n_lingering == LINGER_MAX || all->locked.stop ||
        (!conn->unread && atomic_load(&conn->phase) != CONN_HEAD &&
         (ioctl(conn->fd, FIONREAD, &waiting) != 0 || waiting == 0)))
        return false;
    int fd = fcntl(conn->fd, F_DUPFD_CLOEXEC, 0);
    /* no descriptors left: it is closed as it is */
    if (fd < 0)
        return false;
    /* the library does it behind an answer, not where it makes none */
    (void)shutdown(fd, SHUT_WR);
    all->locked.lingering[all->locked.n_lingering++] = fd;
    return true;
}

static void end_one(struct lingering *lingering, unsigned i)
{
    /* a duplicate: nothing is lost with it */
    (void)close(lingering->fds[LINGER_FIRST + i].fd);
    lingering->n--;
    memmove(&lingering->fds[LINGER_FIRST + i], &lingering->fds[LINGER_FIRST + 1 + i],
            (lingering->n - i) * sizeof lingering->fds[0]);
    memmove(&lingering->until_us[i], &lingering->until_us[i + 1],
            (lingering->n - i) * sizeof lingering->until_us[0]);
    memmove(&lingering->left[i], &lingering->left[i + 1],
            (lingering->n - i) * sizeof lingering->left[0]);
}

void http_linger_take(struct lingering *lingering, struct http_conns *all, uint64_t now_us)
{
    int fds[LINGER_MAX];
    pthread_mutex_lock(&all->locked.lock);
    unsigned n = all->locked.n_lingering;
    memcpy(fds, all->locked.lingering, n * sizeof fds[0]);
    all->locked.n_lingering = 0;
    pthread_mutex_unlock(&all->locked.lock);
    for (unsigned i = 0; i < n; i++) {
        /* the oldest */
        if (lingering->n == LINGER_MAX)
            end_one(lingering, 0);
        lingering->fds[LINGER_FIRST + lingering->n] =
            (struct pollfd){ .fd = fds[i], .events = POLLIN };
        lingering->until_us[lingering->n] = now_us + LIMIT_LINGER_S * UINT64_C(1000000);
        lingering->left[lingering->n] = LIMIT_LINGER_BYTES;
        lingering->n++;
    }
}

/* A turn's worth. False: it is over. */
static bool read_turn(struct lingering *lingering, unsigned i, uint64_t now_us)
{
    ssize_t got = 1;
    for (unsigned turn = 0; turn < 16 && got > 0 && lingering->left[i]; turn++) {
        got = recv(lingering->fds[LINGER_FIRST + i].fd, lingering->sink, sizeof lingering->sink,
                   MSG_DONTWAIT);
        if (got > 0)
            lingering->left[i] -=
                (uint64_t)got < lingering->left[i] ? (uint64_t)got : lingering->left[i];
    }
    bool more = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
    return more && lingering->left[i] && now_us < lingering->until_us[i];
}

void http_linger_read(struct lingering *lingering, uint64_t now_us)
{
    for (unsigned i = lingering->n; i-- > 0;)
        if (!read_turn(lingering, i, now_us))
            end_one(lingering, i);
}

void http_linger_end(struct lingering *lingering)
{
    while (lingering->n)
        end_one(lingering, lingering->n - 1);
}

/* endpoint.h - an HTTP endpoint in a thread, which does with each request what its script says, and
 * keeps what it was sent. Behind the script it takes everything. A connection on which no request
 * came, since its caller had no more time, counts for nothing. */
#pragma once
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CUT = -1, STALL = -2 }; /* else a status */

#define EP_MOST 512u

struct endpoint {
    int fd;
    char url[64];
    pthread_t thread;
    const int *script;
    size_t n_script;
    const char *more_head; /* of its answers */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t came;
        char *requests[EP_MOST]; /* head and body */
        size_t n;
        bool stop;
    } locked;
};

static inline size_t ep_body_at(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    return end ? (size_t)(end - text) + 4 : 0;
}

/* A whole request, or NULL; the caller frees it. */
static inline char *ep_read(int fd)
{
    size_t cap = 1u << 17, len = 0;
    char *text = calloc(1, cap);
    for (;;) {
        size_t body = ep_body_at(text);
        const char *said = body ? strcasestr(text, "content-length:") : NULL;
        if (said && len >= body + strtoul(said + 15, NULL, 10))
            return text;
        ssize_t n = len + 1 < cap ? read(fd, text + len, cap - 1 - len) : 0;
        if (n <= 0) {
            free(text);
            return NULL;
        }
        len += (size_t)n;
    }
}

static inline void ep_answer(struct endpoint *ep, int fd, int what)
{
    char text[512];
    if (what == STALL) {
        /* until the other side gives up */
        (void)!read(fd, text, sizeof text);
    } else if (what != CUT) {
        int n = snprintf(text, sizeof text,
                         "HTTP/1.1 %d X\r\nConnection: close\r\n%sContent-Length: 2\r\n\r\nok",
                         what, ep->more_head ? ep->more_head : "");
        (void)!write(fd, text, (size_t)n);
    }
}

static inline void *ep_run(void *ctx)
{
    struct endpoint *ep = ctx;
    for (;;) {
        int fd = accept(ep->fd, NULL, NULL);
        pthread_mutex_lock(&ep->locked.lock);
        bool stop = ep->locked.stop;
        pthread_mutex_unlock(&ep->locked.lock);
        char *request = fd >= 0 && !stop ? ep_read(fd) : NULL;
        if (request) {
            pthread_mutex_lock(&ep->locked.lock);
            const size_t i = ep->locked.n++;
            assert_true(i < EP_MOST);
            ep->locked.requests[i] = request;
            pthread_cond_broadcast(&ep->locked.came);
            pthread_mutex_unlock(&ep->locked.lock);
            ep_answer(ep, fd, i < ep->n_script ? ep->script[i] : 200);
        }
        if (fd >= 0)
            close(fd);
        if (stop)
            return NULL;
    }
}

static inline void ep_open(struct endpoint *ep, const int *script, size_t n)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof at;
    memset(ep, 0, sizeof *ep);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ep->script = script;
    ep->n_script = n;
    ep->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(ep->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(ep->fd, 16), 0);
    assert_int_equal(getsockname(ep->fd, (struct sockaddr *)&at, &len), 0);
    (void)snprintf(ep->url, sizeof ep->url, "http://127.0.0.1:%u/hook", ntohs(at.sin_port));
    pthread_mutex_init(&ep->locked.lock, NULL);
    pthread_cond_init(&ep->locked.came, NULL);
    assert_int_equal(pthread_create(&ep->thread, NULL, ep_run, ep), 0);
}

/* Waits until so many requests came. */
static inline void ep_wait(struct endpoint *ep, size_t n)
{
    pthread_mutex_lock(&ep->locked.lock);
    while (ep->locked.n < n)
        pthread_cond_wait(&ep->locked.came, &ep->locked.lock);
    pthread_mutex_unlock(&ep->locked.lock);
}

static inline const char *ep_request(struct endpoint *ep, size_t i)
{
    ep_wait(ep, i + 1);
    return ep->locked.requests[i];
}

static inline const char *ep_body(struct endpoint *ep, size_t i)
{
    const char *text = ep_request(ep, i);
    return text + ep_body_at(text);
}

static inline void ep_close(struct endpoint *ep)
{
    pthread_mutex_lock(&ep->locked.lock);
    ep->locked.stop = true;
    pthread_mutex_unlock(&ep->locked.lock);
    (void)shutdown(ep->fd, SHUT_RDWR);
    assert_int_equal(pthread_join(ep->thread, NULL), 0);
    close(ep->fd);
    for (size_t i = 0; i < ep->locked.n; i++)
        free(ep->locked.requests[i]);
    pthread_mutex_destroy(&ep->locked.lock);
    pthread_cond_destroy(&ep->locked.came);
}

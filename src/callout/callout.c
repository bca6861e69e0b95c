/* callout.c - the limit on heads, and the thread that ends turns.
 *
 * The watch is one thread of the process. It is made by the first callout and sleeps while nobody
 * enters. While somebody does it looks ten times a second who has been inside since the last time.
 * A socket is shut and not closed, under the lock under which libcurl closes it: so its number is
 * never another's. Shut in both directions it gives what has arrived already, then its end, since
 * the kernel answers what still comes by a reset.
 *
 * Order of locks: all.lock, then a callout's. */
#include "callout/callout.h"

#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_US   100000u
#define TICKS_MAX 20u /* without anybody inside: then the watch sleeps */
#define SOCKETS   8u  /* libcurl keeps 5 at most, and tries two at a time (IPv4, IPv6) */

struct callout {
    struct callout *prev, *next; /* all.lock */
    size_t head_bytes;
    callout_may_fn may;
    void *may_ctx;
    struct {
        pthread_mutex_t lock;
        int fds[SOCKETS];
        unsigned n_fds;
        bool inside;
        const atomic_bool *stop;
        uint64_t until_us;
    } locked; /* touch only while holding locked.lock */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t called;
    struct callout *first;
    bool runs;
    atomic_bool awake; /* beside the lock: asked often */
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- the watch ---- */

/* Is it inside? Then it is ended if it has to be. */
static bool look(struct callout *c, uint64_t now_us)
{
    pthread_mutex_lock(&c->locked.lock);
    const bool inside = c->locked.inside;
    const atomic_bool *stop = c->locked.stop;
    if (inside &&
        (now_us > c->locked.until_us || (stop && atomic_load_explicit(stop, memory_order_relaxed))))
        for (unsigned i = 0; i < c->locked.n_fds; i++)
            /* one that is not connected yet cannot be shut, and keeps nobody */
            (void)shutdown(c->locked.fds[i], SHUT_RDWR);
    pthread_mutex_unlock(&c->locked.lock);
    return inside;
}

/* Is anybody inside? */
static bool look_at_all_locked(void)
{
    const uint64_t now_us = clock_mono_us();
    bool any = false;
    for (struct callout *c = all.first; c; c = c->next)
        any |= look(c, now_us);
    return any;
}

static void *watch(void *unused)
{
    unsigned n_idle = 0;
    pthread_mutex_lock(&all.lock);
    for (;;) {
        n_idle = look_at_all_locked() ? 0 : n_idle + 1;
        if (n_idle > TICKS_MAX) {
            (void)atomic_exchange(&all.awake, false);
            /* who entered before that has not called */
            if (look_at_all_locked())
                (void)atomic_exchange(&all.awake, true);
            while (!atomic_load(&all.awake))
                (void)pthread_cond_wait(&all.called, &all.lock);
            n_idle = 0;
        }
        const struct timespec until = clock_mono_at(clock_mono_us() + TICK_US);
        (void)pthread_cond_timedwait(&all.called, &all.lock, &until);
    }
    return unused;
}

/* Signals are other threads' affair. */
static void start_locked(void)
{
    sigset_t every, before;
    pthread_t thread;
    sigfillset(&every);
    clock_cond_init(&all.called);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    /* no thread can be had */
    if (pthread_create(&thread, NULL, watch, NULL) != 0)
        abort();
    (void)pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    atomic_store(&all.awake, true);
    all.runs = true;
}

static void wake(void)
{
    if (atomic_exchange(&all.awake, true))
        return;
    pthread_mutex_lock(&all.lock);
    pthread_cond_signal(&all.called);
    pthread_mutex_unlock(&all.lock);
}

/* ---- life ---- */

struct callout *callout_new(void)
{
    struct callout *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    pthread_mutex_init(&c->locked.lock, NULL);
    pthread_mutex_lock(&all.lock);
    if (!all.runs)
        start_locked();
    c->next = all.first;
    if (c->next)
        c->next->prev = c;
    all.first = c;
    pthread_mutex_unlock(&all.lock);
    return c;
}

void callout_free(struct callout *callout)
{
    struct callout *c = callout;
    if (c == NULL)
        return;
    pthread_mutex_lock(&all.lock);
    if (c->prev)
        c->prev->next = c->next;
    else
        all.first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    pthread_mutex_unlock(&all.lock);
    pthread_mutex_destroy(&c->locked.lock);
    free(c);
}

/* ---- what libcurl calls ---- */

static size_t on_head(char *line, size_t size, size_t n, void *ctx)
{
    struct callout *c = ctx;
    (void)line;
    c->head_bytes += size * n;
    /* fewer than came: the transfer ends */
    return callout_head_is_too_long(c) ? 0 : size * n;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct callout *c = ctx;
    (void)purpose;
    if (c->may && !c->may(c->may_ctx, &to->addr))
        return CURL_SOCKET_BAD;
    int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    pthread_mutex_lock(&c->locked.lock);
    bool room = c->locked.n_fds < SOCKETS;
    if (room)
        c->locked.fds[c->locked.n_fds++] = fd;
    pthread_mutex_unlock(&c->locked.lock);
    /* none is unwatched */
    if (room)
        return fd;
    close(fd);
    return CURL_SOCKET_BAD;
}

static int on_close(void *ctx, curl_socket_t fd)
{
    struct callout *c = ctx;
    pthread_mutex_lock(&c->locked.lock);
    for (unsigned i = 0; i < c->locked.n_fds; i++)
        if (c->locked.fds[i] == fd) {
            c->locked.fds[i] = c->locked.fds[--c->locked.n_fds];
            break;
        }
    int rc = close(fd);
    pthread_mutex_unlock(&c->locked.lock);
    return rc;
}

/* Options below are compiled into every libcurl that we support; a refusal is our own bug. */
#define SET(opt, val)                                         \
    do {                                                      \
        if (curl_easy_setopt(easy, (opt), (val)) != CURLE_OK) \
            abort();                                          \
    } while (0)

void callout_arm(struct callout *callout, CURL *easy, callout_may_fn may, void *ctx)
{
    callout->head_bytes = 0;
    callout->may = may;
    callout->may_ctx = ctx;
    SET(CURLOPT_HEADERFUNCTION, on_head);
    SET(CURLOPT_HEADERDATA, callout);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(CURLOPT_OPENSOCKETDATA, callout);
    SET(CURLOPT_CLOSESOCKETFUNCTION, on_close);
    SET(CURLOPT_CLOSESOCKETDATA, callout);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* who stops waits for no answer of DNS */
    SET(CURLOPT_QUICK_EXIT, 1L);
#endif
}

bool callout_head_is_too_long(const struct callout *callout)
{
    return callout->head_bytes > CALLOUT_HEAD_MAX;
}

unsigned callout_sockets(struct callout *callout, int *fds, unsigned most)
{
    pthread_mutex_lock(&callout->locked.lock);
    const unsigned n = callout->locked.n_fds < most ? callout->locked.n_fds : most;
    memcpy(fds, callout->locked.fds, n * sizeof *fds);
    pthread_mutex_unlock(&callout->locked.lock);
    return n;
}

/* ---- turns ---- */

void callout_enter(struct callout *callout, const atomic_bool *stop, unsigned most_ms)
{
    pthread_mutex_lock(&callout->locked.lock);
    callout->locked.inside = true;
    callout->locked.stop = stop;
    callout->locked.until_us = clock_mono_us() + (uint64_t)most_ms * 1000;
    pthread_mutex_unlock(&callout->locked.lock);
    wake();
}

void callout_leave(struct callout *callout)
{
    pthread_mutex_lock(&callout->locked.lock);
    callout->locked.inside = false;
    callout->locked.stop = NULL;
    pthread_mutex_unlock(&callout->locked.lock);
}

/* cutting_proxy.h - stands between a client and a PostgreSQL server on a socket, and ends the
 * connection of who commits: in front of the server, or when the server has answered. */
#pragma once
#include "test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PROXY_PAIRS 32

typedef enum { CUT_NEVER, CUT_BEFORE, CUT_AFTER } proxy_cut;
struct proxy {
    char dir[64], server[64];
    atomic_int cut; /* proxy_cut: of the next COMMIT alone */
    atomic_bool stop;
    int listener, wake[2];
    pthread_t thread;
    struct {
        int client, server;
    } pairs[PROXY_PAIRS];
    unsigned n;
};

static int proxy_socket(const char *dir, bool listens)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s/.s.PGSQL.5432", dir);
    if (listens ? bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, PROXY_PAIRS)
                : connect(fd, (struct sockaddr *)&a, sizeof a)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void proxy_drop(struct proxy *p, unsigned i)
{
    close(p->pairs[i].client);
    close(p->pairs[i].server);
    p->pairs[i] = p->pairs[--p->n];
}

static bool proxy_pass(int to, const char *bytes, ssize_t n)
{
    for (ssize_t at = 0; at < n;) {
        ssize_t k = write(to, bytes + at, (size_t)(n - at));
        if (k <= 0)
            return false;
        at += k;
    }
    return true;
}

/* False: the pair is to be dropped. */
static bool proxy_from_client(struct proxy *p, unsigned i)
{
    /* a message of its own */
    static const char commit[] = "Q\0\0\0\x0b"
                                 "commit";
    char bytes[8192];
    ssize_t n = read(p->pairs[i].client, bytes, sizeof bytes);
    if (n <= 0)
        return false;
    if (memmem(bytes, (size_t)n, commit, sizeof commit)) {
        const int cut = atomic_exchange(&p->cut, CUT_NEVER);
        if (cut == CUT_BEFORE)
            return false;
        if (cut == CUT_AFTER) {
            if (proxy_pass(p->pairs[i].server, bytes, n))
                n = read(p->pairs[i].server, bytes, sizeof bytes);
            return false;
        }
    }
    return proxy_pass(p->pairs[i].server, bytes, n);
}

static bool proxy_from_server(struct proxy *p, unsigned i)
{
    char bytes[8192];
    ssize_t n = read(p->pairs[i].server, bytes, sizeof bytes);
    return n > 0 && proxy_pass(p->pairs[i].client, bytes, n);
}

static void proxy_accept(struct proxy *p)
{
    int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    int server = client < 0 || p->n == PROXY_PAIRS ? -1 : proxy_socket(p->server, false);
    if (server < 0) {
        if (client >= 0)
            close(client);
        return;
    }
    p->pairs[p->n].client = client;
    p->pairs[p->n++].server = server;
}

static void *proxy_run(void *arg)
{
    struct proxy *p = arg;
    while (!atomic_load(&p->stop)) {
        struct pollfd fds[2 + 2 * PROXY_PAIRS] = { { p->listener, POLLIN, 0 },
                                                   { p->wake[0], POLLIN, 0 } };
        const unsigned n = p->n;
        for (unsigned i = 0; i < n; i++) {
            fds[2 + 2 * i] = (struct pollfd){ p->pairs[i].client, POLLIN, 0 };
            fds[3 + 2 * i] = (struct pollfd){ p->pairs[i].server, POLLIN, 0 };
        }
        if (poll(fds, 2 + 2 * n, -1) < 0 && errno != EINTR)
            break;
        /* the last first: who is dropped is replaced by one that was looked at */
        for (unsigned i = n; i-- > 0;)
            if ((fds[2 + 2 * i].revents && !proxy_from_client(p, i)) ||
                (fds[3 + 2 * i].revents && !proxy_from_server(p, i)))
                proxy_drop(p, i);
        if (fds[0].revents)
            proxy_accept(p);
    }
    while (p->n)
        proxy_drop(p, 0);
    return NULL;
}

/* In front of the server whose socket is in this folder. Its own is in p->dir. */
static void proxy_start(struct proxy *p, const char *server)
{
    memset(p, 0, sizeof *p);
    (void)snprintf(p->server, sizeof p->server, "%s", server);
    (void)snprintf(p->dir, sizeof p->dir, "/tmp/fhirlake-cut-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->listener = proxy_socket(p->dir, true);
    assert_true(p->listener >= 0);
    assert_int_equal(pipe(p->wake), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, proxy_run, p), 0);
}

static void proxy_stop(struct proxy *p)
{
    char path[96];
    atomic_store(&p->stop, true);
    assert_int_equal(write(p->wake[1], "", 1), 1);
    pthread_join(p->thread, NULL);
    close(p->listener);
    close(p->wake[0]);
    close(p->wake[1]);
    (void)snprintf(path, sizeof path, "%s/.s.PGSQL.5432", p->dir);
    (void)unlink(path);
    (void)rmdir(p->dir);
}

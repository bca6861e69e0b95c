/* holding.h - a server over real sockets whose handler keeps each exchange for the test. */
#pragma once
#include "net/http_server.h"

#include "../test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static struct http_server *server;
static struct {
    pthread_mutex_t lock;
    pthread_cond_t there;
    struct http_exchange *x; /* the one that waits for its answer */
} held = { .lock = PTHREAD_MUTEX_INITIALIZER, .there = PTHREAD_COND_INITIALIZER };

static void take(void *ctx, struct http_request *req, struct http_allowance *out)
{
    (void)ctx, (void)req;
    *out = (struct http_allowance){ .body_max = 1024, .proven = true };
}

static void hold(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    pthread_mutex_lock(&held.lock);
    held.x = x;
    pthread_cond_signal(&held.there);
    pthread_mutex_unlock(&held.lock);
}

static struct http_exchange *arrived(void)
{
    pthread_mutex_lock(&held.lock);
    while (held.x == NULL)
        pthread_cond_wait(&held.there, &held.lock);
    struct http_exchange *x = held.x;
    held.x = NULL;
    pthread_mutex_unlock(&held.lock);
    return x;
}

static int setup(void **state)
{
    (void)state;
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .n_threads = 2,
                                    .limits = { .n = 200 },
                                    .idle_timeout_s = 10,
                                    .accept = take,
                                    .handler = hold };
    struct err why;
    return http_server_start(&c, &server, &why) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    http_server_stop(server, 2000);
    return 0;
}

/* room: of what comes in, SO_RCVBUF; 0: the kernel's choice. */
static int dial(int room)
{
    sv at = http_server_address(server);
    uint64_t port;
    assert_true(sv_to_u64(sv_tail(at, sv_find(at, ':') + 1), &port));
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (room)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

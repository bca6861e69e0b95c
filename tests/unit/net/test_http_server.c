/* Exchanges over real sockets: what the server tells whoever works on one. */
#include "holding.h"

#include <stdatomic.h>

/* ---- who hung up ---- */

#define GET  "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd"

/* Within a minute: what close() sends over loopback may come a bit later, on a busy machine. */
static bool is_gone_soon(struct http_exchange *x)
{
    bool gone = http_exchange_gone(x);
    for (unsigned ms = 0; !gone && ms < 60000; ms++) {
        usleep(1000);
        gone = http_exchange_gone(x);
    }
    return gone;
}

static bool gone_after(const char *request, void (*leave)(int fd),
                       bool (*is_gone)(struct http_exchange *x))
{
    int fd = dial(0);
    say(fd, request);
    struct http_exchange *x = arrived();
    assert_false(http_exchange_gone(x));
    leave(fd);
    bool gone = is_gone(x);
    http_reply(x, 204, NULL, 0, NULL);
    return gone;
}

static void close_it(int fd)
{
    close(fd);
}

static void reset_it(int fd)
{
    struct linger now = { .l_onoff = 1 };
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
}

static void read_and_stay(int fd)
{
    char c;
    assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
}

static void say_more_and_stay(int fd)
{
    say(fd, GET);
}

TEST(gone, a_caller_that_closed_or_was_reset_is_gone)
{
    (void)state;
    assert_true(gone_after(GET, close_it, is_gone_soon));
    assert_true(gone_after(GET, reset_it, is_gone_soon));
    assert_true(gone_after(POST, close_it, is_gone_soon));
    /* though bytes of his are not read yet */
    assert_true(gone_after(GET "GET / HT", close_it, is_gone_soon));
}

TEST(gone, a_caller_that_waits_is_there_whatever_he_sends)
{
    (void)state;
    assert_false(gone_after(GET, read_and_stay, http_exchange_gone));
    assert_false(gone_after(POST, read_and_stay, http_exchange_gone));
    assert_false(gone_after(GET, say_more_and_stay, http_exchange_gone));
    /* the second request */
    http_reply(arrived(), 204, NULL, 0, NULL);
}

/* ---- is it alive? ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_the_gate(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    http_reply(x, 204, NULL, 0, NULL);
}

static int ask(struct http_server *s)
{
    struct http_server *before = server;
    server = s;
    int fd = dial(0);
    server = before;
    say(fd, GET);
    return fd;
}

/* threads: of the server, of which one hangs in the handler */
static void alive_until_one_hangs(unsigned threads)
{
    enum { LONG_US = 60000000, SHORT_US = 20000 };
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .n_threads = threads,
                                    .limits = { .n = 200 },
                                    .idle_timeout_s = 10,
                                    .accept = take,
                                    .handler = wait_at_the_gate };
    struct http_server *s;
    char answer[16];
    OK(http_server_start(&c, &s, e));
    for (int i = 0; i < 20; i++)
        assert_true(http_server_alive(s, LONG_US, LONG_US));
    pthread_mutex_lock(&gate);
    int fd = ask(s);
    /* as soon as it is in the handler for so long */
    while (http_server_alive(s, SHORT_US, LONG_US))
        usleep(1000);
    /* others are there to take a connection, at last, or not */
    assert_int_equal(http_server_alive(s, LONG_US, threads > 1 ? LONG_US : SHORT_US), threads > 1);
    pthread_mutex_unlock(&gate);
    assert_true(recv(fd, answer, sizeof answer, 0) > 0);
    assert_true(http_server_alive(s, LONG_US, LONG_US));
    close(fd);
    http_server_stop(s, 60000);
}

TEST(alive, not_while_its_only_thread_hangs)
{
    (void)state;
    alive_until_one_hangs(1);
}

TEST(alive, not_while_one_of_its_threads_hangs_too_long)
{
    (void)state;
    alive_until_one_hangs(3);
}

/* ---- who comes while the server stops ---- */

static void nothing(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    http_reply(x, 204, NULL, 0, NULL);
}

static atomic_uint door;
static atomic_bool knocked_enough;

static void *knock(void *arg)
{
    (void)arg;
    while (!atomic_load(&knocked_enough)) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)door) };
        sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0)
            (void)send(fd, GET, sizeof GET - 1, MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

TEST(stop, ends_in_order_whoever_comes_meanwhile)
{
    (void)state;
    enum { STOPS = 300, KNOCKERS = 3 };
    pthread_t threads[KNOCKERS];
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .n_threads = 4,
                                    .limits = { .n = 200 },
                                    .idle_timeout_s = 10,
                                    .accept = take,
                                    .handler = nothing };
    for (unsigned i = 0; i < KNOCKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, knock, NULL), 0);
    for (unsigned i = 0; i < STOPS; i++) {
        struct http_server *s;
        uint64_t port;
        OK(http_server_start(&c, &s, e));
        sv at = http_server_address(s);
        assert_true(sv_to_u64(sv_tail(at, sv_find(at, ':') + 1), &port));
        atomic_store(&door, (unsigned)port);
        /* somebody was let in: not at once, when those who knock have all places */
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = -1;
        char answer[16];
        do {
            if (fd >= 0)
                close(fd);
            fd = socket(AF_INET, SOCK_STREAM, 0);
            assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
        } while (send(fd, GET, sizeof GET - 1, MSG_NOSIGNAL) < 0 ||
                 recv(fd, answer, sizeof answer, 0) <= 0);
        http_server_stop(s, 60000);
        close(fd);
        /* nobody listens there any more; from another address, as a socket may meet itself */
        struct sockaddr_in from = { .sin_family = AF_INET };
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), -1);
        close(fd);
    }
    atomic_store(&knocked_enough, true);
    for (unsigned i = 0; i < KNOCKERS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(gone, a_caller_that_closed_or_was_reset_is_gone),
        T(gone, a_caller_that_waits_is_there_whatever_he_sends),
        T(alive, not_while_its_only_thread_hangs),
        T(alive, not_while_one_of_its_threads_hangs_too_long),
        T(stop, ends_in_order_whoever_comes_meanwhile),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* How long and how many: connections that dribble, read slowly or are too many, over real sockets
 * with short limits. */
#include "net/http_private.h"

#include "../test.h"
#include "base/clock.h"
#include "base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG (64u << 20) /* bytes of an answer that no socket's buffers hold */

static struct http_server *server;
static uint64_t port_elsewhere; /* of a server in another process; 0: `server` is meant */
static pid_t elsewhere;         /* that process; 0: there is none */

static void take(void *ctx, struct http_request *req, struct http_allowance *out)
{
    (void)ctx;
    (void)req;
    *out = (struct http_allowance){ .body_max = 1u << 20, .proven = true };
}

/* 503 where there is no place, but for /health; /big is BIG; else the body's length as status
 * 200. */
static void handle(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    const struct http_request *req = http_exchange_request(x);
    struct buf b = BUF_INIT(BIG);
    bool health = sv_eq(req->path, SV_LIT("/health"));
    if (sv_eq(req->path, SV_LIT("/big")) && !req->crowded) {
        /* cmocka cannot leave this thread: what goes wrong is told by the answer */
        if (buf_reserve(&b, BIG, NULL) != ERR_OK) {
            http_reply(x, 500, NULL, 0, NULL);
            return;
        }
        memset(b.ptr, 'a', BIG);
        b.len = BIG;
    }
    http_reply(x, req->crowded && !health ? 503 : 200, NULL, 0, &b);
}

static unsigned n_threads = 2;

static void start(struct http_limits limits)
{
    limits.sweep_us = 10000;
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .n_threads = n_threads,
                                    .limits = limits,
                                    .idle_timeout_s = 60,
                                    .accept = take,
                                    .handler = handle };
    /* a connection that is never ended ends the test */
    (void)alarm(120);
    OK(http_server_start(&c, &server, e));
}

static int stop(void **state)
{
    (void)state;
    http_server_stop(server, 2000);
    server = NULL;
    return 0;
}

/* Connections are taken in the order in which they come. */
static int one_thread(void **state)
{
    (void)state;
    n_threads = 1;
    return 0;
}

static uint64_t port_of_server(void)
{
    sv at = http_server_address(server);
    uint64_t port;
    assert_true(sv_to_u64(sv_tail(at, sv_find(at, ':') + 1), &port));
    return port;
}

/* From 127.0.0.`last`. */
static int dial_from(unsigned last)
{
    const uint64_t port = port_elsewhere ? port_elsewhere : port_of_server();
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct sockaddr_in from = { .sin_family = AF_INET };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(0x7F000000u + last);
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static int dial(void)
{
    return dial_from(1);
}

static bool say(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Status of the next answer, which has no body; 0: the connection ended. */
static unsigned answer(int fd)
{
    char got[1024] = "";
    size_t n = 0;
    while (strstr(got, "\r\n\r\n") == NULL) {
        ssize_t r = recv(fd, got + n, sizeof got - 1 - n, 0);
        if (r <= 0)
            return 0;
        got[n += (size_t)r] = 0;
    }
    uint64_t status;
    assert_true(sv_to_u64(sv_make(got + 9, 3), &status));
    return (unsigned)status;
}

static unsigned ask(int fd, const char *path)
{
    char text[256];
    (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    return say(fd, text) ? answer(fd) : 0;
}

static unsigned ask_anew(unsigned last, const char *path)
{
    int fd = dial_from(last);
    unsigned status = ask(fd, path);
    close(fd);
    return status;
}

/* Says text, then `more` again and again, until the server has ended the connection. */
static void is_ended(int fd, const char *text, const char *more)
{
    char c;
    (void)say(fd, text);
    for (;;) {
        ssize_t r = recv(fd, &c, 1, more[0] ? MSG_DONTWAIT : 0);
        if (r == 0 || (r < 0 && errno != EAGAIN) || (more[0] && !say(fd, more)))
            break;
        if (more[0])
            (void)usleep(5000);
    }
    close(fd);
}

/* ---- how long ---- */

#define SHORT_HEADS ((struct http_limits){ .head_us = 200000, .slow_us = 60000000 })
#define SHORT_BODIES \
    ((struct http_limits){ .head_us = 60000000, .slow_us = 300000, .slow_bytes = 100000 })

TEST(late, a_head_that_never_ends_is_ended_wherever_it_stands)
{
    (void)state;
    start(SHORT_HEADS);
    is_ended(dial(), "", "");
    is_ended(dial(), "", "\r\n");
    is_ended(dial(), "G", "");
    is_ended(dial(), "G", "E");
    is_ended(dial(), "GET /", "a");
    is_ended(dial(), "GET / HTTP/1.1\r\n", "");
    is_ended(dial(), "GET / HTTP/1.1\r\nHost: a\r\nX: ", "a");
    is_ended(dial(), "GET / HTTP/1.1\r\nHost: a\r\n", "X: a\r\n");
}

/* A process that has a server of one thread. */
static void start_elsewhere(struct http_limits limits)
{
    int tells[2];
    assert_int_equal(pipe(tells), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* whatever becomes of the test */
        assert_int_equal(prctl(PR_SET_PDEATHSIG, SIGKILL), 0);
        n_threads = 1;
        start(limits);
        uint64_t port = port_of_server();
        if (write(tells[1], &port, sizeof port) != (ssize_t)sizeof port)
            _exit(1);
        for (;;)
            (void)pause();
    }
    assert_int_equal(read(tells[0], &port_elsewhere, sizeof port_elsewhere), sizeof port_elsewhere);
    close(tells[0]);
    close(tells[1]);
    elsewhere = pid;
}

/* A test's end, also of one that failed. */
static int end_elsewhere(void **state)
{
    (void)state;
    const pid_t pid = elsewhere;
    elsewhere = 0;
    port_elsewhere = 0;
    if (pid == 0)
        return 0;
    return kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

#define HEADS 20u

/* How many heads are answered that came half before the server stood still and half meanwhile, for
 * longer than a head may take. More than HEADS: it did so too late. */
static unsigned n_answered_behind_a_pause(void)
{
    const uint64_t began_us = clock_mono_us();
    unsigned n = 0;
    int fds[HEADS];
    for (unsigned i = 0; i < HEADS; i++) {
        fds[i] = dial_from(i + 1);
        assert_true(say(fds[i], "GET / HTTP/1.1\r\n"));
    }
    unsigned status = ask_anew(99, "/"); /* all of them are taken by then */
    assert_int_equal(kill(elsewhere, SIGSTOP), 0);
    assert_int_equal(waitpid(elsewhere, NULL, WUNTRACED), elsewhere);
    bool met = status == 200 && clock_mono_us() - began_us < SHORT_HEADS.head_us;
    for (unsigned i = 0; i < HEADS; i++)
        (void)say(fds[i], "Host: a\r\n\r\n");
    (void)usleep((useconds_t)(2 * SHORT_HEADS.head_us));
    assert_int_equal(kill(elsewhere, SIGCONT), 0);
    for (unsigned i = 0; i < HEADS; i++) {
        n += answer(fds[i]) == 200;
        close(fds[i]);
    }
    return met ? n : HEADS + 1;
}

TEST(late, a_head_that_came_while_the_server_stood_still_is_in_time)
{
    (void)state;
    unsigned n = 0;
    start_elsewhere(SHORT_HEADS);
    for (int i = 0; i < 50 && (n = n_answered_behind_a_pause()) > HEADS; i++)
        ;
    assert_int_equal(n, HEADS);
}

/* Both ends of a connection on loopback. */
static void pair(int *here, int *there)
{
    struct sockaddr_in sa = { .sin_family = AF_INET };
    socklen_t len = sizeof sa;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    *there = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*there, (struct sockaddr *)&sa, sizeof sa), 0);
    *here = accept(listener, NULL, NULL);
    assert_true(*here >= 0);
    close(listener);
}

static void comes(int here, int there, int n)
{
    int unread = 0;
    assert_int_equal(send(there, "GET ", 4, 0), 4);
    while (unread < n)
        assert_int_equal(ioctl(here, FIONREAD, &unread), 0);
    assert_int_equal(unread, n);
}

TEST(late, a_head_is_in_time_that_nobody_reads_but_not_one_that_is_read_and_goes_on)
{
    (void)state;
    struct http_conns all = { .limits = { .head_us = 10 } };
    struct http_conn conn = { .all = &all, .phase = CONN_HEAD, .since_us = 100 };
    int there;
    pair(&conn.fd, &there);
    assert_false(http_conn_is_late_locked(&conn, 110));
    assert_true(http_conn_is_late_locked(&conn, 111));
    comes(conn.fd, there, 4);
    assert_false(http_conn_is_late_locked(&conn, 200));
    assert_false(http_conn_is_late_locked(&conn, 1000000));
    comes(conn.fd, there, 8);
    assert_false(http_conn_is_late_locked(&conn, 1000001));
    char read[8];
    assert_int_equal(recv(conn.fd, read, 4, 0), 4);
    comes(conn.fd, there, 8);
    assert_true(http_conn_is_late_locked(&conn, 1000002));
    /* the next one */
    conn.since_us = 2000000;
    assert_false(http_conn_is_late_locked(&conn, 2000001));
    assert_false(http_conn_is_late_locked(&conn, 3000000));
    assert_int_equal(recv(conn.fd, read, sizeof read, 0), sizeof read);
    assert_true(http_conn_is_late_locked(&conn, 3000001));
    close(conn.fd);
    close(there);
}

/* What is in time is taken, and who is held up until it is not, on a busy machine, tries again. A
 * server that takes none of them is another one. */
#define TRIES 50

/* A connection that has had its first answer. */
static int dial_and_ask(void)
{
    for (int i = 0; i < TRIES; i++) {
        int fd = dial();
        if (ask(fd, "/") == 200)
            return fd;
        close(fd);
    }
    fail_msg("no first head is taken");
    return -1;
}

/* A second head after a while, and a third one in two parts: are they taken? */
static bool goes_on(void)
{
    int fd = dial_and_ask();
    /* idle for longer than a head may take */
    (void)usleep(500000);
    bool taken = ask(fd, "/") == 200 && say(fd, "GET / HTTP/1.1\r\n");
    /* it is looked at meanwhile */
    (void)usleep(50000);
    taken = taken && say(fd, "Host: a\r\n\r\n") && answer(fd) == 200;
    close(fd);
    return taken;
}

TEST(late, a_second_head_has_its_time_from_its_first_byte)
{
    (void)state;
    start(SHORT_HEADS);
    is_ended(dial_and_ask(), "GET", " ");
    is_ended(dial_and_ask(), "GET / HTTP/1.1\r\nHost:", "a");
    bool taken = false;
    for (int i = 0; i < TRIES && !taken; i++)
        taken = goes_on();
    assert_true(taken);
}

/* Cookies are pairs to the library, which keeps them in the connection's memory; without room there
 * it can say nothing. */
static void ends_at_once(int fd, const char *head, const char *pair, size_t n, const char *body)
{
    const struct timeval patience = { .tv_sec = 40 };
    char text[65536], got[1024];
    size_t len = (size_t)snprintf(text, sizeof text, "%s", head);
    ssize_t r;
    while (n--)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s", pair);
    (void)snprintf(text + len, sizeof text - len, "\r\n\r\n%s", body);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_true(say(fd, text));
    while ((r = recv(fd, got, sizeof got, 0)) > 0)
        ;
    /* not EAGAIN: it went on */
    assert_true(r == 0 || errno == ECONNRESET);
    close(fd);
}

TEST(late, what_the_library_has_no_answer_for_ends_at_once)
{
    (void)state;
    start((struct http_limits){ .head_us = 60000000, .slow_us = 60000000 });
    const char *head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: ";
    ends_at_once(dial(), head, "a=b; ", 2000, "");
    ends_at_once(dial(), head, "a=b;", 12000, "");
    ends_at_once(dial(), head, "abcdefgh; ", 3000, "");
    /* libmicrohttpd 1.0 passes over what is no pair */
    ends_at_once(
        dial(), "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\nCookie: a",
        "; a", 4000, "123456789");
    int fd = dial();
    assert_int_equal(ask(fd, "/"), 200);
    ends_at_once(fd, head, "a=b; ", 2000, "");
}

TEST(late, a_body_that_comes_slowly_is_ended)
{
    (void)state;
    start(SHORT_BODIES);
    const char *sized = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    const char *chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    is_ended(dial(), sized, "");
    is_ended(dial(), sized, "a");
    is_ended(dial(), chunked, "1\r\na\r\n");
    is_ended(dial(), chunked, "0");
    is_ended(dial(), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
             "X: y\r\n");
    is_ended(dial(),
             "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", "");
}

TEST(late, a_body_that_went_fast_has_no_credit_for_it)
{
    (void)state;
    start(SHORT_BODIES);
    int fd = dial();
    char *much = malloc(900001);
    memset(much, 'a', 900000);
    much[900000] = 0;
    assert_true(say(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\na"));
    /* it is seen at its first byte */
    (void)usleep(100000);
    is_ended(fd, much, "a");
    free(much);
}

/* In a second at least. */
static bool body_is_taken(void)
{
    int fd = dial();
    bool taken = say(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n");
    for (int i = 0; i < 50 && taken; i++) {
        taken = say(fd, "0123456789");
        (void)usleep(20000);
    }
    taken = taken && answer(fd) == 200;
    close(fd);
    return taken;
}

TEST(late, a_body_that_goes_on_is_taken_however_long_it_takes)
{
    (void)state;
    start((struct http_limits){ .slow_us = 400000, .slow_bytes = 5 });
    bool taken = false;
    for (int i = 0; i < TRIES && !taken; i++)
        taken = body_is_taken();
    assert_true(taken);
}

TEST(late, an_answer_that_is_read_slowly_is_ended_and_its_place_is_free)
{
    (void)state;
    struct http_limits one = SHORT_BODIES;
    one.n = one.n_per_address = 1;
    start(one);
    int fd = dial();
    char c;
    assert_true(say(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(recv(fd, &c, 1, 0), 1);
    while (ask_anew(1, "/") == 503)
        assert_int_equal(recv(fd, &c, 1, 0), 1);
    size_t got = 0;
    static char sink[1u << 16];
    for (ssize_t r; (r = recv(fd, sink, sizeof sink, 0)) > 0;)
        got += (size_t)r;
    assert_true(got < BIG);
    close(fd);
}

/* ---- how many ---- */

TEST(places, one_address_has_its_share_and_others_theirs)
{
    (void)state;
    start((struct http_limits){ .n = 6, .n_per_address = 2 });
    int a = dial_from(2), b = dial_from(2);
    assert_true(say(a, "GET"));
    assert_true(say(b, "GET"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask_anew(2, "/"), 503);
        assert_int_equal(ask_anew(2, "/health"), 200);
        assert_int_equal(ask_anew(3, "/"), 200);
    }
    close(a);
    /* until the server has seen that a left */
    while (ask_anew(2, "/") == 503)
        continue;
    assert_int_equal(ask_anew(2, "/"), 200);
    close(b);
}

TEST(places, a_monitor_is_answered_when_all_places_are_held)
{
    (void)state;
    start((struct http_limits){ .n = 4, .n_per_address = 4, .n_crowded = 3, .head_us = 600000000 });
    int held[4], crowd[60];
    for (int i = 0; i < 4; i++)
        held[i] = dial_from(2);
    /* they say nothing, and so would hold what is kept for monitors */
    for (int i = 0; i < 60; i++)
        crowd[i] = dial_from(3);
    for (unsigned i = 1; i < 5; i++) {
        assert_int_equal(ask_anew(i, "/health"), 200);
        assert_int_equal(ask_anew(i, "/"), 503);
    }
    /* who has a place keeps it */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(held[i], "/"), 200);
        close(held[i]);
    }
    /* of the others the oldest were ended */
    for (int i = 0; i < 50; i++)
        is_ended(crowd[i], "", "");
    for (int i = 50; i < 60; i++)
        close(crowd[i]);
}

TEST(places, a_crowded_connection_has_one_answer)
{
    (void)state;
    start((struct http_limits){ .n = 1, .n_per_address = 1 });
    int held = dial(), fd = dial();
    assert_true(
        say(fd, "GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(answer(fd), 200);
    assert_int_equal(answer(fd), 0);
    close(fd);
    fd = dial();
    assert_true(say(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"));
    /* before the body */
    assert_int_equal(answer(fd), 503);
    assert_int_equal(answer(fd), 0);
    close(fd);
    close(held);
}

TEST(places, who_waits_between_two_requests_gives_up_his_place)
{
    (void)state;
    start((struct http_limits){ .n = 3, .n_per_address = 2 });
    int old = dial_from(2), other = dial_from(3), young = dial_from(2);
    assert_int_equal(ask(other, "/"), 200);
    assert_int_equal(ask(old, "/"), 200);
    assert_int_equal(ask(young, "/"), 200);
    /* the share of its address is full: its oldest goes, not the oldest of all */
    int next = dial_from(2);
    assert_int_equal(ask(next, "/"), 200);
    is_ended(old, "", "");
    assert_int_equal(ask(other, "/"), 200);
    /* all places are full: the one that waits longest of all goes */
    int last = dial_from(4);
    assert_int_equal(ask(last, "/"), 200);
    is_ended(young, "", "");
    assert_int_equal(ask(next, "/"), 200);
    close(other);
    close(next);
    close(last);
}

TEST(places, where_heads_give_way_who_says_nothing_keeps_nobody_out)
{
    (void)state;
    start((struct http_limits){
        .n = 4, .n_per_address = 3, .heads_give_way = true, .head_us = 600000000 });
    int held[40], kept = dial_from(2);
    for (int i = 0; i < 40; i++) {
        held[i] = dial_from(2);
        /* it is there when this was answered, and has not said all */
        assert_true(say(held[i], "GET /hea"));
        assert_int_equal(ask_anew(2, "/"), 200);
    }
    /* the oldest were ended; those of another address were not in the way */
    is_ended(kept, "", "");
    for (int i = 0; i < 36; i++)
        is_ended(held[i], "", "");
    assert_int_equal(ask_anew(3, "/"), 200);
    for (int i = 36; i < 40; i++)
        close(held[i]);
}

/* ---- addresses ---- */

static struct sockaddr_in6 v6(const char *text)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
    assert_int_equal(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
    return a;
}

/* Is there a place for a second connection, from `b`, when one from `a` has the only place of its
 * address? */
static bool counts_alone(struct sockaddr_in6 a, const struct sockaddr *b)
{
    static struct http_conns all;
    struct http_limits l = { .n = 9,
                             .n_per_address = 1,
                             .n_crowded = 9,
                             .head_us = 60000000,
                             .slow_us = 60000000,
                             .sweep_us = 60000000 };
    int one[2], two[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, one), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, two), 0);
    OK(http_conns_start(&all, &l, e));
    struct http_conn *x = http_conn_open(&all, one[0], (struct sockaddr *)&a);
    struct http_conn *y = http_conn_open(&all, two[0], b);
    assert_false(x->crowded);
    bool alone = !y->crowded;
    http_conn_close(x);
    /* the place is free now */
    assert_false(http_conn_is_crowded(y));
    http_conn_close(y);
    http_conns_stop(&all);
    for (int i = 0; i < 2; i++) {
        close(one[i]);
        close(two[i]);
    }
    return alone;
}

TEST(addresses, an_ipv6_network_counts_as_one_and_ipv4_by_address)
{
    (void)state;
    struct sockaddr_in6 a = v6("2001:db8:1:2:3:4:5:6"), b = v6("2001:db8:1:2:ffff::1");
    struct sockaddr_in6 c = v6("2001:db8:1:3:3:4:5:6"), mapped = v6("::ffff:192.0.2.1");
    struct sockaddr_in6 mapped_other = v6("::ffff:192.0.2.2"), loopback = v6("::1");
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr), 1);
    assert_false(counts_alone(a, (struct sockaddr *)&b));
    assert_true(counts_alone(a, (struct sockaddr *)&c));
    assert_true(counts_alone(mapped, (struct sockaddr *)&mapped_other));
    assert_false(counts_alone(mapped, (struct sockaddr *)&v4));
    assert_true(counts_alone(loopback, (struct sockaddr *)&v4));
    assert_false(counts_alone(loopback, (struct sockaddr *)&loopback));
}

#define LIVE(group, sentence)                                              \
    {                                                                      \
#group ": " #sentence, test_##group##_##sentence, NULL, stop, NULL \
    }
#define IN_ORDER(group, sentence)                                                \
    {                                                                            \
#group ": " #sentence, test_##group##_##sentence, one_thread, stop, NULL \
    }

TEST(limits, what_was_given_stays_and_what_was_not_is_that_of_the_product)
{
    (void)state;
    struct http_limits l = { .n = 100, .bodies = 7 };
    http_limits_complete(&l);
    assert_int_equal(l.n, 100);
    assert_int_equal(l.bodies, 7);
    assert_int_equal(l.head_us, LIMIT_HEAD_S * 1000000);
    assert_int_equal(l.n_answer_files, LIMIT_ANSWER_FILES);
}

TEST(limits, an_address_has_a_share_of_the_connections_and_never_fewer_than_some)
{
    (void)state;
    struct http_limits all = { 0 }, few = { .n = 9 }, given = { .n = 9, .n_per_address = 2 };
    http_limits_complete(&all);
    http_limits_complete(&few);
    http_limits_complete(&given);
    assert_int_equal(all.n_per_address, LIMIT_CONNECTIONS / LIMIT_CONNECTIONS_SHARE);
    assert_int_equal(few.n_per_address, LIMIT_CONNECTIONS_LEAST);
    assert_int_equal(given.n_per_address, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "late: a_head_that_came_while_the_server_stood_still_is_in_time",
          test_late_a_head_that_came_while_the_server_stood_still_is_in_time, NULL, end_elsewhere,
          NULL },
        T(late, a_head_is_in_time_that_nobody_reads_but_not_one_that_is_read_and_goes_on),
        LIVE(late, a_head_that_never_ends_is_ended_wherever_it_stands),
        LIVE(late, a_second_head_has_its_time_from_its_first_byte),
        LIVE(late, what_the_library_has_no_answer_for_ends_at_once),
        LIVE(late, a_body_that_comes_slowly_is_ended),
        LIVE(late, a_body_that_went_fast_has_no_credit_for_it),
        LIVE(late, a_body_that_goes_on_is_taken_however_long_it_takes),
        LIVE(late, an_answer_that_is_read_slowly_is_ended_and_its_place_is_free),
        IN_ORDER(places, one_address_has_its_share_and_others_theirs),
        IN_ORDER(places, a_monitor_is_answered_when_all_places_are_held),
        IN_ORDER(places, a_crowded_connection_has_one_answer),
        IN_ORDER(places, who_waits_between_two_requests_gives_up_his_place),
        IN_ORDER(places, where_heads_give_way_who_says_nothing_keeps_nobody_out),
        T(addresses, an_ipv6_network_counts_as_one_and_ipv4_by_address),
        T(limits, what_was_given_stays_and_what_was_not_is_that_of_the_product),
        T(limits, an_address_has_a_share_of_the_connections_and_never_fewer_than_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

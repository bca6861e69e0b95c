/* What a handler is told of a request, over real sockets: the handler answers with what it was
 * told, and the test compares it with the bytes that it sent.
 * Source: RFC 9112; http_server.h. */
#include "net/http_server.h"

#include "../test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX 100000u

static struct http_server *server;
static atomic_uint n_accepted;

/* Of a body: one to /refused is not wanted, others may have BODY_MAX bytes. */
static void take(void *ctx, struct http_request *req, struct http_allowance *out)
{
    (void)ctx;
    atomic_fetch_add(&n_accepted, 1);
    *out = (struct http_allowance){ .body_max = BODY_MAX,
                                    .proven = true,
                                    .refused = sv_eq(req->path, SV_LIT("/refused")) };
}

/* Answers on a thread of the server, where nothing may be asserted: what finds no room is left
 * out, and the test sees that it is missing. */
static void tell(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    const struct http_request *r = http_exchange_request(x);
    static const char *const refusals[] = { "taken", "malformed", "refused", "no room" };
    struct buf b = BUF_INIT(1 << 20);
    struct err why;
    IGNORE(buf_add_fmt(&b, &why, "%.*s|%.*s|%.*s|%.*s|%s%s|%s|", SV_FMT(r->method),
                       SV_FMT(r->target), SV_FMT(r->path), SV_FMT(r->query), refusals[r->refusal],
                       r->body_too_large ? ", too large" : "",
                       sv_eq(r->peer, SV_LIT("127.0.0.1")) ? "loopback" : "elsewhere"));
    for (size_t i = 0; i < r->n_headers; i++)
        if (sv_starts(r->headers[i].name, SV_LIT("X-")))
            IGNORE(buf_add_fmt(&b, &why, "%.*s=%.*s;", SV_FMT(r->headers[i].name),
                               SV_FMT(r->headers[i].value)));
    IGNORE(buf_add_fmt(&b, &why, "|%.*s", SV_FMT(r->body)));
    http_reply(x, 200, NULL, 0, &b);
    buf_done(&b);
}

static int setup(void **state)
{
    (void)state;
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .n_threads = 2,
                                    .limits = { .n = 200 },
                                    .idle_timeout_s = 20,
                                    .accept = take,
                                    .handler = tell };
    struct err why;
    return http_server_start(&c, &server, &why) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    http_server_stop(server, 2000);
    return 0;
}

/* ---- a client ---- */

static int dial(void)
{
    sv at = http_server_address(server);
    uint64_t port;
    struct timeval most = { .tv_sec = 20 };
    assert_true(sv_to_u64(sv_tail(at, sv_find(at, ':') + 1), &port));
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void say(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        assert_true(n > 0);
        text += n;
        len -= (size_t)n;
    }
}

static struct {
    unsigned status;
    bool closes;
    char head[4000], body[BODY_MAX + 4000];
} got;

/* The next answer. bodiless: it is to HEAD. */
static void hear(int fd, bool bodiless)
{
    size_t n = 0, len = 0;
    memset(&got, 0, sizeof got);
    while (strstr(got.head, "\r\n\r\n") == NULL) {
        assert_true(n < sizeof got.head - 1);
        assert_int_equal(recv(fd, got.head + n, 1, 0), 1);
        n++;
    }
    assert_int_equal(sscanf(got.head, "HTTP/1.1 %u", &got.status), 1);
    got.closes = strstr(got.head, "Connection: close") != NULL;
    const char *length = strstr(got.head, "Content-Length: ");
    assert_non_null(length);
    assert_int_equal(sscanf(length, "Content-Length: %zu", &len), 1);
    assert_true(len < sizeof got.body);
    if (len && !bodiless)
        assert_int_equal(recv(fd, got.body, len, MSG_WAITALL), len);
}

/* Nothing comes any more: the server has ended the connection. */
static void hear_the_end(int fd)
{
    char c;
    assert_int_equal(recv(fd, &c, 1, 0), 0);
    close(fd);
}

static const char *asked(const char *request)
{
    int fd = dial();
    say(fd, request, strlen(request));
    hear(fd, false);
    close(fd);
    return got.body;
}

#define HOST              "Host: localhost\r\n"
#define GET(target, more) "GET " target " HTTP/1.1\r\n" HOST more "\r\n"

/* ---- heads ---- */

TEST(http_request, a_target_is_told_as_it_came)
{
    (void)state;
    assert_string_equal(asked(GET("/", "")), "GET|/|/||taken|loopback||");
    assert_string_equal(asked(GET("/a%20b/%2F?x=%41+b&&y", "")),
                        "GET|/a%20b/%2F?x=%41+b&&y|/a%20b/%2F|x=%41+b&&y|taken|loopback||");
    /* a path with runs of slashes is one with single ones, and the target keeps them */
    assert_string_equal(asked(GET("//a///b?c=//", "")),
                        "GET|//a///b?c=//|/a/b|c=//|taken|loopback||");
    assert_string_equal(asked(GET("/a?b?c", "")), "GET|/a?b?c|/a|b?c|taken|loopback||");
}

/* A query of many pairs is one text to the server. */
TEST(http_request, a_query_of_thousands_of_pairs_is_told_whole)
{
    (void)state;
    static char request[20000], want[20000];
    char query[8001];
    for (size_t i = 0; i < 8000; i++)
        query[i] = "a=&"[i % 3];
    query[8000] = 0;
    (void)snprintf(request, sizeof request, "GET /p?%s HTTP/1.1\r\n" HOST "\r\n", query);
    (void)snprintf(want, sizeof want, "GET|/p?%s|/p|%s|taken|loopback||", query, query);
    assert_string_equal(asked(request), want);
}

/* RFC 9110, 5.5: blanks at the ends of a value are no part of it. */
TEST(http_request, headers_are_told_in_their_order)
{
    (void)state;
    assert_string_equal(asked(GET("/", "X-B: 2\r\nX-A:  one two \t\r\nX-B: 3\r\nX-Empty:\r\n")),
                        "GET|/|/||taken|loopback|X-B=2;X-A=one two;X-B=3;X-Empty=;|");
}

TEST(http_request, so_many_headers_are_taken_and_one_more_is_refused)
{
    (void)state;
    for (int n = 127; n <= 128; n++) {
        char request[8000];
        int fd = dial();
        size_t len = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\n" HOST);
        for (int i = 0; i < n; i++)
            len += (size_t)snprintf(request + len, sizeof request - len, "X-%d: v\r\n", i);
        len += (size_t)snprintf(request + len, sizeof request - len, "\r\n");
        say(fd, request, len);
        hear(fd, false);
        assert_int_equal(got.status, n == 127 ? 200 : 431);
        if (n == 127) {
            assert_non_null(strstr(got.body, "X-0=v;"));
            assert_non_null(strstr(got.body, "X-126=v;"));
            close(fd);
        } else {
            hear_the_end(fd);
        }
    }
}

TEST(http_request, a_head_that_can_be_read_in_two_ways_is_told_and_ends_the_connection)
{
    (void)state;
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n" HOST HOST "\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nabcd",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int fd = dial();
        unsigned before = atomic_load(&n_accepted);
        say(fd, bad[i], strlen(bad[i]));
        hear(fd, false);
        /* by the handler, or by the library */
        assert_true(got.status == 400 || strstr(got.body, "|malformed|") != NULL);
        assert_int_equal(atomic_load(&n_accepted), before);
        /* whatever else it says, it ends */
        while (recv(fd, got.body, sizeof got.body, 0) > 0)
            continue;
        hear_the_end(fd);
    }
}

/* ---- bodies ---- */

TEST(http_request, a_body_comes_whole_however_it_was_sent)
{
    (void)state;
    static const char text[] = "POST /x HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789";
    for (size_t piece = 1; piece < sizeof text; piece += 7) {
        int fd = dial();
        for (size_t at = 0; at < sizeof text - 1; at += piece)
            say(fd, text + at, at + piece < sizeof text ? piece : sizeof text - 1 - at);
        hear(fd, false);
        assert_string_equal(got.body, "POST|/x|/x||taken|loopback||0123456789");
        assert_false(got.closes);
        close(fd);
    }
}

TEST(http_request, chunks_are_one_body_and_the_last_of_their_connection)
{
    (void)state;
    static const char text[] = "POST /x HTTP/1.1\r\n" HOST
                               "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n"
        /* it is not read */
        GET("/next", "");
    int fd = dial();
    say(fd, text, sizeof text - 1);
    hear(fd, false);
    assert_string_equal(got.body, "POST|/x|/x||taken|loopback||abcde");
    assert_true(got.closes);
    hear_the_end(fd);
}

TEST(http_request, without_a_body_nobody_is_asked_about_one)
{
    (void)state;
    unsigned before = atomic_load(&n_accepted);
    (void)asked(GET("/refused", ""));
    assert_non_null(strstr(got.body, "|taken|"));
    (void)asked("POST /refused HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    assert_non_null(strstr(got.body, "|taken|"));
    assert_int_equal(atomic_load(&n_accepted), before);
    (void)asked("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx");
    assert_int_equal(atomic_load(&n_accepted), before + 1);
}

/* The answer comes though the body did not: it is not waited for. */
TEST(http_request, a_body_that_is_not_wanted_is_not_waited_for)
{
    (void)state;
    static const char *const heads[] = {
        "POST /refused HTTP/1.1\r\n" HOST "Content-Length: 50\r\n\r\n",
        "POST /refused HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
        "POST /x HTTP/1.1\r\n" HOST "Content-Length: 100001\r\n\r\n",
    };
    static const char *const told[] = { "POST|/refused|/refused||refused|loopback||",
                                        "POST|/refused|/refused||refused|loopback||",
                                        "POST|/x|/x||taken, too large|loopback||" };
    for (size_t i = 0; i < 3; i++) {
        int fd = dial();
        say(fd, heads[i], strlen(heads[i]));
        hear(fd, false);
        assert_string_equal(got.body, told[i]);
        assert_true(got.closes);
        close(fd);
    }
}

TEST(http_request, a_body_has_its_limit_to_the_byte)
{
    (void)state;
    static char text[BODY_MAX + 2];
    memset(text, 'x', sizeof text - 1);
    for (unsigned chunked = 0; chunked < 2; chunked++)
        for (size_t len = BODY_MAX; len <= BODY_MAX + 1; len++) {
            char head[200], more[40];
            int fd = dial();
            (void)snprintf(more, sizeof more,
                           chunked ? "Transfer-Encoding: chunked" : "Content-Length: %zu", len);
            int n = snprintf(head, sizeof head, "PUT /x HTTP/1.1\r\n" HOST "%s\r\n\r\n", more);
            say(fd, head, (size_t)n);
            if (chunked) {
                n = snprintf(head, sizeof head, "%zx\r\n", len);
                say(fd, head, (size_t)n);
            }
            say(fd, text, len);
            if (chunked)
                say(fd, "\r\n0\r\n\r\n", 7);
            hear(fd, false);
            if (len > BODY_MAX) {
                assert_string_equal(got.body, "PUT|/x|/x||taken, too large|loopback||");
                assert_true(got.closes);
            } else {
                const char *body = strstr(got.body, "|loopback||");
                assert_non_null(body);
                assert_string_equal(body + sizeof "|loopback||" - 1, text + 1);
            }
            close(fd);
        }
}

/* ---- one after the other ---- */

/* An exchange is used again: nothing of a request is told with the next, and none of its memory is
 * lost. What this many requests take is more than one may take. */
TEST(http_request, requests_of_one_connection_are_apart)
{
    (void)state;
    static const char three[] =
        "POST /a?q HTTP/1.1\r\n" HOST "X-One: 1\r\nContent-Length: 3\r\n\r\nabc" GET(
            "/b", "") "PUT /c HTTP/1.1\r\n" HOST "X-Two: 2\r\nContent-Length: 1\r\n\r\nd";
    int fd = dial();
    for (int round = 0; round < 2000; round++) {
        say(fd, three, sizeof three - 1);
        hear(fd, false);
        assert_string_equal(got.body, "POST|/a?q|/a|q|taken|loopback|X-One=1;|abc");
        hear(fd, false);
        assert_string_equal(got.body, "GET|/b|/b||taken|loopback||");
        hear(fd, false);
        assert_string_equal(got.body, "PUT|/c|/c||taken|loopback|X-Two=2;|d");
    }
    close(fd);
}

TEST(http_request, to_head_an_answer_has_its_length_and_no_body)
{
    (void)state;
    char length[60];
    int fd = dial();
    static const char two[] = "HEAD /a HTTP/1.1\r\n" HOST "\r\n" GET("/b", "");
    say(fd, two, sizeof two - 1);
    hear(fd, true);
    assert_int_equal(got.status, 200);
    (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n",
                   strlen("HEAD|/a|/a||taken|loopback||"));
    assert_non_null(strstr(got.head, length));
    /* the next answer follows at once */
    hear(fd, false);
    assert_string_equal(got.body, "GET|/b|/b||taken|loopback||");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(http_request, a_target_is_told_as_it_came),
        T(http_request, a_query_of_thousands_of_pairs_is_told_whole),
        T(http_request, headers_are_told_in_their_order),
        T(http_request, so_many_headers_are_taken_and_one_more_is_refused),
        T(http_request, a_head_that_can_be_read_in_two_ways_is_told_and_ends_the_connection),
        T(http_request, a_body_comes_whole_however_it_was_sent),
        T(http_request, chunks_are_one_body_and_the_last_of_their_connection),
        T(http_request, without_a_body_nobody_is_asked_about_one),
        T(http_request, a_body_that_is_not_wanted_is_not_waited_for),
        T(http_request, a_body_has_its_limit_to_the_byte),
        T(http_request, requests_of_one_connection_are_apart),
        T(http_request, to_head_an_answer_has_its_length_and_no_body),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* Answers that go out while they are made, over real sockets. */
#include "holding.h"

#include <poll.h>

#define GET    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define POST   "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd"
#define OLD    "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"
#define GZIP   "GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
#define CLOSES "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

static int ask(const char *request)
{
    int fd = dial(4096);
    say(fd, request);
    return fd;
}

static struct http_stream *begin(void)
{
    const struct http_header h = { SV_LIT("Content-Type"), SV_LIT("text/x") };
    struct http_exchange *x = arrived();
    assert_true(http_may_stream(x));
    return http_stream_begin(x, 200, &h, 1, true);
}

static void put(struct http_stream *s, const char *text)
{
    size_t n;
    OK(http_stream_put(s, sv_from(text), 0, &n, e));
    assert_int_equal(n, strlen(text));
}

/* Until the text ends with this, or the connection does. True: it ends with it. */
static bool read_to(int fd, struct buf *text, const char *end)
{
    char piece[4096];
    ssize_t n;
    while (!(text->len >= strlen(end) &&
             memcmp(text->ptr + text->len - strlen(end), end, strlen(end)) == 0)) {
        if ((n = recv(fd, piece, sizeof piece, 0)) <= 0)
            return false;
        OK(buf_add(text, sv_make(piece, (size_t)n), e));
    }
    return true;
}

#define LAST_CHUNK "\r\n0\r\n\r\n"

TEST(stream, pieces_go_out_as_they_are_put_and_the_connection_is_good_for_more)
{
    (void)state;
    int fd = ask(POST);
    CLEANUP_BUF struct buf text = BUF_INIT(1u << 20);
    struct http_stream *s = begin();
    put(s, "one");
    assert_true(read_to(fd, &text, "\r\n3\r\none\r\n"));
    assert_non_null(memmem(text.ptr, text.len, "Content-Type: text/x\r\n", 22));
    put(s, "two+");
    assert_true(read_to(fd, &text, "\r\n4\r\ntwo+\r\n"));
    http_stream_end(s, true);
    assert_true(read_to(fd, &text, LAST_CHUNK));
    assert_int_equal(send(fd, GET, strlen(GET), MSG_NOSIGNAL), (ssize_t)strlen(GET));
    s = begin();
    http_stream_end(s, true);
    buf_clear(&text);
    assert_true(read_to(fd, &text, LAST_CHUNK));
    close(fd);
}

TEST(stream, one_that_is_not_whole_has_no_last_chunk)
{
    (void)state;
    static const char *const requests[] = { GET, CLOSES };
    for (size_t i = 0; i < 2; i++) {
        int fd = ask(requests[i]);
        CLEANUP_BUF struct buf text = BUF_INIT(1u << 20);
        struct http_stream *s = begin();
        put(s, "one");
        http_stream_end(s, false);
        assert_false(read_to(fd, &text, LAST_CHUNK));
        assert_true(sv_ends(buf_sv(&text), SV_LIT("\r\n3\r\none\r\n")));
        close(fd);
    }
    int fd = ask(CLOSES);
    CLEANUP_BUF struct buf text = BUF_INIT(1u << 20);
    struct http_stream *s = begin();
    put(s, "one");
    http_stream_end(s, true);
    assert_true(read_to(fd, &text, LAST_CHUNK));
    close(fd);
}

/* Puts until there has been no room for so long: then this holds no memory but its own. */
static size_t fill_with(struct http_stream *s, sv piece, unsigned wait_ms)
{
    size_t n, all = 0;
    do {
        OK(http_stream_put(s, piece, wait_ms, &n, e));
        all += n;
    } while (n);
    return all;
}

static char zeros[64u << 10];
static char noise[64u << 10]; /* it does not pack: longer than gzip looks back */

static sv noise_piece(void)
{
    uint64_t x = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)((x = x * 6364136223846793005u + 1442695040888963407u) >> 56);
    return sv_make(noise, sizeof noise);
}

static size_t fill(struct http_stream *s)
{
    return fill_with(s, sv_make(zeros, sizeof zeros), 300);
}

TEST(stream, who_does_not_read_makes_the_maker_wait)
{
    (void)state;
    int fd = ask(GET);
    CLEANUP_BUF struct buf text = BUF_INIT(64u << 20);
    struct http_stream *s = begin();
    size_t all = fill(s);
    /* what the kernel holds, and the room */
    assert_true(all >= HTTP_STREAM_ROOM && all < 32u << 20);
    http_stream_end(s, true);
    assert_true(read_to(fd, &text, LAST_CHUNK));
    assert_true(text.len > all);
    close(fd);
}

/* How many of the bytes that were put have not gone out, when what waits is dropped. */
static ssize_t dropped_of(const char *request, sv piece, size_t first)
{
    int fd = ask(request);
    CLEANUP_BUF struct buf text = BUF_INIT(64u << 20);
    struct http_stream *s = begin();
    size_t n, all;
    OK(http_stream_put(s, sv_head(piece, first), 0, &all, e));
    /* what the kernel takes late, on a busy machine, is waited for */
    while ((n = fill_with(s, piece, 300)))
        all += n;
    http_stream_drop(s);
    http_stream_end(s, false);
    assert_false(read_to(fd, &text, LAST_CHUNK));
    close(fd);
    return (ssize_t)all - (ssize_t)text.len;
}

/* What was packed stands behind the ring when that is full, and nothing is put then: it may be all
 * that waits, where the kernel has just taken the ring. Then it is tried again, a bit later. */
TEST(stream, what_is_dropped_does_not_go_out)
{
    (void)state;
    assert_true(dropped_of(GET, sv_make(zeros, sizeof zeros), 1) > (ssize_t)HTTP_STREAM_ROOM / 2);
    const sv piece = noise_piece();
    ssize_t most = 0;
    for (size_t i = 0; i < 20 && most <= (ssize_t)HTTP_STREAM_ROOM / 2; i++)
        most = dropped_of(GZIP, piece, 1 + i * 3000);
    assert_true(most > (ssize_t)HTTP_STREAM_ROOM / 2);
}

TEST(stream, who_leaves_ends_the_work)
{
    (void)state;
    struct err why = { 0 };
    size_t n;
    for (int full = 0; full < 2; full++) {
        int fd = ask(GET);
        struct http_stream *s = begin();
        put(s, "one");
        if (full)
            (void)fill(s);
        close(fd);
        /* the library sees it when it sends */
        while (http_stream_put(s, SV_LIT("more"), 100, &n, &why) == ERR_OK)
            ;
        assert_int_equal(why.code, ERR_CANCELLED);
        http_stream_end(s, false);
    }
}

TEST(stream, who_leaves_while_nothing_is_made_is_seen_by_who_asks)
{
    (void)state;
    int fd = ask(GET);
    struct http_exchange *x = arrived();
    struct http_stream *s = http_stream_begin(x, 200, NULL, 0, true);
    CLEANUP_BUF struct buf text = BUF_INIT(1u << 20);
    put(s, "one");
    assert_true(read_to(fd, &text, "\r\none\r\n"));
    assert_false(http_exchange_gone(x));
    close(fd);
    while (!http_exchange_gone(x))
        poll(NULL, 0, 1);
    http_stream_end(s, false);
}

TEST(stream, a_caller_of_http_1_0_takes_none)
{
    (void)state;
    int fd = ask(OLD);
    struct http_exchange *x = arrived();
    assert_false(http_may_stream(x));
    http_reply(x, 204, NULL, 0, NULL);
    close(fd);
}

/* Makers and readers of which each may be the first to end. */
static void *read_some(void *arg)
{
    unsigned i = *(unsigned *)arg;
    char piece[512];
    int fd = ask(CLOSES);
    for (unsigned n = 1 + i % 7; n && recv(fd, piece, sizeof piece, 0) > 0; n--)
        ;
    close(fd);
    return NULL;
}

TEST(stream, ends_of_both_sides_meet_in_any_order)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        pthread_t reader;
        struct err why;
        size_t n;
        assert_int_equal(pthread_create(&reader, NULL, read_some, &i), 0);
        struct http_stream *s = begin();
        for (unsigned k = i % 5; k; k--)
            (void)!http_stream_put(s, SV_LIT("a row of some length\n"), 0, &n, &why);
        http_stream_end(s, i % 2);
        pthread_join(reader, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(stream, pieces_go_out_as_they_are_put_and_the_connection_is_good_for_more),
        T(stream, one_that_is_not_whole_has_no_last_chunk),
        T(stream, who_does_not_read_makes_the_maker_wait),
        T(stream, what_is_dropped_does_not_go_out),
        T(stream, who_leaves_ends_the_work),
        T(stream, who_leaves_while_nothing_is_made_is_seen_by_who_asks),
        T(stream, a_caller_of_http_1_0_takes_none),
        T(stream, ends_of_both_sides_meet_in_any_order),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* What peers of every kind may do to a call by libcurl, against peers that are threads of the test
 * and never stop to send. Without its limits such a call would not end, nor would the test. */
#include "test.h"

#include "callout/callout.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <unistd.h>

#define STOP_AFTER (8u << 20) /* bytes: the caller is inside by then */

struct flood { /* what a peer sends once it was asked, and for ever */
    const char *scheme;
    sv first, then;
    atomic_bool *stop; /* set once much of it was sent; or NULL */
    atomic_bool over;  /* the caller has gone */
    bool was_asked;    /* out, at the end: before the caller's time was over */
    int listener;
    pthread_t thread;
    char url[64];
    uint64_t n_sent;
};

/* A socket that is shut may leave its peer without a word, and without room to send. */
static bool send_all(struct flood *f, int fd, sv bytes)
{
    while (bytes.len && !atomic_load(&f->over)) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n <= 0 && errno != EAGAIN)
            return false;
        bytes = sv_tail(bytes, n > 0 ? (size_t)n : 0);
    }
    return bytes.len == 0;
}

static void *run_flood(void *ctx)
{
    struct flood *f = ctx;
    char asked[4096];
    int fd = accept(f->listener, NULL, NULL);
    struct timeval most = { 0, 100000 };
    f->was_asked = fd >= 0 && recv(fd, asked, sizeof asked, 0) > 0;
    if (!f->was_asked) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most), 0);
    bool on = send_all(f, fd, f->first);
    while (on && f->then.len) {
        on = send_all(f, fd, f->then);
        f->n_sent += f->then.len;
        if (f->stop && f->n_sent > STOP_AFTER)
            atomic_store(f->stop, true);
    }
    close(fd);
    return NULL;
}

static void flood_start(struct flood *f)
{
    struct sockaddr_in sa = { .sin_family = AF_INET };
    socklen_t len = sizeof sa;
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(f->listener, 4), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&sa, &len), 0);
    (void)snprintf(f->url, sizeof f->url, "%s://127.0.0.1:%u/", f->scheme, ntohs(sa.sin_port));
    assert_int_equal(pthread_create(&f->thread, NULL, run_flood, f), 0);
}

static void flood_end(struct flood *f)
{
    atomic_store(&f->over, true);
    /* where nobody came, nobody is waited for */
    (void)shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
}

static size_t drop(char *p, size_t size, size_t n, void *ctx)
{
    (void)p, (void)ctx;
    return size * n;
}

static CURL *easy_of(const struct flood *f, struct callout *c)
{
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, f->url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
    callout_arm(c, easy, NULL, NULL);
    return easy;
}

/* The exchange, with its end: libcurl reads what is left of a connection when it closes it. */
static CURLcode exchange(struct flood *f, struct callout *c, unsigned most_ms)
{
    CURL *easy = easy_of(f, c);
    flood_start(f);
    curl_easy_setopt(easy, CURLOPT_URL, f->url);
    callout_enter(c, f->stop, most_ms);
    CURLcode result = curl_easy_perform(easy);
    callout_leave(c);
    callout_enter(c, NULL, 100);
    curl_easy_cleanup(easy);
    callout_leave(c);
    flood_end(f);
    return result;
}

/* ---- heads ---- */

#define LINE \
    "X-Line: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"

TEST(heads, without_an_end_end_whatever_they_are)
{
    (void)state;
    struct flood floods[] = {
        { .scheme = "http", .first = SV_LIT("HTTP/1.1 200 OK\r\n"), .then = SV_LIT(LINE) },
        { .scheme = "http", .first = SV_LIT(""), .then = SV_LIT("HTTP/1.1 103 X\r\n" LINE "\r\n") },
        /* libcurl keeps them all, and no body moves that could be waited for */
        { .scheme = "http",
          .first = SV_LIT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
          .then = SV_LIT(LINE) },
    };
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        struct callout *c = callout_new();
        assert_int_not_equal(exchange(&floods[i], c, 600000), CURLE_OK);
        assert_true(callout_head_is_too_long(c));
        callout_free(c);
    }
}

TEST(heads, of_one_exchange_after_the_other_are_counted_each_by_itself)
{
    (void)state;
    static char head[CALLOUT_HEAD_MAX + 100];
    struct callout *c = callout_new();
    for (int longer = 0; longer < 2; longer++)
        for (int again = 0; again < 2; again++) {
            const char begin[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n";
            size_t n = sizeof begin - 1;
            memcpy(head, begin, n);
            const size_t end = CALLOUT_HEAD_MAX - 2 + (size_t)longer;
            while (n < end) {
                size_t line = end - n > 2000 ? 1000 : end - n;
                memset(head + n, 'a', line);
                memcpy(head + n, "X: ", 3);
                memcpy(head + n + line - 2, "\r\n", 2);
                n += line;
            }
            memcpy(head + n, "\r\n", 2);
            struct flood f = { .scheme = "http", .first = sv_make(head, n + 2) };
            CURLcode result = exchange(&f, c, 600000);
            assert_int_equal(result, longer ? CURLE_WRITE_ERROR : CURLE_OK);
            assert_int_equal(callout_head_is_too_long(c), longer);
        }
    callout_free(c);
}

/* ---- turns ---- */

static char hellos[1 << 20];

/* TLS's HelloRequest, as many as a record holds: whoever shakes hands passes over them. They need
 * no certificate and no key. */
static sv hello_requests(void)
{
    size_t n = 0;
    const char record[] = { 0x16, 3, 3, 0x3F, (char)0xFC };
    while (sizeof hellos - n >= sizeof record + 0x3FFC) {
        memcpy(hellos + n, record, sizeof record);
        memset(hellos + n + sizeof record, 0, 0x3FFC);
        n += sizeof record + 0x3FFC;
    }
    return sv_make(hellos, n);
}

/* Ends. A caller who is held up for as long as that does not come to ask: then there is more. */
static void ends_in(struct callout *c, unsigned ms)
{
    for (bool met = false; !met; ms *= 2) {
        struct flood f = { .scheme = "https", .first = SV_LIT(""), .then = hello_requests() };
        assert_true(ms < 600000);
        assert_int_not_equal(exchange(&f, c, ms), CURLE_OK);
        assert_false(callout_head_is_too_long(c));
        met = f.was_asked;
    }
}

TEST(turns, that_a_peer_drags_out_within_tls_end_when_their_time_is_over)
{
    (void)state;
    struct callout *c = callout_new();
    ends_in(c, 300);
    callout_free(c);
}

TEST(turns, that_a_peer_drags_out_within_tls_end_when_their_caller_is_stopped)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        atomic_bool stop = false;
        struct callout *c = callout_new(), *beside = callout_new();
        struct flood f = {
            .scheme = "https", .first = SV_LIT(""), .then = hello_requests(), .stop = &stop
        };
        assert_int_not_equal(exchange(&f, c, 600000), CURLE_OK);
        callout_free(c);
        callout_free(beside);
    }
}

/* The watch sleeps after two seconds without work. */
TEST(turns, are_watched_again_after_a_long_pause)
{
    (void)state;
    struct callout *c = callout_new();
    struct timespec pause = { 3, 0 };
    (void)nanosleep(&pause, NULL);
    ends_in(c, 100);
    callout_free(c);
}

/* ---- addresses ---- */

static bool never(void *ctx, const struct sockaddr *to)
{
    unsigned *n = ctx;
    *n += to->sa_family == AF_INET;
    return false;
}

TEST(addresses, that_may_not_be_met_are_not)
{
    (void)state;
    unsigned n = 0;
    struct flood f = { .url = "http://127.0.0.1:1/" };
    struct callout *c = callout_new();
    CURL *easy = easy_of(&f, c);
    callout_arm(c, easy, never, &n);
    assert_int_equal(curl_easy_perform(easy), CURLE_COULDNT_CONNECT);
    assert_int_equal(n, 1);
    curl_easy_cleanup(easy);
    callout_free(c);
}

TEST_MAIN(T(heads, without_an_end_end_whatever_they_are),
          T(heads, of_one_exchange_after_the_other_are_counted_each_by_itself),
          T(turns, that_a_peer_drags_out_within_tls_end_when_their_time_is_over),
          T(turns, that_a_peer_drags_out_within_tls_end_when_their_caller_is_stopped),
          T(turns, are_watched_again_after_a_long_pause), T(addresses, that_may_not_be_met_are_not))

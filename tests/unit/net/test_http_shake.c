/* Connections over TLS, from a client that is GnuTLS too: what a request says of them, and when one
 * ends. */
#include "net/http_private.h"

#include "base/clock.h"

#include "../test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#define DAY INT64_C(86400000)

/* ---- certificates ---- */

struct identity {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
};

static void good(int r)
{
    if (r < 0)
        fail_msg("%s", gnutls_strerror(r));
}

/* Of by; NULL: of itself, as an authority. */
static void make(struct identity *out, const struct identity *by, const char *dn)
{
    static unsigned char serial = 1;
    time_t now = time(NULL);
    unsigned char id = serial++;
    good(gnutls_x509_crt_init(&out->crt));
    good(gnutls_x509_privkey_init(&out->key));
    good(gnutls_x509_privkey_generate(out->key, GNUTLS_PK_ECDSA,
                                      GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    good(gnutls_x509_crt_set_version(out->crt, 3));
    good(gnutls_x509_crt_set_serial(out->crt, &id, 1));
    good(gnutls_x509_crt_set_activation_time(out->crt, now - 86400));
    good(gnutls_x509_crt_set_expiration_time(out->crt, now + 86400));
    good(gnutls_x509_crt_set_dn(out->crt, dn, NULL));
    good(gnutls_x509_crt_set_key(out->crt, out->key));
    good(gnutls_x509_crt_set_basic_constraints(out->crt, by == NULL, -1));
}

static void sign(struct identity *who, const struct identity *by)
{
    good(gnutls_x509_crt_sign2(who->crt, by->crt, by->key, GNUTLS_DIG_SHA256, 0));
}

static void add_name(struct identity *who, gnutls_x509_subject_alt_name_t kind, const char *text)
{
    good(gnutls_x509_crt_set_subject_alt_name(who->crt, kind, text, (unsigned)strlen(text),
                                              GNUTLS_FSAN_APPEND));
}

static void drop(struct identity *who)
{
    gnutls_x509_crt_deinit(who->crt);
    gnutls_x509_privkey_deinit(who->key);
}

/* ---- a server ---- */

static struct {
    struct http_tls *tls;
    struct http_server *http;
    char certificate[256];
    bool secure;
    http_refusal refusal;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t told;
        unsigned n_failed;
        const char *why;
    } locked;
} us = { .locked = { .lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER } };

static void accept_all(void *ctx, struct http_request *req, struct http_allowance *out)
{
    (void)ctx, (void)req;
    *out = (struct http_allowance){ .body_max = 1024, .proven = true };
}

static void answer(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    const struct http_request *req = http_exchange_request(x);
    (void)snprintf(us.certificate, sizeof us.certificate, "%.*s", SV_FMT(req->certificate));
    us.secure = req->secure;
    us.refusal = req->refusal;
    struct buf body = BUF_INIT(64);
    OK(buf_add(&body, SV_LIT("answered"), e));
    http_reply(x, req->refusal ? 403 : 200, NULL, 0, &body);
}

static void on_failed(void *ctx, const struct http_handshakes *failed)
{
    (void)ctx;
    pthread_mutex_lock(&us.locked.lock);
    us.locked.n_failed += failed->n;
    us.locked.why = failed->why;
    pthread_cond_signal(&us.locked.told);
    pthread_mutex_unlock(&us.locked.lock);
}

static void wait_failed(unsigned n)
{
    pthread_mutex_lock(&us.locked.lock);
    while (us.locked.n_failed < n)
        pthread_cond_wait(&us.locked.told, &us.locked.lock);
    assert_int_equal(us.locked.n_failed, n);
    us.locked.n_failed = 0;
    pthread_mutex_unlock(&us.locked.lock);
}

static void up(sv client_ca, uint64_t head_us)
{
    struct buf certificate = BUF_INIT(65536), key = BUF_INIT(65536);
    struct http_certificate told;
    int64_t now_ms = clock_wall_ms();
    struct http_authorities are;
    OK(http_tls_new(&us.tls, e));
    if (client_ca.len)
        OK(http_tls_trust(us.tls, client_ca, SV_NONE, now_ms, &are, e));
    OK(http_tls_make(SV_NONE, now_ms - DAY, now_ms + DAY, &certificate, &key, e));
    OK(http_tls_show(us.tls, buf_sv(&certificate), buf_sv(&key), now_ms, &told, e));
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .tls = us.tls,
                                    .hsts = true,
                                    .handshakes = on_failed,
                                    .n_threads = 2,
                                    .limits = { .n = 100, .head_us = head_us, .sweep_us = 20000 },
                                    .idle_timeout_s = 60,
                                    .accept = accept_all,
                                    .handler = answer };
    OK(http_server_start(&c, &us.http, e));
    buf_done(&certificate);
    buf_done(&key);
}

static void down(void)
{
    http_server_stop(us.http, 2000);
    http_tls_free(us.tls);
}

/* ---- a client ---- */

static int dial(void)
{
    sv at = http_server_address(us.http);
    uint64_t port;
    assert_true(sv_to_u64(sv_tail(at, sv_find(at, ':') + 1), &port));
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static gnutls_certificate_credentials_t cred;

static gnutls_session_t shake(int fd, const struct identity *who, const char *priorities)
{
    gnutls_session_t session;
    good(gnutls_certificate_allocate_credentials(&cred));
    if (who) {
        gnutls_x509_crt_t crt = who->crt;
        good(gnutls_certificate_set_x509_key(cred, &crt, 1, who->key));
    }
    good(gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT));
    good(gnutls_set_default_priority(session));
    if (priorities)
        good(gnutls_priority_set_direct(session, priorities, NULL));
    good(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, cred));
    if (fd >= 0)
        gnutls_transport_set_int(session, fd);
    return session;
}

static void hang_up(int fd, gnutls_session_t session)
{
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(cred);
    close(fd);
}

/* The status of one request. */
static unsigned ask(const struct identity *who)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char in[4096] = "";
    int fd = dial();
    gnutls_session_t session = shake(fd, who, NULL);
    int r;
    do
        r = gnutls_handshake(session);
    while (r < 0 && !gnutls_error_is_fatal(r));
    good(r);
    assert_int_equal(gnutls_record_send(session, get, sizeof get - 1), (ssize_t)sizeof get - 1);
    ssize_t n;
    do
        n = gnutls_record_recv(session, in, sizeof in - 1);
    while (n == GNUTLS_E_INTERRUPTED || n == GNUTLS_E_AGAIN);
    assert_true(n > 12);
    assert_non_null(strstr(in, "Strict-Transport-Security: max-age=31536000\r\n"));
    /* head and body in one record */
    assert_non_null(strstr(in, "\r\n\r\nanswered"));
    hang_up(fd, session);
    return (unsigned)((in[9] - '0') * 100 + (in[10] - '0') * 10 + in[11] - '0');
}

/* ---- what a request says ---- */

TEST(shake, a_request_over_tls_says_so_and_names_nobody_who_was_not_asked)
{
    (void)state;
    struct identity self;
    make(&self, NULL, "CN=self");
    sign(&self, &self);
    up(SV_NONE, 0);
    assert_int_equal(ask(NULL), 200);
    assert_true(us.secure);
    assert_string_equal(us.certificate, "");
    assert_int_equal(us.refusal, HTTP_TAKEN);
    down();
    drop(&self);
}

static struct identity authority;
static gnutls_datum_t authority_pem;

static unsigned asked_by(const struct identity *by, const char *dn, const char *uri,
                         const char *dns)
{
    struct identity who;
    make(&who, by, dn);
    if (dns)
        add_name(&who, GNUTLS_SAN_DNSNAME, dns);
    if (uri)
        add_name(&who, GNUTLS_SAN_URI, uri);
    sign(&who, by);
    unsigned status = ask(&who);
    drop(&who);
    return status;
}

TEST(shake, a_caller_is_named_by_uri_then_dns_then_subject)
{
    (void)state;
    up(sv_make((char *)authority_pem.data, authority_pem.size), 0);
    assert_int_equal(asked_by(&authority, "CN=a,O=b", "spiffe://lake/a", "a.example"), 200);
    assert_string_equal(us.certificate, "spiffe://lake/a");
    assert_int_equal(asked_by(&authority, "CN=a,O=b", NULL, "a.example"), 200);
    assert_string_equal(us.certificate, "a.example");
    assert_int_equal(asked_by(&authority, "CN=a,O=b", NULL, NULL), 200);
    /* as RFC 4514 has it */
    assert_string_equal(us.certificate, "O=b,CN=a");
    down();
}

TEST(shake, who_shows_none_or_anothers_is_a_stranger_without_a_name)
{
    (void)state;
    struct identity other;
    make(&other, NULL, "CN=authority");
    sign(&other, &other);
    up(sv_make((char *)authority_pem.data, authority_pem.size), 0);
    assert_int_equal(ask(NULL), 403);
    assert_int_equal(us.refusal, HTTP_STRANGER);
    assert_string_equal(us.certificate, "");
    assert_int_equal(asked_by(&other, "CN=a", "spiffe://lake/a", NULL), 403);
    assert_int_equal(us.refusal, HTTP_STRANGER);
    assert_string_equal(us.certificate, "");
    assert_int_equal(asked_by(&authority, "CN=a", "spiffe://lake/a", NULL), 200);
    down();
    drop(&other);
}

/* ---- handshakes that come to nothing ---- */

static void until_its_end(int fd)
{
    char in[512];
    while (recv(fd, in, sizeof in, 0) > 0)
        continue;
    close(fd);
}

/* All that failed so far: a server that ends has told of them. */
static unsigned down_and_count(void)
{
    down();
    unsigned n = us.locked.n_failed;
    us.locked.n_failed = 0;
    return n;
}

TEST(shake, a_handshake_has_the_time_of_a_head)
{
    (void)state;
    unsigned n, tries = 0;
    /* where this thread is held up for so long, both have said nothing: once more then */
    do {
        up(SV_NONE, 200000);
        int fds[] = { dial(), dial() };
        (void)send(fds[0], "\x16\x03\x01\x02", 4, MSG_NOSIGNAL);
        until_its_end(fds[0]);
        /* it said nothing, and counts as none */
        until_its_end(fds[1]);
        n = down_and_count();
    } while (n == 0 && ++tries < 50);
    assert_int_equal(n, 1);
    assert_string_equal(us.locked.why, "it took too long, or there was no place for it");
}

static double cpu_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The first flight of a client that says no more. */
static ssize_t keep_hello(gnutls_transport_ptr_t ptr, const void *data, size_t n)
{
    struct buf *hello = ptr;
    struct err e;
    return buf_add(hello, sv_make(data, n), &e) == ERR_OK ? (ssize_t)n : -1;
}

static ssize_t hear_nothing(gnutls_transport_ptr_t ptr, void *data, size_t n)
{
    (void)ptr, (void)data, (void)n;
    errno = EAGAIN;
    return -1;
}

static int dial_and_greet(void)
{
    struct buf hello = BUF_INIT(65536);
    int fd = dial();
    gnutls_session_t session = shake(-1, NULL, NULL);
    gnutls_transport_set_ptr(session, &hello);
    gnutls_transport_set_push_function(session, keep_hello);
    gnutls_transport_set_pull_function(session, hear_nothing);
    assert_int_equal(gnutls_handshake(session), GNUTLS_E_AGAIN);
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(cred);
    assert_true(hello.len > 100);
    /* refused when the time for it was over before */
    (void)send(fd, hello.ptr, hello.len, MSG_NOSIGNAL);
    buf_done(&hello);
    return fd;
}

TEST(shake, a_handshake_that_waits_keeps_no_thread_busy)
{
    (void)state;
    int fds[4];
    unsigned n, tries = 0;
    double took;
    /* as above: once more when one of them has said nothing in its time */
    do {
        up(SV_NONE, 2000000);
        double before = cpu_seconds();
        for (size_t i = 0; i < 4; i++)
            fds[i] = dial_and_greet();
        for (size_t i = 0; i < 4; i++)
            until_its_end(fds[i]);
        took = cpu_seconds() - before;
        n = down_and_count();
    } while (n < 4 && ++tries < 50);
    assert_int_equal(n, 4);
    /* of two seconds and more, on two threads */
    assert_true(took < 0.7);
}

TEST(shake, a_server_stops_while_handshakes_wait)
{
    (void)state;
    int fds[8];
    up(SV_NONE, 0);
    for (size_t i = 0; i < 8; i++)
        fds[i] = dial_and_greet();
    for (size_t i = 0; i < 8; i++) {
        char c;
        /* the server's flight is there: it waits for the next one */
        assert_int_equal(recv(fds[i], &c, 1, 0), 1);
    }
    down();
    for (size_t i = 0; i < 8; i++)
        until_its_end(fds[i]);
    wait_failed(8);
}

TEST(shake, an_old_tls_gets_the_alert_that_says_so)
{
    (void)state;
    up(SV_NONE, 0);
    int fd = dial();
    gnutls_session_t session = shake(fd, NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.1:%COMPAT");
    int r;
    do
        r = gnutls_handshake(session);
    while (r < 0 && !gnutls_error_is_fatal(r));
    assert_int_equal(r, GNUTLS_E_FATAL_ALERT_RECEIVED);
    assert_int_equal(gnutls_alert_get(session), GNUTLS_A_PROTOCOL_VERSION);
    hang_up(fd, session);
    wait_failed(1);
    assert_string_equal(us.locked.why, "its TLS is older than 1.2");
    down();
}

TEST(shake, plain_http_is_answered_in_plain_http)
{
    (void)state;
    char in[1024] = "";
    size_t len = 0;
    ssize_t n;
    up(SV_NONE, 0);
    int fd = dial();
    assert_int_equal(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    while ((n = recv(fd, in + len, sizeof in - 1 - len, 0)) > 0)
        len += (size_t)n;
    close(fd);
    const char *body = strstr(in, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(strncmp(in, "HTTP/1.1 400 ", 13), 0);
    assert_int_equal(strlen(body + 4), 69);
    wait_failed(1);
    assert_string_equal(us.locked.why, "it speaks plain HTTP");
    down();
}

static int setup(void **state)
{
    (void)state;
    make(&authority, NULL, "CN=authority");
    sign(&authority, &authority);
    good(gnutls_x509_crt_export2(authority.crt, GNUTLS_X509_FMT_PEM, &authority_pem));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    drop(&authority);
    gnutls_free(authority_pem.data);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(shake, a_request_over_tls_says_so_and_names_nobody_who_was_not_asked),
        T(shake, a_caller_is_named_by_uri_then_dns_then_subject),
        T(shake, who_shows_none_or_anothers_is_a_stranger_without_a_name),
        T(shake, a_handshake_has_the_time_of_a_head),
        T(shake, a_handshake_that_waits_keeps_no_thread_busy),
        T(shake, a_server_stops_while_handshakes_wait),
        T(shake, an_old_tls_gets_the_alert_that_says_so),
        T(shake, plain_http_is_answered_in_plain_http),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

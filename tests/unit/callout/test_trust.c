/* Whom TLS peers are known by, against a peer that is a thread of the test. */
#include "test.h"

#include "callout/callout.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_THREADS 4
#define N_EACH    10

/* ---- a peer, and who vouches for it ---- */

static struct {
    char folder[256], file[300];
    X509 *own, *other; /* each vouches for itself */
    SSL_CTX *ctx;
    int listener;
    char url[64];
    pthread_t thread;
    atomic_bool over;
} peer;

static X509 *make(EVP_PKEY *key, const char *name)
{
    X509 *crt = X509_new();
    X509V3_CTX v3;
    X509V3_set_ctx_nodb(&v3);
    X509V3_set_ctx(&v3, crt, crt, NULL, NULL, 0);
    assert_true(X509_set_version(crt, 2) && ASN1_INTEGER_set(X509_get_serialNumber(crt), 1));
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(crt), -3600));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(crt), 86400));
    assert_true(X509_set_pubkey(crt, key));
    assert_true(X509_NAME_add_entry_by_txt(X509_get_subject_name(crt), "CN", MBSTRING_ASC,
                                           (const unsigned char *)name, -1, -1, 0));
    assert_true(X509_set_issuer_name(crt, X509_get_subject_name(crt)));
    X509_EXTENSION *host = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, "IP:127.0.0.1");
    assert_true(host && X509_add_ext(crt, host, -1) && X509_sign(crt, key, EVP_sha256()));
    X509_EXTENSION_free(host);
    return crt;
}

static void *run_peer(void *ctx)
{
    int fd;
    (void)ctx;
    while ((fd = accept(peer.listener, NULL, NULL)) >= 0 && !atomic_load(&peer.over)) {
        const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        char asked[4096];
        SSL *ssl = SSL_new(peer.ctx);
        SSL_set_fd(ssl, fd);
        /* who does not take the certificate goes away instead */
        if (SSL_accept(ssl) == 1 && SSL_read(ssl, asked, sizeof asked) > 0 &&
            SSL_write(ssl, answer, sizeof answer - 1) > 0)
            (void)SSL_shutdown(ssl);
        SSL_free(ssl);
        close(fd);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static int begin(void **state)
{
    struct sockaddr_in sa = { .sin_family = AF_INET };
    socklen_t len = sizeof sa;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *another = EVP_EC_gen("P-256");
    (void)state;
    /* a caller who goes away */
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    (void)snprintf(peer.folder, sizeof peer.folder, TEST_TMP "/trust-XXXXXX");
    assert_non_null(mkdtemp(peer.folder));
    (void)snprintf(peer.file, sizeof peer.file, "%s/authorities.pem", peer.folder);
    peer.own = make(key, "own");
    peer.other = make(another, "other");
    peer.ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(peer.ctx, peer.own), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(peer.ctx, key), 1);
    EVP_PKEY_free(key);
    EVP_PKEY_free(another);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    peer.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(peer.listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(peer.listener, 64), 0);
    assert_int_equal(getsockname(peer.listener, (struct sockaddr *)&sa, &len), 0);
    (void)snprintf(peer.url, sizeof peer.url, "https://127.0.0.1:%u/", ntohs(sa.sin_port));
    return pthread_create(&peer.thread, NULL, run_peer, NULL);
}

static int end(void **state)
{
    (void)state;
    atomic_store(&peer.over, true);
    (void)shutdown(peer.listener, SHUT_RDWR);
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    SSL_CTX_free(peer.ctx);
    X509_free(peer.own);
    X509_free(peer.other);
    (void)unlink(peer.file);
    return rmdir(peer.folder);
}

/* Another file in its place, as who renews authorities puts it there. */
static void put(const char *path, X509 *crt)
{
    static atomic_uint n;
    char beside[320];
    (void)snprintf(beside, sizeof beside, "%s/beside-%u", peer.folder, atomic_fetch_add(&n, 1));
    FILE *f = fopen(beside, "w");
    assert_true(f && PEM_write_X509(f, crt) == 1 && fclose(f) == 0);
    assert_int_equal(rename(beside, path), 0);
}

/* How often the file was opened since: inotify tells. */
static unsigned n_opened(int watch)
{
    _Alignas(struct inotify_event) char events[8192];
    unsigned n = 0;
    const ssize_t len = read(watch, events, sizeof events);
    for (ssize_t i = 0; i < len; n++)
        i += (ssize_t)(sizeof(struct inotify_event) +
                       ((const struct inotify_event *)(void *)(events + i))->len);
    return n;
}

static size_t drop(char *p, size_t size, size_t n, void *ctx)
{
    (void)p, (void)ctx;
    return size * n;
}

static CURL *new_easy(const char *file)
{
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, peer.url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
    callout_trust(easy, file);
    return easy;
}

static CURLcode ask_by(const char *file)
{
    CURL *easy = new_easy(file);
    const CURLcode result = curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    return result;
}

static CURLcode ask(void)
{
    return ask_by(peer.file);
}

/* ---- tests ---- */

TEST(trust, is_read_once_and_again_when_its_file_is_another)
{
    (void)state;
    put(peer.file, peer.own);
    const int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    assert_true(watch >= 0 && inotify_add_watch(watch, peer.file, IN_OPEN) >= 0);
    assert_int_equal(ask(), CURLE_OK);
    assert_int_equal(n_opened(watch), 1);
    assert_int_equal(ask(), CURLE_OK);
    assert_int_equal(ask(), CURLE_OK);
    /* a libcurl without our OpenSSL reads it each time */
    if (strncmp(curl_version_info(CURLVERSION_NOW)->ssl_version, "OpenSSL/", 8) == 0)
        assert_int_equal(n_opened(watch), 0);
    close(watch);
    put(peer.file, peer.other);
    assert_int_equal(ask(), CURLE_PEER_FAILED_VERIFICATION);
    put(peer.file, peer.own);
    assert_int_equal(ask(), CURLE_OK);
}

/* Its connection is closed between, and TLS could go on with its session, unverified. */
TEST(trust, that_was_taken_away_is_none_for_who_was_met_before_either)
{
    (void)state;
    CURL *easy = new_easy(peer.file);
    put(peer.file, peer.own);
    assert_int_equal(curl_easy_perform(easy), CURLE_OK);
    put(peer.file, peer.other);
    assert_int_equal(curl_easy_perform(easy), CURLE_PEER_FAILED_VERIFICATION);
    curl_easy_cleanup(easy);
}

TEST(trust, of_a_file_that_cannot_be_read_is_none)
{
    (void)state;
    put(peer.file, peer.own);
    assert_int_equal(ask(), CURLE_OK);
    assert_int_equal(truncate(peer.file, 10), 0);
    assert_int_equal(ask(), CURLE_SSL_CACERT_BADFILE);
    assert_int_equal(unlink(peer.file), 0);
    assert_int_equal(ask(), CURLE_SSL_CACERT_BADFILE);
    if (strncmp(curl_version_info(CURLVERSION_NOW)->ssl_version, "OpenSSL/", 8) == 0) {
        /* which nobody writes into: libcurl by itself waits for that */
        assert_int_equal(mkfifo(peer.file, 0600), 0);
        assert_int_equal(ask(), CURLE_SSL_CACERT_BADFILE);
    }
    put(peer.file, peer.own);
    assert_int_equal(ask(), CURLE_OK);
}

TEST(trust, is_the_systems_where_no_file_is_named)
{
    (void)state;
    assert_int_equal(ask_by(NULL), CURLE_PEER_FAILED_VERIFICATION);
}

static void *ask_often(void *ctx)
{
    unsigned *n_ok = ctx;
    for (int i = 0; i < N_EACH; i++)
        *n_ok += ask() == CURLE_OK;
    return NULL;
}

TEST(trust, is_one_of_threads_side_by_side_while_its_file_is_replaced)
{
    (void)state;
    pthread_t threads[N_THREADS];
    unsigned n_ok[N_THREADS] = { 0 };
    put(peer.file, peer.own);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &n_ok[i]), 0);
    for (int i = 0; i < N_EACH; i++) {
        put(peer.file, peer.own);
        assert_int_equal(ask(), CURLE_OK);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(n_ok[i], N_EACH);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(trust, is_read_once_and_again_when_its_file_is_another),
        T(trust, that_was_taken_away_is_none_for_who_was_met_before_either),
        T(trust, of_a_file_that_cannot_be_read_is_none),
        T(trust, is_the_systems_where_no_file_is_named),
        T(trust, is_one_of_threads_side_by_side_while_its_file_is_replaced),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

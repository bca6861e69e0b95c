/* trust.c - the authorities that TLS peers are known by, read once for all connections.
 *
 * libcurl reads the file for each connection, unless one multi handle has them all. The usual file
 * has some 140 certificates: that takes a processor 18 ms, the handshake itself less than one. So
 * libcurl is told of no file, and where it runs on the OpenSSL that we are linked with, that one
 * is given a store to verify by. It is another one than libcurl's own, which libcurl changes while
 * hands are shaken.
 *
 * What libcurl sets on its own store is set on this one: its flags, and the folder that it looks
 * into for what the file does not have. Certificates of that folder are kept once they were
 * looked up. So the store is made anew when the file or the folder is another one than it was, and
 * each hour. A session of TLS is not gone on with, since nobody is verified then.
 *
 * Order of locks: all.lock, then a trust's; nobody waits for a disk with the first one. */
#include "callout/callout.h"

#include "base/clock.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define HOLDS_US 3600000000u

struct trust { /* one for each file that was ever named: they are few, and stay */
    struct trust *next;
    char *file;
    struct {
        pthread_mutex_t lock;
        X509_STORE *store;      /* NULL: the file cannot be read */
        struct stat of, folder; /* the file and the folder before they were read */
        uint64_t read_us;
    } locked; /* touch only while holding locked.lock */
};

static struct {
    pthread_mutex_t lock;
    struct trust *first;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- which libcurl is it ---- */

static pthread_once_t found_out = PTHREAD_ONCE_INIT;
static bool ours;
static const char *built_in_file, *built_in_folder; /* that libcurl was built with, or NULL */

/* Has libcurl the same OpenSSL as we, by its version? Then an SSL_CTX of its is one of ours. From
 * 8.21.0 on a libcurl that is told of no file takes its own. */
static bool is_ours(const curl_version_info_data *curl)
{
    const char *of = curl->ssl_version, *own = OpenSSL_version(OPENSSL_VERSION);
    static const char theirs_begins[] = "OpenSSL/", own_begins[] = "OpenSSL ";
    if (curl->version_num >= 0x081500 || of == NULL ||
        strncmp(of, theirs_begins, strlen(theirs_begins)) != 0 ||
        strncmp(own, own_begins, strlen(own_begins)) != 0)
        return false;
    of += strlen(theirs_begins);
    own += strlen(own_begins);
    return strncmp(of, own, strlen(of)) == 0 && own[strlen(of)] == ' ';
}

static void find_out(void)
{
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        abort();
    /* stay NULL where there is none */
    (void)curl_easy_getinfo(easy, CURLINFO_CAINFO, &built_in_file);
    (void)curl_easy_getinfo(easy, CURLINFO_CAPATH, &built_in_folder);
    ours = is_ours(curl_version_info(CURLVERSION_NOW));
    curl_easy_cleanup(easy);
}

/* A proxy that is met over TLS has authorities of its own, which libcurl tells apart. */
static bool has_tls_proxy(void)
{
    static const char *const names[] = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *proxy = getenv(names[i]);
        if (proxy && strncasecmp(proxy, "https:", 6) == 0)
            return true;
    }
    return false;
}

/* ---- the store ---- */

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           memcmp(&a->st_mtim, &b->st_mtim, sizeof a->st_mtim) == 0 &&
           memcmp(&a->st_ctim, &b->st_ctim, sizeof a->st_ctim) == 0;
}

static X509_STORE *read_store(const char *file)
{
    X509_STORE *store = X509_STORE_new();
    if (store == NULL)
        abort();
    if (X509_STORE_load_locations(store, file, built_in_folder) == 1 &&
        X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) == 1)
        return store;
    ERR_clear_error();
    X509_STORE_free(store);
    return NULL;
}

static void refresh_locked(struct trust *t)
{
    struct stat of = { 0 }, folder = { 0 };
    /* a pipe has no end that anybody could wait for */
    const bool there = stat(t->file, &of) == 0 && S_ISREG(of.st_mode);
    if (built_in_folder && stat(built_in_folder, &folder) != 0)
        folder = (struct stat){ 0 };
    const uint64_t now_us = clock_mono_us();
    if (t->locked.store && there && is_same(&of, &t->locked.of) &&
        is_same(&folder, &t->locked.folder) && now_us - t->locked.read_us < HOLDS_US)
        return;
    X509_STORE_free(t->locked.store);
    /* of what changes meanwhile there is the look before, so that it is read once more */
    t->locked.store = there ? read_store(t->file) : NULL;
    t->locked.of = of;
    t->locked.folder = folder;
    t->locked.read_us = now_us;
}

/* libcurl's SSL_CTX callback, before each handshake. */
static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *ctx)
{
    struct trust *t = ctx;
    (void)easy;
    pthread_mutex_lock(&t->locked.lock);
    refresh_locked(t);
    const bool known = t->locked.store != NULL;
    if (known)
        /* holds it as long as the connection is there */
        (void)SSL_CTX_set1_verify_cert_store(ssl_ctx, t->locked.store);
    pthread_mutex_unlock(&t->locked.lock);
    return known ? CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}

static struct trust *trust_of(const char *file)
{
    pthread_mutex_lock(&all.lock);
    struct trust *t = all.first;
    while (t && strcmp(t->file, file) != 0)
        t = t->next;
    if (t == NULL) {
        t = calloc(1, sizeof *t);
        if (t == NULL || (t->file = strdup(file)) == NULL ||
            pthread_mutex_init(&t->locked.lock, NULL) != 0)
            abort();
        t->next = all.first;
        all.first = t;
    }
    pthread_mutex_unlock(&all.lock);
    return t;
}

/* Options below are compiled into every libcurl that we support; a refusal is our own bug. */
#define SET(opt, val)                                         \
    do {                                                      \
        if (curl_easy_setopt(easy, (opt), (val)) != CURLE_OK) \
            abort();                                          \
    } while (0)

void callout_trust(CURL *easy, const char *ca_file)
{
    (void)pthread_once(&found_out, find_out);
    const char *file = ca_file ? ca_file : built_in_file;
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    if (ca_file)
        SET(CURLOPT_CAINFO, ca_file);
    if (file == NULL || !ours || has_tls_proxy())
        return;
    SET(CURLOPT_SSL_CTX_DATA, trust_of(file));
    SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
    SET(CURLOPT_CAINFO, NULL);
}

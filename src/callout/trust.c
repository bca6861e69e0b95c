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
 * looked up. So the store is made anew when the file is another one, and each hour. */
#include "callout/callout.h"

#include "base/clock.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HOLDS_US 3600000000u

struct trust { /* one for each file that was ever named: they are few, and stay */
    struct trust *next;
    char *file;
    const char *folder; /* libcurl's own, or NULL */
    X509_STORE *store;  /* NULL: the file cannot be read */
    struct stat of;     /* the file when it was read */
    uint64_t read_us;
};

static struct {
    pthread_mutex_t lock;
    struct trust *first;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Has libcurl the same OpenSSL as we? Then an SSL_CTX of its is one of ours. */
static bool is_ours(void)
{
    const char *of = curl_version_info(CURLVERSION_NOW)->ssl_version;
    const char *own = OpenSSL_version(OPENSSL_VERSION);
    static const char theirs_begins[] = "OpenSSL/", own_begins[] = "OpenSSL ";
    if (of == NULL || strncmp(of, theirs_begins, strlen(theirs_begins)) != 0 ||
        strncmp(own, own_begins, strlen(own_begins)) != 0)
        return false;
    of += strlen(theirs_begins);
    own += strlen(own_begins);
    return strncmp(of, own, strlen(of)) == 0 && own[strlen(of)] == ' ';
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static X509_STORE *read_store(const struct trust *t)
{
    X509_STORE *store = X509_STORE_new();
    if (store == NULL)
        abort();
    if (X509_STORE_load_locations(store, t->file, t->folder) == 1 &&
        X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) == 1)
        return store;
    ERR_clear_error();
    X509_STORE_free(store);
    return NULL;
}

/* Under the lock. */
static void refresh(struct trust *t)
{
    struct stat now = { 0 };
    const bool there = stat(t->file, &now) == 0;
    const uint64_t now_us = clock_mono_us();
    if (t->store && there && is_same(&now, &t->of) && now_us - t->read_us < HOLDS_US)
        return;
    X509_STORE_free(t->store);
    /* of a file that changes meanwhile: what was seen before, so that it is read once more */
    t->store = there ? read_store(t) : NULL;
    t->of = now;
    t->read_us = now_us;
}

/* libcurl's SSL_CTX callback, before each handshake. */
static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *ctx)
{
    struct trust *t = ctx;
    (void)easy;
    pthread_mutex_lock(&all.lock);
    refresh(t);
    const bool known = t->store != NULL;
    if (known)
        /* holds it as long as the connection is there */
        (void)SSL_CTX_set1_verify_cert_store(ssl_ctx, t->store);
    pthread_mutex_unlock(&all.lock);
    return known ? CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}

/* The file or the folder that libcurl was built with, or NULL. */
static const char *built_in(CURL *easy, bool file)
{
    const char *name = NULL;
#if LIBCURL_VERSION_NUM >= 0x075400
    /* stays NULL where there is none */
    (void)curl_easy_getinfo(easy, file ? CURLINFO_CAINFO : CURLINFO_CAPATH, &name);
#else
    (void)easy, (void)file;
#endif
    return name;
}

static struct trust *trust_of(const char *file, const char *folder)
{
    pthread_mutex_lock(&all.lock);
    struct trust *t = all.first;
    while (t && strcmp(t->file, file) != 0)
        t = t->next;
    if (t == NULL) {
        t = calloc(1, sizeof *t);
        if (t == NULL || (t->file = strdup(file)) == NULL)
            abort();
        t->folder = folder;
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
    const char *file = ca_file;
    if (ca_file)
        SET(CURLOPT_CAINFO, ca_file);
    else
        file = built_in(easy, true);
    if (file == NULL || !is_ours())
        return;
    SET(CURLOPT_SSL_CTX_DATA, trust_of(file, built_in(easy, false)));
    SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
    SET(CURLOPT_CAINFO, NULL);
}

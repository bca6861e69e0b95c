/* fetch.c - one exchange with an identity provider, by libcurl, on a thread that may wait.
 *
 * The URL is the operator's. What its name resolves to is looked at when the connection is made: an
 * address of this link alone (169.254.0.0/16, fe80::/10, where clouds answer with their own keys)
 * is refused, and plain http reaches this machine alone. No redirect is followed, the answer has a
 * limit, and all of it has one deadline. Handles are kept, each with its connection. */
#include "auth/bearer/providers_private.h"

#include "callout/callout.h"
#include "codec/uri.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define IDLE_MAX 8u
#define END_MS   1000u /* for a goodbye */
#define LATE_MS  500u  /* libcurl keeps its time by itself, where it is let to */

struct handle {
    CURL *easy;
    struct callout *callout;
};

struct fetcher {
    char *url;
    bool plain; /* http */
    unsigned timeout_ms;
    atomic_uint_fast64_t n_good, n_bad;
    struct {
        pthread_mutex_t lock;
        struct handle idle[IDLE_MAX];
        unsigned n;
    } locked;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_up(void)
{
    /* no memory, or a broken TLS library */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

struct fetcher *fetcher_new(sv url, unsigned timeout_ms)
{
    struct fetcher *f = calloc(1, sizeof *f);
    if (f == NULL || (f->url = strndup(url.ptr, url.len)) == NULL ||
        pthread_once(&curl_once, curl_up) != 0)
        abort();
    f->plain = sv_starts(url, SV_LIT("http://"));
    f->timeout_ms = timeout_ms;
    pthread_mutex_init(&f->locked.lock, NULL);
    return f;
}

static void handle_end(struct handle h)
{
    callout_enter(h.callout, NULL, END_MS);
    curl_easy_cleanup(h.easy);
    callout_leave(h.callout);
    callout_free(h.callout);
}

void fetcher_free(struct fetcher *fetcher)
{
    if (fetcher == NULL)
        return;
    for (unsigned i = 0; i < fetcher->locked.n; i++)
        handle_end(fetcher->locked.idle[i]);
    pthread_mutex_destroy(&fetcher->locked.lock);
    free(fetcher->url);
    free(fetcher);
}

void fetch_note(struct fetcher *fetcher, bool good)
{
    atomic_fetch_add(good ? &fetcher->n_good : &fetcher->n_bad, 1);
}

void fetch_count(struct fetcher *fetcher, uint64_t *good, uint64_t *bad)
{
    *good = atomic_load(&fetcher->n_good);
    *bad = atomic_load(&fetcher->n_bad);
}

static struct handle handle_take(struct fetcher *f)
{
    struct handle h = { 0 };
    pthread_mutex_lock(&f->locked.lock);
    if (f->locked.n)
        h = f->locked.idle[--f->locked.n];
    pthread_mutex_unlock(&f->locked.lock);
    if (h.easy)
        return h;
    if ((h.easy = curl_easy_init()) == NULL)
        abort();
    h.callout = callout_new();
    return h;
}

static void handle_give(struct fetcher *f, struct handle h)
{
    pthread_mutex_lock(&f->locked.lock);
    bool kept = f->locked.n < IDLE_MAX;
    if (kept)
        f->locked.idle[f->locked.n++] = h;
    pthread_mutex_unlock(&f->locked.lock);
    if (!kept)
        handle_end(h);
}

/* ---- where to ---- */

static bool v4_may(const struct fetcher *f, uint32_t address)
{
    bool loopback = address >> 24 == 127, link = address >> 16 == 0xA9FE;
    return !link && (loopback || !f->plain);
}

/* callout_may_fn */
static bool may_connect(void *ctx, const struct sockaddr *to)
{
    const struct fetcher *f = ctx;
    if (to->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, to, sizeof v4);
        return v4_may(f, ntohl(v4.sin_addr.s_addr));
    }
    if (to->sa_family != AF_INET6)
        return false;
    struct sockaddr_in6 v6;
    memcpy(&v6, to, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
        uint32_t inner;
        memcpy(&inner, v6.sin6_addr.s6_addr + 12, sizeof inner);
        return v4_may(f, ntohl(inner));
    }
    return !IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) &&
           (IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || !f->plain);
}

/* ---- the exchange ---- */

static size_t on_receive(char *p, size_t size, size_t n, void *ctx)
{
    struct buf *body = ctx;
    /* fewer bytes than came: curl ends the transfer */
    return buf_add(body, sv_make(p, size * n), NULL) == ERR_OK ? size * n : 0;
}

/* Options below are compiled into every libcurl that we support; a refusal is our own bug. */
#define SET(opt, val)                                         \
    do {                                                      \
        if (curl_easy_setopt(easy, (opt), (val)) != CURLE_OK) \
            abort();                                          \
    } while (0)

static void set_up(struct fetcher *f, CURL *easy, const struct fetch_request *req, struct buf *body,
                   struct curl_slist *headers)
{
    const char *ca = getenv("SSL_CERT_FILE");
    SET(CURLOPT_URL, f->url);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROTOCOLS_STR, f->plain ? "http" : "https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_TIMEOUT_MS, (long)f->timeout_ms);
    SET(CURLOPT_WRITEFUNCTION, on_receive);
    SET(CURLOPT_WRITEDATA, body);
    SET(CURLOPT_HTTPHEADER, headers);
    if (f->plain)
        SET(CURLOPT_NOPROXY, "*");
    callout_trust(easy, ca && ca[0] ? ca : NULL);
    if (req->body.ptr) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body.len);
        SET(CURLOPT_POSTFIELDS, req->body.ptr);
    }
}

/* Both of client_id and client_secret are encoded as in a form. Source: RFC 6749, 2.3.1. */
static err_code set_user(CURL *easy, const struct fetch_request *req, struct err *e)
{
    CLEANUP_BUF struct buf user = BUF_INIT(8192), password = BUF_INIT(8192);
    if (req->user.len == 0)
        return ERR_OK;
    TRY(uri_encode(req->user, false, &user, e));
    TRY(uri_encode(req->password, false, &password, e));
    TRY(buf_add_char(&user, 0, e));
    TRY(buf_add_char(&password, 0, e));
    SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    SET(CURLOPT_USERNAME, user.ptr);
    SET(CURLOPT_PASSWORD, password.ptr);
    explicit_bzero(password.ptr, password.len);
    return ERR_OK;
}

static sv header_of(CURL *easy, const char *name)
{
    struct curl_header *h = NULL;
    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? sv_from(h->value)
                                                                              : SV_NONE;
}

/* Source: RFC 9111, 5.2.2 and 4.2. */
static void read_age(CURL *easy, struct fetch_answer *out)
{
    sv rest = header_of(easy, "cache-control"), one;
    uint64_t age = 0, max;
    out->max_age_s = FETCH_NO_AGE;
    while (sv_cut(&rest, ',', &one)) {
        one = sv_trim(one);
        if (sv_eq_nocase(one, SV_LIT("no-store")) || sv_eq_nocase(one, SV_LIT("no-cache")))
            out->no_store = true;
        if (sv_eq_nocase(sv_head(one, 8), SV_LIT("max-age=")) && sv_to_u64(sv_tail(one, 8), &max))
            out->max_age_s = max;
    }
    if (!sv_to_u64(sv_trim(header_of(easy, "age")), &age))
        age = 0;
    if (out->max_age_s != FETCH_NO_AGE)
        out->max_age_s = out->max_age_s > age ? out->max_age_s - age : 0;
}

static struct curl_slist *headers_of(const struct fetch_request *req)
{
    char line[128];
    struct curl_slist *list = curl_slist_append(NULL, "Accept: application/json");
    if (list == NULL)
        abort();
    if (req->body.ptr == NULL)
        return list;
    (void)snprintf(line, sizeof line, "Content-Type: %s", req->content_type);
    if (curl_slist_append(list, line) == NULL || curl_slist_append(list, "Expect:") == NULL)
        abort();
    return list;
}

err_code fetch(struct fetcher *fetcher, const struct fetch_request *req, struct fetch_answer *out,
               struct err *e)
{
    struct fetch_answer an = { .body = BUF_INIT(FETCH_ANSWER_MAX) };
    struct curl_slist *headers = headers_of(req);
    struct handle h = handle_take(fetcher);
    CURL *easy = h.easy;
    curl_easy_reset(easy);
    callout_arm(h.callout, easy, may_connect, fetcher);
    set_up(fetcher, easy, req, &an.body, headers);
    err_code rc = set_user(easy, req, e);
    callout_enter(h.callout, NULL, fetcher->timeout_ms + LATE_MS);
    CURLcode done = rc == ERR_OK ? curl_easy_perform(easy) : CURLE_OK;
    callout_leave(h.callout);
    if (rc == ERR_OK && callout_head_is_too_long(h.callout))
        rc = ERR(e, ERR_UNAVAILABLE, "an answer whose head is too long");
    else if (rc == ERR_OK && done == CURLE_WRITE_ERROR)
        rc = ERR(e, ERR_UNAVAILABLE, "an answer of more than %u bytes", FETCH_ANSWER_MAX);
    else if (rc == ERR_OK && done != CURLE_OK)
        rc = ERR(e, ERR_UNAVAILABLE, "no answer: %s", curl_easy_strerror(done));
    if (rc == ERR_OK) {
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &an.status);
        read_age(easy, &an);
        an.function_error = header_of(easy, "x-amz-function-error").ptr != NULL;
    }
    /* what it holds of this exchange goes, its connection stays */
    curl_easy_reset(easy);
    curl_slist_free_all(headers);
    handle_give(fetcher, h);
    if (rc != ERR_OK) {
        buf_done(&an.body);
        return rc;
    }
    *out = an;
    return ERR_OK;
}

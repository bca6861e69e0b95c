/* post.c - one POST of an event: curl's multi handle, so that a stop breaks it off at once.
 *
 * An event is taken when the endpoint answers 2xx. What it answers beside the status is thrown
 * away. Redirects are not followed: an event goes where the operator said, or nowhere. */
#include "event/event_private.h"

#include "base/clock.h"
#include "callout/callout.h"

#include <curl/curl.h>

#define SLICE_MS  1000 /* curl's own timeouts come in between */
#define CONNECT_S 5u
#define END_MS    1000u /* for a goodbye */

struct event_post {
    CURL *easy;
    CURLM *multi;
    struct callout *callout;
    struct curl_slist *headers;
};

static size_t drop(char *p, size_t size, size_t n, void *ctx)
{
    (void)p, (void)ctx;
    return size * n;
}

static void add_header(struct event_post *post, const char *line)
{
    struct curl_slist *more = curl_slist_append(post->headers, line);
    if (more == NULL)
        abort();
    post->headers = more;
}

/* Options below are compiled into every libcurl that we support; a refusal is our own bug. */
#define SET(opt, val)                                               \
    do {                                                            \
        if (curl_easy_setopt(post->easy, (opt), (val)) != CURLE_OK) \
            abort();                                                \
    } while (0)

void event_token_free(char *token)
{
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
}

static void free_headers(struct event_post *post)
{
    for (struct curl_slist *x = post->headers; x; x = x->next)
        explicit_bzero(x->data, strlen(x->data));
    curl_slist_free_all(post->headers);
    post->headers = NULL;
}

void event_post_token(struct event_post *post, sv token)
{
    char line[EVENTS_TOKEN_MAX + 64];
    free_headers(post);
    add_header(post, "Content-Type: application/json");
    /* no round trip to ask for leave */
    add_header(post, "Expect:");
    if (token.len) {
        (void)snprintf(line, sizeof line, "Authorization: Bearer %.*s", SV_FMT(token));
        add_header(post, line);
        explicit_bzero(line, sizeof line);
    }
    SET(CURLOPT_HTTPHEADER, post->headers);
}

struct event_post *event_post_new(const char *url, sv token, uint64_t timeout_ms)
{
    struct event_post *post = calloc(1, sizeof *post);
    const char *ca = getenv("SSL_CERT_FILE");
    if (post == NULL || (post->easy = curl_easy_init()) == NULL ||
        (post->multi = curl_multi_init()) == NULL)
        abort();
    post->callout = callout_new();
    SET(CURLOPT_URL, url);
    event_post_token(post, token);
    SET(CURLOPT_USERAGENT, "fhirlake/" FHIRLAKE_VERSION);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    SET(CURLOPT_WRITEFUNCTION, drop);
    if (strncmp(url, "http:", 5) == 0)
        SET(CURLOPT_NOPROXY, "*");
    callout_trust(post->easy, ca && ca[0] ? ca : NULL);
    return post;
}

void event_post_free(struct event_post *post)
{
    if (post == NULL)
        return;
    callout_enter(post->callout, NULL, END_MS);
    curl_easy_cleanup(post->easy);
    /* nothing is attached any more */
    (void)curl_multi_cleanup(post->multi);
    callout_leave(post->callout);
    callout_free(post->callout);
    free_headers(post);
    free(post);
}

void event_post_wake(struct event_post *post)
{
    /* what is not woken ends at its time */
    (void)curl_multi_wakeup(post->multi);
}

/* Drives the transfer to its end. False: it was broken off. */
static bool drive(struct event_post *post, const atomic_bool *stop, CURLcode *result)
{
    int running = 1, left;
    *result = CURLE_FAILED_INIT;
    while (running) {
        if (atomic_load(stop))
            return false;
        callout_enter(post->callout, stop, CALLOUT_TURN_MS);
        CURLMcode turn = curl_multi_perform(post->multi, &running);
        callout_leave(post->callout);
        if (turn != CURLM_OK)
            return true;
        if (running && curl_multi_poll(post->multi, NULL, 0, SLICE_MS, NULL) != CURLM_OK)
            return true;
    }
    for (CURLMsg *m; (m = curl_multi_info_read(post->multi, &left)) != NULL;)
        if (m->msg == CURLMSG_DONE)
            *result = m->data.result;
    return true;
}

void event_post(struct event_post *post, sv body, const atomic_bool *stop, struct event_answer *out)
{
    CURLcode result;
    long status = 0;
    curl_off_t retry_after_s = 0;
    *out = (struct event_answer){ .taken = false };
    callout_arm(post->callout, post->easy, NULL, NULL);
    SET(CURLOPT_POSTFIELDSIZE, (long)body.len);
    SET(CURLOPT_POSTFIELDS, body.ptr);
    if (curl_multi_add_handle(post->multi, post->easy) != CURLM_OK)
        abort();
    out->broken_off = !drive(post, stop, &result);
    callout_enter(post->callout, NULL, END_MS);
    /* attached: cannot fail */
    (void)curl_multi_remove_handle(post->multi, post->easy);
    callout_leave(post->callout);
    if (out->broken_off)
        return;
    /* both stay 0 on failure */
    (void)curl_easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(post->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    out->taken = result == CURLE_OK && status >= 200 && status < 300;
    if (retry_after_s > 0)
        out->wait_ms = (uint64_t)retry_after_s * 1000;
    if (result != CURLE_OK)
        (void)snprintf(out->why, sizeof out->why, "%s", curl_easy_strerror(result));
    else
        (void)snprintf(out->why, sizeof out->why, "the endpoint answered %ld", status);
}

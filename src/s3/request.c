/* request.c - one call: credentials, signature, attempts.
 *
 * Each attempt is signed anew, since the clock and the credentials move on. Between attempts it
 * waits a random part of 100 ms, 200 ms, 400 ms ... (full jitter, at most 20 s), or what
 * Retry-After says if that is longer. A token that the peer calls expired is renewed once, which
 * does not count as an attempt.
 *
 * A body whose digest nobody knows yet goes out over TLS unsigned, framed by body.c. When that may
 * be what the server refuses, the same call goes on with a signed body; and if this one is taken,
 * the client sends no other any more.
 * Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (the idea). */
#include "s3/s3_private.h"

#include "base/clock.h"
#include "base/rng.h"
#include "codec/instant.h"

#define REQUEST_ARENA   (256u << 10) /* bytes; URL, headers and signature of one attempt */
#define LAST_ATTEMPT_MS 50u          /* with less time left none is begun */

void s3_request_header(struct s3_request *request, const char *name, sv value)
{
    if (value.len == 0 || request->n_headers == S3_MAX_HEADERS)
        return;
    request->headers[request->n_headers++] = (struct sigv4_header){ sv_from(name), value };
}

static bool fits_header(sv v)
{
    for (size_t i = 0; i < v.len; i++)
        if ((unsigned char)v.ptr[i] < 0x20 || v.ptr[i] == 0x7F)
            return false;
    return true;
}

static err_code add_line(struct curl_slist **list, struct arena *a, sv name, sv value,
                         struct err *e)
{
    if (!fits_header(value))
        return ERR(e, ERR_INVALID, "control characters cannot stand in a request to S3");
    sv line = arena_fmt(a, "%.*s: %.*s", SV_FMT(name), SV_FMT(value));
    if (line.ptr == NULL)
        return arena_oom(a, e);
    struct curl_slist *more = curl_slist_append(*list, line.ptr);
    if (more == NULL)
        abort();
    *list = more;
    return ERR_OK;
}

/* Of a body that is signed: what its header says. */
static void checksum_of(const struct s3_request *request, const struct s3_body *body,
                        char out[S3_CHECKSUM_TEXT])
{
    uint32_t crc = 0;
    if (request->checksum == S3_CHECKSUM_SHA256) {
        s3_checksum_text(request->checksum, request->sha256, out);
        return;
    }
    for (size_t i = 0; i < body->n_pieces; i++)
        crc = hash_crc32c(crc, body->pieces[i]);
    s3_crc32c_text(crc, out);
}

/* host, x-amz-*, and what the request brings: all of it is signed. */
static err_code sign(struct s3_client *client, const struct s3_request *request, struct arena *a,
                     const struct s3_body *body, const struct s3_credentials *cred, sv host,
                     sv path, struct curl_slist **list, struct err *e)
{
    struct sigv4_header h[S3_MAX_HEADERS + 8];
    size_t n = 0;
    char hex[SHA256_HEX_LEN], date[16], length[24], sum[S3_CHECKSUM_TEXT];
    sv payload = sv_make(hex, sizeof hex);
    bool framed = body && body->framed;
    unsigned char nothing[SHA256_LEN];
    if (request->sha256 == NULL)
        hash_sha256_of(SV_NONE, nothing);
    hash_hex(request->sha256 ? request->sha256 : nothing, SHA256_LEN, hex);
    if (framed)
        payload = SV_LIT("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    instant_format_basic(clock_wall_ms(), date);
    h[n++] = (struct sigv4_header){ SV_LIT("host"), host };
    h[n++] = (struct sigv4_header){ SV_LIT("x-amz-content-sha256"), payload };
    if (request->checksum) {
        struct s3_checksum_form form = s3_checksum_form(request->checksum);
        h[n++] = (struct sigv4_header){ SV_LIT("x-amz-sdk-checksum-algorithm"),
                                        sv_from(form.algorithm) };
        if (framed) {
            int len = snprintf(length, sizeof length, "%llu", (unsigned long long)body->len);
            h[n++] = (struct sigv4_header){ SV_LIT("content-encoding"), SV_LIT("aws-chunked") };
            h[n++] = (struct sigv4_header){ SV_LIT("x-amz-decoded-content-length"),
                                            sv_make(length, (size_t)len) };
            h[n++] = (struct sigv4_header){ SV_LIT("x-amz-trailer"), sv_from(form.header) };
        } else {
            checksum_of(request, body, sum);
            h[n++] = (struct sigv4_header){ sv_from(form.header), sv_from(sum) };
        }
    }
    h[n++] = (struct sigv4_header){ SV_LIT("x-amz-date"), sv_make(date, sizeof date) };
    if (cred->session_token.len)
        h[n++] = (struct sigv4_header){ SV_LIT("x-amz-security-token"), cred->session_token };
    for (size_t i = 0; i < request->n_headers; i++)
        h[n++] = request->headers[i];

    struct sigv4_request req = { .method = sv_from(request->method),
                                 .path = path,
                                 .query = request->query,
                                 .headers = h,
                                 .n_headers = n,
                                 .payload_hash = payload };
    struct sigv4_scope scope = { sv_make(date, 8), client->region, client->service };
    struct sigv4_credentials key = { cred->access_key_id, cred->secret_key, cred->session_token };
    sv auth;
    TRY(sigv4_sign(a, &req, sv_make(date, sizeof date), &scope, &key, &auth, e));
    for (size_t i = 0; i < n; i++)
        TRY(add_line(list, a, h[i].name, h[i].value, e));
    TRY(add_line(list, a, SV_LIT("authorization"), auth, e));
    /* curl would wait for "100 Continue" before a body; it costs a round trip, and some servers
     * never answer it. */
    struct curl_slist *more = curl_slist_append(*list, "Expect:");
    if (more == NULL)
        abort();
    *list = more;
    return ERR_OK;
}

/* Until the call has to end; of one that has no end it means nothing. */
static uint64_t time_left_us(const struct s3_attempts *at)
{
    const uint64_t now_us = clock_mono_us();
    return at->until_us > now_us ? at->until_us - now_us : 0;
}

err_code s3_request_start(struct s3_client *client, const struct s3_request *request,
                          struct s3_attempts *at, struct s3_body *body, bool stream,
                          struct s3_conn *conn, struct curl_slist **keep, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(REQUEST_ARENA);
    struct s3_credentials cred = { 0 };
    sv host, path;
    TRY(client->cred(client->cred_ctx, sv_from(at->refused_key), a, &cred, e));
    at->refused_key[0] = 0;
    at->has_token = cred.session_token.len > 0;
    TRY(s3_client_address(client, request->bucket, request->key, a, &host, &path, e));
    struct curl_slist *list = NULL;
    err_code rc = sign(client, request, a, body, &cred, host, path, &list, e);
    sv url = arena_fmt(a, "%.*s://%.*s%.*s%s%.*s", SV_FMT(client->scheme), SV_FMT(host),
                       SV_FMT(path), request->query.len ? "?" : "", SV_FMT(request->query));
    if (rc == ERR_OK && url.ptr == NULL)
        rc = arena_oom(a, e);
    if (rc != ERR_OK) {
        curl_slist_free_all(list);
        return rc;
    }
    if (!at->renewed && cred.access_key_id.len < sizeof at->refused_key) {
        /* remembered, in case the peer calls it expired; s3_request_next decides */
        memcpy(at->refused_key, cred.access_key_id.ptr, cred.access_key_id.len);
        at->refused_key[cred.access_key_id.len] = 0;
    }
    bool has_body = strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0;
    const uint64_t left_us = time_left_us(at);
    struct s3_wire w = { .method = request->method,
                         .url = url.ptr, /* curl copies it */
                         .headers = list,
                         .body = body,
                         .has_body = has_body,
                         .stream = stream,
                         .max_answer = request->max_answer ? request->max_answer : S3_ANSWER_MAX,
                         .most_ms = at->until_us ? (unsigned)(left_us / 1000) + 1 : 0 };
    s3_conn_start(conn, &w);
    *keep = list;
    return ERR_OK;
}

/* "S3", for messages. */
static void name_of(const struct s3_client *client, char out[16])
{
    size_t n = client->service.len < 15 ? client->service.len : 15;
    for (size_t i = 0; i < n; i++) {
        char c = client->service.ptr[i];
        out[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    out[n] = 0;
}

err_code s3_request_again(const struct s3_client *client, const char *op, sv bucket,
                          struct s3_attempts *at, unsigned *wait_ms, struct err *e)
{
    struct s3_fault *f = &at->last;
    char who[16];
    const char *of = bucket.len ? ", bucket " : "";
    bucket = sv_head(bucket, 64);
    name_of(client, who);
    *wait_ms = 0;
    if (f->renew && !at->renewed) {
        /* at->refused_key tells the credentials function which to replace */
        at->renewed = true;
        return ERR_OK;
    }
    at->refused_key[0] = 0;
    at->n++;
    if (!f->retry)
        return ERR(e, f->rc, "%s %s%s%.*s: %s", who, op, of, SV_FMT(bucket), f->what);
    if (at->n >= (at->most ? at->most : client->max_attempts))
        return ERR(e, f->rc, "%s %s%s%.*s: gave up after %u attempts: %s", who, op, of,
                   SV_FMT(bucket), at->n, f->what);
    unsigned top = S3_BACKOFF_BASE_MS;
    for (unsigned i = 1; i < at->n && top < S3_BACKOFF_CAP_MS; i++)
        top *= 2;
    if (top > S3_BACKOFF_CAP_MS)
        top = S3_BACKOFF_CAP_MS;
    unsigned ms = (unsigned)(rng_u64() % (top + 1));
    if (ms < f->retry_after_ms)
        ms = f->retry_after_ms;
    if (at->until_us && time_left_us(at) <= (uint64_t)(ms + LAST_ATTEMPT_MS) * 1000)
        return ERR(e, f->rc, "%s %s%s%.*s: gave up after %u attempts in %u s: %s", who, op, of,
                   SV_FMT(bucket), at->n, (unsigned)((clock_mono_us() - at->since_us) / 1000000),
                   f->what);
    *wait_ms = ms;
    return ERR_OK;
}

err_code s3_request_next(struct s3_client *client, const char *op, sv bucket,
                         struct s3_attempts *at, struct err *e)
{
    unsigned ms;
    TRY(s3_request_again(client, op, bucket, at, &ms, e));
    return ms ? s3_client_wait(client, ms, e) : ERR_OK;
}

/* ---- all attempts ---- */

/* Whether it may be the body's form that is refused. A policy can deny bodies that are not signed,
 * and a server that knows nothing of the form may say anything. What passes by itself elsewhere,
 * damaged bytes and broken connections, is believed once. */
static bool refuses_form(struct s3_attempts *at, long status)
{
    const struct s3_fault *f = &at->last;
    if (!at->framed || f->renew || f->rc == ERR_CANCELLED)
        return false;
    if (status == 501 || f->digest || (status >= 400 && status < 500 && !f->retry))
        return true;
    bool passes = status >= 500 || status == 429 || status == 408;
    return !passes && f->retry && ++at->n_spoilt == 2;
}

/* Does the answer say the checksum that was sent? */
static bool says_checksum(const struct s3_request *request, const struct s3_body *body,
                          const struct s3_conn *conn)
{
    return body->ended &&
           sv_eq_cstr(s3_conn_header(conn, s3_checksum_form(request->checksum).header),
                      body->checksum);
}

/* From now on a signed body. */
static void take_digest(struct s3_request *req, const struct s3_body *body,
                        unsigned char digest[SHA256_LEN])
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    if (req->sha256)
        return;
    for (size_t i = 0; i < body->n_pieces; i++)
        hash_sha256_add(h, body->pieces[i]);
    hash_sha256_take(h, digest);
    req->sha256 = digest;
}

enum attempt { ATTEMPT_DONE, ATTEMPT_REFUSED, ATTEMPT_FAILED };

/* One attempt that has ended. */
static enum attempt see(const struct s3_request *req, struct s3_attempts *at,
                        const struct s3_body *body, struct s3_conn *conn, s3_conn_state st)
{
    struct err took = { 0 };
    long status = s3_conn_status(conn);
    if (st != CONN_DONE || conn->result != CURLE_OK || status < 200 || status >= 300) {
        s3_fault_of(conn, st, at->has_token, &at->last);
        return refuses_form(at, status) ? ATTEMPT_REFUSED : ATTEMPT_FAILED;
    }
    /* a server that took the frames for bytes of the object says no checksum */
    if (at->framed && !says_checksum(req, body, conn))
        return ATTEMPT_REFUSED;
    err_code rc = req->accept ? req->accept(req->accept_ctx, conn, &took) : ERR_OK;
    at->last = (struct s3_fault){ .rc = rc, .retry = rc == ERR_PEER };
    (void)snprintf(at->last.what, sizeof at->last.what, "%.150s", took.msg);
    return rc == ERR_OK ? ATTEMPT_DONE : ATTEMPT_FAILED;
}

bool s3_request_took(const struct s3_request *request, struct s3_attempts *at, struct s3_conn *conn,
                     s3_conn_state st)
{
    assert(!at->framed);
    return see(request, at, NULL, conn, st) == ATTEMPT_DONE;
}

/* Until an attempt succeeds. */
static err_code run_on(struct s3_client *client, struct s3_request *req, struct s3_attempts *at,
                       struct s3_body *body, struct s3_conn *conn, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    bool refused = false;
    if (!at->framed)
        take_digest(req, body, digest);
    for (;;) {
        struct curl_slist *list = NULL;
        (void)s3_body_rewind(body, 0);
        TRY(s3_request_start(client, req, at, body, false, conn, &list, e));
        s3_conn_state st = CONN_RUNNING;
        while (st == CONN_RUNNING)
            st = s3_conn_step(conn);
        enum attempt end = see(req, at, body, conn, st);
        refused = refused || (end == ATTEMPT_REFUSED && s3_conn_status(conn) != 0);
        s3_conn_stop(conn);
        curl_slist_free_all(list);
        if (end == ATTEMPT_DONE)
            break;
        if (end == ATTEMPT_REFUSED) {
            /* at once, and no attempt is lost; it was the form, if the other one is taken */
            at->framed = false;
            body->framed = S3_CHECKSUM_NONE;
            s3_body_done(body);
            take_digest(req, body, digest);
            continue;
        }
        TRY(s3_request_next(client, req->op, req->bucket, at, e));
    }
    if (refused)
        atomic_store_explicit(&client->refused, true, memory_order_relaxed);
    if (req->digest)
        memcpy(req->digest, req->sha256 ? req->sha256 : body->sha256, SHA256_LEN);
    return ERR_OK;
}

void s3_attempts_init(const struct s3_client *client, unsigned most, struct s3_attempts *out)
{
    const uint64_t now_us = clock_mono_us();
    *out = (struct s3_attempts){ .most = most, .since_us = now_us, .until_us = client->until_us };
    if (client->total_ms) {
        const uint64_t end_us = now_us + (uint64_t)client->total_ms * 1000;
        out->until_us = out->until_us && out->until_us < end_us ? out->until_us : end_us;
    }
}

err_code s3_request_run(struct s3_client *client, const struct s3_request *request, struct err *e)
{
    struct s3_request req = *request;
    struct s3_attempts at;
    struct s3_body body;
    s3_attempts_init(client, request->max_attempts, &at);
    s3_body_init(&body, req.pieces ? req.pieces : &req.body, req.pieces ? req.n_pieces : 1,
                 S3_CHECKSUM_NONE);
    at.framed = req.checksum && req.sha256 == NULL && body.len >= S3_STREAM_MIN &&
                s3_client_streams(client);
    if (at.framed)
        s3_body_init(&body, body.pieces, body.n_pieces, req.checksum);
    struct s3_conn *conn = s3_client_conn_take(client);
    err_code rc = run_on(client, &req, &at, &body, conn, e);
    if (req.code)
        memcpy(req.code, at.last.code, sizeof at.last.code);
    s3_client_conn_give(client, conn);
    s3_body_done(&body);
    return rc;
}

/* request.c - one call: credentials, signature, attempts.
 *
 * Each attempt is signed anew, since the clock and the credentials move on. Between attempts it
 * waits a random part of 100 ms, 200 ms, 400 ms ... (full jitter, at most 20 s), or what
 * Retry-After says if that is longer. A token that the peer calls expired is renewed once, which
 * does not count as an attempt.
 * Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (the idea). */
#include "s3/s3_private.h"

#include "base/clock.h"
#include "base/rng.h"
#include "codec/instant.h"

#define REQUEST_ARENA (256u << 10) /* bytes; URL, headers and signature of one attempt */

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

/* host, x-amz-*, and what the request brings: all of it is signed. */
static err_code sign(struct s3_client *client, const struct s3_request *request, struct arena *a,
                     const struct s3_credentials *cred, sv host, sv path, struct curl_slist **list,
                     struct err *e)
{
    struct sigv4_header h[S3_MAX_HEADERS + 4];
    size_t n = 0;
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN], date[16];
    if (request->sha256)
        memcpy(digest, request->sha256, sizeof digest);
    else
        hash_sha256_of(request->body, digest);
    hash_hex(digest, sizeof digest, hex);
    instant_format_basic(clock_wall_ms(), date);
    h[n++] = (struct sigv4_header){ SV_LIT("host"), host };
    h[n++] = (struct sigv4_header){ SV_LIT("x-amz-content-sha256"), sv_make(hex, sizeof hex) };
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
                                 .payload_hash = sv_make(hex, sizeof hex) };
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

err_code s3_request_start(struct s3_client *client, const struct s3_request *request,
                          struct s3_attempts *at, bool stream, struct s3_conn *conn,
                          struct curl_slist **keep, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(REQUEST_ARENA);
    struct s3_credentials cred = { 0 };
    sv host, path;
    TRY(client->cred(client->cred_ctx, sv_from(at->refused_key), a, &cred, e));
    at->refused_key[0] = 0;
    at->has_token = cred.session_token.len > 0;
    TRY(s3_client_address(client, request->bucket, request->key, a, &host, &path, e));
    struct curl_slist *list = NULL;
    err_code rc = sign(client, request, a, &cred, host, path, &list, e);
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
    struct s3_wire w = { .method = request->method,
                         .url = url.ptr, /* curl copies it */
                         .headers = list,
                         .body = request->body,
                         .has_body = has_body,
                         .stream = stream,
                         .max_answer = request->max_answer ? request->max_answer : S3_ANSWER_MAX };
    s3_conn_start(conn, &w);
    *keep = list;
    return ERR_OK;
}

err_code s3_request_next(struct s3_client *client, const char *op, sv bucket,
                         struct s3_attempts *at, struct err *e)
{
    struct s3_fault *f = &at->last;
    const char *who = sv_eq_cstr(client->service, "sts") ? "STS" : "S3";
    const char *of = bucket.len ? ", bucket " : "";
    bucket = sv_head(bucket, 64);
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
    return s3_client_wait(client, ms > f->retry_after_ms ? ms : f->retry_after_ms, e);
}

err_code s3_request_run(struct s3_client *client, const struct s3_request *request, struct err *e)
{
    struct s3_attempts at = { .most = request->max_attempts };
    unsigned char digest[SHA256_LEN];
    struct s3_request req = *request;
    if (req.sha256 == NULL && req.body.len > 4096) {
        /* once, not with each attempt */
        hash_sha256_of(req.body, digest);
        req.sha256 = digest;
    }
    struct s3_conn *conn = s3_client_conn_take(client);
    err_code rc;
    for (;;) {
        struct curl_slist *list = NULL;
        s3_conn_state st = CONN_RUNNING;
        rc = s3_request_start(client, &req, &at, false, conn, &list, e);
        if (rc != ERR_OK)
            break;
        while (st == CONN_RUNNING)
            st = s3_conn_step(conn);
        long status = s3_conn_status(conn);
        struct err took = { 0 };
        bool good = st == CONN_DONE && conn->result == CURLE_OK && status >= 200 && status < 300;
        if (good) {
            rc = req.accept ? req.accept(req.accept_ctx, conn, &took) : ERR_OK;
            at.last = (struct s3_fault){ .rc = rc, .retry = rc == ERR_PEER };
            (void)snprintf(at.last.what, sizeof at.last.what, "%.150s", took.msg);
        } else {
            s3_fault_of(conn, st, at.has_token, &at.last);
        }
        s3_conn_stop(conn);
        curl_slist_free_all(list);
        if (good && rc == ERR_OK)
            break;
        rc = s3_request_next(client, req.op, req.bucket, &at, e);
        if (rc != ERR_OK)
            break;
    }
    s3_client_conn_give(client, conn);
    return rc;
}

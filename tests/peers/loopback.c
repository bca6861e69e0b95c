#include "loopback.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/instant.h"
#include "codec/sigv4.h"

#include <pthread.h>
#include <unistd.h>

#define HEADERS_MAX 128u

struct http_exchange {
    struct http_request req;
    struct http_header headers[HEADERS_MAX];
    void *kept;
    struct loopback_answer *answer;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool answered;
};

/* ---- what the service asks of net ---- */

const struct http_request *http_exchange_request(struct http_exchange *x)
{
    return &x->req;
}

void http_exchange_keep(struct http_exchange *x, void *kept)
{
    x->kept = kept;
}

void *http_exchange_kept(const struct http_exchange *x)
{
    return x->kept;
}

bool http_exchange_gone(struct http_exchange *x)
{
    (void)x;
    return false;
}

sv http_header_get(const struct http_request *req, const char *name)
{
    for (size_t i = 0; i < req->n_headers; i++)
        if (sv_eq_nocase(req->headers[i].name, sv_from(name)))
            return req->headers[i].value;
    return SV_NONE;
}

static void answer(struct http_exchange *x, unsigned status, const struct http_header *h, size_t n,
                   const struct buf *body)
{
    struct loopback_answer *a = x->answer;
    a->headers = arena_calloc(a->arena, n + 1, sizeof *a->headers);
    for (size_t i = 0; i < n; i++) {
        a->headers[i].name = arena_sv(a->arena, h[i].name);
        a->headers[i].value = arena_sv(a->arena, h[i].value);
    }
    a->n_headers = n;
    a->body = *body;
    pthread_mutex_lock(&x->lock);
    /* exactly once */
    if (x->answered)
        abort();
    a->status = status;
    x->answered = true;
    pthread_cond_signal(&x->done);
    pthread_mutex_unlock(&x->lock);
}

bool http_room(struct http_exchange *x, size_t len)
{
    (void)x, (void)len;
    return true;
}

void http_reply(struct http_exchange *x, unsigned status, const struct http_header *headers,
                size_t n_headers, struct buf *body)
{
    struct buf taken = BUF_INIT(0);
    if (body) {
        taken = *body;
        *body = BUF_INIT(body->max);
    }
    answer(x, status, headers, n_headers, &taken);
}

/* an answer is one piece of memory here */
bool http_may_stream(const struct http_exchange *x)
{
    (void)x;
    return false;
}

struct http_stream *http_stream_begin(struct http_exchange *x, unsigned status,
                                      const struct http_header *headers, size_t n_headers,
                                      bool may_gzip)
{
    (void)x, (void)status, (void)headers, (void)n_headers, (void)may_gzip;
    abort();
}

err_code http_stream_put(struct http_stream *stream, sv bytes, unsigned wait_ms, size_t *taken,
                         struct err *e)
{
    (void)stream, (void)bytes, (void)wait_ms, (void)taken, (void)e;
    abort();
}

void http_stream_drop(struct http_stream *stream)
{
    (void)stream;
    abort();
}

void http_stream_end(struct http_stream *stream, bool whole)
{
    (void)stream, (void)whole;
    abort();
}

unsigned http_file_status(const struct http_request *req, const struct http_file *f)
{
    (void)req, (void)f;
    return 200;
}

void http_file_part(const struct http_request *req, const struct http_file *f, uint64_t *first,
                    uint64_t *len)
{
    (void)req;
    *first = f->offset;
    *len = f->len;
}

unsigned http_reply_file(struct http_exchange *x, const struct http_header *headers,
                         size_t n_headers, const struct http_file *f, uint64_t *sent)
{
    struct buf body = BUF_INIT(1u << 20);
    size_t want = f->len < body.max ? (size_t)f->len : body.max;
    ssize_t got = 0;
    if (want && buf_reserve(&body, want, NULL) == ERR_OK)
        got = pread(f->fd, body.ptr, want, (off_t)f->offset);
    body.len = got > 0 ? (size_t)got : 0;
    close(f->fd);
    *sent = body.len;
    answer(x, 200, headers, n_headers, &body);
    return 200;
}

/* ---- reading and signing ---- */

static bool next_line(sv *rest, sv *line)
{
    if (!sv_cut(rest, '\n', line))
        return false;
    if (line->len && line->ptr[line->len - 1] == '\r')
        line->len--;
    return true;
}

static bool read_request(struct http_exchange *x, sv raw)
{
    struct http_request *r = &x->req;
    sv line, rest = raw;
    if (!next_line(&rest, &line) || !sv_cut(&line, ' ', &r->method) ||
        !sv_cut(&line, ' ', &r->target) || r->method.len == 0 || r->target.len == 0 ||
        r->target.ptr[0] != '/')
        return false;
    r->headers = x->headers;
    while (next_line(&rest, &line) && line.len) {
        size_t colon = sv_find(line, ':');
        if (colon == 0 || colon == line.len || r->n_headers + 3 > HEADERS_MAX)
            return false;
        x->headers[r->n_headers++] =
            (struct http_header){ sv_head(line, colon), sv_trim(sv_tail(line, colon + 1)) };
    }
    r->body = rest.ptr ? rest : SV_NONE;
    size_t q = sv_find(r->target, '?');
    r->path = sv_head(r->target, q);
    r->query = sv_tail(r->target, q + 1);
    return true;
}

static void add_header(struct http_exchange *x, const char *name, sv value)
{
    if (http_header_get(&x->req, name).ptr == NULL)
        x->headers[x->req.n_headers++] = (struct http_header){ sv_from(name), value };
}

static void sign(struct http_exchange *x, const struct loopback_keys *k)
{
    struct http_request *r = &x->req;
    struct sigv4_header h[HEADERS_MAX];
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN], date[16];
    struct err ignored;
    sv authorization;
    instant_format_basic(k->now_ms, date);
    sv amz_date = arena_sv(r->arena, sv_make(date, sizeof date));
    add_header(x, "x-amz-date", amz_date);
    for (size_t i = 0; i < r->n_headers; i++)
        h[i] = (struct sigv4_header){ r->headers[i].name, r->headers[i].value };
    hash_sha256_of(r->body, digest);
    hash_hex(digest, sizeof digest, hex);
    const struct sigv4_request q = { .method = r->method,
                                     .path = r->path,
                                     .query = r->query,
                                     .headers = h,
                                     .n_headers = r->n_headers,
                                     .payload_hash = sv_make(hex, sizeof hex),
                                     .normalize_path = true,
                                     .double_encode_path = true };
    const struct sigv4_scope scope = { sv_head(amz_date, 8), k->region, SV_LIT("healthlake") };
    const struct sigv4_credentials c = { k->access_key_id, k->secret_key, SV_NONE };
    if (amz_date.ptr &&
        sigv4_sign(r->arena, &q, amz_date, &scope, &c, &authorization, &ignored) == ERR_OK)
        add_header(x, "Authorization", authorization);
}

void loopback_send(struct service *s, sv raw, const struct loopback_keys *keys,
                   struct loopback_answer *out)
{
    struct http_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    *out = (struct loopback_answer){ .arena = arena_new(LIMIT_HEADERS_BYTES + (64u << 10)) };
    x->answer = out;
    x->req.arena = arena_new(LIMIT_REQUEST_MEMORY);
    x->req.peer = SV_LIT("127.0.0.1");
    x->req.start_us = clock_mono_us();
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->done, NULL);
    if (read_request(x, raw)) {
        add_header(x, "Host", SV_LIT("localhost"));
        if (keys)
            sign(x, keys);
        struct http_allowance a = { 0 };
        x->req.length = x->req.body.len;
        if (x->req.length)
            service_accept(s, &x->req, &a);
        x->req.refusal = a.refused ? HTTP_REFUSED : HTTP_TAKEN;
        x->req.body_too_large = !a.refused && x->req.length > a.body_max;
        if (x->req.refusal || x->req.body_too_large)
            x->req.body = SV_NONE;
        service_handle(s, x);
        pthread_mutex_lock(&x->lock);
        while (!x->answered)
            pthread_cond_wait(&x->done, &x->lock);
        pthread_mutex_unlock(&x->lock);
    }
    pthread_cond_destroy(&x->done);
    pthread_mutex_destroy(&x->lock);
    arena_free(x->req.arena);
    free(x);
}

sv loopback_header(const struct loopback_answer *a, const char *name)
{
    for (size_t i = 0; i < a->n_headers; i++)
        if (sv_eq_nocase(a->headers[i].name, sv_from(name)))
            return a->headers[i].value;
    return SV_NONE;
}

void loopback_answer_done(struct loopback_answer *a)
{
    buf_done(&a->body);
    arena_free(a->arena);
    *a = (struct loopback_answer){ 0 };
}

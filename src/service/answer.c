/* answer.c - the way back: an answer is sent, and one line of the log tells of it.
 *
 * The line has the operation, the status, bytes and time. It has nothing of the request's content
 * or the answer's. The request may be gone once it is answered, so the line is written before, or
 * of copies. */
#include "service/answer.h"

#include "base/clock.h"
#include "base/log.h"
#include "service/errors.h"
#include "service/trail.h"

void service_answer_error(struct answer *an, const struct err *e, sv long_message,
                          const char *request_id, const char *op)
{
    const struct error_aws *x = error_as_aws(e->code);
    /* bounded text: writing it cannot fail */
    struct err ignored;
    sv message = e->code == ERR_INVALID && long_message.len ? long_message : sv_from(e->msg);
    if (x->general) {
        LOG_ERR("request_failed", e, LOG_STR("op", op), LOG_STR("request_id", request_id));
        message = error_general(e->code);
    }
    an->status = x->status;
    an->code = e->code;
    an->content_type = "application/x-amz-json-1.0";
    an->error_type = x->exception;
    an->retry_after_s = e->code == ERR_THROTTLED ? 1 : 0;
    buf_clear(&an->body);
    IGNORE(error_aws_body(x->exception, message, &an->body, &ignored));
}

void service_reply_with(struct http_exchange *x, unsigned status, const struct http_header *h,
                        size_t n, struct buf *body, const char *op, const char *error,
                        const char *request_id, sv access_key_id)
{
    const struct http_request *req = http_exchange_request(x);
    LOG(LOG_INFO, "request", LOG_STR("op", op), LOG_INT("status", status), LOG_STR("error", error),
        LOG_INT("us", clock_mono_us() - req->start_us), LOG_INT("in", req->body.len),
        LOG_INT("out", body->len), LOG_SV("key", access_key_id.len ? access_key_id : SV_LIT("-")),
        LOG_SV("peer", req->peer), LOG_STR("request_id", request_id));
    /* x and its arena may be gone from here on */
    trail_reply(x, status, h, n, body, error);
}

/* How much of a file was sent is known when the request may be gone: the line is made of copies. */
unsigned service_reply_file(struct http_exchange *x, const struct http_header *h, size_t n,
                            const struct http_file *f, const char *op, const char *request_id,
                            sv access_key_id)
{
    const struct http_request *req = http_exchange_request(x);
    char key[132], peer[64], id[40];
    uint64_t start_us = req->start_us, sent = 0;
    sv who = access_key_id.len ? access_key_id : SV_LIT("-");
    (void)snprintf(key, sizeof key, "%.*s", SV_FMT(who));
    (void)snprintf(peer, sizeof peer, "%.*s", SV_FMT(req->peer));
    (void)snprintf(id, sizeof id, "%s", request_id);
    unsigned known = http_file_status(req, f);
    trail_end(x, known, known == 416 ? "InvalidRange" : "-");
    unsigned status = http_reply_file(x, h, n, f, &sent);
    LOG(LOG_INFO, "request", LOG_STR("op", op), LOG_INT("status", status), LOG_STR("error", "-"),
        LOG_INT("us", clock_mono_us() - start_us), LOG_INT("in", 0), LOG_INT("out", sent),
        LOG_STR("key", key), LOG_STR("peer", peer), LOG_STR("request_id", id));
    return status;
}

err_code service_no_room(const struct http_request *req, struct err *e)
{
    bool reads = sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD"));
    return ERR(e, ERR_THROTTLED,
               "Answers that are not read yet take all the room there is for them: read those of "
               "earlier requests, then ask again%s",
               reads ? "" : "; what this request asked for may have been done");
}

void service_reply(struct http_exchange *x, struct answer *an, const char *op,
                   const char *request_id, sv access_key_id)
{
    const struct http_request *req = http_exchange_request(x);
    struct http_header h[5];
    size_t n = 0;
    struct err e;
    char seconds[16];
    if (!http_room(x, an->body.len)) {
        /* its code says the same; the answer is made of e */
        (void)service_no_room(req, &e);
        service_answer_error(an, &e, SV_NONE, request_id, op);
    }
    metrics_request(an->metrics, op, SV_NONE, an->status, clock_mono_us() - req->start_us);
    metrics_refused(an->metrics, req, an->code);
    h[n++] = (struct http_header){ SV_LIT("Content-Type"), sv_from(an->content_type) };
    h[n++] = (struct http_header){ SV_LIT("x-amzn-RequestId"), sv_from(request_id) };
    if (an->error_type)
        h[n++] = (struct http_header){ SV_LIT("x-amzn-errortype"), sv_from(an->error_type) };
    if (an->retry_after_s) {
        (void)snprintf(seconds, sizeof seconds, "%u", an->retry_after_s);
        h[n++] = (struct http_header){ SV_LIT("Retry-After"), sv_from(seconds) };
    }
    service_reply_with(x, an->status, h, n, &an->body, op, an->error_type ? an->error_type : "-",
                       request_id, access_key_id);
}

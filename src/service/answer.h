/* answer.h - an answer on its way to its caller.   Floor: service. */
#pragma once
#include "net/http_server.h"

struct answer { /* of the control plane, and of what is on neither plane */
    unsigned status;
    const char *content_type;
    const char *error_type; /* x-amzn-errortype, or NULL */
    bool retry_after;       /* add Retry-After: 1 */
    struct buf body;
};
/* What is said in the place of an answer for which http_room() has none: always ERR_THROTTLED. */
err_code service_no_room(const struct http_request *req, struct err *e);
/* Sends an answer and logs it. op: for the log. */
void service_reply(struct http_exchange *x, struct answer *an, const char *op,
                   const char *request_id, sv access_key_id);
/* Any answer: sent, and one line in the log. body is taken. */
void service_reply_with(struct http_exchange *x, unsigned status, const struct http_header *h,
                        size_t n, struct buf *body, const char *op, const char *error,
                        const char *request_id, sv access_key_id);
/* A file as answer; likewise. f's fd is taken. */
void service_reply_file(struct http_exchange *x, const struct http_header *h, size_t n,
                        const struct http_file *f, const char *op, const char *request_id,
                        sv access_key_id);
void service_answer_error(struct answer *an, const struct err *e, sv long_message,
                          const char *request_id, const char *op);

/* answer.h - an answer on its way to its caller.
 *
 * The service_reply*() calls answer an exchange, once, and log one line. The exchange, its request
 * and what its arena holds may be gone when they return.
 *   op             name of the operation, for the log
 *   request_id     sent as x-amzn-RequestId by whoever makes the headers, and logged
 *   access_key_id  who asked, for the log; SV_NONE: nobody who is known
 * Floor: service. */
#pragma once
#include "net/http_server.h"
#include "service/metrics.h"

/* Of the control plane, and of what is on neither plane. */
struct answer {
    unsigned status;
    const char *content_type;
    const char *error_type;  /* x-amzn-errortype, or NULL */
    unsigned retry_after_s;  /* adds Retry-After; 0: none */
    err_code code;           /* of the error that it tells of; ERR_OK: of none */
    struct metrics *metrics; /* service_reply() counts it there, under its op; NULL: nowhere */
    struct buf body;
};
/* Makes an AWS error of e in the answer; what it held before is gone.
 *   long_message  replaces e's message for ERR_INVALID; may be empty */
void service_answer_error(struct answer *an, const struct err *e, sv long_message,
                          const char *request_id, const char *op);
/* Sends it, or an error if memory for answers is short. an->body is taken. */
void service_reply(struct http_exchange *x, struct answer *an, const char *op,
                   const char *request_id, sv access_key_id);

/* Sends any answer. body is taken.
 *   error  name of the error, for the log, or "-" */
void service_reply_with(struct http_exchange *x, unsigned status, const struct http_header *h,
                        size_t n, struct buf *body, const char *op, const char *error,
                        const char *request_id, sv access_key_id);
/* Sends a file. The file's descriptor is taken. Returns the status. */
unsigned service_reply_file(struct http_exchange *x, const struct http_header *h, size_t n,
                            const struct http_file *f, const char *op, const char *request_id,
                            sv access_key_id);

/* The error that is sent in place of an answer for which http_room() has no room: ERR_THROTTLED. */
err_code service_no_room(const struct http_request *req, struct err *e);

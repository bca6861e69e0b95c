/* loopback.h - the service without sockets: bytes of a request in, the whole answer out.
 *
 * Stands in the place of net/http_server.c: what is linked with loopback.c answers into memory. The
 * request is read as plainly as can be (lines end in LF or CRLF, nothing is unfolded), so that a
 * test can say exactly what arrives. One request at a time per exchange; any number of threads. */
#pragma once
#include "service/service.h"

struct loopback_answer {
    unsigned status; /* 0: the bytes were no request, nothing was asked */
    struct arena *arena;
    struct http_header *headers;
    size_t n_headers;
    struct buf body; /* of a file: as much of it as it has */
};

struct loopback_keys { /* who signs; NULL: nobody */
    sv access_key_id, secret_key, region;
    int64_t now_ms;
};

/* raw: "METHOD TARGET HTTP/1.1", header lines, an empty line, the body. With keys the request is
 * signed, x-amz-date and Host added where they are missing. Waits for the answer. */
void loopback_send(struct service *s, sv raw, const struct loopback_keys *keys,
                   struct loopback_answer *out);
sv loopback_header(const struct loopback_answer *a, const char *name);
void loopback_answer_done(struct loopback_answer *a);

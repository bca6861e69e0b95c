/* http_private.h - what the rooms of net share.
 *
 *   http_server.c   connections, exchanges, whole answers
 *   http_head.c     the head of a request, judged
 *   http_pack.c     whole answers, packed
 *   http_file.c     a file as answer: conditions, ranges, gzip
 * Floor: net. */
#pragma once
#include "net/http_server.h"

#include <microhttpd.h>

/* The answer of x: r is taken, headers are copied. Once per exchange. */
void http_exchange_answer(struct http_exchange *x, unsigned status,
                          const struct http_header *headers, size_t n_headers,
                          struct MHD_Response *r);

/* Body in gzip's form instead of its own, when that is smaller. False: it stays as it is. */
bool http_pack(struct buf *body);
#define HTTP_PACK_MIN (1u << 10) /* bytes; below, packing saves less than its headers cost */

/* ---- heads: http_head.c ---- */
struct http_framing { /* of the body */
    bool chunked;
    uint64_t length; /* when not chunked */
};
/* What is wrong with the head, as a sentence for the caller; NULL: nothing. */
const char *http_head_fault(const struct http_request *req, sv version, struct http_framing *out);
/* Path with runs of slashes as one; itself when it has none. ptr is NULL past the arena's budget. */
sv http_path_collapse(struct arena *a, sv path);

/* Where a parser that works in place has left the texts of a head. */
struct http_head_layout {
    const char *method, *target, *version; /* where they stand, with NUL behind */
    size_t target_len;                     /* as received: what stands there may be decoded */
    size_t bytes;                          /* from the method to behind the empty line */
};
/* Is between the texts just what belongs there: one blank or colon, blanks in front of a value, CRLF? */
bool http_head_in_place(const struct http_head_layout *l, const struct http_header *headers,
                        size_t n);

/* http_private.h - what the rooms of net share.
 *
 *   http_server.c   connections, exchanges, whole answers
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

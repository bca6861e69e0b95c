/* sigv4_private.h - what the rooms of sigv4.h share.
 *
 *   sigv4_canonical.c  a request in the one form that is hashed
 *   sigv4.c            string to sign, key, signature; signing
 *   sigv4_claim.c      what a request says about its signature
 *   sigv4_verify.c     is it true?
 * Floor: codec. */
#pragma once
#include "codec/sigv4.h"

#define SIGV4_PAIRS_MAX     128u       /* of a query */
#define SIGV4_HEADERS_MAX   128u       /* that are signed */
#define SIGV4_TEXT_MAX      65536u     /* bytes of one parameter, or of all signed names */
#define SIGV4_CANONICAL_MAX (1u << 20) /* bytes of a canonical request */

/* What b holds, copied into the arena. */
MUST_USE err_code sigv4_keep(struct arena *a, struct buf *b, sv *out, struct err *e);
/* sigv4_canonical_request(), appended to b. */
MUST_USE err_code sigv4_canonical_write(struct arena *a, const struct sigv4_request *req,
                                        sv signed_headers, struct buf *b, struct err *e);
/* Does it stand as it is signed: sorted, and percent-encoded? */
bool sigv4_query_is_canonical(struct arena *a, sv query);
/* All stages. known_key: of this secret and scope; NULL: it is made. */
MUST_USE err_code sigv4_signature_of(struct arena *a, const struct sigv4_request *req,
                                     sv signed_headers, sv amz_date,
                                     const struct sigv4_scope *scope, sv secret,
                                     const struct hash_hmac_key *known_key, char out[64],
                                     struct err *e);

/* large.h - resources that are too large to have a tree of: looked at as text, from one member to
 * the next.
 *
 * Nothing here takes memory that grows with the text.   Floor: fhir. */
#pragma once
#include "fhir/envelope.h"

/* Is the text, which nobody has checked yet, a Binary that is large by its data alone? It says so
 * plainly, without escapes, and has at most rest_max bytes beside that one text; whatever else it
 * may be is told by reading it. */
bool fhir_is_large_binary(sv text, size_t rest_max);

#define FHIR_CUT_MEMBER \
    (64u << 10)                 /* a member of the first level with more bytes is left out, ... */
#define FHIR_CUT_MAX (1u << 20) /* ... and those behind so many */
/* A stored form without its large members, marked SUBSETTED; out holds it. Of a Binary that leaves
 * all but its data. ERR_TOO_LARGE: out's cap, for which 2 * FHIR_CUT_MAX is enough. */
MUST_USE err_code fhir_body_cut(const struct fhir_body *b, struct buf *out, struct fhir_body *cut,
                                struct err *e);

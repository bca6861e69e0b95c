/* large.h - resources that are too large to be read as a tree. They are looked at as text, member
 * by member, and no memory here grows with the text.   Floor: fhir. */
#pragma once
#include "fhir/envelope.h"

/* Is the text, which nobody has checked yet, a Binary that is large by its data alone? True only if
 * it says so without escapes, and has at most rest_max bytes beside its data. It may still be
 * wrong in other ways, which reading it tells. */
bool fhir_is_large_binary(sv text, size_t rest_max);

/* Left out of a resource are members of the first level that have more bytes than this, and all
 * members behind so many bytes. */
#define FHIR_CUT_MEMBER (64u << 10)
#define FHIR_CUT_MAX    (1u << 20)
/* A stored form without its large members, marked SUBSETTED; out holds it. Of a Binary that leaves
 * all but its data. ERR_TOO_LARGE: out's cap, for which 2 * FHIR_CUT_MAX is enough. */
MUST_USE err_code fhir_body_cut(const struct fhir_body *b, struct buf *out, struct fhir_body *cut,
                                struct err *e);

/* json_patch.h - RFC 6902 on a document that json_read() made: add, remove, replace, move, copy,
 * test. Numbers keep their spelling; test compares values (json_equal.h): 1.0 is 1.
 * Floor: codec. */
#pragma once
#include "codec/json.h"

#define JSON_PATCH_OPS_MAX 1000u

struct json_patch_limits {
    unsigned depth;    /* nesting of the document, at any time; target and patch are no deeper */
    uint64_t until_us; /* monotonic clock; 0: as long as it takes */
};
/* Apply patch (an array of operations) to target, all or nothing.
 *   a    takes the document while it is worked on: its budget is the patch's. What operations copy
 *        or replace stays in it, so that a patch that doubles a value over and over ends there
 *   out  the new document's text, appended
 * ERR_INVALID: the patch breaks the RFC's grammar; ERR_UNPROCESSABLE: an operation cannot be
 * applied (the message names it by number and says why); ERR_TOO_LARGE: a's budget, the depth,
 * out's cap; ERR_TIMEOUT. */
MUST_USE err_code json_patch(yyjson_val *target, yyjson_val *patch, struct arena *a,
                             const struct json_patch_limits *limits, struct buf *out,
                             struct err *e);

/* Levels of containers in v; 0: a text, a number or the like. */
unsigned json_patch_depth_of(yyjson_mut_val *v);

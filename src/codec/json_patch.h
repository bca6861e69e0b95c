/* json_patch.h - RFC 6902 on a document that json_read() made: add, remove, replace, move, copy, test.
 * Numbers keep their spelling; test compares them by it (1.0 is not 1).   Floor: codec. */
#pragma once
#include "codec/json.h"

#define JSON_PATCH_OPS_MAX 1000u

/* Apply patch (an array of operations) to target, all or nothing.
 *   out  the new document's text, appended
 * ERR_INVALID: the patch breaks the RFC's grammar; ERR_UNPROCESSABLE: an operation cannot be applied (the
 * message names it by number and says why); ERR_TOO_LARGE. */
MUST_USE err_code json_patch(yyjson_val *target, yyjson_val *patch, struct buf *out, struct err *e);

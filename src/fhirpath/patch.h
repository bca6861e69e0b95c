/* patch.h - FHIRPath Patch on a resource that json_read() made: add, insert, delete, replace, move.
 *
 * The operations stand in Parameters, one parameter "operation" for each. They are applied one
 * after the other, each to what the one before it has made; all of them or none. A value's type is
 * checked where it goes; whether the whole is a valid resource is the caller's to ask. Numbers keep
 * their spelling.
 * Source: FHIR R4 fhirpatch.html.   Floor: fhirpath. */
#pragma once
#include "fhirpath/fhirpath.h"

#define FHIRPATH_PATCH_OPS_MAX 1000u

struct fhirpath_patch_limits {
    unsigned depth;      /* nesting of the resource, at any time; target and patch are no deeper */
    size_t memory_bytes; /* of one operation, beside the resource that is worked on */
    int64_t now_ms;      /* what now() says, UTC */
    /* Called for each operation, and every few milliseconds of a path: may the patch go on? What it
     * raises ends the patch. NULL: it may. */
    err_code (*look)(void *ctx, struct err *e);
    void *look_ctx;
};

/* Apply patch (Parameters) to target.
 *   a    takes the resource while it is worked on: its budget is the patch's
 *   out  the new resource's text, appended
 * ERR_INVALID: patch is no FHIRPath Patch; ERR_UNPROCESSABLE: an operation cannot be applied. The
 * message names the operation by its number, and holds nothing of the resource or of a path.
 * ERR_TOO_LARGE: a's budget, the depth, memory or FHIRPATH_STEPS of all paths, out's cap; what look
 * raises. */
MUST_USE err_code fhirpath_patch(yyjson_val *target, yyjson_val *patch, struct arena *a,
                                 const struct fhirpath_patch_limits *limits, struct buf *out,
                                 struct err *e);

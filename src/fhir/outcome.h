/* outcome.h - issues as an OperationOutcome in HealthLake's form, and as a mark in the resource.
 *
 *   {"severity":"error","code":"required","details":{"text":T},"diagnostics":T,
 *    "location":[PATH],"expression":[PATH]}
 *
 * At validation level minimal a resource with faults is stored all the same, and carries the
 * outcome as an extension of its own (fhir_issues_mark).
 * Source: HealthLake "FHIR validation levels"; FHIR R4 operationoutcome.html.   Floor: fhir. */
#pragma once
#include "codec/json.h"
#include "fhir/envelope.h"
#include "fhir/validate.h"

#define FHIR_OUTCOME_MAX (16u << 10) /* bytes of an outcome that goes into a line or an extension */
/* Most bytes of the outcome of a resource of this length. A small resource has a small outcome, so
 * the outcomes of many are bounded by their texts. */
static inline size_t fhir_outcome_max(size_t resource_bytes)
{
    size_t max = resource_bytes * 4;
    return max > FHIR_OUTCOME_MAX ? FHIR_OUTCOME_MAX : max < 2048 ? 2048 : max;
}
#define FHIR_VALIDATION_ISSUE_URL \
    "http://healthlake.amazonaws.com/fhir/StructureDefinition/validation-issue"

/* An OperationOutcome, appended: begun, its issues written by fhir_issue_write(), ended. */
void fhir_outcome_begin(struct json_writer *w, struct buf *out);
MUST_USE err_code fhir_outcome_end(struct json_writer *w, struct err *e);
/* One item of OperationOutcome.issue. */
void fhir_issue_write(struct json_writer *w, const struct fhir_issue *i);
/* The whole outcome, appended. Issues that would take it past max_bytes are left out. A last issue
 * says so when some were left out, here or by the walk. ERR_TOO_LARGE: out is full. */
MUST_USE err_code fhir_outcome_write(const struct fhir_issues *issues, size_t max_bytes,
                                     struct buf *out, struct err *e);

/* The resource's stored form with an extension of FHIR_VALIDATION_ISSUE_URL whose valueString is
 * `outcome`; an extension that an earlier write left goes. Nothing changes when the type has no
 * extensions, or when its "extension" is no array.
 *   root  the tree of body->json
 *   body  in and out; json is owned by the arena afterwards when it changed */
MUST_USE err_code fhir_issues_mark(fhir_type type, yyjson_val *root, sv outcome, struct arena *a,
                                   struct fhir_body *body, struct err *e);

/* errors.h - the two tables at the edge: our codes as AWS exceptions and as FHIR OperationOutcomes.
 * Nothing else in the tree names an HTTP status for an error.
 * Source: HealthLake service model; AWS common errors; FHIR R4 value set issue-type.
 * Floor: service. */
#pragma once
#include "codec/json.h"

struct error_aws {
    const char *exception; /* "ValidationException" */
    unsigned status;
    /* The message may hold inner detail: callers get a general one, the log the detail. */
    bool general;
};
const struct error_aws *error_as_aws(err_code code);

struct error_fhir {
    const char *issue_type; /* "not-found" */
    unsigned status;
    bool general;
};
const struct error_fhir *error_as_fhir(err_code code);

/* Body of an AWS error, with both spellings of the message. */
MUST_USE err_code error_aws_body(const char *exception, sv message, struct buf *out, struct err *e);
/* An OperationOutcome of one issue: what=error, of this code and text. */
MUST_USE err_code error_fhir_body(const char *code, sv text, struct buf *out, struct err *e);

/* What job_submit() ended with, as its caller is told: a fault of the request, or of a service
 * behind us. */
MUST_USE err_code job_submit_fault(err_code rc, struct err *e);

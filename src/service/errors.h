/* errors.h - the two tables at the edge: our error codes as AWS exceptions and as FHIR issues.
 *
 * Nothing else in the tree chooses an HTTP status for an error code.
 * Source: HealthLake service model; AWS common errors; FHIR R4 value set issue-type.
 * Floor: service. */
#pragma once
#include "codec/json.h"

struct error_aws {
    const char *exception; /* "ValidationException" */
    unsigned status;
    /* The message may hold inner detail: the caller gets a general one, the log has the detail. */
    bool general;
};
/* Never NULL: a code without a row is ERR_INTERNAL. */
const struct error_aws *error_as_aws(err_code code);

struct error_fhir {
    const char *issue_type; /* "not-found" */
    unsigned status;
    bool general; /* likewise */
};
const struct error_fhir *error_as_fhir(err_code code);

/* What the caller is told of an error that is `general`. */
sv error_general(err_code code);

/* The WWW-Authenticate of a refusal where access tokens are taken; NULL: it has none.
 *   by_token  the request has an access token
 * Source: RFC 6750, 3. */
const char *error_challenge(err_code code, bool by_token);

/* Body of an AWS error, with both spellings of the message. */
MUST_USE err_code error_aws_body(const char *exception, sv message, struct buf *out, struct err *e);
/* An OperationOutcome of one issue: what=error, of this code and text. */
MUST_USE err_code error_fhir_body(const char *code, sv text, struct buf *out, struct err *e);

/* What an error of job_submit() is to the caller: a fault of his request, or of a service behind
 * us. Returns the code to answer with, and puts it into e. */
MUST_USE err_code job_submit_fault(err_code rc, struct err *e);

/* errors.c - error codes become AWS exceptions and OperationOutcomes.
 *
 * One row for each code and protocol. ERR_OK and ERR_EOF have none: they are no errors. */
#include "service/errors.h"

#include "fhir/outcome.h"

static const struct error_aws aws[ERR_N_CODES] = {
    [ERR_INVALID] = { "ValidationException", 400, false },
    [ERR_TOO_LARGE] = { "ValidationException", 400, false },
    [ERR_NOT_FOUND] = { "ResourceNotFoundException", 404, false },
    [ERR_GONE] = { "ResourceNotFoundException", 404, false },
    [ERR_EXISTS] = { "ConflictException", 409, false },
    [ERR_CONFLICT] = { "ConflictException", 409, false },
    [ERR_PRECONDITION] = { "ConflictException", 409, false },
    [ERR_DENIED] = { "AccessDeniedException", 403, false },
    [ERR_AUTH_MISSING] = { "MissingAuthenticationTokenException", 403, false },
    [ERR_AUTH_INCOMPLETE] = { "IncompleteSignatureException", 400, false },
    [ERR_AUTH_UNKNOWN_KEY] = { "UnrecognizedClientException", 403, false },
    [ERR_AUTH_KEY_EXPIRED] = { "ExpiredTokenException", 403, false },
    [ERR_AUTH_EXPIRED] = { "InvalidSignatureException", 403, false },
    [ERR_AUTH_SIGNATURE] = { "InvalidSignatureException", 403, false },
    [ERR_TOKEN_REQUEST] = { "IncompleteSignatureException", 400, false },
    [ERR_THROTTLED] = { "ThrottlingException", 429, false },
    [ERR_UNSUPPORTED] = { "SerializationException", 400, false },
    [ERR_METHOD] = { "UnknownOperationException", 404, false },
    [ERR_MEDIA_TYPE] = { "SerializationException", 400, false },
    [ERR_NOT_ACCEPTABLE] = { "SerializationException", 400, false },
    [ERR_UNPROCESSABLE] = { "ValidationException", 400, false },
    /* S3, STS or KMS failed behind Start*. We tried again already, so the status is one at which
     * SDKs do not. */
    [ERR_PEER] = { "FailedDependencyException", 424, false },
    [ERR_TIMEOUT] = { "FailedDependencyException", 424, false },
    [ERR_UNAVAILABLE] = { "ServiceUnavailableException", 503, false },
    [ERR_NO_AUDIT] = { "ServiceUnavailableException", 503, false },
    [ERR_NO_SPACE] = { "InternalServerException", 500, true },
    [ERR_IO] = { "InternalServerException", 500, true },
    [ERR_CANCELLED] = { "InternalServerException", 500, true },
    [ERR_CORRUPT] = { "InternalServerException", 500, true },
    [ERR_INTERNAL] = { "InternalServerException", 500, true },
};

static const struct error_fhir fhir[ERR_N_CODES] = {
    [ERR_INVALID] = { "invalid", 400, false },
    [ERR_TOO_LARGE] = { "too-long", 413, false },
    [ERR_NOT_FOUND] = { "not-found", 404, false },
    [ERR_GONE] = { "deleted", 410, false },
    [ERR_EXISTS] = { "duplicate", 409, false },
    [ERR_CONFLICT] = { "conflict", 409, false },
    [ERR_PRECONDITION] = { "conflict", 412, false },
    [ERR_DENIED] = { "forbidden", 403, false },
    [ERR_AUTH_MISSING] = { "login", 401, false },
    [ERR_AUTH_INCOMPLETE] = { "login", 401, false },
    [ERR_AUTH_UNKNOWN_KEY] = { "login", 401, false },
    [ERR_AUTH_KEY_EXPIRED] = { "expired", 401, false },
    [ERR_AUTH_EXPIRED] = { "expired", 401, false },
    [ERR_AUTH_SIGNATURE] = { "login", 401, false },
    [ERR_TOKEN_REQUEST] = { "security", 400, false },
    [ERR_THROTTLED] = { "throttled", 429, false },
    [ERR_UNSUPPORTED] = { "not-supported", 501, false },
    [ERR_METHOD] = { "not-supported", 405, false },
    [ERR_MEDIA_TYPE] = { "not-supported", 415, false },
    [ERR_NOT_ACCEPTABLE] = { "not-supported", 406, false },
    [ERR_UNPROCESSABLE] = { "processing", 422, false },
    [ERR_PEER] = { "transient", 502, false },
    [ERR_TIMEOUT] = { "timeout", 504, false },
    [ERR_UNAVAILABLE] = { "transient", 503, false },
    [ERR_NO_AUDIT] = { "transient", 503, false },
    [ERR_NO_SPACE] = { "no-store", 507, true },
    [ERR_IO] = { "exception", 500, true },
    [ERR_CANCELLED] = { "transient", 503, true },
    [ERR_CORRUPT] = { "exception", 500, true },
    [ERR_INTERNAL] = { "exception", 500, true },
};

const struct error_aws *error_as_aws(err_code code)
{
    return (unsigned)code < ERR_N_CODES && aws[code].exception ? &aws[code] : &aws[ERR_INTERNAL];
}

const struct error_fhir *error_as_fhir(err_code code)
{
    return (unsigned)code < ERR_N_CODES && fhir[code].issue_type ? &fhir[code]
                                                                 : &fhir[ERR_INTERNAL];
}

sv error_general(err_code code)
{
    return code == ERR_NO_SPACE
               ? SV_LIT("The disk of the data folder is full, or nearly so, or the database's disk "
                        "is: whoever runs this server has to make room there")
               : SV_LIT("Internal error; the service's log has it under this request's id");
}

const char *error_challenge(err_code code, bool by_token)
{
    if (code == ERR_AUTH_MISSING)
        return "Bearer realm=\"fhirlake\"";
    if (code == ERR_TOKEN_REQUEST)
        return "Bearer error=\"invalid_request\"";
    if (by_token && code == ERR_AUTH_SIGNATURE)
        return "Bearer error=\"invalid_token\"";
    if (by_token && code == ERR_AUTH_EXPIRED)
        return "Bearer error=\"invalid_token\", error_description=\"expired\"";
    if (by_token && code == ERR_DENIED)
        return "Bearer error=\"insufficient_scope\"";
    return NULL;
}

err_code error_aws_body(const char *exception, sv message, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "__type", sv_from(exception));
    json_kv_str(&w, "message", message);
    json_kv_str(&w, "Message", message);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

err_code job_submit_fault(err_code rc, struct err *e)
{
    err_code as = rc == ERR_NOT_FOUND      ? ERR_INVALID /* the bucket or the input, AWS says */
                  : rc == ERR_AUTH_EXPIRED ? ERR_PEER    /* our token for S3, not the caller's */
                                           : rc;
    if (e && as != rc)
        e->code = as;
    return as;
}

err_code error_fhir_body(const char *code, sv text, struct buf *out, struct err *e)
{
    struct fhir_issue one = { "error", code, SV_NONE, text };
    return fhir_outcome_write(&(struct fhir_issues){ &one, 1, false }, SIZE_MAX, out, e);
}

/* auth.h - the door: who calls (SigV4) and what they may do (their policy).
 *
 *   auth_begin   head of a request -> what it proves     before a body is read
 *   auth_check   request -> caller     signature in the header or in the query, its clock, its body
 *   auth_allows  caller, action, resource, facts -> yes, or the refusal in AWS's words
 *
 * The head alone has the claim, the key, the clock and what is signed; where the client says what
 * its body hashes to, the signature covers that, and all is known but whether the body does.
 * Without it the signature needs the body.
 *
 * Every request but GET /health passes auth_check() first; every operation then asks auth_allows()
 * for each pair of action and resource that it touches. Thread-safe.
 * Source: AWS General Reference, "Signature Version 4 signing process"; IAM User Guide.
 * Floor: auth. */
#pragma once
#include "auth/credentials.h"
#include "net/http_server.h"

struct auth_config {
    bool open;                    /* --auth none: everybody is an anonymous caller who may do all */
    const char *credentials_path; /* not used when open */
    sv region;                    /* copied; signatures must be scoped to it */
    sv account_id;                /* copied; stands in callers' ARNs */
    bool unsigned_payload;        /* bodies need not be covered by the signature */
};

struct auth;
/* Errors as credentials_load(). */
MUST_USE err_code auth_new(const struct auth_config *cfg, struct auth **out, struct err *e);
void auth_free(struct auth *au);
DEFINE_CLEANUP(struct auth, auth_free)

/* The name of a caller whose policy could let him pass roles; SV_NONE: there is none. Borrowed. */
sv auth_role_passer(const struct auth *au);

/* Who may call; NULL: everybody. Borrowed. */
const struct credentials *auth_credentials(const struct auth *au);

/* Is everybody let in? */
bool auth_is_open(const struct auth *au);

struct auth_caller {
    const struct credential *credential; /* NULL: anonymous, allowed all. Lives with the auth. */
    sv access_key_id;                    /* for the log; empty when anonymous */
    sv arn; /* "arn:aws:iam::<account>:user/<name>", or ...:user/anonymous; owned by req->arena */
};

struct auth_pass {
    bool proven; /* the caller is known; hash is what the body must hash to, or UNSIGNED-PAYLOAD */
    struct auth_caller caller;
    sv hash;
    int64_t begun_ms; /* the clock that counts, however long the body takes */
};
/* What the head of req proves, which has a body. Errors as auth_check(): whoever fails here need
 * not send his body.
 *   now_ms  clock_wall_ms() */
MUST_USE err_code auth_begin(struct auth *au, const struct http_request *req, int64_t now_ms,
                             struct auth_pass *out, struct err *e);

/* Who sent req, which must hold the whole body (not body_too_large: answer that first). Where
 * auth_begin() was asked, req->left is its auth_pass.
 *   now_ms  clock_wall_ms()
 * ERR_AUTH_MISSING      neither an Authorization header nor a presigned query
 * ERR_AUTH_INCOMPLETE   one that is malformed
 * ERR_AUTH_UNKNOWN_KEY  access key or session token not known
 * ERR_AUTH_EXPIRED      outside the clock window, or of the presigned lifetime
 * ERR_AUTH_SIGNATURE    scope, coverage, payload hash or signature wrong
 * ERR_TOO_LARGE         more query parameters than we read, or the request's arena is full */
MUST_USE err_code auth_check(struct auth *au, const struct http_request *req, int64_t now_ms,
                             struct auth_caller *out, struct err *e);

/* May the caller do it? ERR_DENIED: "User: <arn> is not authorized to perform: <action> on
 * resource: <resource> because ...".
 *   action    "healthlake:StartFHIRExportJob", "iam:PassRole"
 *   resource  data store or role ARN; "*" for actions on none (CreateFHIRDatastore,
 * ListFHIRDatastores)
 *   context   tags and iam:PassedToService, see policy.h; may be NULL */
MUST_USE err_code auth_allows(const struct auth_caller *caller, sv action, sv resource,
                              const struct policy_context *context, struct err *e);

/* auth.h - who calls (SigV4), and what may they do (their policy)?
 *
 *   auth_begin   head of a request -> what it proves             before its body is read
 *   auth_check   whole request -> caller                         signature, clock, body
 *   auth_allows  caller, action, resource, facts -> yes, or the refusal in AWS's words
 *
 * The head of a request has the claim, the access key and the clock. Most clients also send the
 * hash of their body in the head, and the signature covers that hash. Then the head alone proves
 * who calls, and only the body has still to be compared with the hash. Without such a hash the
 * signature can be checked only when the whole body is there.
 *
 * Every request but GET /health passes auth_check() first. Every operation then asks auth_allows()
 * for each pair of action and resource that it touches. Thread-safe.
 * Source: AWS General Reference, "Signature Version 4 signing process"; IAM User Guide.
 * Floor: auth. */
#pragma once
#include "auth/credentials.h"
#include "auth/smart.h"
#include "net/http_server.h"

struct auth_config {
    bool open;                    /* --auth none: everybody is an anonymous caller who may do all */
    const char *credentials_path; /* not used when open; copied */
    sv region;                    /* copied; signatures must be scoped to it */
    sv account_id;                /* copied; stands in callers' ARNs */
    bool unsigned_payload;        /* bodies need not be covered by the signature */
    struct providers **providers; /* taken; NULL: no access token is taken */
};

struct providers;   /* bearer/providers.h */
struct bearer;      /* bearer/bearer.h */
struct smart_grant; /* smart.h */

struct auth;
/* The caller frees it with auth_free(). Errors as credentials_load(). */
MUST_USE err_code auth_new(const struct auth_config *cfg, struct auth **out, struct err *e);
void auth_free(struct auth *auth);
DEFINE_CLEANUP(struct auth, auth_free)

/* Is everybody let in? */
bool auth_is_open(const struct auth *auth);

/* Looks at callers. What it returns for those just read refuses them. */
typedef err_code (*auth_callers_fn)(void *ctx, const struct credentials *credentials,
                                    struct err *e);
/* The caller with that key, of those that count now; it lives as long as a. NULL: there is none. */
const struct credential *auth_find(struct auth *auth, sv access_key_id, struct arena *a);
/* Shows the callers that count now; nothing to do when open. Errors of fn. */
MUST_USE err_code auth_show(struct auth *auth, auth_callers_fn fn, void *ctx, struct err *e);

/* Reads the callers' file and its policies again, and shows them to check before they count. They
 * count for each request that is checked from now on; a request under way goes on with what it
 * began with, unless its body is still to come. On failure those before stay. Nothing to do when
 * open. Errors as auth_new(), and check's. */
MUST_USE err_code auth_reload(struct auth *auth, auth_callers_fn check, void *ctx, struct err *e);
/* Are the files as they were before they were read? look: as they are now (credentials_look()). */
bool auth_as_read(struct auth *auth, unsigned char look[SHA256_LEN]);

/* What checks access tokens; NULL: none are taken. Borrowed. */
struct bearer *auth_bearer(const struct auth *auth);

struct auth_caller {
    /* lives as long as the request's arena, or the auth; NULL: anonymous, may do all */
    const struct credential *credential;
    sv access_key_id; /* for the log; empty when anonymous */
    /* "arn:aws:iam::<account>:user/<name>", ...:user/anonymous, or of a token
     * "arn:aws:sts::<account>:assumed-role/<role>/<digest>"; owned by the request's arena */
    sv arn;
    struct policy_origin origin; /* where and when he asks; policies have conditions on it */
    /* By which statement he may do what he asks for, or may not: whoever asks puts it here, for the
     * audit log. It lives as long as the credential. */
    struct policy_by by;
    /* What the caller's token gives; owned by the request's arena. NULL: the request was signed,
     * and no scopes limit it. */
    const struct smart_grant *grant;
};

/* What the head of a request proves. */
struct auth_pass {
    bool proven; /* the caller is known, if his body hashes to hash */
    struct auth_caller caller;
    sv hash;          /* 64 hexadecimal digits, or UNSIGNED-PAYLOAD */
    int64_t begun_ms; /* the signature's age counts at this time, however long the body takes */
};
/* What does the head of req prove? req has a body that is not read yet. Errors as auth_check(): a
 * caller who fails here need not send his body.
 *   now_ms  clock_wall_ms() */
MUST_USE err_code auth_begin(struct auth *auth, const struct http_request *req, int64_t now_ms,
                             struct auth_pass *out, struct err *e);

/* Who sent req? It must hold its whole body; one that is too large is answered before. If
 * auth_begin() was asked, req->left is its auth_pass.
 *   now_ms  clock_wall_ms()
 * ERR_AUTH_MISSING      neither an Authorization header nor a presigned query
 * ERR_AUTH_INCOMPLETE   one that is malformed
 * ERR_AUTH_UNKNOWN_KEY  access key or session token not known
 * ERR_AUTH_KEY_EXPIRED  the key's time is over (credentials.h, expires)
 * ERR_AUTH_EXPIRED      outside the clock window, or of the presigned lifetime
 * ERR_AUTH_SIGNATURE    scope, coverage, payload hash or signature wrong
 * ERR_TOO_LARGE         more query parameters than we read, or the request's arena is full */
MUST_USE err_code auth_check(struct auth *auth, const struct http_request *req, int64_t now_ms,
                             struct auth_caller *out, struct err *e);

/* May the caller do it?
 *   action    "healthlake:StartFHIRExportJob", "iam:PassRole"
 *   resource  ARN of a data store or role; "*" for actions on none (CreateFHIRDatastore,
 *             ListFHIRDatastores)
 *   context   tags and iam:PassedToService, see policy.h; may be NULL
 * ERR_DENIED: "User: <arn> is not authorized to perform: <action> on resource: <resource>
 * because ...". */
MUST_USE err_code auth_allows(const struct auth_caller *caller, sv action, sv resource,
                              const struct policy_context *context, struct err *e);
/* Likewise, and by what it was decided. */
MUST_USE err_code auth_allows_by(const struct auth_caller *caller, sv action, sv resource,
                                 const struct policy_context *context, struct policy_by *by,
                                 struct err *e);

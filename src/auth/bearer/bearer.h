/* bearer.h - who calls with a bearer token, and what does the token give?
 *
 *   bearer_claimed  request -> its token, or none
 *   bearer_known    token -> caller, from memory: never waits
 *   bearer_check    token -> caller; may ask the provider, so a worker calls it
 *
 * A data store names one identity provider: the issuer of its tokens, or a Lambda function of its
 * own. The address of a provider, its keys and its secrets come from a file of the operator alone
 * (providers.h), so no caller can make the server call an address of his choice. A token that
 * cannot be checked is refused.
 * Source: RFC 6750, 7519, 7662, 9068; SMART App Launch 2.2; HealthLake "SMART on FHIR".
 * Floor: auth. */
#pragma once
#include "auth/auth.h"
#include "auth/bearer/providers.h"
#include "codec/hash.h"

struct bearer; /* thread-safe */

/* providers: taken. */
struct bearer *bearer_new(struct providers **providers, sv account_id);
void bearer_free(struct bearer *bearer);
DEFINE_CLEANUP(struct bearer, bearer_free)
/* Those that count now; they live as long as a. */
const struct providers *bearer_providers(struct bearer *bearer, struct arena *a);

/* Looks at providers. What it returns for those just read refuses them. */
typedef err_code (*bearer_providers_fn)(void *ctx, const struct providers *providers,
                                        struct err *e);
/* Shows the providers that count now. Errors of fn. */
MUST_USE err_code bearer_show(struct bearer *bearer, bearer_providers_fn fn, void *ctx,
                              struct err *e);
/* Reads the file and those that it names again, and shows them to check before they count. They
 * count for each request that comes from now on, and nothing that is known of a token stays. On
 * failure those before stay. Errors as providers_load(), and check's. */
MUST_USE err_code bearer_reload(struct bearer *bearer, bearer_providers_fn check, void *ctx,
                                struct err *e);
/* Are the files as they were before they were read? look: as they are now. */
bool bearer_as_read(struct bearer *bearer, unsigned char look[SHA256_LEN]);

/* The token of a request: Authorization: Bearer TOKEN. SV_NONE: it has none. ERR_TOKEN_REQUEST: one
 * in the query or in a form, beside a signature, or in the wrong form.
 *   whole  the body is there, and looked at too */
MUST_USE err_code bearer_claimed(const struct http_request *req, bool whole, sv *out,
                                 struct err *e);

struct bearer_question { /* all borrowed */
    sv token;
    sv datastore_id;
    sv endpoint;                 /* of the data store as its callers know it, no slash behind */
    sv issuer;                   /* of its Metadata; empty: none */
    sv idp_lambda;               /* its IdpLambdaArn; empty: none */
    bool v2;                     /* scopes of version 2 count, beside those of version 1 */
    sv operation;                /* "ReadResource" */
    int64_t now_ms;              /* clock_wall_ms() */
    uint64_t mono_us;            /* clock_mono_us() */
    struct policy_origin origin; /* of the request */
};

/* The caller, if his token was checked lately. *known false: bearer_check() must be asked. Errors
 * as bearer_check(). */
MUST_USE err_code bearer_known(struct bearer *bearer, struct arena *a,
                               const struct bearer_question *q, bool *known,
                               struct auth_caller *out, struct err *e);
/* The caller, with his grant; all of it is owned by the arena, which holds the credential too. The
 * context of an error says which check failed, for the log; the message does not.
 * ERR_AUTH_SIGNATURE   the token is not good here
 * ERR_AUTH_EXPIRED     it was
 * ERR_DENIED           it gives no access to resources
 * ERR_UNAVAILABLE      its provider does not answer, or not as it should
 * ERR_TOO_LARGE        the arena is full */
MUST_USE err_code bearer_check(struct bearer *bearer, struct arena *a,
                               const struct bearer_question *q, struct auth_caller *out,
                               struct err *e);

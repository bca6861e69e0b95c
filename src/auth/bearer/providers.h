/* providers.h - the identity providers that the operator knows: a file in sections, as the
 * credentials file.
 *
 *   [issuer https://as.example]           the iss of tokens, and Metadata's issuer; exactly
 *   jwks_uri = https://as.example/jwks    its keys; or
 *   jwks_file = keys.json                 the same, a file beside this one
 *   introspection_endpoint = https://...  asked about tokens that are no JWT, or about all
 *   client_id = fhirlake                  with these
 *   client_secret = ...
 *   algorithms = RS384 ES384              optional: the ten of codec/jose
 *   audience = https://fhir.example/r4    optional, several by blanks: the data store's endpoint
 *   patient_claim = patient               optional
 *   fhir_user_claim = fhirUser            optional
 *   role = arn:aws:iam::000000000000:role/smart     a section below
 *
 *   [lambda arn:aws:lambda:us-east-1:000000000000:function:idp]
 *   url = http://127.0.0.1:9001/          asked in place of the function
 *
 *   [role arn:aws:iam::000000000000:role/smart]
 *   policy = smart.json                   what its tokens may do at most: an IAM policy beside this
 *
 * URLs are https, or http to loopback. The file holds secrets: others may neither read nor change
 * it. Unknown keys are refused. Limits: PROVIDERS_MAX_BYTES, PROVIDERS_MAX.   Floor: auth. */
#pragma once
#include "auth/credentials.h"

#define PROVIDERS_MAX_BYTES (1u << 20)
#define PROVIDERS_MAX       100u /* sections */

struct providers; /* immutable, but for what is kept of their answers (bearer.h) */

/* Reads the file, and the files that it names; the caller frees it with providers_free(). Errors as
 * credentials_load(). The message names section and line, never a value of a secret. */
MUST_USE err_code providers_load(const char *path, struct providers **out, struct err *e);
void providers_free(struct providers *providers);
DEFINE_CLEANUP(struct providers, providers_free)

/* Is there a section for the provider that a data store names? idp_lambda wins. ERR_INVALID says
 * what to add to the file.
 *   providers  NULL: there is no file */
MUST_USE err_code providers_check(const struct providers *providers, sv issuer, sv idp_lambda,
                                  struct err *e);
/* A section whose tokens are held against the data store's endpoint, as no audience is given for
 * them; SV_NONE: there is none. */
sv providers_by_endpoint(const struct providers *providers);
/* How many issuers, functions and roles it names. */
size_t providers_count(const struct providers *providers);
/* A role whose policy might allow the action on some resource; SV_NONE: there is none. */
sv providers_role_could(const struct providers *providers, sv action);
/* How often a provider was asked, and how often it gave no answer of use: for a monitor. Calls fn
 * for each provider that is asked for keys, and for each that is asked about tokens.
 *   name  as the file says it; borrowed */
struct providers_asked {
    sv name;
    bool keys; /* else about tokens */
    uint64_t good, bad;
};
typedef void (*providers_asked_fn)(void *ctx, const struct providers_asked *asked);
void providers_tell_asked(const struct providers *providers, providers_asked_fn fn, void *ctx);
/* The i-th policy; NULL: there are no more. Borrowed. */
const struct policy *providers_policy(const struct providers *providers, size_t i, sv *out_name);

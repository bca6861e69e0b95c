/* sigv4.h - AWS Signature Version 4, both sides: signing our requests, verifying a caller's.
 * Each stage is callable, so that a test names the stage that broke:
 *   canonical request -> string to sign -> signing key -> signature
 * Pure computation: no clock, no credentials store; the caller passes both. Payloads are hashed by
 * the caller or named UNSIGNED-PAYLOAD.
 * Source: AWS General Reference, "Signature Version 4 signing process".   Floor: codec. */
#pragma once
#include "base/arena.h"
#include "codec/hash.h"

struct sigv4_header {
    sv name, value; /* any case, as received; the value is not trimmed */
};

struct sigv4_request {
    sv method;
    sv path;  /* raw, as on the request line: percent-encoded, begins with '/' */
    sv query; /* raw, without '?'; for the presigned form still with X-Amz-Signature (skipped) */
    const struct sigv4_header *headers;
    size_t n_headers;
    sv payload_hash;         /* hex SHA-256 of the body, or "UNSIGNED-PAYLOAD" */
    bool normalize_path;     /* remove dot segments and double slashes; false for service s3 */
    bool double_encode_path; /* encode the raw path once more; false for service s3 */
};

struct sigv4_scope {
    sv date; /* 8 digits */
    sv region, service;
};

/* signed_headers: lower-case names, sorted, joined by ';'. Strings owned by the arena. */
MUST_USE err_code sigv4_canonical_request(struct arena *a, const struct sigv4_request *req,
                                          sv signed_headers, sv *out, struct err *e);
/* amz_date: "20261123T183000Z" */
MUST_USE err_code sigv4_string_to_sign(struct arena *a, sv amz_date,
                                       const struct sigv4_scope *scope, sv canonical_request,
                                       sv *out, struct err *e);
void sigv4_signing_key(sv secret, const struct sigv4_scope *scope, unsigned char out[32]);
/* 64 lower-case hex characters, no NUL. */
void sigv4_signature(const unsigned char key[32], sv string_to_sign, char out[64]);

/* ---- signing ---- */
struct sigv4_credentials {
    sv access_key_id, secret_key, session_token; /* token may be empty */
};
/* The Authorization header value for req, whose headers must already hold host, x-amz-date and,
 * with a session token, x-amz-security-token; all headers given are signed. *out owned by the
 * arena. */
MUST_USE err_code sigv4_sign(struct arena *a, const struct sigv4_request *req, sv amz_date,
                             const struct sigv4_scope *scope, const struct sigv4_credentials *cred,
                             sv *out_authorization, struct err *e);

/* ---- verifying ---- */
struct sigv4_claim { /* what a request says about its signature; views into the request/arena */
    bool presigned;
    sv access_key_id;
    struct sigv4_scope scope;
    sv amz_date; /* 16 bytes, form checked */
    int64_t date_ms;
    uint32_t expires_s; /* presigned only: 1..604800 */
    sv signed_headers;
    sv signature;     /* 64 lower-case hex characters, form checked */
    sv session_token; /* decoded; empty when absent */
};
/* Read the claim from the Authorization header or the query.
 * ERR_AUTH_MISSING: neither. ERR_AUTH_INCOMPLETE: malformed; the message names the part in AWS's
 * words ("Authorization header requires 'Credential' parameter ..."). Both forms at once are
 * refused. */
MUST_USE err_code sigv4_claim_parse(struct arena *a, const struct sigv4_request *req,
                                    struct sigv4_claim *out, struct err *e);
struct sigv4_expect {
    sv region, service;
    int64_t now_ms;
    int64_t skew_s;
    sv secret_key;
    /* of sigv4_signing_key(secret_key, the claim's scope); NULL: made */
    const struct hash_hmac_key *signing_key;
    sv session_token; /* the credential's own; a request must carry exactly this */
};
/* All but the signature, which is what can be said before a body is there: scope, token, clock
 * window, signed headers (host must be signed, and every x-amz-* header that is present but
 * x-amz-content-sha256 and x-amz-user-agent). ERR_AUTH_EXPIRED, ERR_AUTH_UNKNOWN_KEY (token),
 * ERR_AUTH_SIGNATURE. */
MUST_USE err_code sigv4_precheck(const struct sigv4_request *req, const struct sigv4_claim *claim,
                                 const struct sigv4_expect *expect, struct err *e);
/* Is name among the headers that the claim says are signed? */
bool sigv4_is_signed(const struct sigv4_claim *claim, sv name);
/* sigv4_precheck(), then the signature itself in constant time. A path with runs of slashes may
 * have been signed as it stands or normalised; "x-amz-security-token" may be signed and absent: it
 * counts as empty. Errors as there, ERR_TOO_LARGE. The message holds neither secret, signature nor
 * canonical request. */
MUST_USE err_code sigv4_verify(struct arena *a, const struct sigv4_request *req,
                               const struct sigv4_claim *claim, const struct sigv4_expect *expect,
                               struct err *e);

/* client_token.h - ClientToken: a request that is sent twice is done once.
 *
 * A caller invents a token and sends it with a request that makes a job or a data store. The first
 * request with a token is done. What it made, and the digest of the request, stay in a record under
 * the token's key. A later request with that token gets what the first one made if its digest is
 * the same; with another digest it is refused.
 *
 *   jobtoken/<account>/<kind>/<SHA-256 of the token>  {"datastore", "job", "digest"}
 *   datastoretoken/<caller>/<token>                   {"datastore", "digest"}
 *
 * Whoever makes something writes the token's record in the same batch (RECORDS_PUT_IF_ABSENT): so
 * there is never one without the other, and of two requests at a time one comes first. Keys,
 * records and digests are in data folders of older releases: they never change.
 * Source: HealthLake service model, ClientTokenString.   Floor: job. */
#pragma once
#include "base/arena.h"
#include "store/records.h"

struct client_token {
    sv datastore_id;
    sv job_id; /* empty: the request made the data store itself */
    sv digest; /* of the request, 64 lower-case hexadecimal digits */
};

/* The digest of a request: SHA-256 of a text with all that it asks for, but not the token. Owned by
 * the arena. ERR_TOO_LARGE. (A job's digest is made of parts: job_token_digest().) */
MUST_USE err_code client_token_digest(struct arena *a, sv request, sv *out, struct err *e);

/* The record as JSON text, owned by the arena; and back. Views of the result are owned by the
 * arena. ERR_CORRUPT, ERR_TOO_LARGE. */
MUST_USE err_code client_token_print(const struct client_token *token, struct arena *a, sv *out,
                                     struct err *e);
MUST_USE err_code client_token_parse(sv json, struct arena *a, struct client_token *out,
                                     struct err *e);

/* The record under a key. ERR_NOT_FOUND: the token is new. Other errors as above. */
MUST_USE err_code client_token_read(struct records *r, sv key, struct arena *a,
                                    struct client_token *out, struct err *e);

/* Did the first request ask for the same? ERR_INVALID: it did not, in words for the caller.
 *   what  the thing that such requests make: "job", "data store" */
MUST_USE err_code client_token_same(const struct client_token *token, sv digest, const char *what,
                                    struct err *e);

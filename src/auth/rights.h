/* rights.h - may a caller do an operation on a data store, given its tags and those of the request?
 * Floor: auth. */
#pragma once
#include "auth/auth.h"
#include "codec/json.h"

struct rights {
    sv arn;                /* of the data store; "*": the operation is on none */
    bool unknown;          /* there is no such data store */
    yyjson_val *tags;      /* the data store's; NULL: none */
    yyjson_val *sent;      /* Tags of the request; NULL: none */
    yyjson_val *sent_keys; /* TagKeys of the request; NULL: none */
    bool unless_denied;    /* only an explicit deny refuses */
};
/* May the caller do the operation ("DeleteFHIRDatastore")? What is made is owned by the arena.
 * ERR_DENIED as auth_allows(); ERR_TOO_LARGE. */
MUST_USE err_code rights_ask(struct arena *a, const struct auth_caller *who, const char *operation,
                             const struct rights *r, struct err *e);
/* Likewise, and by which statement. */
MUST_USE err_code rights_ask_by(struct arena *a, const struct auth_caller *who,
                                const char *operation, const struct rights *r, struct policy_by *by,
                                struct err *e);

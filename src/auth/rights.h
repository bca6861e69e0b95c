/* rights.h - may a caller do an operation on a data store?   Floor: auth. */
#pragma once
#include "auth/auth.h"
#include "codec/json.h"

struct rights {
    sv arn;                       /* of the data store; "*" for what is on none */
    bool unknown;                 /* there is no such data store */
    yyjson_val *tags;             /* the data store's */
    yyjson_val *sent, *sent_keys; /* Tags and TagKeys of the request */
    bool unless_denied;           /* only an explicit deny refuses */
};
/* May the caller do the operation ("DeleteFHIRDatastore")? ERR_DENIED as auth_allows(). */
MUST_USE err_code rights_ask(struct arena *a, const struct auth_caller *who, const char *operation,
                             const struct rights *r, struct err *e);

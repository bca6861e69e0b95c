/* identity.h - who the callers of a data store are: its IdentityProviderConfiguration.
 * Source: HealthLake service model; SMART App Launch 2.2, "Conformance".   Floor: service. */
#pragma once
#include "auth/bearer/providers.h"
#include "codec/json.h"

#define IDENTITY_METADATA_MAX (64u << 10) /* bytes of Metadata */

struct identity_config { /* texts are owned by the arena into which it was read */
    bool smart;          /* access tokens are taken, beside signatures */
    bool own;            /* our own token endpoint gives them: there is no Metadata */
    bool v2;             /* scopes of version 2 count: the strategy and a capability say so */
    sv issuer;           /* Metadata's; empty: none */
    sv lambda;           /* IdpLambdaArn; empty: none */
    sv metadata;         /* JSON, as it was given; empty: our own endpoint */
    yyjson_val *told;    /* the same, read; NULL: it cannot be read */
};
/* What an IdentityProviderConfiguration says; given: NULL: AWS_AUTH. Of one that is damaged, less
 * is said, and fewer tokens are good. */
void identity_read(struct arena *a, yyjson_val *given, struct identity_config *out);

/* May a data store have it? ERR_INVALID names the member, and what would be right.
 *   providers  those that the operator knows; NULL: none */
MUST_USE err_code identity_check(struct arena *a, yyjson_val *given,
                                 const struct providers *providers, struct err *e);
/* Likewise of one that relies on our own token endpoint (own): there is one, or not. */
MUST_USE err_code identity_check_own(bool offered, struct err *e);

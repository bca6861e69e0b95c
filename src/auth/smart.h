/* smart.h - what an access token of SMART on FHIR gives: scopes, and the launch context.
 *
 *   patient/Observation.rs   level / type . letters
 *
 * Source: SMART App Launch 2.2, "Scopes and Launch Context".   Floor: auth. */
#pragma once
#include "base/arena.h"

enum smart_level { SMART_PATIENT, SMART_USER, SMART_SYSTEM };
/* create; read, vread, history of an instance; update and patch; delete; searches, and histories of
 * types and of the system */
enum smart_letter { SMART_C = 1, SMART_R = 2, SMART_U = 4, SMART_D = 8, SMART_S = 16 };

struct smart_pair {
    sv name, value; /* percent-decoded once */
};
struct smart_scope {
    enum smart_level level;
    sv type;                        /* "Patient"; empty: every type */
    unsigned letters;               /* of enum smart_letter */
    const struct smart_pair *pairs; /* all must hold */
    size_t n_pairs;
};
struct smart_grant { /* what one token gives; lives in the request's arena */
    const struct smart_scope *scopes;
    size_t n_scopes;
    sv patient;            /* bare id of the launch context; empty: none */
    sv user_type, user_id; /* fhirUser within this data store ("Practitioner", "p1"); empty: none */
    /* for audit, and for who may see a job */
    sv issuer, client_id, subject, token_id;
};

/* Reads the scopes of a token. Those that give no access to resources are skipped: openid, launch,
 * and what is no scope at all. *out is owned by the arena. ERR_TOO_LARGE. */
MUST_USE err_code smart_scopes_read(sv text, struct arena *a, const struct smart_scope **out,
                                    size_t *n, struct err *e);

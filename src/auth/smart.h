/* smart.h - what the scopes of a SMART token say: its grammar, and what one token gives.
 *
 *   scope = ("patient" | "user" | "system") "/" (Type | "*") "." (v1 | v2)
 *   v1    = "read" | "write" | "*"
 *   v2    = ["c"]["r"]["u"]["d"]["s"] ["?" name "=" value *("&" name "=" value)]
 *
 * A scope that is none of these gives nothing: `openid`, `launch/patient`, letters in another
 * order, a v1 scope with a query, a query with modifiers, chains or _has. To read such a scope for
 * less than it says would give more than somebody agreed to. Which resources a scope means is
 * decided in query/grant.h.
 * Source: SMART App Launch 2.2, "Scopes for requesting FHIR Resources".
 * Limits: SMART_*.   Floor: auth. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#define SMART_TEXT_MAX   (16u << 10) /* bytes of a token's scopes */
#define SMART_SCOPES_MAX 200u        /* that give something */
#define SMART_PAIRS_MAX  10u         /* of one scope's query */

enum smart_level { SMART_PATIENT, SMART_USER, SMART_SYSTEM };
/* create; read, vread and the history of an instance; update and patch; delete; searches, and the
 * histories of a type and of the system */
enum smart_letter { SMART_C = 1, SMART_R = 2, SMART_U = 4, SMART_D = 8, SMART_S = 16 };
#define SMART_N_LETTERS 5u

struct smart_pair { /* decoded once */
    sv name, value;
};
struct smart_scope {
    enum smart_level level;
    sv type;                        /* "Patient"; empty: every type */
    unsigned letters;               /* of enum smart_letter */
    const struct smart_pair *pairs; /* all must hold */
    size_t n_pairs;
};
/* What one token gives. It lives in the request's arena. */
struct smart_grant {
    const struct smart_scope *scopes;
    size_t n_scopes;
    sv patient;            /* bare id of the launch context; empty: none */
    sv user_type, user_id; /* fhirUser within this data store ("Practitioner", "p1"); empty: none */
    /* for the audit log, and for who may see a job */
    sv issuer, client_id, subject, token_id;
};

/* Read a token's scopes. Those that give nothing are left out. The list is the arena's; its texts
 * are the arena's or views of text. ERR_TOO_LARGE: past a limit, or the arena is full. */
MUST_USE err_code smart_scopes_read(sv text, struct arena *a, const struct smart_scope **out,
                                    size_t *n, struct err *e);
/* One scope. *good: it gives something, and is in *out. Texts as above. ERR_TOO_LARGE. */
MUST_USE err_code smart_scope_read(sv text, struct arena *a, struct smart_scope *out, bool *good,
                                   struct err *e);
/* The scope in its v2 form, appended; reading it gives the scope again. ERR_TOO_LARGE. */
MUST_USE err_code smart_scope_write(const struct smart_scope *scope, struct buf *out,
                                    struct err *e);

/* grant_private.h - what the scopes of the caller's token give, asked by every interaction.
 *
 * A call without a grant (signed with SigV4) is limited by its policy alone; then every question
 * here is answered yes, at no cost. Letters are those of auth/smart.h.
 *
 *   rest_grant_allows()   before the call: does it give anything of the type at all? else 403
 *   rest_query_source()   within a search: what it does not give is not there
 *   rest_sees() ...       of one version: what it does not give is not there, 404
 *   rest_may_change()     of what a write finds
 *   rest_may_store()      of what a write leaves
 *
 * Source: SMART App Launch 2.2; the table of docs/smart.md.   Floor: rest. */
#pragma once
#include "query/grant.h"
#include "rest/call_private.h"

/* What an interaction needs. It is a row for each name of the table of interactions; one without a
 * row needs what no token gives. */
struct rest_need {
    const char *interaction;
    enum rest_need_of {
        REST_NEEDS_NOTHING, /* it shows nothing that is stored, or its parts are asked for */
        REST_NEEDS_TYPE,    /* all of the letters, of the type in the path */
        REST_NEEDS_EITHER,  /* one of the letters, of the type in the path */
        REST_NEEDS_MEMBER,  /* of the type of the members of a compartment, or of any */
        REST_NEEDS_ANY,     /* of any type */
    } of;
    unsigned letters;
};
extern const struct rest_need rest_needs[];
extern const size_t rest_n_needs;

/* Make call->grant of call->caller.grant, in a. ERR_TOO_LARGE. */
MUST_USE err_code rest_grant_open(struct rest_call *call, struct arena *a, struct err *e);
/* Does it give anything of what the route asks for? ERR_DENIED. */
MUST_USE err_code rest_grant_allows(const struct rest_call *call, struct err *e);
/* Does it give only some of the type's resources under the letters, or none? */
bool rest_grant_limits(const struct rest_call *call, fhir_type type, unsigned letters);
/* A text that two calls share when the same client may see the same; empty without a grant. Owned
 * by the call's arena. */
MUST_USE err_code rest_grant_mark(const struct rest_call *call, sv *out, struct err *e);

/* May the caller see this version, by its content? A deletion has that of the version before it.
 * It must have been read by the store of the call. ERR_TIMEOUT, ERR_CANCELLED. */
MUST_USE err_code rest_sees(const struct rest_call *call, unsigned letters,
                            const struct store_version *v, bool *sees, struct err *e);
/* The same, and the resource as it is now for the call: what was taken out of a scope is not to be
 * read in its history. */
MUST_USE err_code rest_sees_now(const struct rest_call *call, unsigned letters,
                                const struct store_version *v, bool *sees, struct err *e);
/* Of a version whose tree is at hand. */
MUST_USE err_code rest_sees_match(const struct rest_call *call, unsigned letters,
                                  const struct query_match *m, bool *sees, struct err *e);
/* May the caller change or delete what is there? ERR_DENIED: he may see it, and not that.
 * ERR_NOT_FOUND: for him it is not there. */
MUST_USE err_code rest_may_change(const struct rest_call *call, unsigned letter,
                                  const struct store_version *v, struct err *e);
/* May the caller store a resource of this content under this id? ERR_DENIED. */
MUST_USE err_code rest_may_store(const struct rest_call *call, unsigned letter, fhir_type type,
                                 sv id, yyjson_val *root, struct err *e);

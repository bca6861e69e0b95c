/* condition_private.h - what a write depends on: headers, and what a search finds.
 *
 *   precondition.c   If-Match, If-None-Match, If-Unmodified-Since
 *   conditional.c    If-None-Exist, and a query instead of an id
 *   asked.c          is what a search found still so when the write is committed?
 *
 * Source: FHIR R4 http.html#concurrency, #ccreate, #cond-update, #cond-delete.   Floor: rest. */
#pragma once
#include "rest/call_private.h"

struct rest_pending; /* write_private.h */

/* ---- precondition.c ---- */
struct rest_tags { /* of If-Match or If-None-Match: W/"3", "3" or 3, by comma, or * */
    bool there, any;
    const sv *tags; /* without W/ and quotes */
    size_t n;
};
struct rest_conditions {
    struct rest_tags match, none_match;
    bool dated; /* If-Unmodified-Since: not later than until_ms */
    int64_t until_ms;
};
/* A header's tags, views of text; their list is in a. text SV_NONE: there are none. ERR_INVALID:
 * it is empty, or holds what is no tag. */
MUST_USE err_code rest_tags_read(sv text, const char *name, struct arena *a, struct rest_tags *out,
                                 struct err *e);
/* If-Unmodified-Since as the last millisecond that it covers; false: none, or no date. */
bool rest_unmodified_read(sv text, int64_t *out_ms);
/* Is the version among the tags? */
bool rest_tags_have(const struct rest_tags *t, uint64_t version);
/* The conditions of a write. ERR_INVALID: malformed, contradictory, or (If-None-Exist too) about
 * something else than this write. */
MUST_USE err_code rest_conditions_read(struct rest_call *call, struct rest_conditions *out,
                                       struct err *e);
/* Put the conditions on a write whose resource is known. now: the version that the write was made
 * from, or NULL. ERR_PRECONDITION. */
MUST_USE err_code rest_conditions_apply(struct rest_call *call, const struct store_version *now,
                                        struct rest_pending *pending, struct err *e);

/* A create whose idempotency key has made a resource before: ERR_EXISTS. Which one is told to who
 * may see it, or create its like. */
MUST_USE err_code rest_key_is_used(struct rest_call *call, const struct rest_pending *pending,
                                   struct err *e);

/* ---- conditional.c ---- */
/* rest_params_add() of a query that a write goes by: a part that says nothing is refused. */
MUST_USE err_code rest_condition_add(struct rest_call *call, sv encoded, struct err *e);
/* The search that a conditional write goes by: all of the call's parameters. ERR_INVALID: one of
 * them is no filter. */
MUST_USE err_code rest_condition_query(struct query **out, struct rest_call *call, struct err *e);
/* The only match in the scope; the search is noted in call->asked. *n_out is 0, 1, or 2 for
 * several. id is owned by the call's arena. */
MUST_USE err_code rest_condition_one(struct rest_call *call, const struct query *query,
                                     const struct rest_scope *scope, sv *id, uint64_t *version,
                                     size_t *n_out, struct err *e);
/* Search, then either make the call one with an id, or answer it (pending->has_write is false). */
MUST_USE err_code rest_conditional(struct rest_call *call, struct rest_pending *pending,
                                   struct err *e);

/* ---- asked.c ---- */
struct rest_asked { /* a search, and the only id that it found; empty: it found nothing */
    const struct query *q;
    struct rest_scope scope;
    sv found;
};
struct rest_asked_list { /* in the arena of the calls that asked; zeroed: empty */
    struct rest_asked *items;
    size_t n, cap;
};
/* Does the scope take the resource as not there? scope NULL: it does not. */
bool rest_is_gone(const struct rest_scope *scope, fhir_type type, sv id);
MUST_USE err_code rest_asked_add(struct rest_asked_list *l, struct arena *a,
                                 const struct query *query, const struct rest_scope *scope,
                                 sv found, struct err *e);
/* store_commit() when everything that was asked is still so. *overtaken: it is not, nothing was
 * written, and the searches are to be made again (ERR_CONFLICT). */
MUST_USE err_code rest_commit_asked(struct rest_call *call, const struct rest_asked_list *l,
                                    struct store_write *writes, size_t n, struct store_commit *at,
                                    bool *overtaken, struct err *e);

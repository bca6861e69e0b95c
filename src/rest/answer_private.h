/* answer_private.h - pieces of answers: OperationOutcomes, versions, resources that are large.
 *
 *   outcome.c   issues, and the outcome of an error
 *   version.c   one version of a resource: found, written, named in headers
 *   large.c     resources that are read as a whole although they are large
 *
 * Floor: rest. */
#pragma once
#include "rest/call_private.h"

/* ---- outcome.c ---- */
MUST_USE err_code rest_outcome_write(const struct rest_issue *issues, size_t n, struct buf *out,
                                     struct err *e);
/* One more at the end of a list, which becomes a new one in a. ERR_TOO_LARGE. */
MUST_USE err_code rest_issue_add(struct arena *a, struct rest_issue_list *l,
                                 struct rest_issue issue, struct err *e);
/* Make it the call's only issue. ERR_TOO_LARGE: its arena is full. */
MUST_USE err_code rest_issue_set(struct rest_call *call, struct rest_issue issue, struct err *e);
/* The body of an error: the call's issues when it has some, else the error itself. Returns the
 * status. */
unsigned rest_error(const struct rest_call *call, const struct err *e, struct buf *out);
/* What a write that was done has to tell: its warning and its issues. Nothing to tell: nothing is
 * appended. */
MUST_USE err_code rest_told_write(const struct rest_call *call, struct buf *out, struct err *e);

/* ---- version.c ---- */
/* A version as it is sent, appended. */
MUST_USE err_code rest_version_write(const struct store_version *v, struct buf *out, struct err *e);
/* The answer is about v: ETag and Last-Modified. */
void rest_about(struct rest_call *call, const struct store_version *v);
/* ERR_NOT_FOUND: the resource has no such version, or not for this caller. */
MUST_USE err_code rest_version_unknown(const struct search_id *of, struct err *e);
/* A version of a resource, by its number. Its body is valid until the caller closes *cur; its id
 * is that of `of`. ERR_NOT_FOUND. */
MUST_USE err_code rest_version_find(struct rest_call *call, const struct search_id *of,
                                    uint64_t version, uint64_t as_of_t, struct store_cursor **cur,
                                    struct store_version *out, struct err *e);

/* The version that a write finds: the newest, or in a transaction that of its scope. A deletion is
 * one too. Owned by the call's arena. ERR_NOT_FOUND: there was never one. */
MUST_USE err_code rest_version_before(struct rest_call *call, sv id, struct store_version *out,
                                      struct err *e);
/* The commit that the call's reads see, for the store. */
uint64_t rest_reads_as_of(const struct rest_call *call);
/* ERR_NOT_FOUND: no version of the call's resource was ever there. */
MUST_USE err_code rest_not_known(const struct rest_call *call, struct err *e);

/* ---- large.c ---- */
#define REST_PAGE_FRAME (2u << 20) /* bytes of a page beside its entries */
struct rest_large {                /* zeroed, or made by rest_large_get() */
    struct service *service;
    struct arena *a;
    struct store_version v;
};
/* The whole of a version that came cut. Waits while LIMIT_LARGE_AT_A_TIME are held; a thread holds
 * one at a time. Call rest_large_done() also after an error. */
MUST_USE err_code rest_large_get(struct rest_call *call, const struct store_version *cut,
                                 struct rest_large *out, struct err *e);
/* The same for an answer that is this version alone, or its content. ERR_TOO_LARGE: no answer
 * holds it. */
MUST_USE err_code rest_large_answer(struct rest_call *call, const struct store_version *cut,
                                    bool content, struct rest_large *out, struct err *e);
void rest_large_done(struct rest_large *l);
#define CLEANUP_LARGE __attribute__((cleanup(rest_large_done)))
/* Does the whole of v fit on the page that is being written? */
bool rest_fits(const struct rest_call *call, const struct store_version *v);
/* It does not, but it would fit on a page that holds nothing else. */
bool rest_fits_alone(const struct rest_call *call, const struct store_version *v);
/* A version as a value: whole when the page has room for that, else as it came. */
MUST_USE err_code rest_version_put(struct rest_call *call, const struct store_version *v,
                                   struct json_writer *w, struct err *e);

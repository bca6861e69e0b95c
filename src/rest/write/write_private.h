/* write_private.h - the interactions that write, and the steps of one write.
 *
 *   write.c         create, update, patch, delete
 *   patch.c         the two kinds of patch: what a body makes of a resource
 *   conditional.c   those that go by a search (condition_private.h)
 *   delete.c        the conditional delete of several
 *   validate.c      the levels of validation, and $validate
 *   subscription.c  Subscriptions, which are kept and not served
 *   bundle.c        batches and transactions (bundle_private.h)
 *
 * A write goes in steps, so that a transaction takes each step for all its entries:
 *
 *   rest_identify -> rest_prepare -> the commit -> rest_written, or rest_refused
 *
 * Source: FHIR R4 http.html.   Floor: rest. */
#pragma once
#include "rest/write/condition_private.h"

/* ---- write.c ---- */
#define REST_TRIES     8 /* so often a write is made that others overtake */
#define REST_OVERTAKEN "Resource was modified by another operation. Retry the request."
struct rest_pending { /* a write that is checked and not yet done */
    bool has_write;   /* false: c->out is the answer already */
    bool identified;  /* rest_identify() was done */
    bool guarded;     /* w.condition is ours: when it fails, the write is made again */
    uint64_t matched; /* version of what a conditional write found; 0: none */
    sv body_id;       /* of a conditional update: the id in the body, or empty */
    struct rest_conditions conditions; /* set by the client */
    struct store_write w;
    struct buf stored, index; /* owned: w.body and w.index point into them */
};
void rest_pending_done(struct rest_pending *pending);
/* Which resource is the write about? A conditional form searches for it; call->id is then the id
 * that was found, or a new one. */
MUST_USE err_code rest_identify(struct rest_call *call, struct rest_pending *pending,
                                struct err *e);
/* Check the write and make it ready for a commit. Identifies it when that was not done. */
MUST_USE err_code rest_prepare(struct rest_call *call, struct rest_pending *pending, struct err *e);
/* After the commit: status, headers, body. */
MUST_USE err_code rest_written(struct rest_call *call, const struct rest_pending *pending,
                               const struct store_commit *at, struct err *e);
/* A commit's refusal (rc) in the words of the request. */
MUST_USE err_code rest_refused(struct rest_call *call, const struct rest_pending *pending,
                               err_code rc, struct err *e);
MUST_USE err_code rest_write(struct rest_call *call, struct err *e);

/* ---- patch.c ---- */
/* ERR_MEDIA_TYPE: the body is of a type that no patch has. */
MUST_USE err_code rest_patch_kind(const struct rest_call *call, struct err *e);
/* What the body makes of v, as text. ERR_INVALID: the body is no patch; ERR_UNPROCESSABLE: it
 * cannot be applied; ERR_TOO_LARGE, ERR_TIMEOUT. */
MUST_USE err_code rest_patch_apply(const struct rest_call *call, const struct store_version *v,
                                   struct buf *out, struct err *e);

/* ---- delete.c ---- */
/* ERR_INVALID (_count, If-Match, in a Bundle), ERR_CONFLICT. */
MUST_USE err_code rest_delete_several(struct rest_call *call, struct err *e);

/* ---- subscription.c ---- */
/* A Subscription is about to be stored: set the call's warning. When its status is active, out
 * becomes the text with status off; otherwise out stays empty. */
MUST_USE err_code rest_subscription_take(struct rest_call *call, yyjson_val *root, sv text,
                                         struct buf *out, struct err *e);

/* ---- validate.c ---- */
/* At the call's level. ERR_INVALID, with the faults as the call's issues. Level minimal adds the
 * faults to body, the stored form, which call->a then owns. */
MUST_USE err_code rest_validate_resource(struct rest_call *call, yyjson_val *resource,
                                         fhir_type type, struct fhir_body *body, struct err *e);
MUST_USE err_code rest_validate(struct rest_call *call, struct err *e);

/* ---- bundle.c ---- */
MUST_USE err_code rest_bundle(struct rest_call *call, struct err *e);

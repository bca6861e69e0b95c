/* bundle_private.h - a Bundle of requests at work.
 *
 *   write/bundle.c        reads it, runs a batch, writes the answer
 *   write/bundle_entry.c         makes an entry a call of its own, and writes its part of the
 *                                answer
 *   write/transaction.c   all or nothing: order, identities, one commit
 *   write/bundle_refs.c   links between the entries of a transaction
 *
 * Limits: LIMIT_BUNDLE_*.   Source: FHIR R4 http.html#transaction, bundle.html.   Floor: rest. */
#pragma once
#include "fhir/bundle.h"
#include "rest/write/write_private.h"

struct rest_bundle;
struct query;
struct rest_entry {
    struct rest_bundle *b;
    const struct fhir_bundle_entry *in;
    size_t at;               /* its index in the Bundle */
    struct rest_call call;   /* the call that the entry becomes */
    struct rest_call routed; /* of a transaction: the call before the first attempt */
    struct rest_pending p;
    bool fresh; /* of a transaction: it creates, under an id that was made for it */
    err_code rc;
    struct err e;
    const char *where; /* the element of the entry that e is about: ".request.url", or "" */
};

struct rest_ref { /* a fullUrl, and which entry it stands for */
    sv full_url;
    const struct rest_entry *entry;
};
struct rest_found_ref { /* a conditional reference, and what it found */
    sv text;
    fhir_type type;
    sv id;
};
struct rest_refs {
    struct rest_ref *rows; /* sorted by full_url */
    size_t n;
    /* What conditional references see: all that the transaction removes or replaces is gone. */
    struct rest_scope scope;
    struct rest_found_ref *found; /* sorted by text; LIMIT_BUNDLE_SEARCHES */
    size_t n_found;
};

struct rest_bundle {
    struct rest_call *call; /* the request */
    struct arena *a;        /* holds tree and entries, as long as the request */
    struct arena *work;     /* for one group of a batch, or one attempt of a transaction */
    struct fhir_bundle in;
    struct rest_entry *entries;   /* in.n */
    struct rest_asked_list asked; /* of a transaction: all its searches; the list is in work */
    struct json_writer w;         /* of the answer */
    struct rest_refs refs;
    uint32_t kinds_counted; /* of a transaction: kinds of quota.h that one of its entries passed */
};

/* ---- write/bundle_entry.c ---- */
/* Make the entry a call, whose memory comes from a: find its route, and check the caller's rights.
 * On failure en->where is set. */
MUST_USE err_code rest_entry_open(struct rest_entry *en, struct arena *a, struct err *e);
bool rest_entry_is(const struct rest_entry *entry, const char *method);
/* Write the entry's part of the answer by its rc, out and e, and free what it holds. */
void rest_entry_answer(struct rest_entry *entry);
/* The entry's failure as issues that name the entry, in a. */
MUST_USE err_code rest_entry_issues(struct rest_entry *entry, struct arena *a,
                                    struct rest_issue_list *out, struct err *e);
/* ERR_TIMEOUT once the Bundle's time is over, ERR_CANCELLED once its caller is gone. */
MUST_USE err_code rest_bundle_time(const struct rest_bundle *bundle, struct err *e);

/* ---- write/transaction.c ---- */
MUST_USE err_code rest_transaction(struct rest_bundle *bundle, struct err *e);

/* ---- write/bundle_refs.c ---- */
/* Collect the fullUrls of entries that write. ERR_INVALID: two entries have the same one; *culprit
 * is the second. */
MUST_USE err_code rest_refs_collect(struct rest_bundle *bundle, struct rest_entry **culprit,
                                    struct err *e);
/* Which entries other than `but` store a resource of this type that matches the query? *n of them;
 * *hit is the last, or NULL. */
MUST_USE err_code rest_refs_pending(const struct rest_bundle *bundle, const struct query *query,
                                    fhir_type type, const struct rest_entry *but,
                                    const struct rest_entry **hit, size_t *n, struct err *e);
/* rest_relink_fn of an entry's call. */
MUST_USE err_code rest_relink(struct rest_call *call, sv text, struct buf *buf, sv *out,
                              struct err *e);

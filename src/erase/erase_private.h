/* erase_private.h - what the rooms of an erasure share.
 *
 *   erase.c   a run, from what goes to the end on disk    select.c  which resources go
 *   what.c    what is asked for                           member.c  who belongs to a patient
 *   audit.c   AuditEvents about what goes                 one.c     one resource goes
 * Floor: erase. */
#pragma once
#include "erase/erase.h"
#include "search/search.h"

#define ERASE_RESOURCE_MAX ((size_t)1 << 30) /* one resource, read */

struct erasure {
    struct job_run *run;
    struct erase_what what;
    uint64_t t; /* the commit as of which resources are chosen */
    fhir_type patient, audit_event;
};

/* ---- select.c ---- */
/* Everything that goes is hollow, or deleted, when this succeeds; again is harmless. */
MUST_USE err_code erase_select(struct erasure *x, struct err *e);

/* ---- one.c ---- */
/* One resource, or with t one version: it waits while something else is in the way. */
MUST_USE err_code erase_one(struct erasure *x, store_number number, uint64_t t, struct err *e);
/* A deletion as any other; nothing when it was changed behind the commit. */
MUST_USE err_code erase_soft(struct erasure *x, const struct store_version *v, struct err *e);
/* ERR_CANCELLED: the job is to stop. */
MUST_USE err_code erase_goes_on(const struct erasure *x, struct err *e);
/* Resources of a type with an entry of this reference parameter to a resource, in any version up to
 * the commit. */
typedef err_code (*erase_hit_fn)(struct erasure *x, const struct store_index_hit *hit,
                                 struct err *e);
MUST_USE err_code erase_each_referrer(struct erasure *x, fhir_type type,
                                      const struct search_param *p, const struct search_id *to,
                                      erase_hit_fn fn, struct err *e);

/* ---- audit.c ---- */
/* AuditEvents about a resource go, when they are asked for. */
MUST_USE err_code erase_audit_of(struct erasure *x, fhir_type type, sv id, struct err *e);

/* ---- member.c ---- */
/* A resource that some version of leads to the patient: all of it goes, some versions, or
 * nothing. */
MUST_USE err_code erase_member(struct erasure *x, const struct store_index_hit *hit, struct err *e);
/* Is the time of a version within what is asked for? */
static inline bool erase_in_window(const struct erasure *x, int64_t instant_ms)
{
    return (x->what.from_ms == 0 || instant_ms >= x->what.from_ms) &&
           (x->what.until_ms == 0 || instant_ms < x->what.until_ms);
}

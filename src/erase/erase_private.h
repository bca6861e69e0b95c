/* erase_private.h - what the rooms of an erasure share.
 *
 *   erase.c   a run, from what goes to the end on disk    select.c  which resources go
 *   what.c    what is asked for                           member.c  who belongs to a patient
 *   audit.c   AuditEvents about what goes                 one.c     one resource goes
 *   company.c erasures that wait, done with this one
 * Floor: erase. */
#pragma once
#include "erase/erase.h"
#include "search/search.h"

#define ERASE_RESOURCE_MAX ((size_t)1 << 30) /* one resource, read */

struct erasure {
    struct job_run *run;
    struct erase_what what;
    uint64_t t;      /* the commit as of which resources are chosen */
    char note[48];   /* of the data store: counts of what went */
    uint64_t n_soft; /* resources that are deleted */
    bool tells;      /* what it comes to is this job's progress, and not one's that waits */
    uint64_t told_us;
    fhir_type patient, audit_event;
};

/* ---- select.c ---- */
/* Everything that goes is hollow, or deleted, when this succeeds; again is harmless. */
MUST_USE err_code erase_select(struct erasure *x, struct err *e);

/* ---- one.c ---- */
/* One resource, or with t one version: it waits while something else is in the way. */
MUST_USE err_code erase_one(struct erasure *x, store_number number, uint64_t t, struct err *e);
/* A deletion as any other; nothing when it was changed behind the commit.
 *   gone  it is deleted now, by this run or by what came before it */
MUST_USE err_code erase_soft(struct erasure *x, const struct store_version *v, bool *gone,
                             struct err *e);
/* What the counts come to until now is the job's progress. */
MUST_USE err_code erase_count(struct erasure *x, struct err *e);
/* The same, now and then: something went. */
MUST_USE err_code erase_tell(struct erasure *x, struct err *e);
/* Waits for what tells nobody when it is over. Each look in a database is several statements, so
 * there it waits longer and longer, 1 s at most. *ms: of the wait before this one; 0: none. */
#define ERASE_WAIT_MS      100u
#define ERASE_WAIT_MOST_MS 1000u
static inline unsigned erase_wait_next(unsigned ms, bool asks)
{
    if (ms == 0 || !asks)
        return ERASE_WAIT_MS;
    return 2 * ms < ERASE_WAIT_MOST_MS ? 2 * ms : ERASE_WAIT_MOST_MS;
}
void erase_wait(const struct erasure *x, unsigned *ms);
/* ERR_CANCELLED: the job is to stop. */
MUST_USE err_code erase_goes_on(const struct erasure *x, struct err *e);
/* Resources of a type with an entry of this reference parameter to a resource, in any version up to
 * the commit. */
typedef err_code (*erase_hit_fn)(struct erasure *x, const struct store_index_hit *hit,
                                 struct err *e);
MUST_USE err_code erase_each_referrer(struct erasure *x, fhir_type type,
                                      const struct search_param *p, const struct search_id *to,
                                      erase_hit_fn fn, struct err *e);

/* ---- company.c ---- */
#define ERASE_COMPANY_MOST 64u
struct erase_company { /* strings owned by an arena */
    sv ids[ERASE_COMPANY_MOST];
    size_t n;
};
/* What stands in the place of a text when all was done: of a hard one, and of a soft one, whose
 * count follows. */
#define ERASE_OVER      SV_LIT("erased")
#define ERASE_SOFT_OVER SV_LIT("deleted ")
static inline bool erase_is_over(sv text)
{
    return text.len == 0 || sv_eq(text, ERASE_OVER) || sv_starts(text, ERASE_SOFT_OVER);
}
void erase_note_name(sv job_id, char out[48]);
/* The commit as of which resources are chosen: the job's, or one from now on. */
MUST_USE err_code erase_instant(struct erasure *x, const struct job *job, struct err *e);
/* What waiting erasures ask for is hollow, and *out has those of them whose end comes with this
 * one's. What cannot be done for one is left to it. ERR_CANCELLED, ERR_IO. */
MUST_USE err_code erase_company(struct erasure *x, struct arena *a, struct erase_company *out,
                                struct err *e);

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

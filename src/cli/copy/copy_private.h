/* copy_private.h - what the rooms of `fhirlake copy` share.
 *
 *   copy.c     the command
 *   place.c    a folder or a database, with the system's records of it
 *   look.c     what is to be copied, and what forbids it
 *   records.c  the records of data stores
 * Floor: cli. */
#pragma once
#include "base/arena.h"
#include "store/records.h"
#include "store/store.h"

#include <limits.h>

struct copy_place {
    const char *option; /* "--from" */
    const char *given;
    bool is_remote;
    char stores[PATH_MAX], records_uri[PATH_MAX]; /* URIs. They may hold a password */
    struct records *records;
};
/* Of an option's value. ERR_INVALID. */
MUST_USE err_code copy_place_read(struct copy_place *p, const char *option, const char *given,
                                  struct err *e);
/* Opens its records, which keeps servers away. create: what is not there is made. Messages say
 * which option is meant. */
MUST_USE err_code copy_place_open(struct copy_place *p, bool create, struct err *e);
void copy_place_close(struct copy_place *p);
/* ERR_EXISTS: a server has the database, too. A folder's lock keeps them away. */
MUST_USE err_code copy_place_alone(const struct copy_place *p, struct err *e);
/* Owned by the arena. NULL: it is full. */
const char *copy_place_uri(const struct copy_place *p, struct arena *a, sv id);

struct copy_store {
    sv id, status; /* of the record */
    bool backup;   /* continuous backup is enabled */
    bool kept;     /* deleted, and its data are kept for restores */
    bool has_data; /* it is ACTIVE */
    bool was_done; /* an earlier call has copied and compared it */
};
struct copy_plan {
    struct arena *a;
    struct copy_store *stores; /* by id */
    size_t n;
    bool all;         /* of the source */
    const char *mark; /* of the source; what was compared under another one is compared again */
};
/* ---- look.c ---- */
/* What is to be copied. ids: which data stores; n_ids 0: all. to_remote: to a database.
 * ERR_NOT_FOUND, ERR_CONFLICT (jobs under way, ..), ERR_UNSUPPORTED (encrypted, ..). */
MUST_USE err_code copy_look_from(const struct copy_place *from, bool to_remote,
                                 struct store_env *env, const char *const *ids, size_t n_ids,
                                 struct copy_plan *plan, struct err *e);
/* ERR_EXISTS: the target has one already; ERR_CONFLICT: the half of another copy. */
MUST_USE err_code copy_look_to(const struct copy_place *to, struct store_env *env,
                               struct copy_plan *plan, struct err *e);
MUST_USE bool copy_plan_has(const struct copy_plan *plan, sv id);

/* ---- records.c ---- */
struct copied_records {
    uint64_t n_jobs, n_tokens, n_events, n_unknown;
    char unknown[32]; /* how the first key of which this program knows nothing begins */
};
/* All records of the plan's data stores, that they are there, and that nothing is half copied. */
MUST_USE err_code copy_records(const struct copy_place *from, const struct copy_place *to,
                               const struct copy_plan *plan, struct copied_records *out,
                               struct err *e);

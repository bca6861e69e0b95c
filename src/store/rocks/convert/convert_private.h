/* convert_private.h - what the rooms of the conversion share.
 *
 *   old.c      a data store of layout 3, for reading
 *   replay.c   its commits, made once more in a new data store
 *   check.c    do both hold the same?
 *   places.c   the folders
 *   convert.c  which folder is which, and one in the place of the other
 * Floor: store. */
#pragma once
#include "store/convert.h"
#include "store/rocks/convert/old.h"

#include <limits.h>

#define CONVERT_NEW ".converting"
#define CONVERT_OLD ".old"
struct convert_places {
    char main[PATH_MAX], converting[PATH_MAX], old[PATH_MAX], above[PATH_MAX];
    char restoring[PATH_MAX]; /* of a copy (rocks/copy/copy.c) */
};
/* ERR_INVALID: the path is too long. */
MUST_USE err_code convert_places(const char *place, struct convert_places *p, struct err *e);

struct converting {
    struct old_store old;
    store_convert_fn tell; /* NULL: nobody wants to know */
    void *tell_ctx;
    struct store_converted done;
};
static inline void convert_tell(struct converting *c, store_convert_step step, uint64_t n)
{
    const uint64_t of[] = { [STORE_CONVERT_WRITES] = c->old.last_t,
                            [STORE_CONVERT_COUNTS] = 0,
                            [STORE_CONVERT_CHECKS] = 2 * c->done.n_versions };
    if (c->tell)
        c->tell(c->tell_ctx, &(struct store_converting){ step, n, of[step] });
}

/* All of old into r, which is new and empty. Errors of both. */
MUST_USE err_code replay_all(struct converting *c, struct rocks *r, struct err *e);
/* ERR_CORRUPT: r does not hold what old does. Sums are settled. */
MUST_USE err_code check_all(struct converting *c, struct rocks *r, struct err *e);

/* convert_private.h - what the rooms of the conversion share.
 *
 *   old.c      a data store of layout 3, for reading
 *   replay.c   its commits, made once more in a new data store
 *   check.c    do both hold the same?
 *   convert.c  which folder is which, and one in the place of the other
 * Floor: store. */
#pragma once
#include "store/convert.h"
#include "store/rocks/convert/old.h"

struct converting {
    struct old_store old;
    store_convert_fn tell; /* NULL: nobody wants to know */
    void *tell_ctx;
    struct store_converted done;
};
void convert_tell(struct converting *c, store_convert_step step, uint64_t n);

/* All of old into r, which is new and empty. Errors of both. */
MUST_USE err_code replay_all(struct converting *c, struct rocks *r, struct err *e);
/* ERR_CORRUPT: r does not hold what old does. Sums are settled. */
MUST_USE err_code check_all(struct converting *c, struct rocks *r, struct err *e);

/* again.h - commits of another store made once more in this one, at the instants that they had.
 *
 * Who does so has the store alone: no other call is under way on it, from any process. Commits come
 * in the order of t, so t is what it was. Numbers of resources, loads and blocks are this store's
 * own.   Floor: store. */
#pragma once
#include "store/store.h"

struct store_commit_row {
    uint64_t t;
    int64_t instant_ms;
    bool is_load;
    uint64_t births; /* of a load: the b of the numbers that it gave; 0: of this engine any */
    uint64_t count;  /* versions; some may have been erased since. A commit can have none */
};
/* Commits behind after_t, at most max, in the order of t. */
MUST_USE err_code store_commits(struct store *st, uint64_t after_t, struct store_commit_row *out,
                                size_t max, size_t *n, struct err *e);

struct store_again { /* an online commit; without writes it is one all the same */
    struct store_write *writes;
    size_t n;
    int64_t instant_ms;
    struct store_commit out;
};
#define STORE_AGAIN_MOST 256u /* commits in one call */
/* One after the other, all or none; on disk when it returns. No resource twice among all writes of
 * a call. Errors as store_commit(). ERR_CONFLICT: an instant is in front of the newest one. */
MUST_USE err_code store_again(struct store *st, struct store_again *commits, size_t n,
                              struct err *e);
/* As store_bulk_publish(), of one load that was filled. ERR_CONFLICT as above. */
MUST_USE err_code store_again_load(struct store *st, struct store_bulk **b, int64_t instant_ms,
                                   struct store_commit *out, struct err *e);
/* No later commit gets an instant <= floor_ms (I3). */
MUST_USE err_code store_again_end(struct store *st, int64_t floor_ms, struct err *e);

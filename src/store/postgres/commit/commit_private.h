/* commit_private.h - what the rooms of online commits share.
 *
 *   queue.c   writers in a queue, a leader, a group
 *   commit.c  a group as one transaction; a commit of unknown outcome is resolved
 *   look.c    what is current of the group's resources, their numbers
 *   write.c   the group's rows
 *   array.c   columns of rows as arguments of a statement
 * Floor: store. */
#pragma once
#include "base/rng.h"
#include "store/postgres/commit/array.h"
#include "store/postgres/write_private.h"

#define COMMITTING "writing to the data store"

/* A write and what it meets. */
struct pg_write {
    struct store_write *w;
    struct pg_waiter *of;
    size_t at;           /* its place among the group's writes as they came */
    store_number number; /* 0: it gets one */
    bool has_row;        /* the id has a number */
    uint64_t version;    /* of the current one; 0: there never was one */
    int64_t n;           /* of its row */
    bool deleted;        /* it is a deletion */
    size_t body_len;
};

struct pg_waiter {
    struct pg_waiter *next;
    struct store_write *writes;
    size_t n;
    struct store_still *still; /* NULL: it depends on versions alone */
    char who[37]; /* tells this commit from all others, when it is written a second time */
    const int64_t *again_ms; /* of pg_commit_again(): its instant; NULL: the clock's */
    struct store_commit out;
    err_code rc;
    struct err why;
    bool done;
    pthread_cond_t wake; /* done, or first in the queue with nobody leading */
};

/* Commits of one group, in one transaction. */
struct pg_group {
    struct pg_waiter *first;
    struct pg_write *rows;     /* of all of its waiters, by type and id */
    struct pg_write **as_came; /* the same */
    size_t n;
    bool whole; /* all of its waiters, or none */
    struct pg_clock clock;
};

/* ---- commit.c ---- */
/* Sets rc, why and out of each. whole: all of them are written, or none. */
void pg_write_group(struct pg *p, struct pg_waiter *first, bool whole);

/* ---- look.c ---- all within the group's transaction, the clock row locked */
/* What is current of each row's resource. */
MUST_USE err_code pg_look_current(PGconn *c, struct pg_group *g, struct err *e);
/* Numbers for those that have none, of waiters that are well (I8); pg_write_rows() makes their rows
 * of ids. */
MUST_USE err_code pg_look_numbers(struct pg *p, struct pg_group *g, struct err *e);
/* A load came between with a row of ids for some: its numbers hold. All have a row now. */
MUST_USE err_code pg_look_again(PGconn *c, struct pg_group *g, struct err *e);
/* Loads under way whose numbers the group uses learn of it. */
MUST_USE err_code pg_look_shared(PGconn *c, const struct pg_group *g, struct err *e);
/* There is room in the block of births for so many more of any type; before the transaction. */
MUST_USE err_code pg_look_room(struct pg *p, PGconn *c, size_t n, struct err *e);
/* What the group's commits replace, taken away from the sums. */
MUST_USE err_code pg_look_replaced(PGconn *c, struct pg_group *g, struct tally *t, struct err *e);

/* ---- write.c ---- */
/* Rows of those waiters that are well, whose out is set, what sums grow by, and the clock.
 * *all_new false: some of the new ids have a row by now, and all that was written are rows of the
 * others. */
MUST_USE err_code pg_write_rows(PGconn *c, struct pg_group *g, const struct tally *sums,
                                bool *all_new, struct err *e);

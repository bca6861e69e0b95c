/* copy_private.h - what the rooms of a copy share.
 *
 *   snapshot.c  the files of an open data store, linked into another folder
 *   sums.c      what a data store holds as of a commit
 *   cut.c       what came behind a commit is taken away
 *   copy.c      a copy: a snapshot, cut, compared, put in its place
 * Floor: store. */
#pragma once
#include "store/copy.h"
#include "store/rocks/rocks_private.h"

/* Of the families of r, with the loads that the table has. at: the commit as of which. */
MUST_USE err_code sums_read(const struct rocks *r, const struct load_table *loads,
                            struct store_commit at, const atomic_bool *halt, struct store_sums *out,
                            struct err *e);
/* r, which nobody else uses and which is thrown away unless this succeeds, gets the state of commit
 * t. What r knows in memory is void then: it is to be closed. */
MUST_USE err_code cut_off(struct rocks *r, uint64_t t, const atomic_bool *halt, struct err *e);

/* erase_private.h - what the rooms of an erasure share.
 *
 *   erase.c   versions of one resource become hollow
 *   packs.c   one of them in a pack
 *   sweep.c   search entries of hollow versions go
 *   finish.c  the end: sums, a commit, dead rows
 *   vacuum.c  dead rows leave their pages
 *
 * The table `erasing` has each version that is hollow and may have search entries: its rows are
 * written with the hollow version, and go when nothing of it is in any row, dead ones too.
 * docs/internals/erase.md tells the whole.   Floor: store. */
#pragma once
#include "store/postgres/read_private.h"
#include "store/postgres/write_private.h"

#define ERASING  "erasing a resource"
#define FINISHED "ending an erasure"

/* ---- packs.c ---- */
/* Within a transaction: the birth with this number is hollow. *was: there was one that was not.
 * id: what it had, copied; may be NULL. */
MUST_USE err_code pg_erase_packed(PGconn *c, store_number number, bool *was,
                                  char id[FHIR_ID_MAX + 1], struct err *e);

/* ---- sweep.c ---- */
/* Entries of what stands in `erasing` go. ERR_CANCELLED. */
MUST_USE err_code pg_erase_sweep(PGconn *c, const atomic_bool *halt, struct err *e);

/* ---- vacuum.c ---- */
/* A statement that takes as long as it takes; the answer is the caller's. ERR_CANCELLED: *halt was
 * set, and the connection is cut off. */
MUST_USE err_code pg_run_long(PGconn *c, const char *sql, const char *doing,
                              const atomic_bool *halt, PGresult **out, struct err *e);
/* ERR_CANCELLED, when the lease of a transaction was lost. */
MUST_USE err_code pg_erase_lease(PGconn *c, const struct lease *lease, struct err *e);

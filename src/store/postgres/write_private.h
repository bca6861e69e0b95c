/* write_private.h - what the rooms of a bulk load share.
 *
 *   copy.c         COPY in the binary form
 *   load/ids.c     the numbers of a load's resources
 *   load/rows.c    its rows, sorted, by COPY
 *   load/bulk.c    begin, publish, abort, and the janitor
 *   counts.c       sums
 * Floor: store. */
#pragma once
#include "store/postgres/postgres_private.h"
#include "store/tally.h"

#define PG_LOADING    "writing a bulk load"
#define PG_COPY_BLOCK (64u << 10)

/* ---- copy.c ---- */
struct pg_load_copy {
    PGconn *conn;
    struct buf out; /* what is not sent yet */
};
MUST_USE err_code pg_load_copy_begin(struct pg_load_copy *c, PGconn *conn, const char *sql,
                                     struct err *e);
/* A row of so many fields; so many bytes of values at most. Then exactly as many pg_put_*(). */
MUST_USE err_code pg_load_copy_row(struct pg_load_copy *c, unsigned n_fields, size_t bytes,
                                   struct err *e);
void pg_put_i16(struct pg_load_copy *c, int64_t v);
void pg_put_i32(struct pg_load_copy *c, int64_t v);
void pg_put_i64(struct pg_load_copy *c, int64_t v);
void pg_put_bytes(struct pg_load_copy *c, sv v); /* ptr NULL: NULL */
/* Ends it: with rc, as a failure of what was to be sent. */
MUST_USE err_code pg_load_copy_end(struct pg_load_copy *c, err_code rc, struct err *e);

/* ---- load/ids.c ---- */
struct pg_numbered {
    store_number number;
    struct store_bulk_item *item;
};
/* Items sorted by type and id; each gets its number, and rows are sorted by type and number then.
 * *known: some had a number before. The rows of ids are committed. */
MUST_USE err_code pg_load_numbers(PGconn *conn, uint64_t b, struct store_bulk_item *items, size_t n,
                                  struct pg_numbered *rows, bool *known, struct err *e);

/* ---- load/rows.c ---- */
/* Within the transaction that is open. */
MUST_USE err_code pg_load_rows(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n,
                               struct err *e);

/* ---- counts.c ---- */
/* By load b: -b. */
MUST_USE err_code pg_counts_copy(PGconn *conn, const struct tally *t, int64_t n, struct err *e);

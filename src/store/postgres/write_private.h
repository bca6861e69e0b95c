/* write_private.h - what the rooms of a bulk load share.
 *
 *   copy.c         COPY in the binary form
 *   load/ids.c     the numbers of a load's resources
 *   load/packs.c   its births, many in a row
 *   load/entries.c its search entries
 *   load/rows.c    its other rows, sorted, by COPY
 *   load/bulk.c    begin, publish, abort
 *   load/clear.c   loads that nobody publishes any more go
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

/* ---- load/clear.c ---- */
/* Others wait for a row of open_loads, so whoever is frozen with one is ended soon. */
#define PG_LOAD_ROW_TAKEN "set local idle_in_transaction_session_timeout = '10s'"
/* A load whose lease has passed, if there is one that nobody else is clearing or publishing. */
MUST_USE err_code pg_load_clear_late(PGconn *conn, struct err *e);
/* This one, behind whoever has its row: a load that found it shares a number, a publication whose
 * answer was lost. Of a database that went back another load may have its number. */
MUST_USE err_code pg_load_clear_own(PGconn *conn, const char *load, const char *who, struct err *e);
/* The caller knows that nobody loads, as in store_loads_clear(): connections of nodes that still
 * fill a load are ended. ERR_CANCELLED: the lease is lost. */
MUST_USE err_code pg_load_end_fills(PGconn *conn, const char *schema, const struct lease *lease,
                                    struct err *e);

/* ---- load/ids.c ---- */
struct pg_numbered {
    store_number number;
    struct store_bulk_item *item;
};
/* Items sorted by type and id; each gets its number, and rows are sorted by type and number then.
 * *known: some had a number before. The rows of ids are committed. */
MUST_USE err_code pg_load_numbers(PGconn *conn, uint64_t b, struct store_bulk_item *items, size_t n,
                                  struct pg_numbered *rows, bool *known, struct err *e);

/* ---- load/packs.c ---- */
/* Of resources in a pack: it ends with the one that reaches it. LZ4 packs what is below 64 KiB with
 * a denser table; of larger packs a read by id opens more, for little disk. */
#define PG_PACK_BYTES (56u << 10)
#define PG_PACK_MOST  (16u << 10) /* larger bodies have a row of `versions` */
/* A version of load b that stands in a pack, and so in no row of versions and changes. */
static inline bool pg_is_packed(uint64_t b, const struct pg_numbered *row)
{
    return number_b(row->number) == b && row->item->body.json.len <= PG_PACK_MOST;
}
#define PG_RAW_MOST    (PG_PACK_BYTES + PG_PACK_MOST + FHIR_ID_MAX + 32u)
#define PG_PACKED_MOST (PG_RAW_MOST + PG_RAW_MOST / 255 + 16)
/* What a pack has of one resource, appended. */
MUST_USE err_code pg_pack_put(struct buf *raw, sv id, const struct fhir_body *body, struct err *e);
/* All of it, compressed; at most PG_RAW_MOST bytes. */
MUST_USE err_code pg_pack_close(const struct buf *raw, char packed[PG_PACKED_MOST], size_t *len,
                                struct err *e);
MUST_USE err_code pg_load_packs(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n,
                                struct err *e);

/* ---- load/entries.c ---- */
MUST_USE err_code pg_load_entries(PGconn *conn, uint64_t b, const struct pg_numbered *rows,
                                  size_t n_rows, struct err *e);

/* ---- load/rows.c ---- */
/* Within the transaction that is open. */
MUST_USE err_code pg_load_rows(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n,
                               struct err *e);

/* ---- counts.c ---- */
/* Of a row of counts: it is of a commit, or of a load that was published. */
#define PG_COUNTS_NOW \
    "(n >= 0 or exists (select 1 from commits c where c.load = -counts.n and c.load > 0))"
/* By load b: -b. In a transaction that has no row that others wait for: a COPY whose client is
 * frozen is ended by no deadline of the server. */
MUST_USE err_code pg_counts_copy(PGconn *conn, const struct tally *t, int64_t n, struct err *e);
/* The same in any transaction, as of commit n; 0: in front of all. */
MUST_USE err_code pg_counts_add(PGconn *conn, const struct tally *t, int64_t n, const char *doing,
                                struct err *e);
/* Its rows as columns, which are not ended. */
struct pg_array;
MUST_USE err_code pg_counts_columns(const struct tally *t, struct pg_array *keys,
                                    struct pg_array *deltas, struct err *e);

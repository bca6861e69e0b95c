/* system_private.h - what the rooms of the system's schema share.
 *
 *   layout.c   its tables, and the steps from older ones
 *   records.c  records                               leases.c   leases
 *   member.c   this process among those of the database
 * Floor: store. */
#pragma once
#include "store/postgres/read_private.h"

#define PG_SYSTEM_LAYOUT 2

struct pg_records {
    struct records base;
    struct pg_pool *pool;
    char schema[PG_SCHEMA_MAX];
    struct pg_member *member; /* NULL: opened to be read */
    bool to_read;             /* nothing is written */
    atomic_uint n_written;    /* batches */
};

/* ---- layout.c ---- */
/* The tables, made or brought to this layout under a lock; the connection's search_path is the
 * schema. to_read: they are there, and stay. ERR_NOT_FOUND; ERR_DENIED: a right is missing, and the
 * message names roles; ERR_UNSUPPORTED: of a layout that this program does not know. */
MUST_USE err_code pg_system_open(PGconn *c, const char *schema, bool to_read, struct err *e);

/* ---- records.c ---- */
/* All writes as one transaction. epoch: of a lease that it is written under, else 0. ERR_CONFLICT:
 * that is held no more. */
MUST_USE err_code pg_records_write(struct pg_records *r, uint64_t epoch,
                                   const struct records_write *w, size_t n, bool synced,
                                   struct err *e);

/* ---- leases.c ---- */
extern const struct lease_ops pg_lease_ops;

/* ---- member.c ---- */
/* It stands in `nodes` from now on. ERR_UNAVAILABLE, ERR_IO. */
MUST_USE err_code pg_member_join(const char *conninfo, const char *schema, struct pg_member **out,
                                 struct err *e);
void pg_member_leave(struct pg_member *m); /* NULL is allowed */
void pg_member_on_told(struct pg_member *m, records_told_fn told, void *ctx);
bool pg_member_reaches(const struct pg_member *m);
void pg_tell(struct records *base, sv word);
err_code pg_nodes(struct records *base, node_each_fn each, void *ctx, struct err *e);

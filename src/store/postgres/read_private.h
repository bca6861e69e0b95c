/* read_private.h - what the rooms that read many versions share.
 *
 *   loads.c    the table of published loads
 *   parts.c    bodies of more than PG_WHOLE bytes
 *   rows.c     rows of an answer as versions
 *   packs.c    many versions of a load in one row
 *   read.c     one resource, histories
 *   scan.c     a range
 *   listed.c   some numbers
 *   cursor.c   cursors: a range, some numbers, a history
 *   changes.c  who changed, the log
 *   plan.c     numbers cut into ranges
 *   entries.c  a walk over search entries
 * Floor: store. */
#pragma once
#include "store/postgres/postgres_private.h"

#define READING "reading the data store"

/* As the database has it: no number is as large as the largest that it can hold. */
static inline store_number pg_number(store_number n)
{
    return n > INT64_MAX ? INT64_MAX : n;
}

/* Rows of the next batch, behind one of so many: few at first, for who reads few. */
static inline int pg_batch_next(int rows, int most)
{
    return rows < most / 4 ? rows * 4 : most;
}

/* ---- loads.c ---- */
struct pg_load {
    uint64_t b, t;
    int64_t instant_ms;
};
/* NULL: it is not published as far as the table goes. */
const struct pg_load *pg_load_find(const struct pg_loads *l, uint64_t b);
/* Those with after_t < t <= upto_t, negative, as PostgreSQL writes an array; appended. */
MUST_USE err_code pg_loads_between(const struct pg_loads *l, uint64_t after_t, uint64_t upto_t,
                                   struct buf *out, struct err *e);

/* ---- rows.c ---- */
/* Of a table or an alias v. */
#define PG_VERSION_COLS "v.number, v.n, " PG_MORE_COLS
#define PG_MORE_COLS \
    "v.id, v.method, v.version, v.instant_ms, v.hole_at, v.hole, v.body_len, v.body"
/* Of a version that stands in a row of its own or in a pack k. */
#define PG_PACKED_COLS PG_MORE_COLS ", k.first, k.count, k.raw_len, k.body"
#define PG_PACKED_N    14 /* columns, with number and n in front */
/* The method, in the database, of a version that was erased: its id is empty, and method is DELETE
 * where it is read. In a pack the length of the id is 0. */
#define PG_HOLLOW 100
struct pg_row {
    store_number number;
    int64_t n;
    sv id;
    store_method method;
    bool erased;           /* it is no version: as of its commit there is nothing */
    uint64_t version;      /* of an online one */
    int64_t instant_ms;    /* of an online one */
    struct fhir_body body; /* json.ptr NULL: it stands in parts; json.len is right */
};
/* The columns of a binary answer from `col` on. Views are the answer's. */
void pg_row_read(const PGresult *r, int row, int col, struct pg_row *out);

/* ---- packs.c ----
 * A row of `packs` has the births of one load and type with the numbers first to first + count - 1,
 * so it also says who changed. Its body is LZ4 of raw_len bytes: of each resource the length of its
 * id, the id, the hole (a byte) and its place, the length of the JSON, the JSON. Lengths and places
 * are varints. n of such a version is minus the b of its number. One that was erased has no id and
 * no JSON. */
struct pg_pack {
    store_number first; /* 0: none is open */
    store_number next;
    uint32_t count;
    size_t at;
    struct buf raw;
};
void pg_pack_done(struct pg_pack *k);
/* Columns first, count, raw_len, body of a row, from `col` on. */
MUST_USE err_code pg_pack_open(struct pg_pack *k, const PGresult *r, int row, int col,
                               struct err *e);
/* Views are the pack's, until another one is opened. ERR_EOF; ERR_CORRUPT. */
MUST_USE err_code pg_pack_next(struct pg_pack *k, struct pg_row *out, struct err *e);

/* One of its resources; it must begin with the number first. */
MUST_USE err_code pg_pack_find(struct pg_pack *k, store_number number, store_number first,
                               struct pg_row *out, struct err *e);

/* The packs of a range, one resource after the other. */
struct pg_packs {
    fhir_type type;
    store_number from, to; /* to 0: to the end of the type */
    store_number begin;    /* from, as it was at first */
    PGresult *rows;
    int at, batch;
    bool end;
    struct pg_pack open;
    bool peeked;
    struct pg_row row;
};
void pg_packs_done(struct pg_packs *s);
/* The next resource whose load is published, wherever its t is. Its views last until the next
 * call behind peeked = false. ERR_EOF. */
struct pg_cursor;
MUST_USE err_code pg_packs_peek(struct pg_packs *s, struct pg_cursor *c, struct err *e);

/* ---- cursor.c ---- */
struct pg_cursor {
    struct store_cursor base;
    struct pg *p;
    fhir_type type;
    uint64_t as_of;
    uint64_t mark; /* of as_of, once a standby is asked */
    struct pg_loads *loads;
    err_code (*next)(struct pg_cursor *c, struct store_version *out, struct err *e);
    PGresult *rows; /* of the batch under way; what was given last lies there */
    int at;
    bool end;                          /* no batch follows */
    struct buf whole;                  /* a body that was put together, or is cut */
    struct pg_pack pack;               /* that was opened last */
    bool alone;                        /* inside the giant's place */
    void *own;                         /* of this kind of cursor; freed with it */
    void (*done)(struct pg_cursor *c); /* what own holds; NULL: nothing */
};
struct pg_cursor *pg_cursor_new(struct pg *p, fhir_type type, size_t own_bytes);
/* The commit and the table that it reads by. */
MUST_USE err_code pg_cursor_as_of(struct pg_cursor *c, uint64_t as_of_t, struct err *e);
/* Rows from a standby where that may be and can, else from the primary by a connection of that role
 * (link/standby.c). */
MUST_USE err_code pg_cursor_ask(struct pg_cursor *c, pg_role role, const char *sql, int n_args,
                                const char *const *args, PGresult **out, struct err *e);
/* A row of an answer with number, n, PG_PACKED_COLS from `col` on. A pack that is NULL is the one
 * that was opened last. ERR_CORRUPT: the version is not there. */
MUST_USE err_code pg_cursor_row(struct pg_cursor *c, const PGresult *r, int row, int col,
                                struct pg_row *out, struct err *e);
/* The body of a row where the cursor's user wants it: light, in its place, as a giant. Fills
 * out->body, left_out, placed. */
MUST_USE err_code pg_cursor_body(struct pg_cursor *c, const struct pg_row *row,
                                 struct store_version *out, struct err *e);
/* Of these numbers, each with a version as of the cursor's commit; taken. */
MUST_USE err_code pg_listed(struct pg *p, fhir_type type, struct buf *numbers, uint64_t as_of_t,
                            struct store_cursor **out, struct err *e);
/* Of a range, what changed in (after_t, as_of_t], found by reading all of it. */
MUST_USE err_code pg_scan_changed(struct pg *p, const struct store_range *range, uint64_t after_t,
                                  uint64_t as_of_t, struct store_cursor **out, struct err *e);

/* ---- copy.c ---- */
/* The answer of a COPY to the client in the binary form, row by row. */
struct pg_copy {
    PGconn *conn;
    char *row;
    size_t len, at;
    bool begun, over;
};
MUST_USE err_code pg_copy_out(struct pg_copy *c, PGconn *conn, const char *sql, struct err *e);
/* ERR_EOF at the end. */
MUST_USE err_code pg_copy_next(struct pg_copy *c, struct err *e);
int64_t pg_copy_i64(struct pg_copy *c); /* the next field of the row */
/* What was not read is dropped, with the connection. */
void pg_copy_close(struct pg_copy *c);

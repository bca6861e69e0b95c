/* read_private.h - what the rooms that read many versions share.
 *
 *   loads.c    the table of published loads
 *   parts.c    bodies of more than PG_WHOLE bytes
 *   rows.c     rows of an answer as versions
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
#define PG_VERSION_COLS                                                                       \
    "v.number, v.n, v.id, v.method, v.version, v.instant_ms, v.hole_at, v.hole, v.body_len, " \
    "v.body"
struct pg_row {
    store_number number;
    int64_t n;
    sv id;
    store_method method;
    uint64_t version;      /* of an online one */
    int64_t instant_ms;    /* of an online one */
    struct fhir_body body; /* json.ptr NULL: it stands in parts; json.len is right */
};
/* The columns of a binary answer from `col` on. Views are the answer's. */
void pg_row_read(const PGresult *r, int row, int col, struct pg_row *out);

/* ---- cursor.c ---- */
struct pg_cursor {
    struct store_cursor base;
    struct pg *p;
    fhir_type type;
    uint64_t as_of;
    struct pg_loads *loads;
    err_code (*next)(struct pg_cursor *c, struct store_version *out, struct err *e);
    PGresult *rows; /* of the batch under way; what was given last lies there */
    int at;
    bool end;                          /* no batch follows */
    struct buf whole;                  /* a body that was put together, or is cut */
    bool alone;                        /* inside the giant's place */
    void *own;                         /* of this kind of cursor; freed with it */
    void (*done)(struct pg_cursor *c); /* what own holds; NULL: nothing */
};
struct pg_cursor *pg_cursor_new(struct pg *p, fhir_type type, size_t own_bytes);
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

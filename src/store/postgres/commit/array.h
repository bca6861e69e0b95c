/* array.h - columns of rows as arrays in PostgreSQL's binary form.   Floor: store. */
#pragma once
#include "store/postgres/postgres_private.h"

/* Elements by the object id of their type. Source: PostgreSQL 15, pg_type.dat. */
typedef enum { PG_BYTEA = 17, PG_INT8 = 20, PG_INT2 = 21, PG_INT4 = 23, PG_TEXT = 25 } pg_element;

struct pg_array {
    struct buf b;
    pg_element of;
    uint32_t n;
    bool nulls;
};
void pg_array_init(struct pg_array *a, pg_element of, size_t max_bytes);
void pg_array_done(struct pg_array *a);
MUST_USE err_code pg_array_add_int(struct pg_array *a, int64_t v, struct err *e);
MUST_USE err_code pg_array_add(struct pg_array *a, sv v, struct err *e); /* ptr NULL: NULL */
/* b is what a statement takes. Nothing can be added any more. */
MUST_USE err_code pg_array_end(struct pg_array *a, struct err *e);
/* A bigint that is no array, as an argument. */
#define PG_SINGLE 8u
void pg_single(char dst[PG_SINGLE], int64_t v);
/* As pg_ask(), with arguments that are binary, all of them. */
#define PG_ARGS_MOST 32u
MUST_USE err_code pg_ask_binary(PGconn *c, const char *sql, unsigned n, const sv *args,
                                const char *doing, PGresult **out, struct err *e);

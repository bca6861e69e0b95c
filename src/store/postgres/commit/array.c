/* array.c - columns of rows as arrays in PostgreSQL's binary form, so that one statement writes the
 * rows of many.
 *
 * An array is: number of dimensions, whether there are NULLs, type of its elements, and of its one
 * dimension the length and the first index; then each element with its length in front, -1 for
 * NULL. All are four bytes, big endian. One without elements has no dimension.
 * Source: PostgreSQL 15, array_recv() in src/backend/utils/adt/arrayfuncs.c. */
#include "store/postgres/commit/array.h"

#define ARRAY_HEAD 20u
#define EMPTY_HEAD 12u

static void put(char *dst, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        dst[i] = (char)(v >> (8 * (bytes - 1 - i)));
}

void pg_single(char dst[PG_SINGLE], int64_t v)
{
    put(dst, (uint64_t)v, PG_SINGLE);
}

void pg_array_init(struct pg_array *a, pg_element of, size_t max_bytes)
{
    *a = (struct pg_array){ .of = of, .b = BUF_INIT(max_bytes + ARRAY_HEAD) };
}

void pg_array_done(struct pg_array *a)
{
    buf_done(&a->b);
}

static err_code room(struct pg_array *a, size_t bytes, struct err *e)
{
    if (a->b.len == 0) {
        TRY(buf_reserve(&a->b, ARRAY_HEAD, e));
        memset(a->b.ptr, 0, ARRAY_HEAD);
        a->b.len = ARRAY_HEAD;
    }
    return buf_reserve(&a->b, 4 + bytes, e);
}

err_code pg_array_add_int(struct pg_array *a, int64_t v, struct err *e)
{
    const unsigned bytes = a->of == PG_INT2 ? 2 : a->of == PG_INT4 ? 4 : 8;
    TRY(room(a, bytes, e));
    put(a->b.ptr + a->b.len, bytes, 4);
    put(a->b.ptr + a->b.len + 4, (uint64_t)v, bytes);
    a->b.len += 4 + bytes;
    a->n++;
    return ERR_OK;
}

err_code pg_array_add(struct pg_array *a, sv v, struct err *e)
{
    TRY(room(a, v.len, e));
    put(a->b.ptr + a->b.len, v.ptr ? v.len : UINT32_MAX, 4);
    a->b.len += 4;
    if (v.ptr && v.len) {
        memcpy(a->b.ptr + a->b.len, v.ptr, v.len);
        a->b.len += v.len;
    }
    a->nulls |= v.ptr == NULL;
    a->n++;
    return ERR_OK;
}

err_code pg_array_end(struct pg_array *a, struct err *e)
{
    TRY(room(a, 0, e));
    put(a->b.ptr, a->n ? 1 : 0, 4);
    put(a->b.ptr + 4, a->nulls, 4);
    put(a->b.ptr + 8, a->of, 4);
    put(a->b.ptr + 12, a->n, 4);
    put(a->b.ptr + 16, 1, 4);
    if (a->n == 0)
        a->b.len = EMPTY_HEAD;
    return ERR_OK;
}

err_code pg_ask_binary(PGconn *c, const char *sql, unsigned n, const sv *args, const char *doing,
                       PGresult **out, struct err *e)
{
    const char *values[PG_ARGS_MOST];
    int lens[PG_ARGS_MOST], binary[PG_ARGS_MOST];
    assert(n <= PG_ARGS_MOST);
    for (unsigned i = 0; i < n; i++) {
        values[i] = args[i].ptr;
        lens[i] = (int)args[i].len;
        binary[i] = 1;
    }
    return pg_ask_bin(c, sql, (int)n, values, lens, binary, doing, out, e);
}

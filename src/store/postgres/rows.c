/* rows.c - numbers and versions out of a binary answer. */
#include "store/postgres/read_private.h"

int64_t pg_i64(const PGresult *r, int row, int col)
{
    uint64_t v = 0;
    const unsigned char *p = (const unsigned char *)PQgetvalue(r, row, col);
    const int len = PQgetisnull(r, row, col) ? 0 : PQgetlength(r, row, col);
    for (int i = 0; i < len; i++)
        v = v << 8 | p[i];
    /* shorter ones have a sign, too */
    if (len == 2)
        return (int16_t)v;
    return len == 4 ? (int32_t)v : (int64_t)v;
}

sv pg_bytes(const PGresult *r, int row, int col)
{
    return PQgetisnull(r, row, col)
               ? SV_NONE
               : sv_make(PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col));
}

void pg_row_read(const PGresult *r, int row, int col, struct pg_row *out)
{
    const int64_t method = pg_i64(r, row, col + 3);
    sv json = pg_bytes(r, row, col + 9);
    *out =
        (struct pg_row){ .number = (store_number)pg_i64(r, row, col),
                         .n = pg_i64(r, row, col + 1),
                         .id = pg_bytes(r, row, col + 2),
                         .method = method == PG_HOLLOW ? STORE_METHOD_DELETE : (store_method)method,
                         .erased = method == PG_HOLLOW,
                         .version = (uint64_t)pg_i64(r, row, col + 4),
                         .instant_ms = pg_i64(r, row, col + 5),
                         .body = { .json = { json.ptr, (size_t)pg_i64(r, row, col + 8) },
                                   .hole_at = (uint32_t)pg_i64(r, row, col + 6),
                                   .hole = (fhir_hole)pg_i64(r, row, col + 7) } };
}

/* parts.c - bodies of more than PG_WHOLE bytes stand in pieces, beside their version's row.
 *
 * A giant in one row would be in the memory of the server twice, and in libpq's twice more. In
 * pieces neither holds more than one of them, and who passes a version reads none. */
#include "store/postgres/read_private.h"

err_code pg_parts_put(PGconn *c, store_number number, int64_t n, sv json, struct err *e)
{
    uint64_t be_number = __builtin_bswap64(number), be_n = __builtin_bswap64((uint64_t)n);
    for (uint32_t part = 0; (size_t)part * PG_PART < json.len; part++) {
        const sv piece = sv_head(sv_tail(json, (size_t)part * PG_PART), PG_PART);
        const uint32_t be_part = __builtin_bswap32(part);
        const char *args[] = { (const char *)&be_number, (const char *)&be_n,
                               (const char *)&be_part, piece.ptr };
        const int lens[] = { 8, 8, 4, (int)piece.len }, binary[] = { 1, 1, 1, 1 };
        PGresult *r;
        TRY(pg_ask_bin(c,
                       "insert into parts(number, n, part, bytes) "
                       "values ($1::bigint, $2::bigint, $3::int, $4::bytea)",
                       4, args, lens, binary, "writing a version", &r, e));
        PQclear(r);
    }
    return ERR_OK;
}

err_code pg_parts_read(pg_parts_ask_fn ask, void *ctx, store_number number, int64_t n, size_t len,
                       char *dst, struct err *e)
{
    char of[24], which[24], piece[16];
    const char *args[] = { of, which, piece };
    (void)snprintf(of, sizeof of, "%" PRIu64, number);
    (void)snprintf(which, sizeof which, "%" PRId64, n);
    for (size_t at = 0; at < len;) {
        PGresult *r;
        (void)snprintf(piece, sizeof piece, "%zu", at / PG_PART);
        TRY(ask(ctx, "select bytes from parts where number = $1 and n = $2 and part = $3", 3, args,
                &r, e));
        const sv got = PQntuples(r) == 1 ? pg_bytes(r, 0, 0) : SV_NONE;
        const size_t want = len - at < PG_PART ? len - at : PG_PART;
        if (got.len == want)
            memcpy(dst + at, got.ptr, want);
        PQclear(r);
        if (got.len != want)
            return ERR(e, ERR_CORRUPT, "reading the data store: a part of a body is not there");
        at += want;
    }
    return ERR_OK;
}

static err_code ask_conn(void *ctx, const char *sql, int n_args, const char *const *args,
                         PGresult **out, struct err *e)
{
    return pg_ask(ctx, sql, n_args, args, READING, out, e);
}

err_code pg_parts_get(PGconn *c, store_number number, int64_t n, size_t len, char *dst,
                      struct err *e)
{
    return pg_parts_read(ask_conn, c, number, n, len, dst, e);
}

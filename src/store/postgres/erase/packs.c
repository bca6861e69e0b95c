/* packs.c - a birth that is erased: its pack is written anew, without its id and body. */
#include "store/postgres/erase/erase_private.h"

static err_code find_pack(PGconn *c, store_number number, PGresult **out, struct err *e)
{
    char type[8], which[24];
    const char *args[] = { type, which };
    (void)snprintf(type, sizeof type, "%u", (unsigned)number_type(number));
    (void)snprintf(which, sizeof which, "%" PRIu64, number);
    return pg_ask(c,
                  "select first, count, raw_len, body from packs where type = $1::smallint and "
                  "first <= $2::bigint and first + count > $2::bigint order by first desc limit 1 "
                  "for update",
                  2, args, ERASING, out, e);
}

/* All of the pack, and that one without what it was. */
static err_code hollow_one(struct pg_pack *k, store_number number, struct buf *raw, bool *was,
                           char id[FHIR_ID_MAX + 1], struct err *e)
{
    struct pg_row row;
    err_code rc;
    while ((rc = pg_pack_next(k, &row, e)) == ERR_OK) {
        if (row.number == number) {
            *was = !row.erased;
            (void)snprintf(id, FHIR_ID_MAX + 1, "%.*s", SV_FMT(row.id));
            row.id = SV_NONE;
            row.body = (struct fhir_body){ 0 };
        }
        TRY(pg_pack_put(raw, row.id, &row.body, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code write_pack(PGconn *c, const struct pg_pack *k, const struct buf *raw, struct err *e)
{
    char packed[PG_PACKED_MOST], type[8], first[24], raw_len[16];
    size_t len;
    PGresult *r;
    TRY(pg_pack_close(raw, packed, &len, e));
    const char *args[] = { type, first, raw_len, packed };
    const int lens[] = { 0, 0, 0, (int)len }, binary[] = { 0, 0, 0, 1 };
    (void)snprintf(type, sizeof type, "%u", (unsigned)number_type(k->first));
    (void)snprintf(first, sizeof first, "%" PRIu64, k->first);
    (void)snprintf(raw_len, sizeof raw_len, "%zu", raw->len);
    TRY(pg_ask_bin(c,
                   "update packs set raw_len = $3::int, body = $4::bytea where type = $1::smallint "
                   "and first = $2::bigint",
                   4, args, lens, binary, ERASING, &r, e));
    PQclear(r);
    return ERR_OK;
}

static err_code rewrite(PGconn *c, struct pg_pack *k, store_number number, bool *was,
                        char id[FHIR_ID_MAX + 1], struct err *e)
{
    CLEANUP_BUF struct buf raw = BUF_INIT(PG_RAW_MOST);
    TRY(hollow_one(k, number, &raw, was, id, e));
    return *was ? write_pack(c, k, &raw, e) : ERR_OK;
}

err_code pg_erase_packed(PGconn *c, store_number number, bool *was, char id[FHIR_ID_MAX + 1],
                         struct err *e)
{
    struct pg_pack k = { 0 };
    PGresult *r;
    *was = false;
    TRY(find_pack(c, number, &r, e));
    err_code rc = PQntuples(r) == 1 ? pg_pack_open(&k, r, 0, 0, e) : ERR_EOF;
    PQclear(r);
    if (rc == ERR_OK)
        rc = rewrite(c, &k, number, was, id, e);
    pg_pack_done(&k);
    return rc == ERR_EOF ? ERR_OK : rc;
}

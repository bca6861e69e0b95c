/* notes.c - small records beside the data: a job's progress. */
#include "store/postgres/read_private.h"

err_code pg_note_put(PGconn *c, sv key, sv note, struct err *e)
{
    const char *args[] = { key.ptr, note.len ? note.ptr : "" };
    const int lens[] = { (int)key.len, (int)note.len }, binary[] = { 1, 1 };
    PGresult *r;
    TRY(pg_ask_bin(c,
                   "insert into notes(k, v) values ($1::bytea, $2::bytea) on conflict (k) do "
                   "update set v = excluded.v",
                   2, args, lens, binary, "writing a note", &r, e));
    PQclear(r);
    return ERR_OK;
}

err_code pg_note_get(struct store *st, sv key, struct buf *out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    const char *args[] = { key.ptr };
    const int lens[] = { (int)key.len }, binary[] = { 1 };
    PGresult *r;
    TRY(pg_pool_ask(p->pool, PG_READ, "select v from notes where k = $1::bytea", 1, args, lens,
                    binary, "reading a note", &r, e));
    err_code rc = PQntuples(r) == 1 ? buf_add(out, pg_bytes(r, 0, 0), e)
                                    : ERR(e, ERR_NOT_FOUND, "no such note");
    PQclear(r);
    return rc;
}

err_code pg_note_delete(struct store *st, sv key, struct err *e)
{
    struct pg *p = (struct pg *)st;
    const char *args[] = { key.ptr };
    const int lens[] = { (int)key.len }, binary[] = { 1 };
    PGconn *conn;
    PGresult *r;
    TRY(pg_take(p, PG_WRITE, &conn, e));
    err_code rc = pg_ask_bin(conn, "delete from notes where k = $1::bytea", 1, args, lens, binary,
                             "removing a note", &r, e);
    if (rc == ERR_OK)
        PQclear(r);
    pg_give(p, PG_WRITE, conn);
    return rc;
}

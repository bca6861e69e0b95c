/* copy.c - COPY in PostgreSQL's binary form, in both directions.
 *
 * A stream begins with eleven bytes of signature, flags and the length of an extension. A row is
 * the number of its fields, then each field with its length in front; lengths and numbers are big
 * endian, and -1 stands for NULL.
 * Source: PostgreSQL 15 manual, COPY, "Binary Format". */
#include "store/postgres/link/link_private.h"
#include "store/postgres/read_private.h"
#include "store/postgres/write_private.h"

#define HEAD_LEN 19u /* signature, flags, no extension */

/* ---- to the client ---- */

err_code pg_copy_out(struct pg_copy *c, PGconn *conn, const char *sql, struct err *e)
{
    *c = (struct pg_copy){ .conn = conn };
    PGresult *r = pg_exec(conn, sql);
    if (PQresultStatus(r) != PGRES_COPY_OUT)
        return pg_done(conn, r, READING, e);
    PQclear(r);
    c->begun = true;
    return ERR_OK;
}

static uint64_t take(struct pg_copy *c, unsigned bytes)
{
    uint64_t v = 0;
    if (c->len - c->at < bytes) {
        c->at = c->len;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | (unsigned char)c->row[c->at++];
    return v;
}

err_code pg_copy_next(struct pg_copy *c, struct err *e)
{
    const bool first = c->row == NULL;
    PQfreemem(c->row);
    c->row = NULL;
    if (c->over)
        return ERR_EOF;
    int len = pg_talk_get(c->conn, &c->row, pg_patience_of(c->conn));
    if (len >= 0) {
        c->len = (size_t)len;
        c->at = first ? HEAD_LEN : 0;
        /* the end says -1 */
        if ((int16_t)take(c, 2) >= 0)
            return ERR_OK;
        return pg_copy_next(c, e);
    }
    c->over = true;
    err_code rc = ERR_OK;
    PGresult *r = pg_talk_answer(c->conn, pg_patience_of(c->conn));
    rc = pg_done(c->conn, r, READING, e);
    return rc == ERR_OK ? ERR_EOF : rc;
}

int64_t pg_copy_i64(struct pg_copy *c)
{
    (void)take(c, 4);
    return (int64_t)take(c, 8);
}

void pg_copy_close(struct pg_copy *c)
{
    PQfreemem(c->row);
    c->row = NULL;
    /* whoever gives the connection back sees that it is in a COPY, and closes it */
}

/* ---- to the server ---- */

static err_code send(struct pg_load_copy *c, struct err *e)
{
    if (c->out.len && !pg_talk_put(c->conn, buf_sv(&c->out), pg_patience_of(c->conn)))
        return pg_done(c->conn, NULL, PG_LOADING, e);
    buf_clear(&c->out);
    return ERR_OK;
}

err_code pg_load_copy_begin(struct pg_load_copy *c, PGconn *conn, const char *sql, struct err *e)
{
    static const char head[HEAD_LEN] = "PGCOPY\n\377\r\n\0";
    *c = (struct pg_load_copy){ .conn = conn, .out = BUF_INIT(2 * PG_PART + 4096) };
    PGresult *r = pg_exec(conn, sql);
    if (PQresultStatus(r) != PGRES_COPY_IN)
        return pg_done(conn, r, PG_LOADING, e);
    PQclear(r);
    return buf_add(&c->out, sv_make(head, sizeof head), e);
}

static void put(struct buf *b, uint64_t v, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;)
        b->ptr[b->len++] = (char)(v >> (8 * i));
}

err_code pg_load_copy_row(struct pg_load_copy *c, unsigned n_fields, size_t bytes, struct err *e)
{
    if (c->out.len >= PG_COPY_BLOCK)
        TRY(send(c, e));
    TRY(buf_reserve(&c->out, 2 + bytes + 4u * n_fields, e));
    put(&c->out, n_fields, 2);
    return ERR_OK;
}

void pg_put_i16(struct pg_load_copy *c, int64_t v)
{
    put(&c->out, 2, 4);
    put(&c->out, (uint64_t)v, 2);
}

void pg_put_i32(struct pg_load_copy *c, int64_t v)
{
    put(&c->out, 4, 4);
    put(&c->out, (uint64_t)v, 4);
}

void pg_put_i64(struct pg_load_copy *c, int64_t v)
{
    put(&c->out, 8, 4);
    put(&c->out, (uint64_t)v, 8);
}

void pg_put_bytes(struct pg_load_copy *c, sv v)
{
    put(&c->out, v.ptr ? v.len : UINT32_MAX, 4);
    if (v.ptr && v.len) {
        memcpy(c->out.ptr + c->out.len, v.ptr, v.len);
        c->out.len += v.len;
    }
}

err_code pg_load_copy_end(struct pg_load_copy *c, err_code rc, struct err *e)
{
    if (rc == ERR_OK && (rc = buf_reserve(&c->out, 2, e)) == ERR_OK) {
        put(&c->out, UINT16_MAX, 2);
        rc = send(c, e);
    }
    buf_done(&c->out);
    const char *why = rc == ERR_OK ? NULL : "the load is given up";
    if (!pg_talk_put_end(c->conn, why, pg_patience_of(c->conn)) && rc == ERR_OK)
        rc = pg_done(c->conn, NULL, PG_LOADING, e);
    PGresult *r = pg_talk_answer(c->conn, pg_patience_of(c->conn));
    if (rc == ERR_OK)
        return pg_done(c->conn, r, PG_LOADING, e);
    PQclear(r);
    return rc;
}

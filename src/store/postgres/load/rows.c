/* rows.c - the rows of a load: versions, who changed, fences.
 *
 * Each table gets its rows in the order of its key, so that its index grows side by side. Births
 * are packed (packs.c), and have no rows of their own in versions and changes. Other bodies are
 * sent as they stand; those of more than PG_WHOLE bytes go into parts first, and their memory is
 * given back with the last one. A fence says of each few MiB of a type where they begin and how
 * many resources and bytes they are: plans are made of these. */
#include "store/postgres/write_private.h"

#define FENCE_BYTES (4u << 20)

static err_code copy_parts(PGconn *conn, int64_t n, const struct pg_numbered *rows, size_t n_rows,
                           struct err *e)
{
    struct pg_load_copy c;
    size_t i = 0;
    err_code rc = ERR_OK;
    while (i < n_rows && rows[i].item->body.json.len <= PG_WHOLE)
        i++;
    if (i == n_rows)
        return ERR_OK;
    TRY(pg_load_copy_begin(&c, conn,
                           "copy parts(number, n, part, bytes) from stdin (format binary)", e));
    for (; i < n_rows && rc == ERR_OK; i++) {
        const sv json = rows[i].item->body.json;
        for (size_t at = 0; json.len > PG_WHOLE && at < json.len && rc == ERR_OK; at += PG_PART) {
            const sv piece = sv_head(sv_tail(json, at), PG_PART);
            if ((rc = pg_load_copy_row(&c, 4, 20 + piece.len, e)) != ERR_OK)
                break;
            pg_put_i64(&c, (int64_t)rows[i].number);
            pg_put_i64(&c, n);
            pg_put_i32(&c, (int64_t)(at / PG_PART));
            pg_put_bytes(&c, piece);
        }
        /* the length is asked for once more, the bytes are not */
        if (json.len > PG_WHOLE)
            buf_done(rows[i].item->own);
    }
    return pg_load_copy_end(&c, rc, e);
}

static err_code copy_versions(PGconn *conn, uint64_t b, const struct pg_numbered *rows,
                              size_t n_rows, struct err *e)
{
    struct pg_load_copy c;
    err_code rc = ERR_OK;
    TRY(pg_load_copy_begin(&c, conn,
                           "copy versions(type, number, n, id, method, version, instant_ms, "
                           "hole_at, hole, body_len, body) from stdin (format binary)",
                           e));
    for (size_t i = 0; i < n_rows && rc == ERR_OK; i++) {
        const struct store_bulk_item *it = rows[i].item;
        if (pg_is_packed(b, &rows[i]))
            continue;
        const bool whole = it->body.json.len <= PG_WHOLE;
        rc = pg_load_copy_row(&c, 11, 64 + it->id.len + (whole ? it->body.json.len : 0), e);
        if (rc != ERR_OK)
            break;
        pg_put_i16(&c, it->type);
        pg_put_i64(&c, (int64_t)rows[i].number);
        pg_put_i64(&c, -(int64_t)b);
        pg_put_bytes(&c, it->id);
        pg_put_i16(&c, STORE_METHOD_IMPORT);
        pg_put_i64(&c, 0);
        pg_put_i64(&c, 0);
        pg_put_i32(&c, it->body.hole_at);
        pg_put_i16(&c, it->body.hole);
        pg_put_i64(&c, (int64_t)it->body.json.len);
        pg_put_bytes(&c, whole ? it->body.json : SV_NONE);
        buf_done(it->own);
    }
    return pg_load_copy_end(&c, rc, e);
}

static err_code copy_changes(PGconn *conn, uint64_t b, const struct pg_numbered *rows,
                             size_t n_rows, struct err *e)
{
    struct pg_load_copy c;
    err_code rc = ERR_OK;
    TRY(pg_load_copy_begin(&c, conn, "copy changes(type, n, number) from stdin (format binary)",
                           e));
    for (size_t i = 0; i < n_rows; i++) {
        if (pg_is_packed(b, &rows[i]))
            continue;
        if ((rc = pg_load_copy_row(&c, 3, 18, e)) != ERR_OK)
            break;
        pg_put_i16(&c, rows[i].item->type);
        pg_put_i64(&c, -(int64_t)b);
        pg_put_i64(&c, (int64_t)rows[i].number);
    }
    return pg_load_copy_end(&c, rc, e);
}

/* ---- fences ---- */

static err_code copy_fence(struct pg_load_copy *c, store_number first, int64_t count, int64_t bytes,
                           int64_t load, struct err *e)
{
    TRY(pg_load_copy_row(c, 5, 34, e));
    pg_put_i16(c, number_type(first));
    pg_put_i64(c, (int64_t)first);
    pg_put_i64(c, count);
    pg_put_i64(c, bytes);
    pg_put_i64(c, load);
    return ERR_OK;
}

/* Of births alone: versions of known resources stand in stretches that have their fences. */
static err_code copy_fences(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n_rows,
                            struct err *e)
{
    struct pg_load_copy c;
    store_number first = 0;
    int64_t count = 0, bytes = 0;
    err_code rc = ERR_OK;
    TRY(pg_load_copy_begin(
        &c, conn, "copy fences(type, number, count, bytes, load) from stdin (format binary)", e));
    for (size_t i = 0; i < n_rows && rc == ERR_OK; i++) {
        if (number_b(rows[i].number) != b)
            continue;
        if (first && (number_type(first) != number_type(rows[i].number) || bytes >= FENCE_BYTES)) {
            rc = copy_fence(&c, first, count, bytes, (int64_t)b, e);
            first = 0;
        }
        if (first == 0) {
            first = rows[i].number;
            count = bytes = 0;
        }
        count++;
        bytes += (int64_t)rows[i].item->body.json.len;
    }
    if (first && rc == ERR_OK)
        rc = copy_fence(&c, first, count, bytes, (int64_t)b, e);
    return pg_load_copy_end(&c, rc, e);
}

err_code pg_load_rows(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n,
                      struct err *e)
{
    const int64_t of = -(int64_t)b;
    TRY(copy_parts(conn, of, rows, n, e));
    TRY(pg_load_packs(conn, b, rows, n, e));
    TRY(copy_versions(conn, b, rows, n, e));
    TRY(copy_changes(conn, b, rows, n, e));
    TRY(copy_fences(conn, b, rows, n, e));
    return pg_load_entries(conn, b, rows, n, e);
}

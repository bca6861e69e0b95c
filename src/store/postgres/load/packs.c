/* packs.c - births of a load, many in a row.
 *
 * Rows are sorted by type and number, so those of a pack follow one another. A number that another
 * load gave, or a large body, leaves a gap, and a pack ends there: it has all numbers from its
 * first to its last. */
#include "store/postgres/write_private.h"

#include <lz4.h>

#define HEAD_MOST 32u /* of a resource, beside its id */

struct pack {
    struct pg_load_copy copy;
    store_number first;
    uint32_t count;
    struct buf raw;
};

static void put_varint(struct buf *b, size_t v)
{
    for (; v > 127; v >>= 7)
        b->ptr[b->len++] = (char)(v | 128);
    b->ptr[b->len++] = (char)v;
}

err_code pg_pack_put(struct buf *raw, sv id, const struct fhir_body *body, struct err *e)
{
    TRY(buf_reserve(raw, HEAD_MOST + id.len + body->json.len, e));
    put_varint(raw, id.len);
    TRY(buf_add(raw, id, e));
    raw->ptr[raw->len++] = (char)body->hole;
    put_varint(raw, body->hole_at);
    put_varint(raw, body->json.len);
    return buf_add(raw, body->json, e);
}

err_code pg_pack_close(const struct buf *raw, char packed[PG_PACKED_MOST], size_t *len,
                       struct err *e)
{
    _Static_assert(PG_PACKED_MOST >= LZ4_COMPRESSBOUND(PG_RAW_MOST), "whatever is packed fits");
    const int n = LZ4_compress_default(raw->ptr, packed, (int)raw->len, (int)PG_PACKED_MOST);
    if (n <= 0)
        return ERR(e, ERR_INTERNAL, "a pack of versions cannot be compressed");
    *len = (size_t)n;
    return ERR_OK;
}

static err_code add(struct pack *k, const struct pg_numbered *row, struct err *e)
{
    TRY(pg_pack_put(&k->raw, row->item->id, &row->item->body, e));
    if (k->count++ == 0)
        k->first = row->number;
    return ERR_OK;
}

static err_code end(struct pack *k, struct err *e)
{
    char packed[PG_PACKED_MOST];
    size_t len;
    if (k->count == 0)
        return ERR_OK;
    TRY(pg_pack_close(&k->raw, packed, &len, e));
    TRY(pg_load_copy_row(&k->copy, 5, 18 + len, e));
    pg_put_i16(&k->copy, number_type(k->first));
    pg_put_i64(&k->copy, (int64_t)k->first);
    pg_put_i32(&k->copy, k->count);
    pg_put_i32(&k->copy, (int64_t)k->raw.len);
    pg_put_bytes(&k->copy, sv_make(packed, len));
    k->count = 0;
    buf_clear(&k->raw);
    return ERR_OK;
}

static err_code add_all(struct pack *k, uint64_t b, const struct pg_numbered *rows, size_t n,
                        struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (!pg_is_packed(b, &rows[i]))
            continue;
        if (k->raw.len >= PG_PACK_BYTES || rows[i].number != k->first + k->count)
            TRY(end(k, e));
        TRY(add(k, &rows[i], e));
        buf_done(rows[i].item->own);
    }
    return end(k, e);
}

err_code pg_load_packs(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n,
                       struct err *e)
{
    struct pack k = { .raw = BUF_INIT(PG_RAW_MOST) };
    TRY(pg_load_copy_begin(
        &k.copy, conn, "copy packs(type, first, count, raw_len, body) from stdin (format binary)",
        e));
    err_code rc = add_all(&k, b, rows, n, e);
    buf_done(&k.raw);
    return pg_load_copy_end(&k.copy, rc, e);
}

/* packs.c - packs are opened, and read in the order of their numbers. */
#include "store/postgres/read_private.h"

#include <lz4.h>

#define RAW_MAX     (1u << 20)
#define BATCH_FIRST 2
#define BATCH_MOST  32

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "reading the data store: a pack of versions is damaged");
}

void pg_pack_done(struct pg_pack *k)
{
    buf_done(&k->raw);
}

err_code pg_pack_open(struct pg_pack *k, const PGresult *r, int row, int col, struct err *e)
{
    const sv body = pg_bytes(r, row, col + 3);
    const int64_t count = pg_i64(r, row, col + 1), raw_len = pg_i64(r, row, col + 2);
    k->first = 0;
    if (body.ptr == NULL || count < 1 || count > NUMBER_K_MOST || raw_len < 1 || raw_len > RAW_MAX)
        return damaged(e);
    k->raw.max = RAW_MAX;
    buf_clear(&k->raw);
    TRY(buf_reserve(&k->raw, (size_t)raw_len, e));
    if (LZ4_decompress_safe(body.ptr, k->raw.ptr, (int)body.len, (int)raw_len) != (int)raw_len)
        return damaged(e);
    k->raw.len = (size_t)raw_len;
    k->first = k->next = (store_number)pg_i64(r, row, col);
    k->count = (uint32_t)count;
    k->at = 0;
    return ERR_OK;
}

static bool take_varint(struct pg_pack *k, size_t *out)
{
    size_t v = 0;
    for (unsigned shift = 0; shift < 35 && k->at < k->raw.len; shift += 7) {
        const unsigned char c = (unsigned char)k->raw.ptr[k->at++];
        v |= (size_t)(c & 127) << shift;
        if (c < 128) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool take_bytes(struct pg_pack *k, size_t n, sv *out)
{
    if (n > k->raw.len - k->at)
        return false;
    *out = sv_make(k->raw.ptr + k->at, n);
    k->at += n;
    return true;
}

err_code pg_pack_next(struct pg_pack *k, struct pg_row *out, struct err *e)
{
    struct pg_row row = { .number = k->next, .method = STORE_METHOD_IMPORT };
    size_t id_len, hole_at, len;
    sv hole;
    if (k->next - k->first == k->count)
        return ERR_EOF;
    if (!take_varint(k, &id_len) || !take_bytes(k, id_len, &row.id) || !take_bytes(k, 1, &hole) ||
        !take_varint(k, &hole_at) || !take_varint(k, &len) || !take_bytes(k, len, &row.body.json) ||
        hole_at > len)
        return damaged(e);
    row.n = -(int64_t)number_b(row.number);
    row.erased = id_len == 0;
    if (row.erased)
        row.method = STORE_METHOD_DELETE;
    row.body.hole = (fhir_hole)hole.ptr[0];
    row.body.hole_at = (uint32_t)hole_at;
    k->next++;
    *out = row;
    return ERR_OK;
}

err_code pg_pack_find(struct pg_pack *k, store_number number, store_number first,
                      struct pg_row *out, struct err *e)
{
    if (k->first == 0 || k->first != first)
        return damaged(e);
    if (number < k->next) {
        k->next = k->first;
        k->at = 0;
    }
    do {
        const err_code rc = pg_pack_next(k, out, e);
        if (rc != ERR_OK)
            return rc == ERR_EOF ? damaged(e) : rc;
    } while (out->number != number);
    return ERR_OK;
}

/* ---- a range ---- */

void pg_packs_done(struct pg_packs *s)
{
    PQclear(s->rows);
    pg_pack_done(&s->open);
}

/* The first of them can begin in front of `from`. */
static const char batch_sql[] =
    "select k.first, k.count, k.raw_len, k.body from packs k where k.type = $1::smallint and "
    "k.first >= coalesce((select l.first from packs l where l.type = $1::smallint and l.first <= "
    "$2::bigint order by l.first desc limit 1), $2::bigint) and k.first < $3::bigint and k.first + "
    "k.count > $2::bigint order by k.first limit $4";

static err_code batch(struct pg_packs *s, struct pg_cursor *c, struct err *e)
{
    char type[8], from[24], to[24], most[16];
    const char *args[] = { type, from, to, most };
    PGresult *r;
    (void)snprintf(type, sizeof type, "%u", (unsigned)s->type);
    (void)snprintf(from, sizeof from, "%" PRIu64, pg_number(s->from));
    (void)snprintf(to, sizeof to, "%" PRIu64, s->to ? pg_number(s->to) : INT64_MAX);
    (void)snprintf(most, sizeof most, "%d", s->batch);
    TRY(pg_cursor_ask(c, PG_SCAN, batch_sql, 4, args, &r, e));
    PQclear(s->rows);
    s->rows = r;
    s->at = 0;
    const int got = PQntuples(r);
    s->end = got < s->batch;
    if (got)
        s->from = (store_number)(pg_i64(r, got - 1, 0) + pg_i64(r, got - 1, 1));
    s->batch = pg_batch_next(s->batch, BATCH_MOST);
    return ERR_OK;
}

/* The next pack whose load is published. What of it is in front of the range is passed over. */
static err_code open_next(struct pg_packs *s, struct pg_cursor *c, struct err *e)
{
    for (;;) {
        if (s->rows == NULL || s->at == PQntuples(s->rows)) {
            if (s->end)
                return ERR_EOF;
            TRY(batch(s, c, e));
            continue;
        }
        const int at = s->at++;
        if (pg_load_find(c->loads, number_b((store_number)pg_i64(s->rows, at, 0))))
            return pg_pack_open(&s->open, s->rows, at, 0, e);
    }
}

err_code pg_packs_peek(struct pg_packs *s, struct pg_cursor *c, struct err *e)
{
    if (s->batch == 0)
        s->batch = BATCH_FIRST;
    while (!s->peeked) {
        err_code rc = s->open.first ? pg_pack_next(&s->open, &s->row, e) : ERR_EOF;
        if (rc == ERR_EOF) {
            s->open.first = 0;
            TRY(open_next(s, c, e));
            continue;
        }
        TRY(rc);
        if (s->to && s->row.number >= s->to)
            return ERR_EOF;
        s->peeked = s->row.number >= s->begin;
    }
    return ERR_OK;
}

/* listed.c - resources of some numbers, each with the version that is current as of T.
 *
 * The server picks the version, number by number, so that of a resource which was written often one
 * row comes. Where numbers side by side stand in one pack, it comes once. */
#include "store/postgres/pick.h"
#include "store/postgres/read_private.h"

#define LIST_BATCH 256u

struct listed {
    const store_number *numbers; /* borrowed, or in mine */
    size_t n, at;
    struct buf mine;
};

static void listed_done(struct pg_cursor *c)
{
    buf_done(&((struct listed *)c->own)->mine);
}

/* The version that is current of each number of $1 as of $2, in the order of the list. */
static const char current_of[] =
    "select x.x, x.n, x.id, x.method, x.own_version, x.own_instant_ms, x.hole_at, x.hole, "
    "x.body_len, x.body, x.first, x.count, x.raw_len, case when x.first is distinct from "
    "lag(x.first) over (order by x.i) then x.packed end, x.t, x.instant_ms, x.version from (select "
    "o.x, o.i, p.n, v.id, v.method, v.version as own_version, v.instant_ms as own_instant_ms, "
    "v.hole_at, v.hole, v.body_len, v.body, k.first, k.count, k.raw_len, k.body as packed, p.t, "
    "p.instant_ms, p.version from unnest($1::bigint[]) with ordinality o(x, i) cross join "
    "lateral " PG_PICK("(o.x >> 20 & 255)::smallint", "o.x", "$2::bigint") " p" PG_STORED(
        "(o.x >> 20 & 255)::smallint", "o.x") ") x order by x.i";

static err_code listed_batch(struct pg_cursor *c, struct err *e)
{
    struct listed *l = c->own;
    CLEANUP_BUF struct buf list = BUF_INIT(LIST_BATCH * 24);
    char as_of[24];
    PGresult *r;
    const size_t n = l->n - l->at < LIST_BATCH ? l->n - l->at : LIST_BATCH;
    for (size_t i = 0; i < n; i++)
        TRY(buf_add_fmt(&list, e, "%c%" PRId64, i ? ',' : '{', (int64_t)l->numbers[l->at + i]));
    TRY(buf_add(&list, SV_LIT("}\0"), e));
    (void)snprintf(as_of, sizeof as_of, "%" PRIu64, c->as_of);
    const char *args[] = { list.ptr, as_of };
    TRY(pg_cursor_ask(c, PG_SCAN, current_of, 2, args, &r, e));
    PQclear(c->rows);
    c->rows = r;
    c->at = 0;
    l->at += n;
    return ERR_OK;
}

static err_code listed_next(struct pg_cursor *c, struct store_version *out, struct err *e)
{
    struct listed *l = c->own;
    struct pg_row row;
    for (bool found = false; !found; c->at += !found) {
        while (c->rows == NULL || c->at == PQntuples(c->rows)) {
            if (l->at == l->n)
                return ERR_EOF;
            TRY(listed_batch(c, e));
        }
        TRY(pg_cursor_row(c, c->rows, c->at, 0, &row, e));
        found = !row.erased;
    }
    *out = (struct store_version){ .type = number_type(row.number),
                                   .id = row.id,
                                   .number = row.number,
                                   .t = (uint64_t)pg_i64(c->rows, c->at, PG_PACKED_N),
                                   .instant_ms = pg_i64(c->rows, c->at, PG_PACKED_N + 1),
                                   .version = (uint64_t)pg_i64(c->rows, c->at, PG_PACKED_N + 2),
                                   .method = row.method };
    c->at++;
    return pg_cursor_body(c, &row, out, e);
}

static err_code listed(struct pg *p, fhir_type type, uint64_t as_of_t, struct pg_cursor **out,
                       struct err *e)
{
    struct pg_cursor *c = pg_cursor_new(p, type, sizeof(struct listed));
    c->next = listed_next;
    c->done = listed_done;
    err_code rc = pg_cursor_as_of(c, as_of_t, e);
    if (rc != ERR_OK)
        pg_cursor_close(&c->base);
    else
        *out = c;
    return rc;
}

err_code pg_scan_numbers(struct store *st, const store_number *numbers, size_t n, uint64_t as_of_t,
                         struct store_cursor **out, struct err *e)
{
    struct pg_cursor *c;
    TRY(listed((struct pg *)st, 0, as_of_t, &c, e));
    struct listed *l = c->own;
    l->numbers = numbers;
    l->n = n;
    *out = &c->base;
    return ERR_OK;
}

err_code pg_listed(struct pg *p, fhir_type type, struct buf *numbers, uint64_t as_of_t,
                   struct store_cursor **out, struct err *e)
{
    struct pg_cursor *c;
    TRY(listed(p, type, as_of_t, &c, e));
    struct listed *l = c->own;
    l->mine = *numbers;
    *numbers = BUF_INIT(0);
    l->numbers = (const store_number *)(const void *)l->mine.ptr;
    l->n = l->mine.len / sizeof *l->numbers;
    *out = &c->base;
    return ERR_OK;
}

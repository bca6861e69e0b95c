/* entries.c - a walk over search entries: one range behind the other, each entry with the commit of
 * the version that wrote it.
 *
 * Rows stand in the order of type, parameter, value, number, n. A batch of some hundred is asked
 * for at a time, over some ranges at once, so that ranges with nothing in them cost no answer of
 * their own. Rows of one value and number side by side give the resource once, with its newest
 * visible version that has the value. Batches may cut such a group; the next one goes on behind the
 * very row. No connection is kept between batches. */
#include "store/postgres/read_private.h"

#define BATCH_FIRST 32
#define BATCH_MOST  512
#define RANGES_MOST 64u
#define VALUE_TEXT  (2 * SEARCH_KEY_MAX + 8)

struct pg_index {
    struct store_index_cursor base;
    struct pg *p;
    const struct search_driver *d;
    fhir_type type;
    uint64_t as_of;
    struct pg_loads *loads;
    PGresult *rows;
    int at, batch;
    size_t range;  /* the first that the next batch asks for */
    size_t behind; /* the first that the batch under way did not ask for */
    bool end;
    /* Where the next batch begins: at this value and number, or behind the row of this n. */
    unsigned char value[SEARCH_KEY_MAX];
    size_t value_len;
    store_number number;
    int64_t n;
    bool from; /* value, number and n count */
    /* what is given */
    unsigned char given[SEARCH_KEY_MAX];
    struct store_index_hit hit;
};

static void begin_at(struct pg_index *c, sv value, store_number number, int64_t n)
{
    c->from = true;
    c->value_len = value.len < SEARCH_KEY_MAX ? value.len : SEARCH_KEY_MAX;
    memcpy(c->value, value.ptr, c->value_len);
    c->number = pg_number(number);
    c->n = n;
}

err_code pg_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                       sv after_value, store_number after, uint64_t as_of_t,
                       struct store_index_cursor **out, struct err *e)
{
    struct pg_index *c = calloc(1, sizeof *c);
    PGconn *conn;
    if (c == NULL)
        abort();
    c->base.ops = st->ops;
    c->p = (struct pg *)st;
    c->d = d;
    c->type = type;
    c->batch = BATCH_FIRST;
    err_code rc = pg_take(c->p, PG_SCAN, &conn, e);
    if (rc == ERR_OK) {
        rc = pg_as_of(c->p, conn, as_of_t, &c->as_of, &c->loads, e);
        pg_give(c->p, PG_SCAN, conn);
    }
    if (rc != ERR_OK) {
        free(c);
        return rc;
    }
    if (after_value.len)
        begin_at(c, after_value, after, INT64_MAX);
    *out = &c->base;
    return ERR_OK;
}

/* bytea as text, within an array: "\\x..." */
static err_code add_value(struct buf *b, const unsigned char *v, size_t len, struct err *e)
{
    TRY(buf_add(b, SV_LIT("\"\\\\x"), e));
    for (size_t i = 0; i < len; i++)
        TRY(buf_add_fmt(b, e, "%02x", v[i]));
    return buf_add_char(b, '"', e);
}

static err_code ranges_text(const struct pg_index *c, struct buf *from, struct buf *to,
                            struct err *e)
{
    unsigned char above[SEARCH_KEY_MAX + 1];
    memset(above, 0xFF, sizeof above);
    for (size_t i = c->range; i < c->behind; i++) {
        const struct search_range *r = &c->d->ranges[i];
        const char mark = i > c->range ? ',' : '{';
        TRY(buf_add_char(from, mark, e));
        TRY(buf_add_char(to, mark, e));
        TRY(add_value(from, r->from, r->from_len, e));
        /* no end: behind every value that there can be */
        if (r->to_len)
            TRY(add_value(to, r->to, r->to_len, e));
        else
            TRY(add_value(to, above, sizeof above, e));
    }
    TRY(buf_add(from, SV_LIT("}\0"), e));
    return buf_add(to, SV_LIT("}\0"), e);
}

/* Ranges that end in front of where it goes on have nothing to give. */
static void pass_ranges(struct pg_index *c)
{
    const sv value = sv_make(c->value, c->value_len);
    while (c->from && c->range < c->d->n && c->d->ranges[c->range].to_len &&
           sv_cmp(value, sv_make(c->d->ranges[c->range].to, c->d->ranges[c->range].to_len)) >= 0)
        c->range++;
}

static const char ask[] =
    "select x.value, x.number, x.n from unnest($3::bytea[], $4::bytea[]) with ordinality "
    "r(lo, hi, i) cross join lateral (select value, number, n from search s where s.type = "
    "$1::smallint and s.param = $2::int and s.value >= r.lo and s.value < r.hi and (s.value, "
    "s.number, s.n) > ($5::bytea, $6::bigint, $7::bigint) order by s.value, s.number, s.n limit "
    "$8) x order by x.value, x.number, x.n limit $8";

static err_code batch(struct pg_index *c, struct err *e)
{
    CLEANUP_BUF struct buf lo = BUF_INIT(RANGES_MOST * VALUE_TEXT + 8);
    CLEANUP_BUF struct buf hi = BUF_INIT(RANGES_MOST * VALUE_TEXT + 8);
    char type[8], param[8], value[3 + 2 * SEARCH_KEY_MAX] = "\\x", number[24], n[24], most[16];
    const char *args[8] = { type, param, NULL, NULL, value, number, n, most };
    PGconn *conn;
    PGresult *r;
    pass_ranges(c);
    c->behind = c->d->n - c->range < RANGES_MOST ? c->d->n : c->range + RANGES_MOST;
    if (c->range == c->behind) {
        c->end = true;
        return ERR_OK;
    }
    TRY(ranges_text(c, &lo, &hi, e));
    args[2] = lo.ptr;
    args[3] = hi.ptr;
    (void)snprintf(type, sizeof type, "%u", (unsigned)c->type);
    (void)snprintf(param, sizeof param, "%u", (unsigned)c->d->param);
    for (size_t i = 0; c->from && i < c->value_len; i++)
        (void)snprintf(value + 2 + 2 * i, 3, "%02x", c->value[i]);
    (void)snprintf(number, sizeof number, "%" PRIu64, c->from ? c->number : 0);
    (void)snprintf(n, sizeof n, "%" PRId64, c->from ? c->n : INT64_MIN);
    (void)snprintf(most, sizeof most, "%d", c->batch);
    TRY(pg_take(c->p, PG_SCAN, &conn, e));
    err_code rc = pg_ask(conn, ask, 8, args, READING, &r, e);
    pg_give(c->p, PG_SCAN, conn);
    TRY(rc);
    PQclear(c->rows);
    c->rows = r;
    c->at = 0;
    const int got = PQntuples(r);
    if (got)
        begin_at(c, pg_bytes(r, got - 1, 0), (store_number)pg_i64(r, got - 1, 1),
                 pg_i64(r, got - 1, 2));
    /* those asked for have no more */
    if (got < c->batch)
        c->range = c->behind;
    if (c->batch < BATCH_MOST)
        c->batch *= 4;
    if (c->batch > BATCH_MOST)
        c->batch = BATCH_MOST;
    return ERR_OK;
}

/* The commit of the version that wrote an entry. UINT64_MAX: it is not visible. */
static uint64_t commit_of(const struct pg_index *c, int64_t n)
{
    if (n > 0)
        return (uint64_t)n;
    const struct pg_load *l = pg_load_find(c->loads, (uint64_t)-n);
    return l ? l->t : UINT64_MAX;
}

err_code pg_index_next(struct store_index_cursor *base, struct store_index_hit *out, struct err *e)
{
    struct pg_index *c = (struct pg_index *)base;
    bool any = false;
    for (;;) {
        if (c->rows == NULL || c->at == PQntuples(c->rows)) {
            if (!c->end)
                TRY(batch(c, e));
            if (c->end)
                break;
            continue;
        }
        const sv value = pg_bytes(c->rows, c->at, 0);
        const store_number number = (store_number)pg_i64(c->rows, c->at, 1);
        const uint64_t t = commit_of(c, pg_i64(c->rows, c->at, 2));
        if (any && (number != c->hit.number || !sv_eq(value, c->hit.value)))
            break;
        c->at++;
        if (t > c->as_of)
            continue;
        if (!any || t > c->hit.t) {
            memcpy(c->given, value.ptr, value.len);
            c->hit = (struct store_index_hit){ sv_make(c->given, value.len), number, t };
        }
        any = true;
    }
    if (!any)
        return ERR_EOF;
    *out = c->hit;
    return ERR_OK;
}

/* Where the batch under way has the place, it need not be asked for. */
static bool is_at_hand(struct pg_index *c, sv value, store_number number)
{
    const int n = c->rows ? PQntuples(c->rows) : 0;
    int lo = 0, hi = n;
    if (n == 0)
        return false;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        const int cmp = sv_cmp(pg_bytes(c->rows, mid, 0), value);
        const store_number there = (store_number)pg_i64(c->rows, mid, 1);
        if (cmp < 0 || (cmp == 0 && there < number))
            lo = mid + 1;
        else
            hi = mid;
    }
    /* in front of its first row something may stand, and behind its last */
    if (lo == 0 || lo == n)
        return false;
    c->at = lo;
    return true;
}

void pg_index_seek(struct store_index_cursor *base, sv value, store_number number)
{
    struct pg_index *c = (struct pg_index *)base;
    if (is_at_hand(c, value, number))
        return;
    PQclear(c->rows);
    c->rows = NULL;
    c->at = 0;
    c->batch = BATCH_FIRST;
    c->range = 0;
    c->end = false;
    begin_at(c, value, number, INT64_MIN);
}

void pg_index_close(struct store_index_cursor *base)
{
    struct pg_index *c = (struct pg_index *)base;
    PQclear(c->rows);
    pg_loads_unref(c->loads);
    free(c);
}

unsigned pg_index_form(struct store *st)
{
    /* no older form was ever written by this engine */
    (void)st;
    return SEARCH_INDEX_FORM;
}

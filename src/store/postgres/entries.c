/* entries.c - a walk over search entries: one range behind the other, each entry with the commit of
 * the version that wrote it.
 *
 * Rows stand in the order of type, parameter, value, number, n. A row of a load lists several
 * numbers of one span; those of one value and span are a group, which is merged in memory and gives
 * each resource once, with its newest visible version that has the value. A batch of some hundred
 * rows is asked for at a time, over some ranges at once, so that ranges with nothing in them cost
 * no answer of their own. Batches may cut a group; the next one goes on behind the very row. No
 * connection is kept between batches. */
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
    /* the group under way, by number */
    unsigned char given[SEARCH_KEY_MAX];
    size_t given_len;
    struct hit {
        store_number number;
        uint64_t t;
    } * hits;
    size_t n_hits, cap, at_hit;
    /* of this value nothing in front of this number is given */
    unsigned char least[SEARCH_KEY_MAX];
    size_t least_len; /* 0: of none */
    store_number least_number;
};

static store_number span_begin(store_number number)
{
    return pg_number(number) >> PG_SPAN_BITS << PG_SPAN_BITS;
}

static void begin_at(struct pg_index *c, sv value, store_number number, int64_t n)
{
    c->from = true;
    c->value_len = value.len < SEARCH_KEY_MAX ? value.len : SEARCH_KEY_MAX;
    memcpy(c->value, value.ptr, c->value_len);
    c->number = pg_number(number);
    c->n = n;
}

/* From this value and number on, wherever in a group that is. */
static void begin_within(struct pg_index *c, sv value, store_number number)
{
    c->least_len = value.len < SEARCH_KEY_MAX ? value.len : SEARCH_KEY_MAX;
    memcpy(c->least, value.ptr, c->least_len);
    c->least_number = number;
    c->n_hits = c->at_hit = 0;
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
    if (after_value.len) {
        begin_within(c, after_value, after == UINT64_MAX ? after : after + 1);
        begin_at(c, after_value, span_begin(after), INT64_MIN);
    }
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

/* One lower bound: of two, PostgreSQL begins at the one that it knows when it makes its plan, and
 * passes over all that lies between. */
static const char ask[] =
    "select x.value, x.number, x.n, x.list from unnest($3::bytea[], $4::bytea[]) with ordinality "
    "r(lo, hi, i) cross join lateral (select value, number, n, list from search s where s.type = "
    "$1::smallint and s.param = $2::smallint and (s.value, s.number, s.n) > (greatest(r.lo, "
    "$5::bytea), case when $5::bytea >= r.lo then $6::bigint else -1 end, case when $5::bytea >= "
    "r.lo then $7::bigint else -9223372036854775808 end) and s.value < r.hi order by s.value, "
    "s.number, s.n limit $8) x order by x.value, x.number, x.n limit $8";

static err_code batch(struct pg_index *c, struct err *e)
{
    CLEANUP_BUF struct buf lo = BUF_INIT(RANGES_MOST * VALUE_TEXT + 8);
    CLEANUP_BUF struct buf hi = BUF_INIT(RANGES_MOST * VALUE_TEXT + 8);
    char type[8], param[8], value[3 + 2 * SEARCH_KEY_MAX] = "\\x", number[24], n[24], most[16];
    const char *args[8] = { type, param, NULL, NULL, value, number, n, most };
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
    TRY(pg_pool_ask(c->p->pool, PG_SCAN, ask, 8, args, NULL, NULL, READING, &r, e));
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
    c->batch = pg_batch_next(c->batch, BATCH_MOST);
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

/* ---- groups ---- */

static int by_number(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->t > y->t ? -1 : x->t < y->t;
}

/* Each number once, with its newest t. */
static void merge(struct pg_index *c)
{
    size_t kept = 0;
    if (c->n_hits)
        qsort(c->hits, c->n_hits, sizeof *c->hits, by_number);
    for (size_t i = 0; i < c->n_hits; i++)
        if (kept == 0 || c->hits[kept - 1].number != c->hits[i].number)
            c->hits[kept++] = c->hits[i];
    c->n_hits = kept;
}

static void hit_add(struct pg_index *c, store_number number, uint64_t t)
{
    if (c->n_hits == c->cap) {
        merge(c);
        if (c->n_hits >= c->cap / 2) {
            c->cap = c->cap ? c->cap * 2 : 64;
            c->hits = realloc(c->hits, c->cap * sizeof *c->hits);
            if (c->hits == NULL)
                abort();
        }
    }
    c->hits[c->n_hits++] = (struct hit){ number, t };
}

/* The numbers of the row at c->at. */
static err_code add_row(struct pg_index *c, uint64_t t, struct err *e)
{
    store_number number = (store_number)pg_i64(c->rows, c->at, 1);
    const store_number span = span_begin(number);
    const sv list = pg_bytes(c->rows, c->at, 3);
    hit_add(c, number, t);
    for (size_t i = 0; i < list.len;) {
        const uint64_t step = pg_step_next(list, &i);
        number += step;
        if (step == 0 || span_begin(number) != span)
            return ERR(e, ERR_CORRUPT, "reading the data store: a list of entries is damaged");
        hit_add(c, number, t);
    }
    return ERR_OK;
}

/* The next value and span. ERR_EOF. */
static err_code next_group(struct pg_index *c, struct err *e)
{
    store_number span = 0;
    size_t n_rows = 0;
    c->n_hits = c->at_hit = 0;
    for (;;) {
        if (c->rows == NULL || c->at == PQntuples(c->rows)) {
            if (!c->end)
                TRY(batch(c, e));
            if (c->end)
                break;
            continue;
        }
        const sv value = pg_bytes(c->rows, c->at, 0);
        const store_number of = span_begin((store_number)pg_i64(c->rows, c->at, 1));
        const uint64_t t = commit_of(c, pg_i64(c->rows, c->at, 2));
        if (n_rows && (of != span || !sv_eq(value, sv_make(c->given, c->given_len))))
            break;
        if (n_rows++ == 0) {
            c->given_len = value.len < SEARCH_KEY_MAX ? value.len : SEARCH_KEY_MAX;
            memcpy(c->given, value.ptr, c->given_len);
            span = of;
        }
        if (t <= c->as_of)
            TRY(add_row(c, t, e));
        c->at++;
    }
    if (n_rows > 1)
        merge(c);
    return n_rows ? ERR_OK : ERR_EOF;
}

err_code pg_index_next(struct store_index_cursor *base, struct store_index_hit *out, struct err *e)
{
    struct pg_index *c = (struct pg_index *)base;
    for (;;) {
        while (c->at_hit == c->n_hits)
            TRY(next_group(c, e));
        const struct hit *h = &c->hits[c->at_hit++];
        const sv value = sv_make(c->given, c->given_len);
        if (c->least_len && h->number < c->least_number &&
            sv_eq(value, sv_make(c->least, c->least_len)))
            continue;
        *out = (struct store_index_hit){ value, h->number, h->t };
        return ERR_OK;
    }
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
        if (cmp < 0 || (cmp == 0 && there < span_begin(number)))
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
    begin_within(c, value, number);
    if (is_at_hand(c, value, number))
        return;
    PQclear(c->rows);
    c->rows = NULL;
    c->at = 0;
    c->batch = BATCH_FIRST;
    c->range = 0;
    c->end = false;
    begin_at(c, value, span_begin(number), INT64_MIN);
}

void pg_index_close(struct store_index_cursor *base)
{
    struct pg_index *c = (struct pg_index *)base;
    PQclear(c->rows);
    pg_loads_unref(c->loads);
    free(c->hits);
    free(c);
}

unsigned pg_index_form(struct store *st)
{
    /* no older form was ever written by this engine */
    (void)st;
    return SEARCH_INDEX_FORM;
}

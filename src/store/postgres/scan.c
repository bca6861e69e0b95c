/* scan.c - every resource of a range that is current as of T, in the order of numbers.
 *
 * A range is read along its key, a batch of rows at a time, all versions: those of a resource stand
 * side by side, loads first (newest load first, which is not the order of their commits), then
 * online commits, oldest first. As of T the one with the largest visible t is current. Its version
 * number (I5) is that of the newest online version below it and the loads between. Births of loads
 * stand in packs, which are read beside these rows. */
#include "store/postgres/read_private.h"

#define BATCH_FIRST 32
#define BATCH_MOST  1024

struct scan {
    store_number to; /* 0: to the end of the type */
    int batch;
    store_number last; /* where the next batch goes on: behind this version */
    int64_t last_n;
    PGresult *before; /* the batch before: the best row may lie there */
    bool changed;     /* those alone that changed behind after_t, deletions too */
    uint64_t after_t;
    struct pg_packs packs;
    uint64_t *load_t; /* of visible loads of the resource under way */
    size_t n_load_t, cap;
};

static void scan_done(struct pg_cursor *c)
{
    struct scan *s = c->own;
    PQclear(s->before);
    pg_packs_done(&s->packs);
    free(s->load_t);
}

static err_code scan_batch(struct pg_cursor *c, struct err *e)
{
    struct scan *s = c->own;
    char type[8], number[24], n[24], to[24], as_of[24], most[16];
    const char *args[] = { type, number, n, to, as_of, most };
    const store_number end = s->to ? pg_number(s->to) : (store_number)INT64_MAX;
    PGresult *r;
    (void)snprintf(type, sizeof type, "%u", (unsigned)c->type);
    (void)snprintf(number, sizeof number, "%" PRIu64, s->last);
    (void)snprintf(n, sizeof n, "%" PRId64, s->last_n);
    (void)snprintf(to, sizeof to, "%" PRIu64, end);
    (void)snprintf(as_of, sizeof as_of, "%" PRIu64, c->as_of);
    (void)snprintf(most, sizeof most, "%d", s->batch);
    TRY(pg_cursor_ask(c, PG_SCAN,
                      "select " PG_VERSION_COLS " from versions v where v.type = $1 "
                      "and (v.number, v.n) > ($2::bigint, $3::bigint) and v.number < $4 "
                      "and v.n <= $5 order by v.number, v.n limit $6",
                      6, args, &r, e));
    PQclear(s->before);
    s->before = c->rows;
    c->rows = r;
    c->at = 0;
    const int got = PQntuples(r);
    c->end = got < s->batch;
    s->batch = pg_batch_next(s->batch, BATCH_MOST);
    if (got) {
        s->last = (store_number)pg_i64(r, got - 1, 0);
        s->last_n = pg_i64(r, got - 1, 1);
    }
    return ERR_OK;
}

static void load_t_add(struct scan *s, uint64_t t)
{
    if (s->n_load_t == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 8;
        s->load_t = realloc(s->load_t, s->cap * sizeof *s->load_t);
        if (s->load_t == NULL)
            abort();
    }
    s->load_t[s->n_load_t++] = t;
}

/* What is current of a resource, so far. */
struct best {
    bool there;
    uint64_t t;
    int64_t instant_ms;
    struct pg_row row;
    uint64_t online_t, online_version;
    const PGresult *in; /* the answer that row lies in */
    struct buf kept;    /* or its bytes, when that had to go */
};

/* in: the answer that the row lies in; NULL: it stays. */
static void consider(struct pg_cursor *c, struct best *b, const struct pg_row *row,
                     const PGresult *in)
{
    struct scan *s = c->own;
    uint64_t t = (uint64_t)row->n;
    int64_t instant_ms = row->instant_ms;
    if (row->n < 0) {
        const struct pg_load *l = pg_load_find(c->loads, (uint64_t)-row->n);
        if (l == NULL || l->t > c->as_of)
            return;
        t = l->t;
        instant_ms = l->instant_ms;
        load_t_add(s, t);
    } else {
        b->online_t = t;
        b->online_version = row->version;
    }
    if (b->there && b->t > t)
        return;
    b->there = true;
    b->t = t;
    b->instant_ms = instant_ms;
    b->row = *row;
    b->in = in;
}

/* The answer that it lies in is to go. */
static err_code keep(struct best *b, struct err *e)
{
    const sv id = b->row.id, json = b->row.body.json;
    buf_clear(&b->kept);
    TRY(buf_reserve(&b->kept, id.len + json.len, e));
    TRY(buf_add(&b->kept, id, e));
    if (json.ptr)
        TRY(buf_add(&b->kept, json, e));
    b->row.id.ptr = b->kept.ptr;
    if (json.ptr)
        b->row.body.json.ptr = b->kept.ptr + id.len;
    b->in = NULL;
    return ERR_OK;
}

static err_code more(struct pg_cursor *c, struct best *b, struct err *e)
{
    const struct scan *s = c->own;
    if (b->there && b->in && b->in == s->before)
        TRY(keep(b, e));
    return scan_batch(c, e);
}

/* The number of the next row that stands alone; 0: there is none. */
static err_code next_alone(struct pg_cursor *c, struct best *b, store_number *out, struct err *e)
{
    while (c->rows == NULL || c->at == PQntuples(c->rows)) {
        if (c->end) {
            *out = 0;
            return ERR_OK;
        }
        TRY(more(c, b, e));
    }
    *out = (store_number)pg_i64(c->rows, c->at, 0);
    return ERR_OK;
}

/* The versions of the next resource that has any, wherever they are visible. ERR_EOF. */
static err_code group(struct pg_cursor *c, struct best *b, struct err *e)
{
    struct scan *s = c->own;
    store_number alone, number;
    b->there = false;
    b->in = NULL;
    b->online_t = b->online_version = 0;
    s->n_load_t = 0;
    err_code rc = pg_packs_peek(&s->packs, c, e);
    if (rc != ERR_OK && rc != ERR_EOF)
        return rc;
    const store_number packed = rc == ERR_OK ? s->packs.row.number : 0;
    TRY(next_alone(c, b, &alone, e));
    if (packed == 0 && alone == 0)
        return ERR_EOF;
    number = packed == 0 || (alone && alone < packed) ? alone : packed;
    if (number == packed) {
        consider(c, b, &s->packs.row, NULL);
        s->packs.peeked = false;
    }
    while (alone == number) {
        struct pg_row row;
        pg_row_read(c->rows, c->at, 0, &row);
        consider(c, b, &row, c->rows);
        c->at++;
        TRY(next_alone(c, b, &alone, e));
    }
    return ERR_OK;
}

static uint64_t rank_of(const struct scan *s, const struct best *b)
{
    uint64_t rank = b->online_version;
    if (b->row.n > 0)
        return rank;
    for (size_t i = 0; i < s->n_load_t; i++)
        rank += s->load_t[i] > b->online_t;
    return rank;
}

struct scanning {
    struct scan s; /* first */
    struct best best;
};

static void scanning_done(struct pg_cursor *c)
{
    scan_done(c);
    buf_done(&((struct scanning *)c->own)->best.kept);
}

static err_code scan_next(struct pg_cursor *c, struct store_version *out, struct err *e)
{
    const struct scan *s = c->own;
    struct best *b = &((struct scanning *)c->own)->best;
    do {
        TRY(group(c, b, e));
        /* one that was erased hides those before it */
    } while (!b->there || b->row.erased ||
             (s->changed ? b->t <= s->after_t : b->row.method == STORE_METHOD_DELETE));
    *out = (struct store_version){ .type = c->type,
                                   .id = b->row.id,
                                   .number = b->row.number,
                                   .t = b->t,
                                   .instant_ms = b->instant_ms,
                                   .version = rank_of(c->own, b),
                                   .method = b->row.method };
    return pg_cursor_body(c, &b->row, out, e);
}

static err_code scan_open(struct pg *p, const struct store_range *range, uint64_t as_of_t,
                          struct pg_cursor **out, struct err *e)
{
    struct pg_cursor *c = pg_cursor_new(p, range->type, sizeof(struct scanning));
    struct scan *s = c->own;
    buf_init(&((struct scanning *)c->own)->best.kept, PG_WHOLE + FHIR_ID_MAX);
    c->next = scan_next;
    c->done = scanning_done;
    s->batch = BATCH_FIRST;
    s->last = range->from ? pg_number(range->from) : 1;
    s->last_n = INT64_MIN;
    s->to = range->to;
    s->packs = (struct pg_packs){
        .type = range->type, .from = range->from, .begin = range->from, .to = range->to
    };
    err_code rc = pg_cursor_as_of(c, as_of_t, e);
    if (rc != ERR_OK)
        pg_cursor_close(&c->base);
    else
        *out = c;
    return rc;
}

err_code pg_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                 struct store_cursor **out, struct err *e)
{
    struct pg_cursor *c;
    TRY(scan_open((struct pg *)st, range, as_of_t, &c, e));
    *out = &c->base;
    return ERR_OK;
}

err_code pg_scan_changed(struct pg *p, const struct store_range *range, uint64_t after_t,
                         uint64_t as_of_t, struct store_cursor **out, struct err *e)
{
    struct pg_cursor *c;
    TRY(scan_open(p, range, as_of_t, &c, e));
    struct scan *s = c->own;
    s->changed = true;
    s->after_t = after_t;
    *out = &c->base;
    return ERR_OK;
}

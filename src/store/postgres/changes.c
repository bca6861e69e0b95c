/* changes.c - who changed: within a window of commits, and the log of a type, newest first.
 *
 * Each version has a row (type, n, number) in `changes`, n as in `versions`, or is one of the
 * births that a row of `packs` counts. So a window is one stretch of online commits, and two of
 * each load that it has. Numbers are collected in memory, 8 bytes each; when that are too many, the
 * range is scanned instead and what did not change is passed over. */
#include "store/postgres/read_private.h"

#define NUMBERS_MAX (64u << 20) /* bytes of numbers in memory */
#define SQL_MAX     (16u << 20) /* the loads of a window stand in it */

/* A window as the server is asked about it. */
struct window {
    uint64_t after_t, upto_t;
    struct buf loads; /* text of an array */
};

static err_code window_open(struct window *w, struct pg *p, PGconn *conn, uint64_t after_t,
                            uint64_t upto_t, struct err *e)
{
    struct pg_loads *l;
    *w = (struct window){ .after_t = after_t, .loads = BUF_INIT(SQL_MAX) };
    TRY(pg_as_of(p, conn, upto_t, &w->upto_t, &l, e));
    err_code rc = pg_loads_between(l, after_t, w->upto_t, &w->loads, e);
    pg_loads_unref(l);
    if (rc == ERR_OK)
        rc = buf_add_char(&w->loads, 0, e);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    const store_number *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Ascending, each once. */
static void sort_numbers(struct buf *numbers)
{
    store_number *all = (store_number *)(void *)numbers->ptr;
    size_t n = numbers->len / sizeof *all, kept = 0;
    if (n == 0)
        return;
    qsort(all, n, sizeof *all, by_number);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || all[kept - 1] != all[i])
            all[kept++] = all[i];
    numbers->len = kept * sizeof *all;
}

/* Numbers of a range that got a version in the window. ERR_TOO_LARGE: more than there is room for.
 */
static err_code collect(PGconn *conn, const struct window *w, const struct store_range *range,
                        struct buf *numbers, struct err *e)
{
    CLEANUP_BUF struct buf sql = BUF_INIT(2 * SQL_MAX + 2048);
    const int64_t from = (int64_t)pg_number(range->from);
    const int64_t to = range->to ? (int64_t)pg_number(range->to) : INT64_MAX;
    const unsigned type = (unsigned)range->type;
    const int64_t of_type = (int64_t)type << NUMBER_K_BITS;
    struct pg_copy copy;
    if (w->after_t >= w->upto_t)
        return ERR_OK;
    TRY(buf_add_fmt(
        &sql, e,
        "copy (select number from changes where type = %u and n > %" PRIu64 " and n <= %" PRIu64
        " and number >= %" PRId64 " and number < %" PRId64
        " union all select number from changes where type = %u and n = any('%s'::bigint[])"
        " and number >= %" PRId64 " and number < %" PRId64
        " union all select k.first + g from unnest('%s'::bigint[]) l(n) cross join lateral "
        "(select first, count from packs where type = %u and first >= (-l.n << 28) + %" PRId64
        " and first < (-l.n << 28) + %" PRId64 " and first < %" PRId64
        " and first + count > %" PRId64 ") k cross join lateral generate_series(0, k.count - 1) g "
        "where k.first + g >= %" PRId64 " and k.first + g < %" PRId64 ") to stdout (format binary)",
        type, w->after_t, w->upto_t, from, to, type, w->loads.ptr, from, to, w->loads.ptr, type,
        of_type, of_type + NUMBER_K_MOST, to, from, from, to));
    TRY(pg_copy_out(&copy, conn, sql.ptr, e));
    err_code rc;
    while ((rc = pg_copy_next(&copy, e)) == ERR_OK) {
        const store_number number = (store_number)pg_copy_i64(&copy);
        if ((rc = buf_add(numbers, sv_make(&number, sizeof number), e)) != ERR_OK)
            break;
    }
    pg_copy_close(&copy);
    if (rc == ERR_EOF)
        sort_numbers(numbers);
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code changed(struct pg *p, const struct store_range *range, uint64_t after_t,
                        uint64_t upto_t, uint64_t *as_of, struct buf *numbers, struct err *e)
{
    struct window w;
    PGconn *conn;
    TRY(pg_take(p, PG_SCAN, &conn, e));
    err_code rc = window_open(&w, p, conn, after_t, upto_t, e);
    if (rc == ERR_OK)
        rc = collect(conn, &w, range, numbers, e);
    *as_of = w.upto_t;
    buf_done(&w.loads);
    pg_give(p, PG_SCAN, conn);
    return rc;
}

/* ---- a cursor over a window ---- */

/* A scan of the range of which what changed is given. Deletions are not among it, so it is asked
 * for all versions. */
err_code pg_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                    uint64_t upto_t, struct store_cursor **out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    CLEANUP_BUF struct buf numbers = BUF_INIT(NUMBERS_MAX);
    uint64_t as_of = 0;
    struct err mine;
    err_code rc = changed(p, range, after_t, upto_t, &as_of, &numbers, &mine);
    if (rc == ERR_TOO_LARGE)
        return pg_scan_changed(p, range, after_t, as_of, out, e);
    return rc == ERR_OK ? pg_listed(p, range->type, &numbers, as_of, out, e) : err_pass(e, &mine);
}

#define SIZE_SAMPLES 16u

/* Mean bytes of a changed resource. n > 0. */
static err_code mean_bytes(struct pg *p, fhir_type type, uint64_t as_of, const store_number *all,
                           size_t n, size_t *out, struct err *e)
{
    CLEANUP_BUF struct buf some = BUF_INIT(SIZE_SAMPLES * sizeof *all);
    CLEANUP(store_cursor_close) struct store_cursor *c = NULL;
    struct store_version v;
    size_t bytes = 0, k = 0;
    err_code rc;
    for (size_t i = 0; i < n; i += n / SIZE_SAMPLES + 1)
        TRY(buf_add(&some, sv_make(&all[i], sizeof all[i]), e));
    TRY(pg_listed(p, type, &some, as_of, &c, e));
    store_cursor_light(c);
    for (; (rc = store_cursor_next(c, &v, e)) == ERR_OK; k++)
        bytes += v.body.json.len + v.left_out + FHIR_SPLICE_MAX;
    *out = k ? bytes / k + 1 : 1;
    return rc == ERR_EOF ? ERR_OK : rc;
}

err_code pg_changes_plan(struct store *st, fhir_type type, uint64_t after_t, uint64_t upto_t,
                         size_t target_bytes, struct arena *a, struct store_range **out,
                         size_t *n_out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    const struct store_range all = { .type = type };
    CLEANUP_BUF struct buf numbers = BUF_INIT(NUMBERS_MAX);
    uint64_t as_of = 0;
    size_t mean = 1;
    struct err mine;
    err_code rc = changed(p, &all, after_t, upto_t, &as_of, &numbers, &mine);
    if (rc == ERR_TOO_LARGE)
        return pg_plan(st, &all, target_bytes, a, out, n_out, e);
    if (rc != ERR_OK)
        return err_pass(e, &mine);
    const store_number *rows = (const store_number *)(const void *)numbers.ptr;
    const size_t n = numbers.len / sizeof *rows;
    *n_out = 0;
    if (n == 0)
        return ERR_OK;
    TRY(mean_bytes(p, type, as_of, rows, n, &mean, e));
    const size_t each = target_bytes / mean + 1, n_ranges = (n + each - 1) / each;
    struct store_range *r = arena_calloc(a, n_ranges, sizeof *r);
    if (r == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n_ranges; i++) {
        r[i].type = type;
        if (i)
            r[i].from = r[i - 1].to = rows[i * each];
    }
    *out = r;
    *n_out = n_ranges;
    return ERR_OK;
}

/* ---- types and ranges ---- */

err_code pg_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                          bool changed_types[STORE_TYPES], struct err *e)
{
    struct pg *p = (struct pg *)st;
    struct window w;
    char after[24], upto[24], n_types[8];
    PGresult *r = NULL;
    PGconn *conn;
    memset(changed_types, 0, STORE_TYPES * sizeof changed_types[0]);
    TRY(pg_take(p, PG_SCAN, &conn, e));
    err_code rc = window_open(&w, p, conn, after_t, upto_t, e);
    if (rc == ERR_OK && after_t < w.upto_t) {
        const char *args[] = { after, upto, w.loads.ptr, n_types };
        (void)snprintf(after, sizeof after, "%" PRIu64, after_t);
        (void)snprintf(upto, sizeof upto, "%" PRIu64, w.upto_t);
        (void)snprintf(n_types, sizeof n_types, "%u", (unsigned)fhir_n_types());
        rc = pg_ask(
            conn,
            "select t from generate_series(1, $4::int) t where exists (select 1 from "
            "changes where type = t::smallint and n > $1 and n <= $2) or exists (select 1 "
            "from unnest($3::bigint[]) l(n) cross join lateral (select 1 from changes c "
            "where c.type = t::smallint and c.n = l.n limit 1) x) or exists (select "
            "1 from unnest($3::bigint[]) l(n) cross join lateral (select 1 from packs k "
            "where k.type = t::smallint and k.first >= ((-l.n << 28) + (t::bigint << 20)) and "
            "k.first < ((-l.n << 28) + (t::bigint << 20)) + 1048576 limit 1) x)",
            4, args, READING, &r, e);
    }
    for (int i = 0; r && i < PQntuples(r); i++)
        changed_types[pg_i64(r, i, 0) & (STORE_TYPES - 1)] = true;
    PQclear(r);
    buf_done(&w.loads);
    pg_give(p, PG_SCAN, conn);
    return rc;
}

err_code pg_touched(struct store *st, const struct store_range *ranges, size_t n, uint64_t after_t,
                    uint64_t upto_t, bool *touched, struct err *e)
{
    struct pg *p = (struct pg *)st;
    /* from the first range's begin to the last one's end */
    struct store_range all = { ranges[0].type, ranges[0].from, ranges[n - 1].to };
    CLEANUP_BUF struct buf numbers = BUF_INIT(NUMBERS_MAX);
    uint64_t as_of = 0;
    struct err mine;
    err_code rc = changed(p, &all, after_t, upto_t, &as_of, &numbers, &mine);
    if (rc == ERR_TOO_LARGE && n > 1) {
        TRY(pg_touched(st, ranges, n / 2, after_t, upto_t, touched, e));
        return pg_touched(st, ranges + n / 2, n - n / 2, after_t, upto_t, touched + n / 2, e);
    }
    if (rc == ERR_TOO_LARGE) {
        touched[0] = true;
        return ERR_OK;
    }
    if (rc != ERR_OK)
        return err_pass(e, &mine);
    const store_number *rows = (const store_number *)(const void *)numbers.ptr;
    for (size_t i = 0, k = 0; i < n; i++) {
        for (; k < numbers.len / sizeof *rows && rows[k] < ranges[i].from; k++)
            ;
        touched[i] = k < numbers.len / sizeof *rows && store_range_has(&ranges[i], rows[k]);
    }
    return ERR_OK;
}

/* ---- the log ---- */

err_code pg_log(struct store *st, fhir_type type, uint64_t from_t, store_number after, size_t max,
                struct arena *a, struct store_log_row **out, size_t *n_out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    struct pg_loads *l = NULL;
    struct store_log_row *rows = arena_alloc(a, (max + 1) * sizeof *rows);
    char of[8], from[24], behind[24], most[24];
    const char *args[] = { of, from, behind, most };
    uint64_t as_of = 0;
    PGresult *r = NULL;
    PGconn *conn;
    if (rows == NULL)
        return arena_oom(a, e);
    TRY(pg_take(p, PG_SCAN, &conn, e));
    err_code rc = pg_as_of(p, conn, from_t, &as_of, &l, e);
    pg_loads_unref(l);
    if (rc == ERR_OK) {
        (void)snprintf(of, sizeof of, "%u", (unsigned)type);
        (void)snprintf(from, sizeof from, "%" PRIu64, as_of);
        /* a place in a commit that is not there yet is in front of all */
        (void)snprintf(behind, sizeof behind, "%" PRIu64, from_t == as_of ? pg_number(after) : 0);
        (void)snprintf(most, sizeof most, "%zu", max);
        rc = pg_ask(
            conn,
            "select t, number from ((select n as t, number from changes where type = $1 "
            "and n > 0 and n <= $2 and (n < $2 or number > $3) order by n desc, number "
            "limit $4) union all (select c.t, x.number from (select t, load from commits "
            "where load > 0 and t <= $2 order by t desc) c cross join lateral (select number "
            "from ((select number from changes where type = $1 and n = -c.load and (c.t < "
            "$2 or number > $3) order by number limit $4) union all (select k.first + g "
            "from (select first, count from packs where type = $1 and first >= ((c.load << 28) + "
            "($1::bigint << 20)) and first < ((c.load << 28) + ($1::bigint << 20)) + "
            "1048576 and (c.t < $2 or first + count - 1 > $3) order by first limit $4) k "
            "cross join lateral generate_series(0, k.count - 1) g where c.t < $2 or "
            "k.first + g > $3 order by 1 limit $4)) y order by number limit $4) x order "
            "by c.t desc, x.number limit $4)) u "
            "order by t desc, number limit $4",
            4, args, READING, &r, e);
    }
    pg_give(p, PG_SCAN, conn);
    TRY(rc);
    const int n = PQntuples(r);
    for (int i = 0; i < n; i++)
        rows[i] =
            (struct store_log_row){ (uint64_t)pg_i64(r, i, 0), (store_number)pg_i64(r, i, 1) };
    PQclear(r);
    *out = rows;
    *n_out = (size_t)n;
    return ERR_OK;
}

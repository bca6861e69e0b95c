/* plan.c - a type's numbers cut into ranges of about equal bytes.
 *
 * Resources of a type stand in stretches. Each load notes fences: a stretch of some MiB, where it
 * begins, how many resources and bytes it has. A block of online births has none: its greatest
 * number says how many there are, and some of them how large one is. Stretches are laid end to end
 * and cut where the bytes are enough, within a stretch as if its resources were all of one size.
 * Sizes are estimates; that ranges neither overlap nor leave a gap is not: each begins where the
 * one before it ends. */
#include "store/postgres/read_private.h"

#define RANGES_MAX    1000000u
#define STRETCHES_MAX (256u << 20)

struct stretch {
    store_number first;
    int64_t n; /* resources */
    double bytes;
};

static err_code add_rows(PGconn *conn, const char *sql, fhir_type type, struct buf *stretches,
                         struct err *e)
{
    char of[8];
    const char *args[] = { of };
    PGresult *r;
    err_code rc = ERR_OK;
    (void)snprintf(of, sizeof of, "%u", (unsigned)type);
    TRY(pg_ask(conn, sql, 1, args, "planning ranges", &r, e));
    for (int i = 0; i < PQntuples(r) && rc == ERR_OK; i++) {
        struct stretch s = { (store_number)pg_i64(r, i, 0), pg_i64(r, i, 1),
                             (double)pg_i64(r, i, 2) };
        if (s.n > 0)
            rc = buf_add(stretches, sv_make(&s, sizeof s), e);
    }
    PQclear(r);
    return rc;
}

static int by_first(const void *a, const void *b)
{
    const struct stretch *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static err_code stretches_of(PGconn *conn, fhir_type type, struct buf *out, struct err *e)
{
    TRY(add_rows(conn, "select number, count, bytes from fences where type = $1::smallint", type,
                 out, e));
    TRY(add_rows(
        conn,
        "select x.first, x.last - x.first + 1, ((x.last - x.first + 1) * coalesce((select "
        "avg(s.body_len) from (select v.body_len from versions v where v.type = "
        "$1::smallint and v.number between x.first and x.last order by v.number, v.n "
        "limit 64) s), 0))::bigint from (select (b.b << 28) + ($1::bigint << 20) as first, "
        "(select v.number from versions v where v.type = $1::smallint and v.number >= "
        "(b.b << 28) + ($1::bigint << 20) and v.number < (b.b << 28) + ($1::bigint << "
        "20) + 1048576 order by v.number desc limit 1) as last from blocks b) x where x.last "
        "is not null",
        type, out, e));
    const size_t n = out->len / sizeof(struct stretch);
    if (n)
        qsort(out->ptr, n, sizeof(struct stretch), by_first);
    return ERR_OK;
}

/* Which resources of a stretch are in the part: from *lo to *hi - 1. */
static void clip(const struct store_range *part, const struct stretch *s, int64_t *lo, int64_t *hi)
{
    const store_number from = part->from, to = part->to, behind = s->first + (uint64_t)s->n;
    *lo = from <= s->first ? 0 : from < behind ? (int64_t)(from - s->first) : s->n;
    *hi = to == 0 || to >= behind ? s->n : to <= s->first ? 0 : (int64_t)(to - s->first);
}

/* Where new ranges begin, appended to bounds. */
static err_code cut(const struct store_range *part, const struct buf *stretches,
                    size_t target_bytes, struct buf *bounds, struct err *e)
{
    const struct stretch *s = (const struct stretch *)(const void *)stretches->ptr;
    const double target = target_bytes ? (double)target_bytes : 1;
    double have = 0; /* of the range that is under way */
    store_number last = part->from;
    for (size_t i = 0; i < stretches->len / sizeof *s; i++) {
        const double each = s[i].bytes / (double)s[i].n + FHIR_SPLICE_MAX;
        int64_t k, end;
        clip(part, &s[i], &k, &end);
        while (k < end) {
            const double fit = (target - have) / each;
            /* a range has one resource at least */
            int64_t step = have > 0 ? 0 : 1;
            if (fit > (double)step)
                step = fit < (double)(end - k) ? (int64_t)fit : end - k;
            have += (double)step * each;
            k += step;
            if (k >= end || bounds->len / sizeof(store_number) >= RANGES_MAX)
                break;
            const store_number at = s[i].first + (uint64_t)k;
            if (at > last)
                TRY(buf_add(bounds, sv_make(&at, sizeof at), e));
            last = at;
            have = 0;
        }
    }
    return ERR_OK;
}

static err_code make_ranges(const struct store_range *part, const struct buf *bounds,
                            struct arena *a, struct store_range **out, size_t *n_out, struct err *e)
{
    const store_number *at = (const store_number *)(const void *)bounds->ptr;
    const size_t n = bounds->len / sizeof *at + 1;
    struct store_range *ranges = arena_alloc(a, n * sizeof *ranges);
    if (ranges == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++)
        ranges[i] = (struct store_range){ .type = part->type,
                                          .from = i ? at[i - 1] : part->from,
                                          .to = i + 1 < n ? at[i] : part->to };
    *out = ranges;
    *n_out = n;
    return ERR_OK;
}

/* A version that no stretch tells of: one under a number of a load that was never published. */
static err_code has_versions(PGconn *conn, fhir_type type, bool *any, struct err *e)
{
    char of[8];
    const char *args[] = { of };
    PGresult *r;
    (void)snprintf(of, sizeof of, "%u", (unsigned)type);
    TRY(pg_ask(conn,
               "(select 1 from changes where type = $1 limit 1) union all (select 1 from packs "
               "where type = $1 limit 1)",
               1, args, "planning ranges", &r, e));
    *any = PQntuples(r) > 0;
    PQclear(r);
    return ERR_OK;
}

err_code pg_plan(struct store *st, const struct store_range *part, size_t target_bytes,
                 struct arena *a, struct store_range **out, size_t *n_out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    CLEANUP_BUF struct buf stretches = BUF_INIT(STRETCHES_MAX);
    CLEANUP_BUF struct buf bounds = BUF_INIT((RANGES_MAX + 1) * sizeof(store_number));
    bool any = false;
    PGconn *conn;
    *out = NULL;
    *n_out = 0;
    TRY(pg_take(p, PG_SCAN, &conn, e));
    err_code rc = stretches_of(conn, part->type, &stretches, e);
    if (rc == ERR_OK && stretches.len == 0)
        rc = has_versions(conn, part->type, &any, e);
    pg_give(p, PG_SCAN, conn);
    TRY(rc);
    TRY(cut(part, &stretches, target_bytes, &bounds, e));
    return stretches.len || any || part->from || part->to
               ? make_ranges(part, &bounds, a, out, n_out, e)
               : ERR_OK;
}

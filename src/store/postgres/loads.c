/* loads.c - which loads are visible, and as of which commit.
 *
 * A version that a load wrote carries the load's number; the row of `commits` says its t, once it
 * is published. Rows of commits never change, and every t up to clock.t is there when clock shows
 * it. So the process keeps the table and asks for what came since; it asks as well whether the
 * commit up to which the table goes is there yet, for a database can lose its newest ones. A reader
 * holds the table that it began with. */
#include "store/postgres/read_private.h"

#include "base/log.h"

#include <stdlib.h>

struct pg_loads {
    atomic_uint refs;
    uint64_t upto_t; /* all loads with t <= upto_t are here */
    uint64_t mark;   /* of commit upto_t */
    size_t n;
    struct pg_load rows[]; /* by number of load */
};

static struct pg_loads *table_new(size_t n)
{
    struct pg_loads *l = calloc(1, sizeof *l + n * sizeof l->rows[0]);
    if (l == NULL)
        abort();
    atomic_init(&l->refs, 1);
    return l;
}

void pg_loads_unref(struct pg_loads *l)
{
    if (l && atomic_fetch_sub(&l->refs, 1) == 1)
        free(l);
}

static struct pg_loads *table_ref(struct pg *p)
{
    pthread_mutex_lock(&p->loads_lock);
    struct pg_loads *l = p->loads;
    if (l)
        atomic_fetch_add(&l->refs, 1);
    pthread_mutex_unlock(&p->loads_lock);
    return l;
}

/* Keeps the one that reaches further. A counted one is given back. */
static struct pg_loads *table_set(struct pg *p, struct pg_loads *l)
{
    struct pg_loads *old = l;
    pthread_mutex_lock(&p->loads_lock);
    if (p->loads == NULL || p->loads->upto_t < l->upto_t) {
        old = p->loads;
        p->loads = l;
    }
    atomic_fetch_add(&p->loads->refs, 1);
    l = p->loads;
    pthread_mutex_unlock(&p->loads_lock);
    pg_loads_unref(old);
    return l;
}

/* The database has lost commits that it was made of. */
static void table_drop(struct pg *p, struct pg_loads *l)
{
    LOG(LOG_ERROR, "database", LOG_STR("state", "went back"), LOG_INT("t", l->upto_t),
        LOG_STR("note", "commits that were acknowledged are lost: a standby that was behind has "
                        "become the primary, or an older state was put back. Exports that began "
                        "before fail, and those that go on from earlier ones are to begin anew"));
    pthread_mutex_lock(&p->loads_lock);
    if (p->loads == l)
        p->loads = NULL;
    else
        l = NULL;
    pthread_mutex_unlock(&p->loads_lock);
    pg_loads_unref(l);
}

static int by_load(const void *a, const void *b)
{
    const struct pg_load *x = a, *y = b;
    return x->b < y->b ? -1 : x->b > y->b;
}

/* From the answer of refresh(): is the commit there up to which the table goes? */
static bool still_holds(const struct pg_loads *l, const PGresult *r)
{
    for (int i = 0; i < PQntuples(r); i++)
        if (pg_i64(r, i, 0) == 0)
            return pg_mark_of(r, i, 3) == l->mark;
    return l->upto_t == 0;
}

/* *back: the table's past is not there any more, and nothing was done. */
static err_code refresh(struct pg *p, PGconn *c, uint64_t upto_t, uint64_t mark,
                        struct pg_loads **table, bool *back, struct err *e)
{
    struct pg_loads *old = *table, *l;
    char after[24], upto[24];
    const char *args[] = { after, upto };
    PGresult *r;
    (void)snprintf(after, sizeof after, "%" PRIu64, old ? old->upto_t : 0);
    (void)snprintf(upto, sizeof upto, "%" PRIu64, upto_t);
    TRY(pg_ask(c,
               "select load, t, instant_ms, null::uuid from commits where load > 0 and t > $1 and "
               "t <= $2 union all select 0, t, instant_ms, who from commits where t = $1",
               2, args, READING, &r, e));
    const size_t n_old = old ? old->n : 0, n = (size_t)PQntuples(r);
    *back = old && !still_holds(old, r);
    if (*back) {
        PQclear(r);
        return ERR_OK;
    }
    l = table_new(n_old + n);
    if (n_old)
        memcpy(l->rows, old->rows, n_old * sizeof l->rows[0]);
    l->n = n_old;
    for (size_t i = 0; i < n; i++)
        if (pg_i64(r, (int)i, 0))
            l->rows[l->n++] =
                (struct pg_load){ (uint64_t)pg_i64(r, (int)i, 0), (uint64_t)pg_i64(r, (int)i, 1),
                                  pg_i64(r, (int)i, 2) };
    PQclear(r);
    l->upto_t = upto_t;
    l->mark = mark;
    if (l->n)
        qsort(l->rows, l->n, sizeof l->rows[0], by_load);
    pg_loads_unref(old);
    *table = table_set(p, l);
    return ERR_OK;
}

err_code pg_as_of(struct pg *p, PGconn *c, uint64_t as_of_t, uint64_t *as_of, struct pg_loads **out,
                  struct err *e)
{
    struct pg_loads *l = table_ref(p);
    if (l == NULL || l->upto_t < as_of_t) {
        struct store_commit last;
        uint64_t mark;
        err_code rc = pg_clock_see(c, &last, &mark, e);
        bool back =
            rc == ERR_OK && l && (l->upto_t > last.t || (l->upto_t == last.t && l->mark != mark));
        if (rc == ERR_OK && !back && (l == NULL || l->upto_t < last.t))
            rc = refresh(p, c, last.t, mark, &l, &back, e);
        if (rc == ERR_OK && back) {
            table_drop(p, l);
            pg_loads_unref(l);
            l = NULL;
            rc = refresh(p, c, last.t, mark, &l, &back, e);
        }
        if (rc != ERR_OK) {
            pg_loads_unref(l);
            return rc;
        }
        if (as_of_t > last.t)
            as_of_t = last.t;
    }
    *as_of = as_of_t;
    *out = l;
    return ERR_OK;
}

const struct pg_load *pg_load_find(const struct pg_loads *l, uint64_t b)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->rows[mid].b < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->n && l->rows[lo].b == b ? &l->rows[lo] : NULL;
}

err_code pg_loads_between(const struct pg_loads *l, uint64_t after_t, uint64_t upto_t,
                          struct buf *out, struct err *e)
{
    bool first = true;
    TRY(buf_add_char(out, '{', e));
    for (size_t i = 0; i < l->n; i++) {
        if (l->rows[i].t <= after_t || l->rows[i].t > upto_t)
            continue;
        TRY(buf_add_fmt(out, e, "%s-%" PRIu64, first ? "" : ",", l->rows[i].b));
        first = false;
    }
    return buf_add_char(out, '}', e);
}

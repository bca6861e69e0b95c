/* order.c - which commit is the newest, which comes next, and which bulk loads are published.
 *
 * Every commit gets a number t and an instant here, and neither ever goes back (I1). Whoever
 * assigns t holds order.lock from the choice of t until readers can see the commit. Readers take
 * two things at their start, under seen.lock, which is held for a moment only: the newest t, and
 * the table of published bulk loads. The keys of a bulk load carry the load's own number; the table
 * says at which t it was published. A reader takes t first and the table after it, so the table
 * holds every load up to that t (I7). A table never changes once it is shown; a publication makes
 * a new one, and the last reader frees the old one. */
#include "store/rocks/rocks_private.h"

#include "base/clock.h"

#include <assert.h>

/* ---- the table of bulk loads ---- */

struct load_table *load_table_new(size_t n)
{
    struct load_table *t = malloc(sizeof *t + n * sizeof t->rows[0]);
    if (t == NULL)
        abort();
    atomic_init(&t->n_refs, 1);
    t->n = n;
    return t;
}

struct load_table *load_table_ref(struct rocks *r)
{
    pthread_mutex_lock(&r->seen.lock);
    struct load_table *t = r->seen.loads;
    atomic_fetch_add(&t->n_refs, 1);
    pthread_mutex_unlock(&r->seen.lock);
    return t;
}

void load_table_unref(struct load_table *t)
{
    if (t && atomic_fetch_sub(&t->n_refs, 1) == 1)
        free(t);
}

const struct bulk_load *load_table_find(const struct load_table *t, uint64_t b)
{
    size_t lo = 0, hi = t->n;
    /* numbers follow each other but for loads that came to nothing: it stands where they would put
     * it, or before */
    if (t->n && b >= t->rows[0].b && b - t->rows[0].b < t->n) {
        hi = (size_t)(b - t->rows[0].b);
        if (t->rows[hi].b == b)
            return &t->rows[hi];
    }
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->rows[mid].b < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n && t->rows[lo].b == b ? &t->rows[lo] : NULL;
}

struct load_table *load_table_with(const struct load_table *old, const struct bulk_load *more,
                                   size_t n)
{
    struct load_table *t = malloc(sizeof *t + (old->n + n) * sizeof t->rows[0]);
    if (t == NULL)
        abort();
    atomic_init(&t->n_refs, 1);
    t->n = old->n;
    memcpy(t->rows, old->rows, old->n * sizeof t->rows[0]);
    for (size_t i = 0; i < n; i++) {
        size_t at = t->n++;
        for (; at && t->rows[at - 1].b > more[i].b; at--)
            t->rows[at] = t->rows[at - 1];
        /* I4: published once */
        assert(at == 0 || t->rows[at - 1].b != more[i].b);
        t->rows[at] = more[i];
    }
    return t;
}

/* ---- what readers see ---- */

struct store_commit rocks_seen_last(struct rocks *r)
{
    pthread_mutex_lock(&r->seen.lock);
    struct store_commit c = r->seen.last;
    pthread_mutex_unlock(&r->seen.lock);
    return c;
}

err_code rocks_last(struct store *st, struct store_commit *out, struct err *e)
{
    (void)e;
    *out = rocks_seen_last((struct rocks *)st);
    return ERR_OK;
}

void rocks_seen_set(struct rocks *r, struct store_commit c, struct load_table *loads)
{
    pthread_mutex_lock(&r->seen.lock);
    /* I1 */
    assert(c.t > r->seen.last.t && c.instant_ms >= r->seen.last.instant_ms);
    /* I3 */
    assert(c.instant_ms > r->order.floor_ms);
    r->seen.last = c;
    struct load_table *old = NULL;
    if (loads) {
        old = r->seen.loads;
        r->seen.loads = loads;
    }
    pthread_mutex_unlock(&r->seen.lock);
    load_table_unref(old);
}

/* as_of and the table that goes with it: the table is taken after T, so it holds every load up to
 * T. */
uint64_t rocks_as_of(struct rocks *r, uint64_t as_of_t, struct load_table **loads)
{
    struct store_commit last = rocks_seen_last(r);
    *loads = load_table_ref(r);
    return as_of_t < last.t ? as_of_t : last.t;
}

/* ---- the next commit ---- */

/* Next (t, instant) behind `last`. order.lock is held. */
struct store_commit rocks_next_commit(const struct rocks *r, struct store_commit last)
{
    int64_t now = r->order.replayed_ms ? *r->order.replayed_ms : clock_wall_ms();
    if (now < last.instant_ms)
        now = last.instant_ms;
    if (now <= r->order.floor_ms)
        now = r->order.floor_ms + 1;
    return (struct store_commit){ last.t + 1, now };
}

void rocks_put_commit(struct rocks *r, rocksdb_writebatch_t *b, struct store_commit c,
                      key_kind kind, uint64_t bulk, uint64_t count)
{
    char v[COMMIT_VALUE_BYTES];
    struct key_bytes k = key_commit('c', c.t);
    commit_value_put(&(struct commit_value){ .instant_ms = c.instant_ms,
                                             .kind = kind,
                                             .bulk = bulk,
                                             .n_resources = count,
                                             .form = SEARCH_INDEX_FORM },
                     v);
    rocksdb_writebatch_put_cf(b, r->cf[CF_COMMITS], k.ptr, k.len, v, sizeof v);
}

/* ---- the horizon ---- */

/* No later commit gets this instant, or an earlier one (I3). order.lock is held. */
static err_code close_instant(struct rocks *r, int64_t instant, struct store_commit *out,
                              struct err *e)
{
    struct store_commit last = rocks_seen_last(r);
    if (instant < last.instant_ms)
        instant = last.instant_ms;
    if (instant < r->order.floor_ms)
        instant = r->order.floor_ms;
    struct key_bytes k = key_commit('f', 0);
    char v[8];
    char *bad = NULL;
    key_put_u64(v, (uint64_t)instant);
    rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_COMMITS], k.ptr, k.len, v, sizeof v, &bad);
    TRY(rocks_write_error(r, bad, "closing an instant", e));
    r->order.floor_ms = instant;
    *out = (struct store_commit){ last.t, instant };
    return ERR_OK;
}

err_code rocks_horizon(struct store *st, struct store_commit *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    /* nobody is between taking a t and showing it */
    pthread_mutex_lock(&r->order.lock);
    err_code rc = close_instant(r, clock_wall_ms(), out, e);
    pthread_mutex_unlock(&r->order.lock);
    return rc;
}

err_code rocks_again_end(struct store *st, int64_t floor_ms, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct store_commit c;
    pthread_mutex_lock(&r->order.lock);
    err_code rc = close_instant(r, floor_ms, &c, e);
    pthread_mutex_unlock(&r->order.lock);
    return rc;
}

err_code rocks_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                         struct err *e)
{
    /* instants grow with t: search by halves over t; every t has a record */
    struct rocks *r = (struct rocks *)st;
    uint64_t lo = 0, hi = rocks_seen_last((struct rocks *)st).t;
    struct store_commit found = { 0, 0 };
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    err_code rc = ERR_OK;
    while (lo < hi && rc == ERR_OK) {
        uint64_t mid = lo + (hi - lo + 1) / 2;
        struct key_bytes k = key_commit('c', mid);
        char *bad = NULL;
        size_t len = 0;
        char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_COMMITS], k.ptr, k.len, &len, &bad);
        rc = rocks_error(bad, "reading a commit", e);
        struct commit_value at;
        if (rc == ERR_OK && (v == NULL || !commit_value_split(sv_make(v, len), &at)))
            rc = ERR(e, ERR_CORRUPT, "a commit's record is missing");
        if (rc == ERR_OK) {
            if (at.instant_ms <= instant_ms) {
                lo = mid;
                found = (struct store_commit){ mid, at.instant_ms };
            } else {
                hi = mid - 1;
            }
        }
        rocksdb_free(v);
    }
    rocksdb_readoptions_destroy(ro);
    if (rc == ERR_OK)
        *out = found;
    return rc;
}

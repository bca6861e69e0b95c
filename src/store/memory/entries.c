/* entries.c - search entries of the oracle, and counts.
 *
 * Nothing is kept in order: a cursor over entries lists those of every version that lie in the
 * driver's ranges and sorts them; a count looks at every version that is current. */
#include "store/memory/memory_private.h"

struct mem_index {
    struct store_index_cursor base;
    struct arena *a;
    struct store_index_hit *rows;
    size_t n, at;
};

static int by_value_then_number(const void *a, const void *b)
{
    const struct store_index_hit *x = a, *y = b;
    int c = sv_cmp(x->value, y->value);
    return c ? c : x->number < y->number ? -1 : x->number > y->number;
}

static int newest_first(const void *a, const void *b)
{
    const struct store_index_hit *x = a, *y = b;
    int c = by_value_then_number(a, b);
    return c ? c : x->t > y->t ? -1 : x->t < y->t;
}

static bool in_ranges(const struct search_driver *d, sv v)
{
    for (size_t i = 0; i < d->n; i++)
        if (sv_cmp(v, sv_make(d->ranges[i].from, d->ranges[i].from_len)) >= 0 &&
            (d->ranges[i].to_len == 0 ||
             sv_cmp(v, sv_make(d->ranges[i].to, d->ranges[i].to_len)) < 0))
            return true;
    return false;
}

/* Each value of a resource once, with its newest version. */
static void keep_newest(struct mem_index *c)
{
    size_t kept = 0;
    if (c->n)
        qsort(c->rows, c->n, sizeof *c->rows, newest_first);
    for (size_t i = 0; i < c->n; i++)
        if (kept == 0 || by_value_then_number(&c->rows[kept - 1], &c->rows[i]) != 0)
            c->rows[kept++] = c->rows[i];
    c->n = kept;
}

err_code mem_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                        sv after_value, store_number after, uint64_t as_of_t,
                        struct store_index_cursor **out, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    struct mem_index *c = calloc(1, sizeof *c);
    const struct store_index_hit mark = { after_value, after, 0 };
    if (c == NULL)
        abort();
    c->base.ops = m->base.ops;
    c->a = arena_new(MEMORY_ANSWER_MAX);
    size_t cap = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n && m->versions[i].commit.t <= as_of_t; i++) {
        const struct mem_version *v = &m->versions[i];
        sv rest = sv_make(v->index, v->index_len), value;
        uint16_t param;
        while (v->type == type && search_index_next(&rest, &param, &value)) {
            struct store_index_hit h = { value, v->number, v->commit.t };
            if (param != d->param || !in_ranges(d, value) ||
                (after_value.len && by_value_then_number(&h, &mark) <= 0))
                continue;
            h.value = arena_sv(c->a, value);
            c->rows = mem_more(c->rows, &cap, c->n + 1, sizeof *c->rows);
            c->rows[c->n++] = h;
        }
    }
    pthread_mutex_unlock(&m->lock);
    keep_newest(c);
    *out = &c->base;
    return ERR_OK;
}

err_code mem_index_next(struct store_index_cursor *base, struct store_index_hit *out, struct err *e)
{
    (void)e;
    struct mem_index *c = (struct mem_index *)base;
    if (c->at == c->n)
        return ERR_EOF;
    *out = c->rows[c->at++];
    return ERR_OK;
}

void mem_index_seek(struct store_index_cursor *base, sv value, store_number number)
{
    struct mem_index *c = (struct mem_index *)base;
    const struct store_index_hit to = { value, number, 0 };
    for (c->at = 0; c->at < c->n && by_value_then_number(&c->rows[c->at], &to) < 0; c->at++)
        ;
}

void mem_index_close(struct store_index_cursor *base)
{
    struct mem_index *c = (struct mem_index *)base;
    arena_free(c->a);
    free(c->rows);
    free(c);
}

unsigned mem_index_form(struct store *st)
{
    (void)st;
    /* nothing in it is older than the process */
    return SEARCH_INDEX_FORM;
}

/* ---- counts ---- */

static bool has_entry(const struct mem_version *v, uint16_t want, sv begin)
{
    sv rest = sv_make(v->index, v->index_len), value;
    uint16_t param;
    while (search_index_next(&rest, &param, &value))
        if (param == want && sv_starts(value, begin))
            return true;
    return false;
}

err_code mem_settle(struct store *st, const atomic_bool *halt, struct err *e)
{
    /* it counts one by one each time */
    (void)st;
    (void)halt;
    (void)e;
    return ERR_OK;
}

err_code mem_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                   struct store_commit *at, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    uint64_t n = 0, rank;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        const struct mem_version *v = &m->versions[i];
        if (v->type == type && v->method != STORE_METHOD_DELETE &&
            mem_find_locked(m, type, mem_id_of(v), STORE_NOW, &rank) == v)
            n += param == 0 || has_entry(v, param, value);
    }
    *at = mem_last_locked(m);
    *out = n;
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

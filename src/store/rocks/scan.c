/* scan.c - every resource of a range that is current as of T, or some of them, in the order of
 * numbers.
 *
 * A load or a block of online writes has its resources of one type side by side, and those of other
 * types in front of and behind them: these are passed with a seek.
 *
 * A block of a giant must not be read by those who only pass it. So a scan of another type ends its
 * iterator in front of Binaries that are many bytes together, and goes on behind them with another.
 *
 * Where records are small one iterator goes from number to number. Where they can be of any size
 * the iterator may be open inside the gate only: a stay there reads some rows ahead, copies them,
 * and leaves, so that nobody holds a large block while its caller works. */
#include "store/rocks/read_private.h"

#define AHEAD_GROUPS 4u /* that a stay looks at for each row it wants */
#define STEPS        4u /* to versions that were not asked for, before a seek */

err_code rocks_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                    struct store_cursor **out, struct err *e)
{
    (void)e;
    struct rocks_cursor *c = rocks_cursor_new((struct rocks *)st, SCAN, as_of_t);
    rocks_cursor_range(c, range);
    *out = &c->base;
    return ERR_OK;
}

err_code rocks_scan_numbers(struct store *st, const store_number *numbers, size_t n,
                            uint64_t as_of_t, struct store_cursor **out, struct err *e)
{
    (void)e;
    struct rocks_cursor *c = rocks_cursor_new((struct rocks *)st, LISTED, as_of_t);
    c->numbers = numbers;
    c->n_numbers = n;
    c->upper = key_end(0);
    *out = &c->base;
    return ERR_OK;
}

/* The gate that a list passes: one resource that needs it has all of them pass. */
static struct gate *gate_of_list(const struct rocks_cursor *c)
{
    struct gate *gate = NULL;
    const bool some = c->base.light || c->base.giants;
    for (size_t i = 0; i < c->n_numbers && some && gate == NULL; i++)
        gate = gate_of_cursor(c, number_type(c->numbers[i]));
    return gate;
}

/* Stand on the first version of a number, or behind its place. before: where the iterator has been
 * last. */
static void to_number(struct iter *x, store_number before, store_number number)
{
    struct key_bytes to = key_number(number);
    for (unsigned i = 0; x->valid && before < number && i <= STEPS; i++) {
        size_t len;
        const char *k = rocksdb_iter_key(x->it, &len);
        if (sv_cmp(sv_make(k, len), sv_make(to.ptr, to.len)) >= 0)
            return;
        if (i < STEPS)
            iter_next(x);
    }
    iter_seek(x, &to);
}

static err_code next_listed(struct rocks_cursor *c, struct store_version *out, struct err *e)
{
    while (c->number_at < c->n_numbers) {
        const store_number number = c->numbers[c->number_at++];
        to_number(&c->x, c->number_at > 1 ? c->numbers[c->number_at - 2] : 0, number);
        if (!c->x.valid) {
            TRY(iter_end(&c->x, e));
            continue;
        }
        struct key_version_parts p;
        TRY(iter_parts(&c->x, &p, e));
        if (p.number == number)
            TRY(id_group_read(&c->g, &c->x, c->loads, c->as_of, true, e));
        /* nobody may stay inside while the caller works */
        if (c->x.gate)
            iter_rest(&c->x);
        if (p.number == number && c->g.best.there) {
            id_group_version(&c->g, out);
            return c->g.best.apart ? rocks_cursor_lend(c, &c->g.best.key, &out->body, e) : ERR_OK;
        }
    }
    return ERR_EOF;
}

/* Stand on a version of the cursor's type, from where the iterator is. */
static err_code to_type(struct rocks_cursor *c, struct err *e)
{
    struct iter *x = &c->x;
    while (x->valid) {
        struct key_version_parts p;
        TRY(iter_parts(x, &p, e));
        if (number_type(p.number) == c->type)
            break;
        uint64_t b = number_b(p.number) + (number_type(p.number) > c->type);
        struct key_bytes to = key_number(number_make(b, c->type, 0));
        iter_seek(x, &to);
    }
    return ERR_OK;
}

/* An iterator from c->passes_to to the next Binaries that are passed over, or to the end. */
static err_code open_stretch(struct rocks_cursor *c, struct err *e)
{
    struct key_bytes from = key_number(c->passes_to), upper = c->upper;
    store_number lo, hi;
    TRY(births_giants(c->r, c->passes_to, &lo, &hi, e));
    c->passes_to = 0;
    if (hi) {
        struct key_bytes to = key_number(lo);
        if (sv_cmp(sv_make(to.ptr, to.len), sv_make(upper.ptr, upper.len)) < 0) {
            upper = to;
            c->passes_to = hi;
        }
    }
    iter_close(&c->x);
    iter_open(&c->x, c->r, upper, ITER_RUN, NULL);
    iter_seek(&c->x, &from);
    return ERR_OK;
}

static err_code next_group(struct rocks_cursor *c, struct err *e)
{
    for (;;) {
        TRY(to_type(c, e));
        err_code rc = id_group_read(&c->g, &c->x, c->loads, c->as_of, true, e);
        if (rc != ERR_EOF || c->x.gate || c->passes_to == 0)
            return rc;
        TRY(open_stretch(c, e));
    }
}

/* Is what the scan has read one of its rows? */
static bool is_row(const struct rocks_cursor *c)
{
    const struct candidate *best = &c->g.best;
    return best->there &&
           (c->kind == SCAN ? best->head.method != STORE_METHOD_DELETE : best->t > c->after_t);
}

static err_code ahead_add(struct ahead *a, const struct id_group *g, struct err *e)
{
    struct ahead_row row = { .at = a->bytes.len, .apart = g->best.apart, .key = g->best.key };
    id_group_version(g, &row.v);
    TRY(buf_add(&a->bytes, row.v.id, e));
    if (!row.apart)
        TRY(buf_add(&a->bytes, row.v.body.json, e));
    return buf_add(&a->rows, sv_make(&row, sizeof row), e);
}

/* One stay in the gate: some rows, of those that stand from c->from on. */
static err_code ahead_fill(struct rocks_cursor *c, struct err *e)
{
    struct ahead *a = &c->ahead;
    struct id_group *g = &c->g;
    size_t n = 0, n_groups = 0;
    err_code rc = ERR_OK;
    buf_clear(&a->rows);
    buf_clear(&a->bytes);
    a->at = 0;
    c->x.n_large = 0;
    iter_seek(&c->x, &c->from);
    while (n < a->want && n_groups++ < AHEAD_GROUPS * a->want && a->bytes.len < AHEAD_BYTES) {
        if ((rc = next_group(c, e)) != ERR_OK)
            break;
        if (is_row(c)) {
            if ((rc = ahead_add(a, g, e)) != ERR_OK)
                break;
            n++;
        }
        c->from = key_number(g->number + 1);
        /* a stay that met one is short; this one, at what is read already, goes on */
        if (c->x.n_large)
            a->want = AHEAD_FIRST;
    }
    iter_rest(&c->x);
    if (rc == ERR_EOF)
        a->end = true;
    else if (rc != ERR_OK && n == 0)
        /* else it comes up again, when it is its turn */
        return rc;
    if (c->x.n_large == 0 && a->want < AHEAD_MOST)
        a->want *= 4;
    return ERR_OK;
}

static err_code next_ahead(struct rocks_cursor *c, struct store_version *out, struct err *e)
{
    struct ahead *a = &c->ahead;
    while (a->at == a->rows.len / sizeof(struct ahead_row)) {
        if (a->end)
            return ERR_EOF;
        TRY(ahead_fill(c, e));
    }
    const struct ahead_row *row = (const struct ahead_row *)(const void *)a->rows.ptr + a->at++;
    *out = row->v;
    out->id.ptr = a->bytes.ptr + row->at;
    if (row->apart)
        return rocks_cursor_lend(c, &row->key, &out->body, e);
    if (out->body.json.len)
        out->body.json.ptr = out->id.ptr + out->id.len;
    return ERR_OK;
}

err_code rocks_cursor_next(struct store_cursor *base, struct store_version *out, struct err *e)
{
    struct rocks_cursor *c = (struct rocks_cursor *)base;
    rocks_cursor_rest(base);
    if (c->kind == HISTORY)
        return rocks_history_next(c, out, e);
    if (c->kind == CHANGES_BY_ROW)
        return rocks_window_next(c, out, e);
    /* not before it is known whether it reads light */
    if (c->x.ro == NULL) {
        struct gate *gate = c->kind == LISTED ? gate_of_list(c) : gate_of_cursor(c, c->type);
        if (c->kind != LISTED && gate == NULL && c->type != c->r->env->gate.type) {
            TRY(open_stretch(c, e));
        } else {
            iter_open(&c->x, c->r, c->upper, c->kind == LISTED ? ITER_SOME : ITER_RUN, gate);
            c->x.halt = base->halt;
            c->passes_to = 0;
            if (gate == NULL && c->kind != LISTED)
                iter_seek(&c->x, &c->from);
        }
    }
    if (c->kind == LISTED)
        return next_listed(c, out, e);
    if (c->x.gate) {
        /* its rows stand side by side in memory of its own */
        base->place = NULL;
        return next_ahead(c, out, e);
    }
    do {
        TRY(next_group(c, e));
    } while (!is_row(c));
    id_group_version(&c->g, out);
    return ERR_OK;
}

/* window.c - the resources of a range that changed within a window of commits, and that work cut
 * into ranges.
 *
 * changes.c collects who changed. Each row names the exact key of the newest version of the window,
 * so a row costs one read. When too many changed to hold in memory the range is scanned instead,
 * and what did not change is passed over (scan.c). */
#include "store/rocks/read_private.h"

/* An online version by its key alone. It is the newest as of the cursor's commit, so its number is
 * the one that stands with it (I5). */
static err_code read_exact(struct rocks_cursor *c, const struct change *ch, struct err *e)
{
    struct id_group *g = &c->g;
    struct value_head *h = &g->best.head;
    TRY(rocks_cursor_value(c, key_version(ch->number, KEY_ONLINE, ch->t), h, e));
    if (!h->online)
        return rocks_damaged(e);
    g->number = ch->number;
    g->hollow = h->erased;
    g->best.there = !h->erased;
    g->best.t = ch->t;
    g->best.instant_ms = h->instant_ms;
    g->version = h->version;
    return ERR_OK;
}

/* What a row stands for, into c->g. A loaded version's rank is counted from those around it: its
 * number is walked, with the one iterator, which goes forward from number to number. */
static err_code read_change(struct rocks_cursor *c, const struct change *ch, struct err *e)
{
    if (ch->b == 0)
        return read_exact(c, ch, e);
    if (c->x.ro == NULL)
        iter_open(&c->x, c->r, key_end(0), ITER_ONE, gate_of_cursor(c, c->type));
    c->x.halt = c->base.halt;
    struct key_bytes from = key_number(ch->number);
    iter_seek(&c->x, &from);
    err_code rc = id_group_read(&c->g, &c->x, c->loads, c->as_of, true, e);
    if (c->x.gate)
        iter_rest(&c->x);
    if (rc == ERR_EOF || (rc == ERR_OK && (c->g.number != ch->number ||
                                           c->g.best.there == c->g.hollow || c->g.best.t != ch->t)))
        return rocks_damaged(e);
    return rc;
}

err_code rocks_window_next(struct rocks_cursor *c, struct store_version *out, struct err *e)
{
    const struct change *rows = (const struct change *)(const void *)c->changes.ptr;
    do {
        if (c->changes_at == c->changes.len / sizeof *rows)
            return ERR_EOF;
        TRY(read_change(c, &rows[c->changes_at++], e));
    } while (c->g.hollow);
    id_group_version(&c->g, out);
    return c->g.best.apart ? rocks_cursor_lend(c, &c->g.best.key, &out->body, e) : ERR_OK;
}

/* ---- opening ---- */

/* A cursor with what has changed; in *many that it is too much for it. */
static err_code changed_rows(struct store *st, const struct store_range *range, uint64_t after_t,
                             uint64_t upto_t, bool *many, struct rocks_cursor **out, struct err *e)
{
    struct rocks_cursor *c = rocks_cursor_new((struct rocks *)st, CHANGES_BY_ROW, upto_t);
    struct err mine;
    c->type = range->type;
    c->after_t = after_t;
    err_code rc = changes_collect(c->r, c->loads, range, after_t, c->as_of, &c->changes, &mine);
    *many = rc == ERR_TOO_LARGE;
    if (rc != ERR_OK && !*many) {
        rocks_cursor_close(&c->base);
        return err_pass(e, &mine);
    }
    *out = c;
    return ERR_OK;
}

err_code rocks_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                       uint64_t upto_t, struct store_cursor **out, struct err *e)
{
    struct rocks_cursor *c;
    bool many;
    TRY(changed_rows(st, range, after_t, upto_t, &many, &c, e));
    /* so much has changed that reading the range is the cheaper way */
    if (many) {
        buf_done(&c->changes);
        c->kind = CHANGES_BY_SCAN;
        rocks_cursor_range(c, range);
    }
    *out = &c->base;
    return ERR_OK;
}

/* ---- cut into ranges ---- */

#define SIZE_SAMPLES 16u

/* Mean bytes of a changed resource. n > 0. */
static err_code mean_bytes(struct rocks_cursor *c, const struct change *rows, size_t n, size_t *out,
                           struct err *e)
{
    assert(n > 0);
    size_t step = n / SIZE_SAMPLES + 1, bytes = 0, k = 0;
    for (size_t i = 0; i < n; i += step, k++) {
        TRY(read_change(c, &rows[i], e));
        bytes += c->g.best.head.body.json.len + FHIR_SPLICE_MAX;
    }
    *out = bytes / k + 1;
    return ERR_OK;
}

static err_code cut_rows(struct rocks_cursor *c, size_t target_bytes, struct arena *a,
                         struct store_range **out, size_t *n_out, struct err *e)
{
    const struct change *rows = (const struct change *)(const void *)c->changes.ptr;
    size_t mean, n = c->changes.len / sizeof *rows;
    *n_out = 0;
    if (n == 0)
        return ERR_OK;
    TRY(mean_bytes(c, rows, n, &mean, e));
    size_t each = target_bytes / mean + 1, n_ranges = (n + each - 1) / each;
    struct store_range *r = arena_calloc(a, n_ranges, sizeof *r);
    if (r == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n_ranges; i++) {
        r[i].type = c->type;
        if (i)
            r[i].from = r[i - 1].to = rows[i * each].number;
    }
    *out = r;
    *n_out = n_ranges;
    return ERR_OK;
}

err_code rocks_changes_plan(struct store *st, fhir_type type, uint64_t after_t, uint64_t upto_t,
                            size_t target_bytes, struct arena *a, struct store_range **out,
                            size_t *n_out, struct err *e)
{
    const struct store_range all = { .type = type };
    struct rocks_cursor *c;
    bool many;
    TRY(changed_rows(st, &all, after_t, upto_t, &many, &c, e));
    err_code rc = many ? rocks_plan(st, &all, target_bytes, a, out, n_out, e)
                       : cut_rows(c, target_bytes, a, out, n_out, e);
    rocks_cursor_close(&c->base);
    return rc;
}

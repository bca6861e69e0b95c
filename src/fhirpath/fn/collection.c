/* collection.c - functions of lists as such. Source: FHIRPath N1, 5.1, 5.3, 5.4. */
#include "fhirpath/fn/fn_private.h"

FN(empty)
{
    (void)n;
    return fp_put_boolean(cx, out, in->n == 0, e);
}

FN(negation)
{
    (void)n;
    fp_truth t;
    TRY(fp_truth_of(cx, in, &t, e));
    return fp_put_truth(cx, out, t == FP_UNKNOWN ? t : t == FP_TRUE ? FP_FALSE : FP_TRUE, e);
}

FN(count)
{
    (void)n;
    return fp_put_integer(cx, out, in->n, e);
}

FN(distinct)
{
    (void)n;
    return fp_put_new(cx, out, in, e);
}

FN(is_distinct)
{
    (void)n;
    struct fp_list l = { 0 };
    TRY(fp_put_new(cx, &l, in, e));
    return fp_put_boolean(cx, out, l.n == in->n, e);
}

/* Is one of them this? All must be booleans. */
static err_code any(struct fp_cx *cx, const struct fp_list *in, bool what, bool *out, struct err *e)
{
    *out = false;
    for (uint32_t i = 0; i < in->n; i++) {
        fp_item v;
        if (!fp_value(cx->a, &in->items[i], &v) || v.kind != FHIRPATH_BOOLEAN)
            return fp_wrong(cx, e, "all items must be booleans");
        *out = *out || v.as.boolean == what;
    }
    return ERR_OK;
}

static err_code put_any(struct fp_cx *cx, const struct fp_list *in, bool what, bool turn,
                        struct fp_list *out, struct err *e)
{
    bool found;
    TRY(any(cx, in, what, &found, e));
    return fp_put_boolean(cx, out, found != turn, e);
}

FN(all_true)
{
    (void)n;
    return put_any(cx, in, false, true, out, e);
}

FN(any_true)
{
    (void)n;
    return put_any(cx, in, true, false, out, e);
}

FN(all_false)
{
    (void)n;
    return put_any(cx, in, true, true, out, e);
}

FN(any_false)
{
    (void)n;
    return put_any(cx, in, false, false, out, e);
}

static err_code put_subset(struct fp_cx *cx, const struct fp_list *small,
                           const struct fp_list *large, struct fp_list *out, struct err *e)
{
    bool has = true;
    for (uint32_t i = 0; has && i < small->n; i++)
        TRY(fp_has(cx, large, &small->items[i], &has, e));
    return fp_put_boolean(cx, out, has, e);
}

FN(subset_of)
{
    struct fp_list l;
    TRY(fp_arg(cx, n, 0, &l, e));
    return put_subset(cx, in, &l, out, e);
}

FN(superset_of)
{
    struct fp_list l;
    TRY(fp_arg(cx, n, 0, &l, e));
    return put_subset(cx, &l, in, out, e);
}

static err_code put_range(struct fp_cx *cx, const struct fp_list *in, int64_t from, int64_t to,
                          struct fp_list *out, struct err *e)
{
    from = from < 0 ? 0 : from;
    to = to > in->n ? in->n : to;
    for (int64_t i = from; i < to; i++)
        TRY(fp_put(cx, out, &in->items[i], e));
    return ERR_OK;
}

FN(single)
{
    (void)n;
    if (in->n > 1)
        return fp_wrong(cx, e, "single() is called on %u items", in->n);
    return fp_put_all(cx, out, in, e);
}

FN(first)
{
    (void)n;
    return put_range(cx, in, 0, 1, out, e);
}

FN(last)
{
    (void)n;
    return put_range(cx, in, (int64_t)in->n - 1, in->n, out, e);
}

FN(tail)
{
    (void)n;
    return put_range(cx, in, 1, in->n, out, e);
}

static err_code number(struct fp_cx *cx, const struct fp_node *n, int64_t *out, struct err *e)
{
    struct fp_list l;
    fp_item v;
    bool has;
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_INTEGER, &v, &has, e));
    if (!has)
        return fp_wrong(cx, e, "%s() asks for a number", n->fn->name);
    *out = v.as.integer;
    return ERR_OK;
}

FN(skip)
{
    int64_t i = 0;
    TRY(number(cx, n, &i, e));
    return put_range(cx, in, i, in->n, out, e);
}

FN(take)
{
    int64_t i = 0;
    TRY(number(cx, n, &i, e));
    return put_range(cx, in, 0, i, out, e);
}

FN(intersect)
{
    struct fp_list l, both = { 0 };
    bool has;
    TRY(fp_arg(cx, n, 0, &l, e));
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(fp_has(cx, &l, &in->items[i], &has, e));
        if (has)
            TRY(fp_put(cx, &both, &in->items[i], e));
    }
    return fp_put_new(cx, out, &both, e);
}

FN(exclude)
{
    struct fp_list l;
    bool has;
    TRY(fp_arg(cx, n, 0, &l, e));
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(fp_has(cx, &l, &in->items[i], &has, e));
        if (!has)
            TRY(fp_put(cx, out, &in->items[i], e));
    }
    return ERR_OK;
}

FN(union)
{
    struct fp_list l;
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_put_new(cx, out, in, e));
    return fp_put_new(cx, out, &l, e);
}

FN(combine)
{
    struct fp_list l;
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_put_all(cx, out, in, e));
    return fp_put_all(cx, out, &l, e);
}

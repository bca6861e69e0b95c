/* filter.c - functions that run an expression for each item of a list: $this is the item, $index
 * its number. Source: FHIRPath N1, 5.1, 5.2, 7 "Aggregates"; FHIRPath 3.0, sort(), coalesce(). */
#include "fhirpath/fn/fn_private.h"

/* A criterion for one item; what is unknown is false. */
static err_code meets(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                      uint32_t i, bool *out, struct err *e)
{
    struct fp_list l;
    fp_truth t;
    TRY(fp_arg_for(cx, n, 0, &in->items[i], i, NULL, &l, e));
    TRY(fp_truth_of(cx, &l, &t, e));
    *out = t == FP_TRUE;
    return ERR_OK;
}

FN(where)
{
    bool yes;
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(meets(cx, n, in, i, &yes, e));
        if (yes)
            TRY(fp_put(cx, out, &in->items[i], e));
    }
    return ERR_OK;
}

FN(select)
{
    struct fp_list l;
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(fp_arg_for(cx, n, 0, &in->items[i], i, NULL, &l, e));
        TRY(fp_put_all(cx, out, &l, e));
    }
    return ERR_OK;
}

/* What is found is looked at in its turn, unless it was there before. */
FN(repeat)
{
    struct fp_list l;
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(fp_arg_for(cx, n, 0, &in->items[i], i, NULL, &l, e));
        TRY(fp_put_new(cx, out, &l, e));
    }
    for (uint32_t i = 0; i < out->n; i++) {
        fp_item item = out->items[i];
        TRY(fp_arg_for(cx, n, 0, &item, i, NULL, &l, e));
        TRY(fp_put_new(cx, out, &l, e));
    }
    return ERR_OK;
}

FN(exists)
{
    bool yes = false;
    for (uint32_t i = 0; n->n_args && !yes && i < in->n; i++)
        TRY(meets(cx, n, in, i, &yes, e));
    return fp_put_boolean(cx, out, n->n_args ? yes : in->n > 0, e);
}

FN(all)
{
    bool yes = true;
    for (uint32_t i = 0; yes && i < in->n; i++)
        TRY(meets(cx, n, in, i, &yes, e));
    return fp_put_boolean(cx, out, yes, e);
}

FN(aggregate)
{
    struct fp_list total = { 0 }, l;
    if (n->n_args > 1)
        TRY(fp_arg(cx, n, 1, &total, e));
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(fp_arg_for(cx, n, 0, &in->items[i], i, &total, &l, e));
        total = l;
    }
    return fp_put_all(cx, out, &total, e);
}

FN(iif)
{
    struct fp_list l;
    fp_item v;
    bool has;
    if (in->n > 1)
        return fp_wrong(cx, e, "iif() is called on one item, and there are %u", in->n);
    const fp_item *self = in->n ? &in->items[0] : NULL;
    TRY(fp_arg_for(cx, n, 0, self, cx->scope.index, NULL, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_BOOLEAN, &v, &has, e));
    unsigned which = has && v.as.boolean ? 1 : 2;
    if (which == n->n_args)
        return ERR_OK;
    TRY(fp_arg_for(cx, n, which, self, cx->scope.index, NULL, &l, e));
    return fp_put_all(cx, out, &l, e);
}

FN(trace)
{
    struct fp_list l;
    fp_item name;
    bool has;
    /* the arguments are run, so that their mistakes show; nothing is written, since what would be
     * is a patient's */
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &name, &has, e));
    for (uint32_t i = 0; n->n_args > 1 && i < in->n; i++)
        TRY(fp_arg_for(cx, n, 1, &in->items[i], i, NULL, &l, e));
    return fp_put_all(cx, out, in, e);
}

FN(coalesce)
{
    (void)in;
    struct fp_list l = { 0 };
    for (unsigned i = 0; l.n == 0 && i < n->n_args; i++)
        TRY(fp_arg(cx, n, i, &l, e));
    return fp_put_all(cx, out, &l, e);
}

/* ---- sort ---- */

/* The keys of an item: one for each argument, empty first. */
struct keys {
    const fp_item *item;
    struct fp_list *of;
};

static err_code key_of(struct fp_cx *cx, const struct fp_node *n, unsigned i, const fp_item *item,
                       struct fp_list *out, struct err *e)
{
    *out = (struct fp_list){ 0 };
    if (n->n_args == 0)
        return fp_put(cx, out, item, e);
    /* a sign in front of a key turns its order, whatever the key is */
    struct fp_node *arg = n->args[i], *key = arg->what == FP_MINUS ? arg->left : arg;
    struct fp_node one = *n;
    one.args = &key;
    TRY(fp_arg_for(cx, &one, 0, item, 0, NULL, out, e));
    cx->now = n;
    if (out->n > 1)
        return fp_wrong(cx, e, "a key of sort() is one item, and there are %u", out->n);
    return ERR_OK;
}

static err_code keys_cmp(struct fp_cx *cx, const struct fp_node *n, const struct keys *a,
                         const struct keys *b, int *out, struct err *e)
{
    unsigned many = n->n_args ? n->n_args : 1;
    *out = 0;
    for (unsigned i = 0; *out == 0 && i < many; i++) {
        const struct fp_list *x = &a->of[i], *y = &b->of[i];
        int c = 0;
        /* nothing comes first, also where the order is turned: HL7's case testSort10 */
        if (x->n == 0 || y->n == 0) {
            *out = (int)(x->n > 0) - (int)(y->n > 0);
            continue;
        }
        TRY(fp_order(cx, &x->items[0], &y->items[0], &c, e));
        c = c == 2 ? 0 : c;
        *out = n->n_args && n->args[i]->what == FP_MINUS ? -c : c;
    }
    return ERR_OK;
}

/* Of two sorted halves, the left one first where they are equal. */
static err_code merge(struct fp_cx *cx, const struct fp_node *n, struct keys *k, uint32_t left,
                      uint32_t all, struct keys *room, struct err *e)
{
    uint32_t i = 0, j = left, to = 0;
    while (i < left && j < all) {
        int c;
        TRY(fp_steps(cx, 1, e));
        TRY(keys_cmp(cx, n, &k[i], &k[j], &c, e));
        room[to++] = c <= 0 ? k[i++] : k[j++];
    }
    memcpy(room + to, k + i, (left - i) * sizeof *k);
    to += left - i;
    memcpy(room + to, k + j, (all - j) * sizeof *k);
    memcpy(k, room, all * sizeof *k);
    return ERR_OK;
}

FN(sort)
{
    unsigned many = n->n_args ? n->n_args : 1;
    if (in->n == 0)
        return ERR_OK;
    struct keys *k = arena_calloc(cx->a, in->n, 2 * sizeof *k);
    struct fp_list *lists = arena_calloc(cx->a, in->n, many * sizeof *lists);
    if (k == NULL || lists == NULL)
        return arena_oom(cx->a, e);
    for (uint32_t i = 0; i < in->n; i++) {
        k[i] = (struct keys){ &in->items[i], lists + (size_t)i * many };
        for (unsigned a = 0; a < many; a++)
            TRY(key_of(cx, n, a, &in->items[i], &k[i].of[a], e));
    }
    for (uint32_t run = 1; run < in->n; run *= 2)
        for (uint32_t at = 0; at + run < in->n; at += 2 * run) {
            uint32_t all = in->n - at < 2 * run ? in->n - at : 2 * run;
            TRY(merge(cx, n, k + at, run, all, k + in->n, e));
        }
    for (uint32_t i = 0; i < in->n; i++)
        TRY(fp_put(cx, out, k[i].item, e));
    return ERR_OK;
}

/* The value is that of the whole list, and $this stays what it is. */
FN(define_variable)
{
    const struct fp_list *outer = cx->scope.focus;
    struct fp_list value = { 0 };
    err_code rc = ERR_OK;
    if (n->n_args == 2) {
        cx->scope.focus = in;
        rc = fp_arg(cx, n, 1, &value, e);
        cx->scope.focus = outer;
    } else {
        rc = fp_put_all(cx, &value, in, e);
    }
    TRY(rc);
    cx->slots[n->slot] = value;
    return fp_put_all(cx, out, in, e);
}

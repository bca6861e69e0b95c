/* bounds.c - what a value may be at least and at most, given how exactly it is written, and how
 * exactly that is. Source: FHIRPath 3.0, lowBoundary(), highBoundary(), precision(),
 * comparable(). */
#include "fhirpath/fn/fn_private.h"

#define DECIMAL_DIGITS 8 /* where no argument says how many */

/* Half of a last digit to one side, then cut to so many digits. */
static bool bound_decimal(fp_decimal d, int digits, bool high, fp_decimal *out)
{
    if (digits < 0 || digits > FP_DIGITS_MAX)
        return false;
    fp_decimal half = fp_decimal_make(5, d.scale + 1), moved;
    return fp_decimal_add(d, half, !high, &moved) &&
           fp_decimal_round(moved, digits, high ? FP_UP : FP_DOWN, out);
}

static err_code bound(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                      bool high, struct fp_list *out, struct err *e)
{
    fp_item v = { 0 }, digits = { 0 };
    struct fp_list l;
    bool has, given = false;
    TRY(fp_one(cx, in, &v, &has, e));
    if (!has && in->n)
        has = fp_quantity(cx->a, &in->items[0], &v);
    if (n->n_args) {
        TRY(fp_arg(cx, n, 0, &l, e));
        TRY(fp_one_of(cx, &l, FHIRPATH_INTEGER, &digits, &given, e));
    }
    if (!has)
        return ERR_OK;
    int to = given ? (int)digits.as.integer : DECIMAL_DIGITS;
    fp_item r = v;
    fhirpath_kind kind = (fhirpath_kind)v.kind;
    switch (kind) {
    case FHIRPATH_INTEGER:
    case FHIRPATH_DECIMAL:
        r.kind = FHIRPATH_DECIMAL;
        if (!bound_decimal(v.kind == FHIRPATH_INTEGER ? fp_decimal_of(v.as.integer) : v.as.decimal,
                           to, high, &r.as.decimal))
            return ERR_OK;
        return fp_put(cx, out, &r, e);
    case FHIRPATH_QUANTITY: {
        struct fhirpath_quantity *q = ARENA_NEW(cx->a, struct fhirpath_quantity);
        if (q == NULL)
            return arena_oom(cx->a, e);
        *q = *v.as.quantity;
        if (!bound_decimal(q->value, to, high, &q->value))
            return ERR_OK;
        r.as.quantity = q;
        return fp_put(cx, out, &r, e);
    }
    case FHIRPATH_DATE:
    case FHIRPATH_DATETIME:
    case FHIRPATH_TIME:
        if (!given)
            to = kind == FHIRPATH_DATE ? 8 : kind == FHIRPATH_TIME ? 9 : 17;
        if (!fp_moment_bound(&v.as.moment, kind, to, high, &r.as.moment, &kind))
            return ERR_OK;
        r.kind = (uint8_t)kind;
        return fp_put(cx, out, &r, e);
    default:
        return fp_wrong(cx, e, "%s has no bounds", fp_kind_name(v.kind));
    }
}

FN(low_boundary)
{
    return bound(cx, n, in, false, out, e);
}

FN(high_boundary)
{
    return bound(cx, n, in, true, out, e);
}

FN(precision)
{
    (void)n;
    fp_item v = { 0 };
    bool has;
    TRY(fp_one(cx, in, &v, &has, e));
    if (!has)
        return ERR_OK;
    switch ((fhirpath_kind)v.kind) {
    case FHIRPATH_INTEGER:
        return fp_put_integer(cx, out, 0, e);
    case FHIRPATH_DECIMAL:
        return fp_put_integer(cx, out, v.as.decimal.scale, e);
    case FHIRPATH_DATE:
    case FHIRPATH_DATETIME:
    case FHIRPATH_TIME:
        return fp_put_integer(cx, out, fp_moment_digits(&v.as.moment, (fhirpath_kind)v.kind), e);
    default:
        return fp_wrong(cx, e, "%s has no precision", fp_kind_name(v.kind));
    }
}

FN(comparable)
{
    fp_item a, b;
    struct fp_list l;
    TRY(fp_arg(cx, n, 0, &l, e));
    if (in->n != 1 || l.n != 1 || !fp_quantity(cx->a, &in->items[0], &a) ||
        !fp_quantity(cx->a, &l.items[0], &b))
        return ERR_OK;
    return fp_put_boolean(cx, out, fp_comparable(a.as.quantity, b.as.quantity), e);
}

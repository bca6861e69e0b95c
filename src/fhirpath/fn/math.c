/* math.c - functions of numbers. What is rational is exact; roots, logarithms and powers have
 * fifteen digits, as a double has. Source: FHIRPath N1, 5.7 "Math". */
#include "fhirpath/fn/fn_private.h"

#include <math.h>

static err_code number(struct fp_cx *cx, const struct fp_list *in, fp_item *v, fp_decimal *d,
                       bool *has, struct err *e)
{
    TRY(fp_one(cx, in, v, has, e));
    if (!*has && in->n)
        *has = fp_quantity(cx->a, &in->items[0], v);
    if (!*has)
        return in->n && in->items[0].structure ? fp_wrong(cx, e, "a number is asked for") : ERR_OK;
    if (v->kind != FHIRPATH_INTEGER && v->kind != FHIRPATH_DECIMAL && v->kind != FHIRPATH_QUANTITY)
        return fp_wrong(cx, e, "a number is asked for, not %s", fp_kind_name(v->kind));
    *d = v->kind == FHIRPATH_INTEGER   ? fp_decimal_of(v->as.integer)
         : v->kind == FHIRPATH_DECIMAL ? v->as.decimal
                                       : v->as.quantity->value;
    return ERR_OK;
}

FN(abs)
{
    (void)n;
    fp_item v;
    fp_decimal d;
    bool has;
    TRY(number(cx, in, &v, &d, &has, e));
    if (!has)
        return ERR_OK;
    if (fp_coef(d) < 0)
        d = fp_decimal_make(-fp_coef(d), d.scale);
    if (v.kind == FHIRPATH_INTEGER)
        return fp_put_integer(cx, out, v.as.integer < 0 ? -v.as.integer : v.as.integer, e);
    if (v.kind == FHIRPATH_DECIMAL)
        return fp_put_decimal(cx, out, d, e);
    struct fhirpath_quantity *q = ARENA_NEW(cx->a, struct fhirpath_quantity);
    if (q == NULL)
        return arena_oom(cx->a, e);
    *q = *v.as.quantity;
    q->value = d;
    return fp_put(cx, out, &(fp_item){ .kind = FHIRPATH_QUANTITY, .as.quantity = q }, e);
}

static err_code whole(struct fp_cx *cx, const struct fp_list *in, fp_rounding how,
                      struct fp_list *out, struct err *e)
{
    fp_item v;
    fp_decimal d;
    int64_t i;
    bool has;
    TRY(number(cx, in, &v, &d, &has, e));
    if (!has || !fp_decimal_round(d, 0, how, &d) || !fp_decimal_is_whole(d, &i))
        return ERR_OK;
    return fp_put_integer(cx, out, i, e);
}

FN(ceiling)
{
    (void)n;
    return whole(cx, in, FP_UP, out, e);
}

FN(floor)
{
    (void)n;
    return whole(cx, in, FP_DOWN, out, e);
}

FN(truncate)
{
    (void)n;
    return whole(cx, in, FP_TO_ZERO, out, e);
}

FN(round)
{
    fp_item v, digits = { 0 };
    struct fp_list l;
    fp_decimal d;
    bool has, has_digits = false;
    TRY(number(cx, in, &v, &d, &has, e));
    if (n->n_args) {
        TRY(fp_arg(cx, n, 0, &l, e));
        TRY(fp_one_of(cx, &l, FHIRPATH_INTEGER, &digits, &has_digits, e));
    }
    if (has_digits && (digits.as.integer < 0 || digits.as.integer > FP_DIGITS_MAX))
        return fp_wrong(cx, e, "round() takes 0 to %d digits", FP_DIGITS_MAX);
    int to = has_digits ? (int)digits.as.integer : 0;
    if (!has)
        return ERR_OK;
    if (d.scale > to && !fp_decimal_round(d, to, FP_NEAREST, &d))
        return ERR_OK;
    return fp_put_decimal(cx, out, d, e);
}

static err_code put_near(struct fp_cx *cx, double v, struct fp_list *out, struct err *e)
{
    fp_decimal d;
    return fp_decimal_near(v, &d) ? fp_put_decimal(cx, out, d, e) : ERR_OK;
}

static err_code real(struct fp_cx *cx, const struct fp_list *in, double (*fn)(double),
                     struct fp_list *out, struct err *e)
{
    fp_item v;
    fp_decimal d;
    bool has;
    TRY(number(cx, in, &v, &d, &has, e));
    return has ? put_near(cx, fn(fp_decimal_double(d)), out, e) : ERR_OK;
}

FN(sqrt)
{
    (void)n;
    return real(cx, in, sqrt, out, e);
}

FN(exp)
{
    (void)n;
    return real(cx, in, exp, out, e);
}

FN(ln)
{
    (void)n;
    return real(cx, in, log, out, e);
}

static err_code two(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in, fp_item *v,
                    fp_decimal *a, fp_decimal *b, bool *has, struct err *e)
{
    struct fp_list l;
    fp_item w;
    bool both;
    TRY(number(cx, in, v, a, has, e));
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(number(cx, &l, &w, b, &both, e));
    /* whole only where both are */
    if (*has && both && w.kind != FHIRPATH_INTEGER)
        v->kind = FHIRPATH_DECIMAL;
    *has = *has && both;
    return ERR_OK;
}

FN(log)
{
    fp_item v;
    fp_decimal a, b;
    bool has;
    TRY(two(cx, n, in, &v, &a, &b, &has, e));
    return has ? put_near(cx, log(fp_decimal_double(a)) / log(fp_decimal_double(b)), out, e)
               : ERR_OK;
}

FN(power)
{
    fp_item v;
    fp_decimal a, b, r = fp_decimal_of(1);
    int64_t i;
    bool has, exact;
    TRY(two(cx, n, in, &v, &a, &b, &has, e));
    if (!has)
        return ERR_OK;
    exact = fp_decimal_is_whole(b, &i) && i >= 0 && i <= 200;
    for (int64_t k = 0; exact && k < i; k++)
        exact = fp_decimal_mul(r, a, &r);
    if (!exact)
        return put_near(cx, pow(fp_decimal_double(a), fp_decimal_double(b)), out, e);
    if (v.kind == FHIRPATH_INTEGER)
        return fp_decimal_is_whole(r, &i) ? fp_put_integer(cx, out, i, e) : ERR_OK;
    return fp_put_decimal(cx, out, r, e);
}

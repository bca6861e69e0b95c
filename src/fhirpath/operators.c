/* operators.c - the operators between two lists. Arithmetic asks for one item on each side; an
 * empty side makes an empty result, and so does overflow.
 * Source: FHIRPath N1, 6 "Operations". */
#include "fhirpath/fhirpath_private.h"

/* An operand of arithmetic. */
static err_code operand(struct fp_cx *cx, const struct fp_list *l, fp_item *out, bool *has,
                        struct err *e)
{
    TRY(fp_one(cx, l, out, has, e));
    if (!*has && l->n)
        *has = fp_quantity(cx->a, &l->items[0], out);
    if (!*has && l->n && l->items[0].structure)
        return fp_wrong(cx, e, "there is no arithmetic with an object");
    return ERR_OK;
}

static bool is_number(const fp_item *v)
{
    return v->kind == FHIRPATH_INTEGER || v->kind == FHIRPATH_DECIMAL;
}

static fp_decimal number_of(const fp_item *v)
{
    return v->kind == FHIRPATH_INTEGER ? fp_decimal_of(v->as.integer) : v->as.decimal;
}

static err_code put_quantity(struct fp_cx *cx, const struct fhirpath_quantity *q,
                             struct fp_list *out, struct err *e)
{
    struct fhirpath_quantity *copy = ARENA_NEW(cx->a, struct fhirpath_quantity);
    if (copy == NULL)
        return arena_oom(cx->a, e);
    *copy = *q;
    return fp_put(cx, out, &(fp_item){ .kind = FHIRPATH_QUANTITY, .as.quantity = copy }, e);
}

static err_code numbers(struct fp_cx *cx, fp_op op, const fp_item *x, const fp_item *y,
                        struct fp_list *out, struct err *e)
{
    bool whole = x->kind == FHIRPATH_INTEGER && y->kind == FHIRPATH_INTEGER, ok = false;
    fp_decimal a = number_of(x), b = number_of(y), r = a, left;
    int64_t i;
    if (op == FP_OP_ADD || op == FP_OP_SUB)
        ok = fp_decimal_add(a, b, op == FP_OP_SUB, &r);
    else if (op == FP_OP_MUL)
        ok = fp_decimal_mul(a, b, &r);
    else if (op == FP_OP_DIVIDE)
        ok = fp_decimal_div(a, b, &r);
    else if (op == FP_OP_DIV)
        ok = fp_decimal_div_mod(a, b, &r, &left);
    else
        ok = fp_decimal_div_mod(a, b, &left, &r);
    if (!ok)
        return ERR_OK;
    if (op == FP_OP_DIV || (whole && op != FP_OP_DIVIDE))
        return fp_decimal_is_whole(r, &i) ? fp_put_integer(cx, out, i, e) : ERR_OK;
    return fp_put_decimal(cx, out, r, e);
}

static err_code quantities(struct fp_cx *cx, fp_op op, const fp_item *x, const fp_item *y,
                           struct fp_list *out, struct err *e)
{
    fp_item p, q;
    struct fhirpath_quantity r;
    fp_decimal other;
    if (!fp_quantity(cx->a, x, &p) || !fp_quantity(cx->a, y, &q))
        return fp_wrong(cx, e, "%s and %s do not go together", fp_kind_name(x->kind),
                        fp_kind_name(y->kind));
    if (op == FP_OP_MUL || op == FP_OP_DIVIDE) {
        if (!fp_quantity_times(cx->a, p.as.quantity, q.as.quantity, op == FP_OP_DIVIDE, &r))
            return ERR_OK;
        return put_quantity(cx, &r, out, e);
    }
    if (op != FP_OP_ADD && op != FP_OP_SUB)
        return fp_wrong(cx, e, "quantities have no div and no mod");
    r = *p.as.quantity;
    if (!fp_quantity_as(p.as.quantity, q.as.quantity, &other) ||
        !fp_decimal_add(r.value, other, op == FP_OP_SUB, &r.value))
        return ERR_OK;
    return put_quantity(cx, &r, out, e);
}

static err_code move(struct fp_cx *cx, fp_op op, const fp_item *x, const fp_item *y,
                     struct fp_list *out, struct err *e)
{
    fp_item r = *x;
    fp_sum sum = FP_SUM_UNIT;
    if (y->kind == FHIRPATH_QUANTITY && (op == FP_OP_ADD || op == FP_OP_SUB))
        sum = fp_moment_add(&x->as.moment, (fhirpath_kind)x->kind, y->as.quantity, op == FP_OP_SUB,
                            &r.as.moment);
    if (sum == FP_SUM_UNIT)
        return fp_wrong(cx, e, "%s moves by a quantity of time alone", fp_kind_name(x->kind));
    return sum == FP_SUM_OK ? fp_put(cx, out, &r, e) : ERR_OK;
}

static err_code arithmetic(struct fp_cx *cx, fp_op op, const struct fp_list *a,
                           const struct fp_list *b, struct fp_list *out, struct err *e)
{
    fp_item x, y;
    bool p, q;
    TRY(operand(cx, a, &x, &p, e));
    TRY(operand(cx, b, &y, &q, e));
    if (!p || !q)
        return ERR_OK;
    if (is_number(&x) && is_number(&y))
        return numbers(cx, op, &x, &y, out, e);
    if (x.kind == FHIRPATH_DATE || x.kind == FHIRPATH_DATETIME || x.kind == FHIRPATH_TIME)
        return move(cx, op, &x, &y, out, e);
    if (op == FP_OP_ADD && x.kind == FHIRPATH_STRING && y.kind == FHIRPATH_STRING) {
        sv text = ARENA_JOIN(cx->a, x.as.text, y.as.text);
        return text.ptr ? fp_put_text(cx, out, text, e) : arena_oom(cx->a, e);
    }
    return quantities(cx, op, &x, &y, out, e);
}

static err_code concat(struct fp_cx *cx, const struct fp_list *a, const struct fp_list *b,
                       struct fp_list *out, struct err *e)
{
    fp_item x, y;
    bool p, q;
    TRY(fp_one_of(cx, a, FHIRPATH_STRING, &x, &p, e));
    TRY(fp_one_of(cx, b, FHIRPATH_STRING, &y, &q, e));
    sv text = ARENA_JOIN(cx->a, p ? x.as.text : SV_LIT(""), q ? y.as.text : SV_LIT(""));
    return text.ptr ? fp_put_text(cx, out, text, e) : arena_oom(cx->a, e);
}

static err_code logic(struct fp_cx *cx, fp_op op, const struct fp_list *a, const struct fp_list *b,
                      struct fp_list *out, struct err *e)
{
    fp_truth x, y, r = FP_UNKNOWN;
    TRY(fp_truth_of(cx, a, &x, e));
    TRY(fp_truth_of(cx, b, &y, e));
    if (op == FP_OP_AND)
        r = x == FP_FALSE || y == FP_FALSE ? FP_FALSE
            : x == FP_TRUE && y == FP_TRUE ? FP_TRUE
                                           : FP_UNKNOWN;
    else if (op == FP_OP_OR)
        r = x == FP_TRUE || y == FP_TRUE     ? FP_TRUE
            : x == FP_FALSE && y == FP_FALSE ? FP_FALSE
                                             : FP_UNKNOWN;
    else if (op == FP_OP_XOR)
        r = x == FP_UNKNOWN || y == FP_UNKNOWN ? FP_UNKNOWN : x != y ? FP_TRUE : FP_FALSE;
    else
        r = x == FP_FALSE || y == FP_TRUE   ? FP_TRUE
            : x == FP_TRUE && y == FP_FALSE ? FP_FALSE
                                            : FP_UNKNOWN;
    return fp_put_truth(cx, out, r, e);
}

static err_code order(struct fp_cx *cx, fp_op op, const struct fp_list *a, const struct fp_list *b,
                      struct fp_list *out, struct err *e)
{
    int c;
    if (a->n > 1 || b->n > 1)
        return fp_wrong(cx, e, "one item is asked for on each side");
    if (a->n == 0 || b->n == 0)
        return ERR_OK;
    TRY(fp_order(cx, &a->items[0], &b->items[0], &c, e));
    if (c == 2)
        return ERR_OK;
    return fp_put_boolean(cx, out,
                          op == FP_OP_LT   ? c < 0
                          : op == FP_OP_GT ? c > 0
                          : op == FP_OP_LE ? c <= 0
                                           : c >= 0,
                          e);
}

static err_code within(struct fp_cx *cx, const struct fp_list *one, const struct fp_list *many,
                       struct fp_list *out, struct err *e)
{
    bool has;
    if (one->n == 0)
        return ERR_OK;
    if (one->n > 1)
        return fp_wrong(cx, e, "one item is asked for and there are %u", one->n);
    TRY(fp_has(cx, many, &one->items[0], &has, e));
    return fp_put_boolean(cx, out, has, e);
}

err_code fp_operate(struct fp_cx *cx, fp_op op, const struct fp_list *a, const struct fp_list *b,
                    struct fp_list *out, struct err *e)
{
    fp_truth t;
    bool alike;
    switch (op) {
    case FP_OP_CONCAT:
        return concat(cx, a, b, out, e);
    case FP_OP_UNION:
        TRY(fp_put_new(cx, out, a, e));
        return fp_put_new(cx, out, b, e);
    case FP_OP_LT:
    case FP_OP_GT:
    case FP_OP_LE:
    case FP_OP_GE:
        return order(cx, op, a, b, out, e);
    case FP_OP_EQ:
    case FP_OP_NE:
        TRY(fp_lists_equal(cx, a, b, &t, e));
        if (op == FP_OP_NE && t != FP_UNKNOWN)
            t = t == FP_TRUE ? FP_FALSE : FP_TRUE;
        return fp_put_truth(cx, out, t, e);
    case FP_OP_LIKE:
    case FP_OP_UNLIKE:
        TRY(fp_lists_alike(cx, a, b, &alike, e));
        return fp_put_boolean(cx, out, alike == (op == FP_OP_LIKE), e);
    case FP_OP_IN:
        return within(cx, a, b, out, e);
    case FP_OP_CONTAINS:
        return within(cx, b, a, out, e);
    case FP_OP_AND:
    case FP_OP_OR:
    case FP_OP_XOR:
    case FP_OP_IMPLIES:
        return logic(cx, op, a, b, out, e);
    default:
        return arithmetic(cx, op, a, b, out, e);
    }
}

err_code fp_negate(struct fp_cx *cx, const struct fp_list *a, struct fp_list *out, struct err *e)
{
    fp_item x;
    bool has;
    TRY(operand(cx, a, &x, &has, e));
    if (!has)
        return ERR_OK;
    if (x.kind == FHIRPATH_INTEGER)
        return fp_put_integer(cx, out, -x.as.integer, e);
    if (x.kind == FHIRPATH_DECIMAL)
        return fp_put_decimal(cx, out, fp_decimal_make(-fp_coef(x.as.decimal), x.as.decimal.scale),
                              e);
    if (x.kind != FHIRPATH_QUANTITY)
        return fp_wrong(cx, e, "%s has no sign", fp_kind_name(x.kind));
    struct fhirpath_quantity q = *x.as.quantity;
    q.value = fp_decimal_make(-fp_coef(q.value), q.value.scale);
    return put_quantity(cx, &q, out, e);
}

/* list.c - lists of items that grow in the arena of a run, what each of them costs, what is asked
 * of a list that should be one item, and how a fault is told.
 * Source: FHIRPath N1, 4.5 "Singleton evaluation". */
#include "fhirpath/fhirpath_private.h"

err_code fp_steps(struct fp_cx *cx, uint64_t n, struct err *e)
{
    if (cx->run->steps < n) {
        cx->run->steps = 0;
        return ERR(e, ERR_TOO_LARGE, "the expression takes too many steps");
    }
    cx->run->steps -= n;
    cx->run->since_look += n;
    if (cx->run->look == NULL || cx->run->since_look < FHIRPATH_LOOK_STEPS)
        return ERR_OK;
    cx->run->since_look = 0;
    return cx->run->look(cx->run->look_ctx, e);
}

err_code fp_put(struct fp_cx *cx, struct fp_list *l, const fp_item *item, struct err *e)
{
    TRY(fp_steps(cx, 1, e));
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 4 : 1;
        fp_item *more =
            arena_grow(cx->a, l->items, l->cap * sizeof(fp_item), cap * sizeof(fp_item));
        if (more == NULL)
            return arena_oom(cx->a, e);
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = *item;
    return ERR_OK;
}

err_code fp_put_all(struct fp_cx *cx, struct fp_list *l, const struct fp_list *from, struct err *e)
{
    for (uint32_t i = 0; i < from->n; i++)
        TRY(fp_put(cx, l, &from->items[i], e));
    return ERR_OK;
}

err_code fp_put_boolean(struct fp_cx *cx, struct fp_list *l, bool v, struct err *e)
{
    return fp_put(cx, l, &(fp_item){ .kind = FHIRPATH_BOOLEAN, .as.boolean = v }, e);
}

err_code fp_put_integer(struct fp_cx *cx, struct fp_list *l, int64_t v, struct err *e)
{
    /* beyond it is overflow, and so nothing: FHIRPath N1, 6.6 */
    if (v < INT32_MIN || v > INT32_MAX)
        return ERR_OK;
    return fp_put(cx, l, &(fp_item){ .kind = FHIRPATH_INTEGER, .as.integer = v }, e);
}

err_code fp_put_decimal(struct fp_cx *cx, struct fp_list *l, fp_decimal v, struct err *e)
{
    return fp_put(cx, l, &(fp_item){ .kind = FHIRPATH_DECIMAL, .as.decimal = v }, e);
}

err_code fp_put_text(struct fp_cx *cx, struct fp_list *l, sv v, struct err *e)
{
    TRY(fp_steps(cx, v.len / 64, e));
    return fp_put(cx, l, &(fp_item){ .kind = FHIRPATH_STRING, .as.text = v }, e);
}

err_code fp_fault(sv text, size_t offset, err_code code, const char *why,
                  struct fhirpath_place *where, struct err *e)
{
    struct fhirpath_place p = { offset, 1, 1 };
    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.ptr[i] == '\n') {
            p.line++;
            p.column = 1;
        } else if (((unsigned char)text.ptr[i] & 0xC0) != 0x80) {
            p.column++;
        }
    }
    if (where)
        *where = p;
    return ERR(e, code, "line %u, column %u of the expression: %s", p.line, p.column, why);
}

err_code fp_wrong(struct fp_cx *cx, struct err *e, const char *fmt, ...)
{
    char why[ERR_MSG_LEN - 64];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return fp_fault(cx->path->text, cx->now ? cx->now->at : 0, ERR_INVALID, why, NULL, e);
}

err_code fp_one(struct fp_cx *cx, const struct fp_list *l, fp_item *out, bool *has, struct err *e)
{
    if (l->n > 1)
        return fp_wrong(cx, e, "one item is asked for and there are %u", l->n);
    *has = l->n == 1 && fp_value(cx->a, &l->items[0], out);
    return ERR_OK;
}

err_code fp_one_of(struct fp_cx *cx, const struct fp_list *l, fhirpath_kind kind, fp_item *out,
                   bool *has, struct err *e)
{
    fp_item v = { 0 };
    TRY(fp_one(cx, l, &v, has, e));
    if (!*has) {
        if (l->n && l->items[0].structure)
            return fp_wrong(cx, e, "%s is asked for, not an object", fp_kind_name(kind));
        return ERR_OK;
    }
    if (kind == FHIRPATH_DECIMAL && v.kind == FHIRPATH_INTEGER) {
        v.as.decimal = fp_decimal_of(v.as.integer);
        v.kind = FHIRPATH_DECIMAL;
    }
    if (v.kind != kind)
        return fp_wrong(cx, e, "%s is asked for, not %s", fp_kind_name(kind), fp_kind_name(v.kind));
    *out = v;
    return ERR_OK;
}

err_code fp_truth_of(struct fp_cx *cx, const struct fp_list *l, fp_truth *out, struct err *e)
{
    fp_item v = { 0 };
    bool has = false;
    TRY(fp_one(cx, l, &v, &has, e));
    *out = l->n == 0                                            ? FP_UNKNOWN
           : has && v.kind == FHIRPATH_BOOLEAN && !v.as.boolean ? FP_FALSE
                                                                : FP_TRUE;
    return ERR_OK;
}

err_code fp_put_truth(struct fp_cx *cx, struct fp_list *l, fp_truth v, struct err *e)
{
    return v == FP_UNKNOWN ? ERR_OK : fp_put_boolean(cx, l, v == FP_TRUE, e);
}

err_code fp_arg(struct fp_cx *cx, const struct fp_node *n, unsigned i, struct fp_list *out,
                struct err *e)
{
    *out = (struct fp_list){ 0 };
    err_code rc = cx->eval(cx, n->args[i], out, e);
    cx->now = n;
    return rc;
}

err_code fp_arg_for(struct fp_cx *cx, const struct fp_node *n, unsigned i, const fp_item *self,
                    int64_t index, const struct fp_list *total, struct fp_list *out, struct err *e)
{
    struct fp_scope outer = cx->scope;
    *out = (struct fp_list){ 0 };
    cx->scope.has_self = self != NULL;
    if (self)
        cx->scope.self = *self;
    cx->scope.focus = NULL;
    cx->scope.index = index;
    cx->scope.has_index = true;
    if (total)
        cx->scope.total = total;
    err_code rc = cx->eval(cx, n->args[i], out, e);
    cx->scope = outer;
    cx->now = n;
    return rc;
}

/* compare.c - equality, equivalence and order of items and lists. Objects are equal when their JSON
 * is, numbers by what they are worth, members in any order. Equivalence forgets case, the order of
 * lists, and digits that only one side has. Every value looked at is a step.
 * Source: FHIRPath N1, 6.1 "Equality", 6.2 "Comparison". */
#include "fhirpath/fhirpath_private.h"

#include "codec/json_equal.h"

#include <utf8proc.h>

/* ---- texts ---- */

static int32_t next_letter(sv *t)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)t->ptr, (utf8proc_ssize_t)t->len, &c);
    if (n <= 0) {
        c = (unsigned char)t->ptr[0];
        n = 1;
    }
    *t = sv_tail(*t, (size_t)n);
    if (c == ' ' || (c >= '\t' && c <= '\r') || c == 0xA0)
        return ' ';
    return utf8proc_tolower(c);
}

static bool texts_alike(sv a, sv b)
{
    while (a.len && b.len)
        if (next_letter(&a) != next_letter(&b))
            return false;
    return a.len == b.len;
}

static bool numbers_alike(fp_decimal a, fp_decimal b)
{
    a = fp_decimal_trim(a);
    b = fp_decimal_trim(b);
    int digits = a.scale < b.scale ? a.scale : b.scale;
    return fp_decimal_round(a, digits, FP_NEAREST, &a) &&
           fp_decimal_round(b, digits, FP_NEAREST, &b) && fp_decimal_cmp(a, b) == 0;
}

/* ---- JSON ---- */

static err_code same_json(struct fp_cx *cx, yyjson_val *a, yyjson_val *b, bool alike, bool *out,
                          struct err *e);

static err_code same_objects(struct fp_cx *cx, yyjson_val *a, yyjson_val *b, bool alike, bool *out,
                             struct err *e)
{
    yyjson_obj_iter it;
    yyjson_val *key;
    *out = yyjson_obj_size(a) == yyjson_obj_size(b);
    yyjson_obj_iter_init(a, &it);
    while (*out && (key = yyjson_obj_iter_next(&it))) {
        TRY(fp_steps(cx, yyjson_obj_size(b) * (1 + yyjson_get_len(key) / 64), e));
        yyjson_val *other = yyjson_obj_getn(b, yyjson_get_str(key), yyjson_get_len(key));
        *out = other != NULL;
        if (other)
            TRY(same_json(cx, yyjson_obj_iter_get_val(key), other, alike, out, e));
    }
    return ERR_OK;
}

/* Which items of a list have found one that is like them: `taken`, and all in front of `from`. */
struct taking {
    bool *taken;
    size_t from;
};

static err_code taking_init(struct fp_cx *cx, size_t n, struct taking *t, struct err *e)
{
    *t = (struct taking){ .taken = arena_calloc(cx->a, n, sizeof(bool)) };
    return t->taken ? ERR_OK : arena_oom(cx->a, e);
}

static void taking_put(struct taking *t, size_t i, size_t n)
{
    t->taken[i] = true;
    while (t->from < n && t->taken[t->from])
        t->from++;
}

/* The items in any order. */
static err_code alike_arrays(struct fp_cx *cx, yyjson_val *a, yyjson_val *b, bool *out,
                             struct err *e)
{
    size_t n = yyjson_arr_size(a);
    struct taking t;
    yyjson_arr_iter x, y, first;
    yyjson_val *one, *other;
    TRY(taking_init(cx, n, &t, e));
    yyjson_arr_iter_init(a, &x);
    yyjson_arr_iter_init(b, &first);
    while (*out && (one = yyjson_arr_iter_next(&x))) {
        *out = false;
        y = first;
        for (size_t k = t.from; !*out && (other = yyjson_arr_iter_next(&y)); k++) {
            TRY(fp_steps(cx, 1, e));
            if (t.taken[k])
                continue;
            TRY(same_json(cx, one, other, true, out, e));
            if (!*out)
                continue;
            size_t was = t.from;
            taking_put(&t, k, n);
            for (; was < t.from; was++)
                (void)yyjson_arr_iter_next(&first);
        }
    }
    return ERR_OK;
}

static err_code same_arrays(struct fp_cx *cx, yyjson_val *a, yyjson_val *b, bool alike, bool *out,
                            struct err *e)
{
    yyjson_arr_iter x, y;
    yyjson_val *one;
    *out = yyjson_arr_size(a) == yyjson_arr_size(b);
    if (!*out || yyjson_arr_size(a) == 0)
        return ERR_OK;
    if (alike)
        return alike_arrays(cx, a, b, out, e);
    yyjson_arr_iter_init(a, &x);
    yyjson_arr_iter_init(b, &y);
    while (*out && (one = yyjson_arr_iter_next(&x)))
        TRY(same_json(cx, one, yyjson_arr_iter_next(&y), false, out, e));
    return ERR_OK;
}

static err_code same_json(struct fp_cx *cx, yyjson_val *a, yyjson_val *b, bool alike, bool *out,
                          struct err *e)
{
    TRY(fp_steps(cx, 1, e));
    fp_decimal x, y;
    if (a == b)
        *out = true;
    else if (a == NULL || b == NULL || yyjson_get_type(a) != yyjson_get_type(b))
        *out = false;
    else if (yyjson_is_obj(a))
        return same_objects(cx, a, b, alike, out, e);
    else if (yyjson_is_arr(a))
        return same_arrays(cx, a, b, alike, out, e);
    else if (yyjson_is_str(a)) {
        *out = alike ? texts_alike(json_string(a), json_string(b))
                     : sv_eq(json_string(a), json_string(b));
        return fp_steps(cx, yyjson_get_len(a) / (alike ? 4 : 64), e);
    } else if (yyjson_is_raw(a)) {
        *out = alike && fp_decimal_read(json_number(a), &x) && fp_decimal_read(json_number(b), &y)
                   ? numbers_alike(x, y)
                   : json_number_equal(json_number(a), json_number(b));
        return fp_steps(cx, (yyjson_get_len(a) + yyjson_get_len(b)) / 16, e);
    } else
        *out = yyjson_is_null(a) || yyjson_get_bool(a) == yyjson_get_bool(b);
    return ERR_OK;
}

/* ---- items ---- */

static bool is_number(const fp_item *v)
{
    return v->kind == FHIRPATH_INTEGER || v->kind == FHIRPATH_DECIMAL;
}

static bool is_date(const fp_item *v)
{
    return v->kind == FHIRPATH_DATE || v->kind == FHIRPATH_DATETIME;
}

static fp_decimal number_of(const fp_item *v)
{
    return v->kind == FHIRPATH_INTEGER ? fp_decimal_of(v->as.integer) : v->as.decimal;
}

/* Both as values; false: at least one is an object or nothing. */
static bool values_of(struct fp_cx *cx, const fp_item *a, const fp_item *b, fp_item *x, fp_item *y)
{
    bool p = fp_value(cx->a, a, x), q = fp_value(cx->a, b, y);
    if (p && q && (x->kind == FHIRPATH_QUANTITY) == (y->kind == FHIRPATH_QUANTITY))
        return true;
    /* quantities of FHIR beside those of FHIRPath, and numbers, which have the unit 1 */
    if ((p && x->kind == FHIRPATH_QUANTITY) || (q && y->kind == FHIRPATH_QUANTITY))
        return fp_quantity(cx->a, p ? x : a, x) && fp_quantity(cx->a, q ? y : b, y);
    return p && q;
}

/* Of two values: -1, 0, 1; 2: unknown; 3: of different kinds. */
static int values_cmp(const fp_item *x, const fp_item *y)
{
    if (is_number(x) && is_number(y))
        return x->kind == y->kind && x->kind == FHIRPATH_INTEGER
                   ? (x->as.integer > y->as.integer) - (x->as.integer < y->as.integer)
                   : fp_decimal_cmp(number_of(x), number_of(y));
    if (is_date(x) && is_date(y))
        return fp_moment_cmp(&x->as.moment, &y->as.moment);
    if (x->kind != y->kind)
        return 3;
    if (x->kind == FHIRPATH_STRING) {
        int c = sv_cmp(x->as.text, y->as.text);
        return (c > 0) - (c < 0);
    }
    if (x->kind == FHIRPATH_TIME)
        return fp_moment_cmp(&x->as.moment, &y->as.moment);
    if (x->kind == FHIRPATH_BOOLEAN)
        return (int)x->as.boolean - (int)y->as.boolean;
    if (x->kind == FHIRPATH_QUANTITY) {
        fp_decimal v;
        if (!fp_quantity_as(x->as.quantity, y->as.quantity, &v))
            return 2;
        return fp_decimal_cmp(x->as.quantity->value, v);
    }
    if (x->kind == FHIRPATH_TYPE)
        return strcmp(x->as.type.space, y->as.type.space) == 0 &&
                       sv_eq(x->as.type.name, y->as.type.name)
                   ? 0
                   : 3;
    return 3;
}

err_code fp_equal(struct fp_cx *cx, const fp_item *a, const fp_item *b, fp_truth *out,
                  struct err *e)
{
    fp_item x, y;
    bool same = false;
    TRY(fp_steps(cx, 1, e));
    if (a->kind == FHIRPATH_NODE && b->kind == FHIRPATH_NODE &&
        !(fp_value(cx->a, a, &x) && fp_value(cx->a, b, &y))) {
        TRY(same_json(cx, a->json, b->json, false, &same, e));
        if (same)
            TRY(same_json(cx, a->twin, b->twin, false, &same, e));
        *out = same ? FP_TRUE : FP_FALSE;
        return ERR_OK;
    }
    bool known = values_of(cx, a, b, &x, &y);
    if (known && x.kind == FHIRPATH_STRING && y.kind == FHIRPATH_STRING) {
        /* only texts of one length are looked at */
        *out = sv_eq(x.as.text, y.as.text) ? FP_TRUE : FP_FALSE;
        return x.as.text.len == y.as.text.len ? fp_steps(cx, x.as.text.len / 64, e) : ERR_OK;
    }
    int c = known ? values_cmp(&x, &y) : 3;
    *out = c == 2 ? FP_UNKNOWN : c == 0 ? FP_TRUE : FP_FALSE;
    return ERR_OK;
}

err_code fp_alike(struct fp_cx *cx, const fp_item *a, const fp_item *b, bool *out, struct err *e)
{
    fp_item x, y;
    TRY(fp_steps(cx, 1, e));
    if (a->kind == FHIRPATH_NODE && b->kind == FHIRPATH_NODE &&
        !(fp_value(cx->a, a, &x) && fp_value(cx->a, b, &y)))
        return same_json(cx, a->json, b->json, true, out, e);
    *out = false;
    if (!values_of(cx, a, b, &x, &y))
        return ERR_OK;
    fp_decimal v;
    if (x.kind == FHIRPATH_STRING && y.kind == FHIRPATH_STRING) {
        *out = texts_alike(x.as.text, y.as.text);
        return fp_steps(cx, x.as.text.len / 4, e);
    }
    if (is_number(&x) && is_number(&y))
        *out = numbers_alike(number_of(&x), number_of(&y));
    else if (x.kind == FHIRPATH_QUANTITY && y.kind == FHIRPATH_QUANTITY)
        *out = fp_quantity_as(x.as.quantity, y.as.quantity, &v) &&
               numbers_alike(x.as.quantity->value, v);
    else
        *out = values_cmp(&x, &y) == 0;
    return ERR_OK;
}

err_code fp_lists_equal(struct fp_cx *cx, const struct fp_list *a, const struct fp_list *b,
                        fp_truth *out, struct err *e)
{
    fp_truth all = FP_TRUE, one;
    if (a->n == 0 || b->n == 0 || a->n != b->n) {
        *out = a->n == 0 || b->n == 0 ? FP_UNKNOWN : FP_FALSE;
        return ERR_OK;
    }
    for (uint32_t i = 0; i < a->n && all != FP_FALSE; i++) {
        TRY(fp_equal(cx, &a->items[i], &b->items[i], &one, e));
        if (one != FP_TRUE)
            all = one;
    }
    *out = all;
    return ERR_OK;
}

err_code fp_lists_alike(struct fp_cx *cx, const struct fp_list *a, const struct fp_list *b,
                        bool *out, struct err *e)
{
    *out = a->n == b->n;
    if (a->n == 0 || !*out)
        return ERR_OK;
    struct taking t;
    TRY(taking_init(cx, b->n, &t, e));
    for (uint32_t i = 0; *out && i < a->n; i++) {
        bool found = false;
        for (size_t k = t.from; !found && k < b->n; k++) {
            TRY(fp_steps(cx, 1, e));
            if (t.taken[k])
                continue;
            TRY(fp_alike(cx, &a->items[i], &b->items[k], &found, e));
            if (found)
                taking_put(&t, k, b->n);
        }
        *out = found;
    }
    return ERR_OK;
}

err_code fp_order(struct fp_cx *cx, const fp_item *a, const fp_item *b, int *out, struct err *e)
{
    fp_item x = *a, y = *b;
    bool known = values_of(cx, a, b, &x, &y);
    if (!known)
        known = fp_quantity(cx->a, a, &x) && fp_quantity(cx->a, b, &y);
    if (known && x.kind == FHIRPATH_STRING && y.kind == FHIRPATH_STRING)
        TRY(fp_steps(cx, (x.as.text.len < y.as.text.len ? x : y).as.text.len / 64, e));
    int c = known && x.kind != FHIRPATH_BOOLEAN && x.kind != FHIRPATH_TYPE ? values_cmp(&x, &y) : 3;
    if (c == 3)
        return fp_wrong(cx, e, "%s and %s have no order", fp_kind_name(x.kind),
                        fp_kind_name(y.kind));
    *out = c;
    return ERR_OK;
}

err_code fp_has(struct fp_cx *cx, const struct fp_list *l, const fp_item *item, bool *out,
                struct err *e)
{
    fp_truth same = FP_FALSE;
    for (uint32_t i = 0; i < l->n && same != FP_TRUE; i++)
        TRY(fp_equal(cx, &l->items[i], item, &same, e));
    *out = same == FP_TRUE;
    return ERR_OK;
}

err_code fp_put_new(struct fp_cx *cx, struct fp_list *out, const struct fp_list *from,
                    struct err *e)
{
    bool has;
    for (uint32_t i = 0; i < from->n; i++) {
        TRY(fp_has(cx, out, &from->items[i], &has, e));
        if (!has)
            TRY(fp_put(cx, out, &from->items[i], e));
    }
    return ERR_OK;
}

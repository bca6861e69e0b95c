/* json_equal.c - two values, compared.
 *
 * Numbers are compared as decimals: their digits without zeros at the ends, and an exponent. So no
 * digit is lost, however many there are. Objects are compared by sorting the names of both; names
 * that stand twice are paired in the order of the text. */
#include "codec/json_equal.h"

/* ---- numbers ---- */

/* 0.d1 d2 d3 ... times ten to the exponent; d1 and the last one are not 0. No digits: it is 0. */
struct decimal {
    bool negative, known;   /* known: the exponent is small enough to be counted with */
    const char *from, *end; /* of the digits; a point may stand among them */
    size_t n;               /* digits */
    int64_t exponent;
};

#define EXPONENT_DIGITS 15u

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool read_exponent(const char *p, const char *end, int64_t *out)
{
    bool negative = p < end && *p == '-';
    int64_t n = 0;
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    while (p < end && *p == '0')
        p++;
    if (end - p > (ptrdiff_t)EXPONENT_DIGITS)
        return false;
    for (; p < end; p++)
        n = 10 * n + (*p - '0');
    *out = negative ? -n : n;
    return true;
}

static struct decimal decimal_of(sv text)
{
    struct decimal d = { .known = true };
    const char *p = text.ptr, *end = text.ptr + text.len, *e = p, *point;
    d.negative = p < end && *p == '-';
    p += d.negative;
    while (e < end && *e != 'e' && *e != 'E')
        e++;
    if (e < end)
        d.known = read_exponent(e + 1, end, &d.exponent);
    for (point = p; point < e && *point != '.';)
        point++;
    d.from = p;
    d.end = e;
    while (d.from < d.end && !(is_digit(*d.from) && *d.from != '0'))
        d.from++;
    while (d.end > d.from && !(is_digit(d.end[-1]) && d.end[-1] != '0'))
        d.end--;
    for (p = d.from; p < d.end; p++)
        d.n += is_digit(*p);
    /* -0 is 0, and so is 0e9 */
    if (d.n == 0)
        return (struct decimal){ .known = true };
    d.exponent += d.from < point ? point - d.from : -(d.from - point - 1);
    return d;
}

bool json_number_equal(sv a, sv b)
{
    struct decimal x = decimal_of(a), y = decimal_of(b);
    /* exponents of sixteen digits: only the same text is sure */
    if (!x.known || !y.known)
        return sv_eq(a, b);
    if (x.negative != y.negative || x.n != y.n || (x.n && x.exponent != y.exponent))
        return false;
    for (size_t i = 0; i < x.n; i++, x.from++, y.from++) {
        x.from += *x.from == '.';
        y.from += *y.from == '.';
        if (*x.from != *y.from)
            return false;
    }
    return true;
}

/* ---- values ---- */

struct mut_member {
    yyjson_mut_val *key, *value;
    size_t at;
};
struct member {
    yyjson_val *key, *value;
    size_t at;
};

static int key_cmp(sv a, sv b, size_t a_at, size_t b_at)
{
    int c = sv_cmp(a, b);
    return c ? c : (a_at > b_at) - (a_at < b_at);
}

static sv mut_text(yyjson_mut_val *v)
{
    return sv_make(unsafe_yyjson_get_str(v), unsafe_yyjson_get_len(v));
}

static sv text_of(yyjson_val *v)
{
    return sv_make(unsafe_yyjson_get_str(v), unsafe_yyjson_get_len(v));
}

static int by_mut_key(const void *a, const void *b)
{
    const struct mut_member *x = a, *y = b;
    return key_cmp(mut_text(x->key), mut_text(y->key), x->at, y->at);
}

static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return key_cmp(text_of(x->key), text_of(y->key), x->at, y->at);
}

static err_code objects(yyjson_mut_val *a, yyjson_val *b, struct arena *scratch, bool *out,
                        struct err *e)
{
    size_t n = yyjson_mut_obj_size(a), i, max;
    struct mut_member *x = arena_alloc(scratch, (n + 1) * sizeof *x);
    struct member *y = arena_alloc(scratch, (n + 1) * sizeof *y);
    yyjson_mut_val *mut_key, *mut_value;
    yyjson_val *key, *value;
    if (x == NULL || y == NULL)
        return arena_oom(scratch, e);
    *out = yyjson_obj_size(b) == n;
    if (!*out || n == 0)
        return ERR_OK;
    yyjson_mut_obj_foreach(a, i, max, mut_key, mut_value)
    {
        x[i] = (struct mut_member){ mut_key, mut_value, i };
    }
    yyjson_obj_foreach(b, i, max, key, value)
    {
        y[i] = (struct member){ key, value, i };
    }
    qsort(x, n, sizeof *x, by_mut_key);
    qsort(y, n, sizeof *y, by_key);
    for (i = 0; i < n && *out; i++) {
        *out = sv_eq(mut_text(x[i].key), text_of(y[i].key));
        if (*out)
            TRY(json_equal(x[i].value, y[i].value, scratch, out, e));
    }
    return ERR_OK;
}

static err_code arrays(yyjson_mut_val *a, yyjson_val *b, struct arena *scratch, bool *out,
                       struct err *e)
{
    yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(a);
    yyjson_arr_iter other = yyjson_arr_iter_with(b);
    yyjson_mut_val *item;
    *out = yyjson_mut_arr_size(a) == yyjson_arr_size(b);
    while (*out && (item = yyjson_mut_arr_iter_next(&it)) != NULL)
        TRY(json_equal(item, yyjson_arr_iter_next(&other), scratch, out, e));
    return ERR_OK;
}

/* Depth is that of both trees, which are bounded when they are read. */
err_code json_equal(yyjson_mut_val *a, yyjson_val *b, struct arena *scratch, bool *out,
                    struct err *e)
{
    arena_mark m = arena_mark_get(scratch);
    err_code rc = ERR_OK;
    if (unsafe_yyjson_get_type(a) != unsafe_yyjson_get_type(b))
        *out = false;
    else if (yyjson_is_obj(b))
        rc = objects(a, b, scratch, out, e);
    else if (yyjson_is_arr(b))
        rc = arrays(a, b, scratch, out, e);
    else if (yyjson_is_str(b))
        *out = sv_eq(mut_text(a), text_of(b));
    else if (yyjson_is_raw(b))
        *out = json_number_equal(mut_text(a), text_of(b));
    else
        /* true, false, null */
        *out = unsafe_yyjson_get_tag(a) == unsafe_yyjson_get_tag(b);
    arena_rewind(scratch, m);
    return rc;
}

/* decimal.c - decimals as they are written: no digit is lost, so a decimal equals itself and
 * differs from its neighbour, however long it is. Doubles stand in for them where nearly is enough:
 * in the index, whose ranges hold more than a criterion means. Rounding keeps order, so a decimal
 * within bounds has a double within theirs.
 * Source: FHIR R4 datatypes.html#decimal, search.html 3.1.1.4.6 (implicit precision). */
#include "search/search_private.h"

#include <math.h>

#define EXPONENT_MAX   (INT64_C(1) << 40) /* larger ones are taken for this */
#define EXPONENT_ASKED 9999               /* of a query's decimal: what is past it is refused */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool sign_of(sv *t, bool *minus)
{
    *minus = t->len && t->ptr[0] == '-';
    if (*minus || (t->len && t->ptr[0] == '+'))
        *t = sv_tail(*t, 1);
    return t->len > 0;
}

/* What stands behind the e; beyond 64 bits it is cut. */
static bool exponent_of(sv t, int64_t *out)
{
    bool minus;
    int64_t v = 0;
    if (!sign_of(&t, &minus))
        return false;
    for (size_t i = 0; i < t.len; i++) {
        if (!is_digit(t.ptr[i]))
            return false;
        if (v < EXPONENT_MAX)
            v = v * 10 + (t.ptr[i] - '0');
    }
    v = v > EXPONENT_MAX ? EXPONENT_MAX : v;
    *out = minus ? -v : v;
    return true;
}

/* Its parts as they stand: -12.50e3 -> minus, "12.50", two digits behind the point, 3. */
struct spelling {
    bool minus;
    sv digits; /* with the point */
    int64_t behind, exponent;
};

static bool spell(sv t, struct spelling *out)
{
    struct spelling s = { 0 };
    size_t n = 0, point = SIZE_MAX;
    if (!sign_of(&t, &s.minus))
        return false;
    for (; n < t.len && (is_digit(t.ptr[n]) || (t.ptr[n] == '.' && point == SIZE_MAX)); n++)
        if (t.ptr[n] == '.')
            point = n;
    /* no digit */
    if (n == (point != SIZE_MAX))
        return false;
    s.digits = sv_head(t, n);
    s.behind = point == SIZE_MAX ? 0 : (int64_t)(n - point - 1);
    if (n < t.len &&
        ((t.ptr[n] != 'e' && t.ptr[n] != 'E') || !exponent_of(sv_tail(t, n + 1), &s.exponent)))
        return false;
    *out = s;
    return true;
}

static bool is_nothing(char c) /* at either end of the digits */
{
    return c == '0' || c == '.';
}

bool decimal_parse(sv text, struct search_decimal *out)
{
    struct spelling s;
    if (!spell(text, &s))
        return false;
    sv d = s.digits;
    int64_t before = (int64_t)d.len - s.behind - (s.behind || d.ptr[d.len - 1] == '.');
    while (d.len && is_nothing(d.ptr[0])) {
        before -= d.ptr[0] == '0';
        d = sv_tail(d, 1);
    }
    while (d.len && is_nothing(d.ptr[d.len - 1]))
        d.len--;
    *out = (struct search_decimal){ .sign = d.len == 0 ? 0
                                            : s.minus  ? -1
                                                       : 1,
                                    .digits = d,
                                    .magnitude = before - 1 + s.exponent };
    return true;
}

/* Of two without sign, whose first digits have the same place. */
static int digits_cmp(sv a, sv b)
{
    size_t i = 0, k = 0;
    for (;;) {
        i += i < a.len && a.ptr[i] == '.';
        k += k < b.len && b.ptr[k] == '.';
        /* the last digit of either is not 0 */
        if (i == a.len || k == b.len)
            return (i < a.len) - (k < b.len);
        if (a.ptr[i] != b.ptr[k])
            return a.ptr[i] < b.ptr[k] ? -1 : 1;
        i++;
        k++;
    }
}

int decimal_cmp(const struct search_decimal *a, const struct search_decimal *b)
{
    if (a->sign != b->sign || a->sign == 0)
        return a->sign - b->sign;
    int c;
    if (a->infinite || b->infinite)
        c = (int)a->infinite - (int)b->infinite;
    else if (a->magnitude != b->magnitude)
        c = a->magnitude < b->magnitude ? -1 : 1;
    else
        c = digits_cmp(a->digits, b->digits);
    return a->sign * c;
}

double decimal_near(sv text)
{
    char room[64], *copy = text.len < sizeof room ? room : malloc(text.len + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    /* rounds to the nearest, whatever the digits; may be infinite */
    double v = strtod(copy, NULL);
    if (copy != room)
        free(copy);
    return v;
}

const struct search_decimal decimal_endless = { .sign = 1, .infinite = true };
const struct search_decimal decimal_beginless = { .sign = -1, .infinite = true };

/* ---- what a query means by one ---- */

/* Whole numbers as digits, in place. */
static void less_one(char *d, size_t n) /* of one that is not 0 */
{
    while (n-- && d[n] == '0')
        d[n] = '9';
    d[n]--;
}

static void times(char *d, size_t n, unsigned by) /* d begins with enough zeros */
{
    for (unsigned carry = 0; n--;) {
        carry += (unsigned)(d[n] - '0') * by;
        d[n] = (char)('0' + carry % 10);
        carry /= 10;
    }
}

static err_code make(struct arena *a, bool minus, const char *digits, size_t n, int64_t exponent,
                     struct search_number *out, struct err *e)
{
    sv text = arena_fmt(a, "%s%.*se%lld", minus ? "-" : "", (int)n, digits, (long long)exponent);
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (!decimal_parse(text, &out->exact))
        return ERR(e, ERR_INTERNAL, "a bound of a number cannot be read");
    out->near = decimal_near(text);
    return ERR_OK;
}

err_code decimal_query(sv text, bool about, struct arena *a, struct search_number *value,
                       struct search_number *lo, struct search_number *hi, struct err *e)
{
    struct spelling s;
    if (!spell(text, &s) || s.exponent > EXPONENT_ASKED || s.exponent < -EXPONENT_ASKED ||
        !decimal_parse(text, &value->exact))
        return ERR(e, ERR_INVALID, "not a number");
    value->near = decimal_near(text);
    char *less = arena_alloc(a, s.digits.len + 3), *more = arena_alloc(a, s.digits.len + 3);
    if (less == NULL || more == NULL)
        return arena_oom(a, e);
    /* its digits as a whole number, behind two zeros: room to grow */
    size_t n = 2;
    less[0] = less[1] = '0';
    for (size_t i = 0; i < s.digits.len; i++)
        if (s.digits.ptr[i] != '.')
            less[n++] = s.digits.ptr[i];
    memcpy(more, less, n);
    bool zero = value->exact.sign == 0, minus = s.minus && !zero;
    /* nine and eleven tenths */
    if (about) {
        times(less, n, 9);
        times(more, n, 11);
    } else {
        /* half of the last digit, to either side */
        if (!zero)
            less_one(less, n);
        less[n] = more[n] = '5';
        n++;
    }
    int64_t place = s.exponent - s.behind - 1;
    TRY(make(a, minus || (zero && !about), minus ? more : less, n, place, lo, e));
    return make(a, minus, minus ? less : more, n, place, hi, e);
}

/* ---- order ---- */

/* Bytes whose order is that of the decimals: what it is, its magnitude, its digits as far as there
 * is room. */
size_t decimal_order(const struct search_decimal *d, unsigned char *out, size_t max)
{
    /* the more, the less */
    const unsigned char turn = d->sign < 0 ? 0xFF : 0;
    size_t n = 0;
    out[n++] = (unsigned char)(d->sign == 0 ? 2 : d->infinite ? 2 + 2 * d->sign : 2 + d->sign);
    if (d->sign == 0 || d->infinite)
        return n;
    uint64_t magnitude = (uint64_t)d->magnitude ^ 1ull << 63;
    for (unsigned i = 0; i < 8; i++)
        out[n++] = (unsigned char)(magnitude >> (56 - 8 * i)) ^ turn;
    for (size_t i = 0; i < d->digits.len && n + 1 < max; i++)
        if (d->digits.ptr[i] != '.')
            out[n++] = (unsigned char)d->digits.ptr[i] ^ turn;
    /* the end: below every digit, or above */
    out[n++] = turn;
    return n;
}

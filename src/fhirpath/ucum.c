/* ucum.c - units of UCUM, as far as clinical data uses them, and the words of the calendar.
 *
 * A unit is a quotient of two exact decimals and an exponent for each dimension. Units compare when
 * their exponents are the same. A unit that is not in the table, or special (Celsius), compares
 * with itself alone. Years and months of the calendar have no length in seconds, so they have a
 * dimension of their own. Source: UCUM 2.1, tables 1 to 20; FHIRPath N1, 2.1.20 "Quantity". */
#include "fhirpath/fhirpath_private.h"

/* Bases: the seven of UCUM, the mole, and units that measure nothing else. */
enum { M, S, G, RAD, K, C, CD, MOL, IU, CAL, EQ, N_BASES };

struct unit {
    fp_decimal num, den;
    int8_t exponents[N_BASES];
};

#define D(...)      \
    {               \
        __VA_ARGS__ \
    }
static const struct atom {
    const char *code;
    bool metric; /* takes prefixes */
    const char *num, *den;
    int8_t e[N_BASES]; /* M S G RAD K C CD MOL IU CAL EQ */
} atoms[] = {
    { "m", true, "1", "1", D(1) },
    { "s", true, "1", "1", D(0, 1) },
    { "g", true, "1", "1", D(0, 0, 1) },
    { "rad", true, "1", "1", D(0, 0, 0, 1) },
    { "K", true, "1", "1", D(0, 0, 0, 0, 1) },
    { "C", true, "1", "1", D(0, 0, 0, 0, 0, 1) },
    { "cd", true, "1", "1", D(0, 0, 0, 0, 0, 0, 1) },
    { "mol", true, "1", "1", D(0, 0, 0, 0, 0, 0, 0, 1) },
    { "osm", true, "1", "1", D(0, 0, 0, 0, 0, 0, 0, 1) },
    { "eq", true, "1", "1", D(0, 0, 0, 0, 0, 0, 0, 1) },
    { "[iU]", true, "1", "1", D(0, 0, 0, 0, 0, 0, 0, 0, 1) },
    { "[IU]", true, "1", "1", D(0, 0, 0, 0, 0, 0, 0, 0, 1) },
    { "year", false, "12", "1", D(0, 0, 0, 0, 0, 0, 0, 0, 0, 1) },
    { "month", false, "1", "1", D(0, 0, 0, 0, 0, 0, 0, 0, 0, 1) },
    { "%", false, "1", "100", D(0) },
    { "10*", false, "10", "1", D(0) },
    { "10^", false, "10", "1", D(0) },
    { "[ppth]", false, "1", "1000", D(0) },
    { "[ppm]", false, "1", "1000000", D(0) },
    { "L", true, "1", "1000", D(3) },
    { "l", true, "1", "1000", D(3) },
    { "min", false, "60", "1", D(0, 1) },
    { "h", false, "3600", "1", D(0, 1) },
    { "d", false, "86400", "1", D(0, 1) },
    { "wk", false, "604800", "1", D(0, 1) },
    { "mo", false, "2629800", "1", D(0, 1) },
    { "a", false, "31557600", "1", D(0, 1) },
    { "Hz", true, "1", "1", D(0, -1) },
    { "N", true, "1000", "1", D(1, -2, 1) },
    { "Pa", true, "1000", "1", D(-1, -2, 1) },
    { "J", true, "1000", "1", D(2, -2, 1) },
    { "W", true, "1000", "1", D(2, -3, 1) },
    { "A", true, "1", "1", D(0, -1, 0, 0, 0, 1) },
    { "V", true, "1000", "1", D(2, -2, 1, 0, 0, -1) },
    { "kat", true, "1", "1", D(0, -1, 0, 0, 0, 0, 0, 1) },
    { "U", true, "1", "60000000", D(0, -1, 0, 0, 0, 0, 0, 1) },
    { "bar", true, "100000000", "1", D(-1, -2, 1) },
    { "m[Hg]", true, "133322000", "1", D(-1, -2, 1) },
    { "m[H2O]", true, "9806650", "1", D(-1, -2, 1) },
    { "cal", true, "4184", "1", D(2, -2, 1) },
    { "t", true, "1000000", "1", D(0, 0, 1) },
    { "u", true, "1.66054e-24", "1", D(0, 0, 1) },
    { "[in_i]", false, "0.0254", "1", D(1) },
    { "[ft_i]", false, "0.3048", "1", D(1) },
    { "[yd_i]", false, "0.9144", "1", D(1) },
    { "[mi_i]", false, "1609.344", "1", D(1) },
    { "[lb_av]", false, "453.59237", "1", D(0, 0, 1) },
    { "[oz_av]", false, "28.349523125", "1", D(0, 0, 1) },
    { "[gr]", false, "0.06479891", "1", D(0, 0, 1) },
    { "[foz_us]", false, "0.0000295735295625", "1", D(3) },
    { "[cup_us]", false, "0.0002365882365", "1", D(3) },
    { "[gal_us]", false, "0.003785411784", "1", D(3) },
};

static const struct {
    char text[3];
    int exponent;
} prefixes[] = { { "da", 1 }, { "h", 2 },   { "k", 3 },  { "M", 6 },  { "G", 9 },
                 { "T", 12 }, { "d", -1 },  { "c", -2 }, { "m", -3 }, { "u", -6 },
                 { "n", -9 }, { "p", -12 }, { "f", -15 } };

static const char *const words[][2] = {
    { "years", "year" },     { "months", "month" },
    { "weeks", "week" },     { "days", "day" },
    { "hours", "hour" },     { "minutes", "minute" },
    { "seconds", "second" }, { "milliseconds", "millisecond" },
};
static const char *const codes[] = { "year", "month", "wk", "d", "h", "min", "s", "ms" };
#define N_WORDS (sizeof words / sizeof words[0])

bool fp_calendar_word(sv word, sv *singular)
{
    for (size_t i = 0; i < N_WORDS; i++) {
        if (sv_eq_cstr(word, words[i][0]) || sv_eq_cstr(word, words[i][1])) {
            *singular = sv_from(words[i][1]);
            return true;
        }
    }
    return false;
}

/* ---- reading ---- */

static fp_decimal decimal(const char *text)
{
    fp_decimal d = { 0 };
    (void)fp_decimal_read(sv_from(text), &d);
    return d;
}

static struct unit one(void)
{
    return (struct unit){ .num = fp_decimal_of(1), .den = fp_decimal_of(1) };
}

/* a * b^n */
static bool times(struct unit *a, const struct unit *b, int n)
{
    if (n > 12 || n < -12)
        return false;
    for (int i = 0; i < N_BASES; i++) {
        int v = a->exponents[i] + b->exponents[i] * n;
        if (v > 99 || v < -99)
            return false;
        a->exponents[i] = (int8_t)v;
    }
    const fp_decimal *up = n < 0 ? &b->den : &b->num, *down = n < 0 ? &b->num : &b->den;
    for (int i = n < 0 ? -n : n; i > 0; i--)
        if (!fp_decimal_mul(a->num, *up, &a->num) || !fp_decimal_mul(a->den, *down, &a->den))
            return false;
    return true;
}

static bool find_atom(sv code, struct unit *out)
{
    for (size_t p = 0; p <= sizeof prefixes / sizeof prefixes[0]; p++) {
        sv rest = code, prefix = p ? sv_from(prefixes[p - 1].text) : SV_LIT("");
        if (!sv_starts(code, prefix))
            continue;
        rest = sv_tail(code, prefix.len);
        for (size_t i = 0; i < sizeof atoms / sizeof atoms[0]; i++) {
            if (!sv_eq_cstr(rest, atoms[i].code) || (p && !atoms[i].metric))
                continue;
            struct unit u = one(), ten = one();
            u.num = decimal(atoms[i].num);
            u.den = decimal(atoms[i].den);
            memcpy(u.exponents, atoms[i].e, sizeof u.exponents);
            ten.num = fp_decimal_of(1000);
            int e = p ? prefixes[p - 1].exponent : 0;
            if (e % 3) {
                ten.num = fp_decimal_of(10);
            } else {
                e /= 3;
            }
            *out = u;
            return times(out, &ten, e);
        }
    }
    return false;
}

static bool read_term(sv *t, unsigned depth, struct unit *out);

/* An atom or a number or a term in brackets, with its exponent. */
static bool read_component(sv *t, unsigned depth, struct unit *out)
{
    struct unit u = one();
    if (t->len && t->ptr[0] == '(') {
        *t = sv_tail(*t, 1);
        if (depth == 0 || !read_term(t, depth - 1, out) || !t->len || t->ptr[0] != ')')
            return false;
        *t = sv_tail(*t, 1);
        return true;
    }
    size_t n = 0;
    for (bool in = false; n < t->len; n++) {
        char c = t->ptr[n];
        if (c == '[')
            in = true;
        else if (c == ']')
            in = false;
        else if (!in && (c == '.' || c == '/' || c == '(' || c == ')' || c == '{'))
            break;
    }
    sv whole = sv_head(*t, n), code = whole;
    *t = sv_tail(*t, n);
    if (t->len && t->ptr[0] == '{') {
        size_t end = sv_find(*t, '}');
        if (end == t->len)
            return false;
        *t = sv_tail(*t, end + 1);
        if (whole.len == 0) {
            *out = u;
            return true;
        }
    }
    uint64_t number;
    if (sv_to_u64(whole, &number) && number > 0 && number <= INT32_MAX) {
        u.num = fp_decimal_of((int64_t)number);
        *out = u;
        return true;
    }
    while (code.len && code.ptr[code.len - 1] >= '0' && code.ptr[code.len - 1] <= '9')
        code.len--;
    sv digits = sv_tail(whole, code.len);
    int exponent = 1;
    if (digits.len) {
        if (!sv_to_u64(digits, &number) || number > 12)
            return false;
        exponent = (int)number;
        if (code.len && (code.ptr[code.len - 1] == '-' || code.ptr[code.len - 1] == '+')) {
            exponent = code.ptr[code.len - 1] == '-' ? -exponent : exponent;
            code.len--;
        }
    }
    struct unit atom;
    *out = u;
    return find_atom(code, &atom) && times(out, &atom, exponent);
}

static bool read_term(sv *t, unsigned depth, struct unit *out)
{
    struct unit all = one(), part;
    int sign = 1;
    if (t->len && t->ptr[0] == '/') {
        sign = -1;
        *t = sv_tail(*t, 1);
    }
    for (;;) {
        if (!read_component(t, depth, &part) || !times(&all, &part, sign))
            return false;
        if (t->len == 0 || (t->ptr[0] != '.' && t->ptr[0] != '/'))
            break;
        sign = t->ptr[0] == '/' ? -1 : 1;
        *t = sv_tail(*t, 1);
    }
    *out = all;
    return true;
}

static bool read_unit(const struct fhirpath_quantity *q, struct unit *out)
{
    sv t = q->unit, word;
    if (fp_calendar_word(t, &word))
        for (size_t i = 0; i < N_WORDS; i++)
            if (sv_eq_cstr(word, words[i][1]))
                t = sv_from(codes[i]);
    return t.len > 0 && t.len <= 128 && read_term(&t, 4, out) && t.len == 0;
}

bool fp_comparable(const struct fhirpath_quantity *a, const struct fhirpath_quantity *b)
{
    struct unit x, y;
    return sv_eq(a->unit, b->unit) || (read_unit(a, &x) && read_unit(b, &y) &&
                                       memcmp(x.exponents, y.exponents, sizeof x.exponents) == 0);
}

bool fp_quantity_as(const struct fhirpath_quantity *a, const struct fhirpath_quantity *b,
                    fp_decimal *out)
{
    struct unit x, y;
    if (sv_eq(a->unit, b->unit)) {
        *out = b->value;
        return true;
    }
    if (!read_unit(a, &x) || !read_unit(b, &y) ||
        memcmp(x.exponents, y.exponents, sizeof x.exponents) != 0)
        return false;
    /* b * (y / x) */
    fp_decimal up, down;
    return fp_decimal_mul(b->value, y.num, &up) && fp_decimal_mul(up, x.den, &up) &&
           fp_decimal_mul(x.num, y.den, &down) && fp_decimal_div(up, down, out);
}

bool fp_quantity_times(struct arena *arena, const struct fhirpath_quantity *a,
                       const struct fhirpath_quantity *b, bool divide,
                       struct fhirpath_quantity *out)
{
    struct fhirpath_quantity q = { .unit = a->unit };
    if (!(divide ? fp_decimal_div(a->value, b->value, &q.value)
                 : fp_decimal_mul(a->value, b->value, &q.value)))
        return false;
    if (divide && sv_eq(a->unit, b->unit))
        q.unit = SV_LIT("1");
    else if (!divide && sv_eq_cstr(a->unit, "1"))
        q.unit = b->unit;
    else if (!sv_eq_cstr(b->unit, "1"))
        q.unit = divide ? ARENA_JOIN(arena, a->unit, SV_LIT("/("), b->unit, SV_LIT(")"))
                        : ARENA_JOIN(arena, a->unit, SV_LIT(".("), b->unit, SV_LIT(")"));
    *out = q;
    return q.unit.ptr != NULL;
}

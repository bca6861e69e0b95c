/* decimal.c - decimals as whole numbers of 128 bits and the digits behind their point, so that
 * sums, products and comparisons are exact. A division has 28 significant digits; a result of more
 * than 37 digits is none. Source: FHIRPath N1, 2.1.20 "Decimal". */
#include "fhirpath/fhirpath_private.h"

#include <math.h>

#define DIGITS_ALL 37    /* of a coefficient: below 10^37 */
#define TEXT_MAX   1024u /* bytes of a number: zeros too are read one by one */

static fp_wide power(int n)
{
    fp_wide p = 1;
    while (n-- > 0)
        p *= 10;
    return p;
}

static fp_wide absolute(fp_wide v)
{
    return v < 0 ? -v : v;
}

static bool fits(fp_wide v)
{
    return absolute(v) < power(DIGITS_ALL);
}

fp_decimal fp_decimal_make(fp_wide coef, int scale)
{
    return (fp_decimal){ (uint64_t)(fp_wide_u)coef, (int64_t)(coef >> 64), scale };
}

/* v * 10^n, if it fits. */
static bool raise(fp_wide v, int n, fp_wide *out)
{
    if (v == 0 || n == 0) {
        *out = v;
        return fits(v);
    }
    if (n > DIGITS_ALL || __builtin_mul_overflow(v, power(n), out))
        return false;
    return fits(*out);
}

fp_decimal fp_decimal_trim(fp_decimal d)
{
    fp_wide c = fp_coef(d);
    int scale = d.scale;
    while (scale > 0 && c % 10 == 0) {
        c /= 10;
        scale--;
    }
    return fp_decimal_make(c, scale);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool fp_decimal_read(sv text, fp_decimal *out)
{
    fp_wide c = 0;
    int64_t scale = 0, exponent = 0;
    size_t i = 0, n = 0;
    bool minus = text.len && text.ptr[0] == '-', point = false;
    if (text.len > TEXT_MAX)
        return false;
    i += text.len && (minus || text.ptr[0] == '+');
    for (; i < text.len && (is_digit(text.ptr[i]) || (text.ptr[i] == '.' && !point)); i++) {
        if (text.ptr[i] == '.') {
            point = true;
            continue;
        }
        c = c * 10 + (text.ptr[i] - '0');
        if (!fits(c))
            return false;
        scale += point;
        n++;
    }
    if (n == 0 || text.ptr[i - 1] == '.')
        return false;
    if (i < text.len && (text.ptr[i] == 'e' || text.ptr[i] == 'E')) {
        sv rest = sv_tail(text, i + 1);
        if (rest.len && rest.ptr[0] == '+')
            rest = sv_tail(rest, 1);
        if (!sv_to_i64(rest, &exponent) || exponent > 1000 || exponent < -1000)
            return false;
        i = text.len;
    }
    if (i != text.len)
        return false;
    scale -= exponent;
    if (scale < 0) {
        if (!raise(c, (int)-scale, &c))
            return false;
        scale = 0;
    }
    if (scale > DIGITS_ALL)
        return false;
    *out = fp_decimal_make(minus ? -c : c, (int)scale);
    return true;
}

sv fp_decimal_write(fp_decimal d, char out[FP_DECIMAL_LEN])
{
    fp_wide c = absolute(fp_coef(d));
    size_t at = FP_DECIMAL_LEN;
    int behind = 0;
    do {
        if (behind == d.scale && behind)
            out[--at] = '.';
        out[--at] = (char)('0' + (int)(c % 10));
        c /= 10;
        behind++;
    } while (c || behind <= d.scale);
    if (fp_coef(d) < 0)
        out[--at] = '-';
    return sv_make(out + at, FP_DECIMAL_LEN - at);
}

/* Both with one scale. */
static bool align(fp_decimal a, fp_decimal b, fp_wide *x, fp_wide *y, int *scale)
{
    *scale = a.scale > b.scale ? a.scale : b.scale;
    return raise(fp_coef(a), *scale - a.scale, x) && raise(fp_coef(b), *scale - b.scale, y);
}

int fp_decimal_cmp(fp_decimal a, fp_decimal b)
{
    fp_wide x, y;
    int scale;
    if (align(a, b, &x, &y, &scale))
        return (x > y) - (x < y);
    /* so far apart that whole parts tell, or the digits behind them */
    x = fp_coef(a) / power(a.scale);
    y = fp_coef(b) / power(b.scale);
    if (x != y)
        return x > y ? 1 : -1;
    fp_wide p = fp_coef(a) % power(a.scale), q = fp_coef(b) % power(b.scale);
    if (a.scale > b.scale ? !raise(q, a.scale - b.scale, &q) : !raise(p, b.scale - a.scale, &p))
        return 0;
    return (p > q) - (p < q);
}

bool fp_decimal_add(fp_decimal a, fp_decimal b, bool minus, fp_decimal *out)
{
    fp_wide x, y;
    int scale;
    if (!align(a, b, &x, &y, &scale) || !fits(minus ? x - y : x + y))
        return false;
    *out = fp_decimal_make(minus ? x - y : x + y, scale);
    return true;
}

bool fp_decimal_mul(fp_decimal a, fp_decimal b, fp_decimal *out)
{
    fp_wide x = fp_coef(a), y = fp_coef(b), p;
    int scale = a.scale + b.scale;
    if (__builtin_mul_overflow(x, y, &p) || !fits(p) || scale > DIGITS_ALL) {
        a = fp_decimal_trim(a);
        b = fp_decimal_trim(b);
        scale = a.scale + b.scale;
        if (__builtin_mul_overflow(fp_coef(a), fp_coef(b), &p) || !fits(p) || scale > DIGITS_ALL)
            return false;
    }
    *out = fp_decimal_make(p, scale);
    return true;
}

bool fp_decimal_div(fp_decimal a, fp_decimal b, fp_decimal *out)
{
    fp_wide x = fp_coef(a), y = fp_coef(b);
    if (y == 0)
        return false;
    bool minus = (x < 0) != (y < 0);
    x = absolute(x);
    y = absolute(y);
    fp_wide q = x / y, r = x % y;
    int scale = a.scale - b.scale;
    /* digit by digit, until nothing is left or there are enough */
    while ((r != 0 || scale < 0) && q < power(28) && scale < FP_DIGITS_MAX) {
        if (r > power(DIGITS_ALL))
            return false;
        r *= 10;
        q = q * 10 + r / y;
        r %= y;
        scale++;
    }
    if (scale < 0 || !fits(q))
        return false;
    q += r * 2 >= y && r;
    if (scale > DIGITS_ALL)
        return false;
    *out = fp_decimal_trim(fp_decimal_make(minus ? -q : q, scale));
    return true;
}

bool fp_decimal_div_mod(fp_decimal a, fp_decimal b, fp_decimal *whole, fp_decimal *left)
{
    fp_wide x, y;
    int scale;
    if (!align(a, b, &x, &y, &scale) || y == 0)
        return false;
    *whole = fp_decimal_make(x / y, 0);
    *left = fp_decimal_make(x % y, scale);
    return true;
}

bool fp_decimal_round(fp_decimal d, int digits, fp_rounding how, fp_decimal *out)
{
    fp_wide c = fp_coef(d);
    if (digits >= d.scale) {
        if (!raise(c, digits - d.scale, &c))
            return false;
        *out = fp_decimal_make(c, digits);
        return true;
    }
    fp_wide unit = power(d.scale - digits), q = c / unit, r = c % unit;
    if (how == FP_DOWN)
        q -= r < 0;
    else if (how == FP_UP)
        q += r > 0;
    else if (how == FP_NEAREST && absolute(r) >= unit - absolute(r))
        q += c < 0 ? -1 : 1;
    *out = fp_decimal_make(q, digits);
    return true;
}

double fp_decimal_double(fp_decimal d)
{
    char room[FP_DECIMAL_LEN];
    double v = 0;
    return sv_to_double(fp_decimal_write(d, room), &v) ? v : 0;
}

bool fp_decimal_near(double v, fp_decimal *out)
{
    char room[64];
    if (!isfinite(v))
        return false;
    int n = snprintf(room, sizeof room, "%.14e", v);
    sv text = sv_make(room, (size_t)n);
    if (fabs(v) < 1e-20)
        text = SV_LIT("0");
    if (!fp_decimal_read(text, out))
        return false;
    *out = fp_decimal_trim(*out);
    return true;
}

bool fp_decimal_is_whole(fp_decimal d, int64_t *out)
{
    d = fp_decimal_trim(d);
    fp_wide c = fp_coef(d);
    if (d.scale || c > INT64_MAX || c < INT64_MIN)
        return false;
    *out = (int64_t)c;
    return true;
}

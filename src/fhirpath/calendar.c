/* calendar.c - dates and times compared, moved and bounded, as far as they are known. Two moments
 * compare part by part; where one of them ends first, nothing is known. Where only one has an
 * offset, the other may be anywhere from 14 hours earlier to 12 hours later.
 * Source: FHIRPath N1, 6.1 "Equality", 6.2 "Comparison", 6.6.7 "Date/Time Arithmetic";
 * FHIRPath 3.0, lowBoundary(), highBoundary(), precision(). */
#include "fhirpath/fhirpath_private.h"

#define DAY_S      INT64_C(86400)
#define FRACTION_1 UINT64_C(1000000000000000000)

/* Seconds since 1970, its parts that are not known taken for the first. */
static int64_t seconds_of(const fp_moment *m)
{
    return fp_days_of(m->year, m->month ? m->month : 1, m->day ? m->day : 1) * DAY_S +
           m->hour * 3600 + m->minute * 60 + m->second - m->offset_minutes * 60;
}

/* The first second behind it. */
static int64_t end_of(const fp_moment *m)
{
    int64_t from = seconds_of(m);
    switch ((fhirpath_precision)m->precision) {
    case FHIRPATH_YEAR:
        return fp_days_of(m->year + 1, 1, 1) * DAY_S;
    case FHIRPATH_MONTH:
        return from + fp_days_in(m->year, m->month) * DAY_S;
    case FHIRPATH_DAY:
        return from + DAY_S;
    case FHIRPATH_HOUR:
        return from + 3600;
    case FHIRPATH_MINUTE:
        return from + 60;
    default:
        return from + 1;
    }
}

static int unsure_cmp(const fp_moment *a, const fp_moment *b)
{
    int64_t a_lo = seconds_of(a), a_hi = end_of(a), b_lo = seconds_of(b), b_hi = end_of(b);
    a_lo -= a->has_offset ? 0 : 14 * 3600;
    a_hi += a->has_offset ? 0 : 12 * 3600;
    b_lo -= b->has_offset ? 0 : 14 * 3600;
    b_hi += b->has_offset ? 0 : 12 * 3600;
    return a_hi <= b_lo ? -1 : b_hi <= a_lo ? 1 : 2;
}

static void set_time(fp_moment *m, int64_t seconds)
{
    int64_t days = seconds / DAY_S - (seconds % DAY_S < 0), s = seconds - days * DAY_S;
    fp_date_of(days, m);
    m->hour = (uint8_t)(s / 3600);
    m->minute = (uint8_t)(s / 60 % 60);
    m->second = (uint8_t)(s % 60);
}

/* The same moment, told in UTC. */
static fp_moment in_utc(const fp_moment *m)
{
    fp_moment u = *m;
    if (m->offset_minutes) {
        set_time(&u, seconds_of(m));
        u.offset_minutes = 0;
    }
    return u;
}

int fp_moment_cmp(const fp_moment *a, const fp_moment *b)
{
    if (a->has_offset != b->has_offset)
        return unsure_cmp(a, b);
    fp_moment x = in_utc(a), y = in_utc(b);
    const int p[] = { x.year, x.month, x.day, x.hour, x.minute, x.second };
    const int q[] = { y.year, y.month, y.day, y.hour, y.minute, y.second };
    int both = x.precision < y.precision ? x.precision : y.precision;
    for (int i = 0; i <= both; i++)
        if (p[i] != q[i])
            return p[i] < q[i] ? -1 : 1;
    if (both == FHIRPATH_SECOND && x.fraction != y.fraction)
        return x.fraction < y.fraction ? -1 : 1;
    return x.precision == y.precision ? 0 : 2;
}

/* ---- sums ---- */

static const struct {
    const char *word, *code;
    int months;
    int64_t ms;
} units[] = {
    { "year", NULL, 12, 0 },
    { "month", NULL, 1, 0 },
    { "week", "wk", 0, 7 * DAY_S * 1000 },
    { "day", "d", 0, DAY_S * 1000 },
    { "hour", "h", 0, 3600000 },
    { "minute", "min", 0, 60000 },
    { "second", "s", 0, 1000 },
    { "millisecond", "ms", 0, 1 },
};

static bool add_months(fp_moment *m, int64_t months)
{
    int64_t all = (int64_t)m->year * 12 + (m->month ? m->month - 1 : 0) + months;
    if (all < 12 || all >= 10000 * 12)
        return false;
    m->year = (int16_t)(all / 12);
    if (m->month)
        m->month = (uint8_t)(all % 12 + 1);
    /* the last day of a shorter month */
    if (m->day && m->day > fp_days_in(m->year, m->month))
        m->day = (uint8_t)fp_days_in(m->year, m->month);
    return true;
}

static bool add_ms(fp_moment *m, fhirpath_kind kind, int64_t ms)
{
    static const int64_t unit_s[] = {
        [FHIRPATH_DAY] = DAY_S, [FHIRPATH_HOUR] = 3600, [FHIRPATH_MINUTE] = 60
    };
    int64_t s = ms / 1000, rest = ms % 1000;
    if (m->precision < FHIRPATH_DAY) {
        int64_t days = s / DAY_S;
        return add_months(m, m->precision == FHIRPATH_YEAR ? days / 365 * 12 : days / 30);
    }
    if (m->precision < FHIRPATH_SECOND) {
        s = s / unit_s[m->precision] * unit_s[m->precision];
        rest = 0;
    }
    if (rest < 0) {
        rest += 1000;
        s--;
    }
    m->fraction += (uint64_t)rest * (FRACTION_1 / 1000);
    if (rest && m->digits < 3)
        m->digits = 3;
    if (m->fraction >= FRACTION_1) {
        m->fraction -= FRACTION_1;
        s++;
    }
    if (kind == FHIRPATH_TIME) {
        int64_t t = ((m->hour * 3600 + m->minute * 60 + m->second + s) % DAY_S + DAY_S) % DAY_S;
        m->hour = (uint8_t)(t / 3600);
        m->minute = (uint8_t)(t / 60 % 60);
        m->second = (uint8_t)(t % 60);
        return true;
    }
    int64_t all = seconds_of(m) + m->offset_minutes * 60 + s;
    if (all < fp_days_of(1, 1, 1) * DAY_S || all >= fp_days_of(10000, 1, 1) * DAY_S)
        return false;
    set_time(m, all);
    return true;
}

fp_sum fp_moment_add(const fp_moment *m, fhirpath_kind kind, const struct fhirpath_quantity *q,
                     bool minus, fp_moment *out)
{
    sv word = SV_NONE;
    size_t i = 0;
    fp_decimal whole;
    int64_t n;
    bool is_word = fp_calendar_word(q->unit, &word);
    for (; i < sizeof units / sizeof units[0]; i++)
        if (is_word ? sv_eq_cstr(word, units[i].word)
                    : units[i].code && sv_eq_cstr(q->unit, units[i].code))
            break;
    if (i == sizeof units / sizeof units[0] ||
        (kind == FHIRPATH_TIME && (units[i].months || units[i].ms >= DAY_S * 1000)))
        return FP_SUM_UNIT;
    if (!fp_decimal_round(q->value, 0, FP_TO_ZERO, &whole) || !fp_decimal_is_whole(whole, &n) ||
        n > INT64_C(10000000000000) || n < -INT64_C(10000000000000))
        return FP_SUM_RANGE;
    if (minus)
        n = -n;
    fp_moment r = *m;
    int64_t months = n * units[i].months, ms;
    if (m->precision == FHIRPATH_YEAR)
        months = months / 12 * 12;
    if (__builtin_mul_overflow(n, units[i].ms, &ms) ||
        !(units[i].months ? add_months(&r, months) : add_ms(&r, kind, ms)))
        return FP_SUM_RANGE;
    *out = r;
    return FP_SUM_OK;
}

/* ---- bounds ---- */

static const int date_digits[] = { 4, 6, 8, 10, 12, 14 };

int fp_moment_digits(const fp_moment *m, fhirpath_kind kind)
{
    return date_digits[m->precision] - (kind == FHIRPATH_TIME ? 8 : 0) + m->digits;
}

bool fp_moment_bound(const fp_moment *m, fhirpath_kind kind, int digits, bool high, fp_moment *out,
                     fhirpath_kind *out_kind)
{
    int all = digits + (kind == FHIRPATH_TIME ? 8 : 0), p = FHIRPATH_SECOND;
    if (all != 17)
        for (p = 0; p <= FHIRPATH_SECOND && date_digits[p] != all; p++)
            ;
    if (p > FHIRPATH_SECOND || (kind == FHIRPATH_DATE && p > FHIRPATH_DAY) ||
        (kind == FHIRPATH_TIME && p < FHIRPATH_HOUR))
        return false;
    fp_moment r = *m;
    if (m->precision < FHIRPATH_MONTH)
        r.month = high ? 12 : 1;
    if (m->precision < FHIRPATH_DAY)
        r.day = (uint8_t)(high ? fp_days_in(r.year, r.month) : 1);
    if (m->precision < FHIRPATH_HOUR)
        r.hour = high ? 23 : 0;
    if (m->precision < FHIRPATH_MINUTE)
        r.minute = high ? 59 : 0;
    if (m->precision < FHIRPATH_SECOND)
        r.second = high ? 59 : 0;
    if (m->digits < 3 && high) {
        /* 9s behind the digits that are known */
        uint64_t unit = FRACTION_1;
        for (unsigned i = 0; i < m->digits; i++)
            unit /= 10;
        r.fraction += unit - FRACTION_1 / 1000;
    }
    r.digits = all == 17 ? 3 : 0;
    r.fraction = all == 17 ? r.fraction - r.fraction % (FRACTION_1 / 1000) : 0;
    r.precision = (uint8_t)p;
    if (p < FHIRPATH_HOUR) {
        r.hour = r.minute = r.second = 0;
        r.day = p < FHIRPATH_DAY ? 0 : r.day;
        r.month = p < FHIRPATH_MONTH ? 0 : r.month;
        r.has_offset = false;
        r.offset_minutes = 0;
    } else {
        r.minute = p < FHIRPATH_MINUTE ? 0 : r.minute;
        r.second = p < FHIRPATH_SECOND ? 0 : r.second;
        if (kind == FHIRPATH_DATETIME && !r.has_offset) {
            r.has_offset = true;
            r.offset_minutes = high ? -12 * 60 : 14 * 60;
        }
    }
    *out = r;
    *out_kind = kind;
    return true;
}

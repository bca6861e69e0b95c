/* moment.c - dates, dateTimes and times as text, with what is known of them and no more.
 * Days are counted by the proleptic Gregorian calendar, years 0001 to 9999.
 * Source: FHIRPath N1, 2.1.20 "Date", "DateTime", "Time"; FHIR R4 datatypes.html#dateTime. */
#include "fhirpath/fhirpath_private.h"

#include "codec/instant.h"

#define FRACTION_DIGITS 18

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* n digits at *t. */
static bool cut_number(sv *t, size_t n, unsigned min, unsigned max, unsigned *out)
{
    unsigned v = 0;
    if (t->len < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(t->ptr[i]))
            return false;
        v = v * 10 + (unsigned)(t->ptr[i] - '0');
    }
    if (v < min || v > max)
        return false;
    *t = sv_tail(*t, n);
    *out = v;
    return true;
}

static bool cut_sign(sv *t, char c)
{
    if (t->len == 0 || t->ptr[0] != c)
        return false;
    *t = sv_tail(*t, 1);
    return true;
}

unsigned fp_days_in(int year, unsigned month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static bool read_date(sv *t, fp_moment *m)
{
    unsigned v;
    if (!cut_number(t, 4, 1, 9999, &v))
        return false;
    m->year = (int16_t)v;
    m->precision = FHIRPATH_YEAR;
    if (!cut_sign(t, '-'))
        return true;
    if (!cut_number(t, 2, 1, 12, &v))
        return false;
    m->month = (uint8_t)v;
    m->precision = FHIRPATH_MONTH;
    if (!cut_sign(t, '-'))
        return true;
    if (!cut_number(t, 2, 1, fp_days_in(m->year, m->month), &v))
        return false;
    m->day = (uint8_t)v;
    m->precision = FHIRPATH_DAY;
    return true;
}

static bool read_time(sv *t, fp_moment *m)
{
    unsigned v;
    if (!cut_number(t, 2, 0, 23, &v))
        return false;
    m->hour = (uint8_t)v;
    m->precision = FHIRPATH_HOUR;
    if (!cut_sign(t, ':'))
        return true;
    if (!cut_number(t, 2, 0, 59, &v))
        return false;
    m->minute = (uint8_t)v;
    m->precision = FHIRPATH_MINUTE;
    if (!cut_sign(t, ':'))
        return true;
    /* 60: a leap second */
    if (!cut_number(t, 2, 0, 60, &v))
        return false;
    m->second = (uint8_t)v;
    m->precision = FHIRPATH_SECOND;
    if (!cut_sign(t, '.'))
        return true;
    uint64_t unit = 100000000000000000u;
    size_t n = 0;
    for (; n < t->len && is_digit(t->ptr[n]); n++, unit /= 10) {
        if (n == FRACTION_DIGITS)
            return false;
        m->fraction += (uint64_t)(t->ptr[n] - '0') * unit;
    }
    m->digits = (uint8_t)n;
    *t = sv_tail(*t, n);
    return n > 0;
}

static bool read_offset(sv *t, fp_moment *m)
{
    unsigned h, min;
    if (t->len == 0)
        return true;
    m->has_offset = true;
    if (cut_sign(t, 'Z'))
        return true;
    bool minus = t->ptr[0] == '-';
    if (!(minus || t->ptr[0] == '+'))
        return false;
    *t = sv_tail(*t, 1);
    if (!cut_number(t, 2, 0, 14, &h) || !cut_sign(t, ':') || !cut_number(t, 2, 0, 59, &min))
        return false;
    m->offset_minutes = (int16_t)(h * 60 + min);
    if (minus)
        m->offset_minutes = (int16_t)-m->offset_minutes;
    return true;
}

bool fp_moment_read(sv text, fhirpath_kind kind, fp_moment *out)
{
    fp_moment m = { 0 };
    if (kind == FHIRPATH_TIME) {
        if (!read_time(&text, &m) || text.len)
            return false;
        *out = m;
        return true;
    }
    if (!read_date(&text, &m))
        return false;
    if (kind == FHIRPATH_DATETIME && m.precision == FHIRPATH_DAY && cut_sign(&text, 'T') &&
        (!read_time(&text, &m) || !read_offset(&text, &m)))
        return false;
    if (text.len)
        return false;
    *out = m;
    return true;
}

static char *put(char *to, unsigned v, size_t n)
{
    for (size_t i = n; i-- > 0; v /= 10)
        to[i] = (char)('0' + v % 10);
    return to + n;
}

static char *put_time(char *to, const fp_moment *m)
{
    to = put(to, m->hour, 2);
    if (m->precision >= FHIRPATH_MINUTE) {
        *to++ = ':';
        to = put(to, m->minute, 2);
    }
    if (m->precision < FHIRPATH_SECOND)
        return to;
    *to++ = ':';
    to = put(to, m->second, 2);
    uint64_t f = m->fraction;
    if (m->digits)
        *to++ = '.';
    for (unsigned i = 0; i < m->digits; i++) {
        f *= 10;
        *to++ = (char)('0' + (int)(f / 1000000000000000000u));
        f %= 1000000000000000000u;
    }
    return to;
}

sv fp_moment_write(const fp_moment *m, fhirpath_kind kind, char out[FP_MOMENT_LEN])
{
    char *to = out;
    if (kind == FHIRPATH_TIME)
        return sv_make(out, (size_t)(put_time(to, m) - out));
    to = put(to, (unsigned)m->year, 4);
    if (m->precision >= FHIRPATH_MONTH) {
        *to++ = '-';
        to = put(to, m->month, 2);
    }
    if (m->precision >= FHIRPATH_DAY) {
        *to++ = '-';
        to = put(to, m->day, 2);
    }
    if (m->precision >= FHIRPATH_HOUR) {
        *to++ = 'T';
        to = put_time(to, m);
    }
    if (m->has_offset && m->offset_minutes == 0) {
        *to++ = 'Z';
    } else if (m->has_offset) {
        unsigned o = (unsigned)(m->offset_minutes < 0 ? -m->offset_minutes : m->offset_minutes);
        *to++ = m->offset_minutes < 0 ? '-' : '+';
        to = put(to, o / 60, 2);
        *to++ = ':';
        to = put(to, o % 60, 2);
    }
    return sv_make(out, (size_t)(to - out));
}

fp_moment fp_moment_at(int64_t ms)
{
    char text[INSTANT_LEN];
    fp_moment m = { 0 };
    instant_format(ms, text);
    (void)fp_moment_read(sv_make(text, INSTANT_LEN), FHIRPATH_DATETIME, &m);
    return m;
}

/* Counted in eras of 400 years that begin in March, so that a leap day ends a year. */
int64_t fp_days_of(int year, unsigned month, unsigned day)
{
    int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
    unsigned in_era = (unsigned)(y - era * 400);
    unsigned in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

void fp_date_of(int64_t days, fp_moment *m)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned in_era = (unsigned)(days - era * 146097);
    unsigned y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned in_year = in_era - (365 * y + y / 4 - y / 100), part = (5 * in_year + 2) / 153;
    m->day = (uint8_t)(in_year - (153 * part + 2) / 5 + 1);
    m->month = (uint8_t)(part < 10 ? part + 3 : part - 9);
    m->year = (int16_t)((int64_t)y + era * 400 + (m->month <= 2));
}

/* instant.c - timestamps as text, and back.
 *
 * A date becomes a number of days, and a number of days a date, by arithmetic alone: no table, no
 * time zone, no locale. Years begin in March there, so that the leap day is the last day of a year.
 * Parsers cut the text from its front with take() and take_char(), and refuse whatever is left. */
#include "codec/instant.h"

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar, and back. Years are counted
 * from March, so that the leap day is a year's last; 400 years are 146097 days. */
static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

struct date {
    int64_t y;
    unsigned m, d;
};

static struct date date_of(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    struct date r = { .d = doy - (153 * mp + 2) / 5 + 1, .m = mp < 10 ? mp + 3 : mp - 9 };
    r.y = (int64_t)yoe + era * 400 + (r.m <= 2);
    return r;
}

#define MS_PER_DAY 86400000
#define MIN_MS     (-62135596800000LL) /* 0001-01-01T00:00:00.000Z */
#define MAX_MS     253402300799999LL   /* 9999-12-31T23:59:59.999Z */

static char *digits(char *p, unsigned v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + n;
}

struct parts {
    struct date date;
    unsigned h, mi, s, ms;
};

static struct parts parts_of(int64_t ms)
{
    ms = ms < MIN_MS ? MIN_MS : ms > MAX_MS ? MAX_MS : ms;
    int64_t days = ms / MS_PER_DAY;
    int64_t rest = ms % MS_PER_DAY;
    if (rest < 0) {
        rest += MS_PER_DAY;
        days--;
    }
    unsigned r = (unsigned)rest;
    return (struct parts){ date_of(days), r / 3600000, r / 60000 % 60, r / 1000 % 60, r % 1000 };
}

void instant_format(int64_t ms, char out[INSTANT_LEN])
{
    struct parts t = parts_of(ms);
    char *p = digits(out, (unsigned)t.date.y, 4);
    *p++ = '-';
    p = digits(p, t.date.m, 2);
    *p++ = '-';
    p = digits(p, t.date.d, 2);
    *p++ = 'T';
    p = digits(p, t.h, 2);
    *p++ = ':';
    p = digits(p, t.mi, 2);
    *p++ = ':';
    p = digits(p, t.s, 2);
    *p++ = '.';
    p = digits(p, t.ms, 3);
    *p = 'Z';
}

void instant_format_basic(int64_t ms, char out[16])
{
    struct parts t = parts_of(ms);
    char *p = digits(out, (unsigned)t.date.y, 4);
    p = digits(p, t.date.m, 2);
    p = digits(p, t.date.d, 2);
    *p++ = 'T';
    p = digits(p, t.h, 2);
    p = digits(p, t.mi, 2);
    p = digits(p, t.s, 2);
    *p = 'Z';
}

void instant_format_http(int64_t ms, char out[INSTANT_HTTP_LEN])
{
    /* 1970-01-01 was a Thursday */
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct parts t = parts_of(ms);
    int64_t day = days_of(t.date.y, t.date.m, t.date.d) % 7;
    char *p = out;
    memcpy(p, days + 3 * (day < 0 ? day + 7 : day), 3);
    memcpy(p + 3, ", ", 2);
    p = digits(p + 5, t.date.d, 2);
    *p++ = ' ';
    memcpy(p, months + 3 * (t.date.m - 1), 3);
    p[3] = ' ';
    p = digits(p + 4, (unsigned)t.date.y, 4);
    *p++ = ' ';
    p = digits(p, t.h, 2);
    *p++ = ':';
    p = digits(p, t.mi, 2);
    *p++ = ':';
    p = digits(p, t.s, 2);
    memcpy(p, " GMT", 4);
}

/* n digits at *p; false when there are none or fewer. */
static bool take(sv *t, unsigned n, unsigned *out)
{
    unsigned v = 0;
    if (t->len < n)
        return false;
    for (unsigned i = 0; i < n; i++) {
        unsigned d = (unsigned)(t->ptr[i] - '0');
        if (d > 9)
            return false;
        v = v * 10 + d;
    }
    *t = sv_tail(*t, n);
    *out = v;
    return true;
}

static bool take_char(sv *t, char c)
{
    if (t->len == 0 || t->ptr[0] != c)
        return false;
    *t = sv_tail(*t, 1);
    return true;
}

static bool to_ms(unsigned y, unsigned mo, unsigned d, unsigned h, unsigned mi, unsigned s,
                  unsigned ms, int64_t *out)
{
    static const unsigned char lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (y < 1 || mo < 1 || mo > 12 || d < 1 || h > 23 || mi > 59 || s > 60)
        return false;
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (d > lengths[mo - 1] + (mo == 2 && leap ? 1u : 0u))
        return false;
    /* a leap second is the last millisecond of its minute: it stays in its day */
    if (s == 60) {
        s = 59;
        ms = 999;
    }
    *out = days_of(y, mo, d) * MS_PER_DAY + (int64_t)h * 3600000 + (int64_t)mi * 60000 +
           (int64_t)s * 1000 + ms;
    return true;
}

bool instant_parse(sv t, int64_t *out_ms)
{
    unsigned y, mo, d, h, mi, s, ms = 0;
    if (!take(&t, 4, &y) || !take_char(&t, '-') || !take(&t, 2, &mo) || !take_char(&t, '-') ||
        !take(&t, 2, &d) || !take_char(&t, 'T') || !take(&t, 2, &h) || !take_char(&t, ':') ||
        !take(&t, 2, &mi) || !take_char(&t, ':') || !take(&t, 2, &s))
        return false;
    if (take_char(&t, '.')) {
        unsigned n = 0, digit;
        for (; take(&t, 1, &digit); n++)
            if (n < 3)
                ms = ms * 10 + digit;
        if (n == 0)
            return false;
        for (; n < 3; n++)
            ms *= 10;
    }
    int64_t shift_min = 0;
    if (!take_char(&t, 'Z')) {
        bool minus = t.len && t.ptr[0] == '-';
        unsigned oh, om;
        if (!take_char(&t, minus ? '-' : '+') || !take(&t, 2, &oh) || !take_char(&t, ':') ||
            !take(&t, 2, &om) || oh > 14 || om > 59)
            return false;
        shift_min = (int64_t)(oh * 60 + om) * (minus ? -1 : 1);
    }
    int64_t v;
    if (t.len != 0 || !to_ms(y, mo, d, h, mi, s, ms, &v))
        return false;
    *out_ms = v - shift_min * 60000;
    return true;
}

bool instant_parse_basic(sv t, int64_t *out_ms)
{
    unsigned y, mo, d, h, mi, s;
    return take(&t, 4, &y) && take(&t, 2, &mo) && take(&t, 2, &d) && take_char(&t, 'T') &&
           take(&t, 2, &h) && take(&t, 2, &mi) && take(&t, 2, &s) && take_char(&t, 'Z') &&
           t.len == 0 && to_ms(y, mo, d, h, mi, s, 0, out_ms);
}

static bool take_month(sv *t, unsigned *out)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (unsigned mo = 0; mo < 12 && t->len >= 3; mo++)
        if (memcmp(months + 3 * (size_t)mo, t->ptr, 3) == 0) {
            *t = sv_tail(*t, 3);
            *out = mo + 1;
            return true;
        }
    return false;
}

static bool take_time(sv *t, unsigned *h, unsigned *mi, unsigned *s)
{
    return take(t, 2, h) && take_char(t, ':') && take(t, 2, mi) && take_char(t, ':') &&
           take(t, 2, s);
}

/* The name of a day is passed over, whether it is that day's or not. */
bool instant_parse_http(sv t, int64_t *out_ms)
{
    unsigned y, mo, d, h, mi, s;
    size_t day = sv_find(t, ',');
    /* asctime: "Mon Nov 23 18:30:00 2026", "Mon Nov  6 ..." */
    if (day == t.len) {
        if (t.len != 24 || t.ptr[3] != ' ')
            return false;
        t = sv_tail(t, 4);
        return take_month(&t, &mo) && take_char(&t, ' ') &&
               (take_char(&t, ' ') ? take(&t, 1, &d) : take(&t, 2, &d)) && take_char(&t, ' ') &&
               take_time(&t, &h, &mi, &s) && take_char(&t, ' ') && take(&t, 4, &y) && t.len == 0 &&
               to_ms(y, mo, d, h, mi, s, 0, out_ms);
    }
    char dash = day == 3 ? ' ' : '-';
    sv rest = sv_tail(t, day + 1);
    if (day < 3 || day > 9 || !take_char(&rest, ' ') || !take(&rest, 2, &d) ||
        !take_char(&rest, dash) || !take_month(&rest, &mo) || !take_char(&rest, dash) ||
        !take(&rest, day == 3 ? 4 : 2, &y))
        return false;
    /* RFC 850: "Monday, 23-Nov-26 18:30:00 GMT"; the century is the one that time_t begins in, or
     * the next */
    if (day > 3)
        y += y < 70 ? 2000 : 1900;
    return take_char(&rest, ' ') && take_time(&rest, &h, &mi, &s) && sv_eq(rest, SV_LIT(" GMT")) &&
           to_ms(y, mo, d, h, mi, s, 0, out_ms);
}

/* moment.c - dates as intervals, and the parts of a reference.
 *
 * A date that was written is an interval: "2015-02" is a month. A leap second (23:59:60) is the
 * last millisecond of its minute: it stays in its day, behind 23:59:59 and in front of midnight. A
 * reference such as "Patient/1" is a type and an id, and may have a base in front.
 * Source: FHIR R4 datatypes.html#dateTime, references.html. */
#include "search/search_private.h"

#define DAY_MS 86400000LL

static bool digits(sv *t, size_t n, int *out)
{
    if (t->len < n)
        return false;
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (t->ptr[i] < '0' || t->ptr[i] > '9')
            return false;
        v = v * 10 + (t->ptr[i] - '0');
    }
    *t = sv_tail(*t, n);
    *out = v;
    return true;
}

static bool ch(sv *t, char c)
{
    if (t->len == 0 || t->ptr[0] != c)
        return false;
    *t = sv_tail(*t, 1);
    return true;
}

/* Days since 1970-01-01 of the proleptic Gregorian calendar. */
static int64_t days(int y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static int month_days(int y, int m)
{
    static const int n[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return n[m - 1] + (m == 2 && leap);
}

/* Z or +hh:mm; a plus sign that a form turned into a space is taken for one. */
static bool zone(sv *t, int64_t *minutes)
{
    int h, m;
    *minutes = 0;
    if (t->len == 0 || ch(t, 'Z'))
        return true;
    bool minus = t->ptr[0] == '-';
    if (!ch(t, '+') && !ch(t, '-') && !ch(t, ' '))
        return false;
    if (!digits(t, 2, &h) || !ch(t, ':') || !digits(t, 2, &m) || h > 14 || m > 59)
        return false;
    *minutes = (minus ? -1 : 1) * (h * 60 + m);
    return true;
}

static bool clock_part(sv *t, int64_t day_ms, int64_t *lo, int64_t *hi)
{
    int h, mi, s;
    int64_t width = 60000, at, off, frac = 0;
    if (!digits(t, 2, &h) || !ch(t, ':') || !digits(t, 2, &mi) || h > 23 || mi > 59)
        return false;
    at = day_ms + (h * 60 + mi) * 60000LL;
    if (ch(t, ':')) {
        if (!digits(t, 2, &s) || s > 60)
            return false;
        bool leap = s == 60;
        at += s * 1000LL;
        width = 1000;
        if (ch(t, '.')) {
            size_t n = 0;
            for (; t->len && t->ptr[0] >= '0' && t->ptr[0] <= '9'; *t = sv_tail(*t, 1), n++)
                if (n < 3)
                    frac = frac * 10 + (t->ptr[0] - '0');
            if (n == 0)
                return false;
            width = n >= 3 ? 1 : n == 2 ? 10 : 100;
            at += frac * width;
        }
        if (leap) {
            at = day_ms + (h * 60 + mi + 1) * 60000LL - 1;
            width = 1;
        }
    }
    if (!zone(t, &off))
        return false;
    *lo = at - off * 60000;
    *hi = *lo + width;
    return t->len == 0;
}

bool moment_parse(sv t, int64_t *lo_ms, int64_t *hi_ms)
{
    int y, m, d;
    if (!digits(&t, 4, &y) || y < 1)
        return false;
    if (t.len == 0) {
        *lo_ms = days(y, 1, 1) * DAY_MS;
        *hi_ms = days(y + 1, 1, 1) * DAY_MS;
        return true;
    }
    if (!ch(&t, '-') || !digits(&t, 2, &m) || m < 1 || m > 12)
        return false;
    if (t.len == 0) {
        *lo_ms = days(y, m, 1) * DAY_MS;
        *hi_ms = *lo_ms + month_days(y, m) * DAY_MS;
        return true;
    }
    if (!ch(&t, '-') || !digits(&t, 2, &d) || d < 1 || d > month_days(y, m))
        return false;
    int64_t day = days(y, m, d) * DAY_MS;
    if (t.len == 0) {
        *lo_ms = day;
        *hi_ms = day + DAY_MS;
        return true;
    }
    return ch(&t, 'T') && clock_part(&t, day, lo_ms, hi_ms);
}

sv canonical_url(sv text)
{
    return sv_head(text, sv_find(text, '|'));
}

bool reference_parse(sv text, fhir_type *type, sv *id, sv *base)
{
    sv t = canonical_url(text);
    size_t h = sv_find(t, '#');
    t = sv_head(t, h);
    const char *version = NULL;
    /* few have one */
    if (t.len && memchr(t.ptr, '_', t.len))
        version = memmem(t.ptr, t.len, "/_history/", 10);
    if (version)
        t = sv_head(t, (size_t)(version - t.ptr));
    size_t slash = t.len;
    while (slash > 0 && t.ptr[slash - 1] != '/')
        slash--;
    if (slash < 2)
        return false;
    sv last = sv_tail(t, slash), front = sv_head(t, slash - 1);
    size_t from = front.len;
    while (from > 0 && front.ptr[from - 1] != '/')
        from--;
    fhir_type ty = fhir_type_find(sv_tail(front, from));
    if (ty == FHIR_TYPE_NONE || !fhir_id_ok(last))
        return false;
    *type = ty;
    *id = last;
    *base = from ? sv_head(front, from - 1) : SV_LIT("");
    return true;
}

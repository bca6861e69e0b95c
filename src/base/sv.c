/* sv.c - those calls of sv.h that are too long to be inline: cutting, trimming, order, and numbers.
 * A number is read only if the whole text is one; nothing is guessed. */
#include "base/sv.h"

#include <math.h>
#include <stdlib.h>

bool sv_eq_nocase(sv a, sv b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (sv_lower(a.ptr[i]) != sv_lower(b.ptr[i]))
            return false;
    return true;
}

size_t sv_find(sv a, char c)
{
    const char *p = a.len ? memchr(a.ptr, c, a.len) : NULL;
    return p ? (size_t)(p - a.ptr) : a.len;
}

sv sv_trim(sv a)
{
    while (a.len && (a.ptr[0] == ' ' || a.ptr[0] == '\t')) {
        a.ptr++;
        a.len--;
    }
    while (a.len && (a.ptr[a.len - 1] == ' ' || a.ptr[a.len - 1] == '\t'))
        a.len--;
    return a;
}

bool sv_cut(sv *rest, char c, sv *out)
{
    if (rest->ptr == NULL)
        return false;
    size_t i = sv_find(*rest, c);
    *out = sv_head(*rest, i);
    *rest = i == rest->len ? SV_NONE : sv_tail(*rest, i + 1);
    return true;
}

bool sv_to_u64(sv a, uint64_t *out)
{
    uint64_t v = 0;
    if (a.len == 0)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        unsigned d = (unsigned)(a.ptr[i] - '0');
        if (d > 9 || v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *out = v;
    return true;
}

bool sv_to_i64(sv a, int64_t *out)
{
    bool neg = a.len && a.ptr[0] == '-';
    uint64_t v;
    if (!sv_to_u64(neg ? sv_tail(a, 1) : a, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + (neg ? 1 : 0))
        return false;
    *out = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool sv_to_double(sv a, double *out)
{
    char tmp[64];
    if (a.len == 0 || a.len >= sizeof tmp)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char c = a.ptr[i];
        if (!((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'))
            return false;
    }
    memcpy(tmp, a.ptr, a.len);
    tmp[a.len] = 0;
    char *end;
    double v = strtod(tmp, &end);
    if (*end != 0 || !isfinite(v))
        return false;
    *out = v;
    return true;
}

int sv_by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

size_t sv_sort_once(sv *items, size_t n)
{
    size_t kept = 0;
    if (n == 0)
        return 0;
    qsort(items, n, sizeof *items, sv_by_bytes);
    for (size_t i = 1; i < n; i++)
        if (!sv_eq(items[kept], items[i]))
            items[++kept] = items[i];
    return kept + 1;
}

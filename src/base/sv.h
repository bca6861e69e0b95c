/* sv.h - borrowed text and bytes, passed by value.
 * A view may hold NUL bytes and has no terminator. Who owns the bytes is said where a view is
 * handed out.   Floor: base. */
#pragma once
#include "base/err.h"

#include <stdint.h>

typedef struct {
    const char *ptr;
    size_t len; /* bytes */
} sv;

#define SV_LIT(s) ((sv){ (s), sizeof(s) - 1 })
#define SV_NONE   ((sv){ NULL, 0 })
#define SV_FMT(v) (int)(v).len, ((v).ptr ? (v).ptr : "") /* for "%.*s" */

static inline sv sv_from(const char *cstr)
{
    return cstr ? (sv){ cstr, strlen(cstr) } : SV_NONE;
}
static inline sv sv_make(const void *ptr, size_t len)
{
    return (sv){ (const char *)ptr, len };
}
static inline bool sv_eq(sv a, sv b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool sv_eq_cstr(sv a, const char *b)
{
    return sv_eq(a, sv_from(b));
}
static inline char sv_lower(char c) /* of ASCII */
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}
/* Byte order, shorter first on a common prefix: <0, 0, >0. */
static inline int sv_cmp(sv a, sv b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}
/* Likewise of two sv behind pointers: for qsort() and bsearch(). */
int sv_by_bytes(const void *a, const void *b);
/* In that order, each once. Returns how many are left. */
size_t sv_sort_once(sv *items, size_t n);
static inline bool sv_starts(sv a, sv prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}
static inline bool sv_ends(sv a, sv suffix)
{
    return a.len >= suffix.len &&
           (suffix.len == 0 || memcmp(a.ptr + a.len - suffix.len, suffix.ptr, suffix.len) == 0);
}
/* So many lower-case hexadecimal digits and nothing else. */
static inline bool sv_is_hex(sv a, size_t len)
{
    for (size_t i = 0; i < a.len; i++)
        if (!((a.ptr[i] >= '0' && a.ptr[i] <= '9') || (a.ptr[i] >= 'a' && a.ptr[i] <= 'f')))
            return false;
    return a.len == len;
}
/* FNV-1a of 64 bits; the seed tells texts of different kinds apart. For tables in memory: the low
 * bits are the good ones, and who chooses texts can make them collide. */
static inline uint64_t sv_hash(uint64_t seed, sv v)
{
    uint64_t h = 14695981039346656037u ^ seed;
    for (size_t i = 0; i < v.len; i++)
        h = (h ^ (unsigned char)v.ptr[i]) * 1099511628211u;
    return h;
}
/* The part from byte `from` on; empty when from is past the end. */
static inline sv sv_tail(sv a, size_t from)
{
    /* nothing is added to a pointer that may be NULL */
    if (from >= a.len)
        return (sv){ a.len ? a.ptr + a.len : a.ptr, 0 };
    return (sv){ a.ptr + from, a.len - from };
}
static inline sv sv_head(sv a, size_t len)
{
    return (sv){ a.ptr, len < a.len ? len : a.len };
}

/* ASCII case-insensitive equality (header names, schemes). */
bool sv_eq_nocase(sv a, sv b);
/* Index of byte c, or a.len when absent. */
size_t sv_find(sv a, char c);
/* Without ASCII spaces and tabs at both ends. */
sv sv_trim(sv a);
/* Cut *rest at the first c: returns what stands before it and moves *rest behind it. With no c
 * left, returns all of *rest and empties it (rest->ptr becomes NULL). False once *rest.ptr is NULL.
 */
bool sv_cut(sv *rest, char c, sv *out);

/* Checked decimal integers: the whole of a, no sign for the unsigned, no spaces. False on anything
 * else or on overflow; *out is untouched then. */
MUST_USE bool sv_to_u64(sv a, uint64_t *out);
MUST_USE bool sv_to_i64(sv a, int64_t *out);
/* Like strtod over the whole of a, locale-independent for plain decimals; false on rubbish. */
MUST_USE bool sv_to_double(sv a, double *out);

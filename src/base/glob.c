/* glob.c - a pattern is held against a text from left to right. On a mismatch the last '*' takes
 * one byte more; earlier ones need no second look, because the last one can stand for whatever they
 * would have taken. So no pattern takes longer than its length times the text's. */
#include "base/glob.h"

bool glob_matches(sv pattern, sv text, bool nocase)
{
    size_t p = 0, t = 0, star = SIZE_MAX, star_text = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            star_text = t;
        } else if (p < pattern.len &&
                   (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t] ||
                    (nocase && sv_lower(pattern.ptr[p]) == sv_lower(text.ptr[t])))) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

/* policy_pattern.c - patterns of policies: '*' stands for any run of bytes, '?' for any one byte.
 *
 * ARNs are matched part by part, so that a '*' in one part does not reach over a colon into the
 * next; only the last part may have colons itself. */
#include "auth/policy_private.h"

char policy_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* '*' any run, '?' any one byte. On a mismatch the last '*' takes one byte more; earlier ones need
 * no second look, because the last one can stand for whatever they would have taken. */
bool policy_glob(sv pattern, sv text, bool nocase)
{
    size_t p = 0, t = 0, star = SIZE_MAX, star_text = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            star_text = t;
        } else if (p < pattern.len &&
                   (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t] ||
                    (nocase && policy_lower(pattern.ptr[p]) == policy_lower(text.ptr[t])))) {
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

/* "arn:partition:service:region:account:resource"; the last part keeps its colons. */
bool policy_arn_split(sv text, sv out[ARN_PARTS])
{
    for (size_t i = 0; i < ARN_PARTS - 1; i++) {
        size_t colon = sv_find(text, ':');
        if (colon == text.len)
            return false;
        out[i] = sv_head(text, colon);
        text = sv_tail(text, colon + 1);
    }
    out[ARN_PARTS - 1] = text;
    return true;
}

bool policy_arn_match(sv pattern, sv text)
{
    sv want[ARN_PARTS], have[ARN_PARTS];
    if (!policy_arn_split(pattern, want) || !policy_arn_split(text, have))
        return false;
    for (size_t i = 0; i < ARN_PARTS; i++)
        if (!policy_glob(want[i], have[i], false))
            return false;
    return true;
}

bool policy_pattern_matches(sv pattern, sv text)
{
    return policy_glob(pattern, text, true);
}

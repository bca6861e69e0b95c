/* policy_pattern.c - patterns of policies (base/glob.h).
 *
 * ARNs are matched part by part, so that a '*' in one part does not reach over a colon into the
 * next; only the last part may have colons itself. */
#include "auth/policy_private.h"

#include "base/glob.h"

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
        if (!glob_matches(want[i], have[i], false))
            return false;
    return true;
}

bool policy_pattern_matches(sv pattern, sv text)
{
    return glob_matches(pattern, text, true);
}

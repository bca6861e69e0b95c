/* near.c - which known name was probably meant.
 *
 * The distance of two names is the number of letters that are missing, too many or wrong
 * (Levenshtein). Two letters that changed places count once (Damerau's restricted form). A '*' in
 * the typed name takes any letters, a '?' takes one. */
#include "base/near.h"

#define NAME_MAX_LEN 96u /* longer ones are nobody's slip */

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Three rows of the table are enough: this letter's, the last one's and, for two that changed
 * places, that before. */
static size_t steps(sv typed, sv name)
{
    size_t rows[3][NAME_MAX_LEN + 1];
    for (size_t j = 0; j <= name.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= typed.len; i++) {
        size_t *row = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        char c = sv_lower(typed.ptr[i - 1]);
        size_t any = c == '*' ? 0 : 1;
        row[0] = last[0] + any;
        for (size_t j = 1; j <= name.len; j++) {
            char d = sv_lower(name.ptr[j - 1]);
            row[j] = min(min(last[j] + any, row[j - 1] + any),
                         last[j - 1] + (c == d || c == '?' ? 0 : any));
            if (i > 1 && j > 1 && c == sv_lower(name.ptr[j - 2]) && d == sv_lower(typed.ptr[i - 2]))
                row[j] = min(row[j], before[j - 2] + 1);
        }
    }
    return rows[typed.len % 3][name.len];
}

sv near_name(sv typed, near_known_fn known, const void *ctx)
{
    size_t letters = 0, best;
    sv found = SV_NONE, name;
    if (typed.len > NAME_MAX_LEN)
        return SV_NONE;
    for (size_t i = 0; i < typed.len; i++)
        letters += typed.ptr[i] != '*' && typed.ptr[i] != '?';
    best = letters / 3 + 1;
    for (size_t i = 0; (name = known(ctx, i)).len; i++) {
        size_t n = name.len <= NAME_MAX_LEN ? steps(typed, name) : SIZE_MAX;
        if (n < best) {
            best = n;
            found = name;
        }
    }
    return found;
}

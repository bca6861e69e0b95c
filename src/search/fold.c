/* fold.c - what texts are compared by: letter case, accents, punctuation and white space that mean
 * nothing are gone.
 *
 *   "  St. Mary\u2019s   Hospital " -> st marys hospital        "Smith-Jones" -> smith|jones
 *
 * Case is folded, characters are taken apart (NFKD), marks go. White space at the ends goes, a run
 * of it inside is one blank. An apostrophe goes without a trace. Any other punctuation goes too,
 * but where it stood between two letters a FOLD_JOINT remembers it: a text with joints can be read
 * in two ways, without them ("smithjones") and with a blank for each ("smith jones"), and either is
 * as good. Symbols (+ $ < and their like) are no punctuation.
 *
 * Each character is folded by itself, so the fold of a text's beginning is the beginning of its
 * fold.
 * Source: FHIR R4 search.html 3.1.1.4.8; Unicode's categories P, Z, M. */
#include "search/search_private.h"

#include <utf8proc.h>

enum { KEPT, BLANK, JOINT, GONE };

/* ASCII: what becomes of each character. */
static const unsigned char ascii[128] = {
    [0] = BLANK,   [1] = BLANK,   [2] = BLANK,   [3] = BLANK,   [4] = BLANK,   [5] = BLANK,
    [6] = BLANK,   [7] = BLANK,   [8] = BLANK,   [9] = BLANK,   [10] = BLANK,  [11] = BLANK,
    [12] = BLANK,  [13] = BLANK,  [14] = BLANK,  [15] = BLANK,  [16] = BLANK,  [17] = BLANK,
    [18] = BLANK,  [19] = BLANK,  [20] = BLANK,  [21] = BLANK,  [22] = BLANK,  [23] = BLANK,
    [24] = BLANK,  [25] = BLANK,  [26] = BLANK,  [27] = BLANK,  [28] = BLANK,  [29] = BLANK,
    [30] = BLANK,  [31] = BLANK,  [' '] = BLANK, [127] = BLANK, ['\''] = GONE, ['`'] = GONE,
    ['!'] = JOINT, ['"'] = JOINT, ['#'] = JOINT, ['%'] = JOINT, ['&'] = JOINT, ['('] = JOINT,
    [')'] = JOINT, ['*'] = JOINT, [','] = JOINT, ['-'] = JOINT, ['.'] = JOINT, ['/'] = JOINT,
    [':'] = JOINT, [';'] = JOINT, ['?'] = JOINT, ['@'] = JOINT, ['['] = JOINT, ['\\'] = JOINT,
    [']'] = JOINT, ['_'] = JOINT, ['{'] = JOINT, ['}'] = JOINT,
};

/* What people write for an apostrophe, letters of that shape among it. */
static bool is_apostrophe(int32_t c)
{
    return c == '\'' || c == '`' || c == 0x00B4 || (c >= 0x02B9 && c <= 0x02BF) || c == 0x055A ||
           c == 0x05F3 || (c >= 0x2018 && c <= 0x201B) || c == 0x2032 || c == 0x2035 || c == 0xFF07;
}

static unsigned class_of(int32_t c)
{
    if (c < 128)
        return ascii[c];
    if (is_apostrophe(c))
        return GONE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return JOINT;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
        return BLANK;
    default:
        return KEPT;
    }
}

struct folding {
    char *out;
    size_t len, cap;
    size_t enough; /* it may end once there are so many bytes */
    unsigned gap;  /* what stands between the last letter and the next: KEPT for nothing */
};

#define CHAR_MAX_BYTES 5u /* a gap and a character */

/* The caller has made sure of CHAR_MAX_BYTES. */
static void take(struct folding *f, int32_t c)
{
    unsigned class = class_of(c);
    if (class == GONE)
        return;
    if (class != KEPT) {
        if (f->gap != BLANK)
            f->gap = class;
        return;
    }
    if (f->gap != KEPT && f->len)
        f->out[f->len++] = f->gap == BLANK ? ' ' : FOLD_JOINT;
    f->gap = KEPT;
    if (c < 128)
        f->out[f->len++] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    else
        f->len += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)(uintptr_t)(f->out + f->len));
}

#define PARTS_OF_CHAR 32 /* of one character taken apart: Unicode's longest has 18 */

/* One character beyond ASCII; *at moves behind it. False: not UTF-8, or no room (then *at
 * stays). */
static bool take_wide(struct folding *f, sv text, size_t *at)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)(uintptr_t)(text.ptr + *at);
    utf8proc_int32_t c, parts[PARTS_OF_CHAR];
    utf8proc_ssize_t n = utf8proc_iterate(p, (utf8proc_ssize_t)(text.len - *at), &c);
    if (n <= 0)
        return false;
    utf8proc_ssize_t n_parts = 0;
    /* some would come apart into a blank and a mark */
    if (is_apostrophe(c)) {
        parts[n_parts++] = '\'';
    } else {
        int last = 0;
        n_parts = utf8proc_decompose_char(c, parts, PARTS_OF_CHAR,
                                          UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD |
                                              UTF8PROC_STRIPMARK | UTF8PROC_IGNORE,
                                          &last);
        if (n_parts < 0 || n_parts > PARTS_OF_CHAR)
            return false;
    }
    if (f->cap - f->len < (size_t)n_parts * CHAR_MAX_BYTES)
        return false;
    for (utf8proc_ssize_t i = 0; i < n_parts; i++)
        take(f, parts[i]);
    *at += (size_t)n;
    return true;
}

/* From *at on, as far as there is room. */
static void run(struct folding *f, sv text, size_t *at)
{
    while (*at < text.len && f->len < f->enough && f->cap - f->len >= CHAR_MAX_BYTES) {
        if ((unsigned char)text.ptr[*at] < 0x80)
            take(f, text.ptr[(*at)++]);
        else if (!take_wide(f, text, at))
            return;
    }
}

size_t fold_head(sv text, char out[FOLD_ROOM])
{
    struct folding f = { .out = out, .cap = FOLD_ROOM, .enough = FOLD_HEAD };
    size_t at = 0;
    run(&f, text, &at);
    return f.len;
}

bool fold(sv text, struct folded *out)
{
    struct folding f = { .out = out->room, .cap = FOLD_ROOM, .enough = SIZE_MAX };
    size_t at = 0;
    out->more = NULL;
    run(&f, text, &at);
    while (at < text.len) {
        size_t before = at;
        f.cap = f.cap * 2 + (text.len - at);
        char *more = realloc(out->more, f.cap);
        if (more == NULL)
            abort();
        if (out->more == NULL)
            memcpy(more, out->room, f.len);
        f.out = out->more = more;
        run(&f, text, &at);
        /* with so much room it can only be what cannot be read */
        if (at == before) {
            fold_done(out);
            return false;
        }
    }
    out->text = sv_make(f.out, f.len);
    return true;
}

void fold_done(struct folded *f)
{
    free(f->more);
    f->more = NULL;
    f->text = SV_NONE;
}

size_t fold_read(sv folded, bool joints_are_blanks, char *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < folded.len && n < max; i++)
        if (folded.ptr[i] != FOLD_JOINT)
            out[n++] = folded.ptr[i];
        else if (joints_are_blanks)
            out[n++] = ' ';
    return n;
}

bool fold_has_joint(sv folded)
{
    return folded.len && memchr(folded.ptr, FOLD_JOINT, folded.len) != NULL;
}

bool fold_next_part(sv folded, size_t *at)
{
    size_t i = *at;
    while (i < folded.len && folded.ptr[i] != ' ' && folded.ptr[i] != FOLD_JOINT)
        i++;
    if (i == folded.len)
        return false;
    *at = i + 1;
    return true;
}

static bool starts_read(sv folded, bool joints_are_blanks, sv want)
{
    size_t n = 0;
    for (size_t i = 0; n < want.len; i++) {
        if (i == folded.len)
            return false;
        char c = folded.ptr[i];
        if (c == FOLD_JOINT) {
            if (!joints_are_blanks)
                continue;
            c = ' ';
        }
        if (c != want.ptr[n++])
            return false;
    }
    return true;
}

static bool starts(sv folded, const struct search_text *want)
{
    for (unsigned i = 0; i < want->n; i++)
        if (starts_read(folded, false, want->readings[i]) ||
            starts_read(folded, true, want->readings[i]))
            return true;
    return false;
}

static bool contains(sv folded, const struct search_text *want)
{
    char *text = malloc(folded.len + 1);
    bool found = false;
    if (text == NULL)
        abort();
    for (unsigned spaced = 0; spaced < 2 && !found; spaced++) {
        size_t n = fold_read(folded, spaced, text, folded.len);
        for (unsigned i = 0; i < want->n && !found; i++)
            found = memmem(text, n, want->readings[i].ptr, want->readings[i].len) != NULL;
    }
    free(text);
    return found;
}

bool fold_meets(sv text, fold_how how, const struct search_text *want)
{
    struct folded f;
    if (text.ptr == NULL || want->n == 0 || !fold(text, &f))
        return false;
    bool met = how == FOLD_ANYWHERE ? contains(f.text, want) : starts(f.text, want);
    size_t at = 0;
    for (unsigned i = 1; how == FOLD_PARTS && !met && i < FOLD_PARTS_MAX; i++) {
        if (!fold_next_part(f.text, &at))
            break;
        met = starts(sv_tail(f.text, at), want);
    }
    fold_done(&f);
    return met;
}

err_code fold_query(sv text, struct arena *a, struct search_text *out, struct err *e)
{
    struct folded f;
    err_code rc = ERR_OK;
    if (!fold(text, &f))
        return ERR(e, ERR_INVALID, "text is not valid UTF-8");
    out->n = 0;
    for (unsigned spaced = 0; spaced <= fold_has_joint(f.text) && f.text.len; spaced++) {
        char *p = arena_alloc(a, f.text.len);
        if (p == NULL) {
            rc = arena_oom(a, e);
            break;
        }
        out->readings[out->n++] = sv_make(p, fold_read(f.text, spaced, p, f.text.len));
    }
    fold_done(&f);
    return rc;
}

/* regex.c - matches(), matchesFull() and replaceMatches(), by PCRE2. A pattern that is a literal is
 * compiled with the expression, any other by the run. Its memory comes from the arena of the
 * expression or of the run.
 *
 * What a match may do is bounded. PCRE2's own limit counts the places that it may come back to, and
 * begins anew for each match: [a-z]*[0-9] has none, and looks at n letters from each of n places.
 * So PCRE2 calls us in front of each item of the pattern (a callout), and each call takes steps of
 * the run: for the way that the text was gone since the last one, and for what the item may look at
 * and then not match, which moves nothing. An item that looks at more than one character and fails
 * is one of these:
 *
 *   X{1000,}       its number, which stands in the pattern
 *   (?<=...)       goes back as far as PCRE2 says for the pattern
 *   \1             what a group has caught
 *   \X, (*sr:..)  up to the whole text
 *
 * Source: FHIRPath N1, 5.6; a dot is any character, a line's end too. */
#include "fhirpath/fn/fn_private.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define PATTERN_MAX    1000u  /* bytes */
#define MATCH_STEPS    20000u /* of PCRE2, and eight for each byte of the text */
#define GROUPS_MAX     64u    /* that a replacement may name */
#define MATCH_HEAP_KIB 4096u
#define MATCH_COST     64u /* steps of the run for each match */
/* What a match does is counted in units: a byte that it goes over is one. */
#define STEP_UNITS    32u
#define ITEM_UNITS    8u
#define REPLACE_UNITS 64u
#define CHARGE_UNITS  (STEP_UNITS * 256u) /* are charged together */

struct regex {
    pcre2_code *code;
    uint32_t factor; /* of a unit: an item of a long pattern may ask more of a character */
    uint32_t blind;  /* bytes that an item may look at in vain */
    bool has_references, whole;
};

struct matcher {
    pcre2_general_context *general;
    pcre2_match_context *context;
    pcre2_match_data *data;
    struct fp_cx *cx;
    const struct regex *re; /* of this match */
    size_t at;              /* in the text, at the last call */
    uint64_t units;         /* not charged yet */
    err_code rc;            /* why the match was ended */
    struct err why;
};

static void *take(size_t n, void *arena)
{
    return arena_alloc(arena, n);
}

static void give(void *p, void *arena)
{
    (void)p;
    (void)arena;
}

/* ---- patterns ---- */

/* The largest number behind a brace. */
static uint32_t repeats(sv pattern)
{
    uint32_t most = 1;
    for (size_t i = 0; i < pattern.len; i++) {
        uint32_t n = 0;
        if (pattern.ptr[i] != '{')
            continue;
        size_t k = i + 1;
        while (k < pattern.len && pattern.ptr[k] == ' ')
            k++;
        for (; k < pattern.len && pattern.ptr[k] >= '0' && pattern.ptr[k] <= '9' && n < 100000; k++)
            n = n * 10 + (uint32_t)(pattern.ptr[k] - '0');
        most = n > most ? n : most;
    }
    return most;
}

/* Text that only looks so is taken for it: that costs steps, and nothing else. */
static bool may_take_all(sv pattern)
{
    for (size_t i = 0; i + 2 < pattern.len + 1; i++) {
        const char *p = pattern.ptr + i;
        if (memcmp(p, "\\X", 2) == 0)
            return true;
        if (memcmp(p, "(*", 2) == 0 && i + 2 < pattern.len && (p[2] == 's' || p[2] == 'a'))
            return true;
    }
    return false;
}

static err_code know(sv pattern, pcre2_code *code, struct arena *a, struct regex **out,
                     struct err *e)
{
    uint32_t back = 0, behind = 0;
    struct regex *re = ARENA_NEW(a, struct regex);
    if (re == NULL)
        return arena_oom(a, e);
    if (pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &back) != 0 ||
        pcre2_pattern_info(code, PCRE2_INFO_MAXLOOKBEHIND, &behind) != 0)
        return ERR(e, ERR_INTERNAL, "a regular expression says nothing of itself");
    uint32_t most = repeats(pattern);
    *re = (struct regex){ .code = code,
                          .factor = 1 + (uint32_t)pattern.len / 64,
                          .blind = most > behind ? most : behind,
                          .has_references = back > 0,
                          .whole = may_take_all(pattern) };
    *out = re;
    return ERR_OK;
}

static err_code compile(sv pattern, struct arena *a, struct regex **out, struct err *e)
{
    pcre2_general_context *general = pcre2_general_context_create(take, give, a);
    pcre2_compile_context *cc = general ? pcre2_compile_context_create(general) : NULL;
    if (cc == NULL)
        return arena_oom(a, e);
    int code;
    PCRE2_SIZE at;
    if (pattern.len > PATTERN_MAX)
        return ERR(e, ERR_TOO_LARGE, "a regular expression has at most %u bytes", PATTERN_MAX);
    (void)pcre2_set_parens_nest_limit(cc, 50);
    pcre2_code *re = pcre2_compile(
        (PCRE2_SPTR)(pattern.ptr ? pattern.ptr : ""), pattern.len,
        PCRE2_UTF | PCRE2_DOTALL | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT, &code, &at, cc);
    if (re == NULL) {
        char why[160] = "";
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return ERR(e, ERR_INVALID, "no regular expression, at its byte %zu: %s", (size_t)at + 1,
                   why);
    }
    return know(pattern, re, a, out, e);
}

err_code fp_regex_prepare(struct fp_node *call, struct arena *a, struct err *e)
{
    fp_call fn = call->fn->call;
    if ((fn != fn_matches && fn != fn_matches_full && fn != fn_replace_matches) ||
        call->args[0]->what != FP_LITERAL || call->args[0]->literal.kind != FHIRPATH_STRING)
        return ERR_OK;
    struct regex *re = NULL;
    TRY(compile(call->args[0]->literal.as.text, a, &re, e));
    call->regex = re;
    return ERR_OK;
}

/* ---- what a match costs ---- */

static int charge(struct matcher *m, uint64_t units)
{
    m->units += units * m->re->factor;
    if (m->units < CHARGE_UNITS)
        return 0;
    m->rc = fp_steps(m->cx, m->units / STEP_UNITS, &m->why);
    m->units = 0;
    return m->rc == ERR_OK ? 0 : PCRE2_ERROR_CALLOUT;
}

/* The longest that a group has caught until now. */
static size_t caught(const pcre2_callout_block *b)
{
    size_t most = 0;
    for (uint32_t i = 1; i < b->capture_top; i++) {
        size_t from = b->offset_vector[2 * (size_t)i], to = b->offset_vector[2 * (size_t)i + 1];
        if (from != PCRE2_UNSET && to != PCRE2_UNSET && to > from && to - from > most)
            most = to - from;
    }
    return most;
}

/* In front of each item. */
static int on_item(pcre2_callout_block *b, void *ctx)
{
    struct matcher *m = ctx;
    size_t at = b->current_position, left = b->subject_length - at;
    uint64_t units = ITEM_UNITS + (at > m->at ? at - m->at : m->at - at) + m->re->blind;
    m->at = at;
    if (m->re->has_references) {
        uint64_t vain = (uint64_t)caught(b) * m->re->blind;
        units += b->capture_top + (vain < left ? vain : left);
    }
    if (m->re->whole)
        units += b->subject_length;
    return charge(m, units);
}

static int on_replacement(pcre2_substitute_callout_block *b, void *ctx)
{
    (void)b;
    return charge(ctx, REPLACE_UNITS);
}

static err_code matcher(struct fp_cx *cx, sv text, const struct regex *re, struct matcher **out,
                        struct err *e)
{
    struct matcher *m = cx->match;
    if (m == NULL) {
        m = ARENA_NEW(cx->a, struct matcher);
        if (m == NULL || !(m->general = pcre2_general_context_create(take, give, cx->a)) ||
            !(m->context = pcre2_match_context_create(m->general)) ||
            !(m->data = pcre2_match_data_create(GROUPS_MAX, m->general)))
            return arena_oom(cx->a, e);
        m->cx = cx;
        (void)pcre2_set_heap_limit(m->context, MATCH_HEAP_KIB);
        (void)pcre2_set_callout(m->context, on_item, m);
        (void)pcre2_set_substitute_callout(m->context, on_replacement, m);
        cx->match = m;
    }
    uint32_t most = text.len > UINT32_MAX / 16 ? UINT32_MAX : MATCH_STEPS + 8 * (uint32_t)text.len;
    (void)pcre2_set_match_limit(m->context, most);
    (void)pcre2_set_depth_limit(m->context, most);
    m->re = re;
    m->at = 0;
    m->rc = ERR_OK;
    *out = m;
    return ERR_OK;
}

/* ---- the functions ---- */

/* The text and the pattern of a call; *has: both are there. */
static err_code prepare(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                        sv *text, sv *pattern, struct regex **re, bool *has, struct err *e)
{
    fp_item v = { 0 }, p = { 0 };
    struct fp_list l;
    struct err why;
    bool has_pattern;
    TRY(fp_one_of(cx, in, FHIRPATH_STRING, &v, has, e));
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &p, &has_pattern, e));
    *has = *has && has_pattern;
    if (!*has)
        return ERR_OK;
    TRY(fp_steps(cx, MATCH_COST + v.as.text.len / 64, e));
    *text = v.as.text;
    *pattern = p.as.text;
    *re = n->regex;
    if (*re)
        return ERR_OK;
    TRY(fp_steps(cx, 10 * p.as.text.len, e));
    err_code rc = compile(p.as.text, cx->a, re, &why);
    if (rc == ERR_INVALID)
        return fp_wrong(cx, e, "%s", why.msg);
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

static err_code fault(const struct matcher *m, int rc, struct err *e)
{
    if (m->rc != ERR_OK)
        return err_pass(e, &m->why);
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT ||
        rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_NOMEMORY)
        return ERR(e, ERR_TOO_LARGE, "the regular expression takes too long for a text");
    return fp_wrong(m->cx, e, "the regular expression cannot be used");
}

static err_code match(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                      uint32_t how, struct fp_list *out, struct err *e)
{
    sv text = SV_NONE, pattern = SV_NONE;
    struct regex *re = NULL;
    struct matcher *m;
    bool has;
    TRY(prepare(cx, n, in, &text, &pattern, &re, &has, e));
    if (!has)
        return ERR_OK;
    TRY(matcher(cx, text, re, &m, e));
    int rc = pcre2_match(re->code, (PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, 0,
                         how | PCRE2_NO_UTF_CHECK, m->data, m->context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return fault(m, rc, e);
    return fp_put_boolean(cx, out, rc >= 0, e);
}

FN(matches)
{
    return match(cx, n, in, 0, out, e);
}

FN(matches_full)
{
    return match(cx, n, in, PCRE2_ANCHORED | PCRE2_ENDANCHORED, out, e);
}

FN(replace_matches)
{
    sv text = SV_NONE, pattern = SV_NONE;
    fp_item by;
    struct fp_list l;
    struct regex *re = NULL;
    struct matcher *m;
    bool has, has_by;
    TRY(prepare(cx, n, in, &text, &pattern, &re, &has, e));
    TRY(fp_arg(cx, n, 1, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &by, &has_by, e));
    if (!has || !has_by)
        return ERR_OK;
    if (pattern.len == 0)
        return fp_put_text(cx, out, text, e);
    TRY(matcher(cx, text, re, &m, e));
    PCRE2_SIZE len = text.len + by.as.text.len + 64;
    for (int tries = 0; tries < 2; tries++) {
        char *to = arena_alloc(cx->a, len + 1);
        if (to == NULL)
            return arena_oom(cx->a, e);
        PCRE2_SIZE room = len + 1;
        int rc = pcre2_substitute(
            re->code, (PCRE2_SPTR)(text.ptr ? text.ptr : ""), text.len, 0,
            PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH | PCRE2_NO_UTF_CHECK,
            m->data, m->context, (PCRE2_SPTR)(by.as.text.ptr ? by.as.text.ptr : ""), by.as.text.len,
            (PCRE2_UCHAR *)to, &room);
        /* a replacement that is refused ends it with what there is until then */
        if (rc >= 0 && m->rc == ERR_OK)
            return fp_put_text(cx, out, sv_make(to, room), e);
        if (rc != PCRE2_ERROR_NOMEMORY || tries)
            return fault(m, rc, e);
        len = room;
    }
    return ERR_OK;
}

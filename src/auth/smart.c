/* smart.c - the grammar of SMART scopes (smart.h). */
#include "auth/smart.h"

#include "codec/uri.h"

#define URI_PREFIX "http://smarthealthit.org/fhir/scopes/"

static const char *const level_names[] = {
    [SMART_PATIENT] = "patient", [SMART_USER] = "user", [SMART_SYSTEM] = "system"
};
/* in the order in which they must stand; enum smart_letter has one bit for each */
static const char letter_names[] = "cruds";

/* A character of a scope. Source: RFC 6749, 3.3. */
static bool all_legal(sv scope)
{
    for (size_t i = 0; i < scope.len; i++)
        if (scope.ptr[i] < 0x21 || scope.ptr[i] > 0x7E || scope.ptr[i] == '"' ||
            scope.ptr[i] == '\\')
            return false;
    return true;
}

static bool is_letter(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

static bool read_level(sv text, enum smart_level *out)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
        if (sv_eq_cstr(text, level_names[i])) {
            *out = (enum smart_level)i;
            return true;
        }
    return false;
}

static bool read_type(sv text, sv *out)
{
    if (sv_eq(text, SV_LIT("*"))) {
        *out = SV_LIT("");
        return true;
    }
    for (size_t i = 0; i < text.len; i++)
        if (!is_letter(text.ptr[i]))
            return false;
    *out = text;
    return text.len > 0;
}

static unsigned v1_letters(sv text)
{
    if (sv_eq(text, SV_LIT("read")))
        return SMART_R | SMART_S;
    if (sv_eq(text, SV_LIT("write")))
        return SMART_C | SMART_U | SMART_D;
    return sv_eq(text, SV_LIT("*")) ? SMART_C | SMART_R | SMART_U | SMART_D | SMART_S : 0;
}

/* 0: they are no letters, or stand in another order. */
static unsigned v2_letters(sv text)
{
    unsigned letters = 0;
    size_t i = 0;
    for (unsigned k = 0; k < SMART_N_LETTERS; k++)
        if (i < text.len && text.ptr[i] == letter_names[k]) {
            letters |= 1u << k;
            i++;
        }
    return i == text.len ? letters : 0;
}

/* The code of a search parameter, without a modifier or a chain. */
static bool is_plain_name(sv name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!is_letter(name.ptr[i]) && !(name.ptr[i] >= '0' && name.ptr[i] <= '9') &&
            name.ptr[i] != '-' && name.ptr[i] != '_')
            return false;
    return name.len && !sv_eq(name, SV_LIT("_has")) && !sv_eq(name, SV_LIT("_filter"));
}

static err_code decode(sv text, struct arena *a, sv *out, bool *good, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(SMART_TEXT_MAX);
    /* A plus sign stays: instants have it in their zones. */
    *good = uri_decode(text, false, &b, NULL) == ERR_OK;
    for (size_t i = 0; *good && i < b.len; i++)
        *good = (unsigned char)b.ptr[i] >= 0x20;
    if (!*good)
        return ERR_OK;
    *out = arena_sv(a, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

static err_code read_pairs(sv query, struct arena *a, struct smart_scope *scope, bool *good,
                           struct err *e)
{
    struct smart_pair *pairs = arena_calloc(a, SMART_PAIRS_MAX, sizeof *pairs);
    sv one, name;
    if (pairs == NULL)
        return arena_oom(a, e);
    *good = true;
    while (*good && sv_cut(&query, '&', &one)) {
        *good = scope->n_pairs < SMART_PAIRS_MAX && sv_cut(&one, '=', &name) && one.ptr;
        if (!*good)
            return ERR_OK;
        struct smart_pair *pair = &pairs[scope->n_pairs++];
        TRY(decode(name, a, &pair->name, good, e));
        if (*good)
            TRY(decode(one, a, &pair->value, good, e));
        *good = *good && is_plain_name(pair->name) && pair->value.len;
    }
    scope->pairs = pairs;
    return ERR_OK;
}

err_code smart_scope_read(sv text, struct arena *a, struct smart_scope *out, bool *good,
                          struct err *e)
{
    struct smart_scope scope = { 0 };
    sv level, type, rest = text;
    *good = false;
    if (!all_legal(text))
        return ERR_OK;
    if (sv_starts(rest, SV_LIT(URI_PREFIX)))
        rest = sv_tail(rest, sizeof URI_PREFIX - 1);
    if (!sv_cut(&rest, '/', &level) || !read_level(level, &scope.level) ||
        !sv_cut(&rest, '.', &type) || rest.ptr == NULL || !read_type(type, &scope.type))
        return ERR_OK;
    size_t q = sv_find(rest, '?');
    bool has_query = q < rest.len;
    sv permission = sv_head(rest, q);
    scope.letters = has_query ? 0 : v1_letters(permission);
    if (scope.letters == 0)
        scope.letters = v2_letters(permission);
    *good = scope.letters != 0;
    if (*good && has_query)
        TRY(read_pairs(sv_tail(rest, q + 1), a, &scope, good, e));
    if (*good)
        *out = scope;
    return ERR_OK;
}

err_code smart_scopes_read(sv text, struct arena *a, const struct smart_scope **out, size_t *n,
                           struct err *e)
{
    struct smart_scope *all;
    size_t n_all = 0;
    sv one;
    if (text.len > SMART_TEXT_MAX)
        return ERR(e, ERR_TOO_LARGE, "A token's scopes may have %u bytes", SMART_TEXT_MAX);
    all = arena_calloc(a, SMART_SCOPES_MAX, sizeof *all);
    if (all == NULL)
        return arena_oom(a, e);
    while (sv_cut(&text, ' ', &one)) {
        struct smart_scope scope;
        bool good;
        TRY(smart_scope_read(one, a, &scope, &good, e));
        if (!good)
            continue;
        if (n_all == SMART_SCOPES_MAX)
            return ERR(e, ERR_TOO_LARGE, "A token may have %u scopes on resources",
                       SMART_SCOPES_MAX);
        all[n_all++] = scope;
    }
    *out = all;
    *n = n_all;
    return ERR_OK;
}

err_code smart_scope_write(const struct smart_scope *scope, struct buf *out, struct err *e)
{
    TRY(buf_add_fmt(out, e, "%s/%.*s.", level_names[scope->level],
                    scope->type.len ? (int)scope->type.len : 1,
                    scope->type.len ? scope->type.ptr : "*"));
    for (unsigned k = 0; k < SMART_N_LETTERS; k++)
        if (scope->letters & 1u << k)
            TRY(buf_add_char(out, letter_names[k], e));
    for (size_t i = 0; i < scope->n_pairs; i++) {
        TRY(buf_add_char(out, i ? '&' : '?', e));
        TRY(uri_encode(scope->pairs[i].name, false, out, e));
        TRY(buf_add_char(out, '=', e));
        TRY(uri_encode(scope->pairs[i].value, false, out, e));
    }
    return ERR_OK;
}

/* smart.c - the scopes of a token, word by word.
 *
 *   scope = ("patient" | "user" | "system") "/" (Type | "*") "." perm
 *   perm  = "read" | "write" | "*", or of the letters c r u d s one or more, in this order
 *
 * A scope with a query narrows what it gives; such a scope gives nothing yet.
 * Source: SMART App Launch 2.2, "Scopes for requesting FHIR Resources". */
#include "auth/smart.h"

#define TEXT_MAX   (16u << 10)
#define SCOPES_MAX 200u

static bool level_read(sv word, enum smart_level *out)
{
    static const char *const names[] = { "patient", "user", "system" };
    for (unsigned i = 0; i < 3; i++)
        if (sv_eq_cstr(word, names[i])) {
            *out = (enum smart_level)i;
            return true;
        }
    return false;
}

/* 0: no letters. */
static unsigned letters_read(sv perm)
{
    static const char order[] = "cruds";
    unsigned letters = 0;
    size_t from = 0;
    if (sv_eq_cstr(perm, "read"))
        return SMART_R | SMART_S;
    if (sv_eq_cstr(perm, "write"))
        return SMART_C | SMART_U | SMART_D;
    if (sv_eq_cstr(perm, "*"))
        return SMART_C | SMART_R | SMART_U | SMART_D | SMART_S;
    for (size_t i = 0; i < perm.len; i++) {
        while (from < 5 && order[from] != perm.ptr[i])
            from++;
        if (from == 5)
            return 0;
        letters |= 1u << from++;
    }
    return letters;
}

static bool type_ok(sv type)
{
    for (size_t i = 0; i < type.len; i++)
        if (!((type.ptr[i] >= 'A' && type.ptr[i] <= 'Z') ||
              (type.ptr[i] >= 'a' && type.ptr[i] <= 'z')))
            return false;
    return type.len > 0;
}

static bool scope_read(sv word, struct smart_scope *out)
{
    struct smart_scope s = { 0 };
    sv rest = word, level, type;
    if (!sv_cut(&rest, '/', &level) || rest.ptr == NULL || !level_read(level, &s.level) ||
        !sv_cut(&rest, '.', &type) || rest.ptr == NULL)
        return false;
    s.letters = letters_read(rest);
    if (!sv_eq_cstr(type, "*")) {
        if (!type_ok(type))
            return false;
        s.type = type;
    }
    *out = s;
    return s.letters != 0;
}

err_code smart_scopes_read(sv text, struct arena *a, const struct smart_scope **out, size_t *n,
                           struct err *e)
{
    sv rest = text, word;
    size_t found = 0;
    if (text.len > TEXT_MAX)
        return ERR(e, ERR_TOO_LARGE, "the scopes of a token have more than %u bytes", TEXT_MAX);
    struct smart_scope *all = arena_calloc(a, SCOPES_MAX, sizeof *all);
    if (all == NULL)
        return arena_oom(a, e);
    while (sv_cut(&rest, ' ', &word)) {
        if (found == SCOPES_MAX)
            return ERR(e, ERR_TOO_LARGE, "a token has more than %u scopes", SCOPES_MAX);
        found += scope_read(word, &all[found]);
    }
    *out = all;
    *n = found;
    return ERR_OK;
}

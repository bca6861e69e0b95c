/* media_type.c - media types of headers, read from left to right.
 *
 * A quoted value may hold the marks that end it outside of quotes. So every cut goes through cut(),
 * which steps over quoted text. A quote that is never closed reaches to the end of the text. */
#include "codec/media_type.h"

/* sv_cut(), but for marks inside quotes. */
static bool cut(sv *rest, char mark, sv *out)
{
    if (rest->ptr == NULL)
        return false;
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->len && (quoted || rest->ptr[i] != mark); i++) {
        if (rest->ptr[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->ptr[i] == '\\' && i + 1 < rest->len)
            i++;
    }
    *out = sv_head(*rest, i);
    *rest = i < rest->len ? sv_tail(*rest, i + 1) : SV_NONE;
    return true;
}

bool media_type_next(sv *list, sv *element)
{
    return cut(list, ',', element);
}

sv media_type_name(sv element)
{
    return sv_trim(sv_head(element, sv_find(element, ';')));
}

bool media_type_is(sv element, const char *name)
{
    return sv_eq_nocase(media_type_name(element), sv_from(name));
}

sv media_type_param(sv element, const char *name)
{
    sv part;
    while (cut(&element, ';', &part)) {
        size_t eq = sv_find(part, '=');
        if (eq == part.len || !sv_eq_nocase(sv_trim(sv_head(part, eq)), sv_from(name)))
            continue;
        sv value = sv_trim(sv_tail(part, eq + 1));
        if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
            value = sv_make(value.ptr + 1, value.len - 2);
        return value;
    }
    return SV_NONE;
}

static bool is_token(sv text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c <= ' ' || c > '~' || strchr("\"(),/:;<=>?@[\\]{}", c))
            return false;
    }
    return text.len > 0;
}

bool media_type_ok(sv element)
{
    sv name = media_type_name(element);
    size_t slash = sv_find(name, '/');
    return slash < name.len && is_token(sv_head(name, slash)) && is_token(sv_tail(name, slash + 1));
}

unsigned media_type_closeness(sv range, sv type)
{
    sv want = media_type_name(range), have = media_type_name(type);
    if (sv_eq_nocase(want, have))
        return 3;
    size_t slash = sv_find(want, '/');
    if (!sv_eq(sv_tail(want, slash), SV_LIT("/*")))
        return 0;
    if (slash == 1 && want.ptr[0] == '*')
        return 1;
    return sv_find(have, '/') == slash && sv_eq_nocase(sv_head(want, slash), sv_head(have, slash))
               ? 2
               : 0;
}

double media_type_weight(sv range)
{
    double q;
    sv text = media_type_param(range, "q");
    return text.ptr && sv_to_double(text, &q) && q >= 0 && q < 1 ? q : 1;
}

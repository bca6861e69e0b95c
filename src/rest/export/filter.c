/* filter.c - _typeFilter: cut into filters, and each of them checked.
 *
 * "Observation?status=final&code=x,Condition?..." A comma divides filters only where another
 * "Type?" begins: the values of a search have commas of their own.
 * Source: FHIR Bulk Data Access, "_typeFilter Query Parameter". */
#include "rest/export/export_private.h"

#include "base/clock.h"
#include "codec/uri.h"

#define PAIRS_MAX 64u /* search parameters of one filter */

static bool filter_begins(sv text)
{
    size_t q = sv_find(text, '?');
    return q < text.len && fhir_type_find(sv_head(text, q)) != FHIR_TYPE_NONE;
}

sv rest_export_filter_next(sv *rest)
{
    for (size_t i = 0; i < rest->len; i++)
        if (rest->ptr[i] == ',' && filter_begins(sv_tail(*rest, i + 1))) {
            sv one = sv_head(*rest, i);
            *rest = sv_tail(*rest, i + 1);
            return sv_trim(one);
        }
    sv one = *rest;
    *rest = SV_NONE;
    return sv_trim(one);
}

/* Parameters that say how a search's answer is shown have no meaning in a filter. */
static bool shapes_the_answer(sv word)
{
    static const char *const names[] = { "_sort",  "_include",   "_revinclude",    "_elements",
                                         "_count", "_summary",   "_total",         "_format",
                                         "_type",  "_contained", "_containedType", "page" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sv_eq_cstr(word, names[i]))
            return true;
    return false;
}

/* A filter is encoded within the query, so it is decoded once more. A plus sign stays, for instants
 * have it in their zones. */
static err_code decode(struct arena *a, sv text, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(64u << 10);
    if (uri_decode(text, false, &b, NULL) != ERR_OK)
        return ERR(e, ERR_INVALID, "a percent escape is broken");
    *out = arena_sv(a, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

static err_code check_pair(struct rest_call *call, fhir_type type, const struct uri_pair *pair,
                           struct err *e)
{
    struct search_context cx = { .base = call->base, .now_ms = clock_wall_ms() };
    struct search_criterion crit;
    sv name, value;
    TRY(decode(call->a, pair->name, &name, e));
    TRY(decode(call->a, pair->value, &value, e));
    sv word = sv_head(name, sv_find(name, ':'));
    if (shapes_the_answer(word))
        return ERR(e, ERR_INVALID, "%.*s has no meaning in a filter", SV_FMT(word));
    /* These need the store: the job engine checks them. */
    if (sv_find(name, '.') < name.len || sv_starts(name, SV_LIT("_has:")))
        return ERR_OK;
    return search_parse(&cx, type, name, value, call->a, &crit, e);
}

err_code rest_export_filter_check(struct rest_call *call, sv filter, fhir_type *out, struct err *e)
{
    sv query = filter, name;
    struct uri_pair *pairs;
    size_t n;
    *out = FHIR_TYPE_NONE;
    if (sv_cut(&query, '?', &name))
        *out = fhir_type_find(name);
    if (*out == FHIR_TYPE_NONE && query.ptr)
        return ERR(e, ERR_INVALID, "a filter is written Type?parameter=value: %s",
                   fhir_type_slip(name, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
    if (query.ptr == NULL)
        return ERR(e, ERR_INVALID, "a filter is written Type?parameter=value");
    if (uri_query_split(call->a, query, PAIRS_MAX, &pairs, &n, NULL) != ERR_OK)
        return ERR(e, ERR_TOO_LARGE, "a filter takes at most %u search parameters", PAIRS_MAX);
    /* "Type?&" has no pair, and would let all of the type through. */
    if (n == 0)
        return ERR(e, ERR_INVALID, "a filter is written Type?parameter=value: it has no parameter");
    for (size_t i = 0; i < n; i++)
        TRY(check_pair(call, *out, &pairs[i], e));
    return ERR_OK;
}

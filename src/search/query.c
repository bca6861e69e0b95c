/* query.c - one pair of a query becomes a criterion.
 *
 *   name[:modifier] = value,value,...     backslash escapes , $ | and itself
 *
 * Source: FHIR R4 search.html 3.1.1.4 (parameter types), 3.1.1.4.7 (modifiers), 3.1.1.5 (prefixes,
 * escaping). */
#include "search/search_private.h"

#include <math.h>

/* ---- pieces ---- */

struct parse {
    const struct search_context *cx;
    struct arena *a;
    sv name; /* for errors */
};

/* Cut at the first c that no backslash stands before. False: nothing is left, and out is empty. */
static bool cut_escaped(sv *rest, char c, sv *out)
{
    *out = SV_NONE;
    if (rest->ptr == NULL)
        return false;
    for (size_t i = 0; i < rest->len; i++) {
        if (rest->ptr[i] == '\\') {
            i++;
        } else if (rest->ptr[i] == c) {
            *out = sv_head(*rest, i);
            *rest = sv_tail(*rest, i + 1);
            return true;
        }
    }
    *out = *rest;
    *rest = SV_NONE;
    return true;
}

static err_code unescape(struct parse *parse, sv text, sv *out, struct err *e)
{
    if (memchr(text.ptr ? text.ptr : "", '\\', text.len) == NULL) {
        *out = text;
        return ERR_OK;
    }
    char *to = arena_alloc(parse->a, text.len + 1);
    if (to == NULL)
        return arena_oom(parse->a, e);
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\\') {
            i++;
            if (i == text.len || memchr(",$|\\", text.ptr[i], 4) == NULL)
                return ERR(e, ERR_INVALID,
                           "Value of search parameter %.*s: a backslash stands before , $ | or "
                           "another backslash only",
                           SV_FMT(sv_head(parse->name, 64)));
        }
        to[n++] = text.ptr[i];
    }
    *out = sv_make(to, n);
    return ERR_OK;
}

static search_prefix take_prefix(sv *text)
{
    static const char names[][3] = { "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap" };
    for (size_t i = 0; i < 9; i++)
        if (sv_starts(*text, sv_make(names[i], 2))) {
            *text = sv_tail(*text, 2);
            return (search_prefix)i;
        }
    return SEARCH_EQ;
}

/* ---- one value, by kind ---- */

static err_code wrong(struct parse *parse, const char *what, struct err *e)
{
    return ERR(e, ERR_INVALID, "Value of search parameter %.*s: %s",
               SV_FMT(sv_head(parse->name, 64)), what);
}

static err_code term_number(struct parse *parse, sv text, struct search_term *term, struct err *e)
{
    term->prefix = take_prefix(&text);
    err_code rc = decimal_query(text, term->prefix == SEARCH_AP, parse->a, &term->value, &term->lo,
                                &term->hi, e);
    return rc == ERR_INVALID ? wrong(parse, "a number is wanted, such as 5.4 or ge100", e) : rc;
}

static err_code term_date(struct parse *parse, sv text, struct search_term *term, struct err *e)
{
    term->prefix = take_prefix(&text);
    if (!moment_parse(text, &term->lo_ms, &term->hi_ms))
        return wrong(parse,
                     "a date is wanted, such as 2024-02, ge2024-02-07 or 2024-02-07T13:28:17Z "
                     "(a + in a query is %2B)",
                     e);
    /* a tenth of the distance from now, both ways */
    if (term->prefix == SEARCH_AP) {
        int64_t gap = parse->cx->now_ms - term->lo_ms;
        gap = (gap < 0 ? -gap : gap) / 10;
        term->lo_ms -= gap;
        term->hi_ms += gap;
    }
    return ERR_OK;
}

/* A text of which nothing is left would be found in every text. */
static err_code term_text(struct parse *parse, const struct search_criterion *criterion,
                          struct search_term *term, struct err *e)
{
    TRY(fold_query(term->raw, parse->a, &term->folded, e));
    if (term->folded.n == 0 && criterion->modifier != SEARCH_MOD_EXACT)
        return wrong(parse,
                     "it holds nothing but punctuation or white space, which a search passes "
                     "over; :exact takes it as it is",
                     e);
    return ERR_OK;
}

static err_code term_token(struct parse *parse, sv text, struct search_term *term, struct err *e)
{
    sv system, rest = text;
    /* of a text that is there: always true */
    (void)cut_escaped(&rest, '|', &system);
    if (rest.ptr == NULL)
        return unescape(parse, text, &term->code, e);
    term->has_system = true;
    TRY(unescape(parse, system, &term->system, e));
    TRY(unescape(parse, rest, &term->code, e));
    if (term->system.len == 0 && term->code.len == 0)
        return wrong(parse, "a system or a code is wanted beside the |", e);
    return ERR_OK;
}

/* [system]|[code]|[value] */
static err_code term_of_type(struct parse *parse, sv text, struct search_term *term, struct err *e)
{
    sv system, code, rest = text;
    /* of a text that is there: always true */
    (void)cut_escaped(&rest, '|', &system);
    if (!cut_escaped(&rest, '|', &code) || rest.len == 0 || code.len == 0)
        return wrong(parse, ":of-type wants system|code|value", e);
    term->has_system = system.len > 0;
    TRY(unescape(parse, system, &term->system, e));
    TRY(unescape(parse, code, &term->type_code, e));
    return unescape(parse, rest, &term->code, e);
}

/* [prefix][number] or [prefix][number]|[system]|[code] */
static err_code term_quantity(struct parse *parse, sv text, struct search_term *term, struct err *e)
{
    sv number, system, rest = text;
    /* of a text that is there: always true */
    (void)cut_escaped(&rest, '|', &number);
    TRY(term_number(parse, number, term, e));
    if (rest.ptr == NULL)
        return ERR_OK;
    if (!cut_escaped(&rest, '|', &system) || rest.ptr == NULL)
        return wrong(parse, "a quantity is number|system|code, number||unit, or number", e);
    term->has_system = true;
    TRY(unescape(parse, system, &term->system, e));
    return unescape(parse, rest, &term->code, e);
}

static err_code term_reference(struct parse *parse, const struct search_criterion *criterion,
                               sv text, struct search_term *term, struct err *e)
{
    sv base;
    TRY(unescape(parse, text, &term->text, e));
    if (term->text.len == 0)
        return wrong(parse, "a reference is wanted: an id, Type/id, or a URL", e);
    if (reference_parse(term->text, &term->ref_type, &term->ref_id, &base)) {
        term->ref_absolute = base.len && !sv_eq(base, parse->cx->base);
    } else {
        term->ref_type = FHIR_TYPE_NONE;
        if (fhir_id_ok(term->text))
            term->ref_id = term->text;
    }
    if (criterion->modifier == SEARCH_MOD_TYPE && term->ref_type == FHIR_TYPE_NONE)
        term->ref_type = criterion->mod_type;
    return ERR_OK;
}

/* latitude|longitude[|distance[|unit]] Source: Location-near */
static err_code term_near(struct parse *parse, sv text, struct search_term *term, struct err *e)
{
    sv rest = text, lat, lon, dist = SV_NONE, unit = SV_LIT("km");
    term->near_km = 50;
    if (!sv_cut(&rest, '|', &lat) || !sv_cut(&rest, '|', &lon) ||
        !sv_to_double(lat, &term->near_lat) || !sv_to_double(lon, &term->near_lon) ||
        fabs(term->near_lat) > 90 || fabs(term->near_lon) > 180)
        return wrong(parse, "latitude|longitude|distance|unit is wanted", e);
    if (sv_cut(&rest, '|', &dist) && dist.len && !sv_to_double(dist, &term->near_km))
        return wrong(parse, "the distance must be a number", e);
    if (sv_cut(&rest, '|', &unit) && sv_eq(unit, SV_LIT("[mi_us]")))
        term->near_km *= 1.609344;
    else if (sv_eq(unit, SV_LIT("m")))
        term->near_km /= 1000;
    else if (unit.len && !sv_eq(unit, SV_LIT("km")))
        return wrong(parse, "the unit must be km, m or [mi_us]", e);
    return ERR_OK;
}

static err_code term(struct parse *parse, const struct search_criterion *criterion,
                     search_kind kind, sv text, struct search_term *t, struct err *e);

static err_code term_composite(struct parse *parse, const struct search_criterion *criterion,
                               sv text, struct search_term *t, struct err *e)
{
    sv rest = text, part;
    t->parts = arena_calloc(parse->a, criterion->param->n_parts, sizeof *t->parts);
    if (t->parts == NULL)
        return arena_oom(parse->a, e);
    for (size_t i = 0; i < criterion->param->n_parts; i++) {
        if (!cut_escaped(&rest, '$', &part))
            return wrong(parse,
                         "a composite wants as many parts, divided by $, as it has components", e);
        TRY(term(parse, criterion, criterion->param->parts[i].kind, part, &t->parts[i], e));
    }
    return rest.ptr == NULL ? ERR_OK
                            : wrong(parse, "a composite has more parts than components", e);
}

static err_code term(struct parse *parse, const struct search_criterion *criterion,
                     search_kind kind, sv text, struct search_term *t, struct err *e)
{
    if (text.len == 0)
        return wrong(parse, "it is empty", e);
    TRY(unescape(parse, text, &t->raw, e));
    if (criterion->modifier == SEARCH_MOD_TEXT)
        return term_text(parse, criterion, t, e);
    if (criterion->modifier == SEARCH_MOD_IDENTIFIER)
        return term_token(parse, text, t, e);
    switch (kind) {
    case SEARCH_NUMBER:
        return term_number(parse, text, t, e);
    case SEARCH_DATE:
        return term_date(parse, text, t, e);
    case SEARCH_QUANTITY:
        return term_quantity(parse, text, t, e);
    case SEARCH_TOKEN:
        return criterion->modifier == SEARCH_MOD_OF_TYPE ? term_of_type(parse, text, t, e)
                                                         : term_token(parse, text, t, e);
    case SEARCH_REFERENCE:
        return term_reference(parse, criterion, text, t, e);
    case SEARCH_STRING:
        return term_text(parse, criterion, t, e);
    case SEARCH_URI:
        t->text = t->raw;
        return ERR_OK;
    case SEARCH_COMPOSITE:
        return term_composite(parse, criterion, text, t, e);
    default:
        return term_near(parse, text, t, e);
    }
}

/* ---- modifiers ---- */

#define KIND(k) (1u << SEARCH_##k)
static const struct {
    const char *name;
    search_modifier modifier;
    unsigned kinds; /* that take it */
} modifiers[] = {
    { "missing", SEARCH_MOD_MISSING, ~KIND(COMPOSITE) },
    { "exact", SEARCH_MOD_EXACT, KIND(STRING) },
    { "contains", SEARCH_MOD_CONTAINS, KIND(STRING) | KIND(URI) },
    { "text", SEARCH_MOD_TEXT, KIND(TOKEN) | KIND(REFERENCE) | KIND(STRING) },
    { "not", SEARCH_MOD_NOT, KIND(TOKEN) },
    { "above", SEARCH_MOD_ABOVE, KIND(URI) },
    { "below", SEARCH_MOD_BELOW, KIND(URI) | KIND(REFERENCE) },
    { "of-type", SEARCH_MOD_OF_TYPE, KIND(TOKEN) },
    { "identifier", SEARCH_MOD_IDENTIFIER, KIND(REFERENCE) },
};

static err_code read_modifier(sv text, struct search_criterion *criterion, struct err *e)
{
    search_kind kind = criterion->param->kind;
    bool up = sv_eq(text, SV_LIT("above")), down = sv_eq(text, SV_LIT("below"));
    if (kind == SEARCH_REFERENCE && (up || (down && !search_is_canonical(criterion->param))))
        return ERR(e, ERR_UNSUPPORTED,
                   "Modifier :%.*s of references goes with versions of canonical URLs (:below) and "
                   "with no hierarchies",
                   SV_FMT(text));
    if (kind == SEARCH_TOKEN && (up || down))
        return ERR(e, ERR_UNSUPPORTED,
                   "Modifier :%.*s needs a terminology server and is not offered", SV_FMT(text));
    for (size_t i = 0; i < sizeof modifiers / sizeof modifiers[0]; i++)
        if (sv_eq_cstr(text, modifiers[i].name)) {
            if (!(modifiers[i].kinds >> kind & 1))
                return ERR(e, ERR_INVALID,
                           "Modifier :%s does not go with search parameter %.*s of type %s",
                           modifiers[i].name, SV_FMT(criterion->param->code),
                           search_kind_name(kind));
            criterion->modifier = modifiers[i].modifier;
            return ERR_OK;
        }
    if (sv_eq(text, SV_LIT("in")) || sv_eq(text, SV_LIT("not-in")))
        return ERR(e, ERR_UNSUPPORTED,
                   "Modifier :%.*s needs a terminology server and is not offered", SV_FMT(text));
    fhir_type type = fhir_type_find(text);
    if (kind == SEARCH_REFERENCE && type && search_param_targets(criterion->param, type)) {
        criterion->modifier = SEARCH_MOD_TYPE;
        criterion->mod_type = type;
        return ERR_OK;
    }
    return ERR(e, ERR_INVALID, "Search parameter %.*s of type %s has no modifier of that name",
               SV_FMT(criterion->param->code), search_kind_name(kind));
}

const struct search_param search_created_at = { .kind = SEARCH_DATE,
                                                .type = { "*", 1 },
                                                .code = { "createdAt", 9 } };

err_code search_parse(const struct search_context *context, fhir_type type, sv name, sv value,
                      struct arena *a, struct search_criterion *out, struct err *e)
{
    struct parse parse = { context, a, name };
    struct search_criterion criterion = { 0 };
    size_t colon = sv_find(name, ':');
    criterion.param = search_param_find(type, sv_head(name, colon));
    if (criterion.param == NULL && context->created &&
        sv_eq(sv_head(name, colon), search_created_at.code))
        criterion.param = &search_created_at;
    if (criterion.param == NULL)
        return ERR(e, ERR_NOT_FOUND, "%s has no search parameter of that name",
                   type ? fhir_type_name(type) : "A search over all types");
    if (colon < name.len)
        TRY(read_modifier(sv_tail(name, colon + 1), &criterion, e));
    if (criterion.modifier == SEARCH_MOD_MISSING) {
        criterion.missing = sv_eq(value, SV_LIT("true"));
        if (!criterion.missing && !sv_eq(value, SV_LIT("false")))
            return wrong(&parse, ":missing wants true or false", e);
        *out = criterion;
        return ERR_OK;
    }
    size_t max = 1;
    for (size_t i = 0; i < value.len; i++)
        max += value.ptr[i] == ',';
    if (max > SEARCH_TERMS_MAX)
        return ERR(e, ERR_TOO_LARGE, "A search parameter takes at most %u values",
                   SEARCH_TERMS_MAX);
    criterion.terms = arena_calloc(a, max, sizeof *criterion.terms);
    if (criterion.terms == NULL)
        return arena_oom(a, e);
    sv one;
    while (cut_escaped(&value, ',', &one))
        TRY(term(&parse, &criterion, criterion.param->kind, one,
                 &criterion.terms[criterion.n_terms++], e));
    *out = criterion;
    return ERR_OK;
}

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

/* Cut at the first c that no backslash stands before. */
static bool cut_escaped(sv *rest, char c, sv *out)
{
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

static err_code unescape(struct parse *p, sv text, sv *out, struct err *e)
{
    if (memchr(text.ptr ? text.ptr : "", '\\', text.len) == NULL) {
        *out = text;
        return ERR_OK;
    }
    char *to = arena_alloc(p->a, text.len + 1);
    if (to == NULL)
        return arena_oom(p->a, e);
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\\') {
            i++;
            if (i == text.len || memchr(",$|\\", text.ptr[i], 4) == NULL)
                return ERR(e, ERR_INVALID,
                           "Value of search parameter %.*s: a backslash stands before , $ | or "
                           "another backslash only",
                           SV_FMT(sv_head(p->name, 64)));
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

static err_code wrong(struct parse *p, const char *what, struct err *e)
{
    return ERR(e, ERR_INVALID, "Value of search parameter %.*s: %s", SV_FMT(sv_head(p->name, 64)),
               what);
}

static err_code term_number(struct parse *p, sv text, struct search_term *t, struct err *e)
{
    t->prefix = take_prefix(&text);
    err_code rc = decimal_query(text, t->prefix == SEARCH_AP, p->a, &t->value, &t->lo, &t->hi, e);
    return rc == ERR_INVALID ? wrong(p, "a number is wanted, such as 5.4 or ge100", e) : rc;
}

static err_code term_date(struct parse *p, sv text, struct search_term *t, struct err *e)
{
    t->prefix = take_prefix(&text);
    if (!moment_parse(text, &t->lo_ms, &t->hi_ms))
        return wrong(p,
                     "a date is wanted, such as 2024-02, ge2024-02-07 or 2024-02-07T13:28:17Z "
                     "(a + in a query is %2B)",
                     e);
    /* a tenth of the distance from now, both ways */
    if (t->prefix == SEARCH_AP) {
        int64_t gap = p->cx->now_ms - t->lo_ms;
        gap = (gap < 0 ? -gap : gap) / 10;
        t->lo_ms -= gap;
        t->hi_ms += gap;
    }
    return ERR_OK;
}

/* A text of which nothing is left would be found in every text. */
static err_code term_text(struct parse *p, const struct search_criterion *c, struct search_term *t,
                          struct err *e)
{
    TRY(fold_query(t->raw, p->a, &t->folded, e));
    if (t->folded.n == 0 && c->modifier != SEARCH_MOD_EXACT)
        return wrong(p,
                     "it holds nothing but punctuation or white space, which a search passes "
                     "over; :exact takes it as it is",
                     e);
    return ERR_OK;
}

static err_code term_token(struct parse *p, sv text, struct search_term *t, struct err *e)
{
    sv system, rest = text;
    /* of a text that is there: always true */
    (void)cut_escaped(&rest, '|', &system);
    if (rest.ptr == NULL)
        return unescape(p, text, &t->code, e);
    t->has_system = true;
    TRY(unescape(p, system, &t->system, e));
    TRY(unescape(p, rest, &t->code, e));
    if (t->system.len == 0 && t->code.len == 0)
        return wrong(p, "a system or a code is wanted beside the |", e);
    return ERR_OK;
}

/* [system]|[code]|[value] */
static err_code term_of_type(struct parse *p, sv text, struct search_term *t, struct err *e)
{
    sv system, code, rest = text;
    /* of a text that is there: always true */
    (void)cut_escaped(&rest, '|', &system);
    if (!cut_escaped(&rest, '|', &code) || rest.len == 0 || code.len == 0)
        return wrong(p, ":of-type wants system|code|value", e);
    t->has_system = system.len > 0;
    TRY(unescape(p, system, &t->system, e));
    TRY(unescape(p, code, &t->type_code, e));
    return unescape(p, rest, &t->code, e);
}

/* [prefix][number] or [prefix][number]|[system]|[code] */
static err_code term_quantity(struct parse *p, sv text, struct search_term *t, struct err *e)
{
    sv number, system, rest = text;
    /* of a text that is there: always true */
    (void)cut_escaped(&rest, '|', &number);
    TRY(term_number(p, number, t, e));
    if (rest.ptr == NULL)
        return ERR_OK;
    if (!cut_escaped(&rest, '|', &system) || rest.ptr == NULL)
        return wrong(p, "a quantity is number|system|code, number||unit, or number", e);
    t->has_system = true;
    TRY(unescape(p, system, &t->system, e));
    return unescape(p, rest, &t->code, e);
}

static err_code term_reference(struct parse *p, const struct search_criterion *c, sv text,
                               struct search_term *t, struct err *e)
{
    sv base;
    TRY(unescape(p, text, &t->text, e));
    if (t->text.len == 0)
        return wrong(p, "a reference is wanted: an id, Type/id, or a URL", e);
    if (reference_parse(t->text, &t->ref_type, &t->ref_id, &base)) {
        t->ref_absolute = base.len && !sv_eq(base, p->cx->base);
    } else {
        t->ref_type = FHIR_TYPE_NONE;
        if (fhir_id_ok(t->text))
            t->ref_id = t->text;
    }
    if (c->modifier == SEARCH_MOD_TYPE && t->ref_type == FHIR_TYPE_NONE)
        t->ref_type = c->mod_type;
    return ERR_OK;
}

/* latitude|longitude[|distance[|unit]] Source: Location-near */
static err_code term_near(struct parse *p, sv text, struct search_term *t, struct err *e)
{
    sv rest = text, lat, lon, dist = SV_NONE, unit = SV_LIT("km");
    t->near_km = 50;
    if (!sv_cut(&rest, '|', &lat) || !sv_cut(&rest, '|', &lon) ||
        !sv_to_double(lat, &t->near_lat) || !sv_to_double(lon, &t->near_lon) ||
        fabs(t->near_lat) > 90 || fabs(t->near_lon) > 180)
        return wrong(p, "latitude|longitude|distance|unit is wanted", e);
    if (sv_cut(&rest, '|', &dist) && dist.len && !sv_to_double(dist, &t->near_km))
        return wrong(p, "the distance must be a number", e);
    if (sv_cut(&rest, '|', &unit) && sv_eq(unit, SV_LIT("[mi_us]")))
        t->near_km *= 1.609344;
    else if (sv_eq(unit, SV_LIT("m")))
        t->near_km /= 1000;
    else if (unit.len && !sv_eq(unit, SV_LIT("km")))
        return wrong(p, "the unit must be km, m or [mi_us]", e);
    return ERR_OK;
}

static err_code term(struct parse *p, const struct search_criterion *c, search_kind kind, sv text,
                     struct search_term *t, struct err *e);

static err_code term_composite(struct parse *p, const struct search_criterion *c, sv text,
                               struct search_term *t, struct err *e)
{
    sv rest = text, part;
    t->parts = arena_calloc(p->a, c->param->n_parts, sizeof *t->parts);
    if (t->parts == NULL)
        return arena_oom(p->a, e);
    for (size_t i = 0; i < c->param->n_parts; i++) {
        if (!cut_escaped(&rest, '$', &part))
            return wrong(p, "a composite wants as many parts, divided by $, as it has components",
                         e);
        TRY(term(p, c, c->param->parts[i].kind, part, &t->parts[i], e));
    }
    return rest.ptr == NULL ? ERR_OK : wrong(p, "a composite has more parts than components", e);
}

static err_code term(struct parse *p, const struct search_criterion *c, search_kind kind, sv text,
                     struct search_term *t, struct err *e)
{
    if (text.len == 0)
        return wrong(p, "it is empty", e);
    TRY(unescape(p, text, &t->raw, e));
    if (c->modifier == SEARCH_MOD_TEXT)
        return term_text(p, c, t, e);
    if (c->modifier == SEARCH_MOD_IDENTIFIER)
        return term_token(p, text, t, e);
    switch (kind) {
    case SEARCH_NUMBER:
        return term_number(p, text, t, e);
    case SEARCH_DATE:
        return term_date(p, text, t, e);
    case SEARCH_QUANTITY:
        return term_quantity(p, text, t, e);
    case SEARCH_TOKEN:
        return c->modifier == SEARCH_MOD_OF_TYPE ? term_of_type(p, text, t, e)
                                                 : term_token(p, text, t, e);
    case SEARCH_REFERENCE:
        return term_reference(p, c, text, t, e);
    case SEARCH_STRING:
        return term_text(p, c, t, e);
    case SEARCH_URI:
        t->text = t->raw;
        return ERR_OK;
    case SEARCH_COMPOSITE:
        return term_composite(p, c, text, t, e);
    default:
        return term_near(p, text, t, e);
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

static err_code read_modifier(sv text, struct search_criterion *c, struct err *e)
{
    search_kind kind = c->param->kind;
    bool up = sv_eq(text, SV_LIT("above")), down = sv_eq(text, SV_LIT("below"));
    if (kind == SEARCH_REFERENCE && (up || (down && !search_is_canonical(c->param))))
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
                           modifiers[i].name, SV_FMT(c->param->code), search_kind_name(kind));
            c->modifier = modifiers[i].modifier;
            return ERR_OK;
        }
    if (sv_eq(text, SV_LIT("in")) || sv_eq(text, SV_LIT("not-in")))
        return ERR(e, ERR_UNSUPPORTED,
                   "Modifier :%.*s needs a terminology server and is not offered", SV_FMT(text));
    fhir_type type = fhir_type_find(text);
    if (kind == SEARCH_REFERENCE && type && search_param_targets(c->param, type)) {
        c->modifier = SEARCH_MOD_TYPE;
        c->mod_type = type;
        return ERR_OK;
    }
    return ERR(e, ERR_INVALID, "Search parameter %.*s of type %s has no modifier of that name",
               SV_FMT(c->param->code), search_kind_name(kind));
}

const struct search_param search_created_at = { .kind = SEARCH_DATE,
                                                .type = { "*", 1 },
                                                .code = { "createdAt", 9 } };

err_code search_parse(const struct search_context *cx, fhir_type type, sv name, sv value,
                      struct arena *a, struct search_criterion *out, struct err *e)
{
    struct parse p = { cx, a, name };
    struct search_criterion c = { 0 };
    size_t colon = sv_find(name, ':');
    c.param = search_param_find(type, sv_head(name, colon));
    if (c.param == NULL && cx->created && sv_eq(sv_head(name, colon), search_created_at.code))
        c.param = &search_created_at;
    if (c.param == NULL)
        return ERR(e, ERR_NOT_FOUND, "%s has no search parameter of that name",
                   type ? fhir_type_name(type) : "A search over all types");
    if (colon < name.len)
        TRY(read_modifier(sv_tail(name, colon + 1), &c, e));
    if (c.modifier == SEARCH_MOD_MISSING) {
        c.missing = sv_eq(value, SV_LIT("true"));
        if (!c.missing && !sv_eq(value, SV_LIT("false")))
            return wrong(&p, ":missing wants true or false", e);
        *out = c;
        return ERR_OK;
    }
    size_t max = 1;
    for (size_t i = 0; i < value.len; i++)
        max += value.ptr[i] == ',';
    if (max > SEARCH_TERMS_MAX)
        return ERR(e, ERR_TOO_LARGE, "A search parameter takes at most %u values",
                   SEARCH_TERMS_MAX);
    c.terms = arena_calloc(a, max, sizeof *c.terms);
    if (c.terms == NULL)
        return arena_oom(a, e);
    sv one;
    while (cut_escaped(&value, ',', &one))
        TRY(term(&p, &c, c.param->kind, one, &c.terms[c.n_terms++], e));
    *out = c;
    return ERR_OK;
}

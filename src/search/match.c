/* match.c - does a resource meet a criterion?
 *
 * The index only proposes resources; this decides, over the resource itself. Each kind of parameter
 * has its comparison of one value with one term. A criterion holds when any of its terms meets any
 * of the values that its parameter finds; modifiers, composites, chains and contained resources are
 * built from that. A comparison that works through much text asks now and then whether its caller
 * still waits (search_patience). */
#include "search/search_private.h"

#include <math.h>

int search_id_cmp(const void *a, const void *b)
{
    const struct search_id *x = a, *y = b;
    return x->type != y->type ? (int)x->type - (int)y->type : sv_cmp(x->id, y->id);
}

static bool in_set(const struct search_criterion *criterion, fhir_type type, sv id)
{
    const struct search_id key = { type, id };
    return criterion->n_set && bsearch(&key, criterion->set, criterion->n_set,
                                       sizeof *criterion->set, search_id_cmp) != NULL;
}

/* ---- by kind ---- */

/* The decimal an interval of numbers begins or ends with. */
static struct search_decimal end_of(sv text, const struct search_decimal *none)
{
    struct search_decimal d = *none;
    /* JSON's grammar of numbers is within ours */
    if (text.ptr && !decimal_parse(text, &d))
        d = *none;
    return d;
}

/* The target is [l, h], without an end that is open; the query's number is exact, but for eq and
 * ap, which mean the numbers within [lo, hi) and [lo, hi]. Source: search.html#prefix. */
static bool number_matches(const struct search_term *term, const struct search_value *v)
{
    const struct search_decimal l = end_of(v->lo, &decimal_beginless),
                                h = end_of(v->hi, &decimal_endless);
    const struct search_decimal *value = &term->value.exact, *lo = &term->lo.exact,
                                *hi = &term->hi.exact;
    int c;
    switch (term->prefix) {
    case SEARCH_EQ:
    case SEARCH_NE: /* the query's range holds all of it */
        c = decimal_cmp(&h, hi);
        return (decimal_cmp(lo, &l) <= 0 && (c < 0 || (c == 0 && v->hi_open))) ==
               (term->prefix == SEARCH_EQ);
    case SEARCH_GT:
        return decimal_cmp(&h, value) > 0;
    case SEARCH_LT:
        return decimal_cmp(&l, value) < 0;
    case SEARCH_GE:
        c = decimal_cmp(&h, value);
        return c > 0 || (c == 0 && !v->hi_open);
    case SEARCH_LE:
        c = decimal_cmp(&l, value);
        return c < 0 || (c == 0 && !v->lo_open);
    case SEARCH_SA:
        c = decimal_cmp(&l, value);
        return c > 0 || (c == 0 && v->lo_open);
    case SEARCH_EB:
        c = decimal_cmp(&h, value);
        return c < 0 || (c == 0 && v->hi_open);
    default: /* SEARCH_AP: they overlap */
        c = decimal_cmp(&l, hi);
        if (c > 0 || (c == 0 && v->lo_open))
            return false;
        c = decimal_cmp(&h, lo);
        return c > 0 || (c == 0 && !v->hi_open);
    }
}

/* Source: search.html#prefix, both sides as intervals [lo, hi). */
static bool date_matches(const struct search_term *term, int64_t l, int64_t h)
{
    bool within = term->lo_ms <= l && h <= term->hi_ms;
    switch (term->prefix) {
    case SEARCH_EQ:
        return within;
    case SEARCH_NE:
        return !within;
    case SEARCH_GT:
        return h > term->hi_ms;
    case SEARCH_LT:
        return l < term->lo_ms;
    case SEARCH_GE: /* some of it is not in front */
        return h > term->lo_ms;
    case SEARCH_LE: /* some of it is not behind */
        return l < term->hi_ms;
    case SEARCH_SA:
        return l >= term->hi_ms;
    case SEARCH_EB:
        return h <= term->lo_ms;
    default: /* SEARCH_AP: they overlap */
        return l < term->hi_ms && h > term->lo_ms;
    }
}

static bool unit_matches(const struct search_term *term, const struct search_value *value)
{
    if (!term->has_system)
        return true;
    if (term->system.len)
        return sv_eq(term->system, value->system) &&
               (term->code.len == 0 || sv_eq(term->code, value->code));
    return term->code.len == 0 || sv_eq(term->code, value->code) || sv_eq(term->code, value->unit);
}

static bool same_code(sv a, sv b, bool any_case)
{
    return any_case ? sv_eq_nocase(a, b) : sv_eq(a, b);
}

static bool token_matches(const struct search_term *term, const struct search_value *value)
{
    if (term->code.len && !(value->code.ptr && same_code(term->code, value->code, value->any_case)))
        return false;
    if (!term->has_system)
        return true;
    if (term->system.len == 0)
        return value->system.len == 0 && value->code.ptr;
    return value->any_system || sv_eq(term->system, value->system);
}

static bool string_matches(const struct search_criterion *criterion, const struct search_term *term,
                           const struct search_value *value)
{
    if (criterion->modifier == SEARCH_MOD_EXACT)
        return sv_eq(term->raw, value->text);
    if (criterion->modifier != SEARCH_MOD_NONE)
        return fold_meets(value->text, FOLD_ANYWHERE, &term->folded);
    return fold_meets(value->text, value->parts ? FOLD_PARTS : FOLD_START, &term->folded);
}

/* "1" of "1", "1.0" and "1.0.2"; nothing of all. */
static bool is_part_of_version(sv part, sv version)
{
    return part.len == 0 ||
           (sv_starts(version, part) && (version.len == part.len || version.ptr[part.len] == '.'));
}

/* "url|1" is above "url|1", "url|1.0" and "url|1.0.2"; "url" above every version. */
static bool version_below(sv want, sv have)
{
    sv want_url = canonical_url(want), have_url = canonical_url(have);
    if (!sv_eq(want_url, have_url))
        return false;
    return want_url.len == want.len ||
           is_part_of_version(sv_tail(want, want_url.len + 1), sv_tail(have, have_url.len + 1));
}

static bool is_urn(sv text)
{
    return text.len >= 4 && sv_eq_nocase(sv_head(text, 4), SV_LIT("urn:"));
}

/* Is `below` below `above`: does it begin so? A URN has nothing below it, and a URL with a version
 * nothing but the versions within that one. Source: search.html 3.1.1.4.9. */
static bool uri_below(const struct search_param *param, sv above, sv below)
{
    const bool urn = is_urn(above) || is_urn(below);
    if (search_is_canonical(param) && (urn || sv_find(above, '|') < above.len))
        return version_below(above, below);
    return urn ? sv_eq(above, below) : above.len && sv_starts(below, above);
}

static bool uri_matches(const struct search_criterion *criterion, const struct search_term *term,
                        const struct search_value *value)
{
    sv want = term->text, have = value->text;
    switch (criterion->modifier) {
    case SEARCH_MOD_BELOW:
        return uri_below(criterion->param, want, have);
    case SEARCH_MOD_ABOVE:
        return uri_below(criterion->param, have, want);
    case SEARCH_MOD_CONTAINS:
        return memmem(have.ptr ? have.ptr : "", have.len, want.ptr, want.len) != NULL;
    default: /* a canonical without a version asks for any version */
        return sv_eq(want, have) ||
               (search_is_canonical(criterion->param) && sv_eq(want, canonical_url(have)));
    }
}

/* ValueSet?url=http://x|1.0: what stands behind the bar is the resource's business version. */
static bool versioned_url_matches(const struct search_criterion *criterion,
                                  const struct search_term *term, const struct search_value *value,
                                  yyjson_val *root)
{
    sv url = canonical_url(term->text);
    if (url.len == term->text.len || !sv_eq_cstr(criterion->param->code, "url") ||
        !sv_eq(url, value->text))
        return false;
    sv want = sv_tail(term->text, url.len + 1), have = json_string(json_get(root, "version"));
    if (criterion->modifier == SEARCH_MOD_BELOW)
        return is_part_of_version(want, have);
    return criterion->modifier == SEARCH_MOD_NONE && sv_eq(want, have);
}

static bool identifier_matches(const struct search_term *term, yyjson_val *element)
{
    yyjson_val *i = json_get(element, "identifier");
    const struct search_value value = { .system = json_string(json_get(i, "system")),
                                        .code = json_string(json_get(i, "value")),
                                        .any_case = true };
    return i && (value.code.ptr || value.system.ptr) && token_matches(term, &value);
}

static bool of_type_matches(const struct search_term *term, const struct search_value *value)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(json_get(value->element, "type"), "coding"));
    yyjson_val *c;
    if (!sv_eq_nocase(term->code, value->code))
        return false;
    while ((c = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq_nocase(json_string(json_get(c, "code")), term->type_code) &&
            (!term->has_system || sv_eq(json_string(json_get(c, "system")), term->system)))
            return true;
    return false;
}

/* Of this server: relative, or below our own [base]. */
static bool is_local(const struct search_context *context, const struct search_value *value)
{
    return value->ref_type && (value->ref_base.len == 0 || sv_eq(value->ref_base, context->base));
}

static bool reference_matches(const struct search_context *context,
                              const struct search_criterion *criterion,
                              const struct search_term *term, const struct search_value *value)
{
    if (criterion->modifier == SEARCH_MOD_IDENTIFIER)
        return identifier_matches(term, value->element);
    if (criterion->modifier == SEARCH_MOD_BELOW)
        return yyjson_is_str(value->element) && version_below(term->text, value->text);
    if (criterion->modifier == SEARCH_MOD_TYPE && value->ref_type != criterion->mod_type)
        return false;
    if (term->ref_id.len && !term->ref_absolute && is_local(context, value) &&
        sv_eq(term->ref_id, value->ref_id) &&
        (term->ref_type == FHIR_TYPE_NONE || term->ref_type == value->ref_type))
        return true;
    if (value->text.len == 0)
        return false;
    /* whatever it is, it is the same */
    if (sv_eq(term->text, value->text))
        return true;
    /* a canonical without a version asks for any version */
    return sv_find(term->text, '|') == term->text.len &&
           sv_eq(term->text, canonical_url(value->text));
}

bool term_matches(const struct search_context *context, const struct search_criterion *criterion,
                  search_kind kind, const struct search_term *term,
                  const struct search_value *value)
{
    /* a string search over the text beside the code */
    if (criterion->modifier == SEARCH_MOD_TEXT)
        return fold_meets(kind == SEARCH_REFERENCE ? value->code : value->text,
                          kind == SEARCH_STRING ? FOLD_ANYWHERE : FOLD_START, &term->folded);
    switch (kind) {
    case SEARCH_NUMBER:
        return number_matches(term, value);
    case SEARCH_QUANTITY:
        return number_matches(term, value) && unit_matches(term, value);
    case SEARCH_DATE:
        return date_matches(term, value->lo_ms, value->hi_ms);
    case SEARCH_TOKEN:
        return criterion->modifier == SEARCH_MOD_OF_TYPE ? of_type_matches(term, value)
                                                         : token_matches(term, value);
    case SEARCH_STRING:
        return string_matches(criterion, term, value);
    case SEARCH_URI:
        return uri_matches(criterion, term, value);
    case SEARCH_REFERENCE:
        return reference_matches(context, criterion, term, value);
    default:
        return false;
    }
}

/* ---- one resource ---- */

#define PATIENCE_BYTES (256u << 10) /* compared between two looks: under a millisecond */
#define STEP_BYTES     64u          /* what a comparison costs beside its texts */

/* A value that is as large as a resource may be is compared with each of many terms: that takes its
 * time. */
static bool goes_on(const struct search_context *context, const struct search_value *value)
{
    struct search_patience *p = context->patience;
    if (p == NULL)
        return true;
    p->work += STEP_BYTES + value->text.len + value->code.len + value->lo.len + value->hi.len;
    if (!p->ended && p->work > PATIENCE_BYTES) {
        p->work = 0;
        p->ended = p->over(p->ctx);
    }
    return !p->ended;
}

static bool has_ended(const struct search_context *context)
{
    return context->patience && context->patience->ended;
}

struct meeting {
    const struct search_context *cx;
    const struct search_criterion *c;
    yyjson_val *root;
    struct contained *in;           /* of the resource, or of the one that it stands in */
    const struct search_term *only; /* a composite's part; NULL: all terms */
    search_kind kind;
    unsigned n_names;
    bool any, met;
};

static bool resource_meets(const struct search_context *context,
                           const struct search_criterion *criterion,
                           const struct search_subject *subject, struct contained *contained,
                           bool inside);

/* A chain leads to a contained resource: is it what the chain goes on to ask for? */
static bool met_inside(const struct meeting *m, const struct search_value *value)
{
    const struct contained_item *item = m->c->n_inside ? contained_find(m->in, value->text) : NULL;
    for (size_t i = 0; item && i < m->c->n_inside; i++) {
        const struct search_inside *x = &m->c->inside[i];
        const struct search_subject subject = { .type = item->type,
                                                .id = item->id,
                                                .root = item->root };
        if (x->type == item->type && !contained_asked(m->in, item, x->criterion) &&
            resource_meets(m->cx, x->criterion, &subject, m->in, true))
            return true;
    }
    return false;
}

static void meet(void *ctx, const struct search_value *value)
{
    struct meeting *m = ctx;
    struct search_value other;
    m->any = true;
    if (m->met || !goes_on(m->cx, value))
        return;
    value = name_within(value, &m->n_names, &other);
    if (m->only) {
        m->met = term_matches(m->cx, m->c, m->kind, m->only, value);
        return;
    }
    if (m->c->is_set) {
        m->met = (is_local(m->cx, value) && in_set(m->c, value->ref_type, value->ref_id)) ||
                 met_inside(m, value);
        return;
    }
    for (size_t i = 0; i < m->c->n_terms && !m->met && goes_on(m->cx, value); i++) {
        const struct search_term *term = &m->c->terms[i];
        m->met = term_matches(m->cx, m->c, m->kind, term, value) ||
                 (m->kind == SEARCH_URI && versioned_url_matches(m->c, term, value, m->root));
    }
}

static void meet_element(void *ctx, yyjson_val *v, sv datatype)
{
    struct meeting *m = ctx;
    value_of_element(m->kind, v, datatype, NULL, meet, m);
}

struct composite {
    const struct search_context *cx;
    const struct search_criterion *c;
    const struct search_term *t;
    yyjson_val *root;
    bool met;
};

/* Every part must be met by something within the same element. */
static void meet_base(void *ctx, yyjson_val *base, sv datatype)
{
    struct composite *k = ctx;
    (void)datatype;
    for (size_t i = 0; i < k->c->param->n_parts && !k->met && !has_ended(k->cx); i++) {
        const struct search_part *p = &k->c->param->parts[i];
        struct meeting m = {
            .cx = k->cx, .c = k->c, .root = k->root, .only = &k->t->parts[i], .kind = p->kind
        };
        for (size_t n = 0; n < p->n_paths; n++)
            path_walk(&p->paths[n], k->root, base, NULL, meet_element, &m);
        if (!m.met)
            return;
    }
    k->met = true;
}

static bool near_matches(const struct search_term *term, yyjson_val *root)
{
    const double rad = 3.14159265358979323846 / 180, earth_km = 6371.0;
    yyjson_val *p = json_get(root, "position");
    double lat, lon;
    if (!sv_to_double(json_number(json_get(p, "latitude")), &lat) ||
        !sv_to_double(json_number(json_get(p, "longitude")), &lon))
        return false;
    double dlat = (lat - term->near_lat) * rad, dlon = (lon - term->near_lon) * rad;
    double h =
        pow(sin(dlat / 2), 2) + cos(lat * rad) * cos(term->near_lat * rad) * pow(sin(dlon / 2), 2);
    return 2 * earth_km * asin(sqrt(h > 1 ? 1 : h)) <= term->near_km;
}

static bool composite_matches(const struct search_context *context,
                              const struct search_criterion *c,
                              const struct search_subject *subject)
{
    for (size_t i = 0; i < c->n_terms && !has_ended(context); i++) {
        struct composite k = { context, c, &c->terms[i], subject->root, false };
        search_elements(c->param, subject->root, meet_base, &k);
        if (k.met)
            return true;
    }
    return false;
}

static bool id_matches(const struct search_criterion *criterion,
                       const struct search_subject *subject)
{
    for (size_t i = 0; i < criterion->n_terms; i++)
        /* ids have none */
        if (!criterion->terms[i].has_system && sv_eq(criterion->terms[i].code, subject->id))
            return true;
    return false;
}

static bool instant_matches(const struct search_criterion *criterion, int64_t instant_ms)
{
    for (size_t i = 0; i < criterion->n_terms; i++)
        if (date_matches(&criterion->terms[i], instant_ms, instant_ms + 1))
            return true;
    return false;
}

/* inside: it is a contained resource, which has no id of its own, no instant, and nothing outside
 * leads to it. */
static bool resource_meets(const struct search_context *context,
                           const struct search_criterion *criterion,
                           const struct search_subject *subject, struct contained *contained,
                           bool inside)
{
    if (criterion->param == NULL)
        return !inside && in_set(criterion, subject->type, subject->id);
    const bool missing = criterion->modifier == SEARCH_MOD_MISSING,
               negated = criterion->modifier == SEARCH_MOD_NOT;
    if (sv_eq(criterion->param->code, SV_LIT("_id")))
        return missing ? criterion->missing == inside
                       : (!inside && id_matches(criterion, subject)) != negated;
    if (sv_eq(criterion->param->code, SV_LIT("_lastUpdated")))
        return missing ? criterion->missing == inside
                       : !inside && instant_matches(criterion, subject->instant_ms);
    if (criterion->param == &search_created_at)
        return missing ? criterion->missing == inside
                       : !inside && instant_matches(criterion, subject->created_ms);
    if (criterion->param->kind == SEARCH_COMPOSITE)
        return composite_matches(context, criterion, subject);
    if (criterion->param->kind == SEARCH_SPECIAL) {
        for (size_t i = 0; i < criterion->n_terms; i++)
            if (near_matches(&criterion->terms[i], subject->root))
                return true;
        return missing && criterion->missing == (json_get(subject->root, "position") == NULL);
    }
    struct meeting m = { .cx = context,
                         .c = criterion,
                         .root = subject->root,
                         .in = contained,
                         .kind = criterion->param->kind };
    extract_within(criterion->param, subject->root, criterion->n_inside ? contained : NULL, meet,
                   &m);
    if (missing)
        return m.any != criterion->missing;
    return m.met != negated;
}

bool search_match(const struct search_context *context, const struct search_criterion *criterion,
                  const struct search_subject *subject)
{
    struct contained contained;
    contained_init(&contained, subject->root);
    bool met = resource_meets(context, criterion, subject, &contained, false);
    contained_done(&contained);
    return met;
}

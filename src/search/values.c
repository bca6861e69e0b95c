/* values.c - the values that a parameter finds in a resource.
 *
 *   resource --path_walk--> elements --value_of_element--> values
 *
 * A path leads to elements; each element, by its datatype and the kind of the parameter, is worth
 * one value or several (a CodeableConcept has one for each coding).
 * Source: FHIR R4 search.html, the tables of 3.1.1.4 for number, date, string, token, quantity,
 * reference, uri. */
#include "search/search_private.h"

/* ---- paths ---- */

struct walker {
    const struct search_path *p;
    struct contained *in;
    search_element_fn fn;
    void *ctx;
};

static bool has_extension(yyjson_val *v, sv url)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(v, "extension"));
    yyjson_val *x;
    while ((x = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(json_string(json_get(x, "url")), url))
            return true;
    return false;
}

static bool picked(const struct search_step *s, yyjson_val *v)
{
    switch (s->pick) {
    case STEP_WITH: {
        yyjson_val *m = yyjson_obj_getn(v, s->with.ptr, s->with.len);
        return sv_eq(json_string(m), s->value);
    }
    case STEP_HAS:
        return has_extension(v, s->value);
    default:
        return true;
    }
}

static bool leads_to(yyjson_val *v, fhir_type only, struct contained *contained)
{
    if (only == FHIR_TYPE_NONE)
        return true;
    fhir_type t;
    sv id, base, text = json_string(json_get(v, "reference"));
    if (yyjson_is_str(v))
        text = json_string(v);
    if (reference_parse(text, &t, &id, &base))
        return t == only;
    const struct contained_item *item = contained ? contained_find(contained, text) : NULL;
    if (item)
        return item->type == only;
    return sv_eq_cstr(json_string(json_get(v, "type")), fhir_type_name(only));
}

static void step(const struct walker *w, size_t at, yyjson_val *v)
{
    if (at == w->p->n_steps) {
        if (leads_to(v, w->p->only, w->in))
            w->fn(w->ctx, v, w->p->datatype);
        return;
    }
    const struct search_step *s = &w->p->steps[at];
    yyjson_val *next = yyjson_obj_getn(v, s->name.ptr, s->name.len), *item;
    if (!yyjson_is_arr(next)) {
        if (next && !yyjson_is_null(next) && picked(s, next))
            step(w, at + 1, next);
        return;
    }
    yyjson_arr_iter it = yyjson_arr_iter_with(next);
    while ((item = yyjson_arr_iter_next(&it)) != NULL) {
        if (picked(s, item) && !yyjson_is_null(item))
            step(w, at + 1, item);
        if (s->pick == STEP_FIRST)
            break;
    }
}

void path_walk(const struct search_path *p, yyjson_val *root, yyjson_val *from,
               struct contained *in, search_element_fn fn, void *ctx)
{
    struct walker w = { p, in, fn, ctx };
    step(&w, 0, p->from_root ? root : from);
}

/* ---- elements -> values ---- */

struct giver {
    search_kind kind;
    const struct search_path *p;
    search_value_fn fn;
    void *ctx;
};

static sv member(yyjson_val *v, const char *name)
{
    return json_string(json_get(v, name));
}

/* Text of a string, boolean or number. */
static sv primitive(yyjson_val *v)
{
    if (yyjson_is_bool(v))
        return yyjson_is_true(v) ? SV_LIT("true") : SV_LIT("false");
    return yyjson_is_str(v) ? json_string(v) : json_number(v);
}

static void give(const struct giver *g, struct search_value value)
{
    value.kind = g->kind;
    g->fn(g->ctx, &value);
}

static void give_text(const struct giver *g, yyjson_val *v, bool parts)
{
    if (yyjson_is_str(v))
        give(g, (struct search_value){ .text = json_string(v), .parts = parts, .element = v });
}

static void give_texts(const struct giver *g, yyjson_val *v, bool parts)
{
    if (yyjson_is_arr(v)) {
        yyjson_arr_iter it = yyjson_arr_iter_with(v);
        yyjson_val *x;
        while ((x = yyjson_arr_iter_next(&it)) != NULL)
            give_text(g, x, parts);
    } else {
        give_text(g, v, parts);
    }
}

static void strings(const struct giver *g, yyjson_val *v, sv datatype)
{
    static const char *const name[] = { "family", "given", "prefix", "suffix", "text", NULL };
    static const char *const address[] = { "line",       "city",    "district", "state",
                                           "postalCode", "country", "text",     NULL };
    const char *const *parts = sv_eq(datatype, SV_LIT("HumanName")) ? name
                               : sv_eq(datatype, SV_LIT("Address")) ? address
                                                                    : NULL;
    if (parts == NULL || !yyjson_is_obj(v)) {
        give_text(g, v, sv_eq(datatype, SV_LIT(NAME_PART)));
        return;
    }
    const bool is_name = parts == name;
    for (; *parts; parts++)
        give_texts(g, json_get(v, *parts), is_name);
}

static void coding(const struct giver *g, yyjson_val *v)
{
    sv code = member(v, "code"), system = member(v, "system"), display = member(v, "display");
    if (code.ptr || system.ptr || display.ptr)
        give(g,
             (struct search_value){
                 .system = system, .code = code, .text = display, .any_case = true, .element = v });
}

static void concept(const struct giver *g, yyjson_val *v)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(v, "coding"));
    yyjson_val *c;
    while ((c = yyjson_arr_iter_next(&it)) != NULL)
        coding(g, c);
    sv text = member(v, "text");
    if (text.ptr)
        give(g, (struct search_value){ .text = text, .element = v });
}

static void tokens(const struct giver *g, yyjson_val *v, sv datatype)
{
    if (!yyjson_is_obj(v)) {
        give(g, (struct search_value){ .code = primitive(v),
                                       .any_system = sv_eq(datatype, SV_LIT("code")),
                                       .any_case = sv_eq(datatype, SV_LIT("string")),
                                       .element = v });
    } else if (sv_eq(datatype, SV_LIT("Coding"))) {
        coding(g, v);
    } else if (sv_eq(datatype, SV_LIT("CodeableConcept"))) {
        concept(g, v);
    } else if (sv_eq(datatype, SV_LIT("Identifier")) || sv_eq(datatype, SV_LIT("ContactPoint"))) {
        sv value = member(v, "value"), system = member(v, "system");
        if (value.ptr || system.ptr)
            give(g, (struct search_value){ .system = system,
                                           .code = value,
                                           .any_case = true,
                                           .text = member(json_get(v, "type"), "text"),
                                           .element = v });
    }
}

/* Numbers of a Range; a side that is missing has no end. One that ends before it begins holds
 * nothing. */
static bool range(yyjson_val *v, struct search_value *out)
{
    struct search_decimal lo, hi;
    out->lo = json_number(json_get(json_get(v, "low"), "value"));
    out->hi = json_number(json_get(json_get(v, "high"), "value"));
    if (out->lo.ptr && out->hi.ptr)
        return decimal_parse(out->lo, &lo) && decimal_parse(out->hi, &hi) &&
               decimal_cmp(&lo, &hi) <= 0;
    return out->lo.ptr || out->hi.ptr;
}

static void numbers(const struct giver *g, yyjson_val *v, sv datatype)
{
    struct search_value value = { .element = v };
    if (sv_eq(datatype, SV_LIT("Range"))) {
        if (range(v, &value))
            give(g, value);
        return;
    }
    value.lo = value.hi = json_number(v);
    value.point = true;
    if (value.lo.ptr)
        give(g, value);
}

/* A comparator makes it all that is on one side: "<5" ends at 5 without it, "<=5" with it. */
static void compare(struct search_value *value, sv comparator)
{
    const bool less = sv_starts(comparator, SV_LIT("<"));
    if (!less && !sv_starts(comparator, SV_LIT(">")))
        return;
    value->point = false;
    if (less)
        value->lo = SV_NONE;
    else
        value->hi = SV_NONE;
    value->hi_open = less && comparator.len == 1;
    value->lo_open = !less && comparator.len == 1;
}

static void quantities(const struct giver *g, yyjson_val *v, sv datatype)
{
    struct search_value value = { .element = v };
    if (sv_eq(datatype, SV_LIT("Range"))) {
        yyjson_val *side = json_get(v, "low");
        if (side == NULL)
            side = json_get(v, "high");
        if (!range(v, &value))
            return;
        value.system = member(side, "system");
        value.code = member(side, "code");
        value.unit = member(side, "unit");
        give(g, value);
        return;
    }
    value.lo = value.hi = json_number(json_get(v, "value"));
    value.point = true;
    if (value.lo.ptr == NULL)
        return;
    if (sv_eq(datatype, SV_LIT("Money"))) {
        value.system = SV_LIT("urn:iso:std:iso:4217");
        value.code = member(v, "currency");
    } else {
        compare(&value, member(v, "comparator"));
        value.system = member(v, "system");
        value.code = member(v, "code");
        value.unit = member(v, "unit");
    }
    give(g, value);
}

/* One that ends before it begins holds nothing. */
static bool period(yyjson_val *v, int64_t *lo_ms, int64_t *hi_ms)
{
    int64_t other;
    *lo_ms = INT64_MIN;
    *hi_ms = INT64_MAX;
    bool start = moment_parse(member(v, "start"), lo_ms, &other);
    bool end = moment_parse(member(v, "end"), &other, hi_ms);
    return (start || end) && *lo_ms < *hi_ms;
}

/* Of a Timing only the outer limits matter: from the first event or the bounds to the last. */
static bool timing(yyjson_val *v, int64_t *lo_ms, int64_t *hi_ms)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(v, "event"));
    yyjson_val *x;
    int64_t lo, hi;
    bool any = period(json_get(json_get(v, "repeat"), "boundsPeriod"), lo_ms, hi_ms);
    while ((x = yyjson_arr_iter_next(&it)) != NULL) {
        if (!moment_parse(json_string(x), &lo, &hi))
            continue;
        *lo_ms = any && *lo_ms < lo ? *lo_ms : lo;
        *hi_ms = any && *hi_ms > hi ? *hi_ms : hi;
        any = true;
    }
    return any;
}

static void dates(const struct giver *g, yyjson_val *v, sv datatype)
{
    struct search_value value = { .element = v };
    bool any = sv_eq(datatype, SV_LIT("Period")) ? period(v, &value.lo_ms, &value.hi_ms)
               : sv_eq(datatype, SV_LIT("Timing"))
                   ? timing(v, &value.lo_ms, &value.hi_ms)
                   : moment_parse(json_string(v), &value.lo_ms, &value.hi_ms);
    if (any)
        give(g, value);
}

static void reference(const struct giver *g, sv text, yyjson_val *v)
{
    struct search_value value = { .text = text, .element = v };
    /* for :text */
    if (yyjson_is_obj(v))
        value.code = member(v, "display");
    if (!reference_parse(text, &value.ref_type, &value.ref_id, &value.ref_base))
        value.ref_type = FHIR_TYPE_NONE;
    give(g, value);
}

static void references(const struct giver *g, yyjson_val *v, sv datatype)
{
    /* the first entry of a document or message */
    if (sv_eq(datatype, SV_LIT("Resource"))) {
        struct search_value value = { .element = v,
                                      .ref_id = member(v, "id"),
                                      .ref_base = SV_LIT("") };
        value.ref_type = fhir_type_find(member(v, "resourceType"));
        if (value.ref_type && value.ref_id.ptr)
            give(g, value);
    } else if (sv_eq(datatype, SV_LIT("Attachment"))) {
        reference(g, member(v, "url"), v);
    } else if (yyjson_is_str(v)) {
        reference(g, json_string(v), v);
    } else if (yyjson_is_obj(v)) {
        reference(g, member(v, "reference"), v);
    }
}

/* An extension is worth what its value is: valueReference, valueCodeableConcept ... */
static void extension(const struct giver *g, yyjson_val *v)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        sv name = json_string(key);
        if (!sv_starts(name, SV_LIT("value")) || name.len < 6)
            continue;
        sv type = sv_tail(name, 5);
        char lower[16];
        if (type.len < sizeof lower && !yyjson_is_obj(yyjson_obj_iter_get_val(key))) {
            /* primitive types begin with a small letter */
            memcpy(lower, type.ptr, type.len);
            lower[0] = (char)(lower[0] | 0x20);
            type = sv_make(lower, type.len);
        }
        value_of_element(g->kind, yyjson_obj_iter_get_val(key), type, g->p, g->fn, g->ctx);
    }
}

void value_of_element(search_kind kind, yyjson_val *v, sv datatype, const struct search_path *p,
                      search_value_fn fn, void *ctx)
{
    const struct giver g = { kind, p, fn, ctx };
    if (sv_eq(datatype, SV_LIT("Extension"))) {
        extension(&g, v);
        return;
    }
    switch (kind) {
    case SEARCH_STRING:
        strings(&g, v, datatype);
        break;
    case SEARCH_TOKEN:
        tokens(&g, v, datatype);
        break;
    case SEARCH_NUMBER:
        numbers(&g, v, datatype);
        break;
    case SEARCH_QUANTITY:
        quantities(&g, v, datatype);
        break;
    case SEARCH_DATE:
        dates(&g, v, datatype);
        break;
    case SEARCH_REFERENCE:
        references(&g, v, datatype);
        break;
    case SEARCH_URI:
        give_text(&g, v, false);
        break;
    default:
        break;
    }
}

/* ---- of a parameter ---- */

static bool is_exists(const struct search_param *param)
{
    return param->n_paths && sv_eq(param->paths[0].datatype, SV_LIT("exists"));
}

static void see_deceased(void *ctx, yyjson_val *v, sv datatype)
{
    (void)datatype;
    if (!yyjson_is_false(v))
        *(bool *)ctx = true;
}

void search_elements(const struct search_param *param, yyjson_val *resource, search_element_fn fn,
                     void *ctx)
{
    for (size_t i = 0; i < param->n_paths; i++)
        path_walk(&param->paths[i], resource, resource, NULL, fn, ctx);
}

struct extraction {
    const struct search_param *p;
    search_value_fn fn;
    void *ctx;
};

static void element_seen(void *ctx, yyjson_val *v, sv datatype)
{
    struct extraction *x = ctx;
    value_of_element(x->p->kind, v, datatype, NULL, x->fn, x->ctx);
}

void search_extract(const struct search_param *param, yyjson_val *resource, search_value_fn fn,
                    void *ctx)
{
    extract_within(param, resource, NULL, fn, ctx);
}

void extract_within(const struct search_param *param, yyjson_val *resource,
                    struct contained *contained, search_value_fn fn, void *ctx)
{
    /* deceased: true or false for everybody */
    if (is_exists(param)) {
        bool there = false;
        search_elements(param, resource, see_deceased, &there);
        struct search_value value = { .kind = SEARCH_TOKEN,
                                      .code = there ? SV_LIT("true") : SV_LIT("false") };
        fn(ctx, &value);
        return;
    }
    if (param->kind == SEARCH_COMPOSITE || param->kind == SEARCH_SPECIAL)
        return;
    struct extraction x = { param, fn, ctx };
    for (size_t i = 0; i < param->n_paths; i++)
        path_walk(&param->paths[i], resource, resource, contained, element_seen, &x);
}

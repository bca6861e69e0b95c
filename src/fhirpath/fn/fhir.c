/* fhir.c - functions of FHIR and of types: extensions, references, what an item is.
 * A reference leads to a resource that is contained in the root resource, or to an entry of it when
 * it is a Bundle; what lies elsewhere is not fetched.
 * Source: FHIR R4 fhirpath.html, "Additional functions"; FHIRPath N1, 6.3; SQL on FHIR 2,
 * getResourceKey(), getReferenceKey(). */
#include "fhirpath/fn/fn_private.h"

static err_code text_arg(struct fp_cx *cx, const struct fp_node *n, sv *out, bool *has,
                         struct err *e)
{
    struct fp_list l;
    fp_item v = { 0 };
    TRY(fp_arg(cx, n, 0, &l, e));
    TRY(fp_one_of(cx, &l, FHIRPATH_STRING, &v, has, e));
    *out = v.as.text;
    return ERR_OK;
}

/* A member is looked for among all the others. */
static err_code look_into(struct fp_cx *cx, yyjson_val *object, struct err *e)
{
    return fp_steps(cx, 1 + yyjson_obj_size(object) / 8, e);
}

FN(extension)
{
    struct fp_list all = { 0 };
    sv url;
    bool has, known;
    TRY(text_arg(cx, n, &url, &has, e));
    for (uint32_t i = 0; has && i < in->n; i++)
        TRY(fp_member(cx, &in->items[i], SV_LIT("extension"), &all, &known, e));
    for (uint32_t i = 0; i < all.n; i++) {
        TRY(look_into(cx, all.items[i].json, e));
        if (sv_eq(json_string(json_get(all.items[i].json, "url")), url))
            TRY(fp_put(cx, out, &all.items[i], e));
    }
    return ERR_OK;
}

FN(has_value)
{
    (void)n;
    fp_item v;
    return fp_put_boolean(cx, out, in->n == 1 && fp_value(cx->a, &in->items[0], &v), e);
}

FN(get_value)
{
    (void)n;
    fp_item v;
    return in->n == 1 && fp_value(cx->a, &in->items[0], &v) ? fp_put(cx, out, &v, e) : ERR_OK;
}

/* ---- references ---- */

/* "Patient/1/_history/2" -> "Patient/1" */
static sv without_version(sv reference)
{
    const char *at = reference.len ? memmem(reference.ptr, reference.len, "/_history/", 10) : NULL;
    return at ? sv_head(reference, (size_t)(at - reference.ptr)) : reference;
}

static bool is_local(yyjson_val *resource, sv reference)
{
    sv type = json_string(json_get(resource, "resourceType")),
       id = json_string(json_get(resource, "id"));
    return type.len && id.len && reference.len == type.len + 1 + id.len &&
           sv_starts(reference, type) && reference.ptr[type.len] == '/' && sv_ends(reference, id);
}

static err_code find_contained(struct fp_cx *cx, yyjson_val *root, sv id, yyjson_val **out,
                               struct err *e)
{
    yyjson_arr_iter it;
    yyjson_val *one;
    yyjson_arr_iter_init(json_get(root, "contained"), &it);
    while ((one = yyjson_arr_iter_next(&it))) {
        TRY(look_into(cx, one, e));
        if (sv_eq(json_string(json_get(one, "id")), id)) {
            *out = one;
            break;
        }
    }
    return ERR_OK;
}

static err_code find_entry(struct fp_cx *cx, yyjson_val *bundle, sv reference, yyjson_val **out,
                           struct err *e)
{
    yyjson_arr_iter it;
    yyjson_val *one;
    yyjson_arr_iter_init(json_get(bundle, "entry"), &it);
    while (*out == NULL && (one = yyjson_arr_iter_next(&it))) {
        yyjson_val *resource = json_get(one, "resource");
        TRY(look_into(cx, one, e));
        TRY(look_into(cx, resource, e));
        if (sv_eq(json_string(json_get(one, "fullUrl")), reference) ||
            is_local(resource, reference))
            *out = resource;
    }
    return ERR_OK;
}

static sv reference_of(struct fp_cx *cx, const fp_item *item)
{
    fp_item v;
    if (item->kind == FHIRPATH_NODE && item->structure)
        return json_string(json_get(item->json, "reference"));
    return fp_value(cx->a, item, &v) && v.kind == FHIRPATH_STRING ? v.as.text : SV_NONE;
}

FN(resolve)
{
    (void)n;
    yyjson_val *root = cx->run->root ? cx->run->root : cx->run->resource;
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(look_into(cx, in->items[i].json, e));
        sv reference = reference_of(cx, &in->items[i]);
        yyjson_val *found = NULL;
        if (reference.len == 0)
            continue;
        if (reference.ptr[0] == '#') {
            if (reference.len == 1)
                found = root;
            else
                TRY(find_contained(cx, root, sv_tail(reference, 1), &found, e));
            if (found == NULL && reference.len > 1)
                TRY(find_contained(cx, cx->run->resource, sv_tail(reference, 1), &found, e));
        } else {
            TRY(find_entry(cx, root, without_version(reference), &found, e));
        }
        if (found) {
            fp_item item = fhirpath_resource(found);
            TRY(fp_put(cx, out, &item, e));
        }
    }
    return ERR_OK;
}

FN(resource_key)
{
    (void)n;
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(look_into(cx, in->items[i].json, e));
        sv type = json_string(json_get(in->items[i].json, "resourceType")),
           id = json_string(json_get(in->items[i].json, "id"));
        if (type.len == 0 || id.len == 0)
            continue;
        sv key = ARENA_JOIN(cx->a, type, SV_LIT("/"), id);
        if (key.ptr == NULL)
            return arena_oom(cx->a, e);
        TRY(fp_put_text(cx, out, key, e));
    }
    return ERR_OK;
}

/* The type in front of the last bar. */
static sv type_in(sv reference)
{
    size_t id = reference.len, from;
    while (id > 0 && reference.ptr[id - 1] != '/')
        id--;
    if (id == 0)
        return SV_NONE;
    from = --id;
    while (from > 0 && reference.ptr[from - 1] != '/')
        from--;
    return sv_make(reference.ptr + from, id - from);
}

FN(reference_key)
{
    for (uint32_t i = 0; i < in->n; i++) {
        TRY(look_into(cx, in->items[i].json, e));
        sv reference = without_version(reference_of(cx, &in->items[i])), type = type_in(reference);
        const struct fhir_structure *s = fhir_structure_find(type);
        if (s == NULL || s->kind != FHIR_RESOURCE ||
            (n->type.structure && !fp_derives(s, n->type.structure)))
            continue;
        TRY(fp_put_text(cx, out, reference, e));
    }
    return ERR_OK;
}

/* ---- types ---- */

FN(type)
{
    (void)n;
    for (uint32_t i = 0; i < in->n; i++) {
        fp_item t = { .kind = FHIRPATH_TYPE };
        fhirpath_type_of(&in->items[i], &t.as.type.space, &t.as.type.name);
        TRY(fp_put(cx, out, &t, e));
    }
    return ERR_OK;
}

FN(is)
{
    if (in->n > 1)
        return fp_wrong(cx, e, "is() is called on one item, and there are %u", in->n);
    return in->n ? fp_put_boolean(cx, out, fp_is(&in->items[0], &n->type), e) : ERR_OK;
}

FN(as)
{
    if (in->n > 1)
        return fp_wrong(cx, e, "as() is called on one item, and there are %u", in->n);
    return in->n && fp_of_type(&in->items[0], &n->type) ? fp_put(cx, out, &in->items[0], e)
                                                        : ERR_OK;
}

FN(of_type)
{
    for (uint32_t i = 0; i < in->n; i++)
        if (fp_of_type(&in->items[i], &n->type))
            TRY(fp_put(cx, out, &in->items[i], e));
    return ERR_OK;
}

FN(children)
{
    (void)n;
    for (uint32_t i = 0; i < in->n; i++)
        TRY(fp_children(cx, &in->items[i], out, e));
    return ERR_OK;
}

FN(descendants)
{
    (void)n;
    for (uint32_t i = 0; i < in->n; i++)
        TRY(fp_children(cx, &in->items[i], out, e));
    for (uint32_t i = 0; i < out->n; i++) {
        fp_item item = out->items[i];
        TRY(fp_children(cx, &item, out, e));
    }
    return ERR_OK;
}

/* Of the types of FHIR alone: a profile would have to be fetched. */
FN(conforms_to)
{
    static const char base[] = "http://hl7.org/fhir/StructureDefinition/";
    struct fp_type type;
    sv url;
    bool has;
    TRY(text_arg(cx, n, &url, &has, e));
    if (!has || in->n == 0)
        return ERR_OK;
    if (in->n > 1)
        return fp_wrong(cx, e, "conformsTo() is called on one item, and there are %u", in->n);
    if (!sv_starts(url, sv_from(base)) ||
        !fp_type_find(SV_LIT("FHIR"), sv_tail(url, sizeof base - 1), &type))
        return fp_wrong(cx, e, "the profile is not known");
    return fp_put_boolean(cx, out, fp_is(&in->items[0], &type), e);
}

static bool is_named(const struct fp_list *names, sv url)
{
    for (uint32_t i = 0; i < names->n; i++)
        if (sv_eq(names->items[i].as.text, url))
            return true;
    return false;
}

/* An item with a modifier extension that is not named may mean something else than it says. */
FN(check_modifiers)
{
    struct fp_list names = { 0 }, found = { 0 };
    bool known;
    for (unsigned i = 0; i < n->n_args; i++) {
        struct fp_list l;
        TRY(fp_arg(cx, n, i, &l, e));
        for (uint32_t k = 0; k < l.n; k++) {
            fp_item v;
            if (!fp_value(cx->a, &l.items[k], &v) || v.kind != FHIRPATH_STRING)
                return fp_wrong(cx, e, "checkModifiers() takes URLs of extensions");
            TRY(fp_put(cx, &names, &v, e));
        }
    }
    for (uint32_t i = 0; i < in->n; i++)
        TRY(fp_member(cx, &in->items[i], SV_LIT("modifierExtension"), &found, &known, e));
    for (uint32_t i = 0; i < found.n; i++) {
        TRY(fp_steps(cx, names.n, e));
        TRY(look_into(cx, found.items[i].json, e));
        if (!is_named(&names, json_string(json_get(found.items[i].json, "url"))))
            return fp_wrong(cx, e, "there is a modifier extension that is not among those named");
    }
    return fp_put_all(cx, out, in, e);
}

/* ---- the clock ---- */

FN(now)
{
    (void)n;
    (void)in;
    return fp_put(
        cx, out,
        &(fp_item){ .kind = FHIRPATH_DATETIME, .as.moment = fp_moment_at(cx->run->now_ms) }, e);
}

FN(today)
{
    (void)n;
    (void)in;
    fp_moment m = fp_moment_at(cx->run->now_ms);
    fp_item item = { .kind = FHIRPATH_DATE };
    item.as.moment =
        (fp_moment){ .year = m.year, .month = m.month, .day = m.day, .precision = FHIRPATH_DAY };
    return fp_put(cx, out, &item, e);
}

FN(time_of_day)
{
    (void)n;
    (void)in;
    fp_item item = { .kind = FHIRPATH_TIME, .as.moment = fp_moment_at(cx->run->now_ms) };
    item.as.moment.year = 0;
    item.as.moment.month = item.as.moment.day = 0;
    item.as.moment.has_offset = false;
    return fp_put(cx, out, &item, e);
}

/* navigate.c - from a node to its members. FHIR's definitions say which members there are and of
 * which type: a choice is found by its name without a type, a primitive's extensions stand in its
 * twin with a bar in front of its name, and both make one node. A resource of a type that the
 * definitions do not have is walked by the names in its JSON alone.
 * Source: FHIR R4 fhirpath.html, json.html#primitive. */
#include "fhirpath/fhirpath_private.h"

static sv key_of(yyjson_val *key)
{
    return sv_make(yyjson_get_str(key), yyjson_get_len(key));
}

struct fhirpath_item fhirpath_resource(yyjson_val *resource)
{
    return (struct fhirpath_item){
        .kind = FHIRPATH_NODE,
        .structure = fhir_structure_find(json_string(json_get(resource, "resourceType"))),
        .json = resource,
    };
}

/* One value of a member, and its twin. */
static err_code put_one(struct fp_cx *cx, const struct fhir_member *m, yyjson_val *v,
                        yyjson_val *twin, struct fp_list *out, struct err *e)
{
    TRY(fp_steps(cx, 1, e));
    fp_item item = { .kind = FHIRPATH_NODE, .json = v };
    if (yyjson_is_null(v))
        item.json = v = NULL;
    if (m && m->type == NULL) {
        item.primitive = (uint8_t)m->primitive;
        item.twin = yyjson_is_obj(twin) ? twin : NULL;
        if (yyjson_is_ctn(v))
            item.json = NULL;
    } else if (m && m->type->role == FHIR_ROLE_ANY_RESOURCE && v) {
        TRY(fp_steps(cx, yyjson_obj_size(v) / 8, e));
        item = fhirpath_resource(v);
    } else {
        item.structure = m ? m->type : NULL;
    }
    return item.json || item.twin ? fp_put(cx, out, &item, e) : ERR_OK;
}

static err_code put_values(struct fp_cx *cx, const struct fhir_member *m, yyjson_val *v,
                           yyjson_val *twin, struct fp_list *out, struct err *e)
{
    if (!yyjson_is_arr(v) && !yyjson_is_arr(twin))
        return put_one(cx, m, v, twin, out, e);
    /* the two may be of different lengths */
    yyjson_arr_iter values, twins;
    yyjson_arr_iter_init(v, &values);
    yyjson_arr_iter_init(twin, &twins);
    for (;;) {
        yyjson_val *one = yyjson_arr_iter_next(&values), *other = yyjson_arr_iter_next(&twins);
        if (one == NULL && other == NULL)
            return ERR_OK;
        TRY(put_one(cx, m, one, other, out, e));
    }
}

/* A member, and where it may have one its twin, in one pass. Of a name that is there twice the
 * first counts, as in the rest of the program. */
static void find(yyjson_val *obj, sv name, bool has_twin, yyjson_val **v, yyjson_val **twin)
{
    yyjson_obj_iter it;
    yyjson_val *key;
    *v = *twin = NULL;
    if (name.len == 0 || !yyjson_obj_iter_init(obj, &it))
        return;
    while ((*v == NULL || (has_twin && *twin == NULL)) && (key = yyjson_obj_iter_next(&it))) {
        sv k = key_of(key);
        if (k.len == name.len && k.ptr[0] == name.ptr[0] && memcmp(k.ptr, name.ptr, name.len) == 0)
            *v = *v ? *v : yyjson_obj_iter_get_val(key);
        else if (has_twin && k.len == name.len + 1 && k.ptr[0] == '_' &&
                 memcmp(k.ptr + 1, name.ptr, name.len) == 0)
            *twin = *twin ? *twin : yyjson_obj_iter_get_val(key);
    }
}

static const struct fhir_element *choice_of(const struct fhir_structure *s, sv name)
{
    for (unsigned i = 0; i < s->n_elements; i++)
        if (s->elements[i].choice && sv_eq(s->elements[i].name, name))
            return &s->elements[i];
    return NULL;
}

/* The member of the choice that is there: value -> valueQuantity. */
static err_code put_choice(struct fp_cx *cx, const fp_item *node, const struct fhir_element *choice,
                           struct fp_list *out, struct err *e)
{
    yyjson_obj_iter it;
    yyjson_val *key, *v, *twin;
    if (!yyjson_obj_iter_init(node->json, &it))
        return ERR_OK;
    while ((key = yyjson_obj_iter_next(&it))) {
        sv k = key_of(key);
        if (k.len && k.ptr[0] == '_')
            k = sv_tail(k, 1);
        if (!sv_starts(k, choice->name))
            continue;
        const struct fhir_member *m = fhir_member_find(node->structure, k);
        if (m == NULL || m->element != choice)
            continue;
        find(node->json, k, m->type == NULL, &v, &twin);
        return put_values(cx, m, v, twin, out, e);
    }
    return ERR_OK;
}

err_code fp_member(struct fp_cx *cx, const fp_item *node, sv name, struct fp_list *out, bool *known,
                   struct err *e)
{
    const struct fhir_structure *s = node->structure;
    yyjson_val *json = node->json, *v, *twin;
    *known = true;
    TRY(fp_steps(cx, yyjson_obj_size(json) / 8, e));
    if (node->kind == FHIRPATH_TYPE) {
        if (sv_eq_cstr(name, "name"))
            return fp_put_text(cx, out, node->as.type.name, e);
        if (sv_eq_cstr(name, "namespace"))
            return fp_put_text(cx, out, sv_from(node->as.type.space), e);
    }
    if (node->kind != FHIRPATH_NODE) {
        *known = false;
        return ERR_OK;
    }
    if (node->primitive) {
        s = fhir_structure_find(SV_LIT("Element"));
        json = node->twin;
    } else if (s == NULL) {
        find(json, name, false, &v, &twin);
        return put_values(cx, NULL, v, NULL, out, e);
    }
    const struct fhir_member *m = fhir_member_find(s, name);
    if (m && !m->element->choice) {
        find(json, name, m->type == NULL && !m->element->attribute, &v, &twin);
        return put_values(cx, m, v, twin, out, e);
    }
    const struct fhir_element *choice = choice_of(s, name);
    *known = choice != NULL;
    return choice ? put_choice(cx, node, choice, out, e) : ERR_OK;
}

err_code fp_children(struct fp_cx *cx, const fp_item *node, struct fp_list *out, struct err *e)
{
    const struct fhir_structure *s = node->structure;
    yyjson_val *json = node->json, *key, *v, *twin;
    yyjson_obj_iter it;
    if (node->kind != FHIRPATH_NODE)
        return ERR_OK;
    if (node->primitive) {
        s = fhir_structure_find(SV_LIT("Element"));
        json = node->twin;
    }
    if (!yyjson_obj_iter_init(json, &it))
        return ERR_OK;
    while ((key = yyjson_obj_iter_next(&it))) {
        sv k = key_of(key);
        TRY(fp_steps(cx, 1 + yyjson_obj_size(json) / 8, e));
        bool is_twin = k.len && k.ptr[0] == '_';
        if (is_twin)
            k = sv_tail(k, 1);
        const struct fhir_member *m = s ? fhir_member_find(s, k) : NULL;
        if (sv_eq_cstr(k, "resourceType") || (s && m == NULL))
            continue;
        find(json, k, m == NULL || m->type == NULL, &v, &twin);
        if (is_twin && v)
            continue;
        TRY(put_values(cx, m, v, m && m->type ? NULL : twin, out, e));
    }
    return ERR_OK;
}

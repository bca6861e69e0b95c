/* value.c - the part "value" becomes what stands in the resource. A value[x] is copied; parts in a
 * part are the members of a backbone element or of a data type. A choice takes its name from the
 * type of the value: deceased and valueBoolean are deceasedBoolean. The type must fit. Texts fit
 * one another, as clients send a valueString for a code: validation looks at what is in it. */
#include "fhirpath/patch/patch_private.h"

static err_code wrong_type(struct patch *p, struct err *e)
{
    return patch_cannot(&p->op, "the value is not of a type that the element can have", e);
}

/* Does a value of type `have` fit where `want` is? Duration and Age are Quantities. */
static bool fits(const struct fhir_member *want, const struct fhir_member *have)
{
    if (want->type == NULL || have->type == NULL)
        return want->type == have->type &&
               fhir_primitive_json(want->primitive) == fhir_primitive_json(have->primitive);
    return fp_derives(want->type, have->type) || fp_derives(have->type, want->type);
}

/* The member that an element's name and the type of a value make; NULL: there is none. */
static const struct fhir_member *member_of(const struct fhir_structure *s, sv name,
                                           const struct patch_part *part)
{
    const struct fhir_member *m = fhir_member_find(s, name);
    if (m)
        return m->element->choice && (part->type == NULL || !sv_ends(m->name, part->suffix) ||
                                      m->name.len != m->element->name.len + part->suffix.len)
                   ? NULL
                   : m;
    for (unsigned i = 0; s && i < s->n_elements; i++) {
        const struct fhir_element *el = &s->elements[i];
        if (!el->choice || !sv_eq(el->name, name))
            continue;
        for (unsigned j = 0; part->type && j < el->n_members; j++)
            if (sv_eq(sv_tail(el->members[j].name, el->name.len), part->suffix))
                return &el->members[j];
    }
    return NULL;
}

static bool has_element(const struct fhir_structure *s, sv name)
{
    for (unsigned i = 0; s && i < s->n_elements; i++)
        if (sv_eq(s->elements[i].name, name))
            return true;
    return fhir_member_find(s, name) != NULL;
}

static err_code put_part(struct patch *p, const struct fhir_structure *s, yyjson_mut_val *obj,
                         yyjson_val *part, struct err *e)
{
    struct patch_part read;
    struct patch_value v;
    size_t n = 0;
    TRY(patch_part_read(&p->op, part, &read, e));
    TRY(patch_value_make(p, s, read.name, part, &v, e));
    if (v.member->element->many) {
        (void)patch_list_len(obj, v.member->name, &n);
        return patch_list_put(p, obj, v.member->name, n, false, &v, e);
    }
    for (unsigned i = 0; i < v.member->element->n_members; i++)
        if (patch_is_there(obj, v.member->element->members[i].name))
            return patch_cannot(&p->op, "its value has an element twice that may be there once", e);
    return patch_member_set(p, obj, SV_NONE, v.member->name, &v, e);
}

/* Recursive as the patch is deep, which its reader has bounded. */
err_code patch_value_make(struct patch *p, const struct fhir_structure *structure, sv name,
                          yyjson_val *part, struct patch_value *out, struct err *e)
{
    struct patch_part read;
    TRY(patch_part_read(&p->op, part, &read, e));
    if (read.type == NULL && read.parts == NULL && read.resource == NULL)
        return patch_malformed(&p->op, "its value has no value", e);
    if (!has_element(structure, name))
        return patch_cannot(&p->op, "there is no element of that name", e);
    const struct fhir_member *m = member_of(structure, name, &read);
    if (m == NULL)
        return wrong_type(p, e);
    struct patch_value v = { .member = m };
    if (m->type && m->type->role == FHIR_ROLE_ANY_RESOURCE) {
        if (read.resource == NULL)
            return wrong_type(p, e);
        v.value = yyjson_val_mut_copy(p->doc, read.resource);
    } else if (read.parts) {
        if (m->type == NULL)
            return wrong_type(p, e);
        v.value = yyjson_mut_obj(p->doc);
        yyjson_arr_iter it = yyjson_arr_iter_with(read.parts);
        for (yyjson_val *one; v.value && (one = yyjson_arr_iter_next(&it)) != NULL;)
            TRY(put_part(p, m->type, v.value, one, e));
    } else {
        if (read.type == NULL || !fits(m, read.type) || (read.twin && m->element->attribute))
            return wrong_type(p, e);
        if (read.value)
            v.value = yyjson_val_mut_copy(p->doc, read.value);
        if (read.twin && (v.twin = yyjson_val_mut_copy(p->doc, read.twin)) == NULL)
            return patch_too_large(&p->op, e);
    }
    if (v.value == NULL && (read.value || v.twin == NULL))
        return patch_too_large(&p->op, e);
    *out = v;
    return ERR_OK;
}

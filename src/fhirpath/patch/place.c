/* place.c - where a path leads. A node of the tree has a JSON Pointer, and FHIR's definitions are
 * walked along with it: so the member is known that a node is a value of. */
#include "fhirpath/patch/patch_private.h"

err_code patch_pointer_of(struct patch *p, const struct fhirpath_item *item, sv *out, struct err *e)
{
    struct err ignored;
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    /* an element that has extensions alone is known by them */
    if (item->kind != FHIRPATH_NODE ||
        fhirpath_locate(p->from, item->json ? item->json : item->twin, &b, &ignored) != ERR_OK)
        return patch_cannot(&p->op, "its path finds what is no element of the resource", e);
    *out = arena_sv(p->turn, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(p->turn, e);
}

static const struct fhir_structure *structure_of(const struct fhir_structure *type, yyjson_val *v)
{
    return type && type->role == FHIR_ROLE_ANY_RESOURCE
               ? fhir_structure_find(json_string(json_get(v, "resourceType")))
               : type;
}

err_code patch_place_of(struct patch *p, sv pointer, struct patch_place *out, struct err *e)
{
    struct patch_place at = { 0 };
    yyjson_val *v = p->from;
    const struct fhir_structure *type =
        fhir_structure_find(json_string(json_get(v, "resourceType")));
    sv rest = pointer, step;
    if (pointer.len == 0)
        return patch_cannot(&p->op, "its path finds the resource as a whole", e);
    (void)sv_cut(&rest, '/', &step);
    while (sv_cut(&rest, '/', &step)) {
        uint64_t index;
        if (yyjson_is_obj(v)) {
            bool twin = step.len && step.ptr[0] == '_';
            sv key = twin ? sv_tail(step, 1) : step;
            at = (struct patch_place){ .owner =
                                           sv_head(pointer, (size_t)(step.ptr - pointer.ptr) - 1),
                                       .key = key,
                                       .structure = structure_of(type, v),
                                       .twin = twin };
            at.member = at.structure ? fhir_member_find(at.structure, key) : NULL;
            type = twin || at.member == NULL ? fhir_structure_find(SV_LIT("Element"))
                                             : at.member->type;
            v = yyjson_obj_getn(v, step.ptr, step.len);
        } else {
            if (!sv_to_u64(step, &index))
                break;
            at.listed = true;
            at.index = (size_t)index;
            v = yyjson_arr_get(v, at.index);
        }
    }
    if (at.member == NULL)
        return patch_cannot(&p->op, "its path finds an element that FHIR R4 does not know", e);
    *out = at;
    return ERR_OK;
}

/* definitions.c - questions about structures, members and codes, answered by their names from the
 * tables that definitions_build.c makes. */
#include "fhir/definitions_private.h"

const struct fhir_structure *fhir_structure_find(sv name)
{
    return fhir_structure_named(fhir_definitions(), name);
}

const struct fhir_structure *fhir_structure_of(fhir_type type)
{
    return fhir_definitions()->of_type[type];
}

const struct fhir_member *fhir_member_find(const struct fhir_structure *structure, sv json_name)
{
    struct name_key k = name_key(json_name);
    for (uint32_t at = name_hash(k, json_name.len);; at++) {
        uint8_t i = structure->slots[at & structure->slot_mask];
        if (i == 0)
            return NULL;
        if (name_is(structure->members[i - 1].key, structure->members[i - 1].name, k, json_name))
            return &structure->members[i - 1];
    }
}

const char *fhir_value_set_url(const struct fhir_value_set *value_set)
{
    return value_set->url;
}

bool fhir_value_set_listed(const struct fhir_value_set *value_set)
{
    return value_set->n_codes != 0;
}

bool fhir_value_set_has(const struct fhir_value_set *value_set, sv system, sv code)
{
    struct name_key k = name_key(code);
    for (uint32_t at = name_hash(k, code.len);; at++) {
        uint16_t i = value_set->slots[at & value_set->slot_mask];
        if (i == 0)
            return false;
        const struct code *c = &value_set->codes[i - 1];
        if (name_is(c->key, c->text, k, code))
            return system.ptr == NULL || sv_eq_cstr(system, c->system);
    }
}

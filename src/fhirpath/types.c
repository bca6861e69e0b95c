/* types.c - names of types: those of FHIR's definitions, and System's. A name without a space of
 * names means the type of whichever model has it: Quantity of both.
 * Source: FHIRPath N1, 6.3 "Types"; FHIR R4 fhirpath.html, "Polymorphism"; datatypes.html. */
#include "fhirpath/fhirpath_private.h"

static const struct {
    const char *name;
    uint8_t kind;
} system_types[] = {
    { "Boolean", FHIRPATH_BOOLEAN }, { "Integer", FHIRPATH_INTEGER },
    { "Decimal", FHIRPATH_DECIMAL }, { "String", FHIRPATH_STRING },
    { "Date", FHIRPATH_DATE },       { "DateTime", FHIRPATH_DATETIME },
    { "Time", FHIRPATH_TIME },       { "Quantity", FHIRPATH_QUANTITY },
};
#define N_SYSTEM_TYPES (sizeof system_types / sizeof system_types[0])

/* What a primitive specialises. */
static const uint8_t bases[FHIR_N_PRIMITIVES] = {
    [FHIR_CODE] = FHIR_STRING, [FHIR_ID] = FHIR_STRING,           [FHIR_MARKDOWN] = FHIR_STRING,
    [FHIR_URL] = FHIR_URI,     [FHIR_CANONICAL] = FHIR_URI,       [FHIR_OID] = FHIR_URI,
    [FHIR_UUID] = FHIR_URI,    [FHIR_POSITIVEINT] = FHIR_INTEGER, [FHIR_UNSIGNEDINT] = FHIR_INTEGER,
};

bool fp_type_find(sv space, sv name, struct fp_type *out)
{
    struct fp_type t = { 0 };
    bool any = space.len == 0;
    if (any || sv_eq_cstr(space, "System"))
        for (size_t i = 0; i < N_SYSTEM_TYPES; i++)
            if (sv_eq_cstr(name, system_types[i].name))
                t.kind = system_types[i].kind;
    if (any || sv_eq_cstr(space, "FHIR")) {
        t.primitive = (uint8_t)fhir_primitive_find(name);
        t.structure = fhir_structure_find(name);
    }
    /* another model has no type that is an error: nothing is of it */
    if (!t.kind && !t.primitive && !t.structure && !sv_eq_cstr(space, "System"))
        return false;
    *out = t;
    return true;
}

bool fp_derives(const struct fhir_structure *s, const struct fhir_structure *base)
{
    while (s && s != base)
        s = s->base;
    return s != NULL;
}

bool fp_is(const fp_item *item, const struct fp_type *type)
{
    if (item->kind != FHIRPATH_NODE)
        return type->kind == item->kind;
    if (item->primitive == FHIR_NOT_PRIMITIVE)
        return type->structure && fp_derives(item->structure, type->structure);
    for (uint8_t p = item->primitive; p; p = bases[p])
        if (p == type->primitive)
            return true;
    return type->structure && type->structure->role == FHIR_ROLE_ELEMENT;
}

bool fp_of_type(const fp_item *item, const struct fp_type *type)
{
    if (item->kind == FHIRPATH_NODE && item->primitive)
        return item->primitive == type->primitive;
    return fp_is(item, type);
}

void fhirpath_type_of(const struct fhirpath_item *item, const char **space, sv *name)
{
    *space = item->kind == FHIRPATH_NODE ? "FHIR" : "System";
    *name = SV_LIT("Any");
    if (item->kind == FHIRPATH_NODE && item->primitive)
        *name = sv_from(fhir_primitive_name((fhir_primitive)item->primitive));
    else if (item->kind == FHIRPATH_NODE && item->structure)
        *name = item->structure->kind == FHIR_BACKBONE ? item->structure->base->name
                                                       : item->structure->name;
    for (size_t i = 0; i < N_SYSTEM_TYPES; i++)
        if (item->kind != FHIRPATH_NODE && item->kind == system_types[i].kind)
            *name = sv_from(system_types[i].name);
}

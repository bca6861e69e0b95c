/* definitions.h - what FHIR R4 says of every structure and element, ready for lookup.
 *
 * A structure is a resource type ("Patient"), a data type ("HumanName") or a backbone element
 * ("Patient.contact"). It holds elements in the order of the specification, those of its base
 * first. A member is an element as it is spelled in JSON: a choice element has one for each of its
 * types (value[x]: valueQuantity, valueString, ...), every other exactly one. The `_name` twin of a
 * primitive member is not listed.
 *
 * The tables are built from elements.inc and bindings.inc by the first call, are never freed and
 * never change: any thread may read them. Limits: 64 elements and 250 members a structure.
 * Source: FHIR R4 (4.0.1) profiles-types, profiles-resources, value sets.   Floor: fhir. */
#pragma once
#include "fhir/primitive.h"
#include "fhir/types.h"

typedef enum { FHIR_DATATYPE, FHIR_BACKBONE, FHIR_RESOURCE } fhir_structure_kind;

/* Structures that checks know by name. */
typedef enum {
    FHIR_ROLE_NONE,
    FHIR_ROLE_ELEMENT,
    FHIR_ROLE_EXTENSION,
    FHIR_ROLE_REFERENCE,
    FHIR_ROLE_CODING,
    FHIR_ROLE_CODEABLE_CONCEPT,
    FHIR_ROLE_PERIOD,
    FHIR_ROLE_META,
    FHIR_ROLE_ATTACHMENT,
    FHIR_ROLE_BUNDLE_ENTRY,
    FHIR_ROLE_ANY_RESOURCE /* abstract Resource: resourceType says which */
} fhir_role;

/* One way to break a constraint that asks only which elements are there: all of `present` and none
 * of `absent` (bits of fhir_element.index). Several rows may share a key, one behind the other. */
struct fhir_rule {
    uint64_t present, absent;
    const char *key;  /* "tim-1" */
    const char *text; /* the constraint in words, no period */
};

struct fhir_value_set; /* of a required binding */

struct fhir_element {
    sv name; /* "birthDate"; a choice stands without its [x]: "value" */
    const struct fhir_structure *owner;
    const struct fhir_member *members;
    const struct fhir_value_set *value_set; /* required binding, or NULL */
    uint8_t n_members;
    uint8_t index;  /* in owner->elements, and bit in the masks */
    bool required;  /* min is 1 */
    bool many;      /* max is *, an array in JSON */
    bool choice;    /* [x] */
    bool modifier;  /* isModifier */
    bool summary;   /* isSummary */
    bool attribute; /* has no extensions, hence no _name twin: id, Extension.url, Narrative.div */
};

struct fhir_member {
    uint64_t key[2]; /* of the name, for lookup */
    sv name;         /* "birthDate", "valueQuantity" */
    const struct fhir_element *element;
    const struct fhir_structure *type; /* of the value; NULL for a primitive */
    /* Reference: FHIR_TARGET_WORDS of bits, one a fhir_type; NULL is any */
    const uint64_t *targets;
    fhir_primitive primitive;
    uint8_t index;        /* in owner->members */
    bool simple_quantity; /* Quantity without comparator */
};
#define FHIR_TARGET_WORDS 4

struct fhir_structure {
    sv name;
    const struct fhir_structure *base; /* NULL for Element and Resource */
    const struct fhir_element *elements;
    const struct fhir_member *members;
    const struct fhir_rule *rules;
    uint64_t required, summary, modifier; /* a bit an element */
    const uint8_t *slots;                 /* hash of member names -> index + 1 */
    uint32_t slot_mask;
    uint8_t n_elements, n_members, n_rules;
    fhir_structure_kind kind;
    fhir_role role;
    fhir_type type; /* of a concrete resource, else FHIR_TYPE_NONE */
    bool abstract;
};

/* By name: "Patient", "HumanName", "Patient.contact"; NULL when unknown or primitive. */
const struct fhir_structure *fhir_structure_find(sv name);
/* Of a resource type; NULL for FHIR_TYPE_NONE. */
const struct fhir_structure *fhir_structure_of(fhir_type type);
/* Member by its JSON name; NULL when the structure has none of that name ("resourceType" is not a
 * member). */
const struct fhir_member *fhir_member_find(const struct fhir_structure *structure, sv json_name);

static inline bool fhir_target_ok(const uint64_t *targets, fhir_type type)
{
    return targets == NULL || (targets[type / 64] >> type % 64 & 1) != 0;
}

const char *fhir_value_set_url(const struct fhir_value_set *value_set);
/* False when its codes are not listed (currencies, MIME types, UCUM): nothing can be asked then. */
bool fhir_value_set_listed(const struct fhir_value_set *value_set);
/* Is code in it, and of that system (system.ptr NULL: of whichever)? */
bool fhir_value_set_has(const struct fhir_value_set *value_set, sv system, sv code);

/* validate_private.h - what the rooms of validation share: the run, the path, the issues. */
#pragma once
#include "fhir/definitions.h"
#include "fhir/validate.h"

/* One step of a path, on the stack of the walk: nothing is put together before an issue asks. */
struct part {
    const struct part *up;
    sv name;
    int64_t index; /* in an array, else -1 */
};

/* The resource that '#' references look into: the root, or the resource of a Bundle's entry. */
struct scope {
    yyjson_val *resource;
    yyjson_val *list; /* its contained, once looked for */
    bool looked;
    bool contained; /* the walk is inside one of its contained resources */
};

struct run {
    fhir_validate_level level;
    struct arena *a;
    struct fhir_issues issues;
    struct scope scope;
    unsigned depth;
    uint32_t local_steps; /* comparisons left for '#' references */
    bool stop;            /* enough issues, or no memory */
    bool out_of_memory;
};

void issue_add(struct run *r, const struct part *at, const char *code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* The same, one step below at. */
void issue_add_below(struct run *r, const struct part *at, sv name, const char *code,
                     const char *fmt, ...) PRINTF_LIKE(5, 6);
void issue_add_unknown(struct run *r, const struct part *at, const struct fhir_structure *structure,
                       sv name);

/* Required binding of a code, of a Coding or CodeableConcept object. STRICT. */
void rule_code(struct run *r, const struct part *at, const struct fhir_value_set *value_set,
               sv code);
void rule_concept(struct run *r, const struct part *at, const struct fhir_member *member,
                  yyjson_val *obj);
/* A Reference object, met as this member. STRUCTURE; STRICT adds ref-1. */
void rule_reference(struct run *r, const struct part *at, const struct fhir_member *member,
                    yyjson_val *obj);
/* Constraints of a structure with the elements in `seen` present; and those written out in C. */
void rule_elements(struct run *r, const struct part *at, const struct fhir_structure *structure,
                   uint64_t seen);
void rule_object(struct run *r, const struct part *at, const struct fhir_structure *structure,
                 const struct fhir_member *member, yyjson_val *obj);

/* validate.h - does a resource keep the rules of FHIR R4?
 *
 *   MINIMAL     an object with a known resourceType
 *   STRUCTURE   known members only, each of its JSON type and as often as allowed, primitives in
 *               their form, one type of a choice, no nulls, empty arrays, objects or strings,
 *               `_name` twins beside primitives, references to the types that are allowed,
 *               extensions with a url and either a value or extensions; the same inside
 *               contained, Bundle.entry.resource and Parameters.parameter.resource
 *   STRICT      codes of required bindings; ele-1; the constraints of the definitions that only
 *               ask which elements are there (fhir_rule); dom-4, dom-5, per-1, ref-1, sqty-1
 *
 * Not asked at any level: profiles, bindings that are not required, constraints that need FHIRPath,
 * and whether a reference's target exists.
 *
 * Issues never hold content of the resource: they name elements and rules. The name of an unknown
 * member is told when it is short and made of letters and digits. Paths are FHIRPath: a choice
 * element goes by its name ("Observation.value" for valueQuantity), a twin by its element's, and
 * what is missing by the path it would have.
 * Limits: FHIR_ISSUES_MAX issues; deeper than LIMIT_RESOURCE_DEPTH is an issue.
 * Source: FHIR R4 validation.html, json.html.   Floor: fhir. */
#pragma once
#include "base/arena.h"

#include <yyjson.h>

typedef enum {
    FHIR_VALIDATE_MINIMAL,
    FHIR_VALIDATE_STRUCTURE,
    FHIR_VALIDATE_STRICT
} fhir_validate_level;
/* "strict" or empty, "structure-only", "minimal": HealthLake's names. */
MUST_USE bool fhir_validate_level_named(sv name, fhir_validate_level *out);

struct fhir_issue {
    const char *severity; /* "error" */
    const char *code; /* issue-type: structure required value invariant code-invalid too-costly */
    sv path;          /* "Patient.name[0].given[1]" */
    sv text;          /* one sentence, no period */
};

#define FHIR_ISSUES_MAX 50
struct fhir_issues {
    struct fhir_issue *items; /* in the order of the document; NULL when there are none */
    size_t n;
    bool more; /* there are others: the walk stopped */
};

/* resource: read by json_read(), so that numbers are text. ERR_OK says that the question was
 * answered: out->n is 0 for a valid resource. The issues are owned by the arena, from which nothing
 * is taken when there are none. ERR_TOO_LARGE when the arena is full. Any thread. */
MUST_USE err_code fhir_validate(yyjson_val *resource, fhir_validate_level level, struct arena *a,
                                struct fhir_issues *out, struct err *e);

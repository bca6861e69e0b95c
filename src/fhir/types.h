/* types.h - the resource types of FHIR R4, as small numbers.
 * The number is part of stored keys: rows are never reordered or removed, only appended.
 * Source: FHIR R4 (4.0.1) value set resource-types, concrete types.   Floor: fhir. */
#pragma once
#include "base/sv.h"

typedef uint8_t fhir_type; /* 1..fhir_n_types(); 0 is no type */
#define FHIR_TYPES_MAX 256 /* any fhir_type is below it */
#define FHIR_TYPE_NONE ((fhir_type)0)

fhir_type fhir_type_find(sv name); /* exact spelling; FHIR_TYPE_NONE when unknown */
/* For messages: "Patent is no resource type of FHIR R4: is Patient meant?" */
#define FHIR_TYPE_NOT_LEN 160
const char *fhir_type_not(sv name, char out[FHIR_TYPE_NOT_LEN]);
/* The same for messages that repeat no value: it is named when it is near to a type, and so a slip
 * of the pen. */
const char *fhir_type_slip(sv name, char out[FHIR_TYPE_NOT_LEN]);
const char *fhir_type_name(fhir_type t); /* "Patient"; "" for none */
unsigned fhir_n_types(void);             /* 146 */

#define FHIR_ID_MAX 64
/* 1..64 of [A-Za-z0-9.-]. Source: FHIR R4 datatypes, id. */
bool fhir_id_ok(sv id);

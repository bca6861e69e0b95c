/* primitive.h - the twenty primitive types of FHIR R4 and the form of their values.
 *
 * The regular expressions of the specification, checked by hand-written scanners, with the calendar
 * (no 31 June) and the number ranges that its text adds. The text is what stands in the JSON string
 * or number, escapes resolved.   Source: FHIR R4 datatypes.html#primitive.   Floor: fhir. */
#pragma once
#include "base/sv.h"

typedef enum {
    FHIR_NOT_PRIMITIVE,
    FHIR_BASE64BINARY,
    FHIR_BOOLEAN,
    FHIR_CANONICAL,
    FHIR_CODE,
    FHIR_DATE,
    FHIR_DATETIME,
    FHIR_DECIMAL,
    FHIR_ID,
    FHIR_INSTANT,
    FHIR_INTEGER,
    FHIR_MARKDOWN,
    FHIR_OID,
    FHIR_POSITIVEINT,
    FHIR_STRING,
    FHIR_TIME,
    FHIR_UNSIGNEDINT,
    FHIR_URI,
    FHIR_URL,
    FHIR_UUID,
    FHIR_XHTML,
    FHIR_N_PRIMITIVES
} fhir_primitive;

/* What carries the value in JSON. */
typedef enum { FHIR_JSON_STRING, FHIR_JSON_NUMBER, FHIR_JSON_BOOLEAN } fhir_json;

fhir_primitive fhir_primitive_find(sv name);       /* FHIR_NOT_PRIMITIVE when unknown */
const char *fhir_primitive_name(fhir_primitive p); /* "dateTime" */
fhir_json fhir_primitive_json(fhir_primitive p);
/* The form asked for, to be read behind "is not": "a date (YYYY, YYYY-MM or YYYY-MM-DD)". */
const char *fhir_primitive_form(fhir_primitive p);
/* Is text, of the right JSON kind, a value of p? Never empty. boolean: always. */
bool fhir_primitive_ok(fhir_primitive p, sv text);

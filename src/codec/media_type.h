/* media_type.h - media types as headers name them: "application/fhir+json; charset=utf-8".
 *
 * A field is a list of elements between commas (Accept) or one element (Content-Type). An element
 * is a name, type/subtype, and parameters behind semicolons. Commas and semicolons inside quotes
 * belong to a parameter's value. Letter case matters in values alone. These calls take what is
 * there and judge nothing, but for media_type_ok(). Everything returned is a view into the text.
 *
 * Source: RFC 9110, sections 5.6.6, 8.3.1, 12.4.2 and 12.5.1.   Floor: codec (uses base). */
#pragma once
#include "base/sv.h"

/* The next element of *list, which moves behind its comma. False: there are no more. */
bool media_type_next(sv *list, sv *element);

/* The name of an element, without its parameters and blanks around it; it may be empty. */
sv media_type_name(sv element);

/* Has the element this name, whatever its parameters? */
bool media_type_is(sv element, const char *name);

/* A parameter's value without its quotes; a backslash inside of them stays. SV_NONE: it has none
 * of this name. Of several the first counts. */
sv media_type_param(sv element, const char *name);

/* Is the element's name type/subtype, both of them tokens? Ranges are tokens too. */
bool media_type_ok(sv element);

/* How closely a range means a type: 3 by its name, 2 by its kind ("text" + "/" + "*"), 1 as
 * anything, 0 not at all. Parameters of both are left out. */
unsigned media_type_closeness(sv range, sv type);

/* The weight of a range, its parameter q: 0 to 1. What is no weight counts as none: 1. */
double media_type_weight(sv range);

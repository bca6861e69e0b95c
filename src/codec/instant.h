/* instant.h - FHIR instants and other timestamps.
 * All times inside are epoch milliseconds UTC (int64_t *_ms). Years 0001..9999.
 * Source: FHIR R4 datatypes, instant; RFC 3339; SigV4 basic format.   Floor: codec. */
#pragma once
#include "base/sv.h"

#define INSTANT_LEN 24 /* "2026-11-23T18:30:00.123Z" */

/* Exactly INSTANT_LEN bytes, no NUL. Fast enough for every exported line. */
void instant_format(int64_t ms, char out[INSTANT_LEN]);
/* FHIR instant or RFC 3339: date, time with seconds, optional fraction (cut to ms), Z or +hh:mm. A
 * leap second (23:59:60) is taken for the millisecond in front of midnight. */
MUST_USE bool instant_parse(sv text, int64_t *out_ms);
/* "20261123T183000Z", 16 bytes (no NUL). */
void instant_format_basic(int64_t ms, char out[16]);
MUST_USE bool instant_parse_basic(sv text, int64_t *out_ms);
/* "Mon, 23 Nov 2026 18:30:00 GMT", HTTP's preferred form (RFC 9110, 5.6.7). */
#define INSTANT_HTTP_LEN 29
void instant_format_http(int64_t ms, char out[INSTANT_HTTP_LEN]);
/* Any of HTTP's three forms, the two that are obsolete too: "Monday, 23-Nov-26 18:30:00 GMT", "Mon
 * Nov 23 18:30:00 2026". */
MUST_USE bool instant_parse_http(sv text, int64_t *out_ms);

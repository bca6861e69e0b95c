/* bundle.h - a Bundle that asks for work: what each entry asks, and its resource's text as it was
 * sent.
 *
 * What breaks the Bundle as a whole is an error; what breaks one entry is that entry's fault,
 * because a batch goes on without it. Members that are not asked for here are passed over.
 * Source: FHIR R4 bundle.html, http.html#transaction.   Floor: fhir (uses codec). */
#pragma once
#include "base/arena.h"

#include <yyjson.h>

struct fhir_bundle_entry { /* views into the text or its tree; SV_NONE: not there */
    sv full_url;
    sv method, url, if_match, if_none_match, if_none_exist, if_modified_since;
    yyjson_val *resource; /* NULL: none */
    sv text;              /* of the resource, byte for byte */
    const char *fault;    /* what is wrong with the entry, or NULL */
    const char *where;    /* element below the entry that the fault is in: ".request.url", or "" */
};
struct fhir_bundle {
    sv type; /* as it stands there */
    struct fhir_bundle_entry *entries;
    size_t n;
};

/* text: borrowed, and so is what *out views. Tree and entries are in the arena, whose budget bounds
 * both. ERR_INVALID: no JSON, no Bundle, no type, entry is no array, or one of these twice.
 * ERR_TOO_LARGE: more than max_entries, nested too deep, the arena is full. */
MUST_USE err_code fhir_bundle_read(sv text, struct arena *a, size_t max_entries,
                                   struct fhir_bundle *out, struct err *e);

/* subset.h - a resource with some of its members left out, marked as such.
 *
 * What must stay, stays: resourceType, id, implicitRules, meta, elements with min 1, modifiers.
 * meta gets versionId and lastUpdated, and the tag SUBSETTED.
 * Source: FHIR R4 search.html#summary, #elements; Bulk Data Access, _elements.   Floor: fhir. */
#pragma once
#include "fhir/definitions.h"

#include "base/buf.h"

#include <yyjson.h>

/* May a member stay? name is the JSON name, without the '_' of a primitive's twin; member NULL:
 * unknown. */
typedef bool (*fhir_keep_fn)(void *ctx, sv name, const struct fhir_member *member);
/* Appended to out, no newline. */
MUST_USE err_code fhir_subset_write(yyjson_val *root, fhir_type type, uint64_t version,
                                    int64_t instant_ms, fhir_keep_fn keep, void *ctx,
                                    struct buf *out, struct err *e);
/* Is the member one of those named in _elements? "value" names valueQuantity too. */
bool fhir_subset_names(const sv *elements, size_t n, sv name, const struct fhir_member *member);

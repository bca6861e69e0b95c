/* json_equal.h - are two JSON values the same value?
 *
 * Numbers by what they are worth, exactly and whatever their digits: 1.1 is 1.10 and 110e-2, 0.1 is
 * not 0.10000000000000000001. Strings by their characters, members in any order, items in theirs.
 * Of an object that holds a name twice, both count. Cost: n log n of the members of an object.
 * Source: RFC 6902, 4.6.   Floor: codec. */
#pragma once
#include "codec/json.h"

/* scratch: what it takes is given back. ERR_TOO_LARGE: it is full. */
MUST_USE err_code json_equal(yyjson_mut_val *a, yyjson_val *b, struct arena *scratch, bool *out,
                             struct err *e);
/* Of two numbers as JSON writes them. */
bool json_number_equal(sv a, sv b);

/* near.h - the known name that was probably meant by a name that is not known. It is for messages:
 * nothing may be decided by it.   Floor: base. */
#pragma once
#include "base/sv.h"

/* The name nearest to `typed` among known(ctx, 0), known(ctx, 1) and so on up to an empty one.
 * SV_NONE when more than a third of its letters are wrong in all of them. Letter case does not
 * count; '*' and '?' in `typed` stand for letters. */
typedef sv (*near_known_fn)(const void *ctx, size_t i);
sv near_name(sv typed, near_known_fn known, const void *ctx);

/* near.h - a name that is probably meant by one that is none: for messages alone, nothing is
 * decided by it.
 * Floor: base. */
#pragma once
#include "base/sv.h"

/* The nearest of known(ctx, 0), known(ctx, 1) ... (empty: the end) to what was typed, when so few
 * letters are wrong that it is likely meant: a third of them. Letter case does not count; '*' and
 * '?' in `typed` stand for letters. SV_NONE: none. */
typedef sv (*near_known_fn)(const void *ctx, size_t i);
sv near_name(sv typed, near_known_fn known, const void *ctx);

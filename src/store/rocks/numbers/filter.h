/* filter.h - which ids certainly have no row in the family `ids`.
 *
 * Most ids that a load asks for are new. Asking the family costs one filter a sorted run; this asks
 * one or two lines of memory. It never says no to a key that was added. Memory: 64 KiB and four
 * times more for each further layer, IDS_FILTER_MAX in all; a set that outgrows it has no filter.
 * Thread-safe.   Floor: store. */
#pragma once
#include "base/sv.h"

#include <stdbool.h>

#define IDS_FILTER_MAX  ((64u + 256u + 1024u + 4096u + 16384u) << 10) /* bytes */
#define IDS_FILTER_KEYS 14000000u                                     /* fit in, as a rule */

struct ids_filter;
struct ids_filter *ids_filter_new(void);
void ids_filter_free(struct ids_filter *f);
/* Before the row of the key can be read by anybody. */
void ids_filter_add(struct ids_filter *f, sv key);
/* All rows that were there before the filter was are added, too: from now on it is asked. */
void ids_filter_complete(struct ids_filter *f);
/* False: the key was never added. */
bool ids_filter_may_have(struct ids_filter *f, sv key);

/* id_set_private.h - a set of resource ids that grows. The texts of ids are borrowed.
 * One thread at a time.   Floor: rest. */
#pragma once
#include "search/search.h"

struct id_set { /* zeroed: empty */
    struct search_id *slots;
    size_t n_slots, n;
};
/* The slot of id. Its type is set when id is in the set. Else the caller may put the id there and
 * add 1 to n, before the next call. */
struct search_id *id_set_slot(struct id_set *s, const struct search_id *id);
void id_set_done(struct id_set *s);

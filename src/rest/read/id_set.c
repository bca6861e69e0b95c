/* id_set.c - a set of resource ids: a hash table with open addressing, never more than half
 * full. */
#include "rest/read/id_set_private.h"

#define FIRST_SLOTS 1024u /* a power of two, as all sizes are */

static size_t hash_of(const struct search_id *id)
{
    uint64_t h = sv_hash(id->type, id->id);
    return h ^ h >> 29;
}

static struct search_id *slot_of(struct search_id *slots, size_t n, const struct search_id *id)
{
    size_t k = hash_of(id) & (n - 1);
    while (slots[k].type && (slots[k].type != id->type || !sv_eq(slots[k].id, id->id)))
        k = (k + 1) & (n - 1);
    return &slots[k];
}

static void grow(struct id_set *s)
{
    size_t n = s->n_slots ? 2 * s->n_slots : FIRST_SLOTS;
    struct search_id *more = calloc(n, sizeof *more);
    if (more == NULL)
        abort();
    for (size_t i = 0; i < s->n_slots; i++)
        if (s->slots[i].type)
            *slot_of(more, n, &s->slots[i]) = s->slots[i];
    free(s->slots);
    s->slots = more;
    s->n_slots = n;
}

struct search_id *id_set_slot(struct id_set *s, const struct search_id *id)
{
    if (2 * (s->n + 1) > s->n_slots)
        grow(s);
    return slot_of(s->slots, s->n_slots, id);
}

void id_set_done(struct id_set *s)
{
    free(s->slots);
    *s = (struct id_set){ 0 };
}

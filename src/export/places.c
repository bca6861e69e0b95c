/* places.c - the order in which ranges came in, which a running export's manifest shows.
 *
 * A range takes the least place that is free when its lines are out. Places have no gaps but those of
 * ranges that are just being noted: one whose note cannot be written gives its place back. */
#include "export/export_private.h"

#include <assert.h>

size_t export_place_take(struct export_job *x)
{
    pthread_mutex_lock(&x->shared.lock);
    size_t i = x->shared.first_place;
    while (i < x->plan.n && x->shared.places[i])
        i++;
    assert(i < x->plan.n); /* as many places as ranges */
    x->shared.places[i] = true;
    x->shared.first_place = i + 1;
    pthread_mutex_unlock(&x->shared.lock);
    return i;
}

void export_place_give_back(struct export_job *x, size_t place)
{
    pthread_mutex_lock(&x->shared.lock);
    x->shared.places[place] = false;
    if (place < x->shared.first_place)
        x->shared.first_place = place;
    pthread_mutex_unlock(&x->shared.lock);
}

/* making.c - places for large answers that are being made.
 *
 * A ticket that tries again keeps its turn, so the row is always in the order of first tries. A
 * free place goes to the first of the row whose owner may have one more. */
#include "rest/fair/making_private.h"
#include "rest/fair/row_private.h"

#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct making {
    unsigned n_places, n_per_owner;
    struct {
        pthread_mutex_t lock;
        uint64_t *owners; /* the owners of the n_taken places that are held */
        unsigned n_taken;
        struct row_waiter *row; /* by their turn */
        uint64_t last_turn;
    } locked;
};

struct making *making_new(unsigned n_places, unsigned n_per_owner)
{
    struct making *making = calloc(1, sizeof *making);
    if (making == NULL)
        abort();
    making->n_places = n_places ? n_places : 1;
    making->n_per_owner = n_per_owner ? n_per_owner : 1;
    making->locked.owners = calloc(making->n_places, sizeof *making->locked.owners);
    if (making->locked.owners == NULL)
        abort();
    pthread_mutex_init(&making->locked.lock, NULL);
    return making;
}

void making_free(struct making *making)
{
    if (making == NULL)
        return;
    pthread_mutex_destroy(&making->locked.lock);
    free(making->locked.owners);
    free(making);
}

static bool may_have_one_locked(const struct making *making, uint64_t owner)
{
    unsigned n = 0;
    for (unsigned i = 0; i < making->locked.n_taken; i++)
        n += making->locked.owners[i] == owner;
    return n < making->n_per_owner;
}

static void give_locked(struct making *making)
{
    struct row_waiter **at = &making->locked.row;
    while (*at && making->locked.n_taken < making->n_places) {
        if (!may_have_one_locked(making, (*at)->owner)) {
            at = &(*at)->next;
            continue;
        }
        making->locked.owners[making->locked.n_taken++] = (*at)->owner;
        row_call(at);
    }
}

static void wait_locked(struct making *making, struct making_ticket *t, uint64_t until_us)
{
    struct row_waiter w = { .owner = t->owner, .turn = t->turn };
    row_join(&making->locked.row, &w);
    give_locked(making);
    row_wait(&making->locked.row, &w, &making->locked.lock, until_us);
    t->holds = w.called;
}

static bool row_is_full_locked(const struct making *making, uint64_t owner)
{
    unsigned n = 0, n_own = 0;
    for (const struct row_waiter *w = making->locked.row; w; w = w->next) {
        n++;
        n_own += w->owner == owner;
    }
    return n >= WAITERS_PER_PLACE * making->n_places ||
           n_own >= WAITERS_PER_PLACE * making->n_per_owner;
}

making_result making_take(struct making *making, struct making_ticket *t, uint64_t until_us)
{
    if (t->holds)
        return MAKING_HELD;
    pthread_mutex_lock(&making->locked.lock);
    /* with a turn it has its place in the row */
    bool full = t->turn == 0 && row_is_full_locked(making, t->owner);
    if (!full) {
        if (t->turn == 0)
            t->turn = ++making->locked.last_turn;
        wait_locked(making, t, until_us);
    }
    pthread_mutex_unlock(&making->locked.lock);
    return full ? MAKING_ROW_IS_FULL : t->holds ? MAKING_HELD : MAKING_NOT_YET;
}

void making_give_back(struct making *making, struct making_ticket *t)
{
    if (!t->holds)
        return;
    pthread_mutex_lock(&making->locked.lock);
    unsigned i = 0;
    while (making->locked.owners[i] != t->owner) {
        i++;
        /* the ticket holds one of these */
        assert(i < making->locked.n_taken);
    }
    making->locked.owners[i] = making->locked.owners[--making->locked.n_taken];
    give_locked(making);
    pthread_mutex_unlock(&making->locked.lock);
    t->holds = false;
    t->turn = 0;
}

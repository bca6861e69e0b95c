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
    struct making *m = calloc(1, sizeof *m);
    if (m == NULL)
        abort();
    m->n_places = n_places ? n_places : 1;
    m->n_per_owner = n_per_owner ? n_per_owner : 1;
    m->locked.owners = calloc(m->n_places, sizeof *m->locked.owners);
    if (m->locked.owners == NULL)
        abort();
    pthread_mutex_init(&m->locked.lock, NULL);
    return m;
}

void making_free(struct making *m)
{
    if (m == NULL)
        return;
    pthread_mutex_destroy(&m->locked.lock);
    free(m->locked.owners);
    free(m);
}

static bool may_have_one_locked(const struct making *m, uint64_t owner)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->locked.n_taken; i++)
        n += m->locked.owners[i] == owner;
    return n < m->n_per_owner;
}

static void give_locked(struct making *m)
{
    struct row_waiter **at = &m->locked.row;
    while (*at && m->locked.n_taken < m->n_places) {
        if (!may_have_one_locked(m, (*at)->owner)) {
            at = &(*at)->next;
            continue;
        }
        m->locked.owners[m->locked.n_taken++] = (*at)->owner;
        row_call(at);
    }
}

static void wait_locked(struct making *m, struct making_ticket *t, uint64_t until_us)
{
    struct row_waiter w = { .owner = t->owner, .turn = t->turn };
    row_join(&m->locked.row, &w);
    give_locked(m);
    row_wait(&m->locked.row, &w, &m->locked.lock, until_us);
    t->holds = w.called;
}

static bool row_is_full_locked(const struct making *m, uint64_t owner)
{
    unsigned n = 0, n_own = 0;
    for (const struct row_waiter *w = m->locked.row; w; w = w->next) {
        n++;
        n_own += w->owner == owner;
    }
    return n >= WAITERS_PER_PLACE * m->n_places || n_own >= WAITERS_PER_PLACE * m->n_per_owner;
}

making_result making_take(struct making *m, struct making_ticket *t, uint64_t until_us)
{
    if (t->holds)
        return MAKING_HELD;
    pthread_mutex_lock(&m->locked.lock);
    /* with a turn it has its place in the row */
    bool full = t->turn == 0 && row_is_full_locked(m, t->owner);
    if (!full) {
        if (t->turn == 0)
            t->turn = ++m->locked.last_turn;
        wait_locked(m, t, until_us);
    }
    pthread_mutex_unlock(&m->locked.lock);
    return full ? MAKING_ROW_IS_FULL : t->holds ? MAKING_HELD : MAKING_NOT_YET;
}

void making_give_back(struct making *m, struct making_ticket *t)
{
    if (!t->holds)
        return;
    pthread_mutex_lock(&m->locked.lock);
    unsigned i = 0;
    while (m->locked.owners[i] != t->owner) {
        i++;
        /* the ticket holds one of these */
        assert(i < m->locked.n_taken);
    }
    m->locked.owners[i] = m->locked.owners[--m->locked.n_taken];
    give_locked(m);
    pthread_mutex_unlock(&m->locked.lock);
    t->holds = false;
    t->turn = 0;
}

/* gate.c - who may have a record of any size in memory.
 *
 * Few threads may at a time, and fewer of one data store. RocksDB unpacks the whole block of a
 * record, says the record's size only then, and keeps the block for as long as an iterator stands
 * there. So a reader of a type whose records can be large passes this gate first, has an iterator
 * only while it is inside, and copies what it needs before it leaves.
 *
 * A free place goes to the reader that has waited longest, among those whose data store does not
 * have all the places that one may have: readers of other stores do not wait behind one store's
 * large records. Inside, a reader waits for nothing but the disk and does not enter again, so there
 * is no deadlock.
 *
 * A second gate has one place: that of the giant which the jobs of the process work on (store.h).
 * Its holder may wait for a peer, too, but for no other job and for no worker. Who waits for it can
 * be halted. */
#include "store/store_private.h"

#include <assert.h>

struct gate_waiter {
    struct gate_waiter *next;
    const void *store;
    pthread_cond_t come;
    const atomic_bool *halt; /* NULL: it waits until it is inside */
    bool in, halted;
};

void gate_init(struct gate *g, unsigned most, unsigned most_of_store)
{
    assert(most <= LIMIT_LARGE_READERS);
    *g = (struct gate){ .type = fhir_type_find(SV_LIT("Binary")),
                        .most = most,
                        .most_of_store = most_of_store };
    pthread_mutex_init(&g->lock, NULL);
}

void gate_done(struct gate *g)
{
    pthread_mutex_destroy(&g->lock);
}

static bool has_place_locked(const struct gate *g, const void *store)
{
    unsigned its = 0;
    for (unsigned i = 0; i < g->n_inside; i++)
        its += g->inside[i] == store;
    return g->n_inside < g->most && its < g->most_of_store;
}

static void enter_locked(struct gate *g, const void *store)
{
    assert(g->n_inside < g->most);
    g->inside[g->n_inside++] = store;
    if (g->n_inside > g->most_inside)
        g->most_inside = g->n_inside;
}

/* Whoever waits has no place now: those of a store that may have more would be inside. */
err_code gate_enter_unless(struct gate *g, const void *store, const atomic_bool *halt,
                           struct err *e)
{
    bool in = true;
    pthread_mutex_lock(&g->lock);
    if (halt && atomic_load(halt)) {
        in = false;
    } else if (has_place_locked(g, store)) {
        enter_locked(g, store);
    } else {
        struct gate_waiter w = { .store = store, .halt = halt }, **at = &g->waiting;
        pthread_cond_init(&w.come, NULL);
        while (*at)
            at = &(*at)->next;
        *at = &w;
        g->n_waited++;
        while (!w.in && !w.halted)
            pthread_cond_wait(&w.come, &g->lock);
        pthread_cond_destroy(&w.come);
        in = w.in;
    }
    pthread_mutex_unlock(&g->lock);
    return in ? ERR_OK : ERR(e, ERR_CANCELLED, "the job was stopped");
}

void gate_enter(struct gate *g, const void *store)
{
    /* nothing halts it */
    IGNORE(gate_enter_unless(g, store, NULL, NULL));
}

void gate_wake(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    for (struct gate_waiter **at = &g->waiting, *w; (w = *at) != NULL;) {
        if (w->halt == NULL || !atomic_load(w->halt)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->halted = true;
        pthread_cond_signal(&w->come);
    }
    pthread_mutex_unlock(&g->lock);
}

void gate_leave(struct gate *g, const void *store)
{
    pthread_mutex_lock(&g->lock);
    unsigned i = 0;
    while (i < g->n_inside && g->inside[i] != store)
        i++;
    /* who leaves was inside */
    assert(i < g->n_inside);
    g->inside[i] = g->inside[--g->n_inside];
    struct gate_waiter **at = &g->waiting, *w;
    while ((w = *at) != NULL && !has_place_locked(g, w->store))
        at = &w->next;
    if (w) {
        *at = w->next;
        enter_locked(g, w->store);
        w->in = true;
        pthread_cond_signal(&w->come);
    }
    pthread_mutex_unlock(&g->lock);
}

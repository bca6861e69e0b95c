/* gate.c - who may have a record of any size in memory: few threads at a time, first come, first served.
 *
 * RocksDB unpacks the whole block that a record stands in, says its size only then, and keeps it for as long as an
 * iterator stands there. So who reads light where records can be large passes this gate first, has an iterator only
 * while inside, and copies what he needs before he leaves. A place is handed from who leaves to who waits longest:
 * nobody overtakes. Inside nobody waits for anything but the disk, and enters no second time: there is no deadlock. */
#include "store/store_private.h"

#include "base/limits.h"

struct gate_waiter {
    struct gate_waiter *next;
    pthread_cond_t come;
    bool in;
};

void gate_init(struct gate *g)
{
    *g = (struct gate){ .type = fhir_type_find(SV_LIT("Binary")) };
    pthread_mutex_init(&g->lock, NULL);
}

void gate_done(struct gate *g)
{
    pthread_mutex_destroy(&g->lock);
}

void gate_enter(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    if (g->n_inside < LIMIT_LARGE_READERS) { /* then nobody waits */
        if (++g->n_inside > g->most_inside)
            g->most_inside = g->n_inside;
    } else {
        struct gate_waiter w = { .next = NULL };
        pthread_cond_init(&w.come, NULL);
        *(g->head ? &g->tail->next : &g->head) = &w;
        g->tail = &w;
        g->n_waited++;
        while (!w.in)
            pthread_cond_wait(&w.come, &g->lock);
        pthread_cond_destroy(&w.come);
    }
    pthread_mutex_unlock(&g->lock);
}

void gate_leave(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    struct gate_waiter *w = g->head;
    if (w) {
        g->head = w->next;
        w->in = true;
        pthread_cond_signal(&w->come);
    } else {
        g->n_inside--;
    }
    pthread_mutex_unlock(&g->lock);
}

/* row.c - a row of threads that wait for a place: a list, and a condition for each of them, so that
 * only the one that has a place wakes. */
#include "rest/fair/row_private.h"

#include "base/clock.h"

void row_join(struct row_waiter **row, struct row_waiter *w)
{
    while (*row && (*row)->turn <= w->turn)
        row = &(*row)->next;
    clock_cond_init(&w->come);
    w->next = *row;
    *row = w;
}

void row_wait(struct row_waiter **row, struct row_waiter *w, pthread_mutex_t *lock,
              uint64_t until_us)
{
    const struct timespec until = clock_mono_at(until_us);
    int rc = 0;
    while (!w->called && rc == 0)
        rc = until_us == ROW_NO_END ? pthread_cond_wait(&w->come, lock)
                                    : pthread_cond_timedwait(&w->come, lock, &until);
    if (!w->called) {
        while (*row != w)
            row = &(*row)->next;
        *row = w->next;
    }
    pthread_cond_destroy(&w->come);
}

void row_call(struct row_waiter **at)
{
    struct row_waiter *w = *at;
    *at = w->next;
    w->called = true;
    pthread_cond_signal(&w->come);
}

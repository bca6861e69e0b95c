/* row_private.h - a row of threads that wait for a place.
 *
 * The owner of the places has a lock and decides who gets one; the row knows who waits, in which
 * order, and wakes them. Under that lock:
 *
 *   row_join(&row, &w);  give(places);  row_wait(&row, &w, &lock, until);   w.called: it has one
 *   row_call(at)         from give(): the waiter that *at points to has a place
 *
 * Used by lane.c and making.c.   Floor: rest. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct row_waiter { /* on the stack of the thread that waits */
    struct row_waiter *next;
    uint64_t owner; /* who the place is for */
    uint64_t turn;  /* the row's order; equal ones stand as they came */
    pthread_cond_t come;
    bool called;
};

void row_join(struct row_waiter **row, struct row_waiter *w);
/* Until it is called, or until until_us (monotonic) is over: then it leaves the row. */
#define ROW_NO_END UINT64_MAX
void row_wait(struct row_waiter **row, struct row_waiter *w, pthread_mutex_t *lock,
              uint64_t until_us);
/* Take a waiter out of the row and wake it. */
void row_call(struct row_waiter **at);

/* making_private.h - places for large answers that are being made.
 *
 * Answers are counted when they are whole (net/http_answer.c). Until then one is up to 64 MiB of a
 * worker's memory, and there are dozens of workers. So whoever's answer grows past
 * LIMIT_MAKING_FREE_BYTES needs a place: there are few, fewer of one owner, and they go to who has
 * waited longest among the owners that may have more. Who waits holds what was made so far, so the
 * row is short as well. A place is held until the answer is handed over. Thread-safe.
 * Limits: LIMIT_MAKING_*.   Floor: rest. */
#pragma once
#include "base/sv.h"

struct making;
/* The row has room for WAITERS_PER_PLACE tickets for each place, of all owners and of one. n_places
 * 0 means 1. */
#define WAITERS_PER_PLACE 3u
struct making *making_new(unsigned n_places, unsigned n_per_owner);
void making_free(struct making *making);

struct making_ticket { /* of one call; zeroed by its owner, used by one thread */
    uint64_t owner;    /* a hash of the caller */
    bool holds;
    uint64_t turn; /* its order in the row, kept from one try to the next; 0: none yet */
};
/* Wait for a place until until_us (monotonic). A ticket that holds one keeps it and does not
 * wait. */
typedef enum { MAKING_HELD, MAKING_NOT_YET, MAKING_ROW_IS_FULL } making_result;
making_result making_take(struct making *making, struct making_ticket *t, uint64_t until_us);
/* does nothing when it holds none */
void making_give_back(struct making *making, struct making_ticket *t);

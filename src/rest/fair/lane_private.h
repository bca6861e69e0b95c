/* lane_private.h - the slow lane: who computes for long takes turns, so that who asks for little
 * finds a processor free.
 *
 * A call comes by every millisecond or so (lane_pass). Until it has used LANE_FREE_US of processor
 * time it goes on at once; from then on it needs a place in the lane, of which there are fewer than
 * processors, and gives it up after a slice when others wait. The place goes to the queue (a caller
 * in a data store) that has had the lane for the least time lately, so one caller with thirty calls
 * gets no more of it than another with one. A call leaves the lane before it waits for anything
 * else (lane_leave), and at its end. Thread-safe.   Floor: rest. */
#pragma once
#include "base/sv.h"

#define LANE_FREE_US  4000u
#define LANE_SLICE_US 10000u

struct lane;
struct lane *lane_new(unsigned n_places); /* at least one */
void lane_free(struct lane *lane);

struct lane_ticket { /* of one call; zeroed by its owner, used by one thread */
    uint64_t queue;  /* whose */
    bool holds, stretched;
    uint64_t held_since_us;
    uint64_t cpu_us; /* the thread's time when the call began; 0: it did not pass yet */
};
/* Return at once, or when it is the call's turn. At until_us (monotonic; 0: no end) it returns
 * without a turn. True: it waited, or began a new slice. */
bool lane_pass(struct lane *lane, struct lane_ticket *t, uint64_t now_us, uint64_t until_us);
void lane_leave(struct lane *lane, struct lane_ticket *t);

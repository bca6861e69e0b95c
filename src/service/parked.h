/* parked.h - answers that wait a moment for the end of a job, or of a data store's creation or
 * deletion.
 *
 * SDKs wait for an end by asking again each minute or two. A caller who asks about something that
 * has not ended gets his answer when it ends, or after wait_us, whichever comes first. So what is
 * quick is over at the first question. A waiting answer holds a place, but no thread: one thread of
 * the parking sends them all.
 *
 *   parking_take    the place hears of the id's end from now on; NULL: answer at once
 *   (look)          an end cannot be missed between this look and the wait
 *   parking_wait    it has not ended: answer later | parking_leave   answer now
 *   parking_told    the caller has his answer
 *
 * Two kinds of caller are answered at once. For one there is no place: there are `max`, and a
 * quarter of them for one caller, because each holds a connection. The other asked for the same id
 * less than pause_us after he was told that it has not ended: he asks often, and wants to see
 * progress.
 *
 * Thread-safe. parking_wake() may be called with locks held: it takes the parking's own lock, and
 * calls nobody. Floor: service. */
#pragma once
#include "base/sv.h"

#define PARKED_MAX      64u
#define PARKED_WAIT_US  2000000u
#define PARKED_PAUSE_US 5000000u

struct parking;
struct parked; /* a place; it belongs to the parking */

struct parking_config {
    unsigned max; /* places, at most PARKED_MAX; 0: nobody waits */
    uint64_t wait_us, pause_us;
};

/* ERR_IO: its thread cannot be started. */
MUST_USE err_code parking_new(const struct parking_config *cfg, struct parking **out,
                              struct err *e);
/* Answers that wait are sent at once, and no more will wait. */
void parking_close(struct parking *parking);
/* Waits until all are sent. Nobody may hold a place. NULL is allowed. */
void parking_free(struct parking *parking);

/* Takes a place for an answer. NULL: there is none, or parking is NULL.
 *   caller  who asks
 *   id      what he asks about, less than 40 bytes
 *   now_us  monotonic */
struct parked *parking_take(struct parking *parking, sv caller, sv id, uint64_t now_us);

/* Gives the place back; *place is NULL then. It may be NULL before. */
void parking_leave(struct parking *parking, struct parked **place);

/* Calls fn(ctx) once, on the parking's thread: fn must be short. The place is taken; fn may have
 * been called before this returns. */
typedef void (*parked_fn)(void *ctx);
void parking_wait(struct parking *parking, struct parked **place, parked_fn fn, void *ctx);

/* The caller was told that it has ended, or that it has not. parking may be NULL. */
void parking_told(struct parking *parking, sv caller, sv id, bool ended, uint64_t now_us);

/* It has ended. For job_engine_config.ended; parking may be NULL. */
void parking_wake(void *parking, sv id);

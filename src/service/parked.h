/* parked.h - answers that wait a moment for the end of what they tell of.
 *
 * SDKs wait for a job or a data store by asking again each minute or two. Whoever asks about one
 * that has not ended is answered when it ends, or after wait_us, whichever comes first; so what is
 * quick is over at the first question. A place costs no thread: one thread of the parking answers
 * all.
 *
 *   parking_take   the place hears of the id from now on      -> NULL: answer at once
 *   (look)         what is looked at now cannot end unheard
 *   parking_wait   it has not ended: answer later | parking_leave   answer now
 *
 * At once is answered whoever finds no place (`max`, and a quarter of that for one caller: what
 * waits holds a connection), and who asked for the same less than pause_us after he was told: he
 * asks often, and wants to see progress. Thread-safe. parking_wake() may be called with locks held:
 * it takes the parking's own and calls nobody. Floor: service. */
#pragma once
#include "base/sv.h"

#define PARKED_MAX      64u
#define PARKED_WAIT_US  2000000u
#define PARKED_PAUSE_US 5000000u

struct parking;
struct parked; /* a place */
struct parking_config {
    unsigned max; /* places, at most PARKED_MAX; 0: nobody waits */
    uint64_t wait_us, pause_us;
};
MUST_USE err_code parking_new(const struct parking_config *cfg, struct parking **out,
                              struct err *e);
/* Who waits is answered at once, and nobody waits from now on. */
void parking_close(struct parking *p);
/* After parking_close(); waits until all are answered. No place may be held. */
void parking_free(struct parking *p);

/*   caller  who asks; id  of what he asks about, under 40 bytes; now_us  monotonic
 * p may be NULL: nobody waits. */
struct parked *parking_take(struct parking *p, sv caller, sv id, uint64_t now_us);
void parking_leave(struct parking *p, struct parked **place);
/* fn(ctx), once, on the parking's thread: it must be short. Takes the place, which may be over when
 * this returns. */
typedef void (*parked_fn)(void *ctx);
void parking_wait(struct parking *p, struct parked **place, parked_fn fn, void *ctx);
/* What the caller was told at last: that it has ended, or not. */
void parking_told(struct parking *p, sv caller, sv id, bool ended, uint64_t now_us);
/* It has ended. For job_engine_config.ended. */
void parking_wake(void *parking, sv id);

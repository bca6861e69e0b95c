/* workers.h - threads for what waits or takes long, shared out among callers and their data stores.
 * Thread-safe.   Floor: service. */
#pragma once
#include "base/sv.h"

struct service;
struct workers;
typedef void (*work_fn)(struct service *s, void *ctx);
MUST_USE err_code workers_start(struct service *s, unsigned n, unsigned max_waiting,
                                struct workers **out, struct err *e);
/* Waits for what runs and what waits. */
void workers_stop(struct workers *w);
/* Whose work it is. Threads are shared out among callers, and among the places of each. */
struct work_for {
    sv caller; /* access key */
    sv place;  /* data store */
};
/* ERR_THROTTLED: too much waits already, of all or of this caller. */
MUST_USE err_code workers_add(struct workers *w, struct work_for who, work_fn fn, void *ctx,
                              struct err *e);
/* Does anything wait for a thread? Asked without a lock. */
bool workers_pressed(struct workers *w);

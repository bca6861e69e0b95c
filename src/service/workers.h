/* workers.h - threads for what waits or takes long, shared out among callers and their data stores.
 *
 * Work of one caller in one place (data store) waits in one queue, and free threads take from the
 * queues in turn. A queue may keep two thirds of the threads busy, a caller five sixths: so however
 * much one caller sends, the next finds a thread. A caller may have half of the work that can wait
 * at all. Thread-safe.   Floor: service. */
#pragma once
#include "base/sv.h"

struct service;
struct workers;

/* Starts n threads; max_waiting pieces of work may wait for one. ERR_IO: they cannot be started. */
MUST_USE err_code workers_start(struct service *service, unsigned n, unsigned max_waiting,
                                struct workers **out, struct err *e);
/* Waits until all work is done, that which waits too, then frees them. NULL is allowed. */
void workers_stop(struct workers *workers);

struct work_for { /* whose work it is */
    sv caller;    /* access key */
    sv place;     /* data store */
};
typedef void (*work_fn)(struct service *service, void *ctx);

/* Calls fn(service, ctx) once, on one of the threads. ERR_THROTTLED: too much work waits already,
 * of all callers or of this one; fn is not called then. */
MUST_USE err_code workers_add(struct workers *workers, struct work_for who, work_fn fn, void *ctx,
                              struct err *e);
/* Asked by work on one of the threads: does other work wait that would have a thread if this ended?
 * Work that waits for its own caller's share, or its queue's, is kept by the work of that caller
 * alone. Asked by another thread: does any wait that may run, while no thread is free? */
bool workers_pressed(struct workers *workers);

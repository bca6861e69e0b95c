/* late_private.h - refusals that wait a moment before they go out: who sends more than his queue
 * takes would else be answered as fast as he can ask, and each such answer takes from everybody
 * what a request costs at the door. A place costs no thread. Thread-safe.   Floor: rest. */
#pragma once
#include "base/err.h"

#define LATE_MAX 1024u   /* places */
#define LATE_US  250000u /* each waits so long */

struct late;
MUST_USE err_code late_new(struct late **out, struct err *e);
/* Who waits is answered at once. NULL is taken. */
void late_free(struct late *l);
/* fn(ctx), once: in LATE_US, on a thread of its own; at once, on the caller's, when there is no
 * place. It must be short. */
void late_add(struct late *l, void (*fn)(void *ctx), void *ctx);

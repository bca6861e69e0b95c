/* late_private.h - refusals that wait a moment before they go out: who sends more than his queue
 * takes would else be answered as fast as he can ask, and each such answer takes from everybody
 * what a request costs at the door. A place costs no thread. Thread-safe.   Floor: rest. */
#pragma once
#include "base/err.h"

#define LATE_MAX 1024u   /* places */
#define LATE_US  250000u /* the time that each waits */

struct late;
MUST_USE err_code late_new(struct late **out, struct err *e);
/* Those that wait are called at once. l may be NULL. */
void late_free(struct late *l);
/* Call fn(ctx) once, after LATE_US and on a thread of late.c; when there is no place, at once and
 * on the caller's thread. It must be short. */
void late_add(struct late *l, void (*fn)(void *ctx), void *ctx);

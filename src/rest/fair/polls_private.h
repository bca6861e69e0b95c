/* polls_private.h - how often the status of an export is asked for, job by job.
 *
 * A status says when to come back. Who comes earlier is answered all the same, until it is more
 * than POLLS_MAX times within that time: no client that sleeps between two requests does that,
 * whatever it makes of Retry-After.
 * Memory: POLLS_JOBS jobs; one that is crowded out begins anew. Thread-safe.
 * Source: FHIR Bulk Data Access, "Bulk Data Status Request" (429 for clients that poll too often).
 * Floor: rest. */
#pragma once
#include "base/sv.h"

#include <stdint.h>

#define POLLS_MAX  100u
#define POLLS_JOBS 256u

struct polls;
struct polls *polls_new(void);
void polls_free(struct polls *p);
/* One more. False: too often; *wait_s is then what is left of the time, at least 1.
 *   now_us    monotonic
 *   window_s  the Retry-After of the answer that it would get */
bool polls_take(struct polls *p, sv job_id, uint64_t now_us, unsigned window_s, unsigned *wait_s);

/* quota.h - HealthLake's request rates, as token buckets: one for each operation, for all callers.
 *
 * A bucket holds a second's worth of requests, or a minute's for rates per minute, and at least
 * one. Used with --quotas healthlake only. Thread-safe.
 * Source: HealthLake endpoints and quotas.   Floor: aws. */
#pragma once
#include "base/sv.h"

struct quota;
struct quota *quota_new(void);
void quota_free(struct quota *quota);

/* Takes a token for an operation ("StartFHIRExportJob"). Operations without a rate always pass.
 *   now_us  monotonic
 * ERR_THROTTLED: there is none. */
MUST_USE err_code quota_take(struct quota *quota, const char *operation, uint64_t now_us,
                             struct err *e);

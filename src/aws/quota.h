/* quota.h - HealthLake's request rates as token buckets, one per operation.
 * A bucket holds one second's worth (a minute's for the rates per minute), and at least one token.
 * Off unless asked for. Thread-safe.
 * Source: HealthLake endpoints and quotas.   Floor: aws. */
#pragma once
#include "base/sv.h"

struct quota;
struct quota *quota_new(void);
void quota_free(struct quota *q);
/* Take a token for an operation ("StartFHIRExportJob"). Operations without a rate always pass.
 *   now_us  monotonic
 * ERR_THROTTLED: none left. */
MUST_USE err_code quota_take(struct quota *q, const char *operation, uint64_t now_us,
                             struct err *e);

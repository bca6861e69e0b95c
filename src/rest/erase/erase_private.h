/* erase_private.h - $erase, $purge and $bulk-delete: what a request asks for becomes a job
 * (start.c), and how the job goes (status.c).
 * Source: Amazon HealthLake, "Deleting resources" of its FHIR operations.   Floor: rest. */
#pragma once
#include "rest/call_private.h"

MUST_USE err_code rest_erase(struct rest_call *call, struct err *e);
MUST_USE err_code rest_erase_status(struct rest_call *call, struct err *e);
/* ---- status.c ---- */
/* Only system/ scopes that give d of every type, without a filter, let a token's client erase.
 * ERR_DENIED. */
MUST_USE err_code rest_erase_granted(const struct rest_call *call, struct err *e);

/* import.h - imports as a kind of job: NDJSON files become versions of resources.
 *
 * The server gives the operations to the job engine, which calls them (job/run.h).
 * Source: HealthLake's import jobs, "Importing FHIR data".   Floor: import. */
#pragma once
#include "job/run.h"

extern const struct job_kind_ops import_ops;

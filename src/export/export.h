/* export.h - exports as a kind of job: a data store as of one commit becomes NDJSON files.
 *
 * The server gives the operations to the job engine, which calls them (job/run.h). What an export
 * asks for is struct job_export_params (job/job.h).
 * Source: HealthLake's export jobs; FHIR Bulk Data Access 2.0 and 3.0 ballot.   Floor: export. */
#pragma once
#include "job/run.h"

extern const struct job_kind_ops export_ops;

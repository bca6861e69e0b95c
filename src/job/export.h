/* export.h - what the rooms of the export share: the plan, and what became of its ranges.
 *
 *   note plan           [{"type","from","to"}, ...]         written before any range runs
 *   note done/<range>   {"count", "objects":[{"name","count","bytes","sha256"}, ...]}
 * Floor: job. */
#pragma once
#include "job/job_private.h"

struct export_object {
    fhir_type type;
    sv name; /* below the job's folder: Patient/Patient-....ndjson */
    uint64_t count, bytes;
    sv sha256; /* hex */
};

struct export_plan {
    struct store_range *ranges;
    bool *done;
    size_t n;
};

/* manifest.json from the notes of all ranges, into out. *total: resources written.
 * ERR_INTERNAL when a range is missing or ranges leave a gap or overlap. */
MUST_USE err_code export_manifest(struct job_run *r, const struct export_plan *plan,
                                  struct sink *sink, struct buf *out, struct err *e);

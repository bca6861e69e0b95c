/* export.h - what the rooms of the export share: the plan, and what became of its ranges.
 *
 *   note plan           [{"type","from","to"}, ...]         written before any range runs
 *   note done/<range>   {"count", "objects":[{"name","count","bytes","sha256"}, ...]}
 *
 *   export.c        T, the plan, the manifest    export_plan.c      the ranges
 *   export_turns.c  workers take ranges          export_write.c     a range becomes objects
 *   export_sink.c   where it goes, and undoing   export_manifest.c  what is in it
 * Floor: job. */
#pragma once
#include "job/job_private.h"

struct export_object {
    fhir_type type;
    sv name; /* below the job's folder: Patient/Patient-....ndjson */
    uint64_t count, bytes;
    sv sha256; /* hex */
};

#define EXPORT_PLAN_MAX (256u << 20)
struct export_plan {
    struct store_range *ranges;
    bool *done;
    size_t n;
};

struct export
{
    struct job_run *run;
    uint64_t t;
    struct export_plan plan;
    struct sink *sink;
    size_t object_bytes;
    struct buf *blocks; /* EXPORT_LANES per worker */
    struct {
        pthread_mutex_t lock;
        size_t next_range; /* that nobody has taken */
        err_code rc;       /* first failure of a range */
        struct err err;
        struct job_progress progress;
    } shared;
};

/* ERR_NOT_FOUND: there is none yet. Owned by the arena; done is all false. */
MUST_USE err_code export_plan_read(struct job_run *r, struct arena *a, struct export_plan *plan,
                                   struct err *e);
MUST_USE err_code export_plan_make(struct job_run *r, size_t object_bytes, struct err *e);

struct export_tally { /* what a range came to */
    uint64_t resources, bytes;
    unsigned objects;
};
/* Ranges that a worker writes in turn, block by block: their digests are computed side by side. */
#define EXPORT_LANES 2u
/* A range on its way into objects, then into its note. Can be done again from the start. */
struct export_range;
/* block: the lane's, borrowed until the range is freed. */
MUST_USE err_code export_range_open(struct export *x, size_t range, struct buf *block,
                                    struct export_range **out, struct err *e);
void export_range_free(struct export_range *g); /* what is not in its note yet is undone */
DEFINE_CLEANUP(struct export_range, export_range_free)
/* Lines into the block. ERR_CANCELLED when the job is to stop. */
MUST_USE err_code export_range_fill(struct export_range *g, struct err *e);
/* Of two filled ranges, before they are flushed. */
void export_ranges_digest(struct export_range *g, struct export_range *h);
/* The block to the sink. ERR_EOF: the range is in, *out says what it came to. */
MUST_USE err_code export_range_flush(struct export_range *g, struct export_tally *out,
                                     struct err *e);

/* All ranges that are not done, by the pool's workers. */
MUST_USE err_code export_ranges_run(struct export *x, struct err *e);

MUST_USE err_code export_sink_open(struct job_run *r, struct sink **out, struct err *e);

/* manifest.json from the notes of all ranges, into out. *total: resources written.
 * ERR_INTERNAL when a range is missing or ranges leave a gap or overlap. */
MUST_USE err_code export_manifest(struct job_run *r, const struct export_plan *plan,
                                  struct sink *sink, struct buf *out, struct err *e);

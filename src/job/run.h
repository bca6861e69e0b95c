/* run.h - what a kind of job is, and what its running job may call.
 *
 * The engine knows the kinds (export/, import/) through one table of operations each, which the
 * server gives to it. A kind knows the engine through struct job_run and the calls below. Whoever
 * only wants jobs done includes job/job.h.   Floor: job. */
#pragma once
#include "job/job.h"
#include "store/lease.h"

#include <pthread.h>
#include <stdatomic.h>

struct job_run;

/* ---- a kind of job ---- */
struct job_kind_ops {
    /* Runs to the end or to a stop. On ERR_OK *status is COMPLETED or COMPLETED_WITH_ERRORS. Any
     * error but ERR_CANCELLED makes the job FAILED with the error's message. It is called again
     * after a restart and must take up where it was. message: what Describe shows; may stay
     * empty. Of a FAILED job it stands behind the error's. */
    err_code (*run)(struct job_run *r, job_status *status, struct buf *message, struct err *e);
    /* Remove what a cancelled or failed run wrote. NULL: that stays, and a job that has come to its
     * end can be cancelled no more. */
    err_code (*undo)(struct job_run *r, struct err *e);
    /* The last status is written: scratch in the data store goes. NULL: there is none. */
    void (*forget)(struct job_run *r);
    /* After that: what the data store had better do before others wait for it. NULL: nothing. */
    void (*settle)(struct job_run *r);
    /* Exports: what job_export_check() asks of parameters, which may be NULL. */
    err_code (*check)(const struct job_engine_config *cfg, sv datastore_id,
                      const struct job_export_params *p, struct err *e);
    /* Exports: what of a running job's manifest will not change any more, from its notes. */
    err_code (*manifest_so_far)(struct records *r, const struct job *j, struct buf *out,
                                struct err *e);
    /* The run was cancelled or has failed: when this returns, no other node works at the job any
     * more. It comes before undo, which may do it by itself. NULL: none does. */
    err_code (*part)(struct job_run *r, struct err *e);
    /* Another node runs the job: take a share of it, from its notes, until nothing is left to take.
     * An error is nobody's but this share's: who has the job decides what becomes of it. NULL: its
     * holder does all of it. */
    err_code (*help)(struct job_run *r, struct err *e);
};

/* ---- pool: fair shares of a fixed number of workers ---- */
struct job_pool;
struct job_tasks; /* one job's own queue in the pool */
typedef void (*job_task_fn)(void *ctx, unsigned worker);
MUST_USE err_code job_pool_start(unsigned n_workers, struct job_pool **out, struct err *e);
void job_pool_stop(struct job_pool *pool); /* after every job_tasks is closed */
unsigned job_pool_n_workers(const struct job_pool *pool);
/* A queue of at most max_waiting tasks; workers serve the open queues in turn, one task each. */
struct job_tasks *job_tasks_open(struct job_pool *pool, unsigned max_waiting);
/* Waits while max_waiting tasks wait. */
void job_tasks_add(struct job_tasks *tasks, job_task_fn fn, void *ctx);
/* Does another queue have a task that waits for a worker? A long task asks, and ends early if
 * so. */
bool job_tasks_contended(struct job_tasks *q);
void job_tasks_wait(struct job_tasks *tasks);  /* until all added have returned */
void job_tasks_close(struct job_tasks *tasks); /* waits, then frees */

/* ---- one running job ---- */
struct job_kept;
struct job_files; /* job/served/place.h */
struct import_bounds;
struct job_run {
    struct job_engine *engine;
    const struct job *job;    /* as of the start of this run; borrowed */
    struct store *store;      /* held by the engine while the run lasts */
    struct sink_world *world; /* where the job writes: of a served export our own */
    struct job_files *place;  /* of a served export: where in it */
    struct job_pool *pool;
    const struct job_engine_config *cfg; /* the engine's */
    const char *spool_dir; /* this job's own folder, made by the engine, removed when it ends */
    size_t export_object_bytes, import_chunk_bytes;
    struct job_kept *kept; /* of a served export; NULL: its files are not ours to keep */
    const struct import_bounds *import_bounds; /* NULL: the default; tests give others */
    bool forgotten;           /* erasure: job_run_erase_forget() was done for it by this process */
    const atomic_bool *halt;  /* leave between blocks with ERR_CANCELLED; the engine knows why */
    const atomic_bool *leave; /* the process is to end, and nothing is awaited; NULL: nobody says */
    /* Where several nodes have the records: what this run writes there is written while it holds
     * this; borrowed. NULL: this process is alone */
    struct lease *lease;
    /* The same: of ranges of the job, which several nodes take. lost: one is; may be NULL */
    struct leases *leases;
    lease_lost_fn range_lost;
    void *range_lost_ctx;
    bool guest; /* another node has the job: notes of ranges are all that this run may write */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t halted;        /* *halt was set, or there is news; see job_run_wake() */
        uint64_t news, news_seen;     /* see job_run_await() */
        struct job_progress progress; /* what job_get shows, where this process is alone */
        struct job_progress told;     /* to the other nodes; it does not go back */
    } live;
};
void job_run_init(struct job_run *run); /* live alone; the rest is the caller's */
void job_run_done(struct job_run *run);
static inline bool job_run_should_stop(const struct job_run *run)
{
    return atomic_load_explicit(run->halt, memory_order_relaxed) ||
           (run->lease && !lease_is_held(run->lease));
}
/* Whoever has set *halt ends the run's pauses by this. */
void job_run_wake(struct job_run *run);
/* Waits so long, or until the run is to stop. For what tells nobody when it is over: a peer that is
 * to be asked again, a compaction. */
void job_run_pause(struct job_run *run, unsigned ms);

/* ---- a job that several nodes work at (nodes/share.c); its run has leases ----
 * A door is a note of the holder's run: while it is there as it was when a node came in, the node
 * may take ranges. A range is taken by a lease, and noted as done under that. */
#define JOB_DOOR_MAX 128u
/* By the holder. Whoever came in by another door takes nothing more. empty: nobody comes in. */
MUST_USE err_code job_run_door_open(struct job_run *run, sv door, struct err *e);
/* ERR_NOT_FOUND: there is none. */
MUST_USE err_code job_run_door_read(struct job_run *run, struct buf *out, struct err *e);
/* When it returns, no range is in anybody's hands, nor will be. Takes as long as a lease, when a
 * node has died; a job that is being stopped does not end it. ERR_CANCELLED: the job's lease is
 * lost. */
MUST_USE err_code job_run_door_close(struct job_run *run, struct err *e);
/* The first of n <= LEASE_MOST ranges that nobody has. ERR_EOF: there is none. ERR_EXISTS: it was
 * done meanwhile. ERR_CANCELLED: the door is not this one any more, or the job is not under way.
 *   out    released by lease_release()
 *   which  its place among ranges */
MUST_USE err_code job_run_range_take(struct job_run *run, sv door, const size_t *ranges, size_t n,
                                     struct lease **out, size_t *which, struct err *e);
/* Is the job cancelled or failed, or about to be? Then who ended it may have looked already for
 * what is to be taken away. False, too, when that cannot be asked. */
bool job_run_is_given_up(struct job_run *run);
/* Its note done/<range>, on disk. ERR_CONFLICT: the lease is lost, and nothing was written. */
MUST_USE err_code job_run_range_done(struct job_run *run, struct lease *lease, size_t range,
                                     sv value, struct err *e);
/* A note that belongs to it, on disk with the next that is. Errors as above. */
MUST_USE err_code job_run_range_note(struct job_run *run, struct lease *lease, sv name, sv value,
                                     struct err *e);
/* Notes done/<range> from that range on. */
MUST_USE err_code job_run_ranges_scan(struct job_run *run, size_t from, records_each_fn each,
                                      void *ctx, struct err *e);
/* No other job of its data store and kind is under way on any node. One that is to be cancelled is
 * run for that while it waits behind others. Of a run that has the job. */
bool job_run_is_first(struct job_run *run);
void job_run_tell(struct job_run *run); /* to the others: look */
/* To those who work at jobs that several nodes work at: there is something to take, or was done. */
void job_run_tell_share(struct job_run *run);
/* Waits so long, or until others have told something since the last time, or the run is to stop. */
void job_run_await(struct job_run *run, unsigned ms);

/* Into live.progress, under its lock. */
void job_run_progress_set(struct job_run *run, const struct job_progress *p);

/* Persistent scratch of a job in the records, below the job's own key: plan, finished ranges, ...
 * Dropped when the job ends. `name` is made of [a-z0-9/]. An unsynced one is on disk with the next
 * that is synced. */
MUST_USE err_code job_run_note_put(struct job_run *run, sv name, sv value, struct err *e);
MUST_USE err_code job_run_note_put_unsynced(struct job_run *run, sv name, sv value, struct err *e);
/* Several, all or none: their keys are names. */
MUST_USE err_code job_run_notes_write(struct job_run *run, const struct records_write *notes,
                                      size_t n, struct err *e);
MUST_USE err_code job_run_note_get(struct job_run *run, sv name, struct buf *out, struct err *e);
MUST_USE err_code job_run_note_scan(struct job_run *run, sv prefix, records_each_fn each, void *ctx,
                                    struct err *e);
/* Export's T, kept in the job record so that job_get shows it. */
MUST_USE err_code job_run_set_instant(struct job_run *run, uint64_t t, int64_t instant_ms,
                                      struct err *e);
/* manifest.json: put, it is on disk with the job's last writing. */
MUST_USE err_code job_run_manifest_put(struct job_run *run, sv manifest, struct err *e);
MUST_USE err_code job_run_manifest_delete(struct job_run *run, struct err *e);

/* What a finished export leaves to later ones of its data store. name: a digest, in hex, of what
 * was asked for. A put replaces, and of the data store's others the oldest go when they are too
 * many. On disk with the job's last writing. ERR_NOT_FOUND. */
MUST_USE err_code job_run_earlier_put(struct job_run *run, sv name, sv value, struct err *e);
MUST_USE err_code job_run_earlier_get(struct job_run *run, sv name, struct buf *out, struct err *e);
MUST_USE err_code job_run_earlier_delete(struct job_run *run, sv name, struct err *e);

/* Erasure: files of served exports of the data store go, what exports left to later ones, and what
 * exports that have ended asked for: patients, filters, the query of their URL. */
MUST_USE err_code job_run_copies_drop(struct job_run *run, struct err *e);
/* Erasure: the next one that waits behind this run, and behind *after when that is not 0, with
 * nothing but erasures of the data store in between. It waits until this run is over. Its place
 * goes to *after. *there: false when there is none; the job's strings are the arena's. */
MUST_USE err_code job_run_company(struct job_run *run, uint64_t *after, struct arena *a,
                                  struct job *out, bool *there, struct err *e);
/* job_run_set_instant() for one of these. It is IN_PROGRESS from then on. ERR_CANCELLED: it is to
 * be cancelled. */
MUST_USE err_code job_run_company_instant(struct job_run *run, const struct job *job, uint64_t t,
                                          int64_t instant_ms, struct err *e);
/* Erasure: what it was asked for, and what the company was, is in none of the files of the records
 * when this returns. Again is nothing.
 *   left  stands in the place of the text from then on, as job.erase; empty: nothing does
 *   ids   of the company */
MUST_USE err_code job_run_erase_forget(struct job_run *run, sv left, const sv *ids, size_t n,
                                       struct err *e);

#define JOB_FILE_BYTES 4096u /* that a file takes of a disk beside its bytes, or in their place */
/* ERR_NO_SPACE: so little of the data folder's disk is free that no job may write there. */
MUST_USE err_code job_run_disk_check(const struct job_run *run, struct err *e);
/* Is the place of served files still the one that all machines see? For each file that begins.
 * ERR_UNAVAILABLE: no; the run begins again when it is. */
MUST_USE err_code job_run_place_check(const struct job_run *run, struct err *e);
/* Of a run whose `kept` is not NULL: it has written so many bytes. ERR_TOO_LARGE: more than may be
 * kept; and as job_run_place_check() and job_run_disk_check(). */
MUST_USE err_code job_run_kept_grow(struct job_run *run, uint64_t bytes, struct err *e);

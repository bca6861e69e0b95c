/* job_private.h - what the rooms of the job module share.
 *
 *   engine.c   start, stop, queues, one runner thread per running job
 *   submit.c   how a job comes in
 *   record.c   job records <-> JSON, status moves (one table, one function)
 *   params.c   what an export asks for, as a record
 *   served.c   files of completed exports, and their retention
 *   kept.c     how much of them is kept, and for whom
 *   pool.c     worker threads shared by the running jobs, round robin
 *   export*.c  plan, run, finish of an export (export.h)
 *   import.c   chunks, parse, publish of an import  import_*.c
 * Floor: job. */
#pragma once
#include "job/job.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- pool: fair shares of a fixed number of workers ---- */
struct job_pool;
struct job_tasks; /* one job's own queue in the pool */
typedef void (*job_task_fn)(void *ctx, unsigned worker);
MUST_USE err_code job_pool_start(unsigned n_workers, struct job_pool **out, struct err *e);
void job_pool_stop(struct job_pool *p); /* after every job_tasks is closed */
unsigned job_pool_n_workers(const struct job_pool *p);
/* A queue of at most max_waiting tasks; workers serve the open queues in turn, one task each. */
struct job_tasks *job_tasks_open(struct job_pool *p, unsigned max_waiting);
/* Waits while max_waiting tasks wait. */
void job_tasks_add(struct job_tasks *q, job_task_fn fn, void *ctx);
/* Does another queue have a task that waits for a worker? A long task asks, and ends early if so. */
bool job_tasks_contended(struct job_tasks *q);
void job_tasks_wait(struct job_tasks *q);  /* until all added have returned */
void job_tasks_close(struct job_tasks *q); /* waits, then frees */

/* ---- one running job ---- */
struct import_bounds { /* of what an import writes about its lines; import_outcome.c */
    uint64_t file_failures, job_failures; /* lines */
    uint64_t file_bytes,
        job_bytes; /* of each kind, and `ratio` bytes for each of the input as it stands there */
    uint64_t ends_bytes; /* of last lines */
    unsigned ratio;
    uint64_t job_unpacked; /* plain bytes of all files */
};
extern const struct import_bounds import_bounds_default; /* base/limits.h */
struct job_run {
    struct job_engine *engine;
    const struct job *job;    /* as of the start of this run; borrowed */
    struct store *store;      /* held by the engine while the run lasts */
    struct sink_world *world; /* where the job writes: of a served export our own */
    struct job_pool *pool;
    const struct job_engine_config *cfg; /* the engine's */
    const char *spool_dir; /* this job's own folder, made by the engine, removed when it ends */
    size_t export_object_bytes, import_chunk_bytes;
    struct job_kept *kept; /* of a served export; NULL: its files are not ours to keep */
    const struct import_bounds *import_bounds; /* NULL: the default */
    const atomic_bool *halt; /* leave between blocks with ERR_CANCELLED; the engine knows why */
    struct {
        pthread_mutex_t lock;
        struct job_progress progress; /* what job_get shows */
    } live;
};
static inline bool job_run_should_stop(const struct job_run *r)
{
    return atomic_load_explicit(r->halt, memory_order_relaxed);
}
/* Copy into / out of live.progress under its lock. */
void job_run_progress_set(struct job_run *r, const struct job_progress *p);

/* Runs to the end or to a stop. On ERR_OK *status is COMPLETED or COMPLETED_WITH_ERRORS. Any error
 * but ERR_CANCELLED makes the job FAILED with the error's message. Both are called again after a
 * restart and must take up where they were.  message: what Describe shows (may stay empty). */
MUST_USE err_code export_run(struct job_run *r, job_status *status, struct buf *message,
                             struct err *e);
MUST_USE err_code import_run(struct job_run *r, job_status *status, struct buf *message,
                             struct err *e);
/* job_export_check() */
MUST_USE err_code export_check(const struct job_engine_config *cfg, sv datastore_id,
                               const struct job_export_params *p, struct err *e);
/* What of a running export's manifest will not change any more (export_partial.c). */
MUST_USE err_code export_partial_manifest(struct records *r, const struct job *j, struct buf *out,
                                          struct err *e);
/* Remove what a cancelled or failed export wrote. */
MUST_USE err_code export_undo(struct job_run *r, struct err *e);
/* Remove what an import keeps in the data store, once its final status is written down. */
void import_forget(struct job_run *r);

/* Persistent scratch of a job in the records, below the job's own key: plan, finished ranges, ...
 * Dropped when the job ends. `name` is made of [a-z0-9/]. An unsynced one is on disk with the next that is synced. */
MUST_USE err_code job_run_note_put(struct job_run *r, sv name, sv value, struct err *e);
MUST_USE err_code job_run_note_put_unsynced(struct job_run *r, sv name, sv value, struct err *e);
MUST_USE err_code job_run_note_get(struct job_run *r, sv name, struct buf *out, struct err *e);
MUST_USE err_code job_run_note_scan(struct job_run *r, sv prefix, records_each_fn each, void *ctx,
                                    struct err *e);
/* Export's T, kept in the job record so that job_get shows it. */
MUST_USE err_code job_run_set_instant(struct job_run *r, uint64_t t, int64_t instant_ms,
                                      struct err *e);

/* ---- records (record.c) ---- */
struct job_record {
    struct job job;
    uint64_t order;  /* place in time: unique, growing */
    sv digest;       /* of the request, hex: what a client token stands for */
    uint64_t served; /* job.served, job.discarded as they are written down */
    int64_t files_removed_ms;
};
/* May a job go from one status to another? The table of job.h's diagram. */
bool job_status_may(job_status from, job_status to);
const char *job_kind_name(job_kind k); /* "export", "import" */

MUST_USE err_code job_record_read(struct records *r, job_kind kind, sv datastore_id, sv id,
                                  struct arena *a, struct job_record *out, struct err *e);
/* First writing: record, list entry, active entry and token in one batch. ERR_EXISTS: the token is taken. */
MUST_USE err_code job_record_create(struct records *r, const struct job_record *rec,
                                    sv client_token, struct err *e);
/* What is not synced is on disk with the next write that is (store/records.h). */
MUST_USE err_code job_record_update(struct records *r, const struct job_record *rec, bool synced,
                                    struct err *e);
/* The last writing of a job: its active entry and its notes go. */
MUST_USE err_code job_record_finish(struct records *r, const struct job_record *rec, struct err *e);
/* Whom a token stands for. ERR_NOT_FOUND. */
MUST_USE err_code job_token_read(struct records *r, const struct job_request *req, struct arena *a,
                                 sv *datastore_id, sv *job_id, sv *digest, struct err *e);
/* A data store is gone, and all its jobs have ended: what they asked for goes (parameters, kick-off URL, manifest, client
 * token, digest of the request), which may name patients; the records stay, so that the jobs can be described. Repeating it
 * is harmless. *any: it had jobs. The bytes are on disk until records_scrub(). */
MUST_USE err_code job_records_forget(struct records *r, sv datastore_id, bool *any, struct err *e);
/* Unfinished jobs, oldest first. */
typedef void (*job_active_fn)(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order);
MUST_USE err_code job_records_active(struct records *r, job_active_fn each, void *ctx,
                                     struct err *e);
/* As job_list(), without live progress. */
MUST_USE err_code job_record_list(struct records *r, job_kind kind, const struct job_filter *filter,
                                  sv after, unsigned max, struct arena *a, struct job **out,
                                  size_t *n_out, sv *next, struct err *e);
/* ---- parameters of an export (params.c) ---- */
MUST_USE err_code job_params_write(const struct job_export_params *p, struct buf *out,
                                   struct err *e);
MUST_USE err_code job_params_read(sv text, struct arena *a, const struct job_export_params **out,
                                  struct err *e);
/* NULL when the job has none. */
MUST_USE err_code job_params_load(struct records *r, sv job_id, struct arena *a,
                                  const struct job_export_params **out, struct err *e);

/* ---- how much of served exports is kept (kept.c) ---- */
#define JOB_FILE_BYTES 4096u /* that a file takes of a disk beside its bytes, or in their place */
struct job_kept;
struct job_kept *job_kept_new(const struct job_served_limits *limits);
void job_kept_free(struct job_kept *k);
/* A place for a new job. ERR_THROTTLED: there is none; *wait_s: seconds until there may be. */
MUST_USE err_code job_kept_enter(struct job_kept *k, const struct job *j, unsigned *wait_s,
                                 struct err *e);
void job_kept_load(struct job_kept *k, const struct job *j); /* at the start: it has its place */
/* It has written so many bytes. ERR_TOO_LARGE: more than may be kept. */
MUST_USE err_code job_kept_grow(struct job_kept *k, sv id, uint64_t bytes, struct err *e);
void job_kept_end(struct job_kept *k, sv id, int64_t expires_ms);
void job_kept_leave(struct job_kept *k, sv id); /* its files are nobody's any more */
/* ERR_NO_SPACE: so little of the data folder's disk is free that no job may write there. */
MUST_USE err_code job_disk_check(const struct job_engine_config *cfg, struct err *e);

/* ---- files of completed exports (served.c) ---- */
struct job_served;
/* Write down that a job's files are gone. */
typedef err_code (*job_removed_fn)(void *ctx, sv datastore_id, sv id, struct err *e);
typedef bool (*job_active_check_fn)(void *ctx, sv id);
/* Remove scratch that a crash between a job's last status and its removal left. */
MUST_USE err_code job_spool_sweep(const char *dir, job_active_check_fn active, void *ctx,
                                  struct err *e);
MUST_USE err_code job_served_start(struct records *records, const char *dir, job_removed_fn removed,
                                   job_active_check_fn active, void *ctx, struct job_served **out,
                                   struct err *e);
void job_served_stop(struct job_served *s);
struct sink_world *job_served_world(struct job_served *s);
/* A job has completed: its files go at that time. */
void job_served_expect(struct job_served *s, int64_t expire_ms);
/* All of a data store, at once. */
MUST_USE err_code job_served_drop(struct job_served *s, sv datastore_id, struct err *e);
sv job_expiry_key(struct arena *a, int64_t expire_ms, sv id);
/* On disk with the job's last writing. */
MUST_USE err_code job_manifest_put(struct records *r, sv id, sv manifest, struct err *e);
MUST_USE err_code job_manifest_delete(struct records *r, sv id, struct err *e);
/* NULL: the engine keeps no files. *records: the engine's. */
struct job_served *job_engine_served(struct job_engine *en, struct records **records);

/* What Describe may show: characters outside the model's pattern become spaces, several become one; at most 2048 bytes. */
sv job_message_clean(struct arena *a, sv text);

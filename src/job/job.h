/* job.h - the job engine: exports and imports that survive the process.
 *
 * One record per job in the system's records: request, status, plan, progress, times, message. It
 * is written down before work acts on it, so a restart resumes and never guesses. Per data store
 * and kind one job runs and up to LIMIT_JOBS_QUEUED wait, first in first out; jobs of different
 * data stores and kinds run side by side and share one pool of workers, each job in turn. An
 * erasure is alone in its data store: it waits for all jobs that came before it, and those that
 * come behind it wait for it.
 *
 * Several processes may have the records. Then these rules hold over all of them: a job is run by
 * whoever has its lease, and by another one when that ends (nodes/).
 *
 *   SUBMITTED -> QUEUED -> IN_PROGRESS -> COMPLETED | COMPLETED_WITH_ERRORS | FAILED
 *   SUBMITTED | QUEUED | IN_PROGRESS -> CANCEL_SUBMITTED -> CANCEL_IN_PROGRESS
 *                                     -> CANCEL_COMPLETED | CANCEL_FAILED
 * (SUBMITTED may go straight to IN_PROGRESS; every live status may go to FAILED.)
 *
 * Source: Amazon HealthLake service model (JobStatus, ExportJobProperties, ImportJobProperties).
 * Floor: job. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "event/event.h"
#include "sink/sink.h"
#include "store/records.h"
#include "store/registry.h"

typedef enum { JOB_EXPORT, JOB_IMPORT, JOB_ERASE } job_kind;
#define JOB_N_KINDS 3

typedef enum {
    JOB_SUBMITTED,
    JOB_QUEUED,
    JOB_IN_PROGRESS,
    JOB_COMPLETED,
    JOB_COMPLETED_WITH_ERRORS,
    JOB_FAILED,
    JOB_CANCEL_SUBMITTED,
    JOB_CANCEL_IN_PROGRESS,
    JOB_CANCEL_COMPLETED,
    JOB_CANCEL_FAILED,
} job_status;
#define JOB_N_STATUSES 10
const char *job_status_name(job_status s); /* "IN_PROGRESS": AWS's and the record's name */
MUST_USE bool job_status_parse(sv name, job_status *out);
bool job_status_is_final(job_status s);

/* What a FHIR $export asks for beyond the whole store; all zero is the whole store. The service has
 * checked every member: types are resource types, ids are legal, filters can be parsed.
 * Source: FHIR Bulk Data Access, "Query Parameters"; HealthLake, "Exporting data with the FHIR REST
 * API". */
typedef enum { JOB_EXPORT_SYSTEM, JOB_EXPORT_PATIENT, JOB_EXPORT_GROUP } job_export_level;
/* includeAssociatedData; 0: all Provenance of what is exported, as any other type */
typedef enum {
    JOB_ASSOCIATED_LATEST_PROVENANCE = 1,
    JOB_ASSOCIATED_RELEVANT_PROVENANCE = 2,
} job_export_associated;
struct job_texts {
    const sv *items;
    size_t n;
};
struct job_export_params {
    job_export_level level;
    sv group_id;            /* JOB_EXPORT_GROUP */
    struct job_texts types; /* resource types; none: all that the level offers */
    int64_t since_ms;       /* meta.lastUpdated later than this; 0: no bound */
    /* meta.lastUpdated not later than this; 0: no bound but the export's instant */
    int64_t until_ms;
    /* "Observation?status=final", decoded; of one type: any is enough */
    struct job_texts type_filters;
    struct job_texts elements; /* "Patient.name" or "name" */
    struct job_texts patients; /* ids; none: all of the level */
    /* "system|code": all must be there; "system|": any code of it */
    struct job_texts security, tag;
    unsigned associated;                     /* job_export_associated, or-ed */
    bool organize_by_patient;                /* organizeOutputBy=Patient */
    bool partial_manifests;                  /* allowPartialManifests */
    uint64_t min_file_bytes, max_file_bytes; /* 0: our own size */
    bool served;    /* files stay with us and are served over HTTP: no role, bucket or key */
    sv request_url; /* of the kick-off, for the manifest; empty: StartFHIRExportJob */
    /* served: each Attachment.url of ours is absolute below this [base]; empty: as stored */
    sv attachment_base;
    sv attachment_other; /* another [base] of ours, whose URLs come below that one; may be empty */
    /* what handling=lenient passed over: goes into the manifest's error files */
    struct job_texts notes;
    /* SMART scopes that limit what comes (auth/smart.h); none: nothing does */
    struct job_texts scopes;
    /* with scopes: whose token it was, and the only one who may ask for the job */
    sv grantee;
};

/* What a caller asks for. Strings are borrowed for the call. Shapes were checked by the service. */
struct job_request {
    job_kind kind;
    sv datastore_id;
    sv datastore_arn;
    sv account_id;
    sv job_name;     /* may be empty */
    sv client_token; /* may be empty: no idempotency */
    sv role_arn;
    sv output_uri; /* the caller's s3://bucket[/prefix] */
    sv kms_key_id;
    sv input_uri;        /* import only */
    sv validation_level; /* import only: "strict", "structure-only", "minimal"; empty: strict */
    const struct job_export_params *params; /* export only; NULL: the whole store */
    sv caller; /* of a served export: for whom its files are kept; may be empty */
    sv erase;  /* erasure only: what is asked for (erase/erase.h); job_name says how it is called */
    /* out: seconds until a refusal for want of room may be over, 0 for any other; or NULL */
    unsigned *wait_s;
};

/* JobProgressReport of an import; for an export n_resources/bytes done and to do. */
struct job_progress {
    uint64_t files_scanned, files_imported, files_unreadable;
    uint64_t bytes_scanned;  /* size of the input objects */
    uint64_t bytes_imported; /* plain NDJSON bytes of imported resources */
    uint64_t resources_scanned, resources_imported;
    uint64_t resources_customer_error, resources_server_error;
    uint64_t resources_with_issues; /* of those imported: minimal validation found something */
    uint64_t resources_exported, bytes_exported, objects_exported;
    uint64_t resources_erased, versions_erased; /* erasure: erase/erase.h says what counts */
    uint64_t ranges_total, ranges_done;
    double throughput; /* resources per second since IN_PROGRESS */
    /* export, of the whole job: an estimate that grows exact; 0: not known yet */
    uint64_t resources_expected, bytes_expected;
    uint64_t seconds_left; /* export: an estimate; 0: not known, or none */
};

struct job { /* a copy of a record; strings owned by the arena it was read into */
    job_kind kind;
    sv id; /* 32 hex */
    sv datastore_id, datastore_arn, account_id;
    sv job_name;
    sv role_arn;
    sv output_uri;     /* the caller's */
    sv job_folder_uri; /* s3://bucket/prefix/<datastoreId>-FHIR_EXPORT-<jobId>/ as Describe shows */
    sv kms_key_id, input_uri, validation_level;
    job_status status;
    int64_t submit_ms, start_ms, end_ms; /* 0: not yet */
    uint64_t as_of_t;                    /* export: T; 0 before the plan */
    int64_t transaction_ms;              /* export: instant of T */
    struct job_progress progress;
    /* an export started with params */
    bool served; /* its files stay with us: no role, bucket, key or folder */
    /* served: the files are gone, by job_discard() or because their time was over */
    bool discarded;
    int64_t expires_ms;                     /* served and ended: when the files go; 0 else */
    sv request_url;                         /* of the kick-off */
    sv caller;                              /* who did it */
    const struct job_export_params *params; /* NULL: none were given (and in job_list()) */
    /* erasure: what is asked for, until it has ended; in job_list() empty */
    sv erase;
    /* a running export: its progress in words; within the model's pattern: letters, digits, space
     * _.:/=+-%@ */
    sv message;
};

/* Served exports that wait, run or are kept, and the bytes of their files. 0: the defaults of
 * base/limits.h. */
struct job_served_limits {
    unsigned per_store, per_caller;
    /* of a data store: so many times its largest export, or small_bytes if that is more */
    unsigned copies;
    uint64_t small_bytes, store_bytes, caller_bytes;
};
struct job_engine;
struct job_kind_ops; /* job/run.h */
struct job_end {     /* texts borrowed for the call */
    job_kind kind;
    sv datastore_id, id;
    job_status status;
};
struct job_engine_config {
    /* by job_kind: export/export.h, import/import.h and erase/erase.h have them. The first two are
     * given; without the third no erasure is taken */
    const struct job_kind_ops *kinds[JOB_N_KINDS];
    struct records *records;       /* borrowed */
    struct store_registry *stores; /* borrowed */
    struct sink_world *world;      /* borrowed */
    const char *spool_dir;         /* scratch that survives a restart: DATA/jobs */
    /* Another machine may go on with a job: what a run needs of the one before is in the records.
     * It is so, too, when records_shared(); alone for tests. */
    bool many_machines;
    unsigned n_workers;
    unsigned max_queued;        /* 0: LIMIT_JOBS_QUEUED */
    size_t export_object_bytes; /* 0: LIMIT_EXPORT_OBJECT_BYTES */
    size_t import_chunk_bytes;  /* 0: LIMIT_IMPORT_CHUNK_BYTES */
    bool no_reuse;              /* exports write every object, also what an earlier one wrote */
    /* where files of served exports are: a directory, DATA/exports; */
    const char *served_dir;
    /* or s3://bucket[/prefix] in that world, which is borrowed. Both NULL: none are taken */
    const char *served_uri;
    struct sink_world *served_world;
    /* number of the database whose machines all see that place; NULL: it is this machine's alone */
    const char *served_owner;
    /* is this the only machine? It is asked before an export is served from a place of this machine
     * alone; NULL: it is */
    bool (*is_alone)(void *ctx);
    void *is_alone_ctx;
    int64_t served_ms; /* how long they stay after completion; 0: LIMIT_SERVED_HOURS */
    struct job_served_limits served_limits;
    /* jobs leave so much of the disk free; 0: LIMIT_FREE_DISK_BYTES, or less on a small one */
    uint64_t min_free_bytes;
    struct events *events; /* who is told of each job's statuses; NULL: nobody */
    /* A job has ended, and its record says so; NULL: nobody wants to know. From any thread; must be
     * short. */
    void (*ended)(void *ctx, const struct job_end *end);
    void *ended_ctx;
    /* Records that several nodes share: how long a lease lasts, and how often each looks. 0:
     * LEASE_MS, a second; tests give less. */
    unsigned lease_ms, look_ms;
};
/* Starts the workers and takes up every unfinished job in the background. */
MUST_USE err_code job_engine_start(const struct job_engine_config *cfg, struct job_engine **out,
                                   struct err *e);
/* It takes no more jobs, and whoever waits for a peer in one of its calls is answered: for a server
 * that is about to end. Jobs go on. NULL is allowed. */
void job_engine_close(struct job_engine *engine);
/* Stops work between blocks and leaves unfinished jobs to the next start (their status stays). */
void job_engine_stop(struct job_engine *engine);

/* A data store is to be converted (store/convert.h), and no engine runs. Exports under way in it
 * that have finished nothing lose their plans, and make them anew when they go on. ERR_CONFLICT of
 * the check: one has finished a part; the message names it. */
MUST_USE err_code job_plans_check(struct records *records, sv datastore_id, struct err *e);
MUST_USE err_code job_plans_drop(struct records *records, sv datastore_id, struct err *e);

/* Every job that has not ended ends FAILED, and no engine runs: the data folder is another one's
 * copy. */
MUST_USE err_code job_end_all(struct records *records, const char *message, struct err *e);

/* Check role, target (probe write) and input (probe read) and write the record down; the job's id
 * and status SUBMITTED in *out. May wait for a peer: call it on a worker thread, not a server
 * thread. A client_token seen before with the same request answers with that job, with another
 * request ERR_INVALID. ERR_DENIED, ERR_NOT_FOUND (bucket, input: the message says which),
 * ERR_INVALID, ERR_THROTTLED (queue full, or too much of served exports is kept),
 * ERR_PEER, ERR_TIMEOUT: then no job exists. */
MUST_USE err_code job_submit(struct job_engine *engine, const struct job_request *req,
                             struct arena *a, struct job *out, struct err *e);
/* What job_submit() checks of an export's parameters against the data store as it is now, and
 * nothing of the target: types are offered at the level, the Group and the patients are there,
 * filters can be parsed, nothing contradicts. The message says which. ERR_INVALID, ERR_NOT_FOUND
 * (Group, patient), ERR_UNSUPPORTED (known and not offered), ERR_TOO_LARGE. params may be NULL. */
MUST_USE err_code job_export_check(struct job_engine *engine, sv datastore_id,
                                   const struct job_export_params *params, struct err *e);
/* May a type be exported at a level? All at JOB_EXPORT_SYSTEM; else Patient and what its
 * compartment holds, Provenance, and at JOB_EXPORT_GROUP Group. */
bool job_export_offers(job_export_level level, fhir_type type);

/* ERR_NOT_FOUND. Live progress included. */
MUST_USE err_code job_get(struct job_engine *engine, job_kind kind, sv datastore_id, sv job_id,
                          struct arena *a, struct job *out, struct err *e);

/* An export's progress in words, within the pattern of job.message, under 100 bytes: "41% - 120000
 * resources
 * - 180.5 MB - 35000/s - about 12 s left". Owned by the arena. */
sv job_progress_text(const struct job *job, struct arena *a);

struct job_filter {
    sv datastore_id;
    sv name; /* empty: any */
    bool has_status;
    job_status status;
    int64_t submitted_after_ms;  /* 0: any; else submit_ms > */
    int64_t submitted_before_ms; /* 0: any; else submit_ms < */
};
/* Jobs newest first. after: opaque position that the previous page gave; empty for the first page.
 * *next is empty at the end. Jobs and strings owned by the arena. */
MUST_USE err_code job_list(struct job_engine *engine, job_kind kind,
                           const struct job_filter *filter, sv after, unsigned max, struct arena *a,
                           struct job **out, size_t *n_out, sv *next, struct err *e);
/* Move to CANCEL_SUBMITTED; returns at once. ERR_NOT_FOUND; ERR_CONFLICT when it has ended. */
MUST_USE err_code job_cancel(struct job_engine *engine, job_kind kind, sv datastore_id, sv job_id,
                             struct err *e);
/* The data store goes away: its waiting and running jobs end FAILED with that message; returns when
 * none holds the store any more. New submits for it must be refused by the caller before. */
MUST_USE err_code job_datastore_drop(struct job_engine *engine, sv datastore_id, struct err *e);
/* The data store is gone (store_registry_remove() has returned): what its jobs asked for, which may
 * name patients, and the files that were served are forgotten, and are in none of the files of the
 * records when this returns. The jobs stay describable. Repeating it is harmless. */
MUST_USE err_code job_datastore_forget(struct job_engine *engine, sv datastore_id, struct err *e);

/* What jobs of a kind come to, for a monitor. */
struct job_counts {
    /* of those that have not ended: waiting, running, being cancelled */
    unsigned n_waiting, n_running, n_cancelling;
    uint64_t ended[JOB_N_STATUSES]; /* by their last status, since the engine was started */
    /* What the progress of jobs tells of resources that were exported, imported or erased, and of
     * bytes, since the engine was started. A job that a restart has taken up counts from its
     * begin. */
    uint64_t resources, bytes;
};
void job_engine_count(struct job_engine *engine, job_kind kind, struct job_counts *out);

/* ---- files of a served export, and every export's manifest ---- */
/* The manifest as JSON, appended: manifest.json of a COMPLETED export; with *complete false, of a
 * running one that was started with partial_manifests, what is final so far: transactionTime, and
 * output, which only ever grows at its end. In a served one `url` is the file's name (type folder
 * and all): the service makes it a URL. ERR_NOT_FOUND: no such job; ERR_CONFLICT: it has no
 * manifest (yet); ERR_GONE: discarded; what the sink says otherwise. May wait for a peer unless
 * served. */
MUST_USE err_code job_export_manifest(struct job_engine *engine, sv datastore_id, sv job_id,
                                      struct buf *out, bool *complete, struct err *e);
struct job_export_file {
    int fd; /* open for reading, the caller's to close; of a file that never changes */
    uint64_t bytes;
    int64_t written_ms;
    sv sha256;             /* hex, owned by the arena; empty when not known */
    struct cipher *cipher; /* the caller's to free; NULL: the file is plain */
};
/* The bytes of a file that are needed, told of its size and digest; len 0: none. */
struct job_export_part {
    uint64_t first, len;
};
struct job_export_want {
    struct job_export_part (*part)(void *ctx, const struct job_export_file *file); /* NULL: all */
    void *ctx;
};
/* A file that the manifest of a served export names. Of one that is not on a disk of this machine
 * no more may be there than want's part: the descriptor has a hole for the rest. ring: the data
 * store's; NULL: it is not encrypted. ERR_NOT_FOUND: no such job, or no such file in its manifest;
 * ERR_GONE: discarded; ERR_UNAVAILABLE: the place of files cannot be reached. */
MUST_USE err_code job_export_file_open(struct job_engine *engine, sv datastore_id, sv job_id,
                                       sv name, const struct cipher_ring *ring,
                                       const struct job_export_want *want, struct arena *a,
                                       struct job_export_file *out, struct err *e);
/* From now on nobody is given a file of this served export, which has ended. They are removed in
 * the background; those being downloaded stay readable until closed. Again is success.
 * ERR_NOT_FOUND; ERR_CONFLICT: it still runs, or is not served. */
MUST_USE err_code job_discard(struct job_engine *engine, sv datastore_id, sv job_id, struct err *e);

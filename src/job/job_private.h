/* job_private.h - what the rooms of the job module share.
 *
 *   engine.c     start and stop, questions, cancel, drop
 *   submit.c     how a job comes in                      client_token.c  client tokens
 *   run.c        whose turn it is, a job's thread, and what it may call
 *   away/away.c  what a job does while its database is away
 *   record.c     job records <-> JSON, changes, lists    keys.c       where they are in the records
 *   status.c     kinds, statuses, legal moves            message.c    what Describe shows in words
 *   export_params.c  what an export asks for             manifest.c   manifests and served files
 *   kept.c       how much of served exports is kept      retention.c  how long
 *   pool.c       workers shared by all jobs              forget.c     when a data store is gone
 *   earlier.c    what exports leave to later ones        served/      where served files are
 *   replan.c     exports under way in a data store that is converted
 *   counts.c     what jobs come to, for a monitor           told.c       events of jobs
 *   nodes/     jobs of several processes:
 *     list.c   the list of unfinished jobs              look.c   made to say what the records do
 *     hold.c   a job's lease, and whether it may begin  under.c  what is written under it
 *     queue.c  one order of all that come in            live.c   progress, as others see it
 *     watch.c  a thread that does all that              calls.c  what a running job may call
 *     share.c  ranges of a job that several nodes take  guest.c  nodes that take of others' jobs
 * Floor: job. */
#pragma once
#include "job/run.h"
#include "job/served/place.h"

/* ---- status.c ---- */
/* May a job go from one status to another? The table of job.h's diagram. */
bool job_status_may(job_status from, job_status to);
const char *job_kind_name(job_kind k); /* "export", "import", "erase" */
job_kind job_kind_parse(sv name);      /* of a name that is none: JOB_EXPORT */

/* ---- message.c ---- */
/* What Describe may show: characters outside the model's pattern become spaces, several become one;
 * at most 2048 bytes. */
sv job_message_clean(struct arena *a, sv text);

/* ---- records (record.c) ---- */
#define JOB_RECORD_MAX (1u << 20)
struct job_record {
    struct job job;
    uint64_t order;  /* place in time: unique, growing */
    sv digest;       /* of the request, hex: what a client token stands for */
    uint64_t served; /* job.served, job.discarded as they are written down */
    int64_t files_removed_ms;
    const struct records_write *told; /* goes with the next writing; NULL: nothing */
    /* Of the next writing: the record has this text still; empty: whatever it has. Under this
     * lease; NULL: none. */
    sv former;
    struct lease *under;
};
MUST_USE err_code job_record_format(const struct job_record *rec, struct buf *out, struct err *e);
/* ERR_CORRUPT. Owned by the arena. */
MUST_USE err_code job_record_parse(sv text, struct arena *a, struct job_record *out, struct err *e);
MUST_USE err_code job_record_read(struct records *r, job_kind kind, sv datastore_id, sv id,
                                  struct arena *a, struct job_record *out, struct err *e);
/* First writing: record, list entry, active entry and token in one batch, with n more writes, at
 * most JOB_CREATE_MORE. ERR_EXISTS: the token is taken. ERR_PRECONDITION: of one of these. */
#define JOB_CREATE_MORE 2u
MUST_USE err_code job_record_create(struct records *r, const struct job_record *rec,
                                    sv client_token, const struct records_write *more, size_t n,
                                    struct err *e);
/* What is not synced is on disk with the next write that is (store/records.h). */
MUST_USE err_code job_record_update(struct records *r, const struct job_record *rec, bool synced,
                                    struct err *e);
/* The last writing of a job: its active entry and its notes go. */
MUST_USE err_code job_record_finish(struct records *r, const struct job_record *rec, struct err *e);
/* Notes of a run: they are of no more use. */
MUST_USE err_code job_notes_delete(struct records *r, sv id, struct err *e);
/* Unfinished jobs, oldest first. */
typedef void (*job_active_fn)(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order);
MUST_USE err_code job_records_active(struct records *r, job_active_fn each, void *ctx,
                                     struct err *e);
/* As job_list(), without live progress. */
MUST_USE err_code job_record_list(struct records *r, job_kind kind, const struct job_filter *filter,
                                  sv after, unsigned max, struct arena *a, struct job **out,
                                  size_t *n_out, sv *next, struct err *e);

/* ---- events of jobs (told.c) ---- */
/* The event of the record's status, as of now, goes with the next writing of the record; owned by
 * the arena. Nothing, when nobody is to be told, or not of this status. */
MUST_USE err_code job_told(struct events *events, struct job_record *rec, struct arena *a,
                           struct err *e);
/* That writing is done. */
void job_told_written(struct events *events, struct job_record *rec);

/* ---- where they are (keys.c); owned by the arena ---- */
#define JOB_ID_LEN      32u
#define JOB_KEYS_ACTIVE "jobactive/" /* prefixes */
#define JOB_KEYS_EXPIRY "jobexpiry/"
#define JOB_KEYS_TOKEN  "jobtoken/"
#define JOB_KEYS_DROP   "jobdrop/"
#define JOB_KEY_ORDER   "joborder"
sv job_key_record(struct arena *a, job_kind kind, sv datastore_id, sv id);
sv job_key_records(struct arena *a, sv datastore_id);             /* prefix: of all kinds */
sv job_key_list(struct arena *a, job_kind kind, sv datastore_id); /* prefix */
sv job_key_listed(struct arena *a, const struct job_record *record);
sv job_key_active(struct arena *a, uint64_t order);
sv job_key_note(struct arena *a, sv id, sv name); /* name empty: the prefix of all */
sv job_key_params(struct arena *a, sv id);
sv job_key_expiry(struct arena *a, int64_t expire_ms, sv id);
sv job_key_manifest(struct arena *a, sv id);
sv job_key_drop(struct arena *a, sv datastore_id);
sv job_key_earlier(struct arena *a, sv datastore_id, sv name); /* name empty: the prefix of all */
sv job_key_token(struct arena *a, job_kind kind, sv account_id, sv token);
/* As older versions wrote it, before tokens were hashed; or of a token's hash. */
sv job_key_token_plain(struct arena *a, job_kind kind, sv account_id, sv token);
uint64_t job_key_number(sv hex); /* as the keys have it: lower case */

#define JOB_KEYS_MAX 256u
struct job_keys { /* some keys of a scan */
    struct arena *a;
    sv keys[JOB_KEYS_MAX];
    size_t n;
};
bool job_keys_add(void *ctx, sv key, sv value); /* records_each_fn; ends when it is full */
void job_keys_delete(const struct job_keys *l, struct records_write del[JOB_KEYS_MAX]);

/* ---- client tokens (client_token.c) ---- */
sv job_token_digest(struct arena *a,
                    const struct job_request *request); /* what a token stands for */
/* The writing that goes with the record's first; owned by the arena. */
MUST_USE err_code job_token_write(const struct job_record *rec, sv client_token, struct arena *a,
                                  struct records_write *out, struct err *e);
/* Whom a token stands for. ERR_NOT_FOUND. */
MUST_USE err_code job_token_read(struct records *r, const struct job_request *req, struct arena *a,
                                 sv *datastore_id, sv *job_id, sv *digest, struct err *e);
/* The job of a token. ERR_NOT_FOUND: the token is new; ERR_INVALID: it came with another
 * request. */
MUST_USE err_code job_token_find(struct records *r, const struct job_request *request, sv digest,
                                 struct arena *a, sv *datastore_id, sv *job_id, struct err *e);
MUST_USE err_code job_tokens_delete(struct records *r, sv datastore_id, struct err *e);

/* ---- when a data store is gone (forget.c) ---- */
/* A data store is gone, and all its jobs have ended: what they asked for goes (parameters, kick-off
 * URL, manifest, client token, digest of the request), which may name patients; the records stay,
 * so that the jobs can be described. Repeating it is harmless. *any: it had jobs. The bytes are on
 * disk until records_scrub(). */
MUST_USE err_code job_records_forget(struct records *r, sv datastore_id, bool *any, struct err *e);

/* ---- what exports leave to later ones (earlier.c) ---- */
#define JOB_EARLIER_MAX 8u /* of a data store */
MUST_USE err_code job_earlier_delete_all(struct records *r, sv datastore_id, struct err *e);

/* ---- parameters of an export (export_params.c) ---- */
#define JOB_PARAMS_MAX (4u << 20) /* 10,000 ids of 64 bytes are a sixth of it */
MUST_USE err_code job_params_write(const struct job_export_params *params, struct buf *out,
                                   struct err *e);
MUST_USE err_code job_params_read(sv text, struct arena *a, const struct job_export_params **out,
                                  struct err *e);
/* What an erasure was asked for; empty when it is forgotten. */
MUST_USE err_code job_erase_load(struct records *r, sv job_id, struct arena *a, sv *out,
                                 struct err *e);
/* NULL when the job has none. */
MUST_USE err_code job_params_load(struct records *r, sv job_id, struct arena *a,
                                  const struct job_export_params **out, struct err *e);

/* ---- how much of served exports is kept (kept.c) ---- */
struct job_kept *job_kept_new(const struct job_served_limits *limits);
void job_kept_free(struct job_kept *kept);
/* A place for a new job. ERR_THROTTLED: there is none; *wait_s: seconds until there may be. */
MUST_USE err_code job_kept_enter(struct job_kept *kept, const struct job *job, unsigned *wait_s,
                                 struct err *e);
void job_kept_load(struct job_kept *kept,
                   const struct job *job); /* at the start: it has its place */
/* These are all that there are. Bytes that one has written since its record was, stay. */
void job_kept_replace(struct job_kept *kept, const struct job *jobs, size_t n);
/* served/renew.c: the table as other machines left it. Under the record lock. */
struct job_engine;
MUST_USE err_code job_kept_renew(struct job_engine *engine, struct err *e);
/* It has written so many bytes. ERR_TOO_LARGE: more than may be kept. */
MUST_USE err_code job_kept_grow(struct job_kept *kept, sv id, uint64_t bytes, struct err *e);
void job_kept_end(struct job_kept *kept, sv id, int64_t expires_ms);
void job_kept_leave(struct job_kept *kept, sv id); /* its files are nobody's any more */
/* ERR_NO_SPACE: so little of the data folder's disk is free that no job may write there. place: of
 * served files, which have a disk of their own, perhaps; or NULL. */
MUST_USE err_code job_disk_check(const struct job_engine_config *cfg, const struct job_files *place,
                                 struct err *e);

/* ---- retention of served files (retention.c) ---- */
struct job_served;
/* Write down that a job's files are gone. */
typedef err_code (*job_removed_fn)(void *ctx, sv datastore_id, sv id, struct err *e);
/* Does the folder of a job stay? */
typedef err_code (*job_wanted_fn)(void *ctx, sv id, bool *out, struct err *e);
/* Remove the folders of dir that are not wanted: a crash left them. */
MUST_USE err_code job_folders_sweep(const char *dir, job_wanted_fn wanted, void *ctx,
                                    struct err *e);
/* place: taken. */
MUST_USE err_code job_served_start(struct records *records, struct job_files **place,
                                   job_removed_fn removed, void *ctx, struct job_served **out,
                                   struct err *e);
/* The same, of the place that the configuration names, behind job_files_agree(). */
MUST_USE err_code job_served_open(const struct job_engine_config *cfg, const atomic_bool *cancel,
                                  job_removed_fn removed, void *ctx, struct job_served **out,
                                  struct err *e);
void job_served_stop(struct job_served *served);
struct job_files *job_served_place(struct job_served *served);
/* A job has completed: its files go at that time. */
void job_served_expect(struct job_served *served, int64_t expire_ms);
/* Due at once, instead of then. Nobody is given a file of it from now on. The thread removes them,
 * which can take a second for each GB; the next start does, if this process ends before. */
MUST_USE err_code job_served_expire(struct job_served *served, sv datastore_id, sv id,
                                    int64_t expire_ms, struct err *e);
/* All of a data store, at once. */
MUST_USE err_code job_served_drop(struct job_served *served, sv datastore_id, struct err *e);

/* ---- the engine ---- */
struct job_entry { /* one unfinished job */
    struct job_entry *next;
    job_kind kind;
    char datastore_id[40], id[40];
    uint64_t order;
    bool running;
    bool elsewhere; /* another node has it, or it is to wait for the next look */
    enum { KEEP_GOING, CANCEL, DROP } wish;
    bool forgotten; /* erasure: as job_run.forgotten */
    atomic_bool halt;
    struct job_run *run;       /* while it runs */
    struct lease *lease;       /* while it runs, where there are several nodes */
    struct job_engine *engine; /* then */
    uint64_t told;             /* what of its progress the others know (nodes/live.c) */
    uint64_t help_us;          /* another node's: not helped before that (nodes/guest.c) */
};

struct job_engine {
    struct job_engine_config cfg;
    char *spool_dir;
    struct job_pool *pool;
    struct job_served *served; /* NULL: none are taken */
    struct job_kept *kept;
    struct { /* since the start, by kind (counts.c) */
        atomic_uint_fast64_t ended[JOB_N_STATUSES], resources, bytes;
    } counted[JOB_N_KINDS];
    pthread_mutex_t record_lock; /* orders the writers of records; held over their I/O */
    bool shared;                 /* several nodes have the records */
    atomic_bool closing;         /* it takes no more jobs, and asks no peer for a caller */
    atomic_bool stopping;        /* nobody is answered any more: served files are left, too */
    struct leases *leases;       /* then; else NULL */
    struct job_watch *watch;     /* the same: who looks at what the others do */
    pthread_mutex_t lease_lock;  /* a lease is not released while others are told by it */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;  /* a job has ended */
        struct job_entry *first; /* by order */
        unsigned n_running;
        struct job_guest *guests; /* shares of jobs that run elsewhere */
        uint64_t last_order;
        uint64_t n_changes; /* of the list: entries that came and went */
        bool stop;
    } locked;
};

struct job_change {
    job_status to;
    const struct job_progress *progress; /* NULL: as it is */
    sv message;
    bool set_instant, files_expire, files_removed;
    struct lease *under; /* NULL: of nobody */
    uint64_t t;
    int64_t instant_ms;
};

/* record.c: read, move, write; `to` equal to the present status only changes the rest.
 * ERR_CONFLICT: no legal move. ERR_CANCELLED: the lease it was to be written under is lost. */
MUST_USE err_code job_engine_change(struct job_engine *engine, job_kind kind, sv datastore_id,
                                    sv id, const struct job_change *change, struct err *e);
void job_engine_log(const char *event, const struct job *job);
/* counts.c: a job has ended; a running one has come from here to there. */
void job_count_end(struct job_engine *engine, const struct job *job);
void job_count_progress(struct job_engine *engine, job_kind kind, const struct job_progress *from,
                        const struct job_progress *to);
/* away/away.c: what became of a job while its database is out of reach. */
struct job_away { /* zeroed for a run, but for begun_us */
    uint64_t since_us, done;
    uint64_t begun_us; /* the try that failed now */
    bool told;
};
/* A run has failed with rc: is it to begin again, as behind a start of the process? Waits then. */
bool job_away_again(struct job_away *away, struct job_run *run, const char *id, err_code rc,
                    const struct err *e);
/* The run has failed so for long: is it not for want of the database, and was it so several times,
 * by whichever node? Then the job is to fail. */
bool job_away_in_vain(const struct job_away *away, struct job_run *run);
/* The end of a job could not be written: try it again? Waits then. False: another reason, or the
 * engine stops. */
bool job_away_write_again(struct job_engine *engine, err_code rc);
/* run.c: start whatever may start. */
void job_engine_schedule(struct job_engine *engine);
struct job_entry *job_entry_find_locked(struct job_engine *engine, job_kind kind, sv datastore_id,
                                        sv id);
void job_entry_add_locked(struct job_engine *en, struct job_entry *x); /* at its order's place */
void job_entry_drop_locked(struct job_engine *en, struct job_entry *x);
/* Is there one before it, which it waits for? */
bool job_entry_behind_locked(struct job_engine *en, const struct job_entry *x);
/* Must it wait? */
bool job_entry_blocked_locked(struct job_engine *en, const struct job_entry *x);
void job_entry_halt_locked(struct job_entry *entry);
/* Tell an entry what is wished of it. One that waits is started, so that it can end. */
void job_entry_wish_locked(struct job_engine *engine, struct job_entry *entry, int wish);

/* ---- several nodes (nodes/) ---- */
#define JOB_WORD       "jobs"  /* to the other nodes: look at them */
#define JOB_SHARE_WORD "share" /* to those that work at one together: there is news */
#define JOB_LEASES     "job/"  /* names of leases, and a job's id */
/* look.c. The list says what the records said at some moment of this call: entries of others come,
 * those that ended go. Nothing, where there is one process. */
MUST_USE err_code job_look(struct job_engine *engine, struct err *e);
/* The other nodes look soon. */
void job_tell(struct job_engine *engine);
/* watch.c. A thread that looks now and then, and when others tell that there is something. */
MUST_USE err_code job_watch_start(struct job_engine *engine, struct err *e);
void job_watch_stop(struct job_engine *engine);
void job_watch_soon(struct job_engine *engine); /* it looks soon */

/* hold.c. May this entry's job run here, now? Then its lease is taken. *over: it has ended, or is
 * not there. */
bool job_hold(struct job_engine *engine, struct job_entry *entry, bool *over);
void job_let_go(struct job_engine *engine, struct job_entry *entry, bool ended);

/* under.c. Under a lease, or plain when it is NULL. ERR_CANCELLED: it is lost. */
MUST_USE err_code job_write(struct records *r, struct lease *under, const struct records_write *w,
                            size_t n, struct err *e);
MUST_USE err_code job_put_unsynced(struct records *r, struct lease *under, sv key, sv value,
                                   struct err *e);

/* queue.c. A place behind all jobs that have come in on any node, and what makes it one: writes
 * that go with the job's. ERR_PRECONDITION of these: another one came in meanwhile. */
struct job_place {
    uint64_t order;
    char was[24], is[24];
    struct records_write writes[JOB_CREATE_MORE];
};
MUST_USE err_code job_place_begin(struct job_engine *engine, struct job_place *out, struct err *e);
void job_place_take(struct job_place *place, int64_t submit_ms);
/* No job of the data store comes in any more, on any node, and those that are there are to end. */
MUST_USE err_code job_drop_write(struct job_engine *engine, sv datastore_id, struct err *e);
/* ERR_INVALID: that was done. */
MUST_USE err_code job_drop_check(struct job_engine *engine, sv datastore_id, struct err *e);

/* share.c. Who waits for news of others has some. */
void job_run_news(struct job_run *run);

/* guest.c. Where another node runs a job that can be helped, help begins; where that is over, it
 * ends. */
void job_guests_look(struct job_engine *engine);
/* All are to end. They have, when there is none in the list; who waits for that is woken. */
void job_guests_halt_locked(struct job_engine *engine);
void job_guests_news_locked(struct job_engine *engine);

/* live.c. What a job's holder tells of it, into *job, on each node alike, the holder's too; as it
 * is, when it tells nothing. */
void job_live_tell(struct job_engine *engine);
/* An import's progress, where this process is alone, for after a restart. */
void job_live_keep(struct job_run *run, const struct job_progress *p);
/* A run begins: its progress is what was told last, by whoever had the job. */
void job_live_take_up(struct job_run *run);
/* The progress of a run, as far as it or a node before it has told. */
void job_live_last(struct job_run *run, struct job_progress *out);
void job_live_read(struct job_engine *engine, struct job *jobs, size_t n);
bool job_progress_is_none(const struct job_progress *p);

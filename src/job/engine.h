/* engine.h - the engine's own: what engine.c and submit.c share.   Floor: job. */
#pragma once
#include "job/job_private.h"

struct job_entry { /* one unfinished job */
    struct job_entry *next;
    job_kind kind;
    char datastore_id[40], id[40];
    uint64_t order;
    bool running;
    enum { KEEP_GOING, CANCEL, DROP } wish;
    atomic_bool halt;
    struct job_run *run; /* while it runs */
};

struct job_engine {
    struct job_engine_config cfg;
    char *spool_dir, *served_dir;
    struct job_pool *pool;
    struct job_served *served; /* NULL: none are taken */
    struct job_kept *kept;
    pthread_mutex_t record_lock; /* orders the writers of records; held over their I/O */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;  /* a job has ended */
        struct job_entry *first; /* by order */
        unsigned n_running;
        uint64_t last_order;
        bool stop;
    } locked;
};

struct job_change {
    job_status to;
    const struct job_progress *progress; /* NULL: as it is */
    sv message;
    bool set_instant, files_expire, files_removed;
    uint64_t t;
    int64_t instant_ms;
};

/* Read, move, write; `to` equal to the present status only changes the rest. ERR_CONFLICT: no legal move. */
MUST_USE err_code job_engine_change(struct job_engine *en, job_kind kind, sv datastore_id, sv id,
                                    const struct job_change *c, struct err *e);
void job_engine_log(const char *event, const struct job *j);
/* Start whatever may start. */
void job_engine_schedule(struct job_engine *en);
struct job_entry *job_entry_find_locked(struct job_engine *en, job_kind kind, sv datastore_id,
                                        sv id);
void job_entry_add_locked(struct job_engine *en, struct job_entry *x); /* at its order's place */
/* Must it wait? */
bool job_entry_blocked_locked(struct job_engine *en, const struct job_entry *x);

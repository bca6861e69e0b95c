/* erase.c - one erasure, from what goes to the end on disk.
 *
 *   1  resources become hollow (select.c); of a soft one they are deleted, and that is all
 *   2  entries and files of the data store (store_erase_finish)
 *   3  served exports of the data store, and what exports left to later ones
 *   4  the data store is closed and opened: a new manifest of RocksDB
 *   5  what was asked for goes from the records: it has an id
 *
 * Each step can be done again, and a run that goes on after an interruption begins with the first.
 * Without a text of what is asked for, all was done. No other job of the data store runs meanwhile
 * (job/run.c), and no restore of it (store/rocks/copy). A snapshot for a backup has links of the
 * files: the erasure waits until it is gone. */
#include "erase/erase_private.h"

#include <limits.h>
#include <unistd.h>

#define WAIT_MS     100u
#define WHAT_BYTES  (64u << 10)
#define SHOWN_MOST  5u /* exports that the message names */
#define LISTED_MOST 200u

/* ---- the end on disk ---- */

/* The folder beside that of the jobs where a snapshot is (server/control.c). */
static bool has_snapshot(const struct job_run *run)
{
    char path[PATH_MAX];
    const char *slash = strrchr(run->cfg->spool_dir, '/');
    const int n = slash ? (int)(slash - run->cfg->spool_dir) : 0;
    (void)snprintf(path, sizeof path, "%.*s/backup", n, run->cfg->spool_dir);
    return n && access(path, F_OK) == 0;
}

static err_code finish_store(struct erasure *x, struct err *e)
{
    for (;;) {
        struct err why;
        TRY(erase_goes_on(x, e));
        err_code rc = store_erase_finish(x->run->store, x->run->halt, &why);
        if (rc == ERR_OK && !has_snapshot(x->run))
            return ERR_OK;
        if (rc != ERR_OK && rc != ERR_CONFLICT)
            return err_pass(e, &why);
        job_run_pause(x->run, WAIT_MS);
    }
}

/* Nobody may hold it for that; who asks for it meanwhile waits for the opening. */
static err_code open_anew(struct erasure *x, struct err *e)
{
    struct store_registry *stores = x->run->cfg->stores;
    const sv id = x->run->job->datastore_id;
    while (store_wants_anew(x->run->store)) {
        err_code rc;
        TRY(erase_goes_on(x, e));
        store_registry_release(stores, x->run->store);
        x->run->store = NULL;
        store_registry_rest(stores, id);
        do
            rc = store_registry_acquire(stores, id, false, &x->run->store, e);
        while (rc == ERR_THROTTLED && !job_run_should_stop(x->run));
        TRY(rc);
        if (store_wants_anew(x->run->store))
            job_run_pause(x->run, WAIT_MS);
    }
    return ERR_OK;
}

/* ---- what is out of reach ---- */

static err_code add_exports(struct erasure *x, struct buf *message, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(32u << 20);
    const struct job_filter f = { .datastore_id = x->run->job->datastore_id };
    struct job *jobs;
    size_t n, n_outside = 0;
    sv next;
    TRY(job_list(x->run->engine, JOB_EXPORT, &f, SV_NONE, LISTED_MOST, a, &jobs, &n, &next, e));
    for (size_t i = 0; i < n; i++) {
        if (jobs[i].served || jobs[i].progress.objects_exported == 0)
            continue;
        if (n_outside++ < SHOWN_MOST)
            TRY(buf_add_fmt(message, e, "%s%.*s",
                            n_outside > 1 ? " " : " Exports: ", SV_FMT(jobs[i].id)));
    }
    if (n_outside > SHOWN_MOST || next.len)
        TRY(buf_add(message, SV_LIT(" and more"), e));
    return ERR_OK;
}

static err_code tell(struct erasure *x, struct buf *message, struct err *e)
{
    if (x->what.soft)
        return buf_add(message, SV_LIT("Deleted. Histories stay"), e);
    TRY(buf_add(message,
                /* job_message_clean() takes commas away */
                SV_LIT("Erased from this data store. It is still in backups and in data stores "
                       "that were restored from this one and in what exports wrote to S3."),
                e));
    return add_exports(x, message, e);
}

/* ---- a run ---- */

static err_code set_instant(struct erasure *x, struct err *e)
{
    x->t = x->run->job->as_of_t;
    if (x->run->job->transaction_ms)
        return ERR_OK;
    struct store_commit at;
    TRY(store_horizon(x->run->store, &at, e));
    x->t = at.t;
    return job_run_set_instant(x->run, at.t, at.instant_ms, e);
}

static err_code erase_all(struct erasure *x, struct err *e)
{
    TRY(set_instant(x, e));
    TRY(erase_select(x, e));
    if (x->what.soft)
        return ERR_OK;
    TRY(finish_store(x, e));
    TRY(job_run_copies_drop(x->run, e));
    return open_anew(x, e);
}

static err_code run(struct job_run *run, job_status *status, struct buf *message, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(WHAT_BYTES);
    struct erasure x = { .run = run,
                         .patient = fhir_type_find(SV_LIT("Patient")),
                         .audit_event = fhir_type_find(SV_LIT("AuditEvent")) };
    *status = JOB_COMPLETED;
    /* an end of the process came between the last step and the last status */
    x.what.soft = sv_eq(run->job->job_name, SV_LIT("bulk-delete"));
    if (run->job->erase.len == 0)
        return tell(&x, message, e);
    TRY(erase_what_read(run->job->erase, a, &x.what, e));
    TRY(erase_all(&x, e));
    TRY(tell(&x, message, e));
    /* before the job says that it is done */
    return job_run_erase_forget(run, e);
}

/* Also of a job that failed. */
static void forget(struct job_run *run)
{
    struct err e;
    /* what stays until the next erasure is an id, of what may be there still */
    IGNORE(job_run_erase_forget(run, &e));
}

const struct job_kind_ops erase_ops = { .run = run, .forget = forget };

/* erase.c - one erasure, from what goes to the end on disk.
 *
 *   1  resources become hollow (select.c); of a soft one they are deleted, and that is all
 *   2  so do those of erasures that wait behind it (company.c)
 *   3  entries and files of the data store (store_erase_finish)
 *   4  served exports of the data store, and what exports left to later ones
 *   5  the data store is closed and opened: a new manifest of RocksDB
 *   6  what was asked for goes from the records: it has an id
 *
 * In a database step 3 is about its rows (store/postgres/erase), and there is no step 5: readers
 * are waited for behind step 3 (store/erased.h). Where
 * several nodes have it, all is done under the job's lease: a node that was frozen does nothing
 * when it wakes.
 *
 * Each step can be done again, and a run that goes on after an interruption begins with the first.
 * Where the text was replaced, all was done. No other job of the data store runs meanwhile
 * (job/run.c), and no restore of it (store/rocks/copy). A snapshot for a backup has links of the
 * files: the erasure waits until it is gone. */
#include "erase/erase_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/erased.h"

#include <limits.h>
#include <unistd.h>

#define ARENA_BYTES (32u << 20) /* what is asked for, and the records of the company */
#define SHOWN_MOST  5u          /* exports that the message names */
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
    unsigned waited_ms = 0;
    for (bool told = false;; told = true) {
        struct err why = { 0 };
        TRY(erase_goes_on(x, e));
        err_code rc = store_erase_finish_under(x->run->lease, x->run->store, x->run->halt, &why);
        if (rc == ERR_OK && !has_snapshot(x->run))
            return ERR_OK;
        if (rc != ERR_OK && rc != ERR_CONFLICT)
            return err_pass(e, &why);
        if (!told)
            LOG(LOG_INFO, "erase_waits", LOG_SV("job", x->run->job->id),
                LOG_STR("for", rc == ERR_OK ? "a backup" : why.msg));
        erase_wait(x, &waited_ms);
    }
}

/* Tables that go out on any node, and may have what was erased in hand, are ended by now. */
static err_code wait_for_readers(struct erasure *x, struct err *e)
{
    const uint64_t end_us = clock_mono_us() + STORE_ERASED_WAIT_MS * UINT64_C(1000);
    while (store_is_remote(x->run->store) && clock_mono_us() < end_us) {
        TRY(erase_goes_on(x, e));
        job_run_pause(x->run, ERASE_WAIT_MS);
    }
    return ERR_OK;
}

/* No import of the data store runs on any node (job/nodes/list.c), and one that lost its job's
 * lease publishes nothing. It is asked for each load: a node that was frozen here would take away
 * those of an import that came behind the erasure. */
static err_code clear_loads(struct erasure *x, struct err *e)
{
    unsigned waited_ms = 0;
    struct err why;
    err_code rc;
    while ((rc = store_loads_clear_under(x->run->lease, x->run->store, &why)) == ERR_CONFLICT) {
        TRY(erase_goes_on(x, e));
        erase_wait(x, &waited_ms);
    }
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
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
            job_run_pause(x->run, ERASE_WAIT_MS);
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
    /* job_message_clean() takes commas away */
    if (store_is_remote(x->run->store))
        TRY(buf_add(message,
                    SV_LIT("Erased from this data store. No row has it any more. Its bytes can "
                           "still be in free pages of the database until those are written over "
                           "and in its write-ahead log and archives and backups: that is for the "
                           "owner of the database. It is still in what exports wrote to S3."),
                    e));
    else
        TRY(buf_add(message,
                    SV_LIT("Erased from this data store. It is still in backups and in data stores "
                           "that were restored from this one and in what exports wrote to S3."),
                    e));
    return add_exports(x, message, e);
}

/* ---- a run ---- */

static err_code erase_all(struct erasure *x, struct arena *a, struct erase_company *company,
                          struct err *e)
{
    if (!x->what.soft)
        TRY(clear_loads(x, e));
    TRY(erase_instant(x, x->run->job, e));
    TRY(erase_select(x, e));
    if (x->what.soft)
        return ERR_OK;
    TRY(erase_company(x, a, company, e));
    TRY(finish_store(x, e));
    TRY(wait_for_readers(x, e));
    TRY(job_run_copies_drop(x->run, e));
    return open_anew(x, e);
}

/* What is hollow stays so, and its records are there (docs/internals/erase.md). */
static void tell_failed(struct erasure *x, struct buf *message)
{
    if (x->what.soft)
        return;
    if (x->run->store)
        IGNORE(erase_count(x, NULL));
    IGNORE(
        buf_add(message,
                SV_LIT("What was erased until then is in no answer any more and the next erasure "
                       "in this data store takes it off the disk. Ask for the rest again"),
                NULL));
}

static sv over_of(const struct erasure *x, char out[32])
{
    (void)snprintf(out, 32, "%s%llu", ERASE_SOFT_OVER.ptr, (unsigned long long)x->n_soft);
    return x->what.soft ? sv_from(out) : ERASE_OVER;
}

static void read_over(struct erasure *x)
{
    const sv text = x->run->job->erase;
    x->what.soft = sv_starts(text, ERASE_SOFT_OVER);
    if (x->what.soft && !sv_to_u64(sv_tail(text, ERASE_SOFT_OVER.len), &x->n_soft))
        x->n_soft = 0;
}

static err_code run(struct job_run *run, job_status *status, struct buf *message, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(ARENA_BYTES);
    struct erase_company company = { .n = 0 };
    char left[32];
    struct erasure x = { .run = run,
                         .tells = true,
                         .patient = fhir_type_find(SV_LIT("Patient")),
                         .audit_event = fhir_type_find(SV_LIT("AuditEvent")) };
    err_code rc = ERR_OK;
    *status = JOB_COMPLETED;
    erase_note_name(run->job->id, x.note);
    if (erase_is_over(run->job->erase)) {
        read_over(&x);
    } else {
        TRY(erase_what_read(run->job->erase, a, &x.what, e));
        rc = erase_all(&x, a, &company, e);
        if (rc == ERR_OK && !x.what.soft)
            LOG(LOG_INFO, "erased", LOG_SV("job", run->job->id),
                LOG_SV("datastore", run->job->datastore_id), LOG_INT("jobs", company.n + 1));
    }
    if (rc != ERR_OK) {
        if (rc != ERR_CANCELLED)
            tell_failed(&x, message);
        return rc;
    }
    TRY(erase_count(&x, e));
    TRY(tell(&x, message, e));
    /* before any of the jobs says that it is done */
    return job_run_erase_forget(run, over_of(&x, left), company.ids, company.n, e);
}

/* Also of a job that failed. */
static void forget(struct job_run *run)
{
    char note[48];
    struct err e;
    erase_note_name(run->job->id, note);
    /* numbers alone */
    IGNORE(store_note_delete(run->store, sv_from(note), &e));
    /* what stays until the next erasure is an id, of what may be there still */
    IGNORE(job_run_erase_forget(run, SV_NONE, NULL, 0, &e));
}

const struct job_kind_ops erase_ops = { .run = run, .forget = forget };

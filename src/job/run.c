/* run.c - jobs wait their turn and run on threads of their own; and what a running job may call.
 *
 * The list of the engine holds the unfinished jobs in the order in which they came in. A job may
 * start when none of its data store and kind is before it; an erasure when none of its data store
 * is, and no other job when an erasure is. Its thread reads the record, calls the kind's run,
 * writes the end down, and starts whoever may run next. A job that is to be cancelled or dropped is
 * halted; one that still waits is started for that, so that every job ends in one place (finish).
 *   E1  an entry leaves the list on its own thread, after its last status was written
 *   E2  a job whose engine stops keeps its status, and the next start takes it up
 *
 * A kind's run knows its engine through job_run_* alone: its progress, its notes, its instant, its
 * room, a pause. Notes are scratch in the records, below the job's own key; they go when the job
 * ends. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

/* ---- what a running job may call ---- */

void job_run_init(struct job_run *run)
{
    pthread_mutex_init(&run->live.lock, NULL);
    clock_cond_init(&run->live.halted);
}

void job_run_done(struct job_run *run)
{
    pthread_mutex_destroy(&run->live.lock);
    pthread_cond_destroy(&run->live.halted);
}

void job_run_wake(struct job_run *run)
{
    pthread_mutex_lock(&run->live.lock);
    pthread_cond_broadcast(&run->live.halted);
    pthread_mutex_unlock(&run->live.lock);
    if (run->cfg && run->cfg->stores)
        store_registry_wake(run->cfg->stores);
}

void job_run_pause(struct job_run *run, unsigned ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000ull);
    int rc = 0;
    pthread_mutex_lock(&run->live.lock);
    while (rc != ETIMEDOUT && !job_run_should_stop(run))
        rc = pthread_cond_timedwait(&run->live.halted, &run->live.lock, &until);
    pthread_mutex_unlock(&run->live.lock);
}

void job_run_progress_set(struct job_run *run, const struct job_progress *p)
{
    pthread_mutex_lock(&run->live.lock);
    if (run->engine)
        job_count_progress(run->engine, run->job->kind, &run->live.progress, p);
    run->live.progress = *p;
    pthread_mutex_unlock(&run->live.lock);
}

err_code job_run_note_put(struct job_run *run, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put(run->cfg->records, job_key_note(a, run->job->id, name), value, e);
}

err_code job_run_note_put_unsynced(struct job_run *run, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put_unsynced(run->cfg->records, job_key_note(a, run->job->id, name), value, e);
}

err_code job_run_note_get(struct job_run *run, sv name, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_get(run->cfg->records, job_key_note(a, run->job->id, name), out, e);
}

err_code job_run_note_scan(struct job_run *run, sv prefix, records_each_fn each, void *ctx,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_scan(run->cfg->records, job_key_note(a, run->job->id, prefix), SV_NONE, each,
                        ctx, e);
}

err_code job_run_set_instant(struct job_run *run, uint64_t t, int64_t instant_ms, struct err *e)
{
    struct job_change change = {
        .to = JOB_IN_PROGRESS, .set_instant = true, .t = t, .instant_ms = instant_ms
    };
    err_code rc = job_engine_change(run->engine, run->job->kind, run->job->datastore_id,
                                    run->job->id, &change, e);
    /* a cancel came first: the run ends as one that was stopped */
    return rc == ERR_CONFLICT ? ERR(e, ERR_CANCELLED, "the job is being cancelled") : rc;
}

err_code job_run_manifest_put(struct job_run *run, sv manifest, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    return records_put_unsynced(run->cfg->records, job_key_manifest(a, run->job->id), manifest, e);
}

err_code job_run_manifest_delete(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w = { RECORDS_DELETE, job_key_manifest(a, run->job->id), SV_NONE };
    return records_write(run->cfg->records, &w, 1, e);
}

err_code job_run_disk_check(const struct job_run *run, struct err *e)
{
    return job_disk_check(run->cfg, e);
}

err_code job_run_kept_grow(struct job_run *run, uint64_t bytes, struct err *e)
{
    TRY(job_kept_grow(run->kept, run->job->id, bytes, e));
    return job_disk_check(run->cfg, e);
}

#define RUNNING_MAX  16u /* jobs at a time in one process; others wait */
#define MESSAGE_MAX  4096u
#define RECORD_ARENA (32u << 20) /* a record and its parameters, parsed */

/* A job on its thread. */
struct running {
    struct job_engine *engine;
    struct job_entry *entry;
    const struct job_kind_ops *ops;
    struct arena *a; /* of the record */
    struct job_record rec;
    struct job_run run;
    char spool[PATH_MAX];
    struct buf message;
    job_status status; /* of a run that came to its end */
    struct err e;      /* of one that did not */
};

/* ---- the list ---- */

struct job_entry *job_entry_find_locked(struct job_engine *engine, job_kind kind, sv datastore_id,
                                        sv id)
{
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        if (entry->kind == kind && sv_eq_cstr(datastore_id, entry->datastore_id) &&
            sv_eq_cstr(id, entry->id))
            return entry;
    return NULL;
}

void job_entry_add_locked(struct job_engine *engine, struct job_entry *x)
{
    struct job_entry **p = &engine->locked.first;
    while (*p && (*p)->order < x->order)
        p = &(*p)->next;
    x->next = *p;
    *p = x;
}

void job_entry_drop_locked(struct job_engine *engine, struct job_entry *x)
{
    struct job_entry **p = &engine->locked.first;
    while (*p != x)
        p = &(*p)->next;
    *p = x->next;
    free(x);
}

void job_entry_halt_locked(struct job_entry *entry)
{
    atomic_store(&entry->halt, true);
    if (entry->run)
        job_run_wake(entry->run);
}

static int wish_of(struct job_engine *engine, const struct job_entry *entry)
{
    pthread_mutex_lock(&engine->locked.lock);
    int wish = entry->wish;
    pthread_mutex_unlock(&engine->locked.lock);
    return wish;
}

/* ---- the end of a run ---- */

static err_code move(struct running *running, job_status to, struct err *e)
{
    struct job_change change = { .to = to };
    const struct job_entry *entry = running->entry;
    return job_engine_change(running->engine, entry->kind, sv_from(entry->datastore_id),
                             sv_from(entry->id), &change, e);
}

/* A move whose failure leaves nothing to do but say so: the record stays, a restart takes it up. */
static void move_logged(struct running *running, job_status to)
{
    struct err e;
    if (move(running, to, &e) != ERR_OK)
        LOG_ERR("job_record", &e, LOG_STR("job", running->entry->id),
                LOG_STR("to", job_status_name(to)));
}

/* Take away what the run wrote. */
static err_code undo(struct running *running, struct err *e)
{
    err_code rc =
        running->ops->undo && running->run.job ? running->ops->undo(&running->run, e) : ERR_OK;
    if (rc != ERR_OK)
        LOG_ERR("job_undo", e, LOG_STR("job", running->entry->id));
    return rc;
}

/* why: of the message, for as long as change is used. */
static void end_cancelled(struct running *running, struct job_change *change, struct err *why)
{
    err_code rc = undo(running, why);
    change->to = rc == ERR_OK ? JOB_CANCEL_COMPLETED : JOB_CANCEL_FAILED;
    change->message = rc == ERR_OK ? SV_NONE : sv_from(why->msg);
}

static void end_failed(struct running *running, struct job_change *change)
{
    struct err why;
    bool dropped = wish_of(running->engine, running->entry) == DROP;
    change->to = JOB_FAILED;
    change->message = dropped                ? SV_LIT("The data store was deleted")
                      : running->message.len ? arena_fmt(running->a, "%s. %.*s", running->e.msg,
                                                         SV_FMT(buf_sv(&running->message)))
                                             : sv_from(running->e.msg);
    if (!dropped)
        LOG_ERR("job_failed", &running->e, LOG_STR("job", running->entry->id));
    /* what no manifest names is nobody's */
    IGNORE(undo(running, &why));
}

/* A cancel came between the end of the run and its last status. */
static void end_crossed(struct running *running, struct job_change *change, err_code rc,
                        struct err *why)
{
    move_logged(running, JOB_CANCEL_IN_PROGRESS);
    change->files_expire = false;
    if (rc != ERR_OK) {
        change->to = JOB_FAILED;
    } else if (running->ops->undo) {
        end_cancelled(running, change, why);
    } else {
        change->to = JOB_CANCEL_FAILED;
        change->message = SV_LIT("The job had ended before it could be cancelled");
    }
}

/* The last status is written, then the scratch goes. */
static void finish(struct running *running, err_code rc)
{
    struct err e, why;
    struct job_change change = { .to = running->status,
                                 .message = buf_sv(&running->message),
                                 .progress = &running->run.live.progress };
    sv ds = sv_from(running->entry->datastore_id), id = sv_from(running->entry->id);
    if (rc == ERR_CANCELLED && wish_of(running->engine, running->entry) == CANCEL) {
        move_logged(running, JOB_CANCEL_IN_PROGRESS);
        end_cancelled(running, &change, &why);
    } else if (rc != ERR_OK) {
        end_failed(running, &change);
    } else {
        change.files_expire = running->run.job->served;
    }
    err_code written =
        job_engine_change(running->engine, running->entry->kind, ds, id, &change, &e);
    if (written == ERR_CONFLICT) {
        end_crossed(running, &change, rc, &why);
        written = job_engine_change(running->engine, running->entry->kind, ds, id, &change, &e);
        if (written != ERR_OK)
            LOG_ERR("job_record", &e, LOG_STR("job", running->entry->id));
    }
    if (running->ops->forget && running->run.store)
        running->ops->forget(&running->run);
    if (file_remove_tree(running->spool, &e) != ERR_OK)
        LOG_ERR("job_spool", &e, LOG_STR("job", running->entry->id));
}

/* ---- a run ---- */

static err_code run_kind(struct running *running, struct err *e)
{
    struct store_registry *stores = running->engine->cfg.stores;
    sv id = sv_from(running->entry->datastore_id);
    err_code rc;
    do /* others may hold all the stores that can be open: each turn waits for them */
        rc = store_registry_acquire(stores, id, false, &running->run.store, e);
    while (rc == ERR_THROTTLED && !atomic_load(&running->entry->halt));
    TRY(rc == ERR_THROTTLED ? ERR(e, ERR_CANCELLED, "the job was stopped") : rc);
    TRY(file_mkdirs(running->spool, e));
    return running->ops->run(&running->run, &running->status, &running->message, e);
}

/* The record, and what of it the run needs. A cancel that it tells of is wished here too. */
static err_code read_record(struct running *running, struct err *e)
{
    struct job_engine *engine = running->engine;
    struct job_entry *entry = running->entry;
    struct job *job = &running->rec.job;
    TRY(job_record_read(engine->cfg.records, entry->kind, sv_from(entry->datastore_id),
                        sv_from(entry->id), running->a, &running->rec, e));
    if (job->kind == JOB_ERASE)
        TRY(job_erase_load(engine->cfg.records, job->id, running->a, &job->erase, e));
    else
        TRY(job_params_load(engine->cfg.records, job->id, running->a, &job->params, e));
    running->run.job = job;
    if (job->served) {
        running->run.world = engine->served ? job_served_world(engine->served) : NULL;
        running->run.kept = engine->kept;
    }
    running->run.live.progress = job->progress;
    bool cancelled = job->status == JOB_CANCEL_SUBMITTED || job->status == JOB_CANCEL_IN_PROGRESS;
    pthread_mutex_lock(&engine->locked.lock);
    if (cancelled) {
        entry->wish = CANCEL;
        atomic_store(&entry->halt, true);
    }
    entry->run = &running->run;
    pthread_mutex_unlock(&engine->locked.lock);
    return ERR_OK;
}

/* From the status IN_PROGRESS to the end of the work. */
static err_code run(struct running *running)
{
    struct err read_err;
    err_code rc = ERR_OK;
    if (wish_of(running->engine, running->entry) == KEEP_GOING)
        rc = move(running, JOB_IN_PROGRESS, &running->e);
    /* it is being cancelled: a cancel that a restart found */
    if (rc == ERR_CONFLICT)
        rc = ERR_CANCELLED;
    if (read_record(running, &read_err) == ERR_OK)
        return rc == ERR_OK || rc == ERR_CANCELLED ? run_kind(running, &running->e) : rc;
    if (rc == ERR_OK) {
        running->e = read_err;
        rc = read_err.code;
    }
    return rc;
}

/* E2: does the job keep its status for the next start? */
static bool stays(struct running *running, err_code rc)
{
    struct job_engine *engine = running->engine;
    struct job_entry *entry = running->entry;
    pthread_mutex_lock(&engine->locked.lock);
    entry->run = NULL;
    bool halted = rc == ERR_CANCELLED && entry->wish == KEEP_GOING;
    bool stay = halted && engine->locked.stop;
    /* the record said so before job_cancel() came to say it here */
    if (halted && !stay)
        entry->wish = CANCEL;
    pthread_mutex_unlock(&engine->locked.lock);
    return stay;
}

static void schedule_locked(struct job_engine *engine);

/* E1. The engine may be gone when this returns. */
static void leave_list(struct job_engine *engine, struct job_entry *entry)
{
    pthread_mutex_lock(&engine->locked.lock);
    job_entry_drop_locked(engine, entry);
    assert(engine->locked.n_running > 0);
    engine->locked.n_running--;
    schedule_locked(engine);
    pthread_cond_broadcast(&engine->locked.changed);
    pthread_mutex_unlock(&engine->locked.lock);
}

struct start {
    struct job_engine *engine;
    struct job_entry *entry;
};

static void *runner(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    struct running running = { .engine = s.engine,
                               .entry = s.entry,
                               .ops = s.engine->cfg.kinds[s.entry->kind],
                               .a = arena_new(RECORD_ARENA),
                               .run = { .engine = s.engine,
                                        .world = s.engine->cfg.world,
                                        .pool = s.engine->pool,
                                        .cfg = &s.engine->cfg,
                                        .forgotten = s.entry->forgotten,
                                        .halt = &s.entry->halt,
                                        .export_object_bytes = s.engine->cfg.export_object_bytes,
                                        .import_chunk_bytes = s.engine->cfg.import_chunk_bytes },
                               .message = BUF_INIT(MESSAGE_MAX),
                               .status = JOB_COMPLETED };
    (void)snprintf(running.spool, sizeof running.spool, "%s/%s", s.engine->cfg.spool_dir,
                   s.entry->id);
    running.run.spool_dir = running.spool;
    job_run_init(&running.run);
    err_code rc = run(&running);
    if (!stays(&running, rc)) {
        finish(&running, rc);
        if (running.ops->settle && running.run.store)
            running.ops->settle(&running.run);
    }
    store_registry_release(s.engine->cfg.stores, running.run.store);
    buf_done(&running.message);
    job_run_done(&running.run);
    arena_free(running.a);
    leave_list(s.engine, s.entry);
    return NULL;
}

/* ---- scheduling ---- */

bool job_entry_blocked_locked(struct job_engine *engine, const struct job_entry *x)
{
    if (engine->locked.n_running >= RUNNING_MAX)
        return true;
    for (struct job_entry *y = engine->locked.first; y != x; y = y->next)
        /* one before it runs or waits; an erasure and any other job wait for each other */
        if ((y->kind == x->kind || y->kind == JOB_ERASE || x->kind == JOB_ERASE) &&
            strcmp(y->datastore_id, x->datastore_id) == 0)
            return true;
    return false;
}

/* False: no thread can be had; the next end of a job tries again. */
static bool start_locked(struct job_engine *engine, struct job_entry *entry)
{
    struct start *arg = malloc(sizeof *arg);
    pthread_t t;
    if (arg == NULL)
        abort();
    *arg = (struct start){ engine, entry };
    if (pthread_create(&t, NULL, runner, arg) != 0) {
        free(arg);
        return false;
    }
    /* n_running says when it is gone */
    pthread_detach(t);
    entry->running = true;
    engine->locked.n_running++;
    return true;
}

static void schedule_locked(struct job_engine *engine)
{
    for (struct job_entry *entry = engine->locked.first; entry && !engine->locked.stop;
         entry = entry->next)
        if (!entry->running && !job_entry_blocked_locked(engine, entry) &&
            !start_locked(engine, entry))
            break;
}

void job_engine_schedule(struct job_engine *engine)
{
    pthread_mutex_lock(&engine->locked.lock);
    schedule_locked(engine);
    pthread_mutex_unlock(&engine->locked.lock);
}

void job_entry_wish_locked(struct job_engine *engine, struct job_entry *entry, int wish)
{
    entry->wish = wish;
    job_entry_halt_locked(entry);
    if (!entry->running && !engine->locked.stop)
        (void)start_locked(engine, entry);
}

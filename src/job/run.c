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
 * Where several nodes have the records, its thread takes the job's lease first. A job that another
 * one has, or that is not the first any more, stays in the list; one whose lease is lost keeps its
 * status, as with E2.
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

#define MESSAGE_MAX  4096u
#define NOTE_FAILED  SV_LIT("failed")
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
    struct job_change change = { .to = to, .under = running->entry->lease };
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

/* Others leave, and what the run wrote is taken away. */
static err_code undo(struct running *running, struct err *e)
{
    err_code rc = ERR_OK;
    if (running->ops->part && running->run.job && running->run.store)
        rc = running->ops->part(&running->run, e);
    if (rc == ERR_OK && running->ops->undo && running->run.job)
        rc = running->ops->undo(&running->run, e);
    if (rc != ERR_OK)
        LOG_ERR("job_undo", e, LOG_STR("job", running->entry->id));
    return rc;
}

/* why: of the message, for as long as change is used. ERR_CANCELLED: the process stops, and whoever
 * takes the job up goes on with it. */
static err_code end_cancelled(struct running *running, struct job_change *change, struct err *why)
{
    err_code rc = undo(running, why);
    if (rc == ERR_CANCELLED && atomic_load(&running->engine->stopping))
        return rc;
    change->to = rc == ERR_OK ? JOB_CANCEL_COMPLETED : JOB_CANCEL_FAILED;
    change->message = rc == ERR_OK ? SV_NONE : sv_from(why->msg);
    return ERR_OK;
}

/* What it wrote is taken away then, so it is written down before: whoever goes on with the job in
 * the middle of that has nothing to build on. */
static err_code note_failed(struct running *running, sv message, struct err *e)
{
    if (running->run.lease == NULL || running->run.job == NULL)
        return ERR_OK;
    return job_run_note_put(&running->run, NOTE_FAILED, message, e);
}

/* Not ERR_OK: it has not ended. */
static err_code end_failed(struct running *running, struct job_change *change, struct err *e)
{
    struct err why;
    bool dropped = wish_of(running->engine, running->entry) == DROP;
    change->to = JOB_FAILED;
    change->message = dropped                ? SV_LIT("The data store was deleted")
                      : running->message.len ? arena_fmt(running->a, "%s. %.*s", running->e.msg,
                                                         SV_FMT(buf_sv(&running->message)))
                                             : sv_from(running->e.msg);
    TRY(note_failed(running, change->message, e));
    if (!dropped)
        LOG_ERR("job_failed", &running->e, LOG_STR("job", running->entry->id));
    /* what no manifest names is nobody's */
    IGNORE(undo(running, &why));
    return ERR_OK;
}

/* A cancel came between the end of the run and its last status. As end_cancelled(). */
static err_code end_crossed(struct running *running, struct job_change *change, err_code rc,
                            struct err *why)
{
    move_logged(running, JOB_CANCEL_IN_PROGRESS);
    change->files_expire = false;
    if (rc != ERR_OK) {
        change->to = JOB_FAILED;
    } else if (running->ops->undo) {
        return end_cancelled(running, change, why);
    } else {
        change->to = JOB_CANCEL_FAILED;
        change->message = SV_LIT("The job had ended before it could be cancelled");
    }
    return ERR_OK;
}

/* The last status is written, then the scratch goes. False: it could not be written, so the job has
 * not ended, and what it goes on from stays. */
static bool finish(struct running *running, err_code rc)
{
    struct err e, why;
    struct job_progress last = running->run.live.progress;
    struct job_change change = { .to = running->status,
                                 .message = buf_sv(&running->message),
                                 .progress = &last,
                                 .under = running->entry->lease };
    sv ds = sv_from(running->entry->datastore_id), id = sv_from(running->entry->id);
    /* what a node before this one had told stays told */
    if (rc != ERR_OK)
        job_live_last(&running->run, &last);
    if (rc == ERR_CANCELLED && wish_of(running->engine, running->entry) == CANCEL) {
        move_logged(running, JOB_CANCEL_IN_PROGRESS);
        if (end_cancelled(running, &change, &why) != ERR_OK)
            return running->entry->lease == NULL;
    } else if (rc != ERR_OK) {
        if (end_failed(running, &change, &e) != ERR_OK) {
            LOG_ERR("job_record", &e, LOG_STR("job", running->entry->id));
            return false;
        }
    } else {
        change.files_expire = running->run.job->served;
    }
    err_code written;
    do
        written = job_engine_change(running->engine, running->entry->kind, ds, id, &change, &e);
    while (job_away_write_again(running->engine, written));
    if (written == ERR_CONFLICT) {
        if (end_crossed(running, &change, rc, &why) != ERR_OK)
            return running->entry->lease == NULL;
        written = job_engine_change(running->engine, running->entry->kind, ds, id, &change, &e);
    }
    if (written != ERR_OK) {
        /* who takes it up needs what it left: here or elsewhere, or after the next start */
        LOG_ERR("job_record", &e, LOG_STR("job", running->entry->id));
        return running->entry->lease == NULL;
    }
    if (running->ops->forget && running->run.store)
        running->ops->forget(&running->run);
    if (file_remove_tree(running->spool, &e) != ERR_OK)
        LOG_ERR("job_spool", &e, LOG_STR("job", running->entry->id));
    return true;
}

/* ---- a run ---- */

/* It had failed on another node, which did not come to its end. */
static err_code check_failed(struct running *running, struct err *e)
{
    CLEANUP_BUF struct buf why = BUF_INIT(MESSAGE_MAX);
    struct err none;
    if (running->run.lease == NULL)
        return ERR_OK;
    err_code rc = job_run_note_get(&running->run, NOTE_FAILED, &why, &none);
    if (rc == ERR_OK)
        return ERR(e, ERR_IO, "%.*s", SV_FMT(buf_sv(&why)));
    return rc == ERR_NOT_FOUND ? ERR_OK : err_pass(e, &none);
}

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
    TRY(check_failed(running, e));
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
        running->run.place = engine->served ? job_served_place(engine->served) : NULL;
        running->run.world = running->run.place ? job_files_world(running->run.place) : NULL;
        running->run.kept = engine->kept;
    }
    job_live_take_up(&running->run);
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
static err_code run_once(struct running *running)
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

/* It would not end by itself. */
static err_code end_in_vain(struct running *running)
{
    struct err why = running->e;
    buf_clear(&running->message);
    IGNORE(buf_add_fmt(&running->message, &why,
                       "The job was begun again and again without getting further though the "
                       "database could be written to"));
    running->e.code = ERR_IO;
    return ERR_IO;
}

static err_code run(struct running *running)
{
    struct job_away away = { .begun_us = clock_mono_us() };
    err_code rc;
    while (job_away_again(&away, &running->run, running->entry->id, rc = run_once(running),
                          &running->e)) {
        store_registry_release(running->engine->cfg.stores, running->run.store);
        running->run.store = NULL;
        buf_clear(&running->message);
        arena_reset(running->a);
    }
    /* a load that the database has lost is made again, too, by whoever goes on */
    if (rc == ERR_CONFLICT && away.since_us)
        rc = running->e.code = ERR_UNAVAILABLE;
    if (rc == ERR_UNAVAILABLE && job_away_in_vain(&away, &running->run))
        return end_in_vain(running);
    return rc;
}

/* E2: does the job keep its status for the next start? */
static bool stays(struct running *running, err_code rc)
{
    struct job_engine *engine = running->engine;
    struct job_entry *entry = running->entry;
    pthread_mutex_lock(&engine->locked.lock);
    bool halted = rc == ERR_CANCELLED && entry->wish == KEEP_GOING;
    bool stay = halted && engine->locked.stop;
    /* another node goes on, or this one when the database is there again */
    if (entry->lease)
        stay = stay || !lease_is_held(entry->lease) ||
               (rc == ERR_UNAVAILABLE && entry->wish == KEEP_GOING);
    /* the record said so before job_cancel() came to say it here */
    if (halted && !stay)
        entry->wish = CANCEL;
    pthread_mutex_unlock(&engine->locked.lock);
    return stay;
}

static void schedule_locked(struct job_engine *engine);

/* E1. ended: it goes from the list; else it stays there until the next look. The engine may be gone
 * when this returns. */
static void leave_list(struct job_engine *engine, struct job_entry *entry, bool ended)
{
    pthread_mutex_lock(&engine->locked.lock);
    if (ended) {
        job_entry_drop_locked(engine, entry);
    } else {
        entry->running = false;
        entry->elsewhere = true;
        entry->wish = KEEP_GOING;
        atomic_store(&entry->halt, false);
    }
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

/* Its lease is taken. False: it has not come to its end. */
static bool run_held(struct start s)
{
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
                                        .leave = &s.engine->stopping,
                                        .lease = s.entry->lease,
                                        .leases = s.engine->leases,
                                        .export_object_bytes = s.engine->cfg.export_object_bytes,
                                        .import_chunk_bytes = s.engine->cfg.import_chunk_bytes },
                               .message = BUF_INIT(MESSAGE_MAX),
                               .status = JOB_COMPLETED };
    (void)snprintf(running.spool, sizeof running.spool, "%s/%s", s.engine->cfg.spool_dir,
                   s.entry->id);
    running.run.spool_dir = running.spool;
    job_run_init(&running.run);
    err_code rc = run(&running);
    const bool ended = !stays(&running, rc) && finish(&running, rc);
    if (ended && running.ops->settle && running.run.store)
        running.ops->settle(&running.run);
    /* its progress is shown until its last status is written */
    pthread_mutex_lock(&s.engine->locked.lock);
    s.entry->run = NULL;
    pthread_mutex_unlock(&s.engine->locked.lock);
    store_registry_release(s.engine->cfg.stores, running.run.store);
    buf_done(&running.message);
    job_run_done(&running.run);
    arena_free(running.a);
    return ended;
}

static void *runner(void *arg)
{
    struct start s = *(struct start *)arg;
    bool ended;
    free(arg);
    if (job_hold(s.engine, s.entry, &ended)) {
        ended = run_held(s);
        job_let_go(s.engine, s.entry, ended);
    }
    leave_list(s.engine, s.entry, ended);
    return NULL;
}

/* ---- scheduling ---- */

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
        if (!entry->running && !entry->elsewhere && !job_entry_blocked_locked(engine, entry) &&
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
    if (!entry->running && !entry->elsewhere && !engine->locked.stop)
        (void)start_locked(engine, entry);
}

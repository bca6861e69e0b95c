/* run.c - jobs wait their turn and run on threads of their own; and what a running job may call.
 *
 * The list of the engine holds the unfinished jobs in the order in which they came in. A job may
 * start when none of its data store and kind is before it. Its thread reads the record, calls the
 * kind's run, writes the end down, and starts whoever may run next. A job that is to be cancelled
 * or dropped is halted; one that still waits is started for that, so that every job ends in one
 * place (finish).
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

void job_run_init(struct job_run *r)
{
    pthread_mutex_init(&r->live.lock, NULL);
    clock_cond_init(&r->live.halted);
}

void job_run_done(struct job_run *r)
{
    pthread_mutex_destroy(&r->live.lock);
    pthread_cond_destroy(&r->live.halted);
}

void job_run_wake(struct job_run *r)
{
    pthread_mutex_lock(&r->live.lock);
    pthread_cond_broadcast(&r->live.halted);
    pthread_mutex_unlock(&r->live.lock);
}

void job_run_pause(struct job_run *r, unsigned ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000ull);
    int rc = 0;
    pthread_mutex_lock(&r->live.lock);
    while (rc != ETIMEDOUT && !job_run_should_stop(r))
        rc = pthread_cond_timedwait(&r->live.halted, &r->live.lock, &until);
    pthread_mutex_unlock(&r->live.lock);
}

void job_run_progress_set(struct job_run *r, const struct job_progress *p)
{
    pthread_mutex_lock(&r->live.lock);
    r->live.progress = *p;
    pthread_mutex_unlock(&r->live.lock);
}

err_code job_run_note_put(struct job_run *r, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put(r->cfg->records, job_key_note(a, r->job->id, name), value, e);
}

err_code job_run_note_put_unsynced(struct job_run *r, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put_unsynced(r->cfg->records, job_key_note(a, r->job->id, name), value, e);
}

err_code job_run_note_get(struct job_run *r, sv name, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_get(r->cfg->records, job_key_note(a, r->job->id, name), out, e);
}

err_code job_run_note_scan(struct job_run *r, sv prefix, records_each_fn each, void *ctx,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_scan(r->cfg->records, job_key_note(a, r->job->id, prefix), SV_NONE, each, ctx,
                        e);
}

err_code job_run_set_instant(struct job_run *r, uint64_t t, int64_t instant_ms, struct err *e)
{
    struct job_change c = {
        .to = JOB_IN_PROGRESS, .set_instant = true, .t = t, .instant_ms = instant_ms
    };
    err_code rc =
        job_engine_change(r->engine, r->job->kind, r->job->datastore_id, r->job->id, &c, e);
    /* a cancel came first: the run ends as one that was stopped */
    return rc == ERR_CONFLICT ? ERR(e, ERR_CANCELLED, "the job is being cancelled") : rc;
}

err_code job_run_manifest_put(struct job_run *r, sv manifest, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    return records_put_unsynced(r->cfg->records, job_key_manifest(a, r->job->id), manifest, e);
}

err_code job_run_manifest_delete(struct job_run *r, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w = { RECORDS_DELETE, job_key_manifest(a, r->job->id), SV_NONE };
    return records_write(r->cfg->records, &w, 1, e);
}

err_code job_run_disk_check(const struct job_run *r, struct err *e)
{
    return job_disk_check(r->cfg, e);
}

err_code job_run_kept_grow(struct job_run *r, uint64_t bytes, struct err *e)
{
    TRY(job_kept_grow(r->kept, r->job->id, bytes, e));
    return job_disk_check(r->cfg, e);
}

#define RUNNING_MAX  16u /* jobs at a time in one process; others wait */
#define MESSAGE_MAX  4096u
#define RECORD_ARENA (32u << 20) /* a record and its parameters, parsed */

/* A job on its thread. */
struct running {
    struct job_engine *en;
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

struct job_entry *job_entry_find_locked(struct job_engine *en, job_kind kind, sv datastore_id,
                                        sv id)
{
    for (struct job_entry *x = en->locked.first; x; x = x->next)
        if (x->kind == kind && sv_eq_cstr(datastore_id, x->datastore_id) && sv_eq_cstr(id, x->id))
            return x;
    return NULL;
}

void job_entry_add_locked(struct job_engine *en, struct job_entry *x)
{
    struct job_entry **p = &en->locked.first;
    while (*p && (*p)->order < x->order)
        p = &(*p)->next;
    x->next = *p;
    *p = x;
}

void job_entry_drop_locked(struct job_engine *en, struct job_entry *x)
{
    struct job_entry **p = &en->locked.first;
    while (*p != x)
        p = &(*p)->next;
    *p = x->next;
    free(x);
}

void job_entry_halt_locked(struct job_entry *x)
{
    atomic_store(&x->halt, true);
    if (x->run)
        job_run_wake(x->run);
}

static int wish_of(struct job_engine *en, const struct job_entry *x)
{
    pthread_mutex_lock(&en->locked.lock);
    int wish = x->wish;
    pthread_mutex_unlock(&en->locked.lock);
    return wish;
}

/* ---- the end of a run ---- */

static err_code move(struct running *x, job_status to, struct err *e)
{
    struct job_change c = { .to = to };
    const struct job_entry *n = x->entry;
    return job_engine_change(x->en, n->kind, sv_from(n->datastore_id), sv_from(n->id), &c, e);
}

/* A move whose failure leaves nothing to do but say so: the record stays, a restart takes it up. */
static void move_logged(struct running *x, job_status to)
{
    struct err e;
    if (move(x, to, &e) != ERR_OK)
        LOG_ERR("job_record", &e, LOG_STR("job", x->entry->id), LOG_STR("to", job_status_name(to)));
}

/* Take away what the run wrote. */
static err_code undo(struct running *x, struct err *e)
{
    err_code rc = x->ops->undo && x->run.job ? x->ops->undo(&x->run, e) : ERR_OK;
    if (rc != ERR_OK)
        LOG_ERR("job_undo", e, LOG_STR("job", x->entry->id));
    return rc;
}

/* why: of the message, for as long as c is used. */
static void end_cancelled(struct running *x, struct job_change *c, struct err *why)
{
    err_code rc = undo(x, why);
    c->to = rc == ERR_OK ? JOB_CANCEL_COMPLETED : JOB_CANCEL_FAILED;
    c->message = rc == ERR_OK ? SV_NONE : sv_from(why->msg);
}

static void end_failed(struct running *x, struct job_change *c)
{
    struct err why;
    bool dropped = wish_of(x->en, x->entry) == DROP;
    c->to = JOB_FAILED;
    c->message = dropped ? SV_LIT("The data store was deleted") : sv_from(x->e.msg);
    if (!dropped)
        LOG_ERR("job_failed", &x->e, LOG_STR("job", x->entry->id));
    /* what no manifest names is nobody's */
    IGNORE(undo(x, &why));
}

/* A cancel came between the end of the run and its last status. */
static void end_crossed(struct running *x, struct job_change *c, err_code rc, struct err *why)
{
    move_logged(x, JOB_CANCEL_IN_PROGRESS);
    c->files_expire = false;
    if (rc != ERR_OK) {
        c->to = JOB_FAILED;
    } else if (x->ops->undo) {
        end_cancelled(x, c, why);
    } else {
        c->to = JOB_CANCEL_FAILED;
        c->message = SV_LIT("The job had ended before it could be cancelled");
    }
}

/* The last status is written, then the scratch goes. */
static void finish(struct running *x, err_code rc)
{
    struct err e, why;
    struct job_change c = { .to = x->status,
                            .message = buf_sv(&x->message),
                            .progress = &x->run.live.progress };
    sv ds = sv_from(x->entry->datastore_id), id = sv_from(x->entry->id);
    if (rc == ERR_CANCELLED && wish_of(x->en, x->entry) == CANCEL) {
        move_logged(x, JOB_CANCEL_IN_PROGRESS);
        end_cancelled(x, &c, &why);
    } else if (rc != ERR_OK) {
        end_failed(x, &c);
    } else {
        c.files_expire = x->run.job->served;
    }
    err_code written = job_engine_change(x->en, x->entry->kind, ds, id, &c, &e);
    if (written == ERR_CONFLICT) {
        end_crossed(x, &c, rc, &why);
        written = job_engine_change(x->en, x->entry->kind, ds, id, &c, &e);
        if (written != ERR_OK)
            LOG_ERR("job_record", &e, LOG_STR("job", x->entry->id));
    }
    if (x->ops->forget && x->run.store)
        x->ops->forget(&x->run);
    if (file_remove_tree(x->spool, &e) != ERR_OK)
        LOG_ERR("job_spool", &e, LOG_STR("job", x->entry->id));
}

/* ---- a run ---- */

static err_code run_kind(struct running *x, struct err *e)
{
    struct store_registry *stores = x->en->cfg.stores;
    sv id = sv_from(x->entry->datastore_id);
    err_code rc;
    do /* others may hold all the stores that can be open: each turn waits for them */
        rc = store_registry_acquire(stores, id, false, &x->run.store, e);
    while (rc == ERR_THROTTLED && !atomic_load(&x->entry->halt));
    TRY(rc == ERR_THROTTLED ? ERR(e, ERR_CANCELLED, "the job was stopped") : rc);
    TRY(file_mkdirs(x->spool, e));
    return x->ops->run(&x->run, &x->status, &x->message, e);
}

/* The record, and what of it the run needs. A cancel that it tells of is wished here too. */
static err_code read_record(struct running *x, struct err *e)
{
    struct job_engine *en = x->en;
    struct job_entry *n = x->entry;
    struct job *j = &x->rec.job;
    TRY(job_record_read(en->cfg.records, n->kind, sv_from(n->datastore_id), sv_from(n->id), x->a,
                        &x->rec, e));
    TRY(job_params_load(en->cfg.records, j->id, x->a, &j->params, e));
    x->run.job = j;
    if (j->served) {
        x->run.world = en->served ? job_served_world(en->served) : NULL;
        x->run.kept = en->kept;
    }
    x->run.live.progress = j->progress;
    bool cancelled = j->status == JOB_CANCEL_SUBMITTED || j->status == JOB_CANCEL_IN_PROGRESS;
    pthread_mutex_lock(&en->locked.lock);
    if (cancelled) {
        n->wish = CANCEL;
        atomic_store(&n->halt, true);
    }
    n->run = &x->run;
    pthread_mutex_unlock(&en->locked.lock);
    return ERR_OK;
}

/* From the status IN_PROGRESS to the end of the work. */
static err_code run(struct running *x)
{
    struct err read_err;
    err_code rc = ERR_OK;
    if (wish_of(x->en, x->entry) == KEEP_GOING)
        rc = move(x, JOB_IN_PROGRESS, &x->e);
    /* it is being cancelled: a cancel that a restart found */
    if (rc == ERR_CONFLICT)
        rc = ERR_CANCELLED;
    if (read_record(x, &read_err) == ERR_OK)
        return rc == ERR_OK || rc == ERR_CANCELLED ? run_kind(x, &x->e) : rc;
    if (rc == ERR_OK) {
        x->e = read_err;
        rc = read_err.code;
    }
    return rc;
}

/* E2: does the job keep its status for the next start? */
static bool stays(struct running *x, err_code rc)
{
    struct job_engine *en = x->en;
    struct job_entry *n = x->entry;
    pthread_mutex_lock(&en->locked.lock);
    n->run = NULL;
    bool halted = rc == ERR_CANCELLED && n->wish == KEEP_GOING;
    bool stay = halted && en->locked.stop;
    /* the record said so before job_cancel() came to say it here */
    if (halted && !stay)
        n->wish = CANCEL;
    pthread_mutex_unlock(&en->locked.lock);
    return stay;
}

static void schedule_locked(struct job_engine *en);

/* E1. The engine may be gone when this returns. */
static void leave_list(struct job_engine *en, struct job_entry *x)
{
    pthread_mutex_lock(&en->locked.lock);
    job_entry_drop_locked(en, x);
    assert(en->locked.n_running > 0);
    en->locked.n_running--;
    schedule_locked(en);
    pthread_cond_broadcast(&en->locked.changed);
    pthread_mutex_unlock(&en->locked.lock);
}

struct start {
    struct job_engine *en;
    struct job_entry *entry;
};

static void *runner(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    struct running x = { .en = s.en,
                         .entry = s.entry,
                         .ops = s.en->cfg.kinds[s.entry->kind],
                         .a = arena_new(RECORD_ARENA),
                         .run = { .engine = s.en,
                                  .world = s.en->cfg.world,
                                  .pool = s.en->pool,
                                  .cfg = &s.en->cfg,
                                  .halt = &s.entry->halt,
                                  .export_object_bytes = s.en->cfg.export_object_bytes,
                                  .import_chunk_bytes = s.en->cfg.import_chunk_bytes },
                         .message = BUF_INIT(MESSAGE_MAX),
                         .status = JOB_COMPLETED };
    (void)snprintf(x.spool, sizeof x.spool, "%s/%s", s.en->cfg.spool_dir, s.entry->id);
    x.run.spool_dir = x.spool;
    job_run_init(&x.run);
    err_code rc = run(&x);
    if (!stays(&x, rc)) {
        finish(&x, rc);
        if (x.ops->settle && x.run.store)
            x.ops->settle(&x.run);
    }
    store_registry_release(s.en->cfg.stores, x.run.store);
    buf_done(&x.message);
    job_run_done(&x.run);
    arena_free(x.a);
    leave_list(s.en, s.entry);
    return NULL;
}

/* ---- scheduling ---- */

bool job_entry_blocked_locked(struct job_engine *en, const struct job_entry *x)
{
    if (en->locked.n_running >= RUNNING_MAX)
        return true;
    for (struct job_entry *y = en->locked.first; y != x; y = y->next)
        /* one before it runs or waits */
        if (y->kind == x->kind && strcmp(y->datastore_id, x->datastore_id) == 0)
            return true;
    return false;
}

/* False: no thread can be had; the next end of a job tries again. */
static bool start_locked(struct job_engine *en, struct job_entry *x)
{
    struct start *arg = malloc(sizeof *arg);
    pthread_t t;
    if (arg == NULL)
        abort();
    *arg = (struct start){ en, x };
    if (pthread_create(&t, NULL, runner, arg) != 0) {
        free(arg);
        return false;
    }
    /* n_running says when it is gone */
    pthread_detach(t);
    x->running = true;
    en->locked.n_running++;
    return true;
}

static void schedule_locked(struct job_engine *en)
{
    for (struct job_entry *x = en->locked.first; x && !en->locked.stop; x = x->next)
        if (!x->running && !job_entry_blocked_locked(en, x) && !start_locked(en, x))
            break;
}

void job_engine_schedule(struct job_engine *en)
{
    pthread_mutex_lock(&en->locked.lock);
    schedule_locked(en);
    pthread_mutex_unlock(&en->locked.lock);
}

void job_entry_wish_locked(struct job_engine *en, struct job_entry *x, int wish)
{
    x->wish = wish;
    job_entry_halt_locked(x);
    if (!x->running && !en->locked.stop)
        (void)start_locked(en, x);
}

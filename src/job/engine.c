/* engine.c - jobs wait their turn, run on a thread of their own, and end with a record (submit.c: how they come in).
 *
 * The records are the truth; `locked` mirrors the unfinished ones so that scheduling needs no disk. Every
 * change of a record goes through job_engine_change(), which reads it, checks the move, and writes it, one at a
 * time. */
#include "job/engine.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#include <limits.h>

#define RUNNING_MAX 16u /* jobs at a time in one process; others wait */

static void schedule_locked(struct job_engine *en);

/* ---- records ---- */

void job_engine_log(const char *event, const struct job *j)
{
    LOG(LOG_INFO, event, LOG_STR("kind", job_kind_name(j->kind)), LOG_SV("job", j->id),
        LOG_SV("datastore", j->datastore_id), LOG_STR("status", job_status_name(j->status)));
}

err_code job_engine_change(struct job_engine *en, job_kind kind, sv datastore_id, sv id,
                           const struct job_change *c, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct job_record rec;
    bool ended = false;
    pthread_mutex_lock(&en->record_lock);
    err_code rc = job_record_read(en->cfg.records, kind, datastore_id, id, a, &rec, e);
    if (rc == ERR_OK && c->to != rec.job.status && !job_status_may(rec.job.status, c->to))
        rc = ERR(e, ERR_CONFLICT, "job is %s", job_status_name(rec.job.status));
    if (rc == ERR_OK) {
        bool moved = c->to != rec.job.status;
        rec.job.status = c->to;
        if (c->to == JOB_IN_PROGRESS && rec.job.start_ms == 0)
            rec.job.start_ms = clock_wall_ms();
        if (job_status_is_final(c->to) && rec.job.end_ms == 0)
            rec.job.end_ms = clock_wall_ms();
        if (c->files_expire && rec.job.expires_ms == 0)
            rec.job.expires_ms = rec.job.end_ms + en->cfg.served_ms;
        if (c->files_removed)
            rec.files_removed_ms = clock_wall_ms();
        if (c->progress)
            rec.job.progress = *c->progress;
        if (c->message.len)
            rec.job.message = job_message_clean(a, c->message);
        if (c->set_instant) {
            rec.job.as_of_t = c->t;
            rec.job.transaction_ms = c->instant_ms;
        }
        bool ends = moved && job_status_is_final(c->to);
        /* that it runs may go with the machine: the job is then where it was before */
        bool synced = c->to != JOB_IN_PROGRESS;
        rc = ends ? job_record_finish(en->cfg.records, &rec, e)
                  : job_record_update(en->cfg.records, &rec, synced, e);
        if (rc == ERR_OK && ends && rec.job.expires_ms) {
            job_kept_end(en->kept, id, rec.job.expires_ms);
            job_served_expect(en->served, rec.job.expires_ms);
        } else if (rc == ERR_OK && (ends || c->files_removed)) {
            job_kept_leave(en->kept, id);
        }
        if (rc == ERR_OK && moved)
            job_engine_log("job", &rec.job);
        ended = rc == ERR_OK && ends;
    }
    pthread_mutex_unlock(&en->record_lock);
    if (ended && en->cfg.ended)
        en->cfg.ended(en->cfg.ended_ctx, id);
    return rc;
}

static err_code move(struct job_engine *en, const struct job_entry *x, job_status to, sv message,
                     struct err *e)
{
    struct job_change c = { .to = to, .message = message };
    return job_engine_change(en, x->kind, sv_from(x->datastore_id), sv_from(x->id), &c, e);
}

/* A move whose failure leaves nothing to do but say so: the record stays, a restart takes it up. */
static void move_logged(struct job_engine *en, const struct job_entry *x, job_status to, sv message)
{
    struct err e;
    if (move(en, x, to, message, &e) != ERR_OK)
        LOG_ERR("job_record", &e, LOG_STR("job", x->id), LOG_STR("to", job_status_name(to)));
}

/* ---- what a run may call ---- */

void job_run_progress_set(struct job_run *r, const struct job_progress *p)
{
    pthread_mutex_lock(&r->live.lock);
    r->live.progress = *p;
    pthread_mutex_unlock(&r->live.lock);
}

static sv note_key(struct arena *a, const struct job_run *r, sv name)
{
    return arena_fmt(a, "jobnote/%.*s/%.*s", SV_FMT(r->job->id), SV_FMT(name));
}

err_code job_run_note_put(struct job_run *r, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put(r->engine->cfg.records, note_key(a, r, name), value, e);
}

err_code job_run_note_put_unsynced(struct job_run *r, sv name, sv value, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_put_unsynced(r->engine->cfg.records, note_key(a, r, name), value, e);
}

err_code job_run_note_get(struct job_run *r, sv name, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_get(r->engine->cfg.records, note_key(a, r, name), out, e);
}

err_code job_run_note_scan(struct job_run *r, sv prefix, records_each_fn each, void *ctx,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    return records_scan(r->engine->cfg.records, note_key(a, r, prefix), SV_NONE, each, ctx, e);
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

/* ---- one run ---- */

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

static void drop_locked(struct job_engine *en, struct job_entry *x)
{
    struct job_entry **p = &en->locked.first;
    while (*p != x)
        p = &(*p)->next;
    *p = x->next;
    free(x);
}

static int wish_of(struct job_engine *en, const struct job_entry *x)
{
    pthread_mutex_lock(&en->locked.lock);
    int wish = x->wish;
    pthread_mutex_unlock(&en->locked.lock);
    return wish;
}

/* Take away what an export wrote. */
static err_code undo(struct job_entry *x, struct job_run *r, struct err *e)
{
    return x->kind == JOB_EXPORT && r->job ? export_undo(r, e) : ERR_OK;
}

static void end_cancelled(struct job_entry *x, struct job_run *r, struct job_change *c,
                          struct err *e)
{
    err_code rc = undo(x, r, e);
    if (rc != ERR_OK)
        LOG_ERR("job_undo", e, LOG_STR("job", x->id));
    c->to = rc == ERR_OK ? JOB_CANCEL_COMPLETED : JOB_CANCEL_FAILED;
    c->message = rc == ERR_OK ? SV_NONE : sv_from(e->msg);
}

/* The end of a run that came to one. */
static void finish(struct job_engine *en, struct job_entry *x, struct job_run *r, err_code rc,
                   job_status status, sv message, struct err *run_err)
{
    struct err e, why;
    struct job_change c = { .to = status, .message = message, .progress = &r->live.progress };
    if (rc == ERR_CANCELLED && wish_of(en, x) == CANCEL) {
        move_logged(en, x, JOB_CANCEL_IN_PROGRESS, SV_NONE);
        end_cancelled(x, r, &c, &why);
    } else if (rc != ERR_OK) {
        c.to = JOB_FAILED;
        c.message =
            wish_of(en, x) == DROP ? SV_LIT("The data store was deleted") : sv_from(run_err->msg);
        if (wish_of(en, x) != DROP)
            LOG_ERR("job_failed", run_err, LOG_STR("job", x->id));
        if (undo(x, r, &why) != ERR_OK) /* what no manifest names is nobody's */
            LOG_ERR("job_undo", &why, LOG_STR("job", x->id));
    } else {
        c.files_expire = r->job->served;
    }
    sv ds = sv_from(x->datastore_id), id = sv_from(x->id);
    if (job_engine_change(en, x->kind, ds, id, &c, &e) ==
        ERR_CONFLICT) { /* a cancel came in between */
        move_logged(en, x, JOB_CANCEL_IN_PROGRESS, SV_NONE);
        c.files_expire = false;
        if (rc == ERR_OK && x->kind == JOB_EXPORT) {
            end_cancelled(x, r, &c, &why);
        } else if (rc == ERR_OK) {
            c.to = JOB_CANCEL_FAILED;
            c.message = SV_LIT("The job had ended before it could be cancelled");
        } else {
            c.to = JOB_FAILED;
        }
        if (job_engine_change(en, x->kind, ds, id, &c, &e) != ERR_OK)
            LOG_ERR("job_record", &e, LOG_STR("job", x->id));
    }
    if (x->kind == JOB_IMPORT && r->store)
        import_forget(r);
    if (file_remove_tree(r->spool_dir, &e) != ERR_OK)
        LOG_ERR("job_spool", &e, LOG_STR("job", x->id));
}

static err_code run_job(struct job_engine *en, struct job_entry *x, struct job_run *r,
                        job_status *status, struct buf *message, struct err *e)
{
    err_code rc;
    do /* others may hold all the stores that can be open: each turn waits for them */
        rc = store_registry_acquire(en->cfg.stores, sv_from(x->datastore_id), false, &r->store, e);
    while (rc == ERR_THROTTLED && !atomic_load(&x->halt));
    TRY(rc == ERR_THROTTLED ? ERR(e, ERR_CANCELLED, "the job was stopped") : rc);
    TRY(file_mkdirs(r->spool_dir, e));
    return x->kind == JOB_EXPORT ? export_run(r, status, message, e)
                                 : import_run(r, status, message, e);
}

static void *runner(void *arg)
{
    struct {
        struct job_engine *en;
        struct job_entry *x;
    } *start = arg, s = *start;
    free(start);
    struct job_engine *en = s.en;
    struct job_entry *x = s.x;
    struct arena *a = arena_new(32u << 20);
    struct job_record rec;
    struct err e = { 0 };
    char spool[PATH_MAX];
    (void)snprintf(spool, sizeof spool, "%s/%s", en->spool_dir, x->id);
    struct job_run r = { .engine = en,
                         .world = en->cfg.world,
                         .pool = en->pool,
                         .cfg = &en->cfg,
                         .spool_dir = spool,
                         .halt = &x->halt,
                         .export_object_bytes = en->cfg.export_object_bytes,
                         .import_chunk_bytes = en->cfg.import_chunk_bytes };
    struct buf message = BUF_INIT(4096);
    job_status status = JOB_COMPLETED;
    pthread_mutex_init(&r.live.lock, NULL);
    err_code rc = ERR_OK;
    if (wish_of(en, x) == KEEP_GOING)
        rc = move(en, x, JOB_IN_PROGRESS, SV_NONE, &e);
    if (rc == ERR_CONFLICT) /* it is being cancelled: a cancel that a restart found */
        rc = ERR_CANCELLED;
    struct err read_err;
    if (job_record_read(en->cfg.records, x->kind, sv_from(x->datastore_id), sv_from(x->id), a, &rec,
                        &read_err) == ERR_OK &&
        job_params_load(en->cfg.records, rec.job.id, a, &rec.job.params, &read_err) == ERR_OK) {
        r.job = &rec.job;
        if (rec.job.served) {
            r.world = en->served ? job_served_world(en->served) : NULL;
            r.kept = en->kept;
        }
        r.live.progress = rec.job.progress;
        if (rec.job.status == JOB_CANCEL_SUBMITTED || rec.job.status == JOB_CANCEL_IN_PROGRESS) {
            pthread_mutex_lock(&en->locked.lock);
            x->wish = CANCEL;
            pthread_mutex_unlock(&en->locked.lock);
            atomic_store(&x->halt, true);
        }
        pthread_mutex_lock(&en->locked.lock);
        x->run = &r;
        pthread_mutex_unlock(&en->locked.lock);
        if (rc == ERR_OK || rc == ERR_CANCELLED)
            rc = run_job(en, x, &r, &status, &message, &e);
    } else if (rc == ERR_OK) {
        rc = read_err.code;
        e = read_err;
    }
    pthread_mutex_lock(&en->locked.lock);
    x->run = NULL;
    bool leave = rc == ERR_CANCELLED && x->wish == KEEP_GOING && en->locked.stop;
    if (rc == ERR_CANCELLED && x->wish == KEEP_GOING && !leave)
        x->wish = CANCEL; /* the record said so before job_cancel() came to say it here */
    pthread_mutex_unlock(&en->locked.lock);
    if (!leave)
        finish(en, x, &r, rc, status, buf_sv(&message), &e);
    if (!leave && x->kind == JOB_IMPORT &&
        r.store) /* when it does not succeed, the first count does it */
        IGNORE(store_counts_settle(r.store, &x->halt, &e));
    store_registry_release(en->cfg.stores, r.store);
    buf_done(&message);
    pthread_mutex_destroy(&r.live.lock);
    arena_free(a);
    pthread_mutex_lock(&en->locked.lock);
    drop_locked(en, x);
    en->locked.n_running--;
    schedule_locked(en);
    pthread_cond_broadcast(&en->locked.changed);
    pthread_mutex_unlock(&en->locked.lock); /* from here on the engine may be gone */
    return NULL;
}

/* ---- scheduling ---- */

bool job_entry_blocked_locked(struct job_engine *en, const struct job_entry *x)
{
    if (en->locked.n_running >= RUNNING_MAX)
        return true;
    for (struct job_entry *y = en->locked.first; y != x; y = y->next)
        if (y->kind == x->kind && strcmp(y->datastore_id, x->datastore_id) == 0)
            return true; /* one before it runs or waits */
    return false;
}

static bool start_thread(struct job_engine *en, struct job_entry *x)
{
    struct {
        struct job_engine *en;
        struct job_entry *x;
    } *arg = malloc(sizeof *arg);
    if (arg == NULL)
        abort();
    arg->en = en;
    arg->x = x;
    pthread_t t;
    if (pthread_create(&t, NULL, runner, arg) != 0) {
        free(arg);
        return false;
    }
    pthread_detach(t); /* n_running says when it is gone */
    return true;
}

/* Start whatever may start. */
static void schedule_locked(struct job_engine *en)
{
    for (struct job_entry *x = en->locked.first; x && !en->locked.stop; x = x->next)
        if (!x->running && !job_entry_blocked_locked(en, x)) {
            x->running = true;
            en->locked.n_running++;
            if (!start_thread(en, x)) { /* no thread to be had: the next end of a job tries again */
                x->running = false;
                en->locked.n_running--;
                break;
            }
        }
}

void job_engine_schedule(struct job_engine *en)
{
    pthread_mutex_lock(&en->locked.lock);
    schedule_locked(en);
    pthread_mutex_unlock(&en->locked.lock);
}

/* ---- questions ---- */

err_code job_export_check(struct job_engine *en, sv datastore_id,
                          const struct job_export_params *params, struct err *e)
{
    return export_check(&en->cfg, datastore_id, params, e);
}

static void overlay_live(struct job_engine *en, struct job *j, struct arena *a)
{
    pthread_mutex_lock(&en->locked.lock);
    struct job_entry *x = job_entry_find_locked(en, j->kind, j->datastore_id, j->id);
    if (x && x->run) {
        pthread_mutex_lock(&x->run->live.lock);
        j->progress = x->run->live.progress;
        pthread_mutex_unlock(&x->run->live.lock);
    }
    pthread_mutex_unlock(&en->locked.lock);
    if (j->kind == JOB_EXPORT && j->status == JOB_IN_PROGRESS)
        j->message = job_progress_text(j, a);
}

err_code job_get(struct job_engine *en, job_kind kind, sv datastore_id, sv job_id, struct arena *a,
                 struct job *out, struct err *e)
{
    struct job_record rec;
    TRY(job_record_read(en->cfg.records, kind, datastore_id, job_id, a, &rec, e));
    if (kind == JOB_EXPORT)
        TRY(job_params_load(en->cfg.records, rec.job.id, a, &rec.job.params, e));
    if (!job_status_is_final(rec.job.status))
        overlay_live(en, &rec.job, a);
    *out = rec.job;
    return ERR_OK;
}

err_code job_list(struct job_engine *en, job_kind kind, const struct job_filter *filter, sv after,
                  unsigned max, struct arena *a, struct job **out, size_t *n_out, sv *next,
                  struct err *e)
{
    TRY(job_record_list(en->cfg.records, kind, filter, after, max, a, out, n_out, next, e));
    for (size_t i = 0; i < *n_out; i++)
        if (!job_status_is_final((*out)[i].status))
            overlay_live(en, &(*out)[i], a);
    return ERR_OK;
}

struct job_served *job_engine_served(struct job_engine *en, struct records **records)
{
    *records = en->cfg.records;
    return en->served;
}

/* ---- cancel and drop ---- */

/* Tell an entry what is wished of it; a waiting one is started so that it can end. locked.lock is held. */
static void wish_locked(struct job_engine *en, struct job_entry *x, int wish)
{
    x->wish = wish;
    atomic_store(&x->halt, true);
    if (!x->running && !en->locked.stop) {
        x->running = true;
        en->locked.n_running++;
        if (!start_thread(en, x)) {
            x->running = false;
            en->locked.n_running--;
        }
    }
}

err_code job_cancel(struct job_engine *en, job_kind kind, sv datastore_id, sv job_id, struct err *e)
{
    struct job_change c = { .to = JOB_CANCEL_SUBMITTED };
    TRY(job_engine_change(en, kind, datastore_id, job_id, &c, e));
    pthread_mutex_lock(&en->locked.lock);
    struct job_entry *x = job_entry_find_locked(en, kind, datastore_id, job_id);
    if (x)
        wish_locked(en, x, CANCEL);
    pthread_mutex_unlock(&en->locked.lock);
    return ERR_OK;
}

static bool has_jobs_locked(struct job_engine *en, sv datastore_id, bool wish)
{
    bool any = false;
    for (struct job_entry *x = en->locked.first; x; x = x->next)
        if (sv_eq_cstr(datastore_id, x->datastore_id)) {
            any = true;
            if (wish && x->wish != DROP)
                wish_locked(en, x, DROP);
        }
    return any;
}

err_code job_datastore_drop(struct job_engine *en, sv datastore_id, struct err *e)
{
    err_code rc = ERR_OK;
    pthread_mutex_lock(&en->locked.lock);
    while (has_jobs_locked(en, datastore_id, true) && !en->locked.stop)
        pthread_cond_wait(&en->locked.changed, &en->locked.lock);
    if (has_jobs_locked(en, datastore_id, false))
        rc = ERR(e, ERR_CANCELLED, "the service is stopping");
    pthread_mutex_unlock(&en->locked.lock);
    return rc;
}

err_code job_datastore_forget(struct job_engine *en, sv datastore_id, struct err *e)
{
    bool any = false;
    TRY(job_datastore_drop(en, datastore_id,
                           e)); /* what came in while the store was still held (submit.c) */
    if (en->served)
        TRY(job_served_drop(en->served, datastore_id, e));
    pthread_mutex_lock(&en->record_lock);
    err_code rc = job_records_forget(en->cfg.records, datastore_id, &any, e);
    pthread_mutex_unlock(&en->record_lock);
    return rc == ERR_OK && any ? records_scrub(en->cfg.records, e) : rc;
}

/* ---- life ---- */

/* job_removed_fn */
static err_code files_removed(void *ctx, sv datastore_id, sv id, struct err *e)
{
    struct job_engine *en = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct job_record rec;
    err_code rc = job_record_read(en->cfg.records, JOB_EXPORT, datastore_id, id, a, &rec, e);
    struct job_change c = { .to = rec.job.status,
                            .files_removed = true }; /* the last status stays */
    return rc == ERR_OK ? job_engine_change(en, JOB_EXPORT, datastore_id, id, &c, e) : rc;
}

/* job_active_check_fn */
static bool is_active(void *ctx, sv id)
{
    struct job_engine *en = ctx;
    bool found = false;
    pthread_mutex_lock(&en->locked.lock);
    for (struct job_entry *x = en->locked.first; x && !found; x = x->next)
        found = sv_eq_cstr(id, x->id);
    pthread_mutex_unlock(&en->locked.lock);
    return found;
}

static void add_active(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order)
{
    struct job_engine *en = ctx;
    struct job_entry *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    x->kind = kind;
    x->order = order;
    (void)snprintf(x->datastore_id, sizeof x->datastore_id, "%.*s", SV_FMT(datastore_id));
    (void)snprintf(x->id, sizeof x->id, "%.*s", SV_FMT(job_id));
    LOG(LOG_INFO, "job_resumed", LOG_STR("kind", job_kind_name(kind)), LOG_SV("job", job_id),
        LOG_SV("datastore", datastore_id));
    pthread_mutex_lock(&en->locked.lock);
    job_entry_add_locked(en, x);
    if (order > en->locked.last_order)
        en->locked.last_order = order;
    pthread_mutex_unlock(&en->locked.lock);
}

/* ---- what is kept of before ---- */

static err_code load_one(struct job_engine *en, sv datastore_id, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job_record rec;
    TRY(job_record_read(en->cfg.records, JOB_EXPORT, datastore_id, id, a, &rec, e));
    if (rec.job.served && !rec.job.discarded)
        job_kept_load(en->kept, &rec.job);
    return ERR_OK;
}

struct load_ctx {
    struct job_engine *en;
    err_code rc;
    struct err *e;
};

static bool load_ended(void *ctx, sv key, sv datastore_id)
{
    struct load_ctx *c = ctx;
    sv id = sv_tail(key, key.len - 32);
    c->rc = load_one(c->en, datastore_id, id, c->e);
    return c->rc == ERR_OK;
}

/* Jobs that wait or run, and those whose files have not expired. No other thread is there yet. */
static err_code load_kept(struct job_engine *en, struct err *e)
{
    struct load_ctx c = { en, ERR_OK, e };
    for (struct job_entry *x = en->locked.first; x; x = x->next)
        if (x->kind == JOB_EXPORT)
            TRY(load_one(en, sv_from(x->datastore_id), sv_from(x->id), e));
    TRY(records_scan(en->cfg.records, SV_LIT("jobexpiry/"), SV_NONE, load_ended, &c, e));
    return c.rc;
}

err_code job_engine_start(const struct job_engine_config *cfg, struct job_engine **out,
                          struct err *e)
{
    struct job_engine *en = calloc(1, sizeof *en);
    if (en == NULL || (en->spool_dir = strdup(cfg->spool_dir)) == NULL)
        abort();
    en->cfg = *cfg;
    en->cfg.spool_dir = en->spool_dir;
    if (cfg->served_dir && (en->cfg.served_dir = en->served_dir = strdup(cfg->served_dir)) == NULL)
        abort();
    if (en->cfg.export_object_bytes == 0)
        en->cfg.export_object_bytes = LIMIT_EXPORT_OBJECT_BYTES;
    if (en->cfg.import_chunk_bytes == 0)
        en->cfg.import_chunk_bytes = LIMIT_IMPORT_CHUNK_BYTES;
    if (en->cfg.served_ms == 0)
        en->cfg.served_ms = LIMIT_SERVED_HOURS * 3600000LL;
    pthread_mutex_init(&en->record_lock, NULL);
    pthread_mutex_init(&en->locked.lock, NULL);
    pthread_cond_init(&en->locked.changed, NULL);
    en->kept = job_kept_new(&cfg->served_limits);
    err_code rc = job_pool_start(cfg->n_workers, &en->pool, e);
    if (rc == ERR_OK)
        rc = job_records_active(cfg->records, add_active, en, e);
    if (rc == ERR_OK)
        rc = file_mkdirs(en->spool_dir, e);
    if (rc == ERR_OK)
        rc = load_kept(en, e);
    if (rc == ERR_OK)
        rc = job_spool_sweep(en->spool_dir, is_active, en, e);
    if (rc == ERR_OK && cfg->served_dir)
        rc = job_served_start(cfg->records, cfg->served_dir, files_removed, is_active, en,
                              &en->served, e);
    if (rc != ERR_OK) {
        job_engine_stop(en);
        return rc;
    }
    job_engine_schedule(en);
    *out = en;
    return ERR_OK;
}

void job_engine_stop(struct job_engine *en)
{
    if (en == NULL)
        return;
    pthread_mutex_lock(&en->locked.lock);
    en->locked.stop = true;
    for (struct job_entry *x = en->locked.first; x; x = x->next)
        atomic_store(&x->halt, true);
    pthread_cond_broadcast(&en->locked.changed);
    while (en->locked.n_running)
        pthread_cond_wait(&en->locked.changed, &en->locked.lock);
    while (en->locked.first)
        drop_locked(en, en->locked.first);
    pthread_mutex_unlock(&en->locked.lock);
    job_served_stop(en->served);
    job_pool_stop(en->pool);
    job_kept_free(en->kept);
    pthread_mutex_destroy(&en->record_lock);
    pthread_mutex_destroy(&en->locked.lock);
    pthread_cond_destroy(&en->locked.changed);
    free(en->spool_dir);
    free(en->served_dir);
    free(en);
}

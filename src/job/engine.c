/* engine.c - the engine's life, and what is asked of it about jobs that are there.
 *
 * The records are the truth. `locked` mirrors the unfinished jobs, so that scheduling needs no
 * disk: the engine reads them at its start, submit.c adds to them, run.c runs them and takes
 * them away. */
#include "job/job_private.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#include <assert.h>

/* ---- questions ---- */

err_code job_export_check(struct job_engine *en, sv datastore_id,
                          const struct job_export_params *params, struct err *e)
{
    return en->cfg.kinds[JOB_EXPORT]->check(&en->cfg, datastore_id, params, e);
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

/* ---- cancel and drop ---- */

err_code job_cancel(struct job_engine *en, job_kind kind, sv datastore_id, sv job_id, struct err *e)
{
    struct job_change c = { .to = JOB_CANCEL_SUBMITTED };
    TRY(job_engine_change(en, kind, datastore_id, job_id, &c, e));
    pthread_mutex_lock(&en->locked.lock);
    struct job_entry *x = job_entry_find_locked(en, kind, datastore_id, job_id);
    if (x)
        job_entry_wish_locked(en, x, CANCEL);
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
                job_entry_wish_locked(en, x, DROP);
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
    /* what came in while the store was still held (submit.c) */
    TRY(job_datastore_drop(en, datastore_id, e));
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
    TRY(job_record_read(en->cfg.records, JOB_EXPORT, datastore_id, id, a, &rec, e));
    /* the last status stays */
    struct job_change c = { .to = rec.job.status, .files_removed = true };
    return job_engine_change(en, JOB_EXPORT, datastore_id, id, &c, e);
}

/* job_wanted_fn: of a job that has not ended. */
static err_code is_active(void *ctx, sv id, bool *out, struct err *e)
{
    struct job_engine *en = ctx;
    (void)e;
    *out = false;
    pthread_mutex_lock(&en->locked.lock);
    for (struct job_entry *x = en->locked.first; x && !*out; x = x->next)
        *out = sv_eq_cstr(id, x->id);
    pthread_mutex_unlock(&en->locked.lock);
    return ERR_OK;
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
    sv id = sv_tail(key, key.len - JOB_ID_LEN);
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
    TRY(records_scan(en->cfg.records, SV_LIT(JOB_KEYS_EXPIRY), SV_NONE, load_ended, &c, e));
    return c.rc;
}

/* Its own copy, with defaults for what was left out. */
static void configure(struct job_engine *en, const struct job_engine_config *cfg)
{
    en->cfg = *cfg;
    en->spool_dir = strdup(cfg->spool_dir);
    en->served_dir = cfg->served_dir ? strdup(cfg->served_dir) : NULL;
    if (en->spool_dir == NULL || (cfg->served_dir && en->served_dir == NULL))
        abort();
    en->cfg.spool_dir = en->spool_dir;
    en->cfg.served_dir = en->served_dir;
    if (en->cfg.export_object_bytes == 0)
        en->cfg.export_object_bytes = LIMIT_EXPORT_OBJECT_BYTES;
    if (en->cfg.import_chunk_bytes == 0)
        en->cfg.import_chunk_bytes = LIMIT_IMPORT_CHUNK_BYTES;
    if (en->cfg.served_ms == 0)
        en->cfg.served_ms = LIMIT_SERVED_HOURS * 3600000LL;
}

static err_code start(struct job_engine *en, struct err *e)
{
    const struct job_engine_config *cfg = &en->cfg;
    TRY(job_pool_start(cfg->n_workers, &en->pool, e));
    TRY(job_records_active(cfg->records, add_active, en, e));
    TRY(file_mkdirs(cfg->spool_dir, e));
    TRY(load_kept(en, e));
    TRY(job_folders_sweep(cfg->spool_dir, is_active, en, e));
    if (cfg->served_dir == NULL)
        return ERR_OK;
    return job_served_start(cfg->records, cfg->served_dir, files_removed, is_active, en,
                            &en->served, e);
}

err_code job_engine_start(const struct job_engine_config *cfg, struct job_engine **out,
                          struct err *e)
{
    struct job_engine *en = calloc(1, sizeof *en);
    if (en == NULL)
        abort();
    assert(cfg->kinds[JOB_EXPORT] && cfg->kinds[JOB_IMPORT]);
    configure(en, cfg);
    pthread_mutex_init(&en->record_lock, NULL);
    pthread_mutex_init(&en->locked.lock, NULL);
    pthread_cond_init(&en->locked.changed, NULL);
    en->kept = job_kept_new(&cfg->served_limits);
    err_code rc = start(en, e);
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
        job_entry_halt_locked(x);
    pthread_cond_broadcast(&en->locked.changed);
    while (en->locked.n_running)
        pthread_cond_wait(&en->locked.changed, &en->locked.lock);
    while (en->locked.first)
        job_entry_drop_locked(en, en->locked.first);
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

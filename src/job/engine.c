/* engine.c - the engine's life, and what is asked of it about jobs that are there.
 *
 * The records are the truth. `locked` mirrors the unfinished jobs, so that scheduling needs no
 * disk: the engine reads them at its start, submit.c adds to them, run.c runs them and takes
 * them away. Where several nodes have the records, nodes/ makes it say what they do. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#include <assert.h>

/* ---- questions ---- */

err_code job_export_check(struct job_engine *engine, sv datastore_id,
                          const struct job_export_params *params, struct err *e)
{
    return engine->cfg.kinds[JOB_EXPORT]->check(&engine->cfg, datastore_id, params, e);
}

static void overlay_live(struct job_engine *engine, struct job *job, struct arena *a)
{
    pthread_mutex_lock(&engine->locked.lock);
    struct job_entry *entry = job_entry_find_locked(engine, job->kind, job->datastore_id, job->id);
    /* of several nodes each shows what the holder has told, so that it goes back nowhere */
    if (entry && entry->run && !engine->shared && job->kind == JOB_IMPORT)
        job_live_last(entry->run, &job->progress);
    else if (entry && entry->run && !engine->shared) {
        pthread_mutex_lock(&entry->run->live.lock);
        job->progress = entry->run->live.progress;
        pthread_mutex_unlock(&entry->run->live.lock);
    }
    pthread_mutex_unlock(&engine->locked.lock);
    if (job->kind == JOB_EXPORT && job->status == JOB_IN_PROGRESS)
        job->message = job_progress_text(job, a);
}

/* What a run tells of its progress goes when its job ends, and the record has all of it then: the
 * job may have ended since its record was read. */
static err_code read_ended(struct job_engine *engine, struct job *job, struct arena *a,
                           struct err *e)
{
    struct job_record now;
    if (!job->start_ms || !job_progress_is_none(&job->progress))
        return ERR_OK;
    TRY(job_record_read(engine->cfg.records, job->kind, job->datastore_id, job->id, a, &now, e));
    if (!job_status_is_final(now.job.status))
        return ERR_OK;
    now.job.params = job->params;
    *job = now.job;
    return ERR_OK;
}

err_code job_get(struct job_engine *engine, job_kind kind, sv datastore_id, sv job_id,
                 struct arena *a, struct job *out, struct err *e)
{
    struct job_record rec;
    TRY(job_record_read(engine->cfg.records, kind, datastore_id, job_id, a, &rec, e));
    if (kind == JOB_EXPORT)
        TRY(job_params_load(engine->cfg.records, rec.job.id, a, &rec.job.params, e));
    if (!job_status_is_final(rec.job.status)) {
        job_live_read(engine, &rec.job, 1);
        overlay_live(engine, &rec.job, a);
        TRY(read_ended(engine, &rec.job, a, e));
    }
    *out = rec.job;
    return ERR_OK;
}

err_code job_list(struct job_engine *engine, job_kind kind, const struct job_filter *filter,
                  sv after, unsigned max, struct arena *a, struct job **out, size_t *n_out,
                  sv *next, struct err *e)
{
    TRY(job_record_list(engine->cfg.records, kind, filter, after, max, a, out, n_out, next, e));
    struct job *jobs = *out;
    size_t n = 0;
    job_live_read(engine, jobs, *n_out);
    for (size_t i = 0; i < *n_out; i++) {
        struct job *job = &jobs[i];
        struct err why;
        err_code rc = ERR_OK;
        if (!job_status_is_final(job->status)) {
            overlay_live(engine, job, a);
            rc = read_ended(engine, job, a, &why);
        }
        /* its data store was deleted meanwhile */
        if (rc != ERR_OK && rc != ERR_NOT_FOUND)
            return err_pass(e, &why);
        /* of what has ended meanwhile the list may not be */
        if (!filter->has_status || job->status == filter->status)
            jobs[n++] = *job;
    }
    *n_out = n;
    return ERR_OK;
}

/* ---- cancel and drop ---- */

err_code job_cancel(struct job_engine *engine, job_kind kind, sv datastore_id, sv job_id,
                    struct err *e)
{
    struct job_change change = { .to = JOB_CANCEL_SUBMITTED };
    struct err ignored;
    TRY(job_engine_change(engine, kind, datastore_id, job_id, &change, e));
    /* it may have come in on another node; what fails here is done by a later look */
    IGNORE(job_look(engine, &ignored));
    pthread_mutex_lock(&engine->locked.lock);
    struct job_entry *entry = job_entry_find_locked(engine, kind, datastore_id, job_id);
    if (entry)
        job_entry_wish_locked(engine, entry, CANCEL);
    pthread_mutex_unlock(&engine->locked.lock);
    job_tell(engine);
    return ERR_OK;
}

static bool has_jobs_locked(struct job_engine *engine, sv datastore_id, bool wish)
{
    bool any = false;
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        if (sv_eq_cstr(datastore_id, entry->datastore_id)) {
            any = true;
            if (wish && entry->wish != DROP && !entry->elsewhere)
                job_entry_wish_locked(engine, entry, DROP);
        }
    return any;
}

err_code job_datastore_drop(struct job_engine *engine, sv datastore_id, struct err *e)
{
    err_code rc = ERR_OK;
    if (engine->shared) {
        TRY(job_drop_write(engine, datastore_id, e));
        TRY(job_look(engine, e));
        job_tell(engine);
    }
    pthread_mutex_lock(&engine->locked.lock);
    while (has_jobs_locked(engine, datastore_id, true) && !engine->locked.stop)
        pthread_cond_wait(&engine->locked.changed, &engine->locked.lock);
    if (has_jobs_locked(engine, datastore_id, false))
        rc = ERR(e, ERR_CANCELLED, "the service is stopping");
    pthread_mutex_unlock(&engine->locked.lock);
    return rc;
}

err_code job_datastore_forget(struct job_engine *engine, sv datastore_id, struct err *e)
{
    bool any = false;
    /* what came in while the store was still held (submit.c) */
    TRY(job_datastore_drop(engine, datastore_id, e));
    if (engine->served)
        TRY(job_served_drop(engine->served, datastore_id, e));
    pthread_mutex_lock(&engine->record_lock);
    err_code rc = job_records_forget(engine->cfg.records, datastore_id, &any, e);
    pthread_mutex_unlock(&engine->record_lock);
    if (rc != ERR_OK || !any)
        return rc;
    return records_scrub(engine->cfg.records, e);
}

/* ---- life ---- */

/* job_removed_fn */
static err_code files_removed(void *ctx, sv datastore_id, sv id, struct err *e)
{
    struct job_engine *engine = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct job_record rec;
    TRY(job_record_read(engine->cfg.records, JOB_EXPORT, datastore_id, id, a, &rec, e));
    /* the last status stays */
    struct job_change change = { .to = rec.job.status, .files_removed = true };
    return job_engine_change(engine, JOB_EXPORT, datastore_id, id, &change, e);
}

/* job_wanted_fn: of a job that has not ended. */
static err_code is_active(void *ctx, sv id, bool *out, struct err *e)
{
    struct job_engine *engine = ctx;
    *out = false;
    /* of jobs that came in on other nodes meanwhile, too */
    TRY(job_look(engine, e));
    pthread_mutex_lock(&engine->locked.lock);
    for (struct job_entry *entry = engine->locked.first; entry && !*out; entry = entry->next)
        *out = sv_eq_cstr(id, entry->id);
    pthread_mutex_unlock(&engine->locked.lock);
    return ERR_OK;
}

static void add_active(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order)
{
    struct job_engine *engine = ctx;
    struct job_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        abort();
    entry->kind = kind;
    entry->order = order;
    (void)snprintf(entry->datastore_id, sizeof entry->datastore_id, "%.*s", SV_FMT(datastore_id));
    (void)snprintf(entry->id, sizeof entry->id, "%.*s", SV_FMT(job_id));
    if (!engine->shared)
        LOG(LOG_INFO, "job_resumed", LOG_STR("kind", job_kind_name(kind)), LOG_SV("job", job_id),
            LOG_SV("datastore", datastore_id));
    pthread_mutex_lock(&engine->locked.lock);
    job_entry_add_locked(engine, entry);
    if (order > engine->locked.last_order)
        engine->locked.last_order = order;
    pthread_mutex_unlock(&engine->locked.lock);
}

/* ---- what is kept of before ---- */

static err_code load_one(struct job_engine *engine, sv datastore_id, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job_record rec;
    TRY(job_record_read(engine->cfg.records, JOB_EXPORT, datastore_id, id, a, &rec, e));
    if (rec.job.served && !rec.job.discarded)
        job_kept_load(engine->kept, &rec.job);
    return ERR_OK;
}

struct load_ctx {
    struct job_engine *engine;
    err_code rc;
    struct err *e;
};

static bool load_ended(void *ctx, sv key, sv datastore_id)
{
    struct load_ctx *c = ctx;
    sv id = sv_tail(key, key.len - JOB_ID_LEN);
    c->rc = load_one(c->engine, datastore_id, id, c->e);
    return c->rc == ERR_OK;
}

/* Jobs that wait or run, and those whose files have not expired. No other thread is there yet. */
static err_code load_kept(struct job_engine *engine, struct err *e)
{
    struct load_ctx c = { engine, ERR_OK, e };
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        if (entry->kind == JOB_EXPORT)
            TRY(load_one(engine, sv_from(entry->datastore_id), sv_from(entry->id), e));
    TRY(records_scan(engine->cfg.records, SV_LIT(JOB_KEYS_EXPIRY), SV_NONE, load_ended, &c, e));
    return c.rc;
}

/* Tests that want many chunks have small ones. */
static size_t usual_chunk(void)
{
    const char *given = getenv("_FHIRLAKE_CHUNK_BYTES");
    uint64_t bytes;
    return given && sv_to_u64(sv_from(given), &bytes) && bytes && bytes <= LIMIT_IMPORT_CHUNK_BYTES
               ? (size_t)bytes
               : LIMIT_IMPORT_CHUNK_BYTES;
}

/* Its own copy, with defaults for what was left out. */
static void configure(struct job_engine *engine, const struct job_engine_config *cfg)
{
    engine->cfg = *cfg;
    engine->spool_dir = strdup(cfg->spool_dir);
    if (engine->spool_dir == NULL)
        abort();
    engine->cfg.spool_dir = engine->spool_dir;
    if (engine->cfg.export_object_bytes == 0)
        engine->cfg.export_object_bytes = LIMIT_EXPORT_OBJECT_BYTES;
    if (engine->cfg.import_chunk_bytes == 0)
        engine->cfg.import_chunk_bytes = usual_chunk();
    if (engine->cfg.served_ms == 0)
        engine->cfg.served_ms = LIMIT_SERVED_HOURS * 3600000LL;
}

static err_code start(struct job_engine *engine, struct err *e)
{
    const struct job_engine_config *cfg = &engine->cfg;
    TRY(job_pool_start(cfg->n_workers, &engine->pool, e));
    engine->shared = records_shared(cfg->records);
    engine->cfg.many_machines = cfg->many_machines || engine->shared;
    if (engine->shared)
        TRY(leases_open(cfg->records, cfg->lease_ms, &engine->leases, e));
    TRY(job_records_active(cfg->records, add_active, engine, e));
    TRY(file_mkdirs(cfg->spool_dir, e));
    TRY(load_kept(engine, e));
    TRY(job_folders_sweep(cfg->spool_dir, is_active, engine, e));
    if (cfg->served_dir || cfg->served_uri)
        TRY(job_served_open(cfg, &engine->stopping, files_removed, engine, &engine->served, e));
    return engine->shared ? job_watch_start(engine, e) : ERR_OK;
}

err_code job_engine_start(const struct job_engine_config *cfg, struct job_engine **out,
                          struct err *e)
{
    struct job_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        abort();
    assert(cfg->kinds[JOB_EXPORT] && cfg->kinds[JOB_IMPORT]);
    configure(engine, cfg);
    pthread_mutex_init(&engine->record_lock, NULL);
    pthread_mutex_init(&engine->lease_lock, NULL);
    pthread_mutex_init(&engine->locked.lock, NULL);
    clock_cond_init(&engine->locked.changed);
    engine->kept = job_kept_new(&cfg->served_limits);
    err_code rc = start(engine, e);
    if (rc != ERR_OK) {
        job_engine_stop(engine);
        return rc;
    }
    job_engine_schedule(engine);
    *out = engine;
    return ERR_OK;
}

void job_engine_close(struct job_engine *engine)
{
    if (engine)
        atomic_store(&engine->closing, true);
}

void job_engine_stop(struct job_engine *engine)
{
    if (engine == NULL)
        return;
    atomic_store(&engine->stopping, true);
    job_watch_stop(engine);
    pthread_mutex_lock(&engine->locked.lock);
    engine->locked.stop = true;
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        job_entry_halt_locked(entry);
    job_guests_halt_locked(engine);
    pthread_cond_broadcast(&engine->locked.changed);
    while (engine->locked.n_running || engine->locked.guests)
        pthread_cond_wait(&engine->locked.changed, &engine->locked.lock);
    while (engine->locked.first)
        job_entry_drop_locked(engine, engine->locked.first);
    pthread_mutex_unlock(&engine->locked.lock);
    job_served_stop(engine->served);
    leases_close(engine->leases);
    job_pool_stop(engine->pool);
    job_kept_free(engine->kept);
    pthread_mutex_destroy(&engine->record_lock);
    pthread_mutex_destroy(&engine->lease_lock);
    pthread_mutex_destroy(&engine->locked.lock);
    pthread_cond_destroy(&engine->locked.changed);
    free(engine->spool_dir);
    free(engine);
}

/* watch.c - a thread that looks at what the other nodes do: each second, and when one tells that
 * there is something.
 *
 * It finds what they asked for: a cancel in the record of a job that runs here, a data store that
 * is being deleted. It tells them the progress of what runs here, and starts what may begin. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>

#define LOOK_MS  1000u
#define RENEW_MS 10000u /* between looks at which files of exports other nodes have and removed */
#define RUNS     16u    /* jobs that run at a time */

struct one { /* a job that runs here */
    job_kind kind;
    char datastore_id[40], id[40];
};

struct job_watch {
    pthread_t thread;
    pthread_mutex_t lock; /* of what stands below */
    pthread_cond_t changed;
    bool soon, stop;
};

/* Of the jobs that run here. */
static void find_cancelled(struct job_engine *engine)
{
    struct one running[RUNS];
    size_t n = 0;
    pthread_mutex_lock(&engine->locked.lock);
    for (struct job_entry *entry = engine->locked.first; entry && n < RUNS; entry = entry->next)
        if (entry->running && entry->wish == KEEP_GOING) {
            running[n].kind = entry->kind;
            memcpy(running[n].datastore_id, entry->datastore_id, sizeof entry->datastore_id);
            memcpy(running[n++].id, entry->id, sizeof entry->id);
        }
    pthread_mutex_unlock(&engine->locked.lock);
    for (size_t i = 0; i < n; i++) {
        const struct one *x = &running[i];
        CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
        struct job_record rec;
        struct err ignored;
        if (job_record_read(engine->cfg.records, x->kind, sv_from(x->datastore_id), sv_from(x->id),
                            a, &rec, &ignored) != ERR_OK ||
            (rec.job.status != JOB_CANCEL_SUBMITTED && rec.job.status != JOB_CANCEL_IN_PROGRESS))
            continue;
        pthread_mutex_lock(&engine->locked.lock);
        struct job_entry *entry =
            job_entry_find_locked(engine, x->kind, sv_from(x->datastore_id), sv_from(x->id));
        if (entry && entry->running && entry->wish == KEEP_GOING)
            job_entry_wish_locked(engine, entry, CANCEL);
        pthread_mutex_unlock(&engine->locked.lock);
    }
}

/* records_each_fn: a data store that is being deleted, or was. */
static bool wish_drop(void *ctx, sv key, sv value)
{
    struct job_engine *engine = ctx;
    const sv datastore_id = sv_tail(key, sizeof JOB_KEYS_DROP - 1);
    (void)value;
    pthread_mutex_lock(&engine->locked.lock);
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        if (!entry->elsewhere && entry->wish != DROP &&
            sv_eq_cstr(datastore_id, entry->datastore_id))
            job_entry_wish_locked(engine, entry, DROP);
    pthread_mutex_unlock(&engine->locked.lock);
    return true;
}

static err_code find_dropped(struct job_engine *engine, struct err *e)
{
    pthread_mutex_lock(&engine->locked.lock);
    const bool any = engine->locked.first != NULL;
    pthread_mutex_unlock(&engine->locked.lock);
    return any ? records_scan(engine->cfg.records, SV_LIT(JOB_KEYS_DROP), SV_NONE, wish_drop,
                              engine, e)
               : ERR_OK;
}

/* ---- the thread ---- */

/* False: it is to stop. */
static bool wait_for_turn(struct job_watch *w, unsigned ms)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + ms * 1000ull);
    int waited = 0;
    pthread_mutex_lock(&w->lock);
    while (!w->soon && !w->stop && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&w->changed, &w->lock, &until);
    w->soon = false;
    const bool go_on = !w->stop;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

/* What is kept as other nodes left it. What cannot be read now is looked at the next time. */
static void renew_kept(struct job_engine *engine)
{
    struct err ignored;
    pthread_mutex_lock(&engine->record_lock);
    IGNORE(job_kept_renew(engine, &ignored));
    pthread_mutex_unlock(&engine->record_lock);
}

static void runs_news_locked(struct job_engine *engine)
{
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        if (entry->run)
            job_run_news(entry->run);
}

static void look_once(struct job_engine *engine, bool *failed)
{
    struct err e;
    err_code rc = job_look(engine, &e);
    if (rc == ERR_OK)
        rc = find_dropped(engine, &e);
    /* once, until it works again */
    if (rc != ERR_OK && !*failed)
        LOG_ERR("jobs_look", &e, LOG_STR("retry", "in a second"));
    *failed = rc != ERR_OK;
    if (*failed)
        return;
    find_cancelled(engine);
    job_live_tell(engine);
    job_engine_schedule(engine);
    job_guests_look(engine);
    pthread_mutex_lock(&engine->locked.lock);
    runs_news_locked(engine);
    pthread_cond_broadcast(&engine->locked.changed);
    pthread_mutex_unlock(&engine->locked.lock);
}

static void *look(void *arg)
{
    struct job_engine *engine = arg;
    const unsigned ms = engine->cfg.look_ms ? engine->cfg.look_ms : LOOK_MS;
    uint64_t renew_us = 0;
    bool failed = false;
    while (wait_for_turn(engine->watch, ms)) {
        look_once(engine, &failed);
        if (clock_mono_us() < renew_us)
            continue;
        renew_us = clock_mono_us() + RENEW_MS * 1000ull;
        renew_kept(engine);
    }
    return NULL;
}

static void soon(struct job_watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->soon = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* Whoever waits for other nodes looks by himself. */
static void share_news(struct job_engine *engine)
{
    pthread_mutex_lock(&engine->locked.lock);
    runs_news_locked(engine);
    job_guests_news_locked(engine);
    pthread_mutex_unlock(&engine->locked.lock);
}

/* records_told_fn */
static void told(void *ctx, sv word)
{
    struct job_engine *engine = ctx;
    if (sv_eq(word, SV_LIT(JOB_WORD)))
        soon(engine->watch);
    if (sv_eq(word, SV_LIT(JOB_SHARE_WORD)))
        share_news(engine);
}

void job_watch_soon(struct job_engine *engine)
{
    if (engine->watch)
        soon(engine->watch);
}

err_code job_watch_start(struct job_engine *engine, struct err *e)
{
    struct job_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    pthread_mutex_init(&w->lock, NULL);
    clock_cond_init(&w->changed);
    engine->watch = w;
    if (pthread_create(&w->thread, NULL, look, engine) != 0) {
        engine->watch = NULL;
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->changed);
        free(w);
        return ERR(e, ERR_IO, "a thread that looks for jobs cannot be started");
    }
    records_on_told(engine->cfg.records, told, engine);
    return ERR_OK;
}

void job_watch_stop(struct job_engine *engine)
{
    struct job_watch *w = engine->watch;
    if (w == NULL)
        return;
    records_on_told(engine->cfg.records, NULL, NULL);
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    engine->watch = NULL;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    free(w);
}

/* guest.c - shares of jobs that run on other nodes.
 *
 * A look finds jobs that another node has in hand and that have a door (share.c). Each gets a
 * thread, which takes a share of the job with this node's workers. It ends when there is nothing
 * left to take, or with an error, which is told to the log alone; and it is ended when the job is
 * not under way any more, is run by this node, or loses its data store. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/log.h"

#define GUESTS_MAX 4u     /* at a time */
#define SOON_MS    1000u  /* from a share that was ended to the next of that job */
#define LATER_MS   60000u /* from one that found nothing to do, or could not do it */

struct one {
    job_kind kind;
    char datastore_id[40], id[40];
};

struct job_guest {
    struct job_guest *next;
    struct job_engine *engine;
    struct one one;
    atomic_bool halt;
    struct job_run *run; /* once there is one; under the engine's lock */
};

/* ---- one share ---- */

/* lease_lost_fn: another node may have the range already */
static void range_lost(void *ctx)
{
    struct job_guest *guest = ctx;
    pthread_mutex_lock(&guest->engine->locked.lock);
    atomic_store(&guest->halt, true);
    if (guest->run)
        job_run_wake(guest->run);
    pthread_mutex_unlock(&guest->engine->locked.lock);
}

static void set_run(struct job_guest *guest, struct job_run *run)
{
    pthread_mutex_lock(&guest->engine->locked.lock);
    guest->run = run;
    pthread_mutex_unlock(&guest->engine->locked.lock);
}

static err_code help(struct job_guest *guest, struct job_run *run, struct arena *a, struct err *e)
{
    struct job_engine *engine = guest->engine;
    const struct one *one = &guest->one;
    struct job_record rec;
    TRY(job_record_read(engine->cfg.records, one->kind, sv_from(one->datastore_id),
                        sv_from(one->id), a, &rec, e));
    TRY(job_params_load(engine->cfg.records, rec.job.id, a, &rec.job.params, e));
    if (rec.job.status != JOB_IN_PROGRESS)
        return ERR(e, ERR_CANCELLED, "the job is not under way");
    run->job = &rec.job;
    TRY(store_registry_acquire(engine->cfg.stores, rec.job.datastore_id, false, &run->store, e));
    set_run(guest, run);
    err_code rc = engine->cfg.kinds[one->kind]->help(run, e);
    set_run(guest, NULL);
    return rc;
}

static void leave(struct job_guest *guest, unsigned again_ms)
{
    struct job_engine *engine = guest->engine;
    pthread_mutex_lock(&engine->locked.lock);
    struct job_guest **at = &engine->locked.guests;
    while (*at != guest)
        at = &(*at)->next;
    *at = guest->next;
    struct job_entry *entry = job_entry_find_locked(
        engine, guest->one.kind, sv_from(guest->one.datastore_id), sv_from(guest->one.id));
    if (entry)
        entry->help_us = clock_mono_us() + again_ms * 1000ull;
    pthread_cond_broadcast(&engine->locked.changed);
    pthread_mutex_unlock(&engine->locked.lock);
    free(guest);
}

static void *guest_main(void *arg)
{
    struct job_guest *guest = arg;
    struct job_engine *engine = guest->engine;
    struct arena *a = arena_new(32u << 20);
    struct job_run run = { .world = engine->cfg.world,
                           .pool = engine->pool,
                           .cfg = &engine->cfg,
                           .halt = &guest->halt,
                           .leave = &engine->stopping,
                           .leases = engine->leases,
                           .range_lost = range_lost,
                           .range_lost_ctx = guest,
                           .guest = true,
                           .export_object_bytes = engine->cfg.export_object_bytes,
                           .import_chunk_bytes = engine->cfg.import_chunk_bytes };
    struct err e;
    job_run_init(&run);
    err_code rc = help(guest, &run, a, &e);
    if (rc != ERR_OK && rc != ERR_CANCELLED && rc != ERR_NOT_FOUND)
        LOG_ERR("job_help", &e, LOG_STR("job", guest->one.id));
    if (run.store)
        store_registry_release(engine->cfg.stores, run.store);
    job_run_done(&run);
    arena_free(a);
    leave(guest, rc == ERR_CANCELLED ? SOON_MS : LATER_MS);
    return NULL;
}

/* ---- looks ---- */

static void halt_locked(struct job_guest *guest)
{
    atomic_store(&guest->halt, true);
    if (guest->run)
        job_run_wake(guest->run);
}

void job_guests_halt_locked(struct job_engine *engine)
{
    for (struct job_guest *guest = engine->locked.guests; guest; guest = guest->next)
        halt_locked(guest);
}

void job_guests_news_locked(struct job_engine *engine)
{
    for (struct job_guest *guest = engine->locked.guests; guest; guest = guest->next)
        if (guest->run)
            job_run_news(guest->run);
}

static struct job_guest *find_locked(struct job_engine *engine, const char *id)
{
    struct job_guest *guest = engine->locked.guests;
    while (guest && strcmp(guest->one.id, id) != 0)
        guest = guest->next;
    return guest;
}

/* Is it still another node's to run, as far as the records say? */
static bool goes_on(struct job_engine *engine, const struct one *one)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job_record rec;
    struct err why;
    pthread_mutex_lock(&engine->locked.lock);
    const struct job_entry *entry =
        job_entry_find_locked(engine, one->kind, sv_from(one->datastore_id), sv_from(one->id));
    const bool elsewhere = entry && !entry->running;
    pthread_mutex_unlock(&engine->locked.lock);
    return elsewhere &&
           job_record_read(engine->cfg.records, one->kind, sv_from(one->datastore_id),
                           sv_from(one->id), a, &rec, &why) == ERR_OK &&
           rec.job.status == JOB_IN_PROGRESS &&
           job_drop_check(engine, sv_from(one->datastore_id), &why) == ERR_OK;
}

static void check_guests(struct job_engine *engine)
{
    struct one all[GUESTS_MAX];
    size_t n = 0;
    pthread_mutex_lock(&engine->locked.lock);
    for (struct job_guest *guest = engine->locked.guests; guest && n < GUESTS_MAX;
         guest = guest->next)
        all[n++] = guest->one;
    pthread_mutex_unlock(&engine->locked.lock);
    for (size_t i = 0; i < n; i++) {
        const bool stays = goes_on(engine, &all[i]);
        pthread_mutex_lock(&engine->locked.lock);
        struct job_guest *guest = find_locked(engine, all[i].id);
        if (guest && !stays)
            halt_locked(guest);
        if (guest && guest->run)
            job_run_news(guest->run);
        pthread_mutex_unlock(&engine->locked.lock);
    }
}

/* Those that another node has in hand, and that nobody here helps. */
static size_t find_helpless(struct job_engine *engine, struct one out[GUESTS_MAX])
{
    const uint64_t now = clock_mono_us();
    size_t n = 0, n_guests = 0;
    pthread_mutex_lock(&engine->locked.lock);
    for (const struct job_guest *guest = engine->locked.guests; guest; guest = guest->next)
        n_guests++;
    for (struct job_entry *entry = engine->locked.first; entry && n_guests + n < GUESTS_MAX;
         entry = entry->next) {
        const struct job_kind_ops *ops = engine->cfg.kinds[entry->kind];
        if (ops == NULL || ops->help == NULL || !entry->elsewhere || entry->running ||
            entry->wish != KEEP_GOING || now < entry->help_us || find_locked(engine, entry->id))
            continue;
        out[n].kind = entry->kind;
        memcpy(out[n].datastore_id, entry->datastore_id, sizeof entry->datastore_id);
        memcpy(out[n++].id, entry->id, sizeof entry->id);
    }
    pthread_mutex_unlock(&engine->locked.lock);
    return n;
}

static void begin(struct job_engine *engine, const struct one *one)
{
    struct job_guest *guest = calloc(1, sizeof *guest);
    pthread_t t;
    if (guest == NULL)
        abort();
    guest->engine = engine;
    guest->one = *one;
    pthread_mutex_lock(&engine->locked.lock);
    /* without a thread it is tried again */
    if (!engine->locked.stop && pthread_create(&t, NULL, guest_main, guest) == 0) {
        pthread_detach(t);
        guest->next = engine->locked.guests;
        engine->locked.guests = guest;
        guest = NULL;
    }
    pthread_mutex_unlock(&engine->locked.lock);
    free(guest);
}

static bool has_door(struct job_engine *engine, const struct one *one)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_DOOR_MAX);
    const struct job job = { .id = sv_from(one->id) };
    struct job_run run = { .cfg = &engine->cfg, .job = &job };
    struct err ignored;
    return job_run_door_read(&run, &b, &ignored) == ERR_OK && b.len;
}

void job_guests_look(struct job_engine *engine)
{
    struct one all[GUESTS_MAX];
    check_guests(engine);
    const size_t n = find_helpless(engine, all);
    for (size_t i = 0; i < n; i++)
        if (has_door(engine, &all[i]))
            begin(engine, &all[i]);
}

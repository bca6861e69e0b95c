/* look.c - the list of unfinished jobs, as all nodes have it.
 *
 * The records have it; each node's list is what it saw there last. Who decides by the list (what
 * waits, what may begin) looks first, and watch.c does each second. A look adds and takes away in
 * the order of the jobs' places; when the list has changed meanwhile, it looks again, so it never
 * takes away what came in behind it. */
#include "job/job_private.h"

#include "base/file.h"
#include "base/log.h"

#include <limits.h>

#define TRIES 50u

struct one { /* an unfinished job of the records */
    job_kind kind;
    char datastore_id[40], id[40];
    uint64_t order;
    bool held; /* somebody has its lease */
};

struct ones {
    struct one *all;
    size_t n, room;
};

/* ---- what the records say ---- */

static struct one *add(struct ones *o)
{
    if (o->n == o->room) {
        o->room = o->room ? o->room * 2 : 64;
        o->all = realloc(o->all, o->room * sizeof *o->all);
        if (o->all == NULL)
            abort();
    }
    memset(&o->all[o->n], 0, sizeof *o->all);
    return &o->all[o->n++];
}

static void put(char out[40], sv text)
{
    (void)snprintf(out, 40, "%.*s", SV_FMT(text));
}

/* job_active_fn */
static void add_active(void *ctx, job_kind kind, sv datastore_id, sv job_id, uint64_t order)
{
    struct one *x = add(ctx);
    x->kind = kind;
    x->order = order;
    put(x->datastore_id, datastore_id);
    put(x->id, job_id);
}

/* lease_each_fn */
static bool mark_held(void *ctx, const struct lease_seen *seen)
{
    struct ones *o = ctx;
    const sv id = sv_tail(seen->name, sizeof JOB_LEASES - 1);
    for (size_t i = 0; i < o->n; i++)
        o->all[i].held |= sv_eq_cstr(id, o->all[i].id);
    return true;
}

static err_code gather(struct job_engine *engine, struct ones *o, struct err *e)
{
    o->n = 0;
    TRY(job_records_active(engine->cfg.records, add_active, o, e));
    return o->n ? lease_list(engine->cfg.records, SV_LIT(JOB_LEASES), mark_held, o, e) : ERR_OK;
}

/* ---- into the list ---- */

static void note_entry(struct ones *to, const struct job_entry *entry)
{
    struct one *x = add(to);
    x->kind = entry->kind;
    x->order = entry->order;
    memcpy(x->datastore_id, entry->datastore_id, sizeof x->datastore_id);
    memcpy(x->id, entry->id, sizeof x->id);
}

static struct job_entry *entry_of(const struct one *x)
{
    struct job_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        abort();
    entry->kind = x->kind;
    entry->order = x->order;
    memcpy(entry->datastore_id, x->datastore_id, sizeof entry->datastore_id);
    memcpy(entry->id, x->id, sizeof entry->id);
    return entry;
}

/* Both stand by order. A job that runs here leaves on its own thread. */
static void merge_locked(struct job_engine *engine, const struct ones *now, struct ones *came,
                         struct ones *went)
{
    struct job_entry *entry = engine->locked.first, *next;
    for (size_t i = 0; entry || i < now->n; entry = next) {
        next = entry;
        if (entry && (i == now->n || entry->order < now->all[i].order)) {
            next = entry->next;
            if (!entry->running) {
                note_entry(went, entry);
                job_entry_drop_locked(engine, entry);
            }
        } else if (entry && entry->order == now->all[i].order) {
            next = entry->next;
            entry->elsewhere = now->all[i++].held && !entry->running;
        } else {
            struct job_entry *x = entry_of(&now->all[i]);
            x->elsewhere = now->all[i++].held;
            note_entry(came, x);
            job_entry_add_locked(engine, x);
        }
    }
}

static err_code merge(struct job_engine *engine, struct ones *came, struct ones *went,
                      struct err *e)
{
    struct ones now = { 0 };
    err_code rc = ERR_OK;
    bool done = false;
    for (unsigned i = 0; i < TRIES && !done && rc == ERR_OK; i++) {
        pthread_mutex_lock(&engine->locked.lock);
        const uint64_t before = engine->locked.n_changes;
        pthread_mutex_unlock(&engine->locked.lock);
        rc = gather(engine, &now, e);
        pthread_mutex_lock(&engine->locked.lock);
        done = rc == ERR_OK && before == engine->locked.n_changes;
        if (done && !engine->locked.stop)
            merge_locked(engine, &now, came, went);
        pthread_mutex_unlock(&engine->locked.lock);
    }
    free(now.all);
    return rc == ERR_OK && !done ? ERR(e, ERR_UNAVAILABLE, "the list of jobs changes all the time")
                                 : rc;
}

/* ---- what comes of it ---- */

static err_code read_one(struct job_engine *engine, const struct one *x, struct arena *a,
                         struct job_record *rec, struct err *e)
{
    return job_record_read(engine->cfg.records, x->kind, sv_from(x->datastore_id), sv_from(x->id),
                           a, rec, e);
}

/* Files of served exports that other nodes wrote count here too. */
static void note_came(struct job_engine *engine, const struct one *x)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job_record rec;
    struct err ignored;
    if (x->kind == JOB_EXPORT && read_one(engine, x, a, &rec, &ignored) == ERR_OK &&
        rec.job.served && !rec.job.discarded)
        job_kept_load(engine->kept, &rec.job);
}

static void note_went(struct job_engine *engine, const struct one *x)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    char spool[PATH_MAX];
    struct job_record rec;
    struct err e;
    if (read_one(engine, x, a, &rec, &e) != ERR_OK || !job_status_is_final(rec.job.status))
        return;
    if (rec.job.expires_ms && !rec.job.discarded) {
        job_kept_end(engine->kept, rec.job.id, rec.job.expires_ms);
        if (engine->served)
            job_served_expect(engine->served, rec.job.expires_ms);
    } else {
        job_kept_leave(engine->kept, rec.job.id);
    }
    /* of a run that was begun here, before another node went on with it */
    (void)snprintf(spool, sizeof spool, "%s/%s", engine->cfg.spool_dir, x->id);
    if (file_remove_tree(spool, &e) != ERR_OK)
        LOG_ERR("job_spool", &e, LOG_STR("job", x->id));
}

err_code job_look(struct job_engine *engine, struct err *e)
{
    struct ones came = { 0 }, went = { 0 };
    if (!engine->shared)
        return ERR_OK;
    err_code rc = merge(engine, &came, &went, e);
    for (size_t i = 0; i < came.n; i++)
        note_came(engine, &came.all[i]);
    for (size_t i = 0; i < went.n; i++)
        note_went(engine, &went.all[i]);
    free(came.all);
    free(went.all);
    return rc;
}

void job_tell(struct job_engine *engine)
{
    if (engine->shared)
        records_tell(engine->cfg.records, SV_LIT(JOB_WORD));
}

/* retention.c - how long the files of served exports stay, and folders that no job knows.
 *
 * A record under the time of expiry is written with the job's last status (keys.c). One thread
 * removes what has expired: the files first, then the records, so that a crash in between is made
 * good at the next start. Files of a job that has no manifest and is not unfinished were left by a
 * crash. They go at the start, as do the scratch folders of jobs that have ended.
 *
 * Where several machines share the place (served/), each has such a thread. What one removes, the
 * others find removed. Each looks again after a while, since the one that would have removed a
 * job's files may be gone. The records say which jobs are unfinished, and they are asked behind the
 * listing: who is listed had begun by then. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>

#define IDS_BYTES (64u << 20) /* of all jobs that have files */
#define EACH_MS   60000       /* looks at what other nodes did, and tries after a failure */
#define AGAIN_MS  600000      /* the same where all nodes share the place */

struct job_served {
    struct records *records;
    bool shared; /* several nodes have them */
    job_removed_fn removed;
    void *ctx;
    struct job_files *place;
    pthread_t thread;
    bool running;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        int64_t next_ms;  /* when something expires; INT64_MAX: nothing waits */
        uint64_t turn_us; /* of the look at what others did */
        bool stop;
    } locked;
};

/* ---- what has expired ---- */

struct expiry {
    int64_t until_ms;
    sv datastore_id; /* empty: any */
    struct arena *a;
    bool found; /* one that is due: the first of them */
    sv id, store;
    int64_t expire_ms;
    int64_t next_ms; /* of the first that is not due */
};

static bool each_expiry(void *ctx, sv key, sv value)
{
    struct expiry *x = ctx;
    sv rest = sv_tail(key, sizeof JOB_KEYS_EXPIRY - 1), hex;
    (void)sv_cut(&rest, '/', &hex);
    int64_t at = (int64_t)job_key_number(hex);
    bool of_store = x->datastore_id.len && sv_eq(value, x->datastore_id);
    if (!of_store && at > x->until_ms) {
        if (at < x->next_ms)
            x->next_ms = at;
        /* they stand by time */
        return x->datastore_id.len != 0;
    }
    if (x->datastore_id.len && !of_store)
        return true;
    x->expire_ms = at;
    x->found = true;
    x->id = arena_sv(x->a, rest);
    x->store = arena_sv(x->a, value);
    return false;
}

static err_code remove_files(struct job_served *served, sv datastore_id, sv id, int64_t expire_ms,
                             struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    /* nothing there is success, which it is not in a directory that is not mounted */
    TRY(job_files_reach(served->place, e));
    TRY(job_files_remove(served->place, id, e));
    TRY(served->removed(served->ctx, datastore_id, id, e));
    struct records_write w[] = { { RECORDS_DELETE, job_key_manifest(a, id), SV_NONE },
                                 { RECORDS_DELETE, job_key_expiry(a, expire_ms, id), SV_NONE } };
    return records_write(served->records, w, 2, e);
}

/* Remove all that is due. *next_ms: when the next one is. */
static err_code remove_due(struct job_served *served, int64_t until_ms, sv datastore_id,
                           int64_t *next_ms, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    for (;;) {
        struct expiry x = {
            .until_ms = until_ms, .datastore_id = datastore_id, .a = a, .next_ms = INT64_MAX
        };
        arena_reset(a);
        TRY(records_scan(served->records, SV_LIT(JOB_KEYS_EXPIRY), SV_NONE, each_expiry, &x, e));
        *next_ms = x.next_ms;
        if (!x.found)
            return ERR_OK;
        TRY(remove_files(served, x.store, x.id, x.expire_ms, e));
        LOG(LOG_INFO, "export_files_removed", LOG_SV("job", x.id), LOG_SV("datastore", x.store));
    }
}

/* ---- what nobody wants ---- */

static bool any(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    *(bool *)ctx = true;
    return false;
}

static err_code has_manifest(struct job_served *served, sv id, bool *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    return records_scan(served->records, job_key_manifest(a, id), SV_NONE, any, out, e);
}

struct ids {
    struct arena *a;
    struct buf list; /* of sv */
};

static bool add_id(void *ctx, sv id)
{
    struct ids *ids = ctx;
    const sv mine = arena_sv(ids->a, id);
    return mine.ptr && buf_add(&ids->list, sv_make(&mine, sizeof mine), NULL) == ERR_OK;
}

static bool add_active(void *ctx, sv key, sv value)
{
    (void)key;
    return add_id(ctx, sv_tail(value, value.len < JOB_ID_LEN ? 0 : value.len - JOB_ID_LEN));
}

static bool has_id(const struct ids *ids, sv id)
{
    const sv *all = (const sv *)(const void *)ids->list.ptr;
    for (size_t i = 0; i < ids->list.len / sizeof *all; i++)
        if (sv_eq(all[i], id))
            return true;
    return false;
}

/* Files of a served export stay while its manifest does, or its job is unfinished. A job has its
 * manifest before it has ended, so it is asked for behind that. */
static err_code sweep_ids(struct job_served *served, struct ids *there, struct ids *active,
                          struct err *e)
{
    TRY(job_files_check(served->place, e));
    TRY(job_files_ids(served->place, add_id, there, e));
    TRY(records_scan(served->records, SV_LIT(JOB_KEYS_ACTIVE), SV_NONE, add_active, active, e));
    const sv *all = (const sv *)(const void *)there->list.ptr;
    for (size_t i = 0; i < there->list.len / sizeof *all; i++) {
        bool stays = has_id(active, all[i]);
        if (!stays)
            TRY(has_manifest(served, all[i], &stays, e));
        if (!stays)
            TRY(job_files_remove(served->place, all[i], e));
    }
    return ERR_OK;
}

/* A peer that does not answer now: another start sweeps. */
static err_code unless_away(err_code rc, const struct err *why, struct err *e)
{
    if (rc == ERR_OK)
        return ERR_OK;
    if (rc != ERR_PEER && rc != ERR_TIMEOUT)
        return err_pass(e, why);
    LOG_ERR("export_files", why,
            LOG_STR("note", "the place of exports is looked at again with the "
                            "next export"));
    return ERR_OK;
}

static err_code sweep(struct job_served *served, struct err *e)
{
    struct err why = { 0 };
    CLEANUP(arena_free) struct arena *a = arena_new(IDS_BYTES);
    struct ids there = { .a = a, .list = BUF_INIT(IDS_BYTES) },
               active = { .a = a, .list = BUF_INIT(IDS_BYTES) };
    err_code rc = sweep_ids(served, &there, &active, &why);
    buf_done(&there.list);
    buf_done(&active.list);
    return unless_away(rc, &why, e);
}

err_code job_folders_sweep(const char *dir, job_wanted_fn wanted, void *ctx, struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *x;
    err_code rc = ERR_OK;
    if (d == NULL && errno == ENOENT)
        return ERR_OK;
    if (d == NULL)
        return ERR(e, err_from_errno(errno), "the folder of jobs cannot be read");
    while (rc == ERR_OK && (x = readdir(d)) != NULL) {
        char path[PATH_MAX];
        bool keep = true;
        if (x->d_name[0] == '.')
            continue;
        rc = wanted(ctx, sv_from(x->d_name), &keep, e);
        (void)snprintf(path, sizeof path, "%s/%s", dir, x->d_name);
        if (rc == ERR_OK && !keep)
            rc = file_remove_tree(path, e);
    }
    closedir(d);
    return rc;
}

/* ---- the thread ---- */

static bool turn_locked(const struct job_served *served)
{
    return served->shared && clock_mono_us() >= served->locked.turn_us;
}

static int64_t look_ms(const struct job_served *served)
{
    return job_files_is_shared(served->place) ? AGAIN_MS : EACH_MS;
}

static int64_t next_locked(const struct job_served *served)
{
    const int64_t turn = clock_wall_ms() + look_ms(served);
    return served->shared && turn < served->locked.next_ms ? turn : served->locked.next_ms;
}

static void look_at_others(struct job_served *served)
{
    struct err e;
    if (!served->shared)
        return;
    err_code rc = sweep(served, &e);
    if (rc != ERR_OK)
        LOG_ERR("export_retention", &e, LOG_STR("retry", "in a minute"));
    pthread_mutex_lock(&served->locked.lock);
    served->locked.turn_us = clock_mono_us() + look_ms(served) * 1000ull;
    pthread_mutex_unlock(&served->locked.lock);
}

static void *janitor(void *arg)
{
    struct job_served *served = arg;
    pthread_mutex_lock(&served->locked.lock);
    while (!served->locked.stop) {
        if (served->locked.next_ms > clock_wall_ms() && !turn_locked(served)) {
            int64_t at = next_locked(served);
            struct timespec until = { at / 1000, at % 1000 * 1000000 };
            if (at == INT64_MAX)
                pthread_cond_wait(&served->locked.changed, &served->locked.lock);
            else
                pthread_cond_timedwait(&served->locked.changed, &served->locked.lock, &until);
            continue;
        }
        /* job_served_expect() may bring it forward meanwhile */
        served->locked.next_ms = INT64_MAX;
        pthread_mutex_unlock(&served->locked.lock);
        struct err e;
        int64_t next;
        if (remove_due(served, clock_wall_ms(), SV_NONE, &next, &e) != ERR_OK) {
            LOG_ERR("export_retention", &e, LOG_STR("retry", "in a minute"));
            next = clock_wall_ms() + EACH_MS;
        }
        look_at_others(served);
        pthread_mutex_lock(&served->locked.lock);
        if (next < served->locked.next_ms)
            served->locked.next_ms = next;
    }
    pthread_mutex_unlock(&served->locked.lock);
    return NULL;
}

void job_served_expect(struct job_served *served, int64_t expire_ms)
{
    pthread_mutex_lock(&served->locked.lock);
    if (expire_ms < served->locked.next_ms) {
        served->locked.next_ms = expire_ms;
        pthread_cond_signal(&served->locked.changed);
    }
    pthread_mutex_unlock(&served->locked.lock);
}

/* Due at once. Nobody is given a file of it from now on; the thread removes them, which can take a
 * second for each GB, at the next start if this process ends before. */
err_code job_served_expire(struct job_served *served, sv datastore_id, sv id, int64_t expire_ms,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w[] = { { RECORDS_DELETE, job_key_expiry(a, expire_ms, id), SV_NONE },
                                 { RECORDS_PUT, job_key_expiry(a, 0, id), datastore_id } };
    TRY(records_write(served->records, w, 2, e));
    TRY(served->removed(served->ctx, datastore_id, id, e));
    job_served_expect(served, 0);
    return ERR_OK;
}

err_code job_served_drop(struct job_served *served, sv datastore_id, struct err *e)
{
    int64_t next;
    return remove_due(served, INT64_MIN, datastore_id, &next, e);
}

/* ---- life ---- */

err_code job_served_start(struct records *records, struct job_files **place, job_removed_fn removed,
                          void *ctx, struct job_served **out, struct err *e)
{
    struct job_served *served = calloc(1, sizeof *served);
    if (served == NULL)
        abort();
    served->records = records;
    served->shared = records_shared(records);
    served->removed = removed;
    served->ctx = ctx;
    served->place = *place;
    *place = NULL;
    pthread_mutex_init(&served->locked.lock, NULL);
    pthread_cond_init(&served->locked.changed, NULL);
    err_code rc = sweep(served, e);
    if (rc == ERR_OK && pthread_create(&served->thread, NULL, janitor, served) != 0)
        rc = ERR(e, ERR_IO, "a thread for the retention of exports cannot be started");
    if (rc != ERR_OK) {
        job_served_stop(served);
        return rc;
    }
    served->running = true;
    *out = served;
    return ERR_OK;
}

err_code job_served_open(const struct job_engine_config *cfg, const atomic_bool *cancel,
                         job_removed_fn removed, void *ctx, struct job_served **out, struct err *e)
{
    const struct job_files_config at = { .dir = cfg->served_uri ? NULL : cfg->served_dir,
                                         .uri = cfg->served_uri,
                                         .world = cfg->served_world,
                                         .owner = cfg->served_owner,
                                         .scratch_dir = cfg->spool_dir,
                                         .records = cfg->records,
                                         .cancel = cancel };
    CLEANUP(job_files_free) struct job_files *place = NULL;
    err_code rc = job_files_open(&at, &place, e);
    struct err why = { 0 };
    if (rc == ERR_OK)
        rc = unless_away(job_files_agree(place, &why), &why, e);
    if (rc == ERR_OK)
        rc = job_served_start(cfg->records, &place, removed, ctx, out, e);
    if (rc != ERR_OK && cfg->served_owner)
        err_context(e, "--export-files");
    return rc;
}

void job_served_stop(struct job_served *served)
{
    if (served == NULL)
        return;
    if (served->running) {
        pthread_mutex_lock(&served->locked.lock);
        served->locked.stop = true;
        pthread_cond_signal(&served->locked.changed);
        pthread_mutex_unlock(&served->locked.lock);
        pthread_join(served->thread, NULL);
    }
    job_files_free(served->place);
    pthread_mutex_destroy(&served->locked.lock);
    pthread_cond_destroy(&served->locked.changed);
    free(served);
}

struct job_files *job_served_place(struct job_served *served)
{
    return served->place;
}

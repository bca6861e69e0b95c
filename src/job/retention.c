/* retention.c - how long the files of served exports stay, and folders that no job knows.
 *
 *   SERVED/<id>/<name>   a bucket of a directory store of our own, one per job
 *
 * A record under the time of expiry is written with the job's last status (keys.c). One thread
 * removes what has expired: the files first, then the records, so that a crash in between is made
 * good at the next start. Files of a job that has no manifest and is not unfinished were left by a
 * crash. They go at the start, as do the scratch folders of jobs that have ended. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>

struct job_served {
    struct records *records;
    job_removed_fn removed;
    job_wanted_fn active; /* is a job unfinished? */
    void *ctx;
    char *dir;
    struct sink_world *world;
    pthread_t thread;
    bool running;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        int64_t next_ms; /* when something expires; INT64_MAX: nothing waits */
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
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%.*s", served->dir, SV_FMT(id));
    TRY(file_remove_tree(path, e));
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

static void *janitor(void *arg)
{
    struct job_served *served = arg;
    pthread_mutex_lock(&served->locked.lock);
    while (!served->locked.stop) {
        if (served->locked.next_ms > clock_wall_ms()) {
            int64_t at = served->locked.next_ms;
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
            next = clock_wall_ms() + 60000;
        }
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

/* job_wanted_fn. A folder of a served export stays while its manifest does, or its job is
 * unfinished. */
static err_code is_served(void *ctx, sv id, bool *out, struct err *e)
{
    struct job_served *served = ctx;
    *out = false;
    TRY(has_manifest(served, id, out, e));
    return *out ? ERR_OK : served->active(served->ctx, id, out, e);
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

err_code job_served_start(struct records *records, const char *dir, job_removed_fn removed,
                          job_wanted_fn active, void *ctx, struct job_served **out, struct err *e)
{
    struct sink_config cfg = {
        .objects_dir = dir, .make_buckets = true, .sync = true, .links = true
    };
    struct job_served *served = calloc(1, sizeof *served);
    if (served == NULL || (served->dir = strdup(dir)) == NULL)
        abort();
    served->records = records;
    served->removed = removed;
    served->active = active;
    served->ctx = ctx;
    pthread_mutex_init(&served->locked.lock, NULL);
    pthread_cond_init(&served->locked.changed, NULL);
    err_code rc = sink_world_new(&cfg, &served->world, e);
    if (rc == ERR_OK)
        rc = job_folders_sweep(dir, is_served, served, e);
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
    sink_world_free(served->world);
    pthread_mutex_destroy(&served->locked.lock);
    pthread_cond_destroy(&served->locked.changed);
    free(served->dir);
    free(served);
}

struct sink_world *job_served_world(struct job_served *served)
{
    return served->world;
}

/* served.c - the files of completed exports: what the manifest names, and those that are kept here.
 *
 *   jobmanifest/<id>           -> manifest.json, for as long as its files are there
 *   jobexpiry/<end ms>/<id>    -> data store; written with the job's last status
 *   SERVED/<id>/<name>         a bucket of a directory store of our own, one per job
 *
 * One thread removes what has expired: the files, then the records, so that a crash in between is made
 * good at the next start. Files of a job that has neither a manifest nor is unfinished were left by a
 * crash; they go at the start. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "codec/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_MAX (1u << 30)

struct job_served {
    struct records *records;
    job_removed_fn removed;
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

static sv manifest_key(struct arena *a, sv id)
{
    return arena_fmt(a, "jobmanifest/%.*s", SV_FMT(id));
}

sv job_expiry_key(struct arena *a, int64_t expire_ms, sv id)
{
    return arena_fmt(a, "jobexpiry/%016llx/%.*s", (unsigned long long)expire_ms, SV_FMT(id));
}

/* ---- what has expired ---- */

struct expiry {
    int64_t until_ms;
    sv datastore_id; /* empty: any */
    struct arena *a;
    sv key, id, store; /* the first that is due; key empty: none */
    int64_t next_ms;   /* of the first that is not */
};

static bool each_expiry(void *ctx, sv key, sv value)
{
    struct expiry *x = ctx;
    sv rest = sv_tail(key, sizeof "jobexpiry/" - 1), hex;
    uint64_t at = 0;
    (void)sv_cut(&rest, '/', &hex); /* written by job_expiry_key() */
    for (size_t i = 0; i < hex.len; i++)
        at = at << 4 | (uint64_t)(hex.ptr[i] <= '9' ? hex.ptr[i] - '0' : hex.ptr[i] - 'a' + 10);
    bool of_store = x->datastore_id.len && sv_eq(value, x->datastore_id);
    if (!of_store && (int64_t)at > x->until_ms) {
        if ((int64_t)at < x->next_ms)
            x->next_ms = (int64_t)at;
        return x->datastore_id.len != 0; /* they stand by time */
    }
    if (x->datastore_id.len && !of_store)
        return true;
    x->key = arena_sv(x->a, key);
    x->id = arena_sv(x->a, rest);
    x->store = arena_sv(x->a, value);
    return false;
}

static err_code remove_files(struct job_served *s, sv datastore_id, sv id, int64_t expire_ms,
                             struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%.*s", s->dir, SV_FMT(id));
    TRY(file_remove_tree(path, e));
    TRY(s->removed(s->ctx, datastore_id, id, e));
    struct records_write w[] = { { RECORDS_DELETE, manifest_key(a, id), SV_NONE },
                                 { RECORDS_DELETE, job_expiry_key(a, expire_ms, id), SV_NONE } };
    return records_write(s->records, w, 2, e);
}

/* Remove all that is due. *next_ms: when the next one is. */
static err_code remove_due(struct job_served *s, int64_t until_ms, sv datastore_id,
                           int64_t *next_ms, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    for (;;) {
        struct expiry x = {
            .until_ms = until_ms, .datastore_id = datastore_id, .a = a, .next_ms = INT64_MAX
        };
        arena_reset(a);
        TRY(records_scan(s->records, SV_LIT("jobexpiry/"), SV_NONE, each_expiry, &x, e));
        *next_ms = x.next_ms;
        if (x.key.len == 0)
            return ERR_OK;
        uint64_t at = 0;
        for (sv hex = sv_head(sv_tail(x.key, sizeof "jobexpiry/" - 1), 16); hex.len;
             hex = sv_tail(hex, 1))
            at = at << 4 | (uint64_t)(*hex.ptr <= '9' ? *hex.ptr - '0' : *hex.ptr - 'a' + 10);
        TRY(remove_files(s, x.store, x.id, (int64_t)at, e));
        LOG(LOG_INFO, "export_files_removed", LOG_SV("job", x.id), LOG_SV("datastore", x.store));
    }
}

static void *janitor(void *arg)
{
    struct job_served *s = arg;
    pthread_mutex_lock(&s->locked.lock);
    while (!s->locked.stop) {
        if (s->locked.next_ms > clock_wall_ms()) {
            int64_t at = s->locked.next_ms;
            struct timespec until = { at / 1000, at % 1000 * 1000000 };
            if (at == INT64_MAX)
                pthread_cond_wait(&s->locked.changed, &s->locked.lock);
            else
                pthread_cond_timedwait(&s->locked.changed, &s->locked.lock, &until);
            continue;
        }
        s->locked.next_ms = INT64_MAX; /* job_served_expect() may bring it forward meanwhile */
        pthread_mutex_unlock(&s->locked.lock);
        struct err e;
        int64_t next;
        if (remove_due(s, clock_wall_ms(), SV_NONE, &next, &e) != ERR_OK) {
            LOG_ERR("export_retention", &e, LOG_STR("retry", "in a minute"));
            next = clock_wall_ms() + 60000;
        }
        pthread_mutex_lock(&s->locked.lock);
        if (next < s->locked.next_ms)
            s->locked.next_ms = next;
    }
    pthread_mutex_unlock(&s->locked.lock);
    return NULL;
}

void job_served_expect(struct job_served *s, int64_t expire_ms)
{
    pthread_mutex_lock(&s->locked.lock);
    if (expire_ms < s->locked.next_ms) {
        s->locked.next_ms = expire_ms;
        pthread_cond_signal(&s->locked.changed);
    }
    pthread_mutex_unlock(&s->locked.lock);
}

/* Due at once. Nobody is given a file of it from now on; the thread removes them, which can take a second for each GB,
 * at the next start if this process ends before. */
static err_code expire_now(struct job_served *s, sv datastore_id, sv id, int64_t expire_ms,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w[] = { { RECORDS_DELETE, job_expiry_key(a, expire_ms, id), SV_NONE },
                                 { RECORDS_PUT, job_expiry_key(a, 0, id), datastore_id } };
    TRY(records_write(s->records, w, 2, e));
    TRY(s->removed(s->ctx, datastore_id, id, e));
    job_served_expect(s, 0);
    return ERR_OK;
}

err_code job_served_drop(struct job_served *s, sv datastore_id, struct err *e)
{
    int64_t next;
    return remove_due(s, INT64_MIN, datastore_id, &next, e);
}

/* ---- life ---- */

static bool any(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    *(bool *)ctx = true;
    return false;
}

static err_code has_manifest(struct job_served *s, sv id, bool *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    return records_scan(s->records, manifest_key(a, id), SV_NONE, any, out, e);
}

/* Folders of no job that is known. s NULL: scratch, of which only unfinished jobs have any. */
static err_code sweep(const char *dir, struct job_served *s, job_active_check_fn active, void *ctx,
                      struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *x;
    err_code rc = ERR_OK;
    if (d == NULL)
        return errno == ENOENT ? ERR_OK
                               : ERR(e, err_from_errno(errno), "the folder of jobs cannot be read");
    while (rc == ERR_OK && (x = readdir(d)) != NULL) {
        char path[PATH_MAX];
        bool keep = false;
        if (x->d_name[0] == '.')
            continue;
        if (s)
            rc = has_manifest(s, sv_from(x->d_name), &keep, e);
        if (rc == ERR_OK && !keep && !active(ctx, sv_from(x->d_name))) {
            (void)snprintf(path, sizeof path, "%s/%s", dir, x->d_name);
            rc = file_remove_tree(path, e);
        }
    }
    closedir(d);
    return rc;
}

err_code job_spool_sweep(const char *dir, job_active_check_fn active, void *ctx, struct err *e)
{
    return sweep(dir, NULL, active, ctx, e);
}

err_code job_served_start(struct records *records, const char *dir, job_removed_fn removed,
                          job_active_check_fn active, void *ctx, struct job_served **out,
                          struct err *e)
{
    struct sink_config cfg = { .objects_dir = dir, .make_buckets = true, .sync = true };
    struct job_served *s = calloc(1, sizeof *s);
    if (s == NULL || (s->dir = strdup(dir)) == NULL)
        abort();
    s->records = records;
    s->removed = removed;
    s->ctx = ctx;
    pthread_mutex_init(&s->locked.lock, NULL);
    pthread_cond_init(&s->locked.changed, NULL);
    err_code rc = sink_world_new(&cfg, &s->world, e);
    if (rc == ERR_OK)
        rc = sweep(dir, s, active, ctx, e);
    if (rc == ERR_OK && pthread_create(&s->thread, NULL, janitor, s) != 0)
        rc = ERR(e, ERR_IO, "a thread for the retention of exports cannot be started");
    if (rc != ERR_OK) {
        job_served_stop(s);
        return rc;
    }
    s->running = true;
    *out = s;
    return ERR_OK;
}

void job_served_stop(struct job_served *s)
{
    if (s == NULL)
        return;
    if (s->running) {
        pthread_mutex_lock(&s->locked.lock);
        s->locked.stop = true;
        pthread_cond_signal(&s->locked.changed);
        pthread_mutex_unlock(&s->locked.lock);
        pthread_join(s->thread, NULL);
    }
    sink_world_free(s->world);
    pthread_mutex_destroy(&s->locked.lock);
    pthread_cond_destroy(&s->locked.changed);
    free(s->dir);
    free(s);
}

struct sink_world *job_served_world(struct job_served *s)
{
    return s->world;
}

/* ---- the manifest's files ---- */

err_code job_manifest_put(struct records *r, sv id, sv manifest, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    return records_put_unsynced(r, manifest_key(a, id), manifest, e);
}

err_code job_manifest_delete(struct records *r, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct records_write w = { RECORDS_DELETE, manifest_key(a, id), SV_NONE };
    return records_write(r, &w, 1, e);
}

static err_code completed(const struct job *j, struct err *e)
{
    if (j->discarded)
        return ERR(e, ERR_GONE, "The files of this export have expired; start a new one");
    if (j->status != JOB_COMPLETED && j->status != JOB_COMPLETED_WITH_ERRORS)
        return ERR(e, ERR_CONFLICT, "The export is %s: it has no files yet",
                   job_status_name(j->status));
    return ERR_OK;
}

static err_code manifest_of(struct records *r, const struct job *j, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    TRY(completed(j, e));
    err_code rc = records_get(r, manifest_key(a, j->id), out, e);
    if (rc == ERR_NOT_FOUND) /* of a version before manifests were kept, or it has just expired */
        return ERR(e, ERR_GONE, "The files of this export are not known any more");
    return rc;
}

/* The manifest's entry of that name, or NULL. */
static yyjson_val *find_file(yyjson_val *manifest, sv name)
{
    static const char *const lists[] = { "output", "deleted", "error", "outcome" };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        yyjson_val *v;
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(manifest, lists[i]));
        while ((v = yyjson_arr_iter_next(&it)) != NULL)
            if (sv_eq(json_string(json_get(v, "url")), name))
                return v;
    }
    return NULL;
}

static bool shows_parts(const struct job *j)
{
    return j->status == JOB_IN_PROGRESS && j->served && j->transaction_ms && j->params &&
           j->params->partial_manifests;
}

/* The manifest, or of a running export that may show it, what is final of it. */
static err_code manifest_so_far(struct job_engine *en, struct records *r, struct job *j,
                                struct arena *a, struct buf *out, bool *complete, struct err *e)
{
    if (shows_parts(j)) {
        TRY(export_partial_manifest(r, j, out, e));
        TRY(job_get(en, JOB_EXPORT, j->datastore_id, j->id, a, j, e));
        if (shows_parts(j)) {
            *complete = false;
            return ERR_OK;
        }
        buf_clear(out); /* it ended meanwhile, and its notes are gone */
    }
    TRY(manifest_of(r, j, out, e));
    *complete = true;
    return ERR_OK;
}

static err_code open_file(struct job_engine *en, struct job_served *s, struct records *r,
                          struct job *j, sv name, struct arena *a, struct job_export_file *out,
                          struct err *e)
{
    bool complete;
    CLEANUP_BUF struct buf b = BUF_INIT(MANIFEST_MAX);
    CLEANUP(arena_free) struct arena *scratch = arena_new(MANIFEST_MAX);
    yyjson_doc *doc;
    uint64_t bytes = 0;
    TRY(manifest_so_far(en, r, j, scratch, &b, &complete, e));
    if (json_read(scratch, buf_sv(&b), 8, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the manifest of an export is damaged");
    yyjson_val *v = j->served && s ? find_file(yyjson_doc_get_root(doc), name) : NULL;
    if (v == NULL || !sv_to_u64(json_number(json_get(v, "bytes")), &bytes))
        return ERR(e, ERR_NOT_FOUND, "The export has no file %.*s", SV_FMT(sv_head(name, 64)));
    sv path = arena_fmt(scratch, "%s/%.*s/%.*s", s->dir, SV_FMT(j->id), SV_FMT(name));
    sv digest = arena_sv(a, json_string(json_get(v, "sha256")));
    if (path.ptr == NULL || digest.ptr == NULL)
        return arena_oom(a, e);
    int f = open(path.ptr, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (f < 0 && errno == ENOENT) /* between the removal of files and of records */
        return ERR(e, ERR_GONE, "The files of this export have expired; start a new one");
    if (f < 0 || fstat(f, &st) != 0 || (uint64_t)st.st_size != bytes) {
        if (f >= 0)
            close(f);
        return ERR(e, ERR_IO, "a file of an export cannot be read");
    }
    *out = (struct job_export_file){
        f, bytes, (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000, digest
    };
    return ERR_OK;
}

/* ---- calls of job.h ---- */

err_code job_export_manifest(struct job_engine *en, sv datastore_id, sv job_id, struct buf *out,
                             bool *complete, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(32u << 20);
    struct records *r;
    struct job j;
    TRY(job_get(en, JOB_EXPORT, datastore_id, job_id, a, &j, e));
    (void)job_engine_served(en, &r);
    return manifest_so_far(en, r, &j, a, out, complete, e);
}

err_code job_export_file_open(struct job_engine *en, sv datastore_id, sv job_id, sv name,
                              struct arena *a, struct job_export_file *out, struct err *e)
{
    struct records *r;
    struct job_served *s = job_engine_served(en, &r);
    struct job j;
    TRY(job_get(en, JOB_EXPORT, datastore_id, job_id, a, &j, e));
    return open_file(en, s, r, &j, name, a, out, e);
}

err_code job_discard(struct job_engine *en, sv datastore_id, sv job_id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(32u << 20);
    struct records *r;
    struct job_served *s = job_engine_served(en, &r);
    struct job j;
    TRY(job_get(en, JOB_EXPORT, datastore_id, job_id, a, &j, e));
    if (!j.served || s == NULL)
        return ERR(e, ERR_CONFLICT, "The files of this export are not kept here");
    if (!job_status_is_final(j.status))
        return ERR(e, ERR_CONFLICT, "The export is %s: cancel it", job_status_name(j.status));
    if (j.discarded)
        return ERR_OK;
    return expire_now(s, datastore_id, job_id, j.expires_ms, e);
}

/* kept.c - how much of served exports is kept, for which data store and for whom.
 *
 * A kick-off takes its place before its job exists, and keeps it while the job waits, runs, and its
 * files are served; the place is free again when the job has come to nothing, or its files are
 * discarded or expire. What stands in the records (job.served, job.caller, progress, expiry) is
 * enough to make the table anew at the start.
 *   K1  places of a data store, and of a caller over all data stores, are never more than the
 *       limits
 *   K2  bytes count as they are written; a job that would pass a limit with them ends, and its
 *       files go
 *   K3  of a data store a dozen times its largest export is kept, however large the disk: nobody
 *       needs more copies, and many small ones of a filter or a patient may be. One that has not
 *       ended counts as if it became the largest */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"

struct kept {
    struct kept *next;
    char id[40], datastore_id[40];
    char *caller;
    uint64_t bytes;
    int64_t expires_ms; /* 0: it has not ended */
};

struct job_kept {
    struct job_served_limits limits;
    struct {
        pthread_mutex_t lock;
        struct kept *first;
    } locked;
};

static unsigned or_default(unsigned n, unsigned fallback)
{
    return n ? n : fallback;
}

struct job_kept *job_kept_new(const struct job_served_limits *limits)
{
    struct job_kept *kept = calloc(1, sizeof *kept);
    if (kept == NULL)
        abort();
    kept->limits = (struct job_served_limits){
        .per_store = or_default(limits->per_store, LIMIT_SERVED_STORE),
        .per_caller = or_default(limits->per_caller, LIMIT_SERVED_CALLER),
        .store_bytes = limits->store_bytes ? limits->store_bytes : LIMIT_SERVED_STORE_BYTES,
        .caller_bytes = limits->caller_bytes ? limits->caller_bytes : LIMIT_SERVED_CALLER_BYTES,
        .small_bytes = limits->small_bytes ? limits->small_bytes : LIMIT_SERVED_SMALL_BYTES,
        .copies = or_default(limits->copies, LIMIT_SERVED_COPIES),
    };
    pthread_mutex_init(&kept->locked.lock, NULL);
    return kept;
}

void job_kept_free(struct job_kept *kept)
{
    if (kept == NULL)
        return;
    for (struct kept *x = kept->locked.first, *next; x; x = next) {
        next = x->next;
        free(x->caller);
        free(x);
    }
    pthread_mutex_destroy(&kept->locked.lock);
    free(kept);
}

static struct kept **find_locked(struct job_kept *kept, sv id)
{
    struct kept **p = &kept->locked.first;
    while (*p && !sv_eq_cstr(id, (*p)->id))
        p = &(*p)->next;
    return p;
}

static void add_locked(struct job_kept *kept, const struct job *job)
{
    struct kept *x = calloc(1, sizeof *x);
    if (x == NULL ||
        (x->caller = strndup(job->caller.ptr ? job->caller.ptr : "", job->caller.len)) == NULL)
        abort();
    (void)snprintf(x->id, sizeof x->id, "%.*s", SV_FMT(job->id));
    (void)snprintf(x->datastore_id, sizeof x->datastore_id, "%.*s", SV_FMT(job->datastore_id));
    x->bytes = job->progress.bytes_exported + job->progress.objects_exported * JOB_FILE_BYTES;
    x->expires_ms = job->expires_ms;
    x->next = kept->locked.first;
    kept->locked.first = x;
}

struct sum {
    unsigned n;
    uint64_t bytes;
    uint64_t largest;
    uint64_t expected;  /* bytes, if those that have not ended become as large as the largest */
    int64_t expires_ms; /* the first that goes; 0: none that has ended */
};

/* Of the data store, or of the caller: the other is empty. */
static struct sum sum_locked(struct job_kept *kept, sv datastore_id, sv caller)
{
    struct sum s = { 0 };
    for (int pass = 0; pass < 2; pass++)
        for (const struct kept *x = kept->locked.first; x; x = x->next) {
            if (!(datastore_id.len ? sv_eq_cstr(datastore_id, x->datastore_id)
                                   : sv_eq_cstr(caller, x->caller)))
                continue;
            if (pass == 1) {
                s.expected += x->expires_ms || x->bytes > s.largest ? x->bytes : s.largest;
                continue;
            }
            s.n++;
            s.bytes += x->bytes;
            s.largest = x->bytes > s.largest ? x->bytes : s.largest;
            if (x->expires_ms && (s.expires_ms == 0 || x->expires_ms < s.expires_ms))
                s.expires_ms = x->expires_ms;
        }
    return s;
}

/* So many copies of the largest; little is always kept. */
static uint64_t most_of_store(const struct job_kept *kept, const struct sum *s)
{
    const struct job_served_limits *l = &kept->limits;
    uint64_t most =
        s->largest > l->store_bytes / l->copies ? l->store_bytes : s->largest * l->copies;
    most = most > l->small_bytes ? most : l->small_bytes;
    return most < l->store_bytes ? most : l->store_bytes;
}

static const char *const advice =
    "delete one (DELETE on its status URL), or try again when one has expired";

static unsigned wait_of(const struct sum *s)
{
    int64_t wait_ms = s->expires_ms ? s->expires_ms - clock_wall_ms() : 60000;
    return wait_ms < 1000 ? 1 : wait_ms > 3600000 ? 3600 : (unsigned)(wait_ms / 1000);
}

static err_code check_locked(struct job_kept *kept, sv datastore_id, sv caller, unsigned *wait_s,
                             struct err *e)
{
    struct sum store = sum_locked(kept, datastore_id, SV_NONE),
               own = sum_locked(kept, SV_NONE, caller);
    *wait_s = wait_of(&store);
    if (store.n >= kept->limits.per_store)
        return ERR(e, ERR_THROTTLED,
                   "The files of %u exports of this data store are kept, which is the most; %s",
                   store.n, advice);
    if (store.expected >= most_of_store(kept, &store))
        return ERR(
            e, ERR_THROTTLED,
            "The exports of this data store that are kept or on their way have %llu MiB, which "
            "is the most; %s",
            (unsigned long long)(store.expected >> 20), advice);
    *wait_s = wait_of(&own);
    if (own.n >= kept->limits.per_caller)
        return ERR(e, ERR_THROTTLED,
                   "The files of %u of your exports are kept, which is the most; %s", own.n,
                   advice);
    if (own.bytes >= kept->limits.caller_bytes)
        return ERR(e, ERR_THROTTLED,
                   "Your exports that are kept have %llu MiB, which is the most; %s",
                   (unsigned long long)(own.bytes >> 20), advice);
    return ERR_OK;
}

err_code job_kept_enter(struct job_kept *kept, const struct job *job, unsigned *wait_s,
                        struct err *e)
{
    pthread_mutex_lock(&kept->locked.lock);
    err_code rc = check_locked(kept, job->datastore_id, job->caller, wait_s, e);
    if (rc == ERR_OK)
        add_locked(kept, job);
    pthread_mutex_unlock(&kept->locked.lock);
    return rc;
}

void job_kept_load(struct job_kept *kept, const struct job *job)
{
    pthread_mutex_lock(&kept->locked.lock);
    if (*find_locked(kept, job->id) == NULL)
        add_locked(kept, job);
    pthread_mutex_unlock(&kept->locked.lock);
}

static struct kept *take_all_locked(struct job_kept *kept)
{
    struct kept *all = kept->locked.first;
    kept->locked.first = NULL;
    return all;
}

void job_kept_replace(struct job_kept *kept, const struct job *jobs, size_t n)
{
    pthread_mutex_lock(&kept->locked.lock);
    struct kept *before = take_all_locked(kept), *next;
    for (size_t i = 0; i < n; i++)
        if (*find_locked(kept, jobs[i].id) == NULL)
            add_locked(kept, &jobs[i]);
    for (; before; before = next) {
        struct kept *now = *find_locked(kept, sv_from(before->id));
        next = before->next;
        if (now && before->bytes > now->bytes)
            now->bytes = before->bytes;
        free(before->caller);
        free(before);
    }
    pthread_mutex_unlock(&kept->locked.lock);
}

err_code job_kept_grow(struct job_kept *kept, sv id, uint64_t bytes, struct err *e)
{
    err_code rc = ERR_OK;
    pthread_mutex_lock(&kept->locked.lock);
    struct kept *x = *find_locked(kept, id);
    if (x) {
        x->bytes = bytes;
        struct sum store = sum_locked(kept, sv_from(x->datastore_id), SV_NONE);
        struct sum own = sum_locked(kept, SV_NONE, sv_from(x->caller));
        uint64_t most = most_of_store(kept, &store);
        bool full = store.bytes > most;
        if (full || own.bytes > kept->limits.caller_bytes)
            rc = ERR(e, ERR_TOO_LARGE,
                     "With this export the files kept %s would be more than %llu MiB, which is the "
                     "most; delete older exports, or export to S3",
                     full ? "of the data store" : "for its caller",
                     (unsigned long long)((full ? most : kept->limits.caller_bytes) >> 20));
    }
    pthread_mutex_unlock(&kept->locked.lock);
    return rc;
}

void job_kept_end(struct job_kept *kept, sv id, int64_t expires_ms)
{
    pthread_mutex_lock(&kept->locked.lock);
    struct kept *x = *find_locked(kept, id);
    if (x)
        x->expires_ms = expires_ms;
    pthread_mutex_unlock(&kept->locked.lock);
}

void job_kept_leave(struct job_kept *kept, sv id)
{
    pthread_mutex_lock(&kept->locked.lock);
    struct kept **p = find_locked(kept, id), *x = *p;
    if (x) {
        *p = x->next;
        free(x->caller);
        free(x);
    }
    pthread_mutex_unlock(&kept->locked.lock);
}

/* ---- the disk ---- */

static err_code check_dir(const struct job_engine_config *cfg, const char *dir, const char *whose,
                          struct err *e)
{
    uint64_t left, size, floor = cfg->min_free_bytes;
    TRY(file_disk(dir, &left, &size, e));
    if (floor == 0)
        floor = size / 20 < LIMIT_FREE_DISK_BYTES ? size / 20 : LIMIT_FREE_DISK_BYTES;
    if (left < floor)
        return ERR(e, ERR_NO_SPACE,
                   "The disk of %s has %llu MiB free; jobs leave %llu MiB to the data stores",
                   whose, (unsigned long long)(left >> 20), (unsigned long long)(floor >> 20));
    return ERR_OK;
}

err_code job_disk_check(const struct job_engine_config *cfg, const struct job_files *place,
                        struct err *e)
{
    const char *dir;
    if (place && job_files_disk(place, &dir))
        return check_dir(cfg, dir, "the files of exports", e);
    return check_dir(cfg, cfg->spool_dir, "the data folder", e);
}

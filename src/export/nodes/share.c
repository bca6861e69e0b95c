/* share.c - which ranges of an export are in this run's hands, where other nodes take some, too.
 *
 * Each range is taken by a lease and noted under it (job/nodes/share.c). Names and bytes of its
 * objects are the same whoever writes them, so one that is done twice does no harm.
 *
 * Others have to write to the same place. So the run that has the job puts an object there, and
 * names it in the door: who does not find it does not take part. It is noted before it is written,
 * so whoever goes on with the job can take it away, wherever the run before ended. Nor does a
 * release take part that writes lines otherwise. Files that we serve are in a folder of their own
 * node: nobody takes part in these. */
#include "export/export_private.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"

/* of a release, and of the form of its lines */
#define MARK_PREFIX ".fhirlake-nodes-" FHIRLAKE_VERSION "-"
#define NOTE_MARK   SV_LIT("mark") /* the object's name */
#define WAIT_MS     1000u

struct export_share {
    sv door; /* the name of the object that all have to see; empty: nobody comes in */
    /* under the export's lock */
    struct lease **leases; /* by range */
    bool idle;
    size_t n_done; /* by this run */
};

static err_code new_share(struct export_job *export, struct arena *a, struct export_share **out,
                          struct err *e)
{
    struct export_share *s = arena_calloc(a, 1, sizeof *s);
    bool *in_hand = arena_calloc(a, export->plan.n + 1, sizeof *in_hand);
    if (s == NULL || in_hand == NULL ||
        (s->leases = arena_calloc(a, export->plan.n + 1, sizeof *s->leases)) == NULL)
        return arena_oom(a, e);
    export->shared.in_hand = in_hand;
    *out = s;
    return ERR_OK;
}

/* ---- the door ---- */

/* The object of a run before this one. */
static err_code remove_former(struct export_job *export, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_DOOR_MAX);
    struct err why;
    err_code rc = job_run_note_get(export->run, NOTE_MARK, &b, &why);
    if (rc == ERR_OK)
        IGNORE(sink_delete(export->sink, buf_sv(&b), &why));
    return rc == ERR_OK || rc == ERR_NOT_FOUND ? ERR_OK : err_pass(e, &why);
}

err_code export_share_open(struct export_job *export, struct arena *a, struct err *e)
{
    struct job_run *run = export->run;
    struct export_share *s = NULL;
    struct err why;
    char nonce[33], mark[JOB_DOOR_MAX];
    if (run->leases == NULL || run->job->served)
        return ERR_OK;
    TRY(new_share(export, a, &s, e));
    TRY(remove_former(export, e));
    rng_hex32(nonce);
    (void)snprintf(mark, sizeof mark, MARK_PREFIX "%u-%s", EXPORT_LINE_FORM, nonce);
    TRY(job_run_note_put(run, NOTE_MARK, sv_from(mark), e));
    err_code rc =
        sink_put(export->sink, sv_from(mark), SV_LIT("text/plain"), SV_LIT("\n"), NULL, &why);
    if (rc == ERR_OK) {
        s->door = arena_sv(a, sv_from(mark));
        if (s->door.ptr == NULL)
            return arena_oom(a, e);
    } else {
        /* then it is done alone */
        LOG_ERR("export_share", &why, LOG_SV("job", run->job->id));
    }
    TRY(job_run_door_open(run, s->door, e));
    export->share = s;
    job_run_tell(run);
    return ERR_OK;
}

/* Of a release that writes lines as this one does? */
static bool is_alike(sv door)
{
    char prefix[sizeof MARK_PREFIX + 16];
    (void)snprintf(prefix, sizeof prefix, MARK_PREFIX "%u-", EXPORT_LINE_FORM);
    return sv_starts(door, sv_from(prefix));
}

err_code export_share_join(struct export_job *export, struct arena *a, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_DOOR_MAX);
    struct export_share *s = NULL;
    struct err why;
    uint64_t bytes;
    err_code rc = job_run_door_read(export->run, &b, &why);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && b.len == 0))
        return ERR(e, ERR_CANCELLED, "no other node takes part in the export");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (!is_alike(buf_sv(&b)))
        return ERR(e, ERR_NOT_FOUND, "a node of another release writes the export");
    TRY(new_share(export, a, &s, e));
    s->door = arena_sv(a, buf_sv(&b));
    if (s->door.ptr == NULL)
        return arena_oom(a, e);
    TRY(sink_stat(export->sink, s->door, &bytes, e));
    export->share = s;
    return ERR_OK;
}

void export_share_part(struct export_job *export)
{
    if (export->share && export->share->n_done)
        LOG(LOG_INFO, "export_helped", LOG_SV("job", export->run->job->id),
            LOG_INT("ranges", export->share->n_done), LOG_INT("of", export->plan.n));
}

err_code export_share_end(struct export_job *export, struct err *e)
{
    const struct export_share *s = export->share;
    struct err ignored;
    if (s == NULL)
        return ERR_OK;
    if (s->door.len)
        IGNORE(sink_delete(export->sink, s->door, &ignored));
    /* each node knows of its own objects alone while it writes them */
    if (export->params->max_file_bytes && export->shared.n_begun > LIMIT_EXPORT_FILES)
        return ERR(e, ERR_TOO_LARGE,
                   "The export has more than %u files of the size that was asked for; ask for a "
                   "larger _maximumFileSize",
                   LIMIT_EXPORT_FILES);
    return ERR_OK;
}

/* ---- ranges ---- */

/* The next of those that are not done and not in this run's hands: first those that are checked, as
 * a process alone takes them (turns.c). *from: where it goes on, 0 at first. */
static size_t next_locked(const struct export_job *export, size_t *from, size_t out[LEASE_MOST])
{
    const struct export_plan *plan = &export->plan;
    size_t n = 0, at = *from;
    for (; at < plan->n * 2 && n < LEASE_MOST; at++) {
        const size_t i = at % plan->n;
        const bool checked = at < plan->n;
        if (plan->items[i].check == checked && !plan->done[i] && !export->shared.in_hand[i])
            out[n++] = i;
    }
    *from = at;
    return n;
}

/* What others have done since. */
static err_code look(struct export_job *export, bool *all_done, struct err *e)
{
    size_t first = 0;
    pthread_mutex_lock(&export->shared.lock);
    while (first < export->plan.n && export->plan.done[first])
        first++;
    pthread_mutex_unlock(&export->shared.lock);
    *all_done = first == export->plan.n;
    if (*all_done)
        return ERR_OK;
    TRY(export_done_read(export, first, e));
    export_progress_add(export, 0, 0);
    pthread_mutex_lock(&export->shared.lock);
    while (first < export->plan.n && export->plan.done[first])
        first++;
    pthread_mutex_unlock(&export->shared.lock);
    *all_done = first == export->plan.n;
    return ERR_OK;
}

static err_code none_left(struct export_job *export, struct err *e)
{
    pthread_mutex_lock(&export->shared.lock);
    export->share->idle = true;
    pthread_mutex_unlock(&export->shared.lock);
    return ERR(e, ERR_EOF, "no range is left to take");
}

/* False: another thread has it in hand by now. When all of them stand still, its lease can end
 * between the look and this one's turn; that thread finds out, and the range is for the next. */
static bool put_in_hand(struct export_job *export, size_t range, struct lease *lease)
{
    pthread_mutex_lock(&export->shared.lock);
    const bool is_free = !export->shared.in_hand[range];
    if (is_free) {
        export->share->leases[range] = lease;
        export->shared.in_hand[range] = true;
    }
    pthread_mutex_unlock(&export->shared.lock);
    return is_free;
}

err_code export_share_take(struct export_job *export, size_t *out, struct err *e)
{
    struct export_share *s = export->share;
    size_t ranges[LEASE_MOST], from = 0;
    for (;;) {
        struct lease *lease;
        size_t which;
        bool all_done;
        size_t next = from;
        struct err why;
        TRY(export_goes_on(export->run, e));
        pthread_mutex_lock(&export->shared.lock);
        const size_t n = next_locked(export, &next, ranges);
        pthread_mutex_unlock(&export->shared.lock);
        if (n == 0)
            return none_left(export, e);
        err_code rc = job_run_range_take(export->run, s->door, ranges, n, &lease, &which, &why);
        if (rc == ERR_OK && put_in_hand(export, ranges[which], lease)) {
            *out = ranges[which];
            return ERR_OK;
        }
        if (rc == ERR_OK) {
            lease_release(lease);
            continue;
        }
        if (rc == ERR_EOF)
            /* all of these are in others' hands */
            from = next;
        else if (rc == ERR_EXISTS)
            TRY(look(export, &all_done, e));
        else
            return err_pass(e, &why);
    }
}

void export_share_leave(struct export_job *export, size_t range, bool done)
{
    struct export_share *s = export->share;
    if (s == NULL)
        return;
    pthread_mutex_lock(&export->shared.lock);
    struct lease *lease = s->leases[range];
    s->leases[range] = NULL;
    export->shared.in_hand[range] = false;
    export->plan.done[range] |= done;
    s->n_done += done;
    const bool idle = s->idle;
    pthread_mutex_unlock(&export->shared.lock);
    lease_release(lease);
    /* the others wait for it, perhaps */
    if (idle || !done)
        job_run_tell(export->run);
}

bool export_share_has(struct export_job *export, size_t range)
{
    pthread_mutex_lock(&export->shared.lock);
    const struct lease *lease = export->share->leases[range];
    pthread_mutex_unlock(&export->shared.lock);
    return lease && lease_is_held(lease);
}

err_code export_share_holds(struct export_job *export, size_t range, struct err *e)
{
    return export->share == NULL || export_share_has(export, range)
               ? ERR_OK
               : ERR(e, ERR_CONFLICT, "another node has range %zu", range);
}

err_code export_share_note(struct export_job *export, size_t range, sv note, struct err *e)
{
    pthread_mutex_lock(&export->shared.lock);
    struct lease *lease = export->share->leases[range];
    pthread_mutex_unlock(&export->shared.lock);
    return job_run_range_done(export->run, lease, range, note, e);
}

bool export_share_is_idle(struct export_job *export)
{
    if (export->share == NULL)
        return false;
    pthread_mutex_lock(&export->shared.lock);
    const bool idle = export->share->idle;
    pthread_mutex_unlock(&export->shared.lock);
    return idle;
}

err_code export_share_wait(struct export_job *export, bool *more, struct err *e)
{
    bool all_done;
    *more = false;
    if (export->share == NULL)
        return ERR_OK;
    TRY(look(export, &all_done, e));
    if (!all_done && export_share_is_idle(export)) {
        job_run_await(export->run, WAIT_MS);
        TRY(look(export, &all_done, e));
        pthread_mutex_lock(&export->shared.lock);
        export->share->idle = false;
        pthread_mutex_unlock(&export->shared.lock);
    }
    *more = !all_done;
    return ERR_OK;
}

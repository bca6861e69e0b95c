/* live.c - the progress of a running job, as all nodes see it: a note of its lease.
 *
 * It is told when it has changed, at most as often as a node looks. It stays when the lease ends
 * before the job does: then it is shown as it was told last, until the one who goes on with the job
 * has come as far. So whoever asks, wherever, does not see it go back.
 *
 * Where one process is alone there is no lease. An import's progress is then a note of the job,
 * written before it is shown, for the time between a start and the run's own look at how far it had
 * come. Of exports each object is a note already, and of erasures the store counts. */
#include "job/job_private.h"

#include "codec/json.h"

#define MOST 16u /* jobs that run at a time */

static const size_t counters[] = {
    /* of what is done: these grow */
    offsetof(struct job_progress, files_scanned),
    offsetof(struct job_progress, files_imported),
    offsetof(struct job_progress, files_unreadable),
    offsetof(struct job_progress, bytes_scanned),
    offsetof(struct job_progress, bytes_imported),
    offsetof(struct job_progress, resources_scanned),
    offsetof(struct job_progress, resources_imported),
    offsetof(struct job_progress, resources_customer_error),
    offsetof(struct job_progress, resources_server_error),
    offsetof(struct job_progress, resources_with_issues),
    offsetof(struct job_progress, resources_exported),
    offsetof(struct job_progress, bytes_exported),
    offsetof(struct job_progress, objects_exported),
    offsetof(struct job_progress, resources_erased),
    offsetof(struct job_progress, versions_erased),
    offsetof(struct job_progress, ranges_done),
    /* of what is to be done */
    offsetof(struct job_progress, ranges_total),
    offsetof(struct job_progress, resources_expected),
    offsetof(struct job_progress, bytes_expected),
    offsetof(struct job_progress, seconds_left),
};
#define N_COUNTERS (sizeof counters / sizeof counters[0])
#define N_GROW     (N_COUNTERS - 4)

bool job_progress_is_none(const struct job_progress *p)
{
    uint64_t any = 0;
    for (size_t i = 0; i < N_COUNTERS; i++) {
        uint64_t n;
        memcpy(&n, (const char *)p + counters[i], sizeof n);
        any |= n;
    }
    return any == 0;
}

/* As far as both have come, where they count what is done; else as `now` has it. */
static void further(struct job_progress *seen, const struct job_progress *now)
{
    const struct job_progress before = *seen;
    *seen = *now;
    for (size_t i = 0; i < N_GROW; i++) {
        uint64_t a, b;
        memcpy(&a, (const char *)&before + counters[i], sizeof a);
        memcpy(&b, (const char *)now + counters[i], sizeof b);
        if (a > b)
            memcpy((char *)seen + counters[i], &a, sizeof a);
    }
}

#define FORM 2u /* of the note: another one has other counters, or another order */

/* The form, the counters in their order, then the throughput. */
static err_code print(const struct job_progress *p, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_arr(&w);
    json_u64(&w, FORM);
    for (size_t i = 0; i < N_COUNTERS; i++) {
        uint64_t n;
        memcpy(&n, (const char *)p + counters[i], sizeof n);
        json_u64(&w, n);
    }
    json_fixed(&w, p->throughput, 3);
    json_arr_end(&w);
    return json_writer_end(&w, e);
}

static bool parse(sv text, struct arena *a, struct job_progress *out)
{
    struct job_progress p = { 0 };
    yyjson_doc *doc;
    yyjson_val *v;
    uint64_t form;
    size_t i = 0;
    text = arena_sv(a, text);
    if (text.ptr == NULL || json_read(a, text, 2, &doc, NULL) != ERR_OK)
        return false;
    yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_doc_get_root(doc));
    if (!sv_to_u64(json_number(yyjson_arr_iter_next(&it)), &form) || form != FORM)
        return false;
    for (; i <= N_COUNTERS && (v = yyjson_arr_iter_next(&it)) != NULL; i++) {
        uint64_t n;
        if (i == N_COUNTERS) {
            if (!sv_to_double(json_number(v), &p.throughput))
                return false;
            continue;
        }
        if (!sv_to_u64(json_number(v), &n))
            return false;
        memcpy((char *)&p + counters[i], &n, sizeof n);
    }
    /* a node of another release tells other counters */
    if (i <= N_COUNTERS)
        return false;
    *out = p;
    return true;
}

#define NOTE_PROGRESS SV_LIT("progress")

void job_live_keep(struct job_run *run, const struct job_progress *p)
{
    if (run->lease || run->job->kind != JOB_IMPORT)
        return;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    CLEANUP_BUF struct buf b = BUF_INIT(LEASE_NOTE_MAX);
    struct err ignored;
    pthread_mutex_lock(&run->live.lock);
    struct job_progress seen = run->live.told;
    pthread_mutex_unlock(&run->live.lock);
    further(&seen, p);
    /* without it, what was written before is shown after a restart */
    if (print(&seen, &b, &ignored) == ERR_OK)
        IGNORE(job_put_unsynced(run->cfg->records, NULL,
                                job_key_note(a, run->job->id, NOTE_PROGRESS), buf_sv(&b),
                                &ignored));
}

/* As it was kept. Else *job is as it was. */
static void kept(struct records *r, struct job *job)
{
    if (job->kind != JOB_IMPORT || !job->start_ms || job_status_is_final(job->status))
        return;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    CLEANUP_BUF struct buf b = BUF_INIT(LEASE_NOTE_MAX);
    struct err ignored;
    if (records_get(r, job_key_note(a, job->id, NOTE_PROGRESS), &b, &ignored) == ERR_OK)
        (void)parse(buf_sv(&b), a, &job->progress);
}

void job_live_last(struct job_run *run, struct job_progress *out)
{
    pthread_mutex_lock(&run->live.lock);
    further(&run->live.told, &run->live.progress);
    *out = run->live.told;
    pthread_mutex_unlock(&run->live.lock);
}

struct news {
    struct lease *lease;
    struct buf text;
};

static size_t gather_locked(struct job_engine *engine, struct news news[MOST])
{
    size_t n = 0;
    for (struct job_entry *entry = engine->locked.first; entry && n < MOST; entry = entry->next) {
        if (entry->lease == NULL || entry->run == NULL)
            continue;
        struct job_progress p;
        job_live_last(entry->run, &p);
        news[n] = (struct news){ entry->lease, BUF_INIT(LEASE_NOTE_MAX) };
        if (print(&p, &news[n].text, NULL) != ERR_OK ||
            sv_hash(1, buf_sv(&news[n].text)) == entry->told) {
            buf_done(&news[n].text);
            continue;
        }
        entry->told = sv_hash(1, buf_sv(&news[n].text));
        n++;
    }
    return n;
}

void job_live_tell(struct job_engine *engine)
{
    struct news news[MOST];
    pthread_mutex_lock(&engine->lease_lock);
    pthread_mutex_lock(&engine->locked.lock);
    const size_t n = gather_locked(engine, news);
    pthread_mutex_unlock(&engine->locked.lock);
    for (size_t i = 0; i < n; i++) {
        struct err ignored;
        /* who looks sees what was told before */
        IGNORE(lease_tell(news[i].lease, buf_sv(&news[i].text), &ignored));
        buf_done(&news[i].text);
    }
    pthread_mutex_unlock(&engine->lease_lock);
}

struct reader {
    struct job *jobs;
    size_t n;
    struct arena *a;
};

/* lease_each_fn */
static bool overlay(void *ctx, const struct lease_seen *seen)
{
    struct reader *r = ctx;
    const sv id = sv_tail(seen->name, sizeof JOB_LEASES - 1);
    for (size_t i = 0; i < r->n; i++) {
        struct job *job = &r->jobs[i];
        if (sv_eq(job->id, id) && !job_status_is_final(job->status))
            (void)parse(seen->note, r->a, &job->progress);
    }
    return true;
}

void job_live_read(struct job_engine *engine, struct job *jobs, size_t n)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct reader r = { jobs, n, a };
    struct err ignored;
    for (size_t i = 0; i < n && !engine->shared; i++)
        kept(engine->cfg.records, &jobs[i]);
    if (!engine->shared || n == 0)
        return;
    sv prefix = n == 1 ? arena_fmt(a, JOB_LEASES "%.*s", SV_FMT(jobs[0].id)) : SV_LIT(JOB_LEASES);
    /* then it is shown as it was written down last */
    IGNORE(lease_list_notes(engine->cfg.records, prefix, overlay, &r, &ignored));
}

void job_live_take_up(struct job_run *run)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct job job = *run->job;
    struct reader r = { &job, 1, a };
    struct err ignored;
    const sv name = arena_fmt(a, JOB_LEASES "%.*s", SV_FMT(job.id));
    /* then it is counted from the record's on */
    if (run->lease == NULL)
        kept(run->cfg->records, &job);
    else
        IGNORE(lease_list_notes(run->cfg->records, name, overlay, &r, &ignored));
    pthread_mutex_lock(&run->live.lock);
    run->live.progress = run->live.told = job.progress;
    pthread_mutex_unlock(&run->live.lock);
}

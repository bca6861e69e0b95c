/* export.c - the store as of one instant, as NDJSON objects.
 *
 *   plan    T is fixed and every type's ids are cut into ranges; both are written down
 *   run     workers take ranges; a range becomes one object (more, if it is larger than planned), always
 *           under the same names and, because it is read as of T, with the same bytes: a range that a
 *           crash cut off is written again from its start
 *   finish  ranges and objects are checked against the plan, then the manifest is written, last */
#include "job/export.h"

#include "base/log.h"
#include "codec/json.h"

#include <time.h>

#define RANGE_TRIES 3u

struct range_task {
    struct export *x;
    size_t range;
};

static void progress_add(struct export *x, const struct export_tally *g)
{
    pthread_mutex_lock(&x->shared.lock);
    x->shared.progress.resources_exported += g->resources;
    x->shared.progress.bytes_exported += g->bytes;
    x->shared.progress.objects_exported += g->objects;
    x->shared.progress.ranges_done++;
    struct job_progress p = x->shared.progress;
    pthread_mutex_unlock(&x->shared.lock);
    job_run_progress_set(x->run, &p);
}

static bool may_pass(err_code rc)
{
    return rc == ERR_PEER || rc == ERR_TIMEOUT || rc == ERR_AUTH_EXPIRED;
}

static void pause_before_retry(const struct job_run *r, unsigned tries)
{
    for (unsigned i = 0; i < 20u << tries && !job_run_should_stop(r); i++)
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
}

static bool failed_already(struct export *x)
{
    pthread_mutex_lock(&x->shared.lock);
    bool failed = x->shared.rc != ERR_OK;
    pthread_mutex_unlock(&x->shared.lock);
    return failed;
}

static void range_task(void *ctx, unsigned worker)
{
    struct range_task *task = ctx;
    struct export *x = task->x;
    struct err e = { 0 };
    err_code rc = ERR_CANCELLED;
    if (!failed_already(x) && !job_run_should_stop(x->run))
        for (unsigned tries = 0;; tries++) {
            struct export_tally tally;
            rc = export_range_write(x, task->range, &x->blocks[worker], &tally, &e);
            if (rc == ERR_OK)
                progress_add(x, &tally);
            if (!may_pass(rc) || tries + 1 == RANGE_TRIES || job_run_should_stop(x->run))
                break;
            LOG_ERR("export_retry", &e, LOG_SV("job", x->run->job->id),
                    LOG_INT("range", task->range));
            pause_before_retry(x->run, tries);
        }
    buf_shrink(&x->blocks[worker], 4u << 20);
    free(task);
    if (rc == ERR_OK)
        return;
    if (job_run_should_stop(x->run))
        rc = ERR(&e, ERR_CANCELLED, "the export was stopped");
    pthread_mutex_lock(&x->shared.lock);
    if (x->shared.rc == ERR_OK) {
        x->shared.rc = rc;
        x->shared.err = e;
    }
    pthread_mutex_unlock(&x->shared.lock);
}

/* ---- the whole ---- */

struct done_ctx {
    struct export *x;
    err_code rc;
};

/* A range that is in: mark it and count it. */
static bool each_done(void *ctx, sv key, sv value)
{
    struct done_ctx *c = ctx;
    struct arena *a = arena_new(EXPORT_PLAN_MAX);
    yyjson_doc *doc;
    uint64_t range, n;
    sv text = arena_sv(a, value);
    if (key.len < 8 || !sv_to_u64(sv_tail(key, key.len - 8), &range) || range >= c->x->plan.n ||
        json_read(a, text, 5, &doc, NULL) != ERR_OK) {
        c->rc = ERR_CORRUPT;
    } else {
        struct job_progress *p = &c->x->shared.progress;
        yyjson_val *v, *objects = json_get(yyjson_doc_get_root(doc), "objects");
        yyjson_arr_iter it = yyjson_arr_iter_with(objects);
        c->x->plan.done[range] = true;
        p->ranges_done++;
        while ((v = yyjson_arr_iter_next(&it)) != NULL) {
            p->objects_exported++;
            if (sv_to_u64(json_number(json_get(v, "count")), &n))
                p->resources_exported += n;
            if (sv_to_u64(json_number(json_get(v, "bytes")), &n))
                p->bytes_exported += n;
        }
    }
    arena_free(a);
    return c->rc == ERR_OK;
}

static err_code run_ranges(struct export *x, struct err *e)
{
    unsigned n_workers = job_pool_n_workers(x->run->pool);
    x->blocks = calloc(n_workers, sizeof *x->blocks);
    if (x->blocks == NULL)
        abort();
    for (unsigned i = 0; i < n_workers; i++)
        buf_init(&x->blocks[i], SIZE_MAX / 2);
    struct job_tasks *q = job_tasks_open(x->run->pool, n_workers * 2);
    for (size_t i = 0; i < x->plan.n && !job_run_should_stop(x->run) && !failed_already(x); i++) {
        if (x->plan.done[i])
            continue;
        struct range_task *t = malloc(sizeof *t);
        if (t == NULL)
            abort();
        *t = (struct range_task){ x, i };
        job_tasks_add(q, range_task, t);
    }
    job_tasks_close(q);
    for (unsigned i = 0; i < n_workers; i++)
        buf_done(&x->blocks[i]);
    free(x->blocks);
    if (x->shared.rc != ERR_OK) {
        *e = x->shared.err;
        return x->shared.rc;
    }
    if (job_run_should_stop(x->run))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    return ERR_OK;
}

static err_code export_all(struct export *x, struct arena *a, struct err *e)
{
    struct job_run *r = x->run;
    err_code rc = export_plan_read(r, a, &x->plan, e);
    if (rc == ERR_NOT_FOUND) {
        if (r->job->transaction_ms == 0) {
            struct store_commit c;
            TRY(store_horizon(r->store, &c, e));
            TRY(job_run_set_instant(r, c.t, c.instant_ms, e));
        }
        TRY(export_plan_make(r, e));
        rc = export_plan_read(r, a, &x->plan, e);
    }
    TRY(rc);
    CLEANUP(arena_free) struct arena *scratch = arena_new(1u << 20);
    struct job_record rec; /* T as it was written down, by this run or by one before */
    TRY(job_get(r->engine, JOB_EXPORT, r->job->datastore_id, r->job->id, scratch, &rec.job, e));
    x->t = rec.job.as_of_t;
    struct done_ctx d = { x, ERR_OK };
    TRY(job_run_note_scan(r, SV_LIT("done/"), each_done, &d, e));
    if (d.rc != ERR_OK)
        return ERR(e, d.rc, "the export's notes are damaged");
    x->shared.progress.ranges_total = x->plan.n;
    job_run_progress_set(r, &x->shared.progress);
    TRY(export_sink_open(r, &x->sink, e));
    TRY(run_ranges(x, e));
    CLEANUP_BUF struct buf manifest = BUF_INIT(1u << 30);
    TRY(export_manifest(r, &x->plan, x->sink, &manifest, e));
    return sink_put(x->sink, SV_LIT("manifest.json"), SV_LIT("application/json"), buf_sv(&manifest),
                    NULL, e);
}

err_code export_run(struct job_run *r, job_status *status, struct buf *message, struct err *e)
{
    (void)message; /* a complete export has nothing to add */
    CLEANUP(arena_free) struct arena *a = arena_new(EXPORT_PLAN_MAX * 4ull);
    struct export x = { .run = r };
    pthread_mutex_init(&x.shared.lock, NULL);
    err_code rc = export_all(&x, a, e);
    sink_close(x.sink);
    pthread_mutex_destroy(&x.shared.lock);
    if (rc == ERR_OK)
        *status = JOB_COMPLETED;
    return rc;
}

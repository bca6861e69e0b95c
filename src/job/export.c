/* export.c - the store as of one instant, as NDJSON objects.
 *
 *   plan    T is fixed and every type's ids are cut into ranges; both are written down
 *   run     workers take ranges; a range becomes one object (more, if it is larger than planned), always
 *           under the same names and, because it is read as of T, with the same bytes: a range that a
 *           crash cut off is written again from its start
 *   finish  ranges and objects are checked against the plan, then the manifest is written, last */
#include "job/export.h"

#include "codec/json.h"

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

static err_code export_all(struct export *x, struct arena *a, struct err *e)
{
    struct job_run *r = x->run;
    if (job_run_should_stop(r))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    TRY(export_sink_open(r, &x->sink, e));
    x->object_bytes = sink_keeps_objects(x->sink) ? r->export_object_bytes / EXPORT_LANES
                                                  : r->export_object_bytes;
    err_code rc = export_plan_read(r, a, &x->plan, e);
    if (rc == ERR_NOT_FOUND) {
        if (r->job->transaction_ms == 0) {
            struct store_commit c;
            TRY(store_horizon(r->store, &c, e));
            TRY(job_run_set_instant(r, c.t, c.instant_ms, e));
        }
        TRY(export_plan_make(r, x->object_bytes, e));
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
    export_progress_begin(x);
    TRY(export_ranges_run(x, e));
    CLEANUP_BUF struct buf manifest = BUF_INIT(1u << 30);
    TRY(export_manifest(r, &x->plan, x->sink, &manifest, e));
    TRY(job_manifest_put(r->cfg->records, r->job->id, buf_sv(&manifest), e));
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

/* export.c - the store as of one instant, as NDJSON objects.
 *
 *   plan    T is fixed and every type's ids are cut into ranges; both are written down
 *   run     workers take ranges; a range becomes one object (more, if it is larger than planned),
 *           always under the same names and, because it is read as of T, with the same bytes: a
 *           range that a crash cut off is written again from its start
 *   finish  ranges and objects are checked against the plan, then the manifest is written, last;
 *           what a later export needs to go on from this one is remembered (reuse/) */
#include "export/reuse/reuse.h"

#include "base/log.h"
#include "codec/json.h"

/* ---- T ----
 * Note `instant` {"t", "mark"} is written in front of T in the record: which commit T is, for a
 * database that may lose it and give T to another one. */

static err_code mark_write(struct export_job *export, uint64_t t, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(256);
    struct json_writer w;
    struct err why;
    err_code rc = store_mark(export->run->store, t, &export->mark, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_UNAVAILABLE,
                   "the database has lost a commit that it showed a moment ago");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (export->mark == 0)
        return ERR_OK;
    json_writer_init(&w, &b);
    json_obj(&w);
    json_kv_u64(&w, "t", t);
    json_kv_u64(&w, "mark", export->mark);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return job_run_note_put_unsynced(export->run, SV_LIT("instant"), buf_sv(&b), e);
}

/* A run before wrote it, unless that was one of a version that did not. */
static err_code mark_read(struct export_job *export, struct arena *a, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(256);
    struct err why;
    uint64_t t, mark;
    yyjson_doc *doc;
    err_code rc = job_run_note_get(export->run, SV_LIT("instant"), &b, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    sv text = arena_sv(a, buf_sv(&b));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, text, 5, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!sv_to_u64(json_number(json_get(root, "t")), &t) ||
        !sv_to_u64(json_number(json_get(root, "mark")), &mark))
        return ERR(e, ERR_CORRUPT, "the export's notes are damaged");
    if (t == export->t)
        export->mark = mark;
    return ERR_OK;
}

/* T as it was written down, by this run or by one before; or the newest commit now, or the one that
 * _until names. */
static err_code fix_instant(struct export_job *export, struct arena *a, struct err *e)
{
    struct job_run *run = export->run;
    struct store_commit c;
    if (run->job->transaction_ms) {
        export->t = run->job->as_of_t;
        export->instant_ms = run->job->transaction_ms;
        TRY(mark_read(export, a, e));
        TRY(export_instant_holds(export, e));
    } else {
        TRY(store_horizon(run->store, &c, e));
        if (export->params->until_ms && export->params->until_ms < c.instant_ms) {
            TRY(store_commit_at(run->store, export->params->until_ms, &c, e));
            /* whoever goes on from here misses nothing */
            c.instant_ms = export->params->until_ms;
        }
        TRY(mark_write(export, c.t, e));
        TRY(job_run_set_instant(run, c.t, c.instant_ms, e));
        export->t = c.t;
        export->instant_ms = c.instant_ms;
    }
    export->window = export->params->since_ms != 0;
    if (export->window) {
        TRY(store_commit_at(run->store, export->params->since_ms, &c, e));
        export->since_t = c.t < export->t ? c.t : export->t;
    }
    return ERR_OK;
}

static err_code open_view(struct export_job *export, uint64_t t, struct arena *a,
                          struct export_view *out, struct err *e)
{
    struct job_run *run = export->run;
    const struct job_export_params *params = export->params;
    struct export_filter *filter = NULL;
    *out = (struct export_view){ .store = run->store,
                                 .halt = run->halt,
                                 .t = t,
                                 .level = params->level,
                                 .associated = params->associated,
                                 .group_id = params->group_id,
                                 .base = export_base(params) };
    if (run->job->params) {
        const struct export_filter_scope scope = { run->store, out->base, t, run->halt };
        TRY(export_filter_new(&scope, params, export->instant_ms, a, &filter, e));
    }
    out->filter = filter;
    struct err why;
    err_code rc = export_members_read(run->store, params, t, a, &out->members, &why);
    /* nobody was in a Group that was not there yet */
    if (rc == ERR_NOT_FOUND && out == &export->before)
        return ERR_OK;
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

/* Members of one, and not of the other. */
static err_code find_moved(struct export_job *export, struct arena *a, struct err *e)
{
    const struct export_members *members[] = { &export->now.members, &export->before.members };
    if (members[0]->all)
        return ERR_OK;
    export->moved.ids =
        arena_alloc(a, (members[0]->n + members[1]->n + 1) * sizeof *export->moved.ids);
    if (export->moved.ids == NULL)
        return arena_oom(a, e);
    for (size_t i = 0, k = 0; i < members[0]->n || k < members[1]->n;) {
        int c = i == members[0]->n   ? 1
                : k == members[1]->n ? -1
                                     : sv_cmp(members[0]->ids[i], members[1]->ids[k]);
        if (c != 0)
            export->moved.ids[export->moved.n++] = c < 0 ? members[0]->ids[i] : members[1]->ids[k];
        i += c <= 0;
        k += c >= 0;
    }
    return ERR_OK;
}

static err_code open_plan(struct export_job *export, struct arena *a, struct err *e)
{
    struct job_run *run = export->run;
    TRY(fix_instant(export, a, e));
    TRY(store_changed_types(run->store, 0, export->t, export->present, e));
    TRY(open_view(export, export->t, a, &export->now, e));
    if (export->window) {
        TRY(store_changed_types(run->store, export->since_t, export->t, export->changed, e));
        TRY(open_view(export, export->since_t, a, &export->before, e));
        TRY(find_moved(export, a, e));
    }
    struct err why;
    err_code rc = export_plan_read(run, a, &export->plan, &why);
    if (rc == ERR_NOT_FOUND && run->guest)
        return ERR(e, ERR_CANCELLED, "the export has no plan any more");
    if (rc == ERR_NOT_FOUND) {
        size_t bytes = sink_keeps_objects(export->sink)
                           ? run->export_object_bytes / EXPORT_KEPT_SHARE
                           : run->export_object_bytes;
        TRY(export_plan_make(export, bytes, e));
        return export_plan_read(run, a, &export->plan, e);
    }
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

/* As far as earlier runs and other nodes came. */
static err_code open_all(struct export_job *export, struct arena *a, struct err *e)
{
    static const struct job_export_params none = { 0 };
    struct job_run *run = export->run;
    export->params = run->job->params ? run->job->params : &none;
    TRY(export_goes_on(run, e));
    TRY(export_sink_open(run, &export->sink, e));
    TRY(open_plan(export, a, e));
    export->shared.places = arena_calloc(a, export->plan.n + 1, sizeof *export->shared.places);
    if (export->shared.places == NULL)
        return arena_oom(a, e);
    TRY(export_done_read(export, 0, e));
    export->shared.progress.ranges_total = export->plan.n;
    export_progress_begin(export);
    return ERR_OK;
}

static err_code export_all(struct export_job *export, struct arena *a, struct err *e)
{
    struct job_run *run = export->run;
    TRY(open_all(export, a, e));
    TRY(export_share_open(export, a, e));
    TRY(export_room_take(export, 0, e));
    TRY(export_ranges_run(export, e));
    TRY(export_room_take(export, 0, e));
    TRY(export_share_end(export, e));
    CLEANUP_BUF struct buf manifest = BUF_INIT(1u << 30);
    struct export_object errors;
    bool has_errors;
    TRY(export_errors_write(export, a, &errors, &has_errors, e));
    TRY(export_manifest(export, has_errors ? &errors : NULL, &manifest, e));
    TRY(export_instant_holds(export, e));
    TRY(job_run_manifest_put(run, buf_sv(&manifest), e));
    TRY(sink_put(export->sink, SV_LIT("manifest.json"), SV_LIT("application/json"),
                 buf_sv(&manifest), NULL, e));
    if (sink_signs_after_all(export->sink))
        LOG(LOG_WARN, "s3_signed_after_all", LOG_SV("job", run->job->id),
            LOG_STR("note", "the endpoint takes no unsigned bodies with a checksum behind them"));
    if (export->shared.reused)
        LOG(LOG_INFO, "export_reused", LOG_SV("job", run->job->id),
            LOG_INT("objects", export->shared.reused),
            LOG_INT("bytes", export->shared.reused_bytes),
            LOG_INT("of_objects", export->shared.progress.objects_exported));
    export_reuse_remember(export);
    return ERR_OK;
}

static err_code export_run(struct job_run *run, job_status *status, struct buf *message,
                           struct err *e)
{
    /* a complete export has nothing to add */
    (void)message;
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)2 << 30);
    struct export_job export = { .run = run };
    pthread_mutex_init(&export.shared.lock, NULL);
    err_code rc = export_all(&export, a, e);
    sink_close(export.sink);
    pthread_mutex_destroy(&export.shared.lock);
    if (rc == ERR_OK)
        *status = JOB_COMPLETED;
    return rc;
}

static err_code export_help(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)2 << 30);
    struct export_job export = { .run = run };
    pthread_mutex_init(&export.shared.lock, NULL);
    err_code rc = run->job->transaction_ms ? open_all(&export, a, e)
                                           : ERR(e, ERR_CANCELLED, "the export has no instant yet");
    if (rc == ERR_OK)
        rc = export_share_join(&export, a, e);
    if (rc == ERR_OK)
        rc = export_ranges_run(&export, e);
    export_share_part(&export);
    sink_close(export.sink);
    pthread_mutex_destroy(&export.shared.lock);
    return rc;
}

const struct job_kind_ops export_ops = {
    .run = export_run,
    .undo = export_undo,
    .check = export_check,
    .manifest_so_far = export_partial_manifest,
    .help = export_help,
};

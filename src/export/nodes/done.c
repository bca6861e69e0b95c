/* done.c - ranges that are in, as their notes say: of runs before this one, and of other nodes. */
#include "export/export_private.h"

struct done_ctx {
    struct export_job *export;
    err_code rc;
};

/* What one note comes to. */
struct done {
    struct export_tally tally;
    uint64_t place, bytes; /* of all its objects, deletions too */
    bool has_place;
};

static void add_object(struct done *to, yyjson_val *v)
{
    uint64_t n;
    to->tally.objects++;
    if (sv_to_u64(json_number(json_get(v, "bytes")), &n))
        to->bytes += n;
    if (json_get(v, "deleted"))
        return;
    if (sv_to_u64(json_number(json_get(v, "bytes")), &n))
        to->tally.bytes += n;
    if (sv_to_u64(json_number(json_get(v, "count")), &n))
        to->tally.resources += n;
}

static err_code read_note(sv text, struct done *out)
{
    CLEANUP(arena_free) struct arena *a = arena_new(EXPORT_PLAN_MAX);
    yyjson_doc *doc;
    yyjson_val *v;
    *out = (struct done){ 0 };
    text = arena_sv(a, text);
    if (text.ptr == NULL || json_read(a, text, 5, &doc, NULL) != ERR_OK)
        return ERR_CORRUPT;
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "objects"));
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        add_object(out, v);
    out->has_place = sv_to_u64(json_number(json_get(root, "place")), &out->place);
    return ERR_OK;
}

static bool is_new_locked(const struct export_job *export, uint64_t range)
{
    const bool *in_hand = export->shared.in_hand;
    return !export->plan.done[range] && !(in_hand && in_hand[range]);
}

/* A range that is in: mark it and count it. */
static void count_locked(struct export_job *export, uint64_t range, const struct done *done)
{
    struct job_progress *p = &export->shared.progress;
    export->plan.done[range] = true;
    if (done->has_place && done->place < export->plan.n)
        export->shared.places[done->place] = true;
    p->ranges_done++;
    p->objects_exported += done->tally.objects;
    p->resources_exported += done->tally.resources;
    p->bytes_exported += done->tally.bytes;
    export->shared.finished_resources += done->tally.resources;
    export->shared.finished_bytes += done->tally.bytes;
    export->shared.n_begun += done->tally.objects;
    export->shared.written += done->bytes + (uint64_t)done->tally.objects * JOB_FILE_BYTES;
}

/* records_each_fn */
static bool each_done(void *ctx, sv key, sv value)
{
    struct done_ctx *c = ctx;
    struct export_job *export = c->export;
    struct done done;
    uint64_t range;
    if (key.len < 8 || !sv_to_u64(sv_tail(key, key.len - 8), &range) || range >= export->plan.n) {
        c->rc = ERR_CORRUPT;
        return false;
    }
    pthread_mutex_lock(&export->shared.lock);
    bool is_new = is_new_locked(export, range);
    pthread_mutex_unlock(&export->shared.lock);
    if (!is_new)
        return true;
    c->rc = read_note(value, &done);
    if (c->rc != ERR_OK)
        return false;
    pthread_mutex_lock(&export->shared.lock);
    /* this run may have come to it meanwhile */
    if (is_new_locked(export, range))
        count_locked(export, range, &done);
    pthread_mutex_unlock(&export->shared.lock);
    return true;
}

err_code export_done_read(struct export_job *export, size_t from, struct err *e)
{
    struct done_ctx d = { export, ERR_OK };
    TRY(job_run_ranges_scan(export->run, from, each_done, &d, e));
    return d.rc == ERR_OK ? ERR_OK : ERR(e, d.rc, "the export's notes are damaged");
}

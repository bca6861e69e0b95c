/* record.c - what a finished export leaves to later ones, written and read.
 *
 *   {"t", "ms", "mark", "bucket", "folder", "ranges":[{"type","from","to","note"}, ...]}
 *
 * The note of a range is the one of the run (export_private.h): its objects with their digests and
 * marks, the sums of its resources. t and ms are the commit and its instant. A data folder may have
 * been put back from an older copy since: then the store's past is another one, and the newest
 * commit of that instant is not t. Of a database the mark tells (store_mark). */
#include "export/reuse/reuse.h"

#include "base/log.h"
#include "job/served/place.h"

/* Bytes. It becomes part of a plan, which has room for four such. */
#define RECORD_MAX (EXPORT_PLAN_MAX / 4)

/* ---- writing ---- */

struct remember {
    struct export_job *export;
    struct json_writer w;
};

/* records_each_fn. Ranges stand in the order of the plan: by type and number. */
static bool each_note(void *ctx, sv key, sv value)
{
    struct remember *x = ctx;
    const struct export_plan *plan = &x->export->plan;
    uint64_t range;
    if (!sv_to_u64(sv_tail(key, key.len - 8), &range) || range >= plan->n)
        return true;
    const struct export_item *item = &plan->items[range];
    if (item->kind != EXPORT_SCAN || !export_reuse_type(x->export, item->range.type))
        return true;
    json_obj(&x->w);
    json_kv_str(&x->w, "type", sv_from(fhir_type_name(item->range.type)));
    json_kv_u64(&x->w, "from", item->range.from);
    json_kv_u64(&x->w, "to", item->range.to);
    json_key(&x->w, "note");
    json_raw(&x->w, value);
    json_obj_end(&x->w);
    return true;
}

/* s3://bucket/prefix/ -> bucket and prefix/ */
static void place_of(const struct job_run *run, struct arena *a, sv *bucket, sv *folder)
{
    const sv uri =
        run->job->served ? job_files_uri(run->place, run->job->id, a) : run->job->job_folder_uri;
    sv rest = sv_tail(uri, 5);
    (void)sv_cut(&rest, '/', bucket);
    *folder = rest;
}

static err_code remember(struct export_job *export, sv name, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct remember x = { .export = export };
    sv bucket = SV_NONE, folder;
    place_of(export->run, a, &bucket, &folder);
    json_writer_init(&x.w, &b);
    json_obj(&x.w);
    json_kv_u64(&x.w, "t", export->t);
    json_kv_i64(&x.w, "ms", export->instant_ms);
    if (export->mark)
        json_kv_u64(&x.w, "mark", export->mark);
    /* in a directory of ours each served export has a bucket of its own */
    if (export->run->job->served)
        json_kv_str(&x.w, "bucket", bucket);
    json_kv_str(&x.w, "folder", folder);
    json_key(&x.w, "ranges");
    json_arr(&x.w);
    TRY(job_run_note_scan(export->run, SV_LIT("done/"), each_note, &x, e));
    json_arr_end(&x.w);
    json_obj_end(&x.w);
    TRY(json_writer_end(&x.w, e));
    return job_run_earlier_put(export->run, name, buf_sv(&b), e);
}

void export_reuse_remember(struct export_job *export)
{
    char name[SHA256_HEX_LEN];
    struct err e;
    if (!export_reuse_key(export, export->plan.object_bytes, name))
        return;
    if (remember(export, sv_make(name, sizeof name), &e) != ERR_OK)
        LOG_ERR("export_remember", &e, LOG_SV("job", export->run->job->id));
}

void export_reuse_forget(struct export_job *export)
{
    char name[SHA256_HEX_LEN];
    struct err e;
    if (export_reuse_key(export, export->plan.object_bytes, name) &&
        job_run_earlier_delete(export->run, sv_make(name, sizeof name), &e) != ERR_OK)
        LOG_ERR("export_forget", &e, LOG_SV("job", export->run->job->id));
}

/* ---- reading ---- */

static bool number(yyjson_val *v, const char *name, uint64_t *out)
{
    return sv_to_u64(json_number(json_get(v, name)), out);
}

static bool read_range(yyjson_val *v, struct export_earlier_range *out)
{
    yyjson_val *o;
    out->range.type = fhir_type_find(json_string(json_get(v, "type")));
    out->note = json_get(v, "note");
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(out->note, "objects"));
    while ((o = yyjson_arr_iter_next(&it)) != NULL) {
        uint64_t bytes;
        if (!number(o, "bytes", &bytes))
            return false;
        out->bytes += bytes;
    }
    return out->range.type != FHIR_TYPE_NONE && out->note && number(v, "from", &out->range.from) &&
           number(v, "to", &out->range.to);
}

static err_code read_all(yyjson_val *root, struct arena *a, struct export_earlier *out,
                         struct err *e)
{
    yyjson_val *list = json_get(root, "ranges"), *v;
    out->bucket = json_string(json_get(root, "bucket"));
    out->folder = json_string(json_get(root, "folder"));
    out->ranges = arena_calloc(a, yyjson_arr_size(list) + 1, sizeof *out->ranges);
    if (out->ranges == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        if (!read_range(v, &out->ranges[out->n++]))
            return ERR(e, ERR_CORRUPT, "what an earlier export left is damaged");
    return ERR_OK;
}

err_code export_reuse_read(struct export_job *export, size_t object_bytes, struct arena *a,
                           struct export_earlier *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    char name[SHA256_HEX_LEN];
    struct store_commit c;
    yyjson_doc *doc;
    uint64_t ms, mark = 0;
    if (!export_reuse_key(export, object_bytes, name))
        return ERR(e, ERR_NOT_FOUND, "an export of this kind goes on from none");
    TRY(job_run_earlier_get(export->run, sv_make(name, sizeof name), &b, e));
    sv text = arena_sv(a, buf_sv(&b));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, text, 8, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    *out = (struct export_earlier){ 0 };
    if (!number(root, "t", &out->t) || !number(root, "ms", &ms) || ms > INT64_MAX)
        return ERR(e, ERR_CORRUPT, "what an earlier export left is damaged");
    TRY(store_commit_at(export->run->store, (int64_t)ms, &c, e));
    if (json_get(root, "mark") && !number(root, "mark", &mark))
        return ERR(e, ERR_CORRUPT, "what an earlier export left is damaged");
    struct err why;
    err_code rc = store_mark_holds(export->run->store, out->t, mark, &why);
    if (rc != ERR_OK && rc != ERR_PRECONDITION)
        return err_pass(e, &why);
    if (rc != ERR_OK || c.t != out->t || out->t > export->t)
        return ERR(e, ERR_NOT_FOUND, "the data store has another past than the earlier export");
    return read_all(root, a, out, e);
}

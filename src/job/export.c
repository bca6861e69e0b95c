/* export.c - the store as of one instant, as NDJSON objects.
 *
 *   plan    T is fixed and every type's ids are cut into ranges; both are written down
 *   run     workers take ranges; a range becomes one object (more, if it is larger than planned), always
 *           under the same names and, because it is read as of T, with the same bytes: a range that a
 *           crash cut off is written again from its start
 *   finish  ranges and objects are checked against the plan, then the manifest is written, last */
#include "job/export.h"

#include "base/limits.h"
#include "base/log.h"
#include "codec/hash.h"
#include "codec/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <time.h>

#define BLOCK_BYTES (256u << 10) /* handed to the sink at a time: stays in the processor's cache */
#define PLAN_MAX    (256u << 20)
#define RANGE_TRIES 3u
#define NDJSON      SV_LIT("application/fhir+ndjson")

struct export
{
    struct job_run *run;
    uint64_t t;
    struct export_plan plan;
    struct sink *sink;
    struct buf *blocks; /* one per worker */
    struct {
        pthread_mutex_t lock;
        err_code rc; /* first failure of a range */
        struct err err;
        struct job_progress progress;
    } shared;
};

struct range_task {
    struct export *x;
    size_t range;
};

/* ---- plan ---- */

static err_code write_plan(struct job_run *r, const struct export_plan *plan, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(PLAN_MAX);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_arr(&w);
    for (size_t i = 0; i < plan->n; i++) {
        json_obj(&w);
        json_kv_str(&w, "type", sv_from(fhir_type_name(plan->ranges[i].type)));
        json_kv_str(&w, "from", plan->ranges[i].from_id);
        json_kv_str(&w, "to", plan->ranges[i].to_id);
        json_obj_end(&w);
    }
    json_arr_end(&w);
    TRY(json_writer_end(&w, e));
    return job_run_note_put(r, SV_LIT("plan"), buf_sv(&b), e);
}

static err_code read_plan(struct job_run *r, struct arena *a, struct export_plan *plan,
                          struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(PLAN_MAX);
    yyjson_doc *doc;
    TRY(job_run_note_get(r, SV_LIT("plan"), &b, e));
    sv text = arena_sv(a, buf_sv(&b));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, 3, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the export's plan is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    size_t n = yyjson_arr_size(root);
    struct store_range *ranges = arena_calloc(a, n + 1, sizeof *ranges);
    bool *done = arena_calloc(a, n + 1, sizeof *done);
    if (ranges == NULL || done == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(root);
    for (size_t i = 0; (v = yyjson_arr_iter_next(&it)) != NULL; i++)
        ranges[i] = (struct store_range){ fhir_type_find(json_string(json_get(v, "type"))),
                                          json_string(json_get(v, "from")),
                                          json_string(json_get(v, "to")) };
    *plan = (struct export_plan){ ranges, done, n };
    return ERR_OK;
}

static err_code make_plan(struct job_run *r, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(PLAN_MAX);
    CLEANUP_BUF struct buf all = BUF_INIT(PLAN_MAX);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        struct store_range *ranges;
        size_t n;
        TRY(store_plan(r->store, (fhir_type)t, r->export_object_bytes, a, &ranges, &n, e));
        TRY(buf_add(&all, sv_make(ranges, n * sizeof *ranges), e));
    }
    struct export_plan plan = { .ranges = (struct store_range *)(void *)all.ptr,
                                .n = all.len / sizeof(struct store_range) };
    return write_plan(r, &plan, e);
}

/* ---- one range ---- */

/* <Type>/<Type>-<int64>-<digit>-<seq>.ndjson: the same for the same job, range and place. */
static sv object_name(struct arena *a, const struct export *x, size_t range, unsigned seq)
{
    unsigned char d[SHA256_LEN];
    const char *type = fhir_type_name(x->plan.ranges[range].type);
    sv seed = arena_fmt(a, "%.*s/%s/%zu", SV_FMT(x->run->job->id), type, range);
    hash_sha256_of(seed, d);
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | d[i];
    n &= INT64_MAX;
    return arena_fmt(a, "%s/%s-%llu-%zu-%u.ndjson", type, type, (unsigned long long)(n ? n : 1),
                     range % 10, seq);
}

struct range_run {
    struct export *x;
    size_t range;
    struct arena *a;
    struct buf *block;
    struct sink_file *file; /* the open object, or NULL */
    sv name;
    uint64_t count, written; /* of the open object: lines, bytes handed over or in the block */
    uint64_t newlines;       /* counted from the bytes that left */
    uint64_t total, bytes;
    unsigned n_objects;
    struct json_writer w; /* the range's note */
};

/* Independent of what was counted line by line. 16 bytes a step: it must cost nothing beside the digest. */
static uint64_t count_newlines(sv bytes)
{
    uint64_t n = 0;
    size_t i = 0;
#ifdef __SSE2__
    const __m128i newline = _mm_set1_epi8('\n');
    for (; i + 16 <= bytes.len; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(bytes.ptr + i));
        n += (uint64_t)__builtin_popcount((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, newline)));
    }
#endif
    for (; i < bytes.len; i++)
        n += bytes.ptr[i] == '\n';
    return n;
}

static err_code flush_block(struct range_run *g, struct err *e)
{
    if (g->block->len == 0)
        return ERR_OK;
    g->newlines += count_newlines(buf_sv(g->block));
    err_code rc = sink_file_write(g->file, buf_sv(g->block), e);
    buf_clear(g->block);
    return rc;
}

static err_code close_object(struct range_run *g, struct err *e)
{
    struct sink_object o;
    char hex[SHA256_HEX_LEN];
    TRY(flush_block(g, e));
    TRY(sink_file_commit(&g->file, &o, e));
    if (g->newlines != g->count || o.bytes != g->written)
        return ERR(e, ERR_INTERNAL,
                   "an object holds %llu lines and %llu bytes where %llu and %llu were written",
                   (unsigned long long)g->newlines, (unsigned long long)o.bytes,
                   (unsigned long long)g->count, (unsigned long long)g->written);
    hash_hex(o.sha256, sizeof o.sha256, hex);
    json_obj(&g->w);
    json_kv_str(&g->w, "name", g->name);
    json_key(&g->w, "count");
    json_u64(&g->w, g->count);
    json_key(&g->w, "bytes");
    json_u64(&g->w, o.bytes);
    json_kv_str(&g->w, "sha256", sv_make(hex, sizeof hex));
    json_obj_end(&g->w);
    g->total += g->count;
    g->bytes += o.bytes;
    g->n_objects++;
    return ERR_OK;
}

static err_code open_object(struct range_run *g, struct err *e)
{
    g->name = object_name(g->a, g->x, g->range, g->n_objects);
    g->count = g->written = g->newlines = 0;
    return sink_file_create(g->x->sink, g->name, NDJSON, g->x->run->export_object_bytes, &g->file,
                            e);
}

static err_code write_line(struct range_run *g, const struct store_version *v, struct err *e)
{
    size_t most = v->body.json.len + FHIR_SPLICE_MAX + 1;
    if (g->file && g->written + most > g->x->run->export_object_bytes && g->count)
        TRY(close_object(g, e));
    if (g->file == NULL)
        TRY(open_object(g, e));
    if (g->block->len + most > BLOCK_BYTES)
        TRY(flush_block(g, e));
    TRY(buf_reserve(g->block, most, e));
    char *at = g->block->ptr + g->block->len;
    size_t n = fhir_body_write(&v->body, v->version, v->instant_ms, at);
    at[n++] = '\n';
    g->block->len += n;
    g->written += n;
    g->count++;
    return ERR_OK;
}

static err_code scan_range(struct range_run *g, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct export *x = g->x;
    struct store_version v;
    err_code rc;
    TRY(store_scan(x->run->store, &x->plan.ranges[g->range], x->t, &cur, e));
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        TRY(write_line(g, &v, e));
        if ((g->count & 255) == 0 && job_run_should_stop(x->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
    }
    if (rc != ERR_EOF)
        return rc;
    return g->file ? close_object(g, e) : ERR_OK;
}

static void progress_add(struct export *x, const struct range_run *g)
{
    pthread_mutex_lock(&x->shared.lock);
    x->shared.progress.resources_exported += g->total;
    x->shared.progress.bytes_exported += g->bytes;
    x->shared.progress.objects_exported += g->n_objects;
    x->shared.progress.ranges_done++;
    struct job_progress p = x->shared.progress;
    pthread_mutex_unlock(&x->shared.lock);
    job_run_progress_set(x->run, &p);
}

static err_code export_range(struct export *x, size_t range, struct buf *block, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16u << 20);
    CLEANUP_BUF struct buf note = BUF_INIT(PLAN_MAX);
    struct range_run g = { .x = x, .range = range, .a = a, .block = block };
    buf_clear(block);
    json_writer_init(&g.w, &note);
    json_obj(&g.w);
    json_key(&g.w, "objects");
    json_arr(&g.w);
    err_code rc = scan_range(&g, e);
    sink_file_abort(g.file);
    TRY(rc);
    json_arr_end(&g.w);
    json_key(&g.w, "count");
    json_u64(&g.w, g.total);
    json_obj_end(&g.w);
    TRY(json_writer_end(&g.w, e));
    char name[32];
    (void)snprintf(name, sizeof name, "done/%08zu", range);
    TRY(job_run_note_put(x->run, sv_from(name), buf_sv(&note), e));
    progress_add(x, &g);
    return ERR_OK;
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
            rc = export_range(x, task->range, &x->blocks[worker], &e);
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
    struct arena *a = arena_new(PLAN_MAX);
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

static err_code open_sink(struct job_run *r, struct sink **out, struct err *e)
{
    sv folder = r->job->job_folder_uri;
    struct sink_target t = { .uri = sv_head(folder, folder.len - 1), /* without the last '/' */
                             .role_arn = r->job->role_arn,
                             .kms_key_id = r->job->kms_key_id,
                             .account_id = r->job->account_id,
                             .source_arn = r->job->datastore_arn,
                             .session_name = SV_LIT("fhirlake-export"),
                             .cancel = r->halt };
    return sink_open(r->world, &t, out, e);
}

static err_code export_all(struct export *x, struct arena *a, struct err *e)
{
    struct job_run *r = x->run;
    err_code rc = read_plan(r, a, &x->plan, e);
    if (rc == ERR_NOT_FOUND) {
        if (r->job->transaction_ms == 0) {
            struct store_commit c;
            TRY(store_horizon(r->store, &c, e));
            TRY(job_run_set_instant(r, c.t, c.instant_ms, e));
        }
        TRY(make_plan(r, e));
        rc = read_plan(r, a, &x->plan, e);
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
    TRY(open_sink(r, &x->sink, e));
    TRY(run_ranges(x, e));
    CLEANUP_BUF struct buf manifest = BUF_INIT(1u << 30);
    TRY(export_manifest(r, &x->plan, x->sink, &manifest, e));
    return sink_put(x->sink, SV_LIT("manifest.json"), SV_LIT("application/json"), buf_sv(&manifest),
                    NULL, e);
}

err_code export_run(struct job_run *r, job_status *status, struct buf *message, struct err *e)
{
    (void)message; /* a complete export has nothing to add */
    CLEANUP(arena_free) struct arena *a = arena_new(PLAN_MAX * 4ull);
    struct export x = { .run = r };
    pthread_mutex_init(&x.shared.lock, NULL);
    err_code rc = export_all(&x, a, e);
    sink_close(x.sink);
    pthread_mutex_destroy(&x.shared.lock);
    if (rc == ERR_OK)
        *status = JOB_COMPLETED;
    return rc;
}

/* ---- undo ---- */

struct undo_ctx {
    struct arena *a;
    struct buf names; /* of sv */
    sv prefix;
};

static bool each_object(void *ctx, sv key, uint64_t bytes)
{
    (void)bytes;
    struct undo_ctx *c = ctx;
    size_t at = c->prefix.len;
    sv name = sv_tail(key, at);
    while (name.len && name.ptr[0] == '/')
        name = sv_tail(name, 1);
    name = arena_sv(c->a, name);
    return name.ptr && buf_add(&c->names, sv_make(&name, sizeof name), NULL) == ERR_OK;
}

err_code export_undo(struct job_run *r, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 30);
    CLEANUP(sink_close) struct sink *s = NULL;
    atomic_bool never = false;
    const atomic_bool *halt = r->halt;
    r->halt = &never; /* the job is being cancelled: its cleaning up is not */
    err_code rc = open_sink(r, &s, e);
    r->halt = halt;
    TRY(rc);
    sv uri = r->job->job_folder_uri; /* s3://bucket/prefix/ -> prefix */
    sv key = sv_tail(uri, 5);
    key = sv_tail(key, sv_find(key, '/') + 1);
    struct undo_ctx c = { .a = a, .prefix = sv_head(key, key.len - 1) };
    buf_init(&c.names, 1u << 30);
    rc = sink_list(s, each_object, &c, e);
    if (rc == ERR_NOT_FOUND)
        rc = ERR_OK; /* nothing was written */
    const sv *names = (const sv *)(const void *)c.names.ptr;
    for (size_t i = 0; rc == ERR_OK && i < c.names.len / sizeof(sv); i++)
        rc = sink_delete(s, names[i], e);
    buf_done(&c.names);
    return rc;
}

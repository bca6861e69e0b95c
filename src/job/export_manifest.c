/* export_manifest.c - the last object of an export: what is in it, and how to check it.
 *
 * The Bulk Data manifest with more members: per file its bytes and SHA-256, per type the count, the
 * commit that was exported, and one digest over all files that does not depend on their order. What is
 * not named here is not part of the export. */
#include "job/export.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define NOTES_MAX (1u << 30)

struct gather {
    struct job_run *run;
    const struct export_plan *plan;
    struct arena *a;
    struct buf objects; /* of struct export_object */
    bool *seen;
    err_code rc;
    struct err *e;
};

static err_code gather_range(struct gather *g, uint64_t range, sv text)
{
    yyjson_doc *doc;
    text = arena_sv(g->a, text);
    if (text.ptr == NULL)
        return arena_oom(g->a, g->e);
    if (json_read(g->a, text, 5, &doc, g->e) != ERR_OK)
        return ERR(g->e, ERR_CORRUPT, "the export's notes are damaged");
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "objects"));
    uint64_t sum = 0, said = 0;
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        struct export_object o = { .type = g->plan->ranges[range].type,
                                   .name = json_string(json_get(v, "name")),
                                   .sha256 = json_string(json_get(v, "sha256")) };
        if (!sv_to_u64(json_number(json_get(v, "count")), &o.count) ||
            !sv_to_u64(json_number(json_get(v, "bytes")), &o.bytes) ||
            o.sha256.len != SHA256_HEX_LEN)
            return ERR(g->e, ERR_CORRUPT, "the export's notes are damaged");
        sum += o.count;
        TRY(buf_add(&g->objects, sv_make(&o, sizeof o), g->e));
    }
    if (!sv_to_u64(json_number(json_get(root, "count")), &said) || said != sum)
        return ERR(g->e, ERR_INTERNAL, "a range's objects do not add up to its count");
    return ERR_OK;
}

static bool each_note(void *ctx, sv key, sv value)
{
    struct gather *g = ctx;
    uint64_t range;
    if (!sv_to_u64(sv_tail(key, key.len - 8), &range) || range >= g->plan->n) {
        g->rc = ERR(g->e, ERR_CORRUPT, "the export's notes are damaged");
    } else {
        g->seen[range] = true;
        g->rc = gather_range(g, range, value);
    }
    return g->rc == ERR_OK;
}

/* Every range is in, and the ranges of a type cover all ids: from the start, end to end, to the end. */
static err_code check_ranges(const struct gather *g, struct err *e)
{
    const struct store_range *r = g->plan->ranges;
    for (size_t i = 0; i < g->plan->n; i++) {
        bool first = i == 0 || r[i - 1].type != r[i].type;
        bool last = i + 1 == g->plan->n || r[i + 1].type != r[i].type;
        if (!g->seen[i])
            return ERR(e, ERR_INTERNAL, "range %zu of the export is missing", i);
        if ((first ? r[i].from_id.len != 0 : !sv_eq(r[i].from_id, r[i - 1].to_id)) ||
            (last ? r[i].to_id.len != 0 : r[i].to_id.len == 0))
            return ERR(e, ERR_INTERNAL, "the export's ranges leave a gap or overlap");
    }
    return ERR_OK;
}

/* Each object is there with the size it was written with. */
static err_code check_objects(struct gather *g, struct sink *sink, struct err *e)
{
    const struct export_object *o = (const struct export_object *)(const void *)g->objects.ptr;
    for (size_t i = 0; i < g->objects.len / sizeof *o; i++) {
        uint64_t bytes;
        if (job_run_should_stop(g->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
        err_code rc = sink_stat(sink, o[i].name, &bytes, e);
        if (rc == ERR_DENIED)
            continue; /* the role may write but not look; the peer acknowledged the object */
        if (rc == ERR_NOT_FOUND)
            return ERR(e, ERR_PEER,
                       "an exported object was removed before the job ended; start a new job");
        TRY(rc);
        if (bytes != o[i].bytes)
            return ERR(e, ERR_PEER, "an exported object has another size than was written");
    }
    return ERR_OK;
}

static int by_type_then_name(const void *a, const void *b)
{
    const struct export_object *x = a, *y = b;
    return x->type != y->type ? (int)x->type - (int)y->type : sv_cmp(x->name, y->name);
}

static int by_digest(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* SHA-256 over the files' SHA-256 in hex, sorted, each with a newline. */
static void digest_of_all(const struct export_object *o, size_t n, char out[SHA256_HEX_LEN])
{
    sv *all = malloc((n ? n : 1) * sizeof *all);
    unsigned char d[SHA256_LEN];
    struct hash_sha256 *h = hash_sha256_new();
    if (all == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        all[i] = o[i].sha256;
    qsort(all, n, sizeof *all, by_digest);
    for (size_t i = 0; i < n; i++) {
        hash_sha256_add(h, all[i]);
        hash_sha256_add(h, SV_LIT("\n"));
    }
    hash_sha256_take(h, d);
    hash_sha256_free(h);
    hash_hex(d, sizeof d, out);
    free(all);
}

static void kv_u64(struct json_writer *w, const char *name, uint64_t v)
{
    json_key(w, name);
    json_u64(w, v);
}

static void write_output(struct json_writer *w, const struct job *j, const struct export_object *o,
                         size_t n, struct arena *a)
{
    json_key(w, "output");
    json_arr(w);
    for (size_t i = 0; i < n; i++) {
        json_obj(w);
        json_kv_str(w, "type", sv_from(fhir_type_name(o[i].type)));
        json_kv_str(w, "url",
                    arena_fmt(a, "%.*s%.*s", SV_FMT(j->job_folder_uri), SV_FMT(o[i].name)));
        kv_u64(w, "count", o[i].count);
        kv_u64(w, "bytes", o[i].bytes);
        json_kv_str(w, "sha256", o[i].sha256);
        json_obj_end(w);
    }
    json_arr_end(w);
    json_key(w, "deleted");
    json_arr(w);
    json_arr_end(w);
    json_key(w, "error");
    json_arr(w);
    json_arr_end(w);
}

static void write_counts(struct json_writer *w, const struct export_object *o, size_t n)
{
    uint64_t count = 0, bytes = 0;
    json_key(w, "countPerType");
    json_obj(w);
    for (size_t i = 0, end; i < n; i = end) {
        uint64_t of_type = 0;
        for (end = i; end < n && o[end].type == o[i].type; end++) {
            of_type += o[end].count;
            bytes += o[end].bytes;
        }
        kv_u64(w, fhir_type_name(o[i].type), of_type);
        count += of_type;
    }
    json_obj_end(w);
    kv_u64(w, "count", count);
    kv_u64(w, "bytes", bytes);
}

static err_code write_manifest(struct gather *g, const struct job *j, struct buf *out,
                               struct err *e)
{
    struct export_object *o = (struct export_object *)(void *)g->objects.ptr;
    size_t n = g->objects.len / sizeof *o;
    char instant[INSTANT_LEN], digest[SHA256_HEX_LEN];
    struct json_writer w;
    if (n)
        qsort(o, n, sizeof *o, by_type_then_name);
    instant_format(j->transaction_ms, instant);
    digest_of_all(o, n, digest);
    json_writer_init(&w, out);
    w.pretty = true;
    json_obj(&w);
    json_kv_str(&w, "transactionTime", sv_make(instant, sizeof instant));
    json_kv_str(&w, "request",
                j->params && j->params->request_url.len ? j->params->request_url
                                                        : SV_LIT("StartFHIRExportJob"));
    json_kv_bool(&w, "requiresAccessToken", false);
    write_output(&w, j, o, n, g->a);
    json_kv_str(&w, "datastoreId", j->datastore_id);
    json_kv_str(&w, "jobId", j->id);
    if (j->job_name.len)
        json_kv_str(&w, "jobName", j->job_name);
    kv_u64(&w, "asOfCommit", j->as_of_t);
    write_counts(&w, o, n);
    json_kv_str(&w, "sha256", sv_make(digest, sizeof digest));
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return buf_add_char(out, '\n', e);
}

err_code export_manifest(struct job_run *r, const struct export_plan *plan, struct sink *sink,
                         struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(NOTES_MAX);
    struct gather g = { .run = r, .plan = plan, .a = a, .e = e };
    struct job j;
    buf_init(&g.objects, NOTES_MAX);
    g.seen = arena_calloc(a, plan->n + 1, sizeof *g.seen);
    err_code rc = g.seen ? ERR_OK : arena_oom(a, e);
    if (rc == ERR_OK)
        rc = job_run_note_scan(r, SV_LIT("done/"), each_note, &g, e);
    if (rc == ERR_OK)
        rc = g.rc;
    if (rc == ERR_OK)
        rc = check_ranges(&g, e);
    if (rc == ERR_OK)
        rc = check_objects(&g, sink, e);
    if (rc == ERR_OK) /* the record, for T and its instant */
        rc = job_get(r->engine, JOB_EXPORT, r->job->datastore_id, r->job->id, a, &j, e);
    if (rc == ERR_OK)
        rc = write_manifest(&g, &j, out, e);
    buf_done(&g.objects);
    return rc;
}

/* export_write.c - a range becomes one object (more, if it is larger than planned). */
#include "job/export.h"

#include "codec/hash.h"
#include "codec/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BLOCK_BYTES (256u << 10) /* handed to the sink at a time: stays in the processor's cache */
#define NDJSON      SV_LIT("application/fhir+ndjson")

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

err_code export_range_write(struct export *x, size_t range, struct buf *block,
                            struct export_tally *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16u << 20);
    CLEANUP_BUF struct buf note = BUF_INIT(EXPORT_PLAN_MAX);
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
    *out = (struct export_tally){ g.total, g.bytes, g.n_objects };
    return ERR_OK;
}

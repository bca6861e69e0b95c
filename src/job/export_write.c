/* export_write.c - a range becomes one object (more, if it is larger than planned).
 *
 *   open -> (fill -> flush)* -> done      fill: lines into the block, until it is full or the object ends
 *                                         flush: the block to the sink, the object's end if it is there
 *
 * Two ranges of one thread go through this in turn, with their blocks' digests computed side by side between
 * fill and flush. A block is flushed in multiples of SINK_WRITE_UNIT; what is over stays at its start. */
#include "job/export.h"

#include "codec/hash.h"
#include "codec/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BLOCK_BYTES SINK_WRITE_UNIT /* two of them stay in the processor's cache */
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

struct export_range {
    struct export *x;
    size_t range;
    struct arena *a;
    struct store_cursor *cur;
    struct store_version v; /* the next one, if waits */
    bool waits;             /* ... for the next object */
    bool object_ends, range_ends;
    struct buf *block;
    struct sink_file *file; /* the open object, or NULL */
    sv name;
    uint64_t count, written; /* of the open object: lines, bytes handed over or in the block */
    uint64_t newlines;       /* counted from the bytes that left */
    uint64_t total, bytes;
    unsigned n_objects;
    uint64_t told_lines, told_bytes; /* to the progress, of a range that is not in yet */
    struct buf note;
    struct json_writer w; /* the note */
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

static err_code close_object(struct export_range *g, struct err *e)
{
    struct sink_object o;
    char hex[SHA256_HEX_LEN];
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

static err_code open_object(struct export_range *g, struct err *e)
{
    g->name = object_name(g->a, g->x, g->range, g->n_objects);
    g->count = g->written = g->newlines = 0;
    return sink_file_create(g->x->sink, g->name, NDJSON, g->x->object_bytes, &g->file, e);
}

static err_code write_line(struct export_range *g, const struct store_version *v, struct err *e)
{
    TRY(buf_reserve(g->block, v->body.json.len + FHIR_SPLICE_MAX + 1, e));
    char *at = g->block->ptr + g->block->len;
    size_t n = fhir_body_write(&v->body, v->version, v->instant_ms, at);
    at[n++] = '\n';
    g->block->len += n;
    g->written += n;
    g->count++;
    return ERR_OK;
}

static bool object_is_full(const struct export_range *g, const struct store_version *v)
{
    return g->count && g->written + v->body.json.len + FHIR_SPLICE_MAX + 1 > g->x->object_bytes;
}

void export_range_free(struct export_range *g)
{
    if (g == NULL)
        return;
    if (g->told_lines || g->told_bytes) /* it will be written again, or never */
        export_progress_add(g->x, -(int64_t)g->told_lines, -(int64_t)g->told_bytes);
    sink_file_abort(g->file);
    store_cursor_close(g->cur);
    buf_done(&g->note);
    arena_free(g->a);
    free(g);
}

err_code export_range_open(struct export *x, size_t range, struct buf *block,
                           struct export_range **out, struct err *e)
{
    CLEANUP(export_range_free) struct export_range *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    g->x = x;
    g->range = range;
    g->a = arena_new(16u << 20);
    g->block = block;
    buf_clear(block);
    buf_init(&g->note, EXPORT_PLAN_MAX);
    json_writer_init(&g->w, &g->note);
    json_obj(&g->w);
    json_key(&g->w, "objects");
    json_arr(&g->w);
    TRY(store_scan(x->run->store, &x->plan.ranges[range], x->t, &g->cur, e));
    *out = g;
    g = NULL;
    return ERR_OK;
}

err_code export_range_fill(struct export_range *g, struct err *e)
{
    if (job_run_should_stop(g->x->run))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    while (g->block->len < BLOCK_BYTES) {
        if (!g->waits) {
            err_code rc = store_cursor_next(g->cur, &g->v, e);
            if (rc == ERR_EOF) {
                g->range_ends = g->object_ends = true;
                return ERR_OK;
            }
            TRY(rc);
        }
        g->waits = g->file && object_is_full(g, &g->v);
        if (g->waits) {
            g->object_ends = true;
            return ERR_OK;
        }
        if (g->file == NULL)
            TRY(open_object(g, e));
        TRY(write_line(g, &g->v, e));
    }
    return ERR_OK;
}

/* What of the block leaves with the next flush. */
static sv leaving(const struct export_range *g)
{
    size_t len = g->block->len;
    return sv_head(buf_sv(g->block), g->object_ends ? len : len - len % BLOCK_BYTES);
}

void export_ranges_digest(struct export_range *g, struct export_range *h)
{
    sv x = leaving(g), y = leaving(h);
    if (x.len && y.len)
        sink_files_digest(g->file, x, h->file, y);
}

static err_code finish(struct export_range *g, struct export_tally *out, struct err *e)
{
    char name[32];
    json_arr_end(&g->w);
    json_key(&g->w, "count");
    json_u64(&g->w, g->total);
    json_obj_end(&g->w);
    TRY(json_writer_end(&g->w, e));
    (void)snprintf(name, sizeof name, "done/%08zu", g->range);
    TRY(job_run_note_put(g->x->run, sv_from(name), buf_sv(&g->note), e));
    g->told_lines = g->told_bytes = 0;
    *out = (struct export_tally){ g->total, g->bytes, g->n_objects };
    return ERR_OK;
}

err_code export_range_flush(struct export_range *g, struct export_tally *out, struct err *e)
{
    sv bytes = leaving(g);
    if (bytes.len) {
        uint64_t n = count_newlines(bytes);
        g->newlines += n;
        g->told_lines += n;
        g->told_bytes += bytes.len;
        export_progress_add(g->x, (int64_t)n, (int64_t)bytes.len);
        TRY(sink_file_write(g->file, bytes, e));
        g->block->len -= bytes.len;
        memmove(g->block->ptr, g->block->ptr + bytes.len, g->block->len);
    }
    if (g->object_ends && g->file)
        TRY(close_object(g, e));
    g->object_ends = false;
    if (!g->range_ends)
        return ERR_OK;
    TRY(finish(g, out, e));
    return ERR_EOF;
}

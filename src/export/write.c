/* write.c - a range becomes one object (more, if it is larger than planned).
 *
 *   open -> (fill -> flush)* -> finish    fill: lines into the block, until it is full or the object ends
 *                                         flush: the block to the sink, the object's end if it is there
 *                                         finish: every object has arrived; the note
 *
 * Two ranges of one thread go through this in turn, with their blocks' digests computed side by side between
 * fill and flush. A block is flushed in multiples of SINK_WRITE_UNIT; what is over stays at its start. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "fhir/attachments.h"
#include "fhir/subset.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define BLOCK_BYTES    SINK_WRITE_UNIT /* two of them stay in the processor's cache */
#define NDJSON         SV_LIT("application/fhir+ndjson")
#define BUNDLE_ENTRIES 100u              /* deletions in one Bundle */
#define HEAD_MAX       192u              /* bytes of a block's head */
#define PARSE_MAX      ((size_t)1 << 30) /* one resource */

/* <Type>/<Type>-<int64>-<digit>-<seq>.ndjson: the same for the same job, range and place. */
static sv object_name(struct arena *a, const struct export_job *x, size_t range, bool deleted,
                      unsigned seq)
{
    unsigned char d[SHA256_LEN];
    const char *type = fhir_type_name(x->plan.items[range].range.type);
    const char *folder = x->plan.items[range].kind == EXPORT_BLOCKS ? "by-patient" : type;
    sv seed = arena_fmt(a, "%.*s/%s/%zu", SV_FMT(x->run->job->id), type, range);
    hash_sha256_of(seed, d);
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | d[i];
    n &= INT64_MAX;
    return arena_fmt(a, "%s/%s-%llu-%zu-%u.ndjson", deleted ? "deleted" : folder, type,
                     (unsigned long long)(n ? n : 1), range % 10, seq);
}

struct sent { /* an object on its way */
    struct sink_sending *sending;
    struct sent *next;
};

struct export_range {
    struct export_job *x;
    size_t range;
    struct arena *a;
    struct export_feed *from;
    struct store_version v; /* the next one, if waits */
    yyjson_val *root;       /* of v, if it was read */
    bool waits;             /* ... for the next object */
    bool deletes;           /* some are to be told as deleted: a second round writes them */
    bool deleting;          /* it is that round */
    bool file_deletes;      /* the open object is of that round */
    unsigned n_bundle;      /* entries of the Bundle that is under way */
    uint64_t entries;       /* of the open object */
    sv *elements;           /* _elements for elements_of; NULL: all */
    sv *elements_room;
    size_t n_elements;
    fhir_type elements_of;
    struct fhir_reader *reader; /* of lines with members left out */
    struct fhir_digest deleted_sum;
    struct fhir_attachments absolute; /* base empty: urls stay as they are stored */
    struct arena *tree;               /* of a resource with urls that change */
    struct buf served;                /* its body with them */
    bool rewritten;                   /* v is one, and its digest as it is stored is: */
    struct fhir_digest stored;
    bool blocks;             /* EXPORT_BLOCKS */
    char owner[FHIR_ID_MAX]; /* of the block under way */
    size_t owner_len;
    uint64_t heads;    /* of blocks, in the open object */
    int64_t new_heads; /* not told to the progress as no resources yet */
    struct export_type_sum {
        uint64_t n, n_rewritten;
        struct fhir_digest sum, was,
            is;    /* as stored; of the rewritten alone, as stored and as in the objects */
    } all, *types; /* types: by fhir_type, for blocks; NULL: all is of the range's one type */
    bool object_ends, range_ends;
    struct buf *block;
    size_t gap; /* between the block and a body that is put behind it: what its hole will take */
    struct sink_file *file; /* the open object, or NULL */
    struct sent *sent;      /* newest first */
    sv name;
    uint64_t count, written; /* of the open object: lines, bytes handed over or in the block */
    uint64_t newlines;       /* counted from the bytes that left */
    uint64_t total, bytes;
    uint64_t met; /* once all lines are out: living resources met, if has_met */
    bool has_met;
    unsigned n_objects;
    uint64_t told_lines, told_bytes; /* to the progress, of a range that is not in yet */
    struct buf note;
    struct json_writer w; /* the note */
};

/* ---- newlines ----
 * Independent of what was counted line by line. It must cost nothing beside the digest: a vector of counters of a
 * byte each, added up before one of them can overflow. */

#ifdef __x86_64__
#define VECTOR 32u
__attribute__((target("avx2"))) static uint64_t count_in_vectors(sv bytes)
{
    const __m256i newline = _mm256_set1_epi8('\n'), zero = _mm256_setzero_si256();
    uint64_t sums[4];
    __m256i sum = zero;
    for (size_t i = 0; i + VECTOR <= bytes.len;) {
        size_t steps = (bytes.len - i) / VECTOR;
        size_t end = i + VECTOR * (steps < UINT8_MAX ? steps : UINT8_MAX);
        __m256i counters = zero;
        for (; i < end; i += VECTOR) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(bytes.ptr + i));
            counters = _mm256_sub_epi8(counters, _mm256_cmpeq_epi8(v, newline));
        }
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(counters, zero));
    }
    _mm256_storeu_si256((__m256i *)(void *)sums, sum);
    return sums[0] + sums[1] + sums[2] + sums[3];
}
#endif

static uint64_t count_newlines(sv bytes)
{
    uint64_t n = 0;
    size_t i = 0;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        n = count_in_vectors(bytes);
        i = bytes.len - bytes.len % VECTOR;
    }
#endif
    for (; i < bytes.len; i++)
        n += bytes.ptr[i] == '\n';
    return n;
}

static bool same_block(const struct export_range *g)
{
    return sv_eq(sv_make(g->owner, g->owner_len), export_feed_block(g->from));
}

static err_code close_object(struct export_range *g, struct err *e)
{
    struct sink_object o;
    char hex[SHA256_HEX_LEN];
    struct sent *s = arena_calloc(g->a, 1, sizeof *s);
    if (s == NULL)
        return arena_oom(g->a, e);
    TRY(sink_file_send(&g->file, &o, &s->sending, e));
    s->next = g->sent;
    g->sent = s;
    if (g->newlines != g->count || o.bytes != g->written)
        return ERR(e, ERR_INTERNAL,
                   "an object holds %llu lines and %llu bytes where %llu and %llu were written",
                   (unsigned long long)g->newlines, (unsigned long long)o.bytes,
                   (unsigned long long)g->count, (unsigned long long)g->written);
    hash_hex(o.sha256, sizeof o.sha256, hex);
    json_obj(&g->w);
    json_kv_str(&g->w, "name", g->name);
    if (g->file_deletes) {
        json_kv_bool(&g->w, "deleted", true);
        json_kv_u64(&g->w, "entries", g->entries);
    }
    json_kv_u64(&g->w, "count", g->count - g->heads); /* heads are no resources */
    json_kv_u64(&g->w, "bytes", o.bytes);
    json_kv_str(&g->w, "sha256", sv_make(hex, sizeof hex));
    if (g->blocks)
        json_kv_u64(&g->w, "blocks", g->heads);
    if (g->blocks && g->waits && same_block(g))
        json_kv_str(&g->w, "continues", object_name(g->a, g->x, g->range, false, g->n_objects + 1));
    json_obj_end(&g->w);
    if (!g->file_deletes) {
        g->total += g->count - g->heads;
        g->bytes += o.bytes;
    }
    g->n_objects++;
    return ERR_OK;
}

static err_code open_object(struct export_range *g, struct err *e)
{
    g->name = object_name(g->a, g->x, g->range, g->deleting, g->n_objects);
    g->count = g->written = g->newlines = g->entries = g->heads = 0;
    g->file_deletes = g->deleting;
    TRY(export_object_take(g->x, e));
    return sink_file_create(g->x->sink, g->name, NDJSON, g->x->plan.object_bytes, &g->file, e);
}

/* A line is written; body is its resource. */
static void add_sum(struct export_range *g, fhir_type type, const struct fhir_body *body)
{
    struct export_type_sum *to = g->types ? &g->types[type] : &g->all;
    struct fhir_digest one = { 0 };
    to->n++;
    if (!g->rewritten) {
        fhir_digest_body(&to->sum, body);
        return;
    }
    fhir_digest_body(&one, body);
    fhir_digest_add(&to->sum, &g->stored);
    fhir_digest_add(&to->was, &g->stored);
    fhir_digest_add(&to->is, &one);
    to->n_rewritten += memcmp(&one, &g->stored, sizeof one) != 0;
}

/* The head of a block: at its start, and again where an object begins within it. */
static err_code write_head(struct export_range *g, struct err *e)
{
    sv owner = export_feed_block(g->from);
    size_t before = g->block->len;
    memcpy(g->owner, owner.ptr, owner.len);
    g->owner_len = owner.len;
    TRY(buf_add_fmt(g->block, e,
                    "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"header\","
                    "\"valueReference\":{\"reference\":\"Patient/%.*s\"}}]}\n",
                    SV_FMT(owner)));
    g->written += g->block->len - before;
    g->count++;
    g->heads++;
    g->new_heads++;
    return ERR_OK;
}

/* fhir_keep_fn */
static bool named(void *ctx, sv name, const struct fhir_member *member)
{
    const struct export_range *g = ctx;
    return fhir_subset_names(g->elements, g->n_elements, name, member);
}

/* g->root with members left out, into line; in stored and *body, what an import of that would store. */
static err_code subset(struct export_range *g, const struct store_version *v, struct buf *line,
                       struct buf *stored, struct fhir_body *body, struct err *e)
{
    struct fhir_envelope env;
    size_t before = line->len;
    TRY(fhir_subset_write(g->root, v->type, v->version, v->instant_ms, named, g, line, e));
    if (g->reader == NULL)
        g->reader = fhir_reader_new(SIZE_MAX / 2);
    TRY(fhir_envelope_read(g->reader, sv_tail(buf_sv(line), before), SV_NONE, stored, &env, e));
    *body = env.body;
    return ERR_OK;
}

static err_code write_subset(struct export_range *g, const struct store_version *v, struct err *e)
{
    CLEANUP_BUF struct buf stored = BUF_INIT(SIZE_MAX / 2);
    struct fhir_body body;
    size_t before = g->block->len;
    TRY(subset(g, v, g->block, &stored, &body, e));
    add_sum(g, v->type, &body);
    TRY(buf_add_char(g->block, '\n', e));
    g->written += g->block->len - before;
    g->count++;
    return ERR_OK;
}

/* _elements that hold for a type: "name", "Patient.name". */
static err_code choose_elements(struct export_range *g, fhir_type type, struct err *e)
{
    const struct job_texts *t = &g->x->params->elements;
    if (t->n == 0 || g->elements_of == type)
        return ERR_OK;
    if (g->elements_room == NULL &&
        (g->elements_room = arena_alloc(g->a, t->n * sizeof *g->elements)) == NULL)
        return arena_oom(g->a, e);
    g->elements_of = type;
    g->elements = g->elements_room;
    g->n_elements = 0;
    for (size_t i = 0; i < t->n; i++) {
        sv rest = t->items[i], of;
        if (sv_find(rest, '.') == rest.len)
            g->elements[g->n_elements++] = rest;
        else if (sv_cut(&rest, '.', &of) && sv_eq_cstr(of, fhir_type_name(type)))
            g->elements[g->n_elements++] = rest;
    }
    if (g->n_elements == 0) /* none is asked for of this type: it comes whole */
        g->elements = NULL;
    return ERR_OK;
}

/* v as it is served: urls of Attachments absolute. What of it counts as it is stored is kept. */
static err_code make_absolute(struct export_range *g, struct err *e)
{
    struct store_version *v = &g->v;
    struct fhir_body now;
    yyjson_doc *doc;
    size_t n;
    g->rewritten = false;
    if (g->absolute.base.len == 0 || !fhir_attachments_may(&g->absolute, v->body.json))
        return ERR_OK;
    if (g->tree == NULL)
        g->tree = arena_new(PARSE_MAX);
    arena_reset(g->tree);
    buf_clear(&g->served);
    yyjson_val *root = g->root;
    if (root == NULL) {
        TRY(json_read(g->tree, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
        root = yyjson_doc_get_root(doc);
    }
    TRY(fhir_attachments_absolute(&g->absolute, &v->body, root, &g->served, &now, &n, e));
    if (n == 0)
        return ERR_OK;
    g->rewritten = true;
    memset(&g->stored, 0, sizeof g->stored);
    TRY(choose_elements(g, v->type, e));
    if (g->elements && g->root) {
        CLEANUP_BUF struct buf line = BUF_INIT(SIZE_MAX / 2), stored = BUF_INIT(SIZE_MAX / 2);
        struct fhir_body body;
        TRY(subset(g, v, &line, &stored, &body, e));
        fhir_digest_body(&g->stored, &body);
        TRY(json_read(g->tree, now.json, LIMIT_RESOURCE_DEPTH, &doc, e));
        g->root = yyjson_doc_get_root(doc);
    } else {
        fhir_digest_body(&g->stored, &v->body);
    }
    v->body = now;
    v->placed = false;
    return ERR_OK;
}

static err_code write_line(struct export_range *g, const struct store_version *v, struct err *e)
{
    if (g->blocks && (g->count == 0 || !same_block(g)))
        TRY(write_head(g, e));
    TRY(choose_elements(g, v->type, e));
    if (g->elements && g->root)
        return write_subset(g, v, e);
    struct fhir_body body = v->body;
    add_sum(g, v->type, &body);
    TRY(buf_reserve(g->block, body.json.len + FHIR_SPLICE_MAX + 1, e));
    char *at = g->block->ptr + g->block->len;
    if (v->placed) /* the block may have moved */
        body.json.ptr = at + g->gap;
    size_t n = fhir_body_write(&body, v->version, v->instant_ms, at);
    g->gap = n - body.json.len; /* the next one's, as a rule */
    at[n++] = '\n';
    g->block->len += n;
    g->written += n;
    g->count++;
    return ERR_OK;
}

/* ---- deletions ---- */

static err_code add_text(struct export_range *g, sv text, struct err *e)
{
    g->written += text.len;
    return buf_add(g->block, text, e);
}

static err_code end_bundle(struct export_range *g, struct err *e)
{
    if (g->n_bundle == 0)
        return ERR_OK;
    g->n_bundle = 0;
    g->count++;
    return add_text(g, SV_LIT("]}\n"), e);
}

/* An entry of a transaction Bundle; a Bundle is a line. */
static err_code write_deletion(struct export_range *g, const struct store_version *v, struct err *e)
{
    char text[256];
    const char *type = fhir_type_name(v->type);
    int n =
        snprintf(text, sizeof text, "%s{\"request\":{\"method\":\"DELETE\",\"url\":\"%s/%.*s\"}}",
                 g->n_bundle ? "," : "", type, SV_FMT(v->id));
    if (g->n_bundle == 0)
        TRY(add_text(g, SV_LIT("{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["),
                     e));
    TRY(add_text(g, sv_make(text, (size_t)n), e));
    g->entries++;
    n = snprintf(text, sizeof text, "DELETE %s/%.*s", type, SV_FMT(v->id));
    fhir_digest_text(&g->deleted_sum, sv_make(text, (size_t)n));
    return ++g->n_bundle == BUNDLE_ENTRIES ? end_bundle(g, e) : ERR_OK;
}

static bool object_is_full(const struct export_range *g, const struct store_version *v)
{
    size_t most = g->deleting ? BUNDLE_ENTRIES * 140u : v->body.json.len + FHIR_SPLICE_MAX + 1;
    most += g->blocks ? HEAD_MAX : 0;
    return g->count && g->n_bundle == 0 && g->written + most > g->x->plan.object_bytes;
}

void export_range_free(struct export_range *g)
{
    if (g == NULL)
        return;
    if (g->told_lines || g->told_bytes) /* it will be written again, or never */
        export_progress_add(g->x, -(int64_t)g->told_lines, -(int64_t)g->told_bytes);
    sink_file_abort(g->file);
    for (struct sent *s = g->sent; s; s = s->next)
        if (s->sending) /* whatever came of it is written again, or removed */
            IGNORE(sink_sending_wait(&s->sending, NULL));
    export_feed_free(g->from);
    fhir_reader_free(g->reader);
    buf_done(&g->note);
    buf_done(&g->served);
    arena_free(g->tree);
    arena_free(g->a);
    free(g);
}

err_code export_range_open(struct export_job *x, size_t range, struct buf *block,
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
    buf_init(&g->served, SIZE_MAX / 2);
    g->absolute =
        (struct fhir_attachments){ x->params->attachment_base, x->params->attachment_other };
    json_writer_init(&g->w, &g->note);
    json_obj(&g->w);
    json_key(&g->w, "objects");
    json_arr(&g->w);
    g->blocks = x->plan.items[range].kind == EXPORT_BLOCKS;
    if (g->blocks && (g->types = arena_calloc(g->a, fhir_n_types() + 1, sizeof *g->types)) == NULL)
        return arena_oom(g->a, e);
    TRY(export_feed_open(x, &x->plan.items[range], &g->from, e));
    *out = g;
    g = NULL;
    return ERR_OK;
}

/* The end of a round. */
static err_code end_round(struct export_range *g, struct err *e)
{
    TRY(end_bundle(g, e));
    g->object_ends = true;
    g->range_ends = g->deleting || !g->deletes;
    if (g->range_ends)
        return ERR_OK;
    g->deleting = true;
    export_feed_free(g->from);
    g->from = NULL;
    return export_feed_open(g->x, &g->x->plan.items[g->range], &g->from, e);
}

/* The next one of this round. */
static err_code next_of_round(struct export_range *g, struct err *e)
{
    bool deleted;
    do {
        if (g->x->params->elements.n == 0)
            export_feed_place(g->from, g->block, g->gap);
        TRY(export_feed_next(g->from, &g->v, &g->root, &deleted, e));
        g->deletes |= deleted;
    } while (deleted != g->deleting);
    return ERR_OK;
}

err_code export_range_fill(struct export_range *g, struct err *e)
{
    if (job_run_should_stop(g->x->run))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    while (g->block->len < BLOCK_BYTES) {
        if (!g->waits) {
            err_code rc = next_of_round(g, e);
            if (rc == ERR_EOF)
                return end_round(g, e);
            TRY(rc);
            if (!g->deleting)
                TRY(make_absolute(g, e));
        }
        g->waits = g->file && object_is_full(g, &g->v);
        if (g->waits) {
            g->object_ends = true;
            return ERR_OK;
        }
        if (g->file == NULL)
            TRY(open_object(g, e));
        TRY(g->deleting ? write_deletion(g, &g->v, e) : write_line(g, &g->v, e));
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

static void write_sums(struct export_range *g, const struct export_type_sum *s)
{
    char hex[FHIR_DIGEST_HEX];
    fhir_digest_hex(&s->sum, hex);
    json_kv_str(&g->w, "sum", sv_make(hex, sizeof hex));
    if (s->n_rewritten == 0)
        return;
    struct fhir_digest served = s->sum;
    fhir_digest_take(&served, &s->was);
    fhir_digest_add(&served, &s->is);
    json_kv_u64(&g->w, "rewritten", s->n_rewritten);
    fhir_digest_hex(&served, hex);
    json_kv_str(&g->w, "servedSum", sv_make(hex, sizeof hex));
}

static void write_types(struct export_range *g)
{
    json_key(&g->w, "types");
    json_arr(&g->w);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        if (g->types[t].n == 0)
            continue;
        json_obj(&g->w);
        json_kv_str(&g->w, "type", sv_from(fhir_type_name((fhir_type)t)));
        json_kv_u64(&g->w, "count", g->types[t].n);
        write_sums(g, &g->types[t]);
        json_obj_end(&g->w);
    }
    json_arr_end(&g->w);
}

/* Its first n bytes have left; what waits behind it moves with the rest. */
static void pass_block(struct export_range *g, size_t n)
{
    bool moves = g->waits && g->v.placed;
    g->block->len -= n;
    memmove(g->block->ptr, g->block->ptr + n,
            g->block->len + (moves ? g->gap + g->v.body.json.len : 0));
    if (moves)
        g->v.body.json.ptr = g->block->ptr + g->block->len + g->gap;
}

err_code export_range_flush(struct export_range *g, struct err *e)
{
    sv bytes = leaving(g);
    if (bytes.len) {
        uint64_t n = count_newlines(bytes);
        g->newlines += n;
        if (!g->file_deletes) {
            g->told_lines += n;
            g->told_bytes += bytes.len;
            g->told_lines -= (uint64_t)g->new_heads;
            export_progress_add(g->x, (int64_t)n - g->new_heads, (int64_t)bytes.len);
            g->new_heads = 0;
        }
        TRY(export_room_take(g->x, bytes.len, e));
        TRY(sink_file_write(g->file, bytes, e));
        pass_block(g, bytes.len);
    }
    if (g->object_ends && g->file)
        TRY(close_object(g, e));
    g->object_ends = false;
    if (!g->range_ends)
        return ERR_OK;
    g->has_met = export_feed_passed(g->from, &g->met);
    g->met += g->total;
    export_feed_free(g->from); /* it keeps blocks of the store */
    g->from = NULL;
    return ERR_EOF;
}

bool export_range_has_arrived(const struct export_range *g)
{
    for (const struct sent *s = g->sent; s; s = s->next)
        if (!sink_sending_is_over(s->sending))
            return false;
    return true;
}

err_code export_range_finish(struct export_range *g, struct export_tally *out, struct err *e)
{
    char name[32], hex[FHIR_DIGEST_HEX];
    for (struct sent *s = g->sent; s; s = s->next)
        TRY(sink_sending_wait(&s->sending, e));
    json_arr_end(&g->w);
    json_kv_u64(&g->w, "count", g->total);
    if (g->has_met)
        json_kv_u64(&g->w, "met", g->met);
    write_sums(g, &g->all);
    fhir_digest_hex(&g->deleted_sum, hex);
    json_kv_str(&g->w, "deletedSum", sv_make(hex, sizeof hex));
    if (g->types)
        write_types(g);
    if (!g->blocks)
        json_kv_str(&g->w, "type", sv_from(fhir_type_name(g->x->plan.items[g->range].range.type)));
    size_t place = export_place_take(g->x);
    json_kv_u64(&g->w, "place", place);
    json_obj_end(&g->w);
    (void)snprintf(name, sizeof name, "done/%08zu", g->range);
    err_code rc = json_writer_end(&g->w, e);
    /* A note that the machine's end takes costs this range being written once more, to the same names, so no worker
     * waits for the disk; a place that a client has been told of must not be given away. */
    if (rc == ERR_OK)
        rc = (g->x->params->partial_manifests ? job_run_note_put : job_run_note_put_unsynced)(
            g->x->run, sv_from(name), buf_sv(&g->note), e);
    if (rc != ERR_OK) {
        export_place_give_back(g->x, place);
        return rc;
    }
    g->told_lines = g->told_bytes = 0;
    *out = (struct export_tally){ g->total, g->bytes, g->n_objects };
    return ERR_OK;
}

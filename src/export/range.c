/* range.c - a range becomes one object, or more, if it is larger than planned.
 *
 *   open -> (fill -> flush)* -> finish
 *   fill     lines go into the block, until it is full or the object ends
 *   flush    the block goes to the sink, and the object is closed if its end is there
 *   finish   every object has arrived; the range is noted
 *
 * Two ranges of one thread go through this in turn. The digests of their blocks are computed side
 * by side between fill and flush. A block is flushed in multiples of SINK_WRITE_UNIT; the rest
 * stays at its start. range_private.h draws the phases.
 *
 * A giant is written within fill, in pieces out of the store's own memory. A fill that ends holds
 * none: the other range of the thread may meet the next one. */
#include "export/range_private.h"

#include "base/limits.h"
#include "codec/newlines.h"

#include <assert.h>

#define BLOCK_BYTES    SINK_WRITE_UNIT     /* two of them stay in the processor's cache */
#define PIECE_BYTES    (16u * BLOCK_BYTES) /* of a giant, at a time */
#define BUNDLE_ENTRIES 100u                /* deletions in one Bundle */
#define HEAD_MAX       192u                /* bytes of a block's head */
/* bytes of an entry that deletes: 42 of JSON around a type of at most 33 and an id of at most 64 */
#define DELETION_MAX 140u

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

/* The head of a block: at its start, and again where an object begins within it. By format string,
 * as deletions are: nothing in it needs escaping, because types and ids are legal, and the writer
 * would look at every character of it. */
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

static err_code write_subset(struct export_range *g, const struct store_version *v, struct err *e)
{
    CLEANUP_BUF struct buf stored = BUF_INIT(EXPORT_RESOURCE_MAX);
    struct fhir_body body;
    size_t before = g->block->len;
    TRY(range_subset(g, v, g->block, &stored, &body, e));
    add_sum(g, v->type, &body);
    TRY(buf_add_char(g->block, '\n', e));
    g->written += g->block->len - before;
    g->count++;
    return ERR_OK;
}

/* What of the block leaves with the next flush. */
static sv leaving(const struct export_range *g)
{
    size_t len = g->block->len;
    return sv_head(buf_sv(g->block), g->phase == RANGE_FILLS ? len - len % BLOCK_BYTES : len);
}

/* Its first n bytes have left; what waits behind it moves with the rest. */
static void pass_block(struct export_range *g, size_t n)
{
    bool moves = g->phase == RANGE_OBJECT_FULL && g->v.placed;
    g->block->len -= n;
    memmove(g->block->ptr, g->block->ptr + n,
            g->block->len + (moves ? g->gap + g->v.body.json.len : 0));
    if (moves)
        g->v.body.json.ptr = g->block->ptr + g->block->len + g->gap;
}

static err_code write_block(struct export_range *g, sv bytes, struct err *e)
{
    uint64_t n = newlines_count(bytes);
    g->newlines += n;
    if (g->checks) {
        TRY(sink_file_write(g->file, bytes, e));
        pass_block(g, bytes.len);
        return ERR_OK;
    }
    if (g->deletions != DELETIONS_WRITTEN) {
        g->told_lines += n - (uint64_t)g->new_heads;
        g->told_bytes += bytes.len;
        export_progress_add(g->export, (int64_t)n - g->new_heads, (int64_t)bytes.len);
        g->new_heads = 0;
    }
    TRY(export_room_take(g->export, bytes.len, e));
    TRY(sink_file_write(g->file, bytes, e));
    pass_block(g, bytes.len);
    return ERR_OK;
}

/* ---- giants ---- */

/* Of what comes while a range fills. */
static bool is_giant(const struct export_range *g)
{
    return g->deletions != DELETIONS_WRITTEN && g->v.body.json.len > LIMIT_GIANT_BYTES;
}

static err_code write_text(struct export_range *g, sv text, struct err *e)
{
    while (text.len) {
        sv piece = sv_head(text, PIECE_BYTES);
        TRY(export_goes_on(g->export->run, e));
        TRY(buf_add(g->block, piece, e));
        g->written += piece.len;
        text = sv_tail(text, piece.len);
        piece = leaving(g);
        if (piece.len)
            TRY(write_block(g, piece, e));
    }
    return ERR_OK;
}

static err_code write_giant(struct export_range *g, const struct fhir_body *body,
                            const struct store_version *v, struct err *e)
{
    char hole[FHIR_SPLICE_MAX];
    size_t n = fhir_body_fill(body, v->version, v->instant_ms, hole);
    TRY(write_text(g, sv_head(body->json, body->hole_at), e));
    TRY(write_text(g, sv_make(hole, n), e));
    TRY(write_text(g, sv_tail(body->json, body->hole_at), e));
    TRY(write_text(g, SV_LIT("\n"), e));
    g->count++;
    return ERR_OK;
}

/* In front of a giant: all of the block, and the object's end. */
static err_code end_object(struct export_range *g, struct err *e)
{
    g->phase = RANGE_OBJECT_FULL;
    if (g->block->len)
        TRY(write_block(g, buf_sv(g->block), e));
    TRY(range_object_close(g, e));
    g->phase = RANGE_FILLS;
    return ERR_OK;
}

/* ---- lines ---- */

static err_code write_line(struct export_range *g, const struct store_version *v, struct err *e)
{
    if (g->blocks && (g->count == 0 || !range_same_block(g)))
        TRY(write_head(g, e));
    TRY(range_elements(g, v->type, e));
    if (g->elements && g->root)
        return write_subset(g, v, e);
    struct fhir_body body = v->body;
    add_sum(g, v->type, &body);
    if (is_giant(g) && !v->placed)
        return write_giant(g, &body, v, e);
    TRY(buf_reserve(g->block, body.json.len + FHIR_SPLICE_MAX + 1, e));
    char *at = g->block->ptr + g->block->len;
    /* the block may have moved */
    if (v->placed)
        body.json.ptr = at + g->gap;
    size_t n = fhir_body_write(&body, v->version, v->instant_ms, at);
    /* the next one's, as a rule */
    g->gap = n - body.json.len;
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
    size_t most = g->deletions == DELETIONS_WRITTEN ? BUNDLE_ENTRIES * DELETION_MAX
                                                    : v->body.json.len + FHIR_SPLICE_MAX + 1;
    most += g->blocks ? HEAD_MAX : 0;
    return g->count && g->n_bundle == 0 && g->written + most > g->export->plan.object_bytes;
}

void export_range_free(struct export_range *g)
{
    if (g == NULL)
        return;
    /* it will be written again, or never */
    if (g->told_lines || g->told_bytes)
        export_progress_add(g->export, -(int64_t)g->told_lines, -(int64_t)g->told_bytes);
    sink_file_abort(g->file);
    for (struct sent *s = g->sent; s; s = s->next)
        /* whatever came of it is written again, or removed */
        if (s->sending)
            IGNORE(sink_sending_wait(&s->sending, NULL, NULL, NULL));
    range_remove_late(g);
    export_feed_free(g->from);
    fhir_reader_free(g->reader);
    buf_done(&g->note);
    buf_done(&g->served);
    arena_free(g->tree);
    arena_free(g->a);
    free(g);
}

err_code export_range_open(struct export_job *export, size_t range, struct buf *block,
                           struct export_range **out, struct err *e)
{
    CLEANUP(export_range_free) struct export_range *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    g->export = export;
    g->range = range;
    g->a = arena_new(16u << 20);
    g->block = block;
    buf_clear(block);
    buf_init(&g->note, EXPORT_PLAN_MAX);
    buf_init(&g->served, EXPORT_RESOURCE_MAX);
    g->absolute = (struct fhir_attachments){ export->params->attachment_base,
                                             export->params->attachment_other };
    g->last_sent = &g->sent;
    g->blocks = export->plan.items[range].kind == EXPORT_BLOCKS;
    if (g->blocks && (g->types = arena_calloc(g->a, fhir_n_types() + 1, sizeof *g->types)) == NULL)
        return arena_oom(g->a, e);
    const struct export_item *item = &export->plan.items[range];
    const bool copies = item->earlier && export_may_copy(export);
    const bool is_checked = copies && export_item_awaits_check(item);
    /* S3 tells the digest of a copy; in a directory a file that rots is made anew by its check */
    g->checks = is_checked && sink_keeps_objects(export->sink);
    TRY(copies && !is_checked ? range_copy_begin(g, e)
                              : export_feed_open(export, item, &g->from, e));
    *out = g;
    g = NULL;
    return ERR_OK;
}

/* The next one of this round. */
static err_code next_of_round(struct export_range *g, struct err *e)
{
    bool deleted, second = g->deletions == DELETIONS_WRITTEN;
    do {
        if (g->export->params->elements.n == 0)
            export_feed_place(g->from, g->block, g->gap);
        TRY(export_feed_next(g->from, &g->v, &g->root, &deleted, e));
        if (deleted && !second)
            g->deletions = DELETIONS_MET;
    } while (deleted != second);
    return ERR_OK;
}

err_code export_range_fill(struct export_range *g, struct err *e)
{
    if (g->phase == RANGE_COPIED)
        return ERR_EOF;
    assert(g->phase == RANGE_FILLS || g->phase == RANGE_NEXT_WAITS);
    TRY(export_goes_on(g->export->run, e));
    while (g->block->len < BLOCK_BYTES) {
        if (g->phase != RANGE_NEXT_WAITS) {
            err_code rc = next_of_round(g, e);
            if (rc == ERR_EOF) {
                g->phase = RANGE_ROUND_ENDS;
                return end_bundle(g, e);
            }
            TRY(rc);
            if (g->deletions != DELETIONS_WRITTEN)
                TRY(range_absolute(g, e));
            else
                /* of what is deleted the id alone is told */
                export_feed_rest(g->from);
        }
        const bool giant = is_giant(g);
        if (g->file && object_is_full(g, &g->v)) {
            if (!giant) {
                g->phase = RANGE_OBJECT_FULL;
                return ERR_OK;
            }
            TRY(end_object(g, e));
        }
        g->phase = RANGE_FILLS;
        if (g->file == NULL)
            TRY(range_object_open(g, e));
        TRY(g->deletions == DELETIONS_WRITTEN ? write_deletion(g, &g->v, e)
                                              : write_line(g, &g->v, e));
        if (giant)
            export_feed_rest(g->from);
    }
    return ERR_OK;
}

void export_ranges_digest(struct export_range *g, struct export_range *h)
{
    sv x = leaving(g), y = leaving(h);
    if (x.len && y.len)
        sink_files_digest(g->file, x, h->file, y);
}

/* The end of a round: the second begins, or the range is over. The feed keeps blocks of the
 * store. */
static err_code end_round(struct export_range *g, struct err *e)
{
    bool again = g->deletions == DELETIONS_MET;
    if (!again) {
        g->has_met = export_feed_passed(g->from, &g->met);
        g->met += g->total;
    }
    export_feed_free(g->from);
    g->from = NULL;
    g->phase = again ? RANGE_FILLS : RANGE_OVER;
    if (!again) {
        if (g->checks)
            TRY(range_check_end(g, e));
        return ERR_EOF;
    }
    g->deletions = DELETIONS_WRITTEN;
    return export_feed_open(g->export, &g->export->plan.items[g->range], &g->from, e);
}

err_code export_range_flush(struct export_range *g, struct err *e)
{
    sv bytes = leaving(g);
    if (bytes.len)
        TRY(write_block(g, bytes, e));
    if (g->phase == RANGE_FILLS)
        return ERR_OK;
    if (g->file)
        TRY(range_object_close(g, e));
    if (g->phase == RANGE_ROUND_ENDS)
        return end_round(g, e);
    g->phase = RANGE_NEXT_WAITS;
    return ERR_OK;
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
    for (struct sent *s = g->sent; s; s = s->next)
        TRY(range_sent_wait(g, s, e));
    TRY(g->phase == RANGE_COPIED ? range_copy_end(g, e) : range_copy_check(g, e));
    TRY(range_note_write(g, e));
    g->told_lines = g->told_bytes = 0;
    *out = (struct export_tally){ g->total, g->bytes, g->n_objects };
    return ERR_OK;
}

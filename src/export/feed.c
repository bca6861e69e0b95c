/* feed.c - the resources of one item of the plan, as they go into objects.
 *
 * Without organizeOutputBy that is the source of the item (source.c). With it, an item of
 * EXPORT_BLOCKS has rows (blocks.c): what belongs to each Patient of its range, by Patient. The
 * items of other kinds leave out what has an owner, because a block has it. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/json.h"

#define PARSE_MAX ((size_t)1 << 30) /* one resource, read and parsed */

struct export_feed {
    struct export_job *export;
    struct export_source *from;   /* NULL: EXPORT_BLOCKS */
    struct export_owners *owners; /* NULL: without organizeOutputBy */
    struct arena *a;              /* of the resource at hand, if it is read here */
    struct buf rows;              /* EXPORT_BLOCKS */
    size_t at;                    /* in them */
    struct buf numbers;           /* of the rows; cur goes through them */
    struct store_cursor *cur;
    sv block;        /* whose the last one is */
    bool scans;      /* EXPORT_SCAN */
    uint64_t n_left; /* living resources that a scan met and left to a block */
};

sv export_feed_block(const struct export_feed *feed)
{
    return feed->block;
}

bool export_feed_passed(const struct export_feed *feed, uint64_t *n)
{
    if (feed->from == NULL || !export_source_passed(feed->from, n))
        return false;
    *n += feed->n_left;
    return true;
}

void export_feed_place(struct export_feed *feed, struct buf *block, size_t gap)
{
    if (feed->scans)
        export_source_place(feed->from, block, gap);
}

static err_code next_of_rows(struct export_feed *feed, struct store_version *out, yyjson_val **root,
                             struct err *e)
{
    yyjson_doc *doc;
    store_number number;
    arena_reset(feed->a);
    TRY(export_goes_on(feed->export->run, e));
    if (!export_blocks_next(&feed->rows, &feed->at, &feed->block, &number))
        return ERR_EOF;
    /* as of one commit, so it is there as it was when the rows were made */
    TRY(store_cursor_next(feed->cur, out, e));
    if (out->number != number)
        return ERR(e, ERR_INTERNAL, "a resource of a block is gone");
    if (feed->export->params->elements.n == 0)
        return ERR_OK;
    TRY(json_read(feed->a, out->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
    *root = yyjson_doc_get_root(doc);
    return ERR_OK;
}

/* Has a Patient a block with it? */
static err_code has_owner(struct export_feed *feed, const struct store_version *v,
                          yyjson_val **root, bool *out, struct err *e)
{
    struct search_subject s = { v->type, v->id, v->instant_ms, *root };
    yyjson_doc *doc;
    struct export_owner owner;
    arena_reset(feed->a);
    if (s.root == NULL) {
        TRY(json_read(feed->a, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
        s.root = yyjson_doc_get_root(doc);
    }
    TRY(export_owners_find(feed->owners, &s, feed->a, &owner, e));
    *out = owner.id.len != 0;
    return ERR_OK;
}

err_code export_feed_next(struct export_feed *feed, struct store_version *out, yyjson_val **root,
                          bool *deleted, struct err *e)
{
    bool owned;
    if (feed->from == NULL) {
        *deleted = false;
        *root = NULL;
        return next_of_rows(feed, out, root, e);
    }
    for (;;) {
        TRY(export_source_next(feed->from, out, root, deleted, e));
        if (feed->owners == NULL || *deleted)
            return ERR_OK;
        TRY(has_owner(feed, out, root, &owned, e));
        if (!owned)
            return ERR_OK;
        feed->n_left += feed->scans;
    }
}

void export_feed_rest(struct export_feed *feed)
{
    store_cursor_rest(feed->cur);
    if (feed->from)
        export_source_rest(feed->from);
}

void export_feed_free(struct export_feed *feed)
{
    if (feed == NULL)
        return;
    export_source_free(feed->from);
    store_cursor_close(feed->cur);
    export_owners_free(feed->owners);
    arena_free(feed->a);
    buf_done(&feed->rows);
    buf_done(&feed->numbers);
    free(feed);
}

static err_code open_rows(struct export_feed *feed, struct err *e)
{
    const struct export_job *export = feed->export;
    store_number number;
    sv owner;
    for (size_t at = 0; export_blocks_next(&feed->rows, &at, &owner, &number);)
        TRY(export_numbers_add(&feed->numbers, number, e));
    TRY(store_scan_numbers(export->run->store, (const store_number *)(void *)feed->numbers.ptr,
                           feed->numbers.len / sizeof number, export->t, &feed->cur, e));
    store_cursor_giants(feed->cur, export->run->halt);
    return ERR_OK;
}

err_code export_feed_open(struct export_job *export, const struct export_item *item,
                          struct export_feed **out, struct err *e)
{
    CLEANUP(export_feed_free) struct export_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        abort();
    feed->export = export;
    feed->a = arena_new(PARSE_MAX);
    feed->scans = item->kind == EXPORT_SCAN;
    buf_init(&feed->rows, EXPORT_NUMBERS_MAX);
    buf_init(&feed->numbers, EXPORT_NUMBERS_MAX);
    if (export->params->organize_by_patient)
        feed->owners = export_owners_new(export);
    if (item->kind == EXPORT_BLOCKS) {
        TRY(export_blocks_gather(export, item, feed->owners, &feed->rows, e));
        TRY(open_rows(feed, e));
    } else
        TRY(export_source_open(export, item, &feed->from, e));
    *out = feed;
    feed = NULL;
    return ERR_OK;
}

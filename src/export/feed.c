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
    struct export_job *x;
    struct export_source *from;   /* NULL: EXPORT_BLOCKS */
    struct export_owners *owners; /* NULL: without organizeOutputBy */
    struct arena *a;              /* of the resource at hand, if it is read here */
    struct buf rows;              /* EXPORT_BLOCKS */
    size_t at;                    /* in them */
    sv block;                     /* whose the last one is */
    bool scans;                   /* EXPORT_SCAN */
    uint64_t n_left;              /* living resources that a scan met and left to a block */
};

sv export_feed_block(const struct export_feed *f)
{
    return f->block;
}

bool export_feed_passed(const struct export_feed *f, uint64_t *n)
{
    if (f->from == NULL || !export_source_passed(f->from, n))
        return false;
    *n += f->n_left;
    return true;
}

void export_feed_place(struct export_feed *f, struct buf *block, size_t gap)
{
    if (f->scans)
        export_source_place(f->from, block, gap);
}

static err_code next_of_rows(struct export_feed *f, struct store_version *out, yyjson_val **root,
                             struct err *e)
{
    yyjson_doc *doc;
    fhir_type type;
    sv id;
    arena_reset(f->a);
    if (job_run_should_stop(f->x->run))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    if (!export_blocks_next(&f->rows, &f->at, &f->block, &type, &id))
        return ERR_EOF;
    TRY(store_get(f->x->run->store, type, id, f->x->t, f->a, out, e));
    if (f->x->params->elements.n == 0)
        return ERR_OK;
    TRY(json_read(f->a, out->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
    *root = yyjson_doc_get_root(doc);
    return ERR_OK;
}

/* Has a Patient a block with it? */
static err_code has_owner(struct export_feed *f, const struct store_version *v, yyjson_val **root,
                          bool *out, struct err *e)
{
    struct search_subject s = { v->type, v->id, v->instant_ms, *root };
    yyjson_doc *doc;
    sv owner;
    arena_reset(f->a);
    if (s.root == NULL) {
        TRY(json_read(f->a, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
        s.root = yyjson_doc_get_root(doc);
    }
    TRY(export_owners_find(f->owners, &s, f->a, &owner, e));
    *out = owner.len != 0;
    return ERR_OK;
}

err_code export_feed_next(struct export_feed *f, struct store_version *out, yyjson_val **root,
                          bool *deleted, struct err *e)
{
    bool owned;
    if (f->from == NULL) {
        *deleted = false;
        *root = NULL;
        return next_of_rows(f, out, root, e);
    }
    for (;;) {
        TRY(export_source_next(f->from, out, root, deleted, e));
        if (f->owners == NULL || *deleted)
            return ERR_OK;
        TRY(has_owner(f, out, root, &owned, e));
        if (!owned)
            return ERR_OK;
        f->n_left += f->scans;
    }
}

void export_feed_free(struct export_feed *f)
{
    if (f == NULL)
        return;
    export_source_free(f->from);
    export_owners_free(f->owners);
    arena_free(f->a);
    buf_done(&f->rows);
    free(f);
}

err_code export_feed_open(struct export_job *x, const struct export_item *item,
                          struct export_feed **out, struct err *e)
{
    CLEANUP(export_feed_free) struct export_feed *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->x = x;
    f->a = arena_new(PARSE_MAX);
    f->scans = item->kind == EXPORT_SCAN;
    buf_init(&f->rows, EXPORT_IDS_MAX);
    if (x->params->organize_by_patient)
        f->owners = export_owners_new(x);
    if (item->kind == EXPORT_BLOCKS)
        TRY(export_blocks_gather(x, item, f->owners, &f->rows, e));
    else
        TRY(export_source_open(x, item, &f->from, e));
    *out = f;
    f = NULL;
    return ERR_OK;
}

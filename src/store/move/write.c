/* write.c - a batch of commits made again in another store.
 *
 * Search entries are made anew from the bodies, so they are of this program's form. Every commit
 * must come out with the t and the instant that it had, and every online version with its number.
 * A version number that is another one tells of versions in front of it that were erased. */
#include "store/move/move_private.h"

#include "codec/json.h"

#include <stdlib.h>
#include <time.h>

#define BODY_MAX   (256u << 20) /* of one version */
#define COMMIT_MAX ((size_t)8 << 30)
#define CROWDED_NS 20000000

struct move_writer {
    struct store *to;
    struct arena *entries, *tree; /* of a batch; of a version */
    struct buf index;
};

struct move_writer *move_writer_new(struct store *to)
{
    struct move_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->to = to;
    w->entries = arena_new(COMMIT_MAX);
    w->tree = arena_new(json_tree_max(BODY_MAX));
    buf_init(&w->index, SEARCH_ENTRIES_MAX);
    return w;
}

void move_writer_free(struct move_writer *w)
{
    buf_done(&w->index);
    arena_free(w->tree);
    arena_free(w->entries);
    free(w);
}

static err_code index_of(struct move_writer *w, const struct store_version *v, sv *out,
                         struct err *e)
{
    yyjson_doc *doc;
    *out = SV_NONE;
    if (v->method == STORE_METHOD_DELETE)
        return ERR_OK;
    arena_reset(w->tree);
    buf_clear(&w->index);
    TRY(json_read(w->tree, v->body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    TRY(search_index(v->type, yyjson_doc_get_root(doc), &w->index, e));
    *out = arena_sv(w->entries, buf_sv(&w->index));
    return out->ptr ? ERR_OK : arena_oom(w->entries, e);
}

static err_code check_commit(const struct store_commit_row *row, const struct store_commit *at,
                             struct err *e)
{
    return at->t == row->t && at->instant_ms == row->instant_ms
               ? ERR_OK
               : ERR(e, ERR_CONFLICT,
                     "commit %llu got another place or instant: somebody else writes there",
                     (unsigned long long)row->t);
}

/* ---- loads ---- */

/* Nothing tells when a compaction has ended, so it is asked again. */
static void wait_for_room(const struct move_writer *w)
{
    while (store_is_crowded(w->to))
        (void)nanosleep(&(struct timespec){ .tv_nsec = CROWDED_NS }, NULL);
}

static err_code fill(struct move_writer *w, struct store_bulk *bulk, const struct past_batch *b,
                     struct store_bulk_item *items, struct err *e)
{
    for (size_t i = 0; i < b->n_versions; i++) {
        const struct store_version *v = &b->versions[i];
        if (v->method != STORE_METHOD_IMPORT)
            return ERR(e, ERR_CORRUPT, "a bulk load has a version that was written online");
        /* numbers stand in the order in which they came */
        items[i] =
            (struct store_bulk_item){ .type = v->type, .id = v->id, .body = v->body, .seq = i };
        TRY(index_of(w, v, &items[i].index, e));
    }
    return store_bulk_fill(bulk, items, b->n_versions, e);
}

static err_code write_load(struct move_writer *w, const struct past_batch *b, struct err *e)
{
    CLEANUP(store_bulk_abort) struct store_bulk *bulk = NULL;
    struct store_commit at;
    struct store_bulk_item *items = calloc(b->n_versions, sizeof *items);
    if (items == NULL)
        abort();
    wait_for_room(w);
    err_code rc = store_bulk_begin(w->to, &bulk, e);
    if (rc == ERR_OK)
        rc = fill(w, bulk, b, items, e);
    free(items);
    TRY(rc);
    TRY(store_again_load(w->to, &bulk, b->commits->instant_ms, &at, e));
    return check_commit(b->commits, &at, e);
}

/* ---- online commits ---- */

/* The version in front of one is not there. */
static err_code holes(struct err *e)
{
    return ERR(e, ERR_UNSUPPORTED,
               "single versions of a resource were erased, and a copy cannot have the holes that "
               "this leaves in a history");
}

static err_code make_writes(struct move_writer *w, const struct past_batch *b,
                            struct store_write *writes, struct store_again *commits, struct err *e)
{
    size_t at = 0;
    for (size_t k = 0; k < b->n_commits; k++) {
        commits[k] =
            (struct store_again){ .writes = writes + at, .instant_ms = b->commits[k].instant_ms };
        for (; at < b->n_versions && b->versions[at].t == b->commits[k].t; at++) {
            const struct store_version *v = &b->versions[at];
            writes[at] = (struct store_write){
                .type = v->type,
                .id = v->id,
                .method = v->method,
                .body = v->body,
                .condition = STORE_IF_NEWEST,
                .if_version = v->version - 1,
            };
            TRY(index_of(w, v, &writes[at].index, e));
            commits[k].n++;
        }
    }
    return ERR_OK;
}

static err_code write_online(struct move_writer *w, const struct past_batch *b, struct err *e)
{
    struct store_write *writes = calloc(b->n_versions + 1, sizeof *writes);
    struct store_again *commits = calloc(b->n_commits, sizeof *commits);
    if (writes == NULL || commits == NULL)
        abort();
    struct err why;
    err_code rc = make_writes(w, b, writes, commits, e);
    if (rc == ERR_OK && (rc = store_again(w->to, commits, b->n_commits, &why)) != ERR_OK)
        rc = rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND ? holes(e) : err_pass(e, &why);
    for (size_t k = 0; k < b->n_commits && rc == ERR_OK; k++)
        rc = check_commit(&b->commits[k], &commits[k].out, e);
    free(commits);
    free(writes);
    return rc;
}

err_code move_write(struct move_writer *w, const struct past_batch *b, struct err *e)
{
    arena_reset(w->entries);
    /* all that a load brought was erased: then an empty commit has its place */
    return b->commits->is_load && b->n_versions ? write_load(w, b, e) : write_online(w, b, e);
}

/* source.c - the resources of one item of the plan, one by one, each judged.
 *
 * A scan, or a walk over changes, takes them from the store in order. For members the index
 * proposes resources (candidates.c). The resource itself, read as of the export's commit, decides,
 * and it comes with its owner alone (level.c). Memory: the numbers of one share of members.
 *
 * With a window, S is what is meant as of its end, and S0 what was meant as of its start. A
 * resource comes out when it is in S and changed, or came in without changing. It is told as
 * deleted when it was in S0 and is not in S, or was made and deleted within the window. So a copy
 * of S0 becomes a copy of S. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/json.h"

#define PARSE_MAX ((size_t)1 << 30) /* one resource, read and parsed */

struct export_source {
    struct export_job *export;
    struct export_item item;
    struct export_view share; /* as of the end, with the members that own */
    struct store_cursor *cur;
    struct buf set;    /* of what was gathered; sorted, each once. cur goes through it */
    uint64_t n_passed; /* living resources that a scan passed over */
    struct arena *a;
    struct store_version v;
    bool parsed; /* every resource is, with organizeOutputBy: its owner is asked for */
};

bool export_source_passed(const struct export_source *source, uint64_t *n)
{
    *n = source->n_passed;
    return source->item.kind == EXPORT_SCAN && source->export->params->level != JOB_EXPORT_GROUP;
}

/* ---- judging ---- */

static err_code parse(struct arena *a, const struct store_version *v, struct search_subject *out,
                      struct err *e)
{
    yyjson_doc *doc;
    TRY(json_read(a, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
    *out = (struct search_subject){ v->type, v->id, v->instant_ms, yyjson_doc_get_root(doc) };
    return ERR_OK;
}

/* Was it meant when the window began? */
static err_code was_in(struct export_source *source, sv id, bool *out, struct err *e)
{
    struct search_subject before;
    size_t owner;
    bool there;
    TRY(export_subject_read(&source->export->before, source->item.range.type, id, source->a, &there,
                            &before, e));
    *out = false;
    return there ? export_view_has(&source->export->before, &before, source->a, out, &owner, e)
                 : ERR_OK;
}

/* A resource that is deleted now: was its last living version, if it was made within the window,
 * meant? */
static err_code last_living_in(struct export_source *source, sv id, bool *out, struct err *e)
{
    struct export_job *export = source->export;
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    struct search_subject was;
    size_t owner;
    err_code rc;
    *out = false;
    TRY(store_history(export->run->store, source->item.range.type, id, export->t, &cur, e));
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK)
        if (v.method != STORE_METHOD_DELETE)
            break;
    if (rc == ERR_EOF || (rc == ERR_OK && v.t <= export->since_t))
        return ERR_OK;
    TRY(rc);
    struct export_view then = export->now;
    then.t = v.t;
    TRY(parse(source->a, &v, &was, e));
    return export_view_has(&then, &was, source->a, out, &owner, e);
}

/* What to do with a changed resource. */
static err_code judge_change(struct export_source *source, bool *output, bool *deleted,
                             yyjson_val **root, struct err *e)
{
    struct export_job *export = source->export;
    struct search_subject now;
    size_t owner;
    bool whole = export_view_is_whole(&export->now, source->v.type);
    bool lives = source->v.method != STORE_METHOD_DELETE;
    *output = *deleted = false;
    *root = NULL;
    if (whole && (!lives || export->params->elements.n == 0)) {
        *output = lives;
        *deleted = !lives;
        return ERR_OK;
    }
    if (lives) {
        TRY(parse(source->a, &source->v, &now, e));
        *root = now.root;
        TRY(export_view_has(&export->now, &now, source->a, output, &owner, e));
        if (*output)
            return ERR_OK;
    }
    TRY(was_in(source, source->v.id, deleted, e));
    return lives || *deleted ? ERR_OK : last_living_in(source, source->v.id, deleted, e);
}

/* What to do with a resource that did not change: did it come in or go? */
static err_code judge_unchanged(struct export_source *source, const struct search_subject *now,
                                bool *output, bool *deleted, struct err *e)
{
    struct export_job *export = source->export;
    size_t owner;
    bool in, was, mine = true;
    *output = *deleted = false;
    /* EXPORT_MOVED has what belongs to those that moved, EXPORT_ABOUT the rest */
    if (export->moved.n) {
        TRY(export_owner(&source->share, now, source->a, &mine, &owner, e));
        if (mine && source->item.kind == EXPORT_MOVED)
            mine = owner >= source->item.first && owner < source->item.last;
        else
            mine = !mine && source->item.kind == EXPORT_ABOUT;
    }
    if (!mine)
        return ERR_OK;
    TRY(export_view_has(&export->now, now, source->a, &in, &owner, e));
    TRY(was_in(source, now->id, &was, e));
    *output = in && !was;
    *deleted = was && !in;
    return ERR_OK;
}

/* ---- the kinds ---- */

static err_code next_scanned(struct export_source *source, struct store_version *out,
                             yyjson_val **root, struct err *e)
{
    for (;;) {
        struct search_subject now;
        size_t owner;
        bool in;
        arena_reset(source->a);
        TRY(export_goes_on(source->export->run, e));
        TRY(store_cursor_next(source->cur, out, e));
        TRY(parse(source->a, out, &now, e));
        TRY(export_view_has(&source->export->now, &now, source->a, &in, &owner, e));
        *root = now.root;
        if (in)
            return ERR_OK;
        source->n_passed++;
    }
}

static err_code next_changed(struct export_source *source, struct store_version *out,
                             yyjson_val **root, bool *deleted, struct err *e)
{
    for (;;) {
        bool output;
        arena_reset(source->a);
        TRY(export_goes_on(source->export->run, e));
        TRY(store_cursor_next(source->cur, &source->v, e));
        TRY(judge_change(source, &output, deleted, root, e));
        *out = source->v;
        if (output || *deleted)
            return ERR_OK;
    }
}

static err_code next_gathered(struct export_source *source, struct store_version *out,
                              yyjson_val **root, bool *deleted, struct err *e)
{
    struct export_job *export = source->export;
    for (;;) {
        struct search_subject now;
        size_t owner;
        bool output = false;
        arena_reset(source->a);
        TRY(export_goes_on(export->run, e));
        TRY(store_cursor_next(source->cur, out, e));
        if (out->method == STORE_METHOD_DELETE)
            continue;
        *deleted = false;
        /* EXPORT_CHANGES has it */
        if (source->item.kind != EXPORT_MEMBERS && out->t > export->since_t)
            continue;
        TRY(parse(source->a, out, &now, e));
        *root = now.root;
        if (source->item.kind == EXPORT_MEMBERS) {
            TRY(export_view_has(&export->now, &now, source->a, &output, &owner, e));
            output &= owner >= source->item.first && owner < source->item.last;
        } else {
            TRY(judge_unchanged(source, &now, &output, deleted, e));
        }
        if (output || *deleted)
            return ERR_OK;
    }
}

err_code export_source_next(struct export_source *source, struct store_version *out,
                            yyjson_val **root, bool *deleted, struct err *e)
{
    *deleted = false;
    *root = NULL;
    switch (source->item.kind) {
    case EXPORT_SCAN:
        /* the fast path: nothing is read */
        if (export_view_is_whole(&source->export->now, source->item.range.type) &&
            source->export->params->elements.n == 0 && !source->parsed)
            return store_cursor_next(source->cur, out, e);
        return next_scanned(source, out, root, e);
    case EXPORT_CHANGES:
        return next_changed(source, out, root, deleted, e);
    default:
        return next_gathered(source, out, root, deleted, e);
    }
}

void export_source_place(struct export_source *source, struct buf *block, size_t gap)
{
    if (source->item.kind == EXPORT_SCAN)
        store_cursor_place(source->cur, block, gap);
}

void export_source_rest(struct export_source *source)
{
    store_cursor_rest(source->cur);
}

void export_source_free(struct export_source *source)
{
    if (source == NULL)
        return;
    store_cursor_close(source->cur);
    buf_done(&source->set);
    arena_free(source->a);
    free(source);
}

err_code export_source_open(struct export_job *export, const struct export_item *item,
                            struct export_source **out, struct err *e)
{
    CLEANUP(export_source_free) struct export_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        abort();
    source->export = export;
    source->item = *item;
    source->a = arena_new(PARSE_MAX);
    buf_init(&source->set, EXPORT_NUMBERS_MAX);
    source->share = export->now;
    source->parsed = export->params->organize_by_patient;
    switch (item->kind) {
    case EXPORT_SCAN:
        TRY(store_scan(export->run->store, &item->range, export->t, &source->cur, e));
        break;
    case EXPORT_CHANGES:
        TRY(store_changes(export->run->store, &item->range, export->since_t, export->t,
                          &source->cur, e));
        break;
    case EXPORT_ABOUT:
        source->share.members = export->moved;
        TRY(export_about_gather(export, item->range.type, &source->set, e));
        break;
    default:
        if (item->kind == EXPORT_MOVED)
            source->share.members = export->moved;
        TRY(export_candidates_gather(export, item->range.type,
                                     source->share.members.ids + item->first,
                                     item->last - item->first, &source->set, e));
    }
    if (source->cur == NULL)
        TRY(store_scan_numbers(export->run->store,
                               (const store_number *)(const void *)source->set.ptr,
                               source->set.len / sizeof(store_number), export->t, &source->cur, e));
    store_cursor_giants(source->cur, export->run->halt);
    store_cursor_standby(source->cur);
    *out = source;
    source = NULL;
    return ERR_OK;
}

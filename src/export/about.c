/* about.c - EXPORT_ABOUT: Provenance that did not change, about what joined or left by a change of
 * its own.
 *
 * The window may have changed far more than such Provenance is about. So nothing that changed is
 * read until an entry of the index tells that Provenance of before the window is about it. The ids
 * of what changed are held against the entries of Provenance.target, BATCH at a time and both in
 * the index's order; that costs one look for each id. Each Provenance that is met is read once.
 *
 * Provenance that changed itself is left to EXPORT_CHANGES. Whether another one was meant and is
 * meant, its own targets tell. Only where a filter reads Provenance, or associated data are asked
 * for, what changed is asked whether it joined or left, because nothing else may let such
 * Provenance in or out. Where the window began without any Provenance, nothing is looked at.
 * Memory: a batch, what is remembered of KNOWN Provenance, and the ids that come out. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/json.h"

#define BATCH     500u
#define KNOWN     4096u /* Provenance remembered; forgetting one costs a look, not the result */
#define PARSE_MAX ((size_t)1 << 30)
#define SORT_MIN  (1u << 20) /* bytes of ids among which doubles are worth a search */

typedef enum {
    PROVENANCE_OUT,   /* it changed, or its level did not, or it came out before */
    PROVENANCE_MOVED, /* joined or left */
    PROVENANCE_ASK    /* what changed tells */
} provenance_state;
typedef enum { TARGET_UNREAD, TARGET_MOVED, TARGET_STAYED } target_state;

struct about {
    struct export_job *x;
    fhir_type provenance;
    const struct search_param *param;
    bool by_level;  /* nothing but its level decides whether Provenance is meant */
    fhir_type type; /* of what changed */
    struct arena *a, *batch;
    struct search_id ids[BATCH];
    struct target { /* of each id, by key: the value of its entries */
        struct search_range range;
        sv id;
        target_state state;
    } targets[BATCH];
    size_t n;
    struct known {
        char id[FHIR_ID_MAX];
        size_t len; /* 0: free */
        provenance_state state;
    } known[KNOWN];
    struct buf *out;
    size_t sort_at;
};

/* Does what changed belong to the export, as far as the resource decides? */
static err_code belongs(const struct about *b, const struct export_view *view, sv id, bool *in,
                        struct err *e)
{
    struct search_subject s;
    size_t owner;
    bool there;
    *in = false;
    TRY(export_subject_read(view, b->type, id, b->a, &there, &s, e));
    if (!there)
        return ERR_OK;
    return view->associated ? export_view_has(view, &s, b->a, in, &owner, e)
                            : export_owner(view, &s, b->a, in, &owner, e);
}

static err_code read_target(struct about *b, struct target *t, struct err *e)
{
    bool is, was;
    if (t->state != TARGET_UNREAD)
        return ERR_OK;
    arena_reset(b->a);
    TRY(belongs(b, &b->x->now, t->id, &is, e));
    TRY(belongs(b, &b->x->before, t->id, &was, e));
    t->state = is != was ? TARGET_MOVED : TARGET_STAYED;
    return ERR_OK;
}

/* Of a Provenance that is there as of the export's commit and was when the window began. */
static err_code judge(struct about *b, const struct store_version *v, provenance_state *out,
                      struct err *e)
{
    struct search_subject s = { v->type, v->id, v->instant_ms, NULL };
    yyjson_doc *doc;
    bool is, was;
    size_t owner;
    *out = PROVENANCE_ASK;
    if (!b->by_level)
        return ERR_OK;
    TRY(json_read(b->a, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
    s.root = yyjson_doc_get_root(doc);
    TRY(export_owner(&b->x->now, &s, b->a, &is, &owner, e));
    TRY(export_owner(&b->x->before, &s, b->a, &was, &owner, e));
    *out = is != was ? PROVENANCE_MOVED : PROVENANCE_OUT;
    return ERR_OK;
}

/* What is remembered of a Provenance. */
static err_code know(struct about *b, sv id, struct known **out, struct err *e)
{
    struct known *k = &b->known[sv_hash(0, id) % KNOWN];
    struct store_version v;
    *out = k;
    if (sv_eq(sv_make(k->id, k->len), id))
        return ERR_OK;
    arena_reset(b->a);
    err_code rc = store_get(b->x->run->store, b->provenance, id, b->x->t, b->a, &v, e);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return rc;
    provenance_state state = PROVENANCE_OUT;
    if (rc == ERR_OK && v.method != STORE_METHOD_DELETE && v.t <= b->x->since_t)
        TRY(judge(b, &v, &state, e));
    memcpy(k->id, id.ptr, id.len);
    k->len = id.len;
    k->state = state;
    return ERR_OK;
}

/* An entry: a Provenance, and what it is about. */
static err_code see(struct about *b, struct target *t, sv provenance, struct err *e)
{
    struct known *k;
    TRY(know(b, provenance, &k, e));
    if (k->state == PROVENANCE_ASK) {
        TRY(read_target(b, t, e));
        if (t->state == TARGET_STAYED)
            return ERR_OK;
    } else if (k->state == PROVENANCE_OUT) {
        return ERR_OK;
    }
    k->state = PROVENANCE_OUT;
    TRY(export_ids_add(b->out, provenance, e));
    if (b->out->len < b->sort_at)
        return ERR_OK;
    /* those that were forgotten and met again */
    export_ids_sort(b->out);
    b->sort_at = b->out->len * 2 > SORT_MIN ? b->out->len * 2 : SORT_MIN;
    return ERR_OK;
}

static sv key_of(const struct target *t)
{
    return sv_make(t->range.from, t->range.from_len);
}

static int by_key(const void *a, const void *b)
{
    return sv_cmp(key_of(a), key_of(b));
}

static err_code ranges(struct about *b, const struct search_id *set, size_t n,
                       struct search_driver *out, struct err *e)
{
    struct search_criterion c = { .param = b->param, .is_set = true, .set = set, .n_set = n };
    return search_ranges(&c, b->provenance, b->batch, out) ? ERR_OK : arena_oom(b->batch, e);
}

/* The batch against the entries of what was there when the window began; then it is empty. */
static err_code look(struct about *b, struct err *e)
{
    struct search_driver d;
    struct store_index_hit hit;
    err_code rc;
    for (size_t i = 0; i < b->n; i++) {
        TRY(ranges(b, &b->ids[i], 1, &d, e));
        b->targets[i] = (struct target){ .range = d.ranges[0], .id = b->ids[i].id };
    }
    qsort(b->targets, b->n, sizeof *b->targets, by_key);
    TRY(ranges(b, b->ids, b->n, &d, e));
    CLEANUP(store_index_close) struct store_index_cursor *cur = NULL;
    TRY(store_index_scan(b->x->run->store, b->provenance, &d, SV_NONE, SV_NONE, b->x->since_t, &cur,
                         e));
    for (size_t at = 0; (rc = store_index_next(cur, &hit, e)) == ERR_OK;) {
        while (at < b->n && sv_cmp(key_of(&b->targets[at]), hit.value) < 0 &&
               !sv_starts(hit.value, key_of(&b->targets[at])))
            at++;
        for (size_t i = at; i < b->n && sv_starts(hit.value, key_of(&b->targets[i])); i++)
            /* more than one: ids that share an entry */
            TRY(see(b, &b->targets[i], hit.id, e));
        if (job_run_should_stop(b->x->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
    }
    b->n = 0;
    arena_reset(b->batch);
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code look_at_type(struct about *b, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_range all = { .type = b->type };
    struct store_version v;
    err_code rc;
    TRY(store_changes(b->x->run->store, &all, b->x->since_t, b->x->t, &cur, e));
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        b->ids[b->n] = (struct search_id){ b->type, arena_sv(b->batch, v.id) };
        if (b->ids[b->n].id.ptr == NULL)
            return arena_oom(b->batch, e);
        if (++b->n == BATCH)
            TRY(look(b, e));
        if (job_run_should_stop(b->x->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
    }
    if (rc != ERR_EOF)
        return rc;
    return b->n ? look(b, e) : ERR_OK;
}

static err_code look_at_all(struct about *b, struct err *e)
{
    struct export_job *x = b->x;
    bool any;
    TRY(export_has_any(x->run->store, b->provenance, x->since_t, &any, e));
    for (unsigned t = 1; t <= fhir_n_types() && any; t++) {
        b->type = (fhir_type)t;
        if (b->type != b->provenance && x->changed[t] &&
            job_export_offers(JOB_EXPORT_PATIENT, b->type))
            TRY(look_at_type(b, e));
    }
    export_ids_sort(b->out);
    return ERR_OK;
}

static bool reads(const struct export_view *view, fhir_type type)
{
    return view->filter && export_filter_reads(view->filter, type);
}

err_code export_about_gather(struct export_job *x, fhir_type provenance, struct buf *out,
                             struct err *e)
{
    struct about *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    b->x = x;
    b->provenance = provenance;
    b->by_level =
        !x->params->associated && !reads(&x->now, provenance) && !reads(&x->before, provenance);
    b->param = search_param_find(provenance, SV_LIT("target"));
    b->a = arena_new(PARSE_MAX);
    b->batch = arena_new(4u << 20);
    b->out = out;
    b->sort_at = SORT_MIN;
    err_code rc = look_at_all(b, e);
    arena_free(b->a);
    arena_free(b->batch);
    free(b);
    return rc;
}

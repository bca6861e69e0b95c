/* provenance.c - EXPORT_ABOUT: Provenance that did not change, about what joined or left by a
 * change of its own.
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
 * Memory: a batch, what is remembered of KNOWN Provenance, and the numbers that come out. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/json.h"

#define BATCH     500u
#define KNOWN     4096u /* Provenance remembered; forgetting one costs a look, not the result */
#define PARSE_MAX ((size_t)1 << 30)
#define SORT_MIN  (1u << 20) /* bytes of numbers among which doubles are worth a search */

typedef enum {
    PROVENANCE_OUT,   /* it changed, or its level did not, or it came out before */
    PROVENANCE_MOVED, /* joined or left */
    PROVENANCE_ASK    /* what changed tells */
} provenance_state;
typedef enum { TARGET_UNREAD, TARGET_MOVED, TARGET_STAYED } target_state;

struct about {
    struct export_job *export;
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
        store_number number; /* 0: free */
        provenance_state state;
    } known[KNOWN];
    struct buf *out;
    size_t sort_at;
};

/* Does what changed belong to the export, as far as the resource decides? */
static err_code belongs(const struct about *about, const struct export_view *view, sv id, bool *in,
                        struct err *e)
{
    struct search_subject s;
    size_t owner;
    bool there;
    *in = false;
    TRY(export_subject_read(view, about->type, id, about->a, &there, &s, e));
    if (!there)
        return ERR_OK;
    return view->associated ? export_view_has(view, &s, about->a, in, &owner, e)
                            : export_owner(view, &s, about->a, in, &owner, e);
}

static err_code read_target(struct about *about, struct target *t, struct err *e)
{
    bool is, was;
    if (t->state != TARGET_UNREAD)
        return ERR_OK;
    arena_reset(about->a);
    TRY(belongs(about, &about->export->now, t->id, &is, e));
    TRY(belongs(about, &about->export->before, t->id, &was, e));
    t->state = is != was ? TARGET_MOVED : TARGET_STAYED;
    return ERR_OK;
}

/* Of a Provenance that is there as of the export's commit and was when the window began. */
static err_code judge(struct about *about, const struct store_version *v, provenance_state *out,
                      struct err *e)
{
    struct search_subject s = { v->type, v->id, v->instant_ms, NULL };
    yyjson_doc *doc;
    bool is, was;
    size_t owner;
    *out = PROVENANCE_ASK;
    if (!about->by_level)
        return ERR_OK;
    TRY(json_read(about->a, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
    s.root = yyjson_doc_get_root(doc);
    TRY(export_owner(&about->export->now, &s, about->a, &is, &owner, e));
    TRY(export_owner(&about->export->before, &s, about->a, &was, &owner, e));
    *out = is != was ? PROVENANCE_MOVED : PROVENANCE_OUT;
    return ERR_OK;
}

/* What is remembered of a Provenance. */
static err_code know(struct about *about, store_number number, struct known **out, struct err *e)
{
    struct known *k = &about->known[number % KNOWN];
    struct store_version v;
    *out = k;
    if (k->number == number)
        return ERR_OK;
    arena_reset(about->a);
    err_code rc =
        store_get_number(about->export->run->store, number, about->export->t, about->a, &v, e);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return rc;
    provenance_state state = PROVENANCE_OUT;
    if (rc == ERR_OK && v.method != STORE_METHOD_DELETE && v.t <= about->export->since_t)
        TRY(judge(about, &v, &state, e));
    k->number = number;
    k->state = state;
    return ERR_OK;
}

/* An entry: a Provenance, and what it is about. */
static err_code see(struct about *about, struct target *t, store_number provenance, struct err *e)
{
    struct known *k;
    TRY(know(about, provenance, &k, e));
    if (k->state == PROVENANCE_ASK) {
        TRY(read_target(about, t, e));
        if (t->state == TARGET_STAYED)
            return ERR_OK;
    } else if (k->state == PROVENANCE_OUT) {
        return ERR_OK;
    }
    k->state = PROVENANCE_OUT;
    TRY(export_numbers_add(about->out, provenance, e));
    if (about->out->len < about->sort_at)
        return ERR_OK;
    /* those that were forgotten and met again */
    export_numbers_sort(about->out);
    about->sort_at = about->out->len * 2 > SORT_MIN ? about->out->len * 2 : SORT_MIN;
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

static err_code ranges(struct about *about, const struct search_id *set, size_t n,
                       struct search_driver *out, struct err *e)
{
    struct search_criterion c = { .param = about->param, .is_set = true, .set = set, .n_set = n };
    return search_ranges(&c, about->provenance, about->batch, out) ? ERR_OK
                                                                   : arena_oom(about->batch, e);
}

/* The batch against the entries of what was there when the window began; then it is empty. */
static err_code look(struct about *about, struct err *e)
{
    struct search_driver d;
    struct store_index_hit hit;
    err_code rc;
    for (size_t i = 0; i < about->n; i++) {
        TRY(ranges(about, &about->ids[i], 1, &d, e));
        about->targets[i] = (struct target){ .range = d.ranges[0], .id = about->ids[i].id };
    }
    qsort(about->targets, about->n, sizeof *about->targets, by_key);
    TRY(ranges(about, about->ids, about->n, &d, e));
    CLEANUP(store_index_close) struct store_index_cursor *cur = NULL;
    TRY(store_index_scan(about->export->run->store, about->provenance, &d, SV_NONE, 0,
                         about->export->since_t, &cur, e));
    for (size_t at = 0; (rc = store_index_next(cur, &hit, e)) == ERR_OK;) {
        while (at < about->n && sv_cmp(key_of(&about->targets[at]), hit.value) < 0 &&
               !sv_starts(hit.value, key_of(&about->targets[at])))
            at++;
        for (size_t i = at; i < about->n && sv_starts(hit.value, key_of(&about->targets[i])); i++)
            /* more than one: ids that share an entry */
            TRY(see(about, &about->targets[i], hit.number, e));
        TRY(export_goes_on(about->export->run, e));
    }
    about->n = 0;
    arena_reset(about->batch);
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code look_at_type(struct about *about, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_range all = { .type = about->type };
    struct store_version v;
    err_code rc;
    TRY(store_changes(about->export->run->store, &all, about->export->since_t, about->export->t,
                      &cur, e));
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        about->ids[about->n] = (struct search_id){ about->type, arena_sv(about->batch, v.id) };
        if (about->ids[about->n].id.ptr == NULL)
            return arena_oom(about->batch, e);
        if (++about->n == BATCH)
            TRY(look(about, e));
        TRY(export_goes_on(about->export->run, e));
    }
    if (rc != ERR_EOF)
        return rc;
    return about->n ? look(about, e) : ERR_OK;
}

static err_code look_at_all(struct about *about, struct err *e)
{
    struct export_job *export = about->export;
    bool any;
    TRY(export_has_any(export->run->store, about->provenance, export->since_t, &any, e));
    for (unsigned t = 1; t <= fhir_n_types() && any; t++) {
        about->type = (fhir_type)t;
        if (about->type != about->provenance && export->changed[t] &&
            job_export_offers(JOB_EXPORT_PATIENT, about->type))
            TRY(look_at_type(about, e));
    }
    export_numbers_sort(about->out);
    return ERR_OK;
}

static bool reads(const struct export_view *view, fhir_type type)
{
    return view->filter && export_filter_reads(view->filter, type);
}

err_code export_about_gather(struct export_job *export, fhir_type provenance, struct buf *out,
                             struct err *e)
{
    struct about *about = calloc(1, sizeof *about);
    if (about == NULL)
        abort();
    about->export = export;
    about->provenance = provenance;
    about->by_level = !export->params->associated && !reads(&export->now, provenance) &&
                      !reads(&export->before, provenance);
    about->param = search_param_find(provenance, SV_LIT("target"));
    about->a = arena_new(PARSE_MAX);
    about->batch = arena_new(4u << 20);
    about->out = out;
    about->sort_at = SORT_MIN;
    err_code rc = look_at_all(about, e);
    arena_free(about->a);
    arena_free(about->batch);
    free(about);
    return rc;
}

/* page_include.c - what comes with the matches of a page: _include and _revinclude.
 *
 * Each resource that comes onto the page is looked at once. The references in it are `wanted`, for
 * _include. The resource itself is in the `frontier`: _revinclude looks for resources that lead to
 * it. Rounds go on while something new comes, at most PAGE_ITERATIONS. A version of a resource is
 * on the page once (`seen`). When includes are missing, a note on the page says so.
 * Source: FHIR R4 search.html#include. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/read/page_private.h"

#include "base/limits.h"

#define BREATHE_EVERY 32u /* resources that are read one by one */
/* References of one round that are followed; past these the page says that it lacks something. */
#define WANTED_MAX (4 * (size_t)PAGE_INCLUDED_MAX)
/* All that can stand on a page: each of them is in one frontier. */
#define FRONTIER_MAX ((size_t)PAGE_COUNT_MAX + PAGE_INCLUDED_MAX)

struct one_version { /* a resource and its version; 0: the current one */
    struct search_id x;
    uint64_t version;
};
struct seen { /* versions on the page, as a hash table with open addressing */
    struct one_version *slots;
    size_t cap, n;
};

struct rest_includes {
    struct rest_page *p;
    struct json_writer *w;
    struct seen seen;
    struct buf frontier;                   /* search_id: resources whose includes are to be found */
    struct buf wanted;                     /* one_version: resources that references name */
    bool versions_asked, versions_allowed; /* rest_allowed() was asked; its answer */
    size_t n_included;
    bool too_many;
};

/* The slot of a version, or the free slot where it belongs. */
static struct one_version *seen_at(const struct seen *s, const struct one_version *v)
{
    size_t k = sv_hash(v->x.type + (v->version << 8), v->x.id) % s->cap;
    while (s->slots[k].x.type &&
           (s->slots[k].x.type != v->x.type || s->slots[k].version != v->version ||
            !sv_eq(s->slots[k].x.id, v->x.id)))
        k = (k + 1) % s->cap;
    return &s->slots[k];
}

static bool seen_add(struct rest_includes *includes, const struct store_version *v)
{
    struct seen *s = &includes->seen;
    struct one_version now = { { v->type, v->id }, v->version };
    struct one_version *slot = seen_at(s, &now);
    /* The limits keep the table from filling. */
    if (slot->x.type || s->n * 2 >= s->cap)
        return false;
    now.x.id = arena_sv(includes->p->call->a, v->id);
    *slot = now;
    s->n++;
    return true;
}

/* The N of a reference Type/id/_history/N; 0: the reference names no version. False: what it names
 * is no version of ours, so it leads nowhere. */
static bool version_of(sv reference, uint64_t *out)
{
    static const sv mark = { "/_history/", 10 };
    sv t = sv_head(reference, sv_find(reference, '#'));
    *out = 0;
    t = sv_head(t, sv_find(t, '|'));
    for (size_t i = 0; i + mark.len <= t.len; i++)
        if (sv_starts(sv_tail(t, i), mark))
            return sv_to_u64(sv_tail(t, i + mark.len), out) && *out > 0;
    return true;
}

static void want_reference(void *ctx, const struct search_value *v)
{
    struct rest_includes *includes = ctx;
    uint64_t version;
    if (v->ref_type == FHIR_TYPE_NONE ||
        (v->ref_base.len && !sv_eq(v->ref_base, includes->p->call->base)) || includes->too_many ||
        !version_of(v->text, &version))
        return;
    if (includes->wanted.len / sizeof(struct one_version) >= WANTED_MAX) {
        includes->too_many = true;
        return;
    }
    struct one_version one = { { v->ref_type, arena_sv(includes->p->call->a, v->ref_id) },
                               version };
    if (one.x.id.ptr == NULL ||
        buf_add(&includes->wanted, sv_make(&one, sizeof one), NULL) != ERR_OK)
        includes->too_many = true;
}
struct include_filter {
    struct rest_includes *x;
    fhir_type target;
};

static void want_target(void *ctx, const struct search_value *v)
{
    struct include_filter *f = ctx;
    if (f->target == FHIR_TYPE_NONE || v->ref_type == f->target)
        want_reference(f->x, v);
}

/* Note the resources that a resource on the page refers to. */
static void follow(struct rest_includes *includes, fhir_type type, yyjson_val *root, bool iterating)
{
    for (size_t i = 0; i < includes->p->n_includes; i++) {
        const struct rest_include *in = &includes->p->includes[i];
        struct include_filter f = { includes, in->target };
        if (in->reverse || (in->type && in->type != type) || (iterating && !in->iterate))
            continue;
        if (in->param) {
            search_extract(in->param, root, want_target, &f);
            continue;
        }
        size_t n;
        const struct search_param *const *of = search_params_of(type, &n);
        for (size_t k = 0; k < n; k++)
            if (of[k]->kind == SEARCH_REFERENCE)
                search_extract(of[k], root, want_target, &f);
    }
}

/* A resource is on the page: note where it leads, and remember it for _revinclude. */
static err_code arrived(struct rest_includes *includes, const struct query_match *m, bool iterating,
                        struct err *e)
{
    struct search_id id = { m->v.type, arena_sv(includes->p->call->a, m->v.id) };
    if (id.id.ptr == NULL)
        return arena_oom(includes->p->call->a, e);
    follow(includes, m->v.type, m->root, iterating);
    return buf_add(&includes->frontier, sv_make(&id, sizeof id), e);
}

static err_code included(struct rest_includes *includes, const struct query_match *m, struct err *e)
{
    if (includes->n_included == PAGE_INCLUDED_MAX ||
        includes->p->call->out.body.len > 2 * (size_t)PAGE_BYTES) {
        includes->too_many = true;
        return ERR_OK;
    }
    if (!seen_add(includes, &m->v))
        return ERR_OK;
    includes->n_included++;
    TRY(rest_page_entry(includes->p, includes->w, m, "include", e));
    return arrived(includes, m, true, e);
}

/* A search shows current versions. A caller who may not read older ones gets the current one for a
 * reference to an older one. */
static bool may_read_versions(struct rest_includes *includes)
{
    struct err ignored;
    if (!includes->versions_asked)
        includes->versions_allowed =
            rest_allowed(includes->p->call, "VersionReadResource", &ignored) == ERR_OK;
    includes->versions_asked = true;
    return includes->versions_allowed;
}

/* The resource that a reference leads to, as of the page's commit. Its body lives in a, or until
 * *cur is closed. ERR_NOT_FOUND. */
static err_code referred(struct rest_includes *includes, const struct one_version *want,
                         struct arena *a, struct store_cursor **cur, struct store_version *out,
                         struct err *e)
{
    struct rest_page *page = includes->p;
    bool sees;
    TRY(store_get_light(page->call->st, want->x.type, want->x.id, page->as_of, a, out, e));
    /* The caller's scopes must give what it is now and, if another one is shown, that version. */
    TRY(rest_sees(page->call, SMART_R, out, &sees, e));
    if (!sees)
        return ERR(e, ERR_NOT_FOUND, "The scopes do not give it");
    if (want->version && want->version != out->version && may_read_versions(includes)) {
        TRY(rest_version_find(page->call, &want->x, want->version, page->as_of, cur, out, e));
        TRY(rest_sees(page->call, SMART_R, out, &sees, e));
    }
    if (!sees)
        return ERR(e, ERR_NOT_FOUND, "The scopes do not give it");
    return out->method == STORE_METHOD_DELETE ? ERR(e, ERR_NOT_FOUND, "It was deleted") : ERR_OK;
}

static err_code include_one(struct rest_includes *includes, const struct one_version *want,
                            struct arena *a, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct query_match m;
    yyjson_doc *doc;
    struct err why;
    if (want->version && seen_at(&includes->seen, want)->x.type)
        return ERR_OK;
    arena_reset(a);
    err_code rc = referred(includes, want, a, &cur, &m.v, &why);
    /* A reference may lead nowhere. */
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(json_read(a, m.v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    m.root = yyjson_doc_get_root(doc);
    return included(includes, &m, e);
}

/* Include the resources that references name. */
static err_code include_wanted(struct rest_includes *includes, struct err *e)
{
    struct buf now = includes->wanted;
    buf_init(&includes->wanted, WANTED_MAX * sizeof(struct one_version));
    err_code rc = ERR_OK;
    const struct one_version *all = (const struct one_version *)(const void *)now.ptr;
    /* for one resource at a time */
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    for (size_t i = 0; i < now.len / sizeof *all && rc == ERR_OK && !includes->too_many; i++) {
        if (i % BREATHE_EVERY == BREATHE_EVERY - 1) {
            rc = rest_breathe(includes->p->call, e);
            includes->too_many = rc == ERR_TIMEOUT;
            if (rc != ERR_OK) {
                rc = includes->too_many ? ERR_OK : rc;
                break;
            }
        }
        rc = include_one(includes, &all[i], a, e);
    }
    buf_done(&now);
    return rc;
}

static err_code revinclude_one(struct rest_includes *includes, const struct rest_include *in,
                               const struct search_param *param, const struct search_id *ids,
                               size_t n, struct err *e)
{
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    struct query *query = arena_alloc(includes->p->call->a, sizeof *query);
    struct query_match m;
    err_code rc;
    if (query == NULL)
        return arena_oom(includes->p->call->a, e);
    const struct query_source src = rest_read_source(includes->p->call, includes->p->as_of);
    query_init(query, &src, in->type);
    TRY(query_leads_to(query, &param, 1, ids, n, e));
    TRY(query_walk_open(query, NULL, &w, e));
    while (!includes->too_many && (rc = query_walk_next(w, 0, &m, e)) != ERR_EOF) {
        /* The matches are on the page; a note says that includes are missing. */
        if (rc == ERR_TIMEOUT) {
            includes->too_many = true;
            return ERR_OK;
        }
        TRY(rc);
        TRY(included(includes, &m, e));
    }
    return ERR_OK;
}

/* Include the resources that lead to those of the frontier. */
static err_code include_reverse(struct rest_includes *includes, const struct buf *frontier,
                                bool iterating, struct err *e)
{
    size_t n_all = frontier->len / sizeof(struct search_id);
    for (size_t i = 0; i < includes->p->n_includes; i++) {
        const struct rest_include *in = &includes->p->includes[i];
        if (!in->reverse || (iterating && !in->iterate))
            continue;
        struct search_id *ids = arena_alloc(includes->p->call->a, (n_all + 1) * sizeof *ids);
        if (ids == NULL)
            return arena_oom(includes->p->call->a, e);
        const struct search_id *all = (const struct search_id *)(const void *)frontier->ptr;
        size_t n = 0, n_params;
        for (size_t k = 0; k < n_all; k++)
            if (in->target == FHIR_TYPE_NONE || all[k].type == in->target)
                ids[n++] = all[k];
        if (n == 0)
            continue;
        /* Two versions of a resource are one id. */
        query_ids_sort(ids, &n);
        if (in->param) {
            TRY(revinclude_one(includes, in, in->param, ids, n, e));
            continue;
        }
        const struct search_param *const *of = search_params_of(in->type, &n_params);
        for (size_t k = 0; k < n_params; k++)
            if (of[k]->kind == SEARCH_REFERENCE)
                TRY(revinclude_one(includes, in, of[k], ids, n, e));
    }
    return ERR_OK;
}

err_code rest_includes_write(struct rest_includes *includes, struct err *e)
{
    const struct rest_issue lacks = {
        "warning", "incomplete",
        SV_LIT("Not all that _include and _revinclude ask for is on this page: ask for fewer "
               "matches with _count"),
        SV_NONE
    };
    if (includes == NULL)
        return ERR_OK;
    for (unsigned round = 0; !includes->too_many; round++) {
        if (round == PAGE_ITERATIONS) {
            /* There may be more: nobody looked. */
            includes->too_many = true;
            break;
        }
        struct buf frontier = includes->frontier;
        buf_init(&includes->frontier, FRONTIER_MAX * sizeof(struct search_id));
        err_code rc = include_wanted(includes, e);
        if (rc == ERR_OK)
            rc = include_reverse(includes, &frontier, round > 0, e);
        bool done = includes->frontier.len == 0;
        buf_done(&frontier);
        TRY(rc);
        if (done)
            break;
    }
    return includes->too_many ? rest_issue_add(includes->p->call->a, &includes->p->notes, lacks, e)
                              : ERR_OK;
}

struct rest_includes *rest_includes_new(struct rest_page *page, struct json_writer *w)
{
    if (page->n_includes == 0)
        return NULL;
    struct rest_includes *includes = calloc(1, sizeof *includes);
    if (includes == NULL)
        abort();
    includes->p = page;
    includes->w = w;
    includes->seen.cap = 4 * FRONTIER_MAX;
    includes->seen.slots = calloc(includes->seen.cap, sizeof *includes->seen.slots);
    if (includes->seen.slots == NULL)
        abort();
    buf_init(&includes->frontier, FRONTIER_MAX * sizeof(struct search_id));
    buf_init(&includes->wanted, WANTED_MAX * sizeof(struct one_version));
    return includes;
}

void rest_includes_free(struct rest_includes *includes)
{
    if (includes == NULL)
        return;
    free(includes->seen.slots);
    buf_done(&includes->frontier);
    buf_done(&includes->wanted);
    free(includes);
}

err_code rest_includes_match(struct rest_includes *includes, const struct query_match *m,
                             struct err *e)
{
    if (includes == NULL)
        return ERR_OK;
    /* A match comes once, so the answer does not matter. */
    (void)seen_add(includes, &m->v);
    return arrived(includes, m, false, e);
}

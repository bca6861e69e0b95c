/* filter.c - _type, _typeFilter, _security, _tag and the scopes of who asked, compiled once and
 * asked of every candidate.
 *
 * A resource is meant when its type is, when it has all labels and tags that are asked for, when
 * one of the filters of its type is met, if there are any, and when the scopes give it to read and
 * to search. Filters are read-only once compiled: all workers ask the same. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/uri.h"
#include "query/grant.h"

#define CLAUSES_MAX 64u /* pairs of one filter */
#define GIVEN       (SMART_R | SMART_S)

struct clause { /* met by any of its criteria */
    struct search_criterion *any;
    size_t n;
};
struct clauses { /* all must be met */
    struct clause *items;
    size_t n;
};
struct export_filter {
    struct search_context cx;
    bool *wanted;              /* by fhir_type */
    struct clauses **of;       /* by fhir_type: filters of which one must be met */
    size_t *n_of;              /* by fhir_type */
    struct clauses labels;     /* _security and _tag */
    struct query_grant *grant; /* NULL: no scopes limit the export */
};

static bool is_steering(sv name)
{
    static const char *const names[] = {
        "_sort",  "_include", "_revinclude", "_elements", "_summary",       "_count",
        "_total", "_format",  "_contained",  "_pretty",   "_containedType", "_outputFormat"
    };
    sv base = sv_head(name, sv_find(name, ':'));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sv_eq_cstr(base, names[i]))
            return true;
    return false;
}

static err_code decode(struct arena *a, sv text, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(text.len + 1);
    /* '+' stays: zones of instants are written with it */
    TRY(uri_decode(text, false, &b, e));
    *out = arena_sv(a, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

/* query_deadline.look: a job has no end but its own. */
static err_code halted(void *halt, struct err *e)
{
    return halt && atomic_load_explicit((const atomic_bool *)halt, memory_order_relaxed)
               ? ERR(e, ERR_CANCELLED, "the export was stopped")
               : ERR_OK;
}

/* A chain or _has becomes criteria of which any is enough: the query finds the ids that it leads
 * to. */
static err_code follow(const struct export_filter_scope *scope, struct query_grant *grant,
                       fhir_type type, sv name, sv value, struct arena *a, struct clause *out,
                       struct err *e)
{
    struct query *q = ARENA_NEW(a, struct query);
    if (q == NULL)
        return arena_oom(a, e);
    struct query_deadline deadline;
    query_deadline_init(&deadline, halted, (void *)(uintptr_t)scope->halt);
    const struct query_source src = { .st = scope->store,
                                      .a = a,
                                      .base = scope->base,
                                      .as_of = scope->as_of_t,
                                      .deadline = &deadline,
                                      .grant = grant,
                                      .letters = SMART_S };
    query_init(q, &src, type);
    TRY(query_add(q, name, value, e));
    if (q->n_clauses != 1)
        return ERR(e, ERR_INTERNAL, "a pair of a filter became %zu clauses", q->n_clauses);
    *out = (struct clause){ q->clauses[0].any, q->clauses[0].n };
    return ERR_OK;
}

static err_code add_pair(const struct export_filter *filter,
                         const struct export_filter_scope *scope, fhir_type type, sv name, sv value,
                         struct arena *a, struct clauses *to, struct err *e)
{
    struct clause c = { NULL, 1 };
    bool is_chain = sv_starts(name, SV_LIT("_has:")) || sv_find(name, '.') < name.len;
    if (to->n == CLAUSES_MAX)
        return ERR(e, ERR_TOO_LARGE, "A _typeFilter takes at most %u parameters", CLAUSES_MAX);
    if (is_steering(name))
        return ERR(e, ERR_INVALID, "A _typeFilter selects resources: %.*s has no place in it",
                   SV_FMT(sv_head(name, 40)));
    if (is_chain) {
        TRY(follow(scope, filter->grant, type, name, value, a, &c, e));
    } else {
        c.any = arena_alloc(a, sizeof *c.any);
        if (c.any == NULL)
            return arena_oom(a, e);
        TRY(search_parse(&filter->cx, type, name, value, a, c.any, e));
    }
    to->items[to->n++] = c;
    return ERR_OK;
}

static err_code clauses_init(struct clauses *c, struct arena *a, struct err *e)
{
    c->items = arena_alloc(a, CLAUSES_MAX * sizeof *c->items);
    c->n = 0;
    return c->items ? ERR_OK : arena_oom(a, e);
}

/* "Observation?status=final&code=x" */
static err_code add_filter(struct export_filter *filter, const struct export_filter_scope *scope,
                           sv text, struct arena *a, struct err *e)
{
    sv rest = text, name;
    struct uri_pair *pairs;
    size_t n;
    bool has_query = sv_cut(&rest, '?', &name) && rest.ptr != NULL;
    fhir_type type = fhir_type_find(name);
    if (type == FHIR_TYPE_NONE && has_query)
        return ERR(e, ERR_INVALID, "_typeFilter is written Type?parameter=value: %s",
                   fhir_type_slip(name, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
    if (!has_query)
        return ERR(e, ERR_INVALID, "_typeFilter is written Type?parameter=value");
    if (!filter->wanted[type])
        return ERR(e, ERR_INVALID,
                   "_typeFilter names %s, which this export does not hold (see _type)",
                   fhir_type_name(type));
    TRY(uri_query_split(a, rest, CLAUSES_MAX, &pairs, &n, e));
    /* "Type?&" has no pair, and would let all of the type through. */
    if (n == 0)
        return ERR(e, ERR_INVALID,
                   "_typeFilter is written Type?parameter=value: it has no parameter");
    struct clauses *c = &filter->of[type][filter->n_of[type]];
    TRY(clauses_init(c, a, e));
    for (size_t i = 0; i < n; i++) {
        sv key, value;
        TRY(decode(a, pairs[i].name, &key, e));
        TRY(decode(a, pairs[i].value, &value, e));
        TRY(add_pair(filter, scope, type, key, value, a, c, e));
    }
    filter->n_of[type]++;
    return ERR_OK;
}

static err_code choose_types(struct export_filter *filter, const struct job_export_params *params,
                             struct err *e)
{
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        filter->wanted[t] = params->types.n == 0 && job_export_offers(params->level, (fhir_type)t);
    for (size_t i = 0; i < params->types.n; i++) {
        fhir_type t = fhir_type_find(params->types.items[i]);
        if (t == FHIR_TYPE_NONE)
            return ERR(e, ERR_INVALID, "_type: %s",
                       fhir_type_slip(params->types.items[i], (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        if (!job_export_offers(params->level, t))
            return ERR(e, ERR_INVALID,
                       "_type names %s, which is not in the Patient compartment: export it at "
                       "system level",
                       fhir_type_name(t));
        filter->wanted[t] = true;
    }
    if (params->associated)
        filter->wanted[fhir_type_find(SV_LIT("Provenance"))] = true;
    return ERR_OK;
}

/* The scopes as a grant. All of it is made here, for workers ask side by side. */
static err_code take_scopes(struct export_filter *filter, const struct job_export_params *params,
                            struct arena *a, struct err *e)
{
    struct smart_grant *smart = ARENA_NEW(a, struct smart_grant);
    struct smart_scope *all = arena_calloc(a, params->scopes.n + 1, sizeof *all);
    if (smart == NULL || all == NULL)
        return arena_oom(a, e);
    if (params->scopes.n == 0)
        return ERR_OK;
    for (size_t i = 0; i < params->scopes.n; i++) {
        bool good;
        TRY(smart_scope_read(params->scopes.items[i], a, &all[i], &good, e));
        if (!good)
            return ERR(e, ERR_CORRUPT, "the scopes of an export are damaged");
    }
    *smart = (struct smart_grant){ .scopes = all, .n_scopes = params->scopes.n };
    TRY(query_grant_new(smart, &filter->cx, a, &filter->grant, e));
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        if (query_grant_extent(filter->grant, (fhir_type)t, GIVEN) == QUERY_NOTHING)
            filter->wanted[t] = false;
    return ERR_OK;
}

err_code export_filter_new(const struct export_filter_scope *scope,
                           const struct job_export_params *params, int64_t now_ms, struct arena *a,
                           struct export_filter **out, struct err *e)
{
    size_t n_types = fhir_n_types() + 1;
    struct export_filter *filter = ARENA_NEW(a, struct export_filter);
    if (filter == NULL ||
        (filter->wanted = arena_calloc(a, n_types, sizeof *filter->wanted)) == NULL ||
        (filter->of = arena_calloc(a, n_types, sizeof *filter->of)) == NULL ||
        (filter->n_of = arena_calloc(a, n_types, sizeof *filter->n_of)) == NULL)
        return arena_oom(a, e);
    filter->cx = (struct search_context){ scope->base, now_ms };
    TRY(choose_types(filter, params, e));
    TRY(take_scopes(filter, params, a, e));
    if (params->type_filters.n > LIMIT_EXPORT_TEXTS ||
        params->security.n + params->tag.n > CLAUSES_MAX || params->elements.n > LIMIT_EXPORT_TEXTS)
        return ERR(e, ERR_TOO_LARGE,
                   "An export takes at most %u filters and elements, and %u labels",
                   LIMIT_EXPORT_TEXTS, CLAUSES_MAX);
    for (unsigned t = 1; t < n_types && params->type_filters.n; t++)
        if (filter->wanted[t] && (filter->of[t] = arena_calloc(a, params->type_filters.n,
                                                               sizeof *filter->of[t])) == NULL)
            return arena_oom(a, e);
    for (size_t i = 0; i < params->type_filters.n; i++)
        TRY(add_filter(filter, scope, params->type_filters.items[i], a, e));
    TRY(clauses_init(&filter->labels, a, e));
    for (size_t i = 0; i < params->security.n + params->tag.n; i++) {
        bool tag = i >= params->security.n;
        sv value = tag ? params->tag.items[i - params->security.n] : params->security.items[i];
        TRY(add_pair(filter, scope, FHIR_TYPE_NONE, tag ? SV_LIT("_tag") : SV_LIT("_security"),
                     value, a, &filter->labels, e));
    }
    *out = filter;
    return ERR_OK;
}

bool export_filter_wants(const struct export_filter *filter, fhir_type type)
{
    return filter->wanted[type];
}

bool export_filter_reads(const struct export_filter *filter, fhir_type type)
{
    return filter->labels.n || filter->n_of[type] ||
           query_grant_extent(filter->grant, type, GIVEN) == QUERY_SOME;
}

static bool is_halted(void *halt)
{
    return halt && atomic_load_explicit((const atomic_bool *)halt, memory_order_relaxed);
}

static bool all_met(const struct search_context *cx, const struct clauses *c,
                    const struct search_subject *s)
{
    for (size_t i = 0; i < c->n; i++) {
        bool met = false;
        for (size_t k = 0; k < c->items[i].n && !met && !cx->patience->ended; k++)
            met = search_match(cx, &c->items[i].any[k], s);
        if (!met)
            return false;
    }
    return true;
}

err_code export_filter_match(const struct export_filter *filter, const struct search_subject *s,
                             const atomic_bool *halt, bool *met, struct err *e)
{
    struct search_patience p = { .over = is_halted, .ctx = (void *)(uintptr_t)halt };
    struct search_context cx = filter->cx;
    cx.patience = &p;
    *met = filter->wanted[s->type] && all_met(&cx, &filter->labels, s);
    bool any = filter->n_of[s->type] == 0;
    for (size_t i = 0; *met && !any && i < filter->n_of[s->type]; i++)
        any = all_met(&cx, &filter->of[s->type][i], s);
    *met = *met && any;
    if (*met && filter->grant && !p.ended) {
        struct query_deadline deadline;
        query_deadline_init(&deadline, halted, (void *)(uintptr_t)halt);
        TRY(query_grant_met(filter->grant, GIVEN, &deadline, s, met, e));
    }
    return p.ended ? ERR(e, ERR_CANCELLED, "the export was stopped") : ERR_OK;
}

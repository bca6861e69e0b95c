/* filter.c - _type, _typeFilter, _security and _tag, compiled once and asked of every candidate.
 *
 * A resource is meant when its type is, when it has all labels and tags that are asked for, and
 * when one of the filters of its type is met, if there are any. Filters are read-only once
 * compiled: all workers ask the same. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/uri.h"
#include "query/query.h"

#define CLAUSES_MAX 64u /* pairs of one filter */

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
    bool *wanted;          /* by fhir_type */
    struct clauses **of;   /* by fhir_type: filters of which one must be met */
    size_t *n_of;          /* by fhir_type */
    struct clauses labels; /* _security and _tag */
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
static err_code follow(const struct export_filter_scope *scope, fhir_type type, sv name, sv value,
                       struct arena *a, struct clause *out, struct err *e)
{
    struct query *q = ARENA_NEW(a, struct query);
    if (q == NULL)
        return arena_oom(a, e);
    struct query_deadline deadline;
    query_deadline_init(&deadline, halted, (void *)(uintptr_t)scope->halt);
    const struct query_source src = { scope->store, a, scope->base, scope->as_of_t, &deadline };
    query_init(q, &src, type);
    TRY(query_add(q, name, value, e));
    if (q->n_clauses != 1)
        return ERR(e, ERR_INTERNAL, "a pair of a filter became %zu clauses", q->n_clauses);
    *out = (struct clause){ q->clauses[0].any, q->clauses[0].n };
    return ERR_OK;
}

static err_code add_pair(const struct export_filter_scope *scope, const struct search_context *cx,
                         fhir_type type, sv name, sv value, struct arena *a, struct clauses *to,
                         struct err *e)
{
    struct clause c = { NULL, 1 };
    bool is_chain = sv_starts(name, SV_LIT("_has:")) || sv_find(name, '.') < name.len;
    if (to->n == CLAUSES_MAX)
        return ERR(e, ERR_TOO_LARGE, "A _typeFilter takes at most %u parameters", CLAUSES_MAX);
    if (is_steering(name))
        return ERR(e, ERR_INVALID, "A _typeFilter selects resources: %.*s has no place in it",
                   SV_FMT(sv_head(name, 40)));
    if (is_chain) {
        TRY(follow(scope, type, name, value, a, &c, e));
    } else {
        c.any = arena_alloc(a, sizeof *c.any);
        if (c.any == NULL)
            return arena_oom(a, e);
        TRY(search_parse(cx, type, name, value, a, c.any, e));
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
static err_code add_filter(struct export_filter *f, const struct export_filter_scope *scope,
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
    if (!has_query || rest.len == 0)
        return ERR(e, ERR_INVALID, "_typeFilter is written Type?parameter=value");
    if (!f->wanted[type])
        return ERR(e, ERR_INVALID,
                   "_typeFilter names %s, which this export does not hold (see _type)",
                   fhir_type_name(type));
    TRY(uri_query_split(a, rest, CLAUSES_MAX, &pairs, &n, e));
    struct clauses *c = &f->of[type][f->n_of[type]];
    TRY(clauses_init(c, a, e));
    for (size_t i = 0; i < n; i++) {
        sv key, value;
        TRY(decode(a, pairs[i].name, &key, e));
        TRY(decode(a, pairs[i].value, &value, e));
        TRY(add_pair(scope, &f->cx, type, key, value, a, c, e));
    }
    f->n_of[type]++;
    return ERR_OK;
}

static err_code choose_types(struct export_filter *f, const struct job_export_params *p,
                             struct err *e)
{
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        f->wanted[t] = p->types.n == 0 && job_export_offers(p->level, (fhir_type)t);
    for (size_t i = 0; i < p->types.n; i++) {
        fhir_type t = fhir_type_find(p->types.items[i]);
        if (t == FHIR_TYPE_NONE)
            return ERR(e, ERR_INVALID, "_type: %s",
                       fhir_type_slip(p->types.items[i], (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        if (!job_export_offers(p->level, t))
            return ERR(e, ERR_INVALID,
                       "_type names %s, which is not in the Patient compartment: export it at "
                       "system level",
                       fhir_type_name(t));
        f->wanted[t] = true;
    }
    if (p->associated)
        f->wanted[fhir_type_find(SV_LIT("Provenance"))] = true;
    return ERR_OK;
}

err_code export_filter_new(const struct export_filter_scope *scope,
                           const struct job_export_params *p, int64_t now_ms, struct arena *a,
                           struct export_filter **out, struct err *e)
{
    size_t n_types = fhir_n_types() + 1;
    struct export_filter *f = ARENA_NEW(a, struct export_filter);
    if (f == NULL || (f->wanted = arena_calloc(a, n_types, sizeof *f->wanted)) == NULL ||
        (f->of = arena_calloc(a, n_types, sizeof *f->of)) == NULL ||
        (f->n_of = arena_calloc(a, n_types, sizeof *f->n_of)) == NULL)
        return arena_oom(a, e);
    f->cx = (struct search_context){ scope->base, now_ms };
    TRY(choose_types(f, p, e));
    if (p->type_filters.n > LIMIT_EXPORT_TEXTS || p->security.n + p->tag.n > CLAUSES_MAX ||
        p->elements.n > LIMIT_EXPORT_TEXTS)
        return ERR(e, ERR_TOO_LARGE,
                   "An export takes at most %u filters and elements, and %u labels",
                   LIMIT_EXPORT_TEXTS, CLAUSES_MAX);
    for (unsigned t = 1; t < n_types && p->type_filters.n; t++)
        if (f->wanted[t] &&
            (f->of[t] = arena_calloc(a, p->type_filters.n, sizeof *f->of[t])) == NULL)
            return arena_oom(a, e);
    for (size_t i = 0; i < p->type_filters.n; i++)
        TRY(add_filter(f, scope, p->type_filters.items[i], a, e));
    TRY(clauses_init(&f->labels, a, e));
    for (size_t i = 0; i < p->security.n + p->tag.n; i++) {
        bool tag = i >= p->security.n;
        sv value = tag ? p->tag.items[i - p->security.n] : p->security.items[i];
        TRY(add_pair(scope, &f->cx, FHIR_TYPE_NONE, tag ? SV_LIT("_tag") : SV_LIT("_security"),
                     value, a, &f->labels, e));
    }
    *out = f;
    return ERR_OK;
}

bool export_filter_wants(const struct export_filter *f, fhir_type type)
{
    return f->wanted[type];
}

bool export_filter_reads(const struct export_filter *f, fhir_type type)
{
    return f->labels.n || f->n_of[type];
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

err_code export_filter_match(const struct export_filter *f, const struct search_subject *s,
                             const atomic_bool *halt, bool *met, struct err *e)
{
    struct search_patience p = { .over = is_halted, .ctx = (void *)(uintptr_t)halt };
    struct search_context cx = f->cx;
    cx.patience = &p;
    *met = f->wanted[s->type] && all_met(&cx, &f->labels, s);
    bool any = f->n_of[s->type] == 0;
    for (size_t i = 0; *met && !any && i < f->n_of[s->type]; i++)
        any = all_met(&cx, &f->of[s->type][i], s);
    *met = *met && any;
    return p.ended ? ERR(e, ERR_CANCELLED, "the export was stopped") : ERR_OK;
}

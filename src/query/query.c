/* query.c - pairs of a query become clauses.
 *
 * A chain (subject:Patient.name=x) and a _has (_has:Observation:patient:code=x) are searches of
 * their own, made here and now. Their ids become a criterion of the outer query: "the reference
 * leads to one of these", or "the id is one of these". */
#include "query/grant.h"

#include "base/clock.h"

void query_init(struct query *query, const struct query_source *src, fhir_type type)
{
    memset(query, 0, sizeof *query);
    query->src = *src;
    query->cx = (struct search_context){ src->base, clock_wall_ms(), true,
                                         src->deadline ? &src->deadline->patience : NULL };
    query->owner_at = QUERY_NO_OWNER;
    if (type) {
        query->types[query->n_types++] = type;
        return;
    }
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        query->types[query->n_types++] = (fhir_type)t;
}

static err_code add_clause(struct query *query, const struct search_criterion *any, size_t n,
                           struct err *e)
{
    if (query->n_clauses == QUERY_CLAUSES_MAX)
        return ERR(e, ERR_TOO_LARGE, "A search takes at most %u parameters", QUERY_CLAUSES_MAX);
    struct search_criterion *copy = arena_alloc(query->src.a, (n + 1) * sizeof *copy);
    if (copy == NULL)
        return arena_oom(query->src.a, e);
    if (n)
        memcpy(copy, any, n * sizeof *copy);
    query->clauses[query->n_clauses++] = (struct query_clause){ copy, n, false, NULL };
    query->asks_created |= n && any[0].param == &search_created_at;
    return ERR_OK;
}

err_code query_leads_to(struct query *query, const struct search_param *const *params,
                        size_t n_params, const struct search_id *ids, size_t n_ids, struct err *e)
{
    struct search_criterion any[SEARCH_COMPARTMENT_MAX + 1];
    size_t n = 0;
    for (size_t i = 0; i < n_params && n < SEARCH_COMPARTMENT_MAX; i++)
        any[n++] = (struct search_criterion){
            .param = params[i], .is_set = true, .set = ids, .n_set = n_ids
        };
    return add_clause(query, any, n, e);
}

err_code query_compartment(struct query *query, fhir_type owner, sv id, struct err *e)
{
    TRY(add_clause(query, NULL, 0, e));
    query->clauses[query->n_clauses - 1].membership = true;
    query->owner = (struct search_id){ owner, id };
    return ERR_OK;
}

/* ---- sets of ids ---- */

void query_ids_sort(struct search_id *ids, size_t *n)
{
    size_t kept = 0;
    if (*n == 0)
        return;
    qsort(ids, *n, sizeof *ids, search_id_cmp);
    for (size_t i = 1; i < *n; i++)
        if (search_id_cmp(&ids[kept], &ids[i]) != 0)
            ids[++kept] = ids[i];
    *n = kept + 1;
}

struct id_list {
    struct arena *a;
    fhir_type only; /* with param: references to this type alone count */
    const struct search_param *param;
    sv base;
    struct buf ids;
    size_t max;
    err_code rc;
    struct err *e;
};

static void list_id(struct id_list *l, fhir_type type, sv id)
{
    if (l->rc != ERR_OK)
        return;
    if (l->ids.len / sizeof(struct search_id) >= l->max) {
        l->rc = ERR(l->e, ERR_TOO_LARGE,
                    "A chain or _has finds more than %zu resources on its way: narrow it", l->max);
        return;
    }
    struct search_id x = { type, arena_sv(l->a, id) };
    l->rc = x.id.ptr ? buf_add(&l->ids, sv_make(&x, sizeof x), l->e) : arena_oom(l->a, l->e);
}

static void list_reference(void *ctx, const struct search_value *v)
{
    struct id_list *l = ctx;
    if (v->ref_type == l->only && (v->ref_base.len == 0 || sv_eq(v->ref_base, l->base)))
        list_id(l, v->ref_type, v->ref_id);
}

static err_code collect(const struct query *query, struct id_list *l, struct err *e)
{
    CLEANUP(query_walk_close) struct query_walk *walk = NULL;
    struct query_match m;
    err_code rc;
    TRY(query_walk_open(query, NULL, &walk, e));
    while ((rc = query_walk_next(walk, 0, &m, e)) == ERR_OK) {
        if (l->param)
            search_extract(l->param, m.root, list_reference, l);
        else
            list_id(l, m.v.type, m.v.id);
        TRY(l->rc);
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code take_ids(struct id_list *l, struct search_id **out, size_t *n_out, struct err *e)
{
    size_t n = l->ids.len / sizeof **out;
    struct search_id *ids = arena_alloc(l->a, (n + 1) * sizeof *ids);
    if (ids == NULL)
        return arena_oom(l->a, e);
    if (n)
        memcpy(ids, l->ids.ptr, n * sizeof *ids);
    query_ids_sort(ids, &n);
    *out = ids;
    *n_out = n;
    return ERR_OK;
}

/* A search within this one, on another type: one link of a chain, or the inside of _has. */
static err_code inner(struct query *q, fhir_type type, sv name, sv value, struct query **out,
                      struct err *e)
{
    if (q->depth + 1 >= QUERY_DEPTH_MAX)
        return ERR(e, ERR_TOO_LARGE, "Chains and _has may be nested %u deep", QUERY_DEPTH_MAX - 1);
    struct query *in = arena_alloc(q->src.a, sizeof *in);
    if (in == NULL)
        return arena_oom(q->src.a, e);
    query_init(in, &q->src, type);
    in->depth = q->depth + 1;
    *out = in;
    TRY(query_add(in, name, value, e));
    q->goes_by[type] = true;
    for (size_t t = 0; t < QUERY_TYPES_MAX; t++)
        q->goes_by[t] |= in->goes_by[t];
    return ERR_OK;
}

/* What a chain goes by is told by what it finds, so the caller must be allowed to search there. */
static bool may_go_by(const struct query *q, fhir_type type)
{
    return query_grant_extent(q->src.grant, type, q->src.letters) != QUERY_NOTHING;
}

static err_code not_granted(fhir_type type, struct err *e)
{
    return ERR(e, ERR_DENIED, "The scopes of the token do not give the search of %s",
               type ? fhir_type_name(type) : "any type that this chain leads to");
}

/* ---- chains: subject:Patient.name=x, patient.general-practitioner.family=x ---- */

static bool last_name_known(fhir_type type, sv rest)
{
    sv code = sv_head(rest, sv_find(rest, '.'));
    code = sv_head(code, sv_find(code, ':'));
    return sv_starts(code, SV_LIT("_has")) || sv_eq(code, search_created_at.code) ||
           search_param_find(type, code) != NULL;
}

static err_code chain(struct query *q, fhir_type on, sv name, sv value, struct err *e)
{
    sv rest = name, first, code;
    /* The caller saw a dot: there is a part in front of it. */
    (void)sv_cut(&rest, '.', &first);
    sv target = first;
    /* This cannot fail: the text is not SV_NONE. */
    (void)sv_cut(&target, ':', &code);
    const struct search_param *p = search_param_find(on, code);
    if (p == NULL)
        return ERR(e, ERR_NOT_FOUND, "%s has no search parameter of that name", fhir_type_name(on));
    if (p->kind != SEARCH_REFERENCE)
        return ERR(e, ERR_INVALID, "Only a reference can be followed by a chain; %.*s is a %s",
                   SV_FMT(p->code), search_kind_name(p->kind));
    fhir_type only = target.ptr ? fhir_type_find(target) : FHIR_TYPE_NONE;
    if (target.ptr && (only == FHIR_TYPE_NONE || !search_param_targets(p, only)))
        return ERR(e, ERR_INVALID, "%.*s does not lead to a type of that name", SV_FMT(p->code));
    if (only == FHIR_TYPE_NONE && sv_eq(p->targets, SV_LIT("*")))
        return ERR(e, ERR_INVALID, "%.*s may lead to any type: name one, as in %.*s:Patient.name",
                   SV_FMT(p->code), SV_FMT(p->code));
    struct id_list l = { .a = q->src.a, .max = QUERY_IDS_MAX, .rc = ERR_OK, .e = e };
    struct search_criterion cr = { .param = p, .is_set = true };
    struct search_inside *inside = arena_calloc(q->src.a, fhir_n_types(), sizeof *inside);
    if (inside == NULL)
        return arena_oom(q->src.a, e);
    buf_init(&l.ids, l.max * sizeof(struct search_id));
    err_code rc = ERR_OK;
    bool any = false, hidden = false;
    for (unsigned t = 1; t <= fhir_n_types() && rc == ERR_OK; t++) {
        fhir_type type = (fhir_type)t;
        if (only ? type != only : !search_param_targets(p, type) || !last_name_known(type, rest))
            continue;
        struct query *in = NULL;
        if (!may_go_by(q, type)) {
            hidden = true;
            continue;
        }
        any = true;
        rc = inner(q, type, rest, value, &in, e);
        /* A contained resource has no id of its own, so the criteria go along and are asked of
         * it. */
        if (rc == ERR_OK) {
            inside[cr.n_inside++] = (struct search_inside){ type, in->clauses[0].any };
            rc = collect(in, &l, e);
        }
    }
    struct search_id *ids = NULL;
    if (rc == ERR_OK && !any && hidden)
        rc = not_granted(only, e);
    if (rc == ERR_OK && !any)
        rc = ERR(e, ERR_NOT_FOUND, "No type that %.*s leads to has the parameter behind it",
                 SV_FMT(p->code));
    if (rc == ERR_OK)
        rc = take_ids(&l, &ids, &cr.n_set, e);
    buf_done(&l.ids);
    TRY(rc);
    cr.set = ids;
    cr.inside = inside;
    return add_clause(q, &cr, 1, e);
}

/* ---- _has:Observation:patient:code=x ---- */

static err_code has(struct query *q, fhir_type on, sv name, sv value, struct err *e)
{
    sv rest = name, word, type_name, code;
    /* "_has" */
    (void)sv_cut(&rest, ':', &word);
    if (!sv_cut(&rest, ':', &type_name) || !sv_cut(&rest, ':', &code) || rest.len == 0)
        return ERR(e, ERR_INVALID, "_has is written _has:Type:reference:parameter=value");
    fhir_type type = fhir_type_find(type_name);
    const struct search_param *p = type ? search_param_find(type, code) : NULL;
    if (p == NULL || p->kind != SEARCH_REFERENCE || !search_param_targets(p, on))
        return ERR(e, ERR_INVALID, "_has: no reference parameter of that type leads to %s",
                   fhir_type_name(on));
    struct query *in = NULL;
    if (!may_go_by(q, type))
        return not_granted(type, e);
    TRY(inner(q, type, rest, value, &in, e));
    struct id_list l = { .a = q->src.a,
                         .only = on,
                         .param = p,
                         .base = q->cx.base,
                         .max = QUERY_IDS_MAX,
                         .rc = ERR_OK,
                         .e = e };
    struct search_criterion cr = { .param = NULL, .is_set = true };
    struct search_id *ids = NULL;
    buf_init(&l.ids, l.max * sizeof(struct search_id));
    err_code rc = collect(in, &l, e);
    if (rc == ERR_OK)
        rc = take_ids(&l, &ids, &cr.n_set, e);
    buf_done(&l.ids);
    TRY(rc);
    cr.set = ids;
    return add_clause(q, &cr, 1, e);
}

/* A parameter that all of several types share, each with its own paths:
 * _type=Observation,Condition&code=x.
 * Source: search.html#type. */
static err_code shared(struct query *query, sv name, sv value, struct err *e)
{
    struct search_criterion *of = arena_calloc(query->src.a, query->n_types + 1, sizeof *of);
    struct query_clause *by_type = arena_calloc(query->src.a, query->n_types + 1, sizeof *by_type);
    if (of == NULL || by_type == NULL)
        return arena_oom(query->src.a, e);
    sv code = sv_head(name, sv_find(name, ':'));
    for (size_t i = 0; i < query->n_types; i++)
        if (search_param_find(query->types[i], code) == NULL)
            return ERR(e, ERR_NOT_FOUND, "%s has no search parameter of that name",
                       fhir_type_name(query->types[i]));
    for (size_t i = 0; i < query->n_types; i++) {
        TRY(search_parse(&query->cx, query->types[i], name, value, query->src.a, &of[i], e));
        by_type[i] = (struct query_clause){ &of[i], 1, false, NULL };
    }
    TRY(add_clause(query, of, 1, e));
    query->clauses[query->n_clauses - 1].by_type = by_type;
    return ERR_OK;
}

err_code query_add(struct query *query, sv name, sv value, struct err *e)
{
    fhir_type on = query->n_types == 1 ? query->types[0] : FHIR_TYPE_NONE;
    if (sv_starts(name, SV_LIT("_has:")))
        return on ? has(query, on, name, value, e)
                  : ERR(e, ERR_INVALID, "_has needs a search of one type");
    if (sv_find(name, '.') < name.len)
        return on ? chain(query, on, name, value, e)
                  : ERR(e, ERR_INVALID, "A chain needs a search of one type");
    sv code = sv_head(name, sv_find(name, ':'));
    if (on == FHIR_TYPE_NONE && query->n_types && !sv_eq(code, search_created_at.code) &&
        search_param_find(FHIR_TYPE_NONE, code) == NULL)
        return shared(query, name, value, e);
    struct search_criterion cr;
    TRY(search_parse(&query->cx, on, name, value, query->src.a, &cr, e));
    return add_clause(query, &cr, 1, e);
}

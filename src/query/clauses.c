/* clauses.c - what a query asks of one of its types: its own clauses as they are for this type, its
 * compartment, and what its grant gives.
 *
 * A walk may go by any of these clauses, so each has a fixed place: a page's token names it. */
#include "query/grant_private.h"

static void set_membership(struct query_clauses *clauses, const struct query *query, size_t type_at)
{
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    clauses->member = (struct query_clause){ clauses->member_any, 1, true, NULL };
    if (type_at == query->owner_at) {
        clauses->member_any[0] =
            (struct search_criterion){ .is_set = true, .set = &query->owner, .n_set = 1 };
        return;
    }
    clauses->member.n = search_compartment(query->owner.type, query->types[type_at], params);
    for (size_t i = 0; i < clauses->member.n; i++)
        clauses->member_any[i] = (struct search_criterion){
            .param = params[i], .is_set = true, .set = &query->owner, .n_set = 1
        };
}

static const struct query_clause *clause_of(const struct query_clauses *clauses,
                                            const struct query *query, size_t i, size_t type_at)
{
    const struct query_clause *clause = &query->clauses[i];
    if (clause->by_type)
        clause = &clause->by_type[type_at];
    return clause->membership ? &clauses->member : clause;
}

/* ---- what is asked twice ---- */

static bool has_token(const struct search_criterion *c, const struct search_term *term)
{
    for (size_t i = 0; i < c->n_terms; i++)
        if (c->terms[i].has_system == term->has_system && sv_eq(c->terms[i].system, term->system) &&
            sv_eq(c->terms[i].code, term->code))
            return true;
    return false;
}

static bool is_plain_token(const struct search_criterion *c)
{
    return c->param && c->param->kind == SEARCH_TOKEN && c->modifier == SEARCH_MOD_NONE &&
           !c->is_set;
}

/* Does whatever meets the first clause meet the second one? True of tokens alone: the query asks
 * for values that the grant names, too. */
static bool implies(const struct query_clause *x, const struct query_clause *y)
{
    for (size_t i = 0; i < x->n; i++) {
        bool met = false;
        for (size_t k = 0; k < y->n && !met; k++) {
            met = is_plain_token(&x->any[i]) && is_plain_token(&y->any[k]) &&
                  x->any[i].param == y->any[k].param;
            for (size_t t = 0; t < x->any[i].n_terms && met; t++)
                met = has_token(&y->any[k], &x->any[i].terms[t]);
        }
        if (!met)
            return false;
    }
    return x->n > 0;
}

static bool is_implied(const struct query_clauses *clauses, const struct query *query,
                       const struct query_clause *clause)
{
    for (size_t i = 0; i < query->n_clauses; i++)
        if (implies(clauses->at[i], clause))
            return true;
    return false;
}

/* Does the clause ask for what refers to the patient of the grant? Then it proposes no more than
 * the patient's record does. */
static bool asks_for_patient(const struct query_clause *clause, sv patient)
{
    for (size_t i = 0; i < clause->n; i++) {
        const struct search_criterion *c = &clause->any[i];
        sv id = c->is_set && c->n_set == 1 ? c->set[0].id
                : !c->is_set && c->n_terms == 1 && c->param && c->param->kind == SEARCH_REFERENCE &&
                        (c->modifier == SEARCH_MOD_NONE || c->modifier == SEARCH_MOD_TYPE)
                    ? c->terms[0].ref_id
                    : SV_NONE;
        if (id.len == 0 || !sv_eq(id, patient))
            return false;
    }
    return clause->n > 0;
}

static bool any_asks_for_patient(const struct query_clauses *clauses, const struct query *query)
{
    sv patient = query_grant_patient(query->src.grant);
    for (size_t i = 0; i < query->n_clauses; i++)
        if (asks_for_patient(clauses->at[i], patient))
            return true;
    return false;
}

/* ---- the grant ---- */

/* Two letters that come from the same scopes have the same filter. */
static bool is_there(const struct query_filter *const *taken, size_t n_taken,
                     const struct query_filter *filter)
{
    for (size_t i = 0; i < n_taken; i++)
        if (memcmp(taken[i]->of, filter->of, sizeof filter->of) == 0)
            return true;
    return false;
}

static void add_grant(struct query_clauses *clauses, const struct query *query, fhir_type type)
{
    const struct query_filter *taken[SMART_N_LETTERS];
    size_t n_taken = 0;
    for (unsigned k = 0; k < SMART_N_LETTERS; k++) {
        if (!(query->src.letters & 1u << k))
            continue;
        const struct query_filter *filter = query_grant_filter(query->src.grant, type, 1u << k);
        clauses->nothing |= filter->extent == QUERY_NOTHING;
        if (filter->extent != QUERY_SOME || is_there(taken, n_taken, filter))
            continue;
        taken[n_taken++] = filter;
        size_t room = sizeof clauses->at / sizeof clauses->at[0];
        bool all = clauses->n + filter->n_clauses <= room;
        for (size_t i = 0; all && i < filter->n_clauses; i++)
            if (!is_implied(clauses, query, &filter->clauses[i]))
                clauses->at[clauses->n++] = &filter->clauses[i];
        if (all && filter->exact)
            continue;
        /* A query asks for two letters at most. */
        if (clauses->n_filters < QUERY_FILTERS_MAX)
            clauses->filters[clauses->n_filters++] = filter;
        else
            clauses->nothing = true;
    }
}

void query_clauses_set(struct query_clauses *clauses, const struct query *query, size_t type_at)
{
    clauses->n = query->n_clauses;
    clauses->nothing = false;
    clauses->n_filters = 0;
    if (query->owner.type)
        set_membership(clauses, query, type_at);
    for (size_t i = 0; i < query->n_clauses; i++)
        clauses->at[i] = clause_of(clauses, query, i, type_at);
    if (query->src.grant)
        add_grant(clauses, query, query->types[type_at]);
    clauses->n_guiding =
        query->src.grant && any_asks_for_patient(clauses, query) ? query->n_clauses : clauses->n;
}

bool query_clause_names_ids(const struct query_clause *clause)
{
    if (clause->n != 1)
        return false;
    const struct search_criterion *c = &clause->any[0];
    return c->param == NULL ||
           (sv_eq(c->param->code, SV_LIT("_id")) && c->modifier == SEARCH_MOD_NONE);
}

unsigned query_clause_rank(const struct query_clause *clause)
{
    const struct search_criterion *c = &clause->any[0];
    if (c->is_set || c->param->kind == SEARCH_REFERENCE)
        return 0;
    if (c->param->kind == SEARCH_TOKEN)
        return sv_eq(c->param->code, SV_LIT("identifier")) ? 0 : 2;
    return c->param->kind == SEARCH_STRING ? 1 : 3;
}

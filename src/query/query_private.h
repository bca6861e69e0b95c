/* query_private.h - what the rooms of the query share.   Floor: query. */
#pragma once
#include "auth/smart.h"
#include "query/query.h"

/* ERR_TIMEOUT, ERR_CANCELLED once the query may look no longer. */
static inline err_code query_breathe(const struct query_source *src, struct err *e)
{
    return src->deadline ? src->deadline->look(src->deadline->ctx, e) : ERR_OK;
}

/* ---- clauses.c: what a query asks of one of its types ---- */
struct query_filter; /* grant_private.h */
/* Parts of a grant's filters that are clauses: of two letters, each the parts of one scope. */
#define QUERY_GRANT_CLAUSES (2u * (SMART_PAIRS_MAX + 1))
#define QUERY_FILTERS_MAX   2u
struct query_clauses {
    /* those of the query, in its order, then those of its grant */
    const struct query_clause *at[QUERY_CLAUSES_MAX + QUERY_GRANT_CLAUSES];
    size_t n;
    size_t n_guiding; /* the first of them, by which a walk may go: the others narrow nothing */
    bool nothing;     /* the grant gives nothing of the type */
    /* of the grant: to be asked beside the clauses */
    const struct query_filter *filters[QUERY_FILTERS_MAX];
    size_t n_filters;
    /* what makes a resource of the type a member of the query's compartment */
    struct search_criterion member_any[SEARCH_COMPARTMENT_MAX + 1];
    struct query_clause member;
};
/* Of the type at query->types[type_at]. */
void query_clauses_set(struct query_clauses *clauses, const struct query *query, size_t type_at);
/* Does the clause name the ids of all its matches? */
bool query_clause_names_ids(const struct query_clause *clause);
/* Which kind of parameter narrows a search most, when two clauses have equally many entries? Lower
 * ranks do. */
unsigned query_clause_rank(const struct query_clause *clause);

/* ---- met.c ---- */
/* Is the clause met by any of its criteria? Errors as query_met(). */
MUST_USE err_code query_clause_met(const struct query *query, const struct query_clause *clause,
                                   const struct search_subject *s, bool *met, struct err *e);
/* Does a filter of the query's grant let it pass? Errors as query_met(). */
MUST_USE err_code query_filter_met(const struct query *query, const struct query_filter *filter,
                                   const struct search_subject *s, bool *met, struct err *e);
static inline bool query_clause_asks_created(const struct query_clause *clause)
{
    return clause->n && clause->any[0].param == &search_created_at;
}

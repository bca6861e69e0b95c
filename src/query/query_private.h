/* query_private.h - what the rooms of the query share.   Floor: query. */
#pragma once
#include "query/query.h"

/* ERR_TIMEOUT, ERR_CANCELLED once the query may look no longer. */
static inline err_code query_breathe(const struct query_source *src, struct err *e)
{
    return src->deadline ? src->deadline->look(src->deadline->ctx, e) : ERR_OK;
}

/* ---- met.c ---- */
/* Is the clause met by any of its criteria? Errors as query_met(). */
MUST_USE err_code query_clause_met(const struct query *query, const struct query_clause *clause,
                                   const struct search_subject *s, bool *met, struct err *e);
static inline bool query_clause_asks_created(const struct query_clause *clause)
{
    return clause->n && clause->any[0].param == &search_created_at;
}

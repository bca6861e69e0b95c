/* grant_private.h - what a grant gives of one type under one letter, ready to be asked.
 * Made by grant.c; clauses.c gives it to walks, met.c asks it of one resource.   Floor: query. */
#pragma once
#include "query/grant.h"
#include "query/query_private.h"

struct query_alternative { /* all of it must hold */
    struct query_clause *all;
    size_t n;
    bool by_context; /* a Binary, whose securityContext is the patient */
};
struct query_filter {
    enum query_extent extent;
    /* SOME: one of these is enough */
    struct query_alternative *any;
    size_t n_any;
    /* SOME: what every resource that passes meets, so that a walk may go by the index */
    struct query_clause *clauses;
    size_t n_clauses;
    bool exact;     /* the clauses say all: the alternatives need not be asked */
    uint64_t of[4]; /* one bit for each scope that has a part in it */
};

/* What the grant gives of a type under one letter. Lives as long as the grant. */
const struct query_filter *query_grant_filter(struct query_grant *grant, fhir_type type,
                                              unsigned letter);
/* What its criteria were read with. */
const struct search_context *query_grant_context(const struct query_grant *grant);
/* The grant's patient. */
sv query_grant_patient(const struct query_grant *grant);

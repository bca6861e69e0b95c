/* rest_query.h - a search over one data store: criteria, where to look, and the matches one by one.
 *
 * A query holds as of one commit, so that its pages fit together whatever is written meanwhile. Each clause must
 * be met; a clause is met by any of its criteria. Candidates come from the shortest list that the index, or ids
 * in the query, can give; search_match() over the resource decides.
 *
 *   where candidates come from   IDS    ids that the query names (_id, _has)
 *                                INDEX  entries of one clause, each resource at the first of them it has
 *                                SCAN   all of the type
 *
 * Limits: QUERY_*.   Source: FHIR R4 search.html.   Floor: service. */
#pragma once
#include "service/rest_private.h"

#define QUERY_CLAUSES_MAX 64u
#define QUERY_DEPTH_MAX   5u     /* chains and _has within each other */
#define QUERY_IDS_MAX     10000u /* that a chain or _has may find on its way */
#define QUERY_TYPES_MAX   256u
#define QUERY_NO_OWNER    SIZE_MAX

struct rest_clause {
    struct search_criterion *any;
    size_t n;
    bool membership; /* of the compartment: its criteria follow the type that is searched */
    struct rest_clause *by_type; /* NULL, or what the clause says for each of the query's types */
};
struct rest_query {
    struct rest_call *c; /* data store, arena, [base] */
    struct search_context cx;
    uint64_t as_of;
    fhir_type types[QUERY_TYPES_MAX]; /* searched one after the other, ascending */
    size_t n_types;
    struct rest_clause clauses[QUERY_CLAUSES_MAX];
    size_t n_clauses;
    unsigned depth;
    bool goes_by[QUERY_TYPES_MAX]; /* types that its chains and _has looked at */
    bool asks_created;             /* a clause is about createdAt */
    /* a compartment: */
    struct search_id owner; /* type FHIR_TYPE_NONE: none */
    size_t
        owner_at; /* in types: there stands the owner itself, not what leads to it; SIZE_MAX: nowhere */
};
/* type FHIR_TYPE_NONE: every type. */
void rest_query_init(struct rest_query *q, struct rest_call *c, fhir_type type, uint64_t as_of);
/* One pair of a query. ERR_NOT_FOUND: no such parameter; else as search_parse(). */
MUST_USE err_code rest_query_add(struct rest_query *q, sv name, sv value, struct err *e);
/* Only members of a compartment; every type of the query must be one. id is borrowed. */
MUST_USE err_code rest_query_compartment(struct rest_query *q, fhir_type owner, sv id,
                                         struct err *e);
/* A criterion on reference parameters of one searched type: they lead to one of ids (sorted). */
MUST_USE err_code rest_query_leads_to(struct rest_query *q,
                                      const struct search_param *const *params, size_t n_params,
                                      const struct search_id *ids, size_t n_ids, struct err *e);

/* When the first version of a resource came, which createdAt asks; an id that has none: now. Cost follows the versions
 * of the id. */
MUST_USE err_code rest_created_ms(struct rest_call *c, fhir_type type, sv id, int64_t *out,
                                  struct err *e);
/* Does this one resource match? It must be of the searched type. ERR_TIMEOUT, ERR_CANCELLED. */
MUST_USE err_code rest_query_met(const struct rest_query *q, const struct search_subject *s,
                                 bool *met, struct err *e);
/* Of the call's parameters, which must all be filters: what a conditional write goes by. ERR_INVALID. */
MUST_USE err_code rest_query_conditional(struct rest_query **out, struct rest_call *c,
                                         struct err *e);
/* The only match in the scope, noted in the call's list of what was asked: *n_out is 0, 1, or 2 for several. id is owned by the call's arena. */
MUST_USE err_code rest_query_one(const struct rest_query *q, const struct rest_scope *scope, sv *id,
                                 uint64_t *version, size_t *n_out, struct err *e);

struct rest_place { /* where a walk stands: it can go on from here in another request */
    size_t type_at;
    int clause; /* -1: not by the index */
    size_t driver;
    unsigned char value[SEARCH_KEY_MAX];
    uint8_t value_len;
    char id[FHIR_ID_MAX];
    uint8_t id_len; /* 0: at the start */
};

struct rest_walk;
/* from: NULL, or where an earlier walk of the same query stood. */
MUST_USE err_code rest_walk_open(const struct rest_query *q, const struct rest_place *from,
                                 struct rest_walk **out, struct err *e);
struct rest_match { /* valid until the next call */
    struct store_version v;
    yyjson_val *root;
};
/* ERR_EOF at the end; ERR_TIMEOUT past until_us (0: none): the place is where to go on. */
MUST_USE err_code rest_walk_next(struct rest_walk *w, uint64_t until_us, struct rest_match *out,
                                 struct err *e);
const struct rest_place *rest_walk_place(const struct rest_walk *w);
void rest_walk_close(struct rest_walk *w);
DEFINE_CLEANUP(struct rest_walk, rest_walk_close)

/* Sorted, and each once. */
void rest_ids_sort(struct search_id *ids, size_t *n);
/* Ids of all matches, sorted. ERR_TOO_LARGE past max. Owned by the arena of the call. */
MUST_USE err_code rest_query_ids(const struct rest_query *q, size_t max, struct search_id **out,
                                 size_t *n_out, struct err *e);

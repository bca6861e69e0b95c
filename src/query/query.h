/* query.h - a search over one data store: criteria, where to look, and the matches one by one.
 *
 * A query holds as of one commit, so its pages fit together whatever is written meanwhile. It has
 * clauses, and a match meets all of them. A clause has criteria, and is met by any of them.
 * Candidates come from the shortest list that is at hand; search_match() over the resource decides.
 *
 *   a list   IDS     ids that the query names (_id, _has)
 *            INDEX   index entries of one clause; a resource counts at its first entry there
 *            SCAN    all resources of the type
 *
 *   query.c   clauses, chains and _has        walk.c    candidates and matches
 *   met.c     does one resource match?        sieve.c   does the index say no to a candidate?
 *   order.c   matches in the order of _sort   clauses.c what is asked of one of the types
 *   grant.c   what the scopes of a caller's token let a query see (grant.h)
 *
 * Limits: QUERY_*.   Source: FHIR R4 search.html.   Floor: query. */
#pragma once
#include "search/search.h"
#include "store/store.h"

#define QUERY_CLAUSES_MAX 64u
#define QUERY_DEPTH_MAX   5u     /* chains and _has within each other */
#define QUERY_IDS_MAX     10000u /* that a chain or _has may find on its way */
#define QUERY_TYPES_MAX   256u
#define QUERY_NO_OWNER    SIZE_MAX
#define QUERY_SORT_MAX    5u /* rules of _sort */

/* How long a query may look. It asks every millisecond or so; one thread at a time. */
struct query_grant; /* query/grant.h */
struct query_deadline {
    err_code (*look)(void *ctx, struct err *e); /* ERR_TIMEOUT, ERR_CANCELLED: the query ends */
    void *ctx;
    struct search_patience patience; /* asked while one resource is compared */
    struct err over;                 /* why the comparison was given up */
};
void query_deadline_init(struct query_deadline *d, err_code (*look)(void *ctx, struct err *e),
                         void *ctx);

/* What a query is asked of. All is borrowed. */
struct query_source {
    struct store *st;
    struct arena *a; /* holds what the query keeps */
    sv base;         /* "http://host/datastore/<id>/r4": references below it are local */
    uint64_t as_of;
    struct query_deadline *deadline; /* NULL: the query may take any time */
    /* NULL: everything may be seen. Else only what it gives under all of these letters (SMART_*) */
    struct query_grant *grant;
    unsigned letters;
};

struct query_clause {
    struct search_criterion *any;
    size_t n;
    bool membership; /* the compartment: its criteria depend on the type that is searched */
    struct query_clause *by_type; /* NULL, or a clause for each of the query's types */
};
struct query {
    struct query_source src;
    struct search_context cx;
    fhir_type types[QUERY_TYPES_MAX]; /* searched one after the other, ascending */
    size_t n_types;
    struct query_clause clauses[QUERY_CLAUSES_MAX];
    size_t n_clauses;
    unsigned depth;
    bool goes_by[QUERY_TYPES_MAX]; /* types that its chains and _has looked at */
    bool asks_created;             /* a clause is about createdAt */
    /* the caller's to set: a match that nothing was asked about comes without its tree */
    bool no_trees;
    /* a compartment: */
    struct search_id owner; /* type FHIR_TYPE_NONE: none */
    /* Index in types of the place where the owner itself is given. At the other places of its type,
     * resources that lead to it are. QUERY_NO_OWNER: the owner is not given. */
    size_t owner_at;
};
/* type FHIR_TYPE_NONE: every type. */
void query_init(struct query *query, const struct query_source *src, fhir_type type);
/* One pair of a query. ERR_NOT_FOUND: no such parameter; else as search_parse(). */
MUST_USE err_code query_add(struct query *query, sv name, sv value, struct err *e);
/* Let only members of a compartment match. Every type of the query must be able to be one. id is
 * borrowed. */
MUST_USE err_code query_compartment(struct query *query, fhir_type owner, sv id, struct err *e);
/* Let only resources match that lead to one of ids (sorted) by one of these reference
 * parameters. */
MUST_USE err_code query_leads_to(struct query *query, const struct search_param *const *params,
                                 size_t n_params, const struct search_id *ids, size_t n_ids,
                                 struct err *e);

/* When the first version of a resource was written, for createdAt. An id without versions: now. The
 * cost grows with the number of versions. */
MUST_USE err_code query_created_ms(struct store *st, fhir_type type, sv id, int64_t *out,
                                   struct err *e);
/* An arena of so many bytes holds any one resource as store_get_light() gives it, and its tree: the
 * body has at most LIMIT_WHOLE_BYTES. */
size_t query_resource_max(void);
/* Does this one resource match? It must be of the searched type. ERR_TIMEOUT, ERR_CANCELLED. */
MUST_USE err_code query_met(const struct query *query, const struct search_subject *s, bool *met,
                            struct err *e);
/* Bytes of a version whose body may have been left out (store_get_light). */
static inline size_t query_whole_len(const struct store_version *v)
{
    return v->body.json.len + v->left_out;
}

struct query_place { /* where a walk is: another request can go on from here */
    size_t type_at;
    int clause; /* whose entries are walked; -1: candidates do not come from the index */
    size_t driver;
    unsigned char value[SEARCH_KEY_MAX];
    uint8_t value_len;
    /* The last resource. By its id, where ids are named: id_len 0: at the start */
    char id[FHIR_ID_MAX];
    uint8_t id_len;
    store_number number; /* Anywhere else. 0: at the start */
};

struct query_walk;
/* from: NULL, or where an earlier walk of the same query stood. */
MUST_USE err_code query_walk_open(const struct query *query, const struct query_place *from,
                                  struct query_walk **out, struct err *e);
struct query_match { /* valid until the next call */
    struct store_version v;
    yyjson_val *root; /* NULL: see query.no_trees */
};
/* The next match. ERR_EOF: there are no more. ERR_TIMEOUT: until_us (0: no end) is over, and
 * query_walk_place() is where to go on. */
MUST_USE err_code query_walk_next(struct query_walk *walk, uint64_t until_us,
                                  struct query_match *out, struct err *e);
const struct query_place *query_walk_place(const struct query_walk *walk);
void query_walk_close(struct query_walk *walk);
DEFINE_CLEANUP(struct query_walk, query_walk_close)

/* Sort ids, and keep each once. */
void query_ids_sort(struct search_id *ids, size_t *n);

/* ---- order.c: matches in the order of _sort ---- */
struct query_sort {
    const struct search_param *param;
    bool descending;
};
struct query_row { /* a match and what it is sorted by; equal ones stand by number */
    struct search_id id;
    store_number number;
    sv keys[QUERY_SORT_MAX]; /* empty: it has none */
};
struct query_order_by { /* borrowed */
    const struct query_sort *sort;
    size_t n_sort;
    size_t count;                  /* rows at most */
    const struct query_row *after; /* only rows behind this one; NULL: from the first */
};
struct query_order;
struct query_row_list {
    struct query_row *const *rows;
    size_t n;
    bool more;      /* there are rows behind these */
    uint64_t total; /* of all matches, on this page or not */
};
/* The next count matches in that order. ERR_TIMEOUT. */
MUST_USE err_code query_order_find(const struct query *query, const struct query_order_by *by,
                                   struct query_order **out, struct err *e);
const struct query_row_list *query_order_rows(const struct query_order *order); /* owned by order */
void query_order_free(struct query_order *order);
DEFINE_CLEANUP(struct query_order, query_order_free)

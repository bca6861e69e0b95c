/* view_private.h - $viewdefinition-run: a ViewDefinition over a data store, as of one commit.
 *
 *   asked.c   what is asked for: Parameters or a ViewDefinition, the query, Accept
 *   whose.c   whose resources: of one patient, of the members of Groups
 *   run.c     resources become rows
 *   table.c   rows become the answer
 *
 * Source: SQL on FHIR 2, OperationDefinition $viewdefinition-run.   Floor: rest. */
#pragma once
#include "rest/call_private.h"
#include "view/view.h"

typedef enum { VIEW_AS_NDJSON, VIEW_AS_JSON, VIEW_AS_CSV, VIEW_AS_PARQUET } view_as;

struct view_ids { /* sorted, each once */
    sv *ids;
    size_t n;
};
#define VIEW_GROUPS_MAX 100u /* in one request */
struct view_asked {
    const struct view *v;
    const struct parquet_column *columns; /* of Parquet */
    view_as as;
    bool no_header;   /* of CSV */
    sv patient;       /* an id: only this patient's compartment; empty: everything */
    sv *groups;       /* ids: only compartments of their members */
    size_t n_groups;  /* 0: everything */
    int64_t since_ms; /* only what was changed since then */
    uint64_t limit;   /* rows at most */
    /* parameters of Parameters, among them `resource`: what is given is run over, and not the data
     * store; NULL: nothing is given */
    yyjson_val *given;
};
/* a: holds the view. tree: what is given.
 * ERR_INVALID, ERR_NOT_ACCEPTABLE, ERR_UNPROCESSABLE (a view that is none): each with its parameter
 * as the call's issue. */
MUST_USE err_code rest_view_asked(struct rest_call *call, struct arena *a, struct arena *tree,
                                  struct view_asked *out, struct err *e);
/* A fault of a parameter, or of a member of the view, as the call's only issue. */
MUST_USE err_code rest_view_fault(struct rest_call *call, err_code rc, const char *code, sv where,
                                  struct err *e, const char *fmt, ...) PRINTF_LIKE(6, 7);

/* The member of the view that stands in front of a message, as a place in the request. */
sv rest_view_place(struct rest_call *call, const char *msg);

/* ---- whose.c ---- */
struct view_whose { /* whose resources become rows */
    bool all;
    struct view_ids patients; /* else: those of these, though none of them need be there */
    bool by_group;
    const struct view_asked *asked;
    struct arena *scratch; /* of one resource; owned */
};
/* Reads the Groups as of a commit, and looks for the patient. a: holds the ids.
 * ERR_NOT_FOUND, ERR_INVALID: with its parameter as the call's issue. */
MUST_USE err_code rest_view_whose(struct rest_call *call, const struct view_asked *asked,
                                  uint64_t as_of, struct arena *a, struct view_whose *out,
                                  struct err *e);
void rest_view_whose_done(struct view_whose *whose);
/* Let a query find no more than what may be theirs. */
MUST_USE err_code rest_view_narrow(struct rest_call *call, const struct view_whose *whose,
                                   struct query *query, struct err *e);
/* Does rest_view_is_theirs() look at the trees of matches? */
bool rest_view_needs_trees(const struct rest_call *call, const struct view_whose *whose);
/* Is what such a query found really theirs? */
MUST_USE err_code rest_view_is_theirs(const struct rest_call *call, struct view_whose *whose,
                                      uint64_t as_of, const struct query_match *m, bool *out,
                                      struct err *e);

/* ---- table.c ---- */
struct view_table { /* the answer that is being made */
    struct rest_call *call;
    const struct view_asked *asked;
    struct buf *body;
    struct arena *scratch;
    struct parquet_rows *parquet; /* NULL: not Parquet */
    struct parquet_footer *footer;
    uint64_t n_rows, put_us;
    bool streams;  /* what is made goes out; else the answer is whole, and bounded */
    bool holds;    /* nothing goes out now: what the row is made of must not wait for a reader */
    bool too_long; /* ERR_TOO_LARGE was about the row, or the table, and not the view */
};
MUST_USE err_code rest_view_table_begin(struct view_table *t, struct err *e);
/* ERR_EOF: there are as many rows as were asked for. ERR_TOO_LARGE; what rest_stream_put()
 * raises. */
MUST_USE err_code rest_view_table_row(struct view_table *t, const struct fhirpath_list *cells,
                                      struct err *e);
/* When rows that were made are to go out although no more come: monotonic; UINT64_MAX: not before
 * more come. And put them then. Errors of rest_stream_put(). */
uint64_t rest_view_table_due_us(const struct view_table *t);
MUST_USE err_code rest_view_table_due(struct view_table *t, struct err *e);
/* The last bytes. The call's answer is complete then, or went out but for its end. */
MUST_USE err_code rest_view_table_end(struct view_table *t, struct err *e);
void rest_view_table_done(struct view_table *t);

/* ---- the interaction ---- */
MUST_USE err_code rest_view_run(struct rest_call *call, struct err *e);

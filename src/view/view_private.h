/* view_private.h - what the rooms of views share.
 *
 *   definition.c  a ViewDefinition -> a tree of selects
 *   rows.c        a resource -> rows
 *   write.c       a row -> text
 *   parquet.c     a row -> cells of Parquet
 * Floor: view. */
#pragma once
#include "view/view.h"

typedef enum { VIEW_ONCE, VIEW_EACH, VIEW_EACH_OR_NULL, VIEW_REPEAT } view_how;

struct view_cell {
    const struct fhirpath *path;
    const char *place; /* in the definition, for messages */
    bool collection;
    bool row_index; /* it is %rowIndex alone: 0 where a row has nothing else */
};

struct view_select {
    view_how how;
    const char *place;
    const struct fhirpath **paths; /* of forEach or repeat */
    size_t n_paths;
    size_t first; /* number of its first column; behind its own come those of selects, unions */
    struct view_cell *cells;
    size_t n_cells;
    struct view_select *selects, *unions;
    size_t n_selects, n_unions;
    size_t n_columns; /* with all that is below */
};

struct view {
    fhir_type type;
    struct view_column *columns;
    const char **keys; /* their names */
    size_t n_columns;
    struct view_select *selects;
    size_t n_selects;
    const struct fhirpath **where;
    size_t n_where;
};

/* ---- write.c ---- */

/* A node that has extensions alone is nothing in a table. */
static inline bool view_is_nothing(const struct fhirpath_item *item)
{
    return item->kind == FHIRPATH_NODE && item->json == NULL;
}
/* A value as text: an object is its JSON. The arena's; ERR_TOO_LARGE. */
MUST_USE err_code view_text(const struct fhirpath_item *item, struct arena *scratch, sv *out,
                            struct err *e);

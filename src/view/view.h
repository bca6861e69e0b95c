/* view.h - ViewDefinitions of SQL on FHIR: resources become rows of a table.
 *
 * view_compile() reads a ViewDefinition once, with all its expressions. view_rows() makes the rows
 * of one resource, and calls for each of them. A compiled view never changes: threads share it.
 * Offered: resource, constant, where, and select with column, select, unionAll, forEach,
 * forEachOrNull and repeat; %rowIndex. Limits below.
 * Source: SQL on FHIR 2, StructureDefinition-ViewDefinition.   Floor: view (uses fhirpath). */
#pragma once
#include "codec/parquet/parquet.h"
#include "fhirpath/fhirpath.h"

#define VIEW_BYTES_MAX   (1u << 20) /* of a ViewDefinition */
#define VIEW_COLUMNS_MAX 1000u
#define VIEW_DEPTH_MAX   32u /* selects in selects */
/* Of one resource, and for each JSON value that it has; past them is an error. */
#define VIEW_STEPS       (4u << 20)
#define VIEW_STEPS_VALUE 256u
/* What a ViewDefinition may take of its arena. */
#define VIEW_MEMORY (64u << 20)

struct view;

struct view_column {
    sv name, type; /* type: empty when the view does not say */
    sv sql_type;   /* of its tag "ansi/type"; empty: there is none */
    bool collection;
};

/* text is copied into a; *out is the arena's. ERR_INVALID: message with the member of the view, and
 * the place in an expression; ERR_UNSUPPORTED: something of the specification that is not offered;
 * ERR_TOO_LARGE. */
MUST_USE err_code view_compile(sv text, struct arena *a, const struct view **out, struct err *e);

fhir_type view_type(const struct view *v); /* of the resources that it reads */
const struct view_column *view_columns(const struct view *v, size_t *n);

/* One cell for each column, in their order: the items of a column that is a collection, else none
 * or one. Valid until the call returns. */
typedef err_code (*view_row_fn)(void *ctx, const struct fhirpath_list *cells, struct err *e);
/*   run  arena, clock and look; its steps are set here, and its arena is rewound to where it was
 * A resource of another type has no rows. ERR_INVALID: a value that the view does not allow
 * (message: which member of the view), ERR_TOO_LARGE, and what `row` and the run's look raise. */
MUST_USE err_code view_rows(const struct view *v, struct fhirpath_run *run, view_row_fn row,
                            void *ctx, struct err *e);

typedef enum { VIEW_CSV, VIEW_NDJSON, VIEW_PARQUET } view_format;
/* "csv", "ndjson", "parquet". */
MUST_USE bool view_format_find(sv name, view_format *out);

/* ---- as text: CSV, NDJSON ---- */
/* The line of names that CSV begins with; nothing of NDJSON. */
MUST_USE err_code view_write_head(const struct view *v, view_format format, struct buf *out,
                                  struct err *e);
/* One row, appended with its line's end. scratch: rewound. */
MUST_USE err_code view_write_row(const struct view *v, view_format format,
                                 const struct fhirpath_list *cells, struct arena *scratch,
                                 struct buf *out, struct err *e);

/* ---- as Parquet ---- */

/* The columns as Parquet has them, the arena's: by their types and their tags "ansi/type".
 *   *out  as many as view_columns() has
 * ERR_INVALID, ERR_UNSUPPORTED: a tag's type (message: which column). */
MUST_USE err_code view_parquet_columns(const struct view *v, struct arena *a,
                                       const struct parquet_column **out, struct err *e);
/* One row, put into rows of these columns. scratch: rewound. ERR_INVALID: a value is not of its
 * column's type (message: which column); ERR_TOO_LARGE. */
MUST_USE err_code view_parquet_row(const struct view *v, const struct parquet_column *columns,
                                   const struct fhirpath_list *cells, struct arena *scratch,
                                   struct parquet_rows *rows, struct err *e);

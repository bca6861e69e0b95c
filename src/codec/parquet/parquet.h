/* parquet.h - tables as Apache Parquet: rows are kept by column, and leave as row groups.
 *
 *   file := "PAR1" group* footer
 *
 * Threads may make row groups side by side, each with rows of its own; the footer takes them in the
 * order in which their bytes stand in the file. A column is optional, or a list of optional
 * elements that is never null. Pages are packed by zstd. A column of texts has a dictionary in each
 * row group where that makes it smaller. No statistics and no indexes are written.
 * Source: the Parquet format 2.10 (parquet.thrift, Encodings.md, LogicalTypes.md), pages of
 * version 1, which every reader takes; the Thrift compact protocol.   Floor: codec. */
#pragma once
#include "base/buf.h"

#define PARQUET_DECIMAL_DIGITS 38u
#define PARQUET_DECIMAL_LEN    16u

typedef enum {
    PARQUET_STRING, /* UTF-8 */
    PARQUET_BOOLEAN,
    PARQUET_INT32,
    PARQUET_INT64,
    PARQUET_DOUBLE,
    PARQUET_DATE,      /* days since 1970-01-01 */
    PARQUET_TIMESTAMP, /* microseconds since then, UTC */
    PARQUET_DECIMAL
} parquet_type;

struct parquet_column {
    sv name; /* UTF-8, borrowed */
    parquet_type type;
    uint8_t precision, scale; /* of a decimal: 1 to PARQUET_DECIMAL_DIGITS; 0 to precision */
    bool list;
};

struct parquet_value {
    bool null;
    union {
        int64_t integer; /* of all types but these: */
        double number;   /* PARQUET_DOUBLE */
        sv text;         /* PARQUET_STRING */
        /* PARQUET_DECIMAL: times 10 to the power of its scale, big-endian, two's complement */
        unsigned char decimal[PARQUET_DECIMAL_LEN];
    } as;
};

/* Rows that are no row group yet, and what the footer must know of groups that were made of them.
 * One thread at a time. */
struct parquet_rows;
/*   columns   borrowed
 *   row_most  bytes that the texts of one row may have
 * Never NULL (aborts when the machine is out). */
struct parquet_rows *parquet_rows_new(const struct parquet_column *columns, size_t n,
                                      size_t row_most);
void parquet_rows_free(struct parquet_rows *rows);
DEFINE_CLEANUP(struct parquet_rows, parquet_rows_free)

/* The cell of one column in the row that is being filled: of a list its elements, else one value or
 * none. ERR_TOO_LARGE: the column has PARQUET_COLUMN_BYTES, or the row row_most. */
#define PARQUET_COLUMN_BYTES ((size_t)1 << 30)
MUST_USE err_code parquet_cell(struct parquet_rows *rows, size_t column,
                               const struct parquet_value *values, size_t n, struct err *e);
/* Each column has its cell: the row is whole. */
void parquet_row_end(struct parquet_rows *rows);
/* What the rows take in memory, about; and how many there are. Memory between two groups is twice
 * what the last one took. */
size_t parquet_rows_bytes(const struct parquet_rows *rows);
size_t parquet_rows_n(const struct parquet_rows *rows);
/* The rows as a row group, appended to out; without rows nothing is. Then there are none. */
MUST_USE err_code parquet_group(struct parquet_rows *rows, struct buf *out, struct err *e);

/* What stands at the end of a file. One thread at a time. */
struct parquet_footer;
struct parquet_footer *parquet_footer_new(const struct parquet_column *columns, size_t n);
void parquet_footer_free(struct parquet_footer *f);
DEFINE_CLEANUP(struct parquet_footer, parquet_footer_free)
/* What a file begins with, appended. */
MUST_USE err_code parquet_head(struct buf *out, struct err *e);
/* The row groups that parquet_group() made of these rows since the last call: their bytes come next
 * in the file. ERR_TOO_LARGE: the footer would be too long. */
MUST_USE err_code parquet_footer_take(struct parquet_footer *f, struct parquet_rows *rows,
                                      struct err *e);
/* The footer, appended: the file is whole. Once. */
MUST_USE err_code parquet_footer_end(struct parquet_footer *f, struct buf *out, struct err *e);

/* parquet_private.h - what the rooms of Parquet share.
 *
 *   rows.c    cells, kept by column
 *   data.c    the values of a column; a dictionary as long as it pays
 *   chunk.c   a column as a column chunk: levels and values in pages, packed
 *   footer.c  the schema, and where the column chunks stand
 *   thrift.c  the compact protocol of headers and footer
 * Floor: codec. */
#pragma once
#include "codec/parquet/parquet.h"

/* ---- thrift.c: a struct is written field by field, with rising ids ---- */

typedef enum {
    THRIFT_TRUE = 1,
    THRIFT_FALSE = 2,
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_STRUCT = 12
} thrift_type;
struct thrift {
    struct buf *out;
    int last[8]; /* id of the last field, by depth */
    unsigned depth;
};
/* A failure stays in the buf's cap: every call answers it. */
MUST_USE err_code thrift_varint(struct buf *out, uint64_t v, struct err *e);
MUST_USE err_code thrift_i32(struct thrift *t, int id, int32_t v, struct err *e);
MUST_USE err_code thrift_i64(struct thrift *t, int id, int64_t v, struct err *e);
MUST_USE err_code thrift_text(struct thrift *t, int id, sv text, struct err *e);
MUST_USE err_code thrift_bool(struct thrift *t, int id, bool v, struct err *e);
/* A list of n elements, which come next: structs between thrift_element() and thrift_end(), or
 * numbers and texts by their item calls. */
MUST_USE err_code thrift_list(struct thrift *t, int id, thrift_type of, size_t n, struct err *e);
MUST_USE err_code thrift_item_i32(struct thrift *t, int32_t v, struct err *e);
MUST_USE err_code thrift_item_text(struct thrift *t, sv text, struct err *e);
void thrift_element(struct thrift *t);
MUST_USE err_code thrift_struct(struct thrift *t, int id, struct err *e);
MUST_USE err_code thrift_end(struct thrift *t, struct err *e);

/* ---- data.c ---- */

/* A column's values, without nulls, as PLAIN has them: a boolean is a byte, a text its length in
 * four bytes and itself. While there is a dictionary, the values stand in it, each once, and a
 * column has their numbers. */
struct parquet_data {
    struct buf levels;  /* a byte for each entry: definition, and PARQUET_REPEATED */
    struct buf plain;   /* the values, or the entries of the dictionary */
    struct buf numbers; /* uint32_t for each value: which entry */
    struct buf starts;  /* uint32_t for each entry: where it stands in plain */
    uint32_t *slots;    /* the entries by hash: number + 1; 0: none */
    size_t n_slots, n_values;
    size_t whole; /* bytes that the values take without a dictionary */
    bool dictionary;
};
#define PARQUET_REPEATED 0x80u /* not the first element of its list */
static inline size_t parquet_entries(const struct parquet_data *d)
{
    return d->starts.len / sizeof(uint32_t);
}
void parquet_data_init(struct parquet_data *d, parquet_type type); /* of zeroed memory */
void parquet_data_done(struct parquet_data *d);
void parquet_data_begin(struct parquet_data *d, parquet_type type); /* empty again */
/* Empty again; *keep is how much memory may stay, of which it takes its own. */
void parquet_data_rest(struct parquet_data *d, parquet_type type, size_t *keep);
/* What it takes in memory, and a part of what it would without its dictionary: when the dictionary
 * is given up, that is at most four times what was told. */
size_t parquet_data_bytes(const struct parquet_data *d);
/* One value more; levels are the caller's. ERR_TOO_LARGE: the column is full. */
MUST_USE err_code parquet_data_add(struct parquet_data *d, parquet_type type,
                                   const struct parquet_value *v, struct err *e);
/* Values in place of numbers. ERR_TOO_LARGE. */
MUST_USE err_code parquet_expand(struct parquet_data *d, struct err *e);
/* Bytes of a value of a type in PLAIN; 0: a text's own length says. */
size_t parquet_width(parquet_type type);

/* ---- chunk.c ---- */

struct parquet_chunk {               /* of a column, in a row group */
    uint64_t dictionary_at, data_at; /* from the group's first byte; dictionary_at == data_at:
                                        there is none */
    uint64_t packed, unpacked;       /* bytes with headers */
    uint64_t n_entries;
};
struct parquet_packer;
struct parquet_packer *parquet_packer_new(void);
void parquet_packer_free(struct parquet_packer *p);
void parquet_packer_rest(struct parquet_packer *p); /* gives large pages' memory back */
/* Appended to out. d is as it was, but that a dictionary that does not pay is gone. */
MUST_USE err_code parquet_chunk_put(struct parquet_packer *p, const struct parquet_column *c,
                                    struct parquet_data *d, uint64_t from, struct buf *out,
                                    struct parquet_chunk *told, struct err *e);
/* Definition levels: of a list, and of what is no list. */
static inline unsigned parquet_level_max(const struct parquet_column *c)
{
    return c->list ? 3 : 1;
}

/* ---- between rows.c and footer.c ---- */

struct parquet_group_told {
    uint64_t n_rows, bytes;
    struct parquet_chunk chunks[]; /* one for each column */
};
/* The groups that were made and not taken, one behind the other, as bytes. */
sv parquet_rows_told(const struct parquet_rows *rows);
void parquet_rows_taken(struct parquet_rows *rows);
static inline size_t parquet_told_bytes(size_t n_columns)
{
    return sizeof(struct parquet_group_told) + n_columns * sizeof(struct parquet_chunk);
}

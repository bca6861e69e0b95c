/* footer.c - the end of a file: the schema, and for each row group where its column chunks stand.
 * Rows of the footer are written as they come, so that it takes no more memory than its bytes.
 * Source: parquet.thrift: FileMetaData, SchemaElement, RowGroup, ColumnMetaData. */
#include "codec/parquet/parquet_private.h"

#define FOOTER_BYTES ((size_t)1 << 30)
#define MAGIC        "PAR1"
enum { REQUIRED = 0, OPTIONAL = 1, REPEATED = 2 };
enum { ZSTD = 6, PLAIN = 0, RLE = 3, RLE_DICTIONARY = 8 };

/* How a type stands in the schema: the physical type, the converted type of older readers (-1:
 * none), and the member of LogicalType (0: none). */
static const struct {
    int physical, converted, logical;
} types[] = {
    [PARQUET_STRING] = { 6, 0, 1 },     [PARQUET_BOOLEAN] = { 0, -1, 0 },
    [PARQUET_INT32] = { 1, -1, 0 },     [PARQUET_INT64] = { 2, -1, 0 },
    [PARQUET_DOUBLE] = { 5, -1, 0 },    [PARQUET_DATE] = { 1, 6, 6 },
    [PARQUET_TIMESTAMP] = { 2, 10, 8 }, [PARQUET_DECIMAL] = { 7, 5, 5 },
};

struct parquet_footer {
    const struct parquet_column *columns;
    size_t n_columns, n_groups;
    uint64_t n_rows, at; /* at: the file's length so far */
    struct buf groups;
};

struct parquet_footer *parquet_footer_new(const struct parquet_column *columns, size_t n)
{
    struct parquet_footer *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->columns = columns;
    f->n_columns = n;
    f->at = sizeof MAGIC - 1;
    buf_init(&f->groups, FOOTER_BYTES);
    return f;
}

void parquet_footer_free(struct parquet_footer *f)
{
    if (f == NULL)
        return;
    buf_done(&f->groups);
    free(f);
}

err_code parquet_head(struct buf *out, struct err *e)
{
    return buf_add(out, SV_LIT(MAGIC), e);
}

/* ---- row groups ---- */

static err_code put_chunk(struct thrift *t, const struct parquet_column *c, uint64_t from,
                          const struct parquet_chunk *k, struct err *e)
{
    const bool dictionary = k->dictionary_at != k->data_at;
    thrift_element(t);
    TRY(thrift_i64(t, 2, (int64_t)(from + k->dictionary_at), e));
    TRY(thrift_struct(t, 3, e));
    TRY(thrift_i32(t, 1, types[c->type].physical, e));
    TRY(thrift_list(t, 2, THRIFT_I32, dictionary ? 3 : 2, e));
    TRY(thrift_item_i32(t, PLAIN, e));
    TRY(thrift_item_i32(t, RLE, e));
    if (dictionary)
        TRY(thrift_item_i32(t, RLE_DICTIONARY, e));
    TRY(thrift_list(t, 3, THRIFT_BINARY, c->list ? 3 : 1, e));
    TRY(thrift_item_text(t, c->name, e));
    if (c->list) {
        TRY(thrift_item_text(t, SV_LIT("list"), e));
        TRY(thrift_item_text(t, SV_LIT("element"), e));
    }
    TRY(thrift_i32(t, 4, ZSTD, e));
    TRY(thrift_i64(t, 5, (int64_t)k->n_entries, e));
    TRY(thrift_i64(t, 6, (int64_t)k->unpacked, e));
    TRY(thrift_i64(t, 7, (int64_t)k->packed, e));
    TRY(thrift_i64(t, 9, (int64_t)(from + k->data_at), e));
    if (dictionary)
        TRY(thrift_i64(t, 11, (int64_t)(from + k->dictionary_at), e));
    TRY(thrift_end(t, e));
    return thrift_end(t, e);
}

static err_code put_group(struct parquet_footer *f, const struct parquet_group_told *g,
                          struct err *e)
{
    struct thrift t = { .out = &f->groups };
    uint64_t unpacked = 0;
    thrift_element(&t);
    TRY(thrift_list(&t, 1, THRIFT_STRUCT, f->n_columns, e));
    for (size_t i = 0; i < f->n_columns; i++) {
        TRY(put_chunk(&t, &f->columns[i], f->at, &g->chunks[i], e));
        unpacked += g->chunks[i].unpacked;
    }
    TRY(thrift_i64(&t, 2, (int64_t)unpacked, e));
    TRY(thrift_i64(&t, 3, (int64_t)g->n_rows, e));
    return thrift_end(&t, e);
}

err_code parquet_footer_take(struct parquet_footer *f, struct parquet_rows *rows, struct err *e)
{
    const size_t size = parquet_told_bytes(f->n_columns);
    sv all = parquet_rows_told(rows);
    for (size_t at = 0; at < all.len; at += size) {
        const struct parquet_group_told *g = (const void *)(all.ptr + at);
        TRY(put_group(f, g, e));
        f->at += g->bytes;
        f->n_rows += g->n_rows;
        f->n_groups++;
    }
    parquet_rows_taken(rows);
    return ERR_OK;
}

/* ---- the schema ---- */

static err_code put_logical(struct thrift *t, const struct parquet_column *c, struct err *e)
{
    TRY(thrift_struct(t, 10, e));
    TRY(thrift_struct(t, types[c->type].logical, e));
    if (c->type == PARQUET_DECIMAL) {
        TRY(thrift_i32(t, 1, c->scale, e));
        TRY(thrift_i32(t, 2, c->precision, e));
    }
    if (c->type == PARQUET_TIMESTAMP) {
        TRY(thrift_bool(t, 1, true, e));
        TRY(thrift_struct(t, 2, e));
        TRY(thrift_struct(t, 2, e)); /* microseconds */
        TRY(thrift_end(t, e));
        TRY(thrift_end(t, e));
    }
    TRY(thrift_end(t, e));
    return thrift_end(t, e);
}

static err_code put_leaf(struct thrift *t, const struct parquet_column *c, sv name, struct err *e)
{
    thrift_element(t);
    TRY(thrift_i32(t, 1, types[c->type].physical, e));
    if (c->type == PARQUET_DECIMAL)
        TRY(thrift_i32(t, 2, PARQUET_DECIMAL_LEN, e));
    TRY(thrift_i32(t, 3, OPTIONAL, e));
    TRY(thrift_text(t, 4, name, e));
    if (types[c->type].converted >= 0)
        TRY(thrift_i32(t, 6, types[c->type].converted, e));
    if (c->type == PARQUET_DECIMAL) {
        TRY(thrift_i32(t, 7, c->scale, e));
        TRY(thrift_i32(t, 8, c->precision, e));
    }
    if (types[c->type].logical)
        TRY(put_logical(t, c, e));
    return thrift_end(t, e);
}

/* A group with one child. LIST: it is the outer one of a list, which has three levels. */
static err_code put_outer(struct thrift *t, sv name, int repetition, bool list, struct err *e)
{
    thrift_element(t);
    TRY(thrift_i32(t, 3, repetition, e));
    TRY(thrift_text(t, 4, name, e));
    TRY(thrift_i32(t, 5, 1, e));
    if (list) {
        TRY(thrift_i32(t, 6, 3, e));
        TRY(thrift_struct(t, 10, e));
        TRY(thrift_struct(t, 3, e));
        TRY(thrift_end(t, e));
        TRY(thrift_end(t, e));
    }
    return thrift_end(t, e);
}

static err_code put_schema(struct parquet_footer *f, struct thrift *t, struct err *e)
{
    size_t n = 1;
    for (size_t i = 0; i < f->n_columns; i++)
        n += f->columns[i].list ? 3 : 1;
    TRY(thrift_list(t, 2, THRIFT_STRUCT, n, e));
    thrift_element(t);
    TRY(thrift_text(t, 4, SV_LIT("schema"), e));
    TRY(thrift_i32(t, 5, (int32_t)f->n_columns, e));
    TRY(thrift_end(t, e));
    for (size_t i = 0; i < f->n_columns; i++) {
        const struct parquet_column *c = &f->columns[i];
        if (!c->list) {
            TRY(put_leaf(t, c, c->name, e));
            continue;
        }
        TRY(put_outer(t, c->name, OPTIONAL, true, e));
        TRY(put_outer(t, SV_LIT("list"), REPEATED, false, e));
        TRY(put_leaf(t, c, SV_LIT("element"), e));
    }
    return ERR_OK;
}

err_code parquet_footer_end(struct parquet_footer *f, struct buf *out, struct err *e)
{
    const size_t from = out->len;
    struct thrift t = { .out = out };
    TRY(thrift_i32(&t, 1, 1, e));
    TRY(put_schema(f, &t, e));
    TRY(thrift_i64(&t, 3, (int64_t)f->n_rows, e));
    TRY(thrift_list(&t, 4, THRIFT_STRUCT, f->n_groups, e));
    TRY(buf_add(out, buf_sv(&f->groups), e));
    TRY(thrift_text(&t, 6, SV_LIT("fhirlake"), e));
    TRY(thrift_end(&t, e));
    const size_t len = out->len - from;
    for (size_t i = 0; i < 4; i++)
        TRY(buf_add_char(out, (char)(len >> (8 * i)), e));
    return buf_add(out, SV_LIT(MAGIC), e);
}

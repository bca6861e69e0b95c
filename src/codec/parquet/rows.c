/* rows.c - cells, kept by column until they are a row group. */
#include "codec/parquet/parquet_private.h"

#define TOLD_BYTES ((size_t)1 << 30)
#define KEEP_BYTES ((size_t)1 << 20)

struct parquet_rows {
    const struct parquet_column *columns;
    size_t n_columns, n_rows, bytes, row_bytes, row_most;
    struct parquet_data *data;
    struct parquet_packer *packer;
    struct buf told;
};

struct parquet_rows *parquet_rows_new(const struct parquet_column *columns, size_t n,
                                      size_t row_most)
{
    struct parquet_rows *rows = calloc(1, sizeof *rows);
    if (rows == NULL || (rows->data = calloc(n + 1, sizeof *rows->data)) == NULL)
        abort();
    rows->columns = columns;
    rows->n_columns = n;
    rows->row_most = row_most;
    rows->packer = parquet_packer_new();
    buf_init(&rows->told, TOLD_BYTES);
    for (size_t i = 0; i < n; i++)
        parquet_data_init(&rows->data[i], columns[i].type);
    return rows;
}

void parquet_rows_free(struct parquet_rows *rows)
{
    if (rows == NULL)
        return;
    for (size_t i = 0; i < rows->n_columns; i++)
        parquet_data_done(&rows->data[i]);
    parquet_packer_free(rows->packer);
    buf_done(&rows->told);
    free(rows->data);
    free(rows);
}

err_code parquet_cell(struct parquet_rows *rows, size_t column, const struct parquet_value *values,
                      size_t n, struct err *e)
{
    const struct parquet_column *c = &rows->columns[column];
    struct parquet_data *d = &rows->data[column];
    const unsigned most = parquet_level_max(c);
    const size_t before = parquet_data_bytes(d);
    assert(c->list || n <= 1);
    /* 0 is null; of a list, which is never null: 1 is empty, 2 a null in it */
    if (n == 0)
        TRY(buf_add_char(&d->levels, c->list ? 1 : 0, e));
    for (size_t i = 0; i < n; i++) {
        unsigned level = values[i].null ? most - 1 : most;
        TRY(buf_add_char(&d->levels, (char)(level | (i ? PARQUET_REPEATED : 0)), e));
        if (values[i].null)
            continue;
        rows->row_bytes += c->type == PARQUET_STRING ? values[i].as.text.len : 0;
        if (rows->row_bytes > rows->row_most)
            return ERR(e, ERR_TOO_LARGE, "a row has more than %zu MiB of texts",
                       rows->row_most >> 20);
        TRY(parquet_data_add(d, c->type, &values[i], e));
    }
    const size_t after = parquet_data_bytes(d);
    rows->bytes += after > before ? after - before : 0;
    return ERR_OK;
}

void parquet_row_end(struct parquet_rows *rows)
{
    rows->n_rows++;
    rows->row_bytes = 0;
}

size_t parquet_rows_bytes(const struct parquet_rows *rows)
{
    return rows->bytes;
}

size_t parquet_rows_n(const struct parquet_rows *rows)
{
    return rows->n_rows;
}

/* ---- groups ---- */

err_code parquet_group(struct parquet_rows *rows, struct buf *out, struct err *e)
{
    const size_t from = out->len, size = parquet_told_bytes(rows->n_columns);
    if (rows->n_rows == 0)
        return ERR_OK;
    TRY(buf_reserve(&rows->told, size, e));
    /* of the next group as much is kept as this one has had, whatever column it was in */
    size_t keep = rows->bytes > KEEP_BYTES ? 2 * rows->bytes : 2 * KEEP_BYTES;
    struct parquet_group_told *told = (void *)(rows->told.ptr + rows->told.len);
    for (size_t i = 0; i < rows->n_columns; i++) {
        TRY(parquet_chunk_put(rows->packer, &rows->columns[i], &rows->data[i], from, out,
                              &told->chunks[i], e));
        parquet_data_rest(&rows->data[i], rows->columns[i].type, &keep);
    }
    parquet_packer_rest(rows->packer);
    told->n_rows = rows->n_rows;
    told->bytes = out->len - from;
    rows->told.len += size;
    rows->n_rows = rows->bytes = 0;
    return ERR_OK;
}

sv parquet_rows_told(const struct parquet_rows *rows)
{
    return buf_sv(&rows->told);
}

void parquet_rows_taken(struct parquet_rows *rows)
{
    buf_clear(&rows->told);
}

/* table.c - rows become the answer.
 *
 * A table of up to FIRST_BYTES that is made within FIRST_US is a whole answer, with a length, or an
 * error. A longer one goes out while it is made: what was made is put when it is PIECE_BYTES, or
 * PIECE_US old. Parquet waits for no time: a row group at a time is put. For a caller of HTTP/1.0
 * the answer is whole, and has at most what the body may have. */
#include "rest/view/view_private.h"

#include "base/clock.h"
#include "rest/stream_private.h"

#define GROUP_BYTES ((size_t)16 << 20) /* of Parquet, before it is packed */
#define GROUP_ROWS  ((size_t)1 << 17)
#define ROW_BYTES   ((size_t)32 << 20) /* of Parquet: texts of one row */
#define FIRST_BYTES ((size_t)1 << 20)
#define FIRST_US    UINT64_C(3000000)
#define PIECE_BYTES ((size_t)64 << 10)
#define PIECE_US    UINT64_C(500000)

static sv content_type(view_as as)
{
    static const char *const types[] = { [VIEW_AS_NDJSON] = "application/x-ndjson",
                                         [VIEW_AS_JSON] = "application/json",
                                         [VIEW_AS_CSV] = "text/csv;charset=utf-8",
                                         [VIEW_AS_PARQUET] = "application/vnd.apache.parquet" };
    return sv_from(types[as]);
}

static bool has_begun(const struct view_table *t)
{
    return t->streams && t->call->stream->out;
}

static err_code put(struct view_table *t, struct err *e)
{
    TRY(rest_stream_put(t->call, t->body, e));
    t->put_us = clock_mono_us();
    return ERR_OK;
}

uint64_t rest_view_table_due_us(const struct view_table *t)
{
    /* the answer begins though it has no row yet, and goes on when there is one */
    if (!t->streams || t->holds || t->parquet || (has_begun(t) && t->body->len == 0))
        return UINT64_MAX;
    return t->put_us + (has_begun(t) ? PIECE_US : FIRST_US);
}

err_code rest_view_table_due(struct view_table *t, struct err *e)
{
    if (!t->streams || t->holds)
        return ERR_OK;
    if (t->body->len >= (has_begun(t) ? PIECE_BYTES : FIRST_BYTES))
        return put(t, e);
    return clock_mono_us() < rest_view_table_due_us(t) ? ERR_OK : put(t, e);
}

static err_code take_group(struct view_table *t, struct err *e)
{
    TRY(parquet_group(t->parquet, t->body, e));
    return parquet_footer_take(t->footer, t->parquet, e);
}

static err_code write_row(struct view_table *t, const struct fhirpath_list *cells, struct err *e)
{
    const struct view_asked *q = t->asked;
    if (t->parquet) {
        TRY(view_parquet_row(q->v, q->columns, cells, t->scratch, t->parquet, e));
        if (parquet_rows_bytes(t->parquet) < GROUP_BYTES && parquet_rows_n(t->parquet) < GROUP_ROWS)
            return ERR_OK;
        return take_group(t, e);
    }
    if (q->as == VIEW_AS_JSON && t->n_rows)
        TRY(buf_add(t->body, SV_LIT(",\n"), e));
    TRY(view_write_row(q->v, q->as == VIEW_AS_CSV ? VIEW_CSV : VIEW_NDJSON, cells, t->scratch,
                       t->body, e));
    /* what stands behind a row of JSON depends on whether there is another one */
    t->body->len -= q->as == VIEW_AS_JSON;
    return ERR_OK;
}

static err_code too_long(struct view_table *t, struct err *e)
{
    t->too_long = true;
    if (t->streams)
        return ERR(e, ERR_TOO_LARGE, "%s more than %zu MiB",
                   t->holds ? "The rows of one large resource have" : "A row has",
                   t->body->max >> 20);
    return ERR(e, ERR_TOO_LARGE,
               "The table has more than %zu MiB, and for HTTP/1.0 it is made whole: come with "
               "HTTP/1.1, or ask for less with _limit, patient or _since",
               t->body->max >> 20);
}

err_code rest_view_table_row(struct view_table *t, const struct fhirpath_list *cells, struct err *e)
{
    err_code rc = write_row(t, cells, e);
    /* what is left is no room for another row of this length */
    if (rc == ERR_TOO_LARGE && t->body->len > t->body->max / 2)
        return too_long(t, e);
    TRY(rc);
    t->n_rows++;
    TRY(rest_view_table_due(t, e));
    /* nobody looks for one more */
    return t->n_rows == t->asked->limit ? ERR_EOF : ERR_OK;
}

err_code rest_view_table_begin(struct view_table *t, struct err *e)
{
    const struct view_asked *q = t->asked;
    size_t n;
    (void)view_columns(q->v, &n);
    t->call->out.status = 200;
    t->call->out.content_type = content_type(q->as);
    t->call->out.as_it_is = true;
    t->put_us = clock_mono_us();
    if (q->as == VIEW_AS_JSON)
        return buf_add(t->body, SV_LIT("["), e);
    if (t->streams)
        t->call->stream->is_packed = q->as == VIEW_AS_PARQUET;
    if (q->as == VIEW_AS_PARQUET) {
        t->parquet = parquet_rows_new(q->columns, n, ROW_BYTES);
        t->footer = parquet_footer_new(q->columns, n);
        return parquet_head(t->body, e);
    }
    return q->no_header
               ? ERR_OK
               : view_write_head(q->v, q->as == VIEW_AS_CSV ? VIEW_CSV : VIEW_NDJSON, t->body, e);
}

static err_code last_bytes(struct view_table *t, struct err *e)
{
    if (t->asked->as == VIEW_AS_JSON)
        return buf_add(t->body, SV_LIT("]\n"), e);
    if (t->parquet == NULL)
        return ERR_OK;
    TRY(take_group(t, e));
    return parquet_footer_end(t->footer, t->body, e);
}

err_code rest_view_table_end(struct view_table *t, struct err *e)
{
    err_code rc = last_bytes(t, e);
    if (rc == ERR_TOO_LARGE)
        return too_long(t, e);
    TRY(rc);
    return has_begun(t) ? put(t, e) : ERR_OK;
}

void rest_view_table_done(struct view_table *t)
{
    parquet_rows_free(t->parquet);
    parquet_footer_free(t->footer);
}

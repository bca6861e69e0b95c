/* check_records.c - the ids and the states of data stores, out of the system's records.
 *
 *   datastore/<id> -> JSON with "status", "backup" (service/datastore.c) */
#include "cli/check_records.h"

#include "codec/json.h"
#include "store/records.h"

#include <limits.h>

#define PREFIX        SV_LIT("datastore/")
#define ROWS_MAX      ((size_t)64 << 20)
#define RECORD_DEPTH  16u
#define RECORD_MEMORY (4u << 20)

struct reading {
    struct arena *a, *scratch;
    struct buf rows; /* struct check_record */
    err_code rc;
    struct err *e;
};

static void read_state(yyjson_val *record, struct check_record *row)
{
    int64_t until;
    row->status = json_string(json_get(record, "status"));
    row->kept = sv_eq(row->status, SV_LIT("DELETED")) &&
                sv_to_i64(json_number(json_get(json_get(record, "backup"), "until")), &until) &&
                until != 0;
}

static err_code add(struct reading *x, sv id, sv json)
{
    struct err why;
    yyjson_doc *doc;
    const arena_mark start = arena_mark_get(x->scratch);
    struct check_record row = { .id = arena_sv(x->a, id) };
    sv text = arena_sv(x->scratch, json);
    if (text.ptr && json_read(x->scratch, text, RECORD_DEPTH, &doc, &why) == ERR_OK)
        read_state(yyjson_doc_get_root(doc), &row);
    if (row.status.len == 0)
        return ERR(x->e, ERR_CORRUPT, "a data store's record is damaged");
    row.status = arena_sv(x->a, row.status);
    arena_rewind(x->scratch, start);
    if (row.id.ptr == NULL || row.status.ptr == NULL)
        return arena_oom(x->a, x->e);
    return buf_add(&x->rows, sv_make(&row, sizeof row), x->e);
}

/* records_each_fn */
static bool each(void *ctx, sv key, sv value)
{
    struct reading *x = ctx;
    x->rc = add(x, sv_tail(key, PREFIX.len), value);
    return x->rc == ERR_OK;
}

static err_code read_all(struct reading *x, const char *uri, struct check_records *out,
                         struct err *e)
{
    CLEANUP(records_close) struct records *r = NULL;
    TRY(records_open_to_read(uri, &r, e));
    TRY(records_scan(r, PREFIX, SV_NONE, each, x, e));
    TRY(x->rc);
    struct check_record *all = arena_alloc(x->a, x->rows.len + 1);
    if (all == NULL)
        return arena_oom(x->a, e);
    if (x->rows.len)
        memcpy(all, x->rows.ptr, x->rows.len);
    /* keys come in their order */
    *out = (struct check_records){ all, x->rows.len / sizeof *all };
    return ERR_OK;
}

err_code check_records_read(const char *data, struct arena *a, struct check_records *out,
                            struct err *e)
{
    char uri[sizeof "rocksdb:" + PATH_MAX];
    if (snprintf(uri, sizeof uri, "rocksdb:%s/system", data) >= PATH_MAX)
        return ERR(e, ERR_INVALID, "the path of the data folder is too long");
    struct reading x = {
        .a = a, .scratch = arena_new(RECORD_MEMORY), .rows = BUF_INIT(ROWS_MAX), .e = e
    };
    err_code rc = read_all(&x, uri, out, e);
    buf_done(&x.rows);
    arena_free(x.scratch);
    return rc;
}

static int by_id(const void *a, const void *b)
{
    return sv_cmp(((const struct check_record *)a)->id, ((const struct check_record *)b)->id);
}

struct check_record *check_records_find(const struct check_records *r, sv id)
{
    const struct check_record wanted = { .id = id };
    return r->n ? bsearch(&wanted, r->all, r->n, sizeof *r->all, by_id) : NULL;
}

/* records.c - the system's records in a table, for all processes of one database.
 *
 * A batch is a transaction. Its writes go in the order of their keys, so that two batches wait for
 * each other and never for ever. rev grows with each write of a record, for who wants to know
 * whether another one came between. */
#include "store/postgres/read_private.h"

#define READING_RECORDS "reading the system's records"
#define WRITING_RECORDS "writing the system's records"
#define SCAN_BATCH      256

struct pg_records {
    struct records base;
    struct pg_pool *pool;
    bool to_read;
};

static void records_close_pg(struct records *base)
{
    struct pg_records *r = (struct pg_records *)base;
    pg_pool_free(r->pool);
    free(r);
}

static err_code records_get_pg(struct records *base, sv key, struct buf *out, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    const char *args[] = { key.ptr };
    const int lens[] = { (int)key.len }, binary[] = { 1 };
    PGconn *c;
    PGresult *got;
    TRY(pg_pool_take(r->pool, PG_READ, &c, e));
    err_code rc = pg_ask_bin(c, "select v from records where k = $1::bytea", 1, args, lens, binary,
                             READING_RECORDS, &got, e);
    pg_pool_give(r->pool, PG_READ, c);
    TRY(rc);
    rc = PQntuples(got) == 1 ? buf_add(out, pg_bytes(got, 0, 0), e)
                             : ERR(e, ERR_NOT_FOUND, "no such record");
    PQclear(got);
    return rc;
}

/* ---- writing ---- */

static const char put[] =
    "insert into records as r (k, v, rev) values ($1::bytea, $2::bytea, 1) on conflict (k) do "
    "update set v = excluded.v, rev = r.rev + 1";
static const char put_new[] =
    "insert into records(k, v, rev) values ($1::bytea, $2::bytea, 1) on conflict (k) do nothing";
static const char take_out[] = "delete from records where k = $1::bytea";

static err_code write_one(PGconn *c, const struct records_write *w, struct err *e)
{
    const char *args[] = { w->key.ptr, w->value.len ? w->value.ptr : "" };
    const int lens[] = { (int)w->key.len, (int)w->value.len }, binary[] = { 1, 1 };
    const bool out = w->op == RECORDS_DELETE;
    PGresult *r;
    TRY(pg_ask_bin(c,
                   out                    ? take_out
                   : w->op == RECORDS_PUT ? put
                                          : put_new,
                   out ? 1 : 2, args, lens, binary, WRITING_RECORDS, &r, e));
    const bool none = strcmp(PQcmdTuples(r), "0") == 0;
    PQclear(r);
    return w->op == RECORDS_PUT_IF_ABSENT && none
               ? ERR(e, ERR_EXISTS, "the record is there already")
               : ERR_OK;
}

static int by_key(const void *a, const void *b)
{
    const struct records_write *x = *(const struct records_write *const *)a;
    const struct records_write *y = *(const struct records_write *const *)b;
    int c = sv_cmp(x->key, y->key);
    /* of one key, as they came */
    return c ? c : x < y ? -1 : x > y;
}

static err_code write_all(PGconn *c, const struct records_write *const *order, size_t n,
                          bool *asked_end, struct err *e)
{
    *asked_end = false;
    TRY(pg_do(c, "begin", WRITING_RECORDS, e));
    for (size_t i = 0; i < n; i++)
        TRY(write_one(c, order[i], e));
    *asked_end = true;
    return pg_do(c, "commit", WRITING_RECORDS, e);
}

static err_code check_writes(const struct pg_records *r, struct err *e)
{
    return r->to_read ? ERR(e, ERR_IO, WRITING_RECORDS ": they were opened to be read alone")
                      : ERR_OK;
}

static err_code records_write_pg(struct records *base, const struct records_write *w, size_t n,
                                 struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    bool asked_end;
    PGconn *c;
    TRY(check_writes(r, e));
    TRY(pg_pool_take(r->pool, PG_WRITE, &c, e));
    const struct records_write **order = calloc(n ? n : 1, sizeof *order);
    if (order == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        order[i] = &w[i];
    if (n)
        qsort(order, n, sizeof *order, by_key);
    err_code rc = write_all(c, order, n, &asked_end, e);
    if (rc != ERR_OK && asked_end && PQstatus(c) == CONNECTION_BAD)
        rc = ERR(e, ERR_UNAVAILABLE,
                 WRITING_RECORDS ": the connection to the database ended, and it is not known "
                                 "whether they were written");
    free(order);
    pg_pool_give(r->pool, PG_WRITE, c);
    return rc;
}

/* A role of its own: what is committed there does not wait for the disk. */
static err_code records_put_unsynced_pg(struct records *base, sv key, sv value, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    const struct records_write w = { RECORDS_PUT, key, value };
    PGconn *c;
    TRY(check_writes(r, e));
    TRY(pg_pool_take(r->pool, PG_LOAD, &c, e));
    err_code rc = write_one(c, &w, e);
    pg_pool_give(r->pool, PG_LOAD, c);
    return rc;
}

/* ---- reading many ---- */

/* The first key behind all that begin with prefix; false: there is none. */
static err_code end_of(sv prefix, struct buf *out, bool *there, struct err *e)
{
    while (prefix.len && (unsigned char)prefix.ptr[prefix.len - 1] == 255)
        prefix.len--;
    *there = prefix.len > 0;
    TRY(buf_add(out, prefix, e));
    if (*there)
        out->ptr[out->len - 1] = (char)((unsigned char)out->ptr[out->len - 1] + 1);
    return ERR_OK;
}

/* Both are bounds; from is left out when `behind`. end.ptr NULL: none. */
static err_code scan_batch(struct pg_records *r, sv from, bool behind, sv end, PGresult **out,
                           struct err *e)
{
    const char *args[] = { from.ptr ? from.ptr : "", end.ptr };
    const int lens[] = { (int)from.len, (int)end.len }, binary[] = { 1, 1 };
    PGconn *c;
    TRY(pg_pool_take(r->pool, PG_READ, &c, e));
    err_code rc = pg_ask_bin(c,
                             behind ? "select k, v from records where k > $1::bytea and ($2::bytea "
                                      "is null or k < $2::bytea) order by k limit 256"
                                    : "select k, v from records where k >= $1::bytea and "
                                      "($2::bytea is null or k < $2::bytea) order by k limit 256",
                             2, args, lens, binary, READING_RECORDS, out, e);
    pg_pool_give(r->pool, PG_READ, c);
    return rc;
}

static err_code records_scan_pg(struct records *base, sv prefix, sv after, records_each_fn each,
                                void *ctx, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    CLEANUP_BUF struct buf end = BUF_INIT(prefix.len + 1), last = BUF_INIT(1u << 20);
    bool behind = after.len && sv_cmp(after, prefix) >= 0, there, go_on = true;
    TRY(end_of(prefix, &end, &there, e));
    TRY(buf_add(&last, behind ? after : prefix, e));
    while (go_on) {
        PGresult *got;
        TRY(scan_batch(r, buf_sv(&last), behind, there ? buf_sv(&end) : SV_NONE, &got, e));
        const int n = PQntuples(got);
        for (int i = 0; i < n && go_on; i++)
            go_on = each(ctx, pg_bytes(got, i, 0), pg_bytes(got, i, 1));
        err_code rc = ERR_OK;
        behind = true;
        buf_clear(&last);
        if (n)
            rc = buf_add(&last, pg_bytes(got, n - 1, 0), e);
        PQclear(got);
        TRY(rc);
        if (n < SCAN_BATCH)
            break;
    }
    return ERR_OK;
}

/* ---- what files alone can do ---- */

static err_code records_scrub_pg(struct records *base, struct err *e)
{
    (void)base;
    return ERR(e, ERR_UNSUPPORTED, "records on PostgreSQL cannot be scrubbed yet");
}

static err_code records_snapshot_pg(struct records *base, const char *folder, struct err *e)
{
    (void)base;
    (void)folder;
    return ERR(e, ERR_UNSUPPORTED,
               "a database is backed up by its own tools: there are no files of records to link");
}

static const struct records_ops ops = {
    .close = records_close_pg,
    .get = records_get_pg,
    .write = records_write_pg,
    .put_unsynced = records_put_unsynced_pg,
    .scrub = records_scrub_pg,
    .scan = records_scan_pg,
    .snapshot = records_snapshot_pg,
};

static const char table[] =
    "create table records(k bytea primary key, v bytea not null, rev bigint "
    "not null)";

static err_code ready(PGconn *c, const char *schema, bool to_read, struct err *e)
{
    bool there;
    if (!to_read)
        return pg_schema_make(c, schema, table, e);
    TRY(pg_schema_is_there(c, schema, &there, e));
    return there ? ERR_OK : ERR(e, ERR_NOT_FOUND, "there are no system's records");
}

err_code pg_records_open(const char *place, bool to_read, struct records **out, struct err *e)
{
    char schema[PG_SCHEMA_MAX], *conninfo;
    PGconn *c;
    TRY(pg_place_read(place, &conninfo, schema, e));
    struct pg_records *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->base.ops = &ops;
    r->to_read = to_read;
    r->pool = pg_pool_new(conninfo, schema);
    free(conninfo);
    err_code rc = pg_pool_take(r->pool, PG_WRITE, &c, e);
    if (rc == ERR_OK) {
        rc = ready(c, schema, to_read, e);
        pg_pool_give(r->pool, PG_WRITE, c);
    }
    if (rc != ERR_OK)
        records_close_pg(&r->base);
    else
        *out = &r->base;
    return rc;
}

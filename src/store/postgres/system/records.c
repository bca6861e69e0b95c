/* records.c - the system's records in a table, for all processes of one database.
 *
 * A batch is a transaction. Its writes go in the order of their keys, so that two batches wait for
 * each other and never for ever. rev grows with each write of a record, for who wants to know
 * whether another one came between. */
#include "store/postgres/system/system_private.h"

#include "base/rng.h"

#define READING_RECORDS "reading the system's records"
#define WRITING_RECORDS "writing the system's records"
#define SCAN_BATCH      256
#define FORGET_EACH     1024u /* batches: then numbers of those that are long done are dropped */
#define TRIES           8     /* of a batch that the database gave up for another one */

static void records_close_pg(struct records *base)
{
    struct pg_records *r = (struct pg_records *)base;
    pg_member_leave(r->member);
    pg_pool_free(r->pool);
    free(r);
}

static err_code records_get_pg(struct records *base, sv key, struct buf *out, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    const char *args[] = { key.ptr };
    const int lens[] = { (int)key.len }, binary[] = { 1 };
    PGresult *got;
    TRY(pg_pool_ask(r->pool, PG_READ, "select v from records where k = $1::bytea", 1, args, lens,
                    binary, READING_RECORDS, &got, e));
    err_code rc = PQntuples(got) == 1 ? buf_add(out, pg_bytes(got, 0, 0), e)
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
static const char same[] = "select 1 from records where k = $1::bytea and v = $2::bytea for update";

static const char *const by_op[] = {
    [RECORDS_PUT] = put,
    [RECORDS_PUT_IF_ABSENT] = put_new,
    [RECORDS_DELETE] = take_out,
    [RECORDS_IF_SAME] = same,
};

static err_code write_one(PGconn *c, const struct records_write *w, struct err *e)
{
    const char *args[] = { w->key.ptr, w->value.len ? w->value.ptr : "" };
    const int lens[] = { (int)w->key.len, (int)w->value.len }, binary[] = { 1, 1 };
    PGresult *r;
    TRY(pg_ask_bin(c, by_op[w->op], w->op == RECORDS_DELETE ? 1 : 2, args, lens, binary,
                   WRITING_RECORDS, &r, e));
    const bool none = strcmp(PQcmdTuples(r), "0") == 0;
    PQclear(r);
    if (w->op == RECORDS_PUT_IF_ABSENT && none)
        return ERR(e, ERR_EXISTS, "the record is there already");
    if (w->op == RECORDS_IF_SAME && none)
        return ERR(e, ERR_PRECONDITION, "the record was changed meanwhile");
    return ERR_OK;
}

static int by_key(const void *a, const void *b)
{
    const struct records_write *x = *(const struct records_write *const *)a;
    const struct records_write *y = *(const struct records_write *const *)b;
    int c = sv_cmp(x->key, y->key);
    /* of one key, as they came */
    return c ? c : x < y ? -1 : x > y;
}

/* A transaction, under a lease. Who is frozen in it holds the lease's row against all others, so it
 * is one of a connection that the server ends soon (connect.c), whether or not it waits for the
 * disk. */
static err_code begin(PGconn *c, uint64_t epoch, bool synced, struct err *e)
{
    const char *const how = synced ? "begin" : "begin; set local synchronous_commit = off";
    char sql[192];
    PGresult *got;
    if (epoch == 0)
        return pg_do(c, how, WRITING_RECORDS, e);
    (void)snprintf(sql, sizeof sql,
                   "%s; select 1 from leases where epoch = %llu and until > clock_timestamp() "
                   "for share",
                   how, (unsigned long long)epoch);
    TRY(pg_run(c, sql, WRITING_RECORDS, &got, e));
    const bool mine = PQntuples(got) == 1;
    PQclear(got);
    return mine ? ERR_OK : ERR(e, ERR_CONFLICT, "another process goes on with it");
}

/* The batch has a number of its own, which is written with it: one that was written already, by a
 * try whose answer was lost, is found. That waits for a try that is still under way. */
static err_code enter_batch(PGconn *c, const char *who, bool *found, struct err *e)
{
    const char *args[] = { who };
    PGresult *r;
    TRY(pg_ask(c,
               "insert into written(who, at) values ($1::text::uuid, clock_timestamp()) on "
               "conflict do nothing",
               1, args, WRITING_RECORDS, &r, e));
    *found = strcmp(PQcmdTuples(r), "0") == 0;
    PQclear(r);
    return ERR_OK;
}

/* The standby may not have it: this is waited for. */
static err_code confirm_batch(PGconn *c, const char *who, bool *unknown, struct err *e)
{
    const char *args[] = { who };
    TRY(pg_command(c, "update written set at = clock_timestamp() where who = $1::text::uuid", 1,
                   args, WRITING_RECORDS, e));
    return pg_end(c, WRITING_RECORDS, unknown, e);
}

struct batch {
    const struct records_write **order;
    size_t n;
    uint64_t epoch;
    bool synced; /* its commit waits for the disk */
    char who[37];
    bool unknown;  /* whether it is written, as the last try left it */
    bool given_up; /* nothing was, since the database chose another one's transaction */
};

static err_code write_all(PGconn *c, struct batch *b, struct err *e)
{
    err_code rc = ERR_OK;
    bool found;
    b->given_up = false;
    TRY(begin(c, b->epoch, b->synced, e));
    TRY(enter_batch(c, b->who, &found, e));
    b->unknown = false;
    if (found)
        return confirm_batch(c, b->who, &b->unknown, e);
    for (size_t i = 0; i < b->n && rc == ERR_OK; i++)
        rc = write_one(c, b->order[i], e);
    b->given_up = rc == ERR_CONFLICT;
    return rc == ERR_OK ? pg_end(c, WRITING_RECORDS, &b->unknown, e) : rc;
}

static err_code try_batch(const struct pg_records *r, struct batch *b, struct err *e)
{
    PGconn *c;
    TRY(pg_pool_take(r->pool, PG_WRITE, &c, e));
    err_code rc = write_all(c, b, e);
    pg_pool_give(r->pool, PG_WRITE, c);
    return rc;
}

static void forget_batches(const struct pg_records *r)
{
    struct err why;
    PGconn *c;
    if (pg_pool_take(r->pool, PG_LOAD, &c, &why) != ERR_OK)
        return;
    IGNORE(pg_do(c, "delete from written where at < clock_timestamp() - interval '10 minutes'",
                 WRITING_RECORDS, &why));
    pg_pool_give(r->pool, PG_LOAD, c);
}

static err_code write_batch(struct pg_records *r, struct batch *b, struct err *e)
{
    struct pg_again again = pg_again_begin();
    struct err why;
    unsigned given_up = 0;
    err_code rc;
    rng_uuid(b->who);
    do
        rc = try_batch(r, b, &why);
    while (rc != ERR_OK && (b->given_up ? ++given_up < TRIES : b->unknown && pg_again(&again)));
    if (atomic_fetch_add(&r->n_written, 1) % FORGET_EACH == FORGET_EACH - 1)
        forget_batches(r);
    if (rc == ERR_OK)
        return ERR_OK;
    if (b->given_up)
        return ERR(e, ERR_UNAVAILABLE, "%s", why.msg);
    return b->unknown ? ERR(e, ERR_UNAVAILABLE,
                            WRITING_RECORDS ": the connection to the database ended, and it is "
                                            "not known whether they were written")
                      : err_pass(e, &why);
}

err_code pg_records_write(struct pg_records *r, uint64_t epoch, const struct records_write *w,
                          size_t n, bool synced, struct err *e)
{
    struct batch b = { .n = n, .epoch = epoch, .synced = synced };
    if (r->to_read)
        return ERR(e, ERR_IO, WRITING_RECORDS ": they were opened to be read alone");
    b.order = calloc(n ? n : 1, sizeof *b.order);
    if (b.order == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        b.order[i] = &w[i];
    if (n)
        qsort(b.order, n, sizeof *b.order, by_key);
    err_code rc = write_batch(r, &b, e);
    free(b.order);
    return rc;
}

static err_code records_write_pg(struct records *base, const struct records_write *w, size_t n,
                                 struct err *e)
{
    return pg_records_write((struct pg_records *)base, 0, w, n, true, e);
}

static err_code records_put_unsynced_pg(struct records *base, sv key, sv value, struct err *e)
{
    const struct records_write w = { RECORDS_PUT, key, value };
    return pg_records_write((struct pg_records *)base, 0, &w, 1, false, e);
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

/* ---- what is deleted ---- */

/* A row that somebody still sees who began before stays until the database clears it away itself:
 * who waits for this is not held up by another one's session. */
static err_code records_scrub_pg(struct records *base, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    struct pg_again again = pg_again_begin();
    char xid[PG_XID_MAX];
    bool seen;
    PGconn *c;
    TRY(pg_pool_take(r->pool, PG_WRITE, &c, e));
    err_code rc = pg_xid(c, xid, e);
    do
        if (rc == ERR_OK)
            rc = pg_xid_is_seen(c, xid, &seen, e);
    while (rc == ERR_OK && seen && pg_again(&again));
    if (rc == ERR_OK)
        rc = pg_vacuum(c, "records", NULL, e);
    pg_pool_give(r->pool, PG_WRITE, c);
    return rc;
}

static err_code records_snapshot_pg(struct records *base, const char *folder, struct err *e)
{
    (void)base;
    (void)folder;
    return ERR(e, ERR_UNSUPPORTED,
               "a database is backed up by its own tools: there are no files of records to link");
}

static void records_on_told_pg(struct records *base, records_told_fn told, void *ctx)
{
    struct pg_records *r = (struct pg_records *)base;
    if (r->member)
        pg_member_on_told(r->member, told, ctx);
}

static const char *records_self_pg(const struct records *base)
{
    (void)base;
    return pg_process();
}

static bool records_reached_pg(const struct records *base)
{
    const struct pg_records *r = (const struct pg_records *)base;
    return r->member == NULL || pg_member_reaches(r->member);
}

static const struct records_ops ops = {
    .close = records_close_pg,
    .get = records_get_pg,
    .write = records_write_pg,
    .put_unsynced = records_put_unsynced_pg,
    .scrub = records_scrub_pg,
    .scan = records_scan_pg,
    .snapshot = records_snapshot_pg,
    .leases = &pg_lease_ops,
    .tell = pg_tell,
    .on_told = records_on_told_pg,
    .nodes = pg_nodes,
    .self = records_self_pg,
    .reached = records_reached_pg,
};

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
    memcpy(r->schema, schema, sizeof r->schema);
    r->pool = pg_pool_new(conninfo, schema);
    err_code rc = pg_pool_take(r->pool, PG_WRITE, &c, e);
    if (rc == ERR_OK) {
        rc = pg_system_open(c, schema, to_read, e);
        pg_pool_give(r->pool, PG_WRITE, c);
    }
    if (rc == ERR_OK && !to_read)
        rc = pg_member_join(conninfo, schema, &r->member, e);
    free(conninfo);
    if (rc != ERR_OK)
        records_close_pg(&r->base);
    else
        *out = &r->base;
    return rc;
}

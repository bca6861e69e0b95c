/* leases.c - leases in a table, by the database's clock.
 *
 * An epoch comes from a sequence, so a row that was released may go. A write under a lease locks
 * its row, shared, until it is committed: who takes the lease next waits for it, and so does who
 * asks whether it is held (L2). A row whose time is over is nobody's, whether or not another one
 * has taken it; it stays for its note. */
#include "store/postgres/system/system_private.h"

#define TAKING    "taking a lease"
#define KEEPING   "keeping leases"
#define LEAVING   "giving a lease up"
#define TELLING   "telling of a lease"
#define LISTING   "reading the leases"
#define TRIES     64u /* others took each one that was seen free */
#define EPOCH_LEN 24u

/* Those that are free, in the order in which they were named; of these the first that nobody is
 * taking at this moment. Epoch null: another one was faster. */
static const char take_sql[] =
    "with free as materialized (select n.name, n.i from unnest($1::text[]) with ordinality "
    "n(name, i) where not exists (select from leases h where h.name = n.name collate \"C\" and "
    "h.until > "
    "clock_timestamp()) order by n.i), one as materialized (select name, i from free where "
    "pg_try_advisory_xact_lock(hashtextextended(current_schema() || '/' || name, 17)) limit 1), "
    "mine as (insert into leases as l(name, owner, epoch, until) select name, $2::uuid, "
    "nextval('lease_epoch'), clock_timestamp() + $3::int * interval '1 millisecond' from one on "
    "conflict (name) do update set owner = excluded.owner, epoch = excluded.epoch, until = "
    "excluded.until where l.until <= clock_timestamp() returning name, epoch) "
    "select one.i, mine.epoch from one left join mine on true";

static err_code names_of(const sv *names, size_t n, struct buf *out, struct err *e)
{
    TRY(buf_add_char(out, '{', e));
    for (size_t i = 0; i < n; i++) {
        if (i)
            TRY(buf_add_char(out, ',', e));
        /* of letters that need no quotes */
        TRY(buf_add(out, names[i], e));
    }
    TRY(buf_add_char(out, '}', e));
    return buf_add_char(out, 0, e);
}

static err_code take_once(PGconn *c, const char *const args[3], bool *raced, struct lease_row *out,
                          struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c, take_sql, 3, args, TAKING, &r, e));
    err_code rc = ERR_OK;
    *raced = PQntuples(r) == 1 && PQgetisnull(r, 0, 1);
    if (PQntuples(r) == 0)
        rc = ERR(e, ERR_EOF, "all leases are taken");
    else if (!*raced)
        *out = (struct lease_row){ (uint64_t)pg_i64(r, 0, 1), (size_t)pg_i64(r, 0, 0) - 1 };
    PQclear(r);
    return rc;
}

static err_code take(struct records *base, const sv *names, size_t n, unsigned ms,
                     struct lease_row *out, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    CLEANUP_BUF struct buf list = BUF_INIT(LEASE_MOST * (LEASE_NAME_MAX + 1) + 3);
    char span[16];
    bool raced = true;
    PGconn *c;
    TRY(names_of(names, n, &list, e));
    (void)snprintf(span, sizeof span, "%u", ms);
    const char *args[] = { list.ptr, pg_process(), span };
    TRY(pg_pool_take(r->pool, PG_WRITE, &c, e));
    err_code rc = ERR_OK;
    for (unsigned i = 0; i < TRIES && raced && rc == ERR_OK; i++)
        rc = take_once(c, args, &raced, out, e);
    pg_pool_give(r->pool, PG_WRITE, c);
    return rc == ERR_OK && raced ? ERR(e, ERR_EOF, "all leases are taken") : rc;
}

static err_code epochs_of(const uint64_t *epochs, size_t n, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        TRY(buf_add_fmt(out, e, "%c%llu", i ? ',' : '{', (unsigned long long)epochs[i]));
    return buf_add(out, sv_make("}", 2), e);
}

static err_code renew(struct records *base, const uint64_t *epochs, size_t n, unsigned ms,
                      bool *lost, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    CLEANUP_BUF struct buf list = BUF_INIT(n * EPOCH_LEN + 4);
    char span[16];
    PGresult *got;
    TRY(epochs_of(epochs, n, &list, e));
    (void)snprintf(span, sizeof span, "%u", ms);
    const char *args[] = { list.ptr, span };
    TRY(pg_pool_ask(r->pool, PG_WRITE,
                    "update leases set until = clock_timestamp() + $2::int * interval '1 "
                    "millisecond' where epoch = any($1::bigint[]) and until > "
                    "clock_timestamp() returning epoch",
                    2, args, NULL, NULL, KEEPING, &got, e));
    for (size_t i = 0; i < n; i++) {
        lost[i] = true;
        for (int k = 0; k < PQntuples(got) && lost[i]; k++)
            lost[i] = (uint64_t)pg_i64(got, k, 0) != epochs[i];
    }
    PQclear(got);
    return ERR_OK;
}

/* One statement with an epoch, and a note perhaps. */
static err_code by_epoch(struct records *base, pg_role role, const char *sql, uint64_t epoch,
                         const sv *note, const char *doing, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    char number[EPOCH_LEN];
    PGconn *c;
    PGresult *got;
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)epoch);
    const char *args[] = { number, note && note->len ? note->ptr : "" };
    const int lens[] = { 0, note ? (int)note->len : 0 }, binary[] = { 0, 1 };
    TRY(pg_pool_take(r->pool, role, &c, e));
    err_code rc = pg_ask_bin(c, sql, note ? 2 : 1, args, lens, binary, doing, &got, e);
    pg_pool_give(r->pool, role, c);
    if (rc == ERR_OK)
        PQclear(got);
    return rc;
}

static err_code release(struct records *base, uint64_t epoch, bool keep_note, struct err *e)
{
    return by_epoch(base, PG_WRITE,
                    keep_note ? "update leases set until = least(until, clock_timestamp()) where "
                                "epoch = $1::bigint"
                              : "delete from leases where epoch = $1::bigint",
                    epoch, NULL, LEAVING, e);
}

static err_code write_under(struct records *base, uint64_t epoch, const struct records_write *w,
                            size_t n, bool synced, struct err *e)
{
    return pg_records_write((struct pg_records *)base, epoch, w, n, synced, e);
}

static err_code tell(struct records *base, uint64_t epoch, sv note, struct err *e)
{
    return by_epoch(base, PG_LOAD, "update leases set note = $2::bytea where epoch = $1::bigint",
                    epoch, &note, TELLING, e);
}

/* ---- of anybody ---- */

static err_code list(struct records *base, sv prefix, bool ended, lease_each_fn each, void *ctx,
                     struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    const char *args[] = { prefix.len ? prefix.ptr : "", ended ? "t" : "f" };
    const int lens[] = { (int)prefix.len, 0 }, binary[] = { 1, 0 };
    bool go_on = true;
    PGconn *c;
    PGresult *got;
    TRY(pg_pool_take(r->pool, PG_READ, &c, e));
    err_code rc = pg_ask_bin(
        c,
        "select l.name, l.owner::text, n.host, n.pid, (extract(epoch from l.until - "
        "clock_timestamp()) * 1000)::bigint, l.note from leases l left join nodes n on n.who = "
        "l.owner where starts_with(l.name, $1::text) and ($2::bool or l.until > clock_timestamp()) "
        "order by l.name",
        2, args, lens, binary, LISTING, &got, e);
    pg_pool_give(r->pool, PG_READ, c);
    TRY(rc);
    for (int i = 0; i < PQntuples(got) && go_on; i++) {
        const struct lease_seen seen = { .name = pg_bytes(got, i, 0),
                                         .owner = pg_bytes(got, i, 1),
                                         .host = pg_bytes(got, i, 2),
                                         .pid = pg_i64(got, i, 3),
                                         .left_ms = pg_i64(got, i, 4),
                                         .note = pg_bytes(got, i, 5) };
        go_on = each(ctx, &seen);
    }
    PQclear(got);
    return ERR_OK;
}

/* Removing those that are over waits for what is written under them. */
static err_code any(struct records *base, sv prefix, bool *out, struct err *e)
{
    struct pg_records *r = (struct pg_records *)base;
    const char *args[] = { prefix.len ? prefix.ptr : "" };
    const int lens[] = { (int)prefix.len }, binary[] = { 1 };
    PGconn *c;
    PGresult *got;
    TRY(pg_pool_take(r->pool, PG_WRITE, &c, e));
    err_code rc = pg_ask_bin(c,
                             "delete from leases where starts_with(name, $1::text) and until <= "
                             "clock_timestamp()",
                             1, args, lens, binary, LISTING, &got, e);
    if (rc == ERR_OK) {
        PQclear(got);
        rc = pg_ask_bin(c, "select 1 from leases where starts_with(name, $1::text) limit 1", 1,
                        args, lens, binary, LISTING, &got, e);
    }
    pg_pool_give(r->pool, PG_WRITE, c);
    TRY(rc);
    *out = PQntuples(got) > 0;
    PQclear(got);
    return ERR_OK;
}

const struct lease_ops pg_lease_ops = {
    .take = take,
    .renew = renew,
    .release = release,
    .write = write_under,
    .tell = tell,
    .list = list,
    .any = any,
};

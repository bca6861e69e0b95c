/* finish.c - the end of an erasure.
 *
 *   1  entries of hollow versions go (sweep.c)
 *   2  sums that have come to nothing go: their keys are digests of codes, and a code may be
 *      somebody's alone
 *   3  an empty commit: what is read as of it, from a standby too, comes behind the erasure. A note
 *      has it, for who reads on as of an earlier one
 *   4  nobody reads, or loads, any more who began before it
 *   5  dead rows leave their pages
 *   6  rows of `erasing` go
 *
 * Whatever ends this, the rows of `erasing` are there, and the next call does it again. */
#include "base/rng.h"
#include "store/erased.h"
#include "store/postgres/erase/erase_private.h"

static const char *const tables[] = { "versions", "packs",  "parts", "ids",
                                      "search",   "counts", "notes" };

static err_code is_erasing(struct pg *p, bool *out, struct err *e)
{
    PGresult *r;
    TRY(pg_pool_ask(p->pool, PG_READ, "select 1 from erasing limit 1", 0, NULL, NULL, NULL,
                    FINISHED, &r, e));
    *out = PQntuples(r) > 0;
    PQclear(r);
    return ERR_OK;
}

/* ---- sums ---- */

/* Keys of sums that are nothing now, as an array; the answer is text. */
static err_code find_nothing(PGconn *c, PGresult **out, struct err *e)
{
    return pg_ask(
        c,
        "select coalesce(array_agg(k), '{}')::text from (select k from counts where " PG_COUNTS_NOW
        " group by k having sum(delta) = 0) x",
        0, NULL, FINISHED, out, e);
}

/* Rows of one sum go together: nobody adds to it or folds it meanwhile. */
static err_code drop_nothing(PGconn *c, const PGresult *found, struct err *e)
{
    const char *args[] = { PQgetvalue(found, 0, 0) };
    TRY(pg_do(c, "lock table counts in share row exclusive mode", FINISHED, e));
    return pg_command(
        c,
        "delete from counts where " PG_COUNTS_NOW
        " and k in (select k from counts where k = any($1::bytea[]) and " PG_COUNTS_NOW
        " group by k having sum(delta) = 0)",
        1, args, FINISHED, e);
}

/* ---- a commit ---- */

/* It has no version. */
static err_code commit_nothing(PGconn *c, struct pg_clock *clock, struct err *e)
{
    char t[24], instant[24], who[37];
    const char *args[] = { t, instant, who };
    rng_uuid(who);
    clock->last = pg_clock_next(clock);
    (void)snprintf(t, sizeof t, "%" PRIu64, clock->last.t);
    (void)snprintf(instant, sizeof instant, "%" PRId64, clock->last.instant_ms);
    TRY(pg_command(c,
                   "insert into commits(t, instant_ms, load, count, who) values ($1, $2, 0, 0, "
                   "$3::text::uuid)",
                   3, args, FINISHED, e));
    return pg_clock_set(c, clock, e);
}

/* Who reads on, on whichever node, looks for it. */
static err_code note_end(PGconn *c, const struct pg_clock *clock, struct err *e)
{
    char t[24];
    (void)snprintf(t, sizeof t, "%" PRIu64, clock->last.t);
    return pg_note_put(c, SV_LIT(STORE_ERASED_NOTE), sv_from(t), e);
}

static err_code put_end(PGconn *c, const struct lease *lease, const PGresult *nothing,
                        char xid[PG_XID_MAX], struct err *e)
{
    struct pg_clock clock;
    bool unknown;
    TRY(pg_clock_begin(c, FINISHED, &clock, e));
    TRY(pg_erase_lease(c, lease, e));
    TRY(drop_nothing(c, nothing, e));
    TRY(commit_nothing(c, &clock, e));
    TRY(note_end(c, &clock, e));
    TRY(pg_xid(c, xid, e));
    return pg_clock_end(c, &clock, FINISHED, &unknown, e);
}

/* Up to here what was erased is in rows of the past alone, and that is on the disk. */
static err_code put_past(struct pg *p, const struct lease *lease, const atomic_bool *halt,
                         struct err *e)
{
    char xid[PG_XID_MAX] = "";
    PGresult *nothing = NULL;
    PGconn *c;
    TRY(pg_take(p, PG_LOAD, &c, e));
    err_code rc = pg_erase_sweep(c, halt, e);
    if (rc == ERR_OK)
        rc = find_nothing(c, &nothing, e);
    pg_give(p, PG_LOAD, c);
    if (rc == ERR_OK && (rc = pg_take(p, PG_WRITE, &c, e)) == ERR_OK) {
        rc = put_end(c, lease, nothing, xid, e);
        pg_give(p, PG_WRITE, c);
    }
    PQclear(nothing);
    if (rc == ERR_OK)
        memcpy(p->erase_xid, xid, sizeof p->erase_xid);
    return rc;
}

/* ---- dead rows ---- */

/* Of those who began before: what a node still loads, which stood still since, is in vain, as no
 * import is under way. Others are waited for. */
static err_code wait_for_others(struct pg *p, const struct lease *lease, PGconn *c, struct err *e)
{
    TRY(pg_load_end_fills(c, p->schema, lease, e));
    return ERR(e, ERR_CONFLICT, "somebody reads the database who began before");
}

static err_code clear_dead(struct pg *p, const struct lease *lease, const atomic_bool *halt,
                           struct err *e)
{
    bool seen = false;
    PGconn *c;
    TRY(pg_take(p, PG_LOAD, &c, e));
    err_code rc = pg_xid_is_seen(c, p->erase_xid, &seen, e);
    if (rc == ERR_OK && seen)
        rc = wait_for_others(p, lease, c, e);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0] && rc == ERR_OK; i++)
        rc = pg_vacuum(c, tables[i], halt, e);
    pg_give(p, PG_LOAD, c);
    return rc;
}

static err_code forget(struct pg *p, const struct lease *lease, struct err *e)
{
    bool unknown;
    PGconn *c;
    TRY(pg_take(p, PG_WRITE, &c, e));
    err_code rc = pg_do(c, "begin", FINISHED, e);
    if (rc == ERR_OK)
        rc = pg_erase_lease(c, lease, e);
    if (rc == ERR_OK)
        rc = pg_do(c, "delete from erasing", FINISHED, e);
    if (rc == ERR_OK)
        rc = pg_end(c, FINISHED, &unknown, e);
    pg_give(p, PG_WRITE, c);
    return rc;
}

err_code pg_erase_finish(struct store *st, const struct lease *lease, const atomic_bool *halt,
                         struct err *e)
{
    struct pg *p = (struct pg *)st;
    bool any;
    TRY(is_erasing(p, &any, e));
    if (!any)
        return ERR_OK;
    const uint64_t epoch = lease ? lease_epoch(lease) : 0;
    if (p->erase_xid[0] == 0 || p->erase_epoch != epoch)
        TRY(put_past(p, lease, halt, e));
    p->erase_epoch = epoch;
    TRY(clear_dead(p, lease, halt, e));
    TRY(forget(p, lease, e));
    p->erase_xid[0] = 0;
    return ERR_OK;
}

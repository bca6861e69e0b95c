/* bulk.c - a bulk load: rows that nobody sees until they are published.
 *
 * Rows of a load carry its number, which comes from a sequence and is never used twice. They are
 * written while the load is filled, in one transaction on a connection of its own, and are durable
 * then, at the latest with the publication. To publish is one short transaction under the clock
 * row: each load gets its t and instant in `commits`, and the note goes with it (I1, I6). A reader
 * finds a load's rows only through that row (I4).
 *
 * What crashes leave are rows of loads that stand in `open_loads` with a lease that has passed.
 * Whoever begins a load clears one such load away. Both the janitor and the publication take the
 * row of open_loads, so a publication that comes too late finds none and fails. */
#include "store/postgres/read_private.h"
#include "store/postgres/write_private.h"

#define PUBLISHING "publishing a bulk load"
#define CLEARING   "clearing a bulk load away"

struct pg_bulk {
    struct store_bulk base;
    struct pg *p;
    uint64_t b, count;
    bool filled, known, published;
};

/* ---- the janitor ---- */

static err_code remove_load(PGconn *conn, const char *load, struct err *e)
{
    static const char *const all[] = {
        /* a load's entries lie together, which their BRIN index knows */
        "delete from search where n = -$1::bigint",
        "delete from parts p using changes c where c.n = -$1::bigint and p.number = c.number "
        "and p.n = -$1::bigint",
        "delete from versions v using changes c where c.n = -$1::bigint and v.type = c.type and "
        "v.number = c.number and v.n = -$1::bigint",
        "delete from counts where n = -$1::bigint",
        "delete from fences where load = $1::bigint",
        "delete from changes where n = -$1::bigint",
        "delete from open_loads where load = $1::bigint",
    };
    const char *args[] = { load };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        PGresult *r;
        TRY(pg_ask(conn, all[i], 1, args, CLEARING, &r, e));
        PQclear(r);
    }
    return ERR_OK;
}

/* A load whose lease has passed, if there is one that nobody else is clearing or publishing. only:
 * this one, whatever its lease; NULL: any. */
static err_code clear_one(PGconn *conn, const char *only, struct err *e)
{
    const char *args[] = { only };
    PGresult *r;
    char load[24] = "";
    TRY(pg_do(conn, "begin", CLEARING, e));
    TRY(pg_ask(conn,
               "select load from open_loads where case when $1::bigint is null then until < "
               "clock_timestamp() else load = $1::bigint end order by load limit 1 for update "
               "skip locked",
               1, args, CLEARING, &r, e));
    if (PQntuples(r) == 1)
        (void)snprintf(load, sizeof load, "%" PRId64, pg_i64(r, 0, 0));
    PQclear(r);
    if (load[0])
        TRY(remove_load(conn, load, e));
    return pg_do(conn, "commit", CLEARING, e);
}

/* ---- filling ---- */

static err_code given_up(struct err *e)
{
    return ERR(e, ERR_CONFLICT,
               "a bulk load took too long, or the database failed meanwhile: load it again");
}

err_code pg_bulk_begin(struct store *st, struct store_bulk **out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    PGconn *conn;
    PGresult *r;
    struct err why;
    char load[24];
    const char *args[] = { load };
    uint64_t b = 0;
    TRY(pg_take(p, PG_LOAD, &conn, e));
    /* what cannot be cleared away now is no reason not to load */
    IGNORE(clear_one(conn, NULL, &why));
    if (PQtransactionStatus(conn) != PQTRANS_IDLE) {
        pg_give(p, PG_LOAD, conn);
        TRY(pg_take(p, PG_LOAD, &conn, e));
    }
    err_code rc = pg_next_b(conn, &b, e);
    (void)snprintf(load, sizeof load, "%" PRIu64, b);
    if (rc == ERR_OK)
        rc = pg_ask(conn,
                    "insert into open_loads(load, until) values ($1, clock_timestamp() + " PG_LEASE
                    ")",
                    1, args, PG_LOADING, &r, e);
    if (rc == ERR_OK)
        PQclear(r);
    pg_give(p, PG_LOAD, conn);
    TRY(rc);
    struct pg_bulk *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    k->base.ops = st->ops;
    k->p = p;
    k->b = b;
    *out = &k->base;
    return ERR_OK;
}

/* In the transaction that has the rows. A server that fails between the beginning of the load and
 * the end of this transaction may know of the load and have none of its rows. */
static err_code mark_filled(struct pg_bulk *k, PGconn *conn, struct err *e)
{
    char load[24];
    const char *args[] = { load };
    PGresult *r;
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    TRY(pg_ask(conn, "update open_loads set filled = true where load = $1", 1, args, PG_LOADING, &r,
               e));
    const bool there = strcmp(PQcmdTuples(r), "1") == 0;
    PQclear(r);
    return there ? ERR_OK : given_up(e);
}

static err_code fill(struct pg_bulk *k, PGconn *conn, struct store_bulk_item *items, size_t n,
                     struct err *e)
{
    struct tally t = { 0 };
    struct pg_numbered *rows = calloc(n, sizeof *rows);
    if (rows == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        tally_resource(&t, items[i].type, items[i].index, 1);
    err_code rc = pg_load_numbers(conn, k->b, items, n, rows, &k->known, e);
    if (rc == ERR_OK)
        rc = pg_do(conn, "begin", PG_LOADING, e);
    if (rc == ERR_OK)
        rc = pg_load_rows(conn, k->b, rows, n, e);
    if (rc == ERR_OK)
        rc = pg_counts_copy(conn, &t, -(int64_t)k->b, e);
    if (rc == ERR_OK)
        rc = mark_filled(k, conn, e);
    if (rc == ERR_OK)
        rc = pg_do(conn, "commit", PG_LOADING, e);
    tally_done(&t);
    free(rows);
    return rc;
}

err_code pg_bulk_fill(struct store_bulk *base, struct store_bulk_item *items, size_t n,
                      struct err *e)
{
    struct pg_bulk *k = (struct pg_bulk *)base;
    PGconn *conn;
    if (k->filled)
        return ERR(e, ERR_INTERNAL, "a bulk load is filled twice");
    n = store_items_sort(items, n);
    if (n == 0)
        return ERR_OK;
    k->filled = true;
    k->count = n;
    TRY(pg_take(k->p, PG_LOAD, &conn, e));
    err_code rc = fill(k, conn, items, n, e);
    pg_give(k->p, PG_LOAD, conn);
    return rc;
}

/* ---- publishing ---- */

/* The load leaves open_loads, under its row's lock. */
static err_code leave_open(PGconn *conn, struct pg_bulk *k, bool *shared, struct err *e)
{
    char load[24];
    const char *args[] = { load };
    PGresult *r;
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    TRY(pg_ask(conn, "delete from open_loads where load = $1 and filled returning shared", 1, args,
               PUBLISHING, &r, e));
    const bool there = PQntuples(r) == 1;
    *shared = there && pg_bytes(r, 0, 0).ptr[0];
    PQclear(r);
    return there ? ERR_OK : given_up(e);
}

static err_code publish_one(PGconn *conn, struct pg_bulk *k, struct store_commit c, struct err *e)
{
    char load[24], t[24], instant[24], count[24];
    const char *args[] = { t, instant, load, count };
    bool shared;
    PGresult *r;
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    (void)snprintf(t, sizeof t, "%" PRIu64, c.t);
    (void)snprintf(instant, sizeof instant, "%" PRId64, c.instant_ms);
    (void)snprintf(count, sizeof count, "%" PRIu64, k->count);
    TRY(leave_open(conn, k, &shared, e));
    TRY(pg_ask(conn, "insert into commits(t, instant_ms, load, count) values ($1, $2, $3, $4)", 4,
               args, PUBLISHING, &r, e));
    PQclear(r);
    if (!shared && !k->known)
        return ERR_OK;
    const char *mark[] = { load, shared ? "t" : "f" };
    TRY(pg_ask(conn, "insert into unsettled(load, births) values ($1, $2::bool)", 2, mark,
               PUBLISHING, &r, e));
    PQclear(r);
    return ERR_OK;
}

static err_code publish(PGconn *conn, struct store_bulk **bulks, size_t n, sv note_key, sv note,
                        struct store_commit *out, struct err *e)
{
    struct pg_clock clock;
    size_t n_full = 0;
    TRY(pg_do(conn, "begin", PUBLISHING, e));
    TRY(pg_clock_lock(conn, &clock, e));
    for (size_t i = 0; i < n; i++) {
        struct pg_bulk *k = (struct pg_bulk *)bulks[i];
        if (!k->filled)
            continue;
        clock.last = pg_clock_next(&clock);
        TRY(publish_one(conn, k, clock.last, e));
        n_full++;
    }
    if (n_full)
        TRY(pg_clock_set(conn, &clock, e));
    if (note_key.len)
        TRY(pg_note_put(conn, note_key, note, e));
    TRY(pg_do(conn, "commit", PUBLISHING, e));
    *out = clock.last;
    return ERR_OK;
}

/* The commit of the last load of these, when it was published. ERR_NOT_FOUND: it was not. A
 * transaction that is still under way holds the clock row: this waits for its end. */
static err_code look_published(struct pg *p, struct store_bulk **bulks, size_t n,
                               struct store_commit *out, struct err *e)
{
    const struct pg_bulk *last = NULL;
    struct pg_clock clock;
    char load[24];
    const char *args[] = { load };
    PGconn *conn;
    PGresult *r = NULL;
    for (size_t i = 0; i < n; i++)
        if (((struct pg_bulk *)bulks[i])->filled)
            last = (struct pg_bulk *)bulks[i];
    if (last == NULL)
        return ERR(e, ERR_NOT_FOUND, "nothing was published");
    (void)snprintf(load, sizeof load, "%" PRIu64, last->b);
    TRY(pg_take(p, PG_WRITE, &conn, e));
    err_code rc = pg_do(conn, "begin", PUBLISHING, e);
    if (rc == ERR_OK)
        rc = pg_clock_lock(conn, &clock, e);
    if (rc == ERR_OK)
        rc = pg_ask(conn, "select t, instant_ms from commits where load = $1 and load > 0", 1, args,
                    PUBLISHING, &r, e);
    if (rc == ERR_OK && PQntuples(r) == 1)
        *out = (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) };
    else if (rc == ERR_OK)
        rc = ERR(e, ERR_NOT_FOUND, "nothing was published");
    PQclear(r);
    if (rc == ERR_OK)
        rc = pg_do(conn, "rollback", PUBLISHING, e);
    pg_give(p, PG_WRITE, conn);
    return rc;
}

err_code pg_bulk_publish(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                         struct store_commit *out, struct err *e)
{
    struct pg *p = ((struct pg_bulk *)bulks[0])->p;
    struct err mine, why;
    PGconn *conn;
    TRY(pg_take(p, PG_WRITE, &conn, e));
    err_code rc = publish(conn, bulks, n, note_key, note, out, &mine);
    const bool lost = PQstatus(conn) == CONNECTION_BAD;
    pg_give(p, PG_WRITE, conn);
    /* the connection ended, and with it the word whether it was done */
    if (rc != ERR_OK && lost)
        rc = look_published(p, bulks, n, out, &why);
    if (rc != ERR_OK)
        return err_pass(e, &mine);
    for (size_t i = 0; i < n; i++)
        ((struct pg_bulk *)bulks[i])->published = true;
    return ERR_OK;
}

bool pg_is_crowded(struct store *st)
{
    /* rows of a load are nothing that a reader folds, and the server slows down who writes faster
     * than its checkpoints */
    (void)st;
    return false;
}

void pg_bulk_abort(struct store_bulk *base)
{
    struct pg_bulk *k = (struct pg_bulk *)base;
    struct err why;
    PGconn *conn;
    char load[24];
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    /* what stays is invisible, and the janitor's when its lease has passed */
    if (!k->published && pg_take(k->p, PG_LOAD, &conn, &why) == ERR_OK) {
        IGNORE(clear_one(conn, load, &why));
        pg_give(k->p, PG_LOAD, conn);
    }
    free(k);
}

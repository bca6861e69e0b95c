/* bulk.c - a bulk load: rows that nobody sees until they are published.
 *
 * Rows of a load carry its number, which comes from a sequence and is never used twice. They are
 * written while the load is filled, in one transaction on a connection of its own, and are durable
 * then, at the latest with the publication. To publish is one short transaction under the clock
 * row: each load gets its t and instant in `commits`, and the note goes with it (I1, I6). A reader
 * finds a load's rows only through that row (I4).
 *
 * What crashes leave are rows of loads that stand in `open_loads` (clear.c). */
#include "base/rng.h"
#include "store/postgres/read_private.h"
#include "store/postgres/write_private.h"

#define PUBLISHING "publishing a bulk load"

#define ABORT_TRIES 2u /* the first connection may have ended */

struct pg_bulk {
    struct store_bulk base;
    struct pg *p;
    uint64_t b, count;
    char who[37]; /* its own; a number of a database that went back can come twice */
    bool filled, known, published;
};

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
    char load[24], who[37];
    const char *args[] = { load, who };
    uint64_t b = 0;
    rng_uuid(who);
    TRY(pg_take(p, PG_LOAD, &conn, e));
    /* what cannot be cleared away now is no reason not to load */
    IGNORE(pg_load_clear_late(conn, &why));
    if (PQtransactionStatus(conn) != PQTRANS_IDLE) {
        pg_give(p, PG_LOAD, conn);
        TRY(pg_take(p, PG_LOAD, &conn, e));
    }
    err_code rc = pg_next_b(conn, &b, e);
    (void)snprintf(load, sizeof load, "%" PRIu64, b);
    if (rc == ERR_OK)
        rc = pg_ask(
            conn,
            "insert into open_loads(load, until, who) values ($1, clock_timestamp() + " PG_LEASE
            ", $2::text::uuid)",
            2, args, PG_LOADING, &r, e);
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
    memcpy(k->who, who, sizeof k->who);
    *out = &k->base;
    return ERR_OK;
}

/* Is it still the one that began? What follows on this connection is of the same server. */
static err_code check_begun(const struct pg_bulk *k, PGconn *conn, struct err *e)
{
    char load[24];
    const char *args[] = { load, k->who };
    PGresult *r;
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    TRY(pg_ask(conn, "select 1 from open_loads where load = $1 and who = $2::text::uuid", 2, args,
               PG_LOADING, &r, e));
    const bool there = PQntuples(r) == 1;
    PQclear(r);
    return there ? ERR_OK : given_up(e);
}

/* In the transaction that has the rows. A server that fails between the beginning of the load and
 * the end of this transaction may know of the load and have none of its rows. */
static err_code mark_filled(struct pg_bulk *k, PGconn *conn, struct err *e)
{
    char load[24];
    const char *args[] = { load };
    PGresult *r;
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    TRY(pg_do(conn, PG_LOAD_ROW_TAKEN, PG_LOADING, e));
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
    err_code rc = check_begun(k, conn, e);
    if (rc == ERR_OK)
        rc = pg_load_numbers(conn, k->b, items, n, rows, &k->known, e);
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
    const char *args[] = { load, k->who };
    PGresult *r;
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    TRY(pg_ask(conn,
               "delete from open_loads where load = $1 and who = $2::text::uuid and filled "
               "returning shared",
               2, args, PUBLISHING, &r, e));
    const bool there = PQntuples(r) == 1;
    *shared = there && pg_bytes(r, 0, 0).ptr[0];
    PQclear(r);
    return there ? ERR_OK : given_up(e);
}

static err_code publish_one(PGconn *conn, struct pg_bulk *k, struct store_commit c, struct err *e)
{
    char load[24], t[24], instant[24], count[24];
    const char *args[] = { t, instant, load, count, k->who };
    bool shared;
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    (void)snprintf(t, sizeof t, "%" PRIu64, c.t);
    (void)snprintf(instant, sizeof instant, "%" PRId64, c.instant_ms);
    (void)snprintf(count, sizeof count, "%" PRIu64, k->count);
    TRY(leave_open(conn, k, &shared, e));
    TRY(pg_command(conn,
                   "insert into commits(t, instant_ms, load, count, who) values ($1, $2, $3, $4, "
                   "$5::text::uuid)",
                   5, args, PUBLISHING, e));
    if (!shared && !k->known)
        return ERR_OK;
    const char *mark[] = { load, shared ? "t" : "f" };
    return pg_command(conn, "insert into unsettled(load, births) values ($1, $2::bool)", 2, mark,
                      PUBLISHING, e);
}

struct publication {
    struct store_bulk **bulks;
    size_t n;
    sv note_key, note;
    const int64_t *again_ms; /* the instant; NULL: the clock's */
};

/* What an earlier try has published, as the clock row is locked: that waits for the end of a
 * transaction that is still under way. It is one, so its last load speaks for all. */
static err_code find_published(PGconn *conn, const struct publication *x, bool *found,
                               struct store_commit *out, struct err *e)
{
    const struct pg_bulk *last = NULL;
    PGresult *r;
    *found = false;
    for (size_t i = 0; i < x->n; i++)
        if (((struct pg_bulk *)x->bulks[i])->filled)
            last = (struct pg_bulk *)x->bulks[i];
    /* a note alone: it is written again */
    if (last == NULL)
        return ERR_OK;
    const char *args[] = { last->who };
    TRY(pg_ask(conn, "select t, instant_ms from commits where who = $1::text::uuid", 1, args,
               PUBLISHING, &r, e));
    *found = PQntuples(r) == 1;
    if (*found)
        *out = (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) };
    PQclear(r);
    return ERR_OK;
}

/* *unknown: whether it is published; set, when an earlier try left it so. */
static err_code publish(PGconn *conn, const struct publication *x, bool *unknown,
                        struct store_commit *out, struct err *e)
{
    struct pg_clock clock;
    size_t n_full = 0;
    bool found = false;
    TRY(pg_clock_begin(conn, PUBLISHING, &clock, e));
    /* it may have been waited for, so this comes behind it */
    TRY(pg_lease_check(conn, x->bulks[0]->under, e));
    if (*unknown)
        TRY(find_published(conn, x, &found, out, e));
    *unknown = false;
    if (found) {
        /* the standby may not have it: this is waited for */
        TRY(pg_clock_set(conn, &clock, e));
        return pg_clock_end(conn, &clock, PUBLISHING, unknown, e);
    }
    clock.now_ms = x->again_ms ? *x->again_ms : clock.now_ms;
    for (size_t i = 0; i < x->n; i++) {
        struct pg_bulk *k = (struct pg_bulk *)x->bulks[i];
        if (!k->filled)
            continue;
        clock.last = pg_clock_next(&clock);
        TRY(publish_one(conn, k, clock.last, e));
        n_full++;
    }
    if (n_full)
        TRY(pg_clock_set(conn, &clock, e));
    if (x->note_key.len)
        TRY(pg_note_put(conn, x->note_key, x->note, e));
    *out = clock.last;
    return pg_clock_end(conn, &clock, PUBLISHING, unknown, e);
}

/* *unknown: whether it is published. */
static err_code one_try(struct pg *p, const struct publication *x, bool *unknown,
                        struct store_commit *out, struct err *e)
{
    PGconn *conn;
    TRY(pg_take(p, PG_WRITE, &conn, e));
    err_code rc = publish(conn, x, unknown, out, e);
    pg_give(p, PG_WRITE, conn);
    return rc;
}

static err_code publish_all(const struct publication *x, struct store_commit *out, struct err *e)
{
    struct pg *p = ((struct pg_bulk *)x->bulks[0])->p;
    struct pg_again again = pg_again_begin();
    bool unknown = false;
    err_code rc;
    do
        rc = one_try(p, x, &unknown, out, e);
    while (rc != ERR_OK && unknown && pg_again(&again));
    if (rc != ERR_OK && unknown)
        rc = ERR(e, ERR_UNAVAILABLE,
                 PUBLISHING ": the connection to the database ended, and it is not known whether "
                            "it was done");
    /* one without a resource is not, and leaves open_loads as one that is given up */
    for (size_t i = 0; i < x->n && rc == ERR_OK; i++)
        ((struct pg_bulk *)x->bulks[i])->published = ((struct pg_bulk *)x->bulks[i])->filled;
    return rc;
}

err_code pg_bulk_publish(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                         struct store_commit *out, struct err *e)
{
    const struct publication x = { bulks, n, note_key, note, NULL };
    return publish_all(&x, out, e);
}

err_code pg_again_load(struct store *st, struct store_bulk **b, int64_t instant_ms,
                       struct store_commit *out, struct err *e)
{
    const struct publication x = { b, 1, SV_NONE, SV_NONE, &instant_ms };
    (void)st;
    return publish_all(&x, out, e);
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
    bool there = !k->published;
    struct err why;
    PGconn *conn;
    char load[24];
    (void)snprintf(load, sizeof load, "%" PRIu64, k->b);
    /* what stays is invisible, and the janitor's when its lease has passed */
    for (unsigned i = 0; i < ABORT_TRIES && there && pg_take(k->p, PG_LOAD, &conn, &why) == ERR_OK;
         i++) {
        there = pg_load_clear_own(conn, load, k->who, &why) != ERR_OK;
        pg_give(k->p, PG_LOAD, conn);
    }
    free(k);
}

/* ---- by another process ----
 * "LOAD WHO COUNT FILLED KNOWN". LOAD can come twice from a database that went back, WHO cannot. */

err_code pg_bulk_hand_over(const struct store_bulk *base, struct buf *out, struct err *e)
{
    const struct pg_bulk *k = (const struct pg_bulk *)base;
    return buf_add_fmt(out, e, "%" PRIu64 " %s %" PRIu64 " %d %d", k->b, k->who, k->count,
                       k->filled, k->known);
}

void pg_bulk_leave(struct store_bulk *base)
{
    free(base);
}

static bool read_handed(sv text, struct pg_bulk *k)
{
    uint64_t n[4];
    sv part[5];
    for (size_t i = 0; i < 4; i++)
        if (!sv_cut(&text, ' ', &part[i]))
            return false;
    part[4] = text;
    if (part[1].len != sizeof k->who - 1 || !sv_to_u64(part[0], &n[0]) ||
        !sv_to_u64(part[2], &n[1]) || !sv_to_u64(part[3], &n[2]) || !sv_to_u64(part[4], &n[3]))
        return false;
    k->b = n[0];
    memcpy(k->who, part[1].ptr, part[1].len);
    k->count = n[1];
    k->filled = n[2];
    k->known = n[3];
    return true;
}

err_code pg_bulk_take_over(struct store *st, sv text, struct store_bulk **out, struct err *e)
{
    struct pg_bulk *k = calloc(1, sizeof *k);
    struct pg *p = (struct pg *)st;
    struct err why;
    PGconn *conn;
    if (k == NULL)
        abort();
    k->base.ops = st->ops;
    k->p = p;
    err_code rc = read_handed(text, k)
                      ? pg_take(p, PG_LOAD, &conn, e)
                      : ERR(e, ERR_CORRUPT, "what tells of a bulk load is damaged");
    if (rc == ERR_OK) {
        rc = check_begun(k, conn, &why);
        pg_give(p, PG_LOAD, conn);
        if (rc == ERR_CONFLICT)
            rc = ERR(e, ERR_NOT_FOUND, "the bulk load is not there any more");
        else if (rc != ERR_OK)
            rc = err_pass(e, &why);
    }
    if (rc != ERR_OK) {
        free(k);
        return rc;
    }
    *out = &k->base;
    return ERR_OK;
}

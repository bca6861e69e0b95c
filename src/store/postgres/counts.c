/* counts.c - how many resources are current: sums as rows that are added up.
 *
 * A commit appends what it adds and takes away, in its own transaction, under its t. A load appends
 * what it adds while it is filled, under its number: the rows count as soon as it is visible. So
 * nobody waits for a sum. A sum is the total of its rows; when these become many they are folded
 * into one.
 *
 * What a load replaced is not looked for while it is filled. A load that may have replaced
 * something stands in `unsettled` from its publication on. To settle it, the version that was
 * current in front of it is taken out of the sums, for each of its resources; versions never
 * change, so this can be done at any later time. The first count does it, or an import job at its
 * end.
 *
 * Invariant C1: a sum, less what unsettled loads replaced, is the number of resources current as of
 * the last commit. One statement reads both, with the commit, as of one moment. */
#include "store/postgres/commit/array.h"
#include "store/postgres/read_private.h"
#include "store/postgres/write_private.h"

#define SETTLE_ROUNDS 3u
#define FOLD_ROWS     64 /* of one sum */
#define SETTLE_BATCH  4096u
#define SUMS_MAX      ((size_t)64 << 20) /* bytes of a column */
#define COUNTING      "reading a count"
#define SETTLING      "settling counts"

/* ---- writing ---- */

err_code pg_counts_copy(PGconn *conn, const struct tally *t, int64_t n, struct err *e)
{
    struct pg_load_copy c;
    err_code rc = ERR_OK;
    if (t->n == 0)
        return ERR_OK;
    TRY(pg_load_copy_begin(&c, conn, "copy counts(k, n, delta) from stdin (format binary)", e));
    for (size_t i = 0; i < t->cap; i++) {
        const struct tally_row *row = &t->rows[i];
        if (!row->used || row->n == 0)
            continue;
        if ((rc = pg_load_copy_row(&c, 3, 16 + COUNT_KEY_MAX, e)) != ERR_OK)
            break;
        pg_put_bytes(&c, sv_make(row->key, 4u + row->key[3]));
        pg_put_i64(&c, n);
        pg_put_i64(&c, row->n);
    }
    return pg_load_copy_end(&c, rc, e);
}

err_code pg_counts_columns(const struct tally *t, struct pg_array *keys, struct pg_array *deltas,
                           struct err *e)
{
    for (size_t i = 0; i < t->cap; i++) {
        const struct tally_row *row = &t->rows[i];
        if (!row->used || row->n == 0)
            continue;
        TRY(pg_array_add(keys, sv_make(row->key, 4u + row->key[3]), e));
        TRY(pg_array_add_int(deltas, row->n, e));
    }
    return ERR_OK;
}

err_code pg_counts_add(PGconn *conn, const struct tally *t, int64_t n, const char *doing,
                       struct err *e)
{
    struct pg_array keys, deltas;
    char at[PG_SINGLE];
    PGresult *r;
    if (t->n == 0)
        return ERR_OK;
    pg_array_init(&keys, PG_BYTEA, SUMS_MAX);
    pg_array_init(&deltas, PG_INT8, SUMS_MAX);
    pg_single(at, n);
    err_code rc = pg_counts_columns(t, &keys, &deltas, e);
    if (rc == ERR_OK)
        rc = pg_array_end(&keys, e);
    if (rc == ERR_OK)
        rc = pg_array_end(&deltas, e);
    const sv args[] = { buf_sv(&keys.b), buf_sv(&deltas.b), sv_make(at, sizeof at) };
    if (rc == ERR_OK)
        rc = pg_ask_binary(conn,
                           "insert into counts(k, n, delta) select k, $3::bigint, delta from "
                           "unnest($1::bytea[], $2::bigint[]) u(k, delta)",
                           3, args, doing, &r, e);
    if (rc == ERR_OK)
        PQclear(r);
    pg_array_done(&keys);
    pg_array_done(&deltas);
    return rc;
}

/* ---- settling ---- */

struct mark {
    uint64_t b, t;
    bool births; /* those, too: another one wrote some of them */
};

/* Of some numbers, what was current as of t, if it was no deletion. */
static err_code take_away(struct pg *p, struct tally *t, struct buf *numbers, uint64_t as_of,
                          const atomic_bool *halt, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *c = NULL;
    struct store_version v;
    err_code rc;
    TRY(pg_listed(p, 0, numbers, as_of, &c, e));
    /* nothing is counted of the data of a Binary: what is read comes without it */
    store_cursor_light(c);
    while ((rc = store_cursor_next(c, &v, e)) == ERR_OK) {
        if (halt && atomic_load_explicit(halt, memory_order_relaxed))
            return ERR(e, ERR_CANCELLED, "settling counts was stopped");
        if (v.method != STORE_METHOD_DELETE)
            TRY(tally_version(t, v.type, v.body.json, -1, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* The resources of a load that may have been there before, a batch. *more: a full one. */
static err_code next_numbers(PGconn *conn, const struct mark *m, fhir_type type, store_number after,
                             struct buf *numbers, struct err *e)
{
    char of[8], n[24], behind[24], b[24];
    const char *args[] = { of, n, behind, m->births ? NULL : b };
    PGresult *r;
    (void)snprintf(of, sizeof of, "%u", (unsigned)type);
    (void)snprintf(n, sizeof n, "-%" PRIu64, m->b);
    (void)snprintf(behind, sizeof behind, "%" PRIu64, after);
    (void)snprintf(b, sizeof b, "%" PRIu64, m->b);
    TRY(pg_ask(
        conn,
        "(select number from changes where type = $1 and n = $2 and number > $3 and "
        "($4::bigint is null or number >> 28 <> $4::bigint) order by number limit 4096) "
        "union all (select k.first + g from (select first, count from packs where type = $1 "
        "and $4::bigint is null and first >= ((-$2 << 28) + ($1::bigint << 20)) and first < ((-$2 "
        "<< 28) + ($1::bigint << 20)) + 1048576 and first + count - 1 > $3 order by first limit "
        "4096) k cross join lateral generate_series(0, k.count - 1) g where k.first + g > $3 "
        "order by 1 limit 4096) order by 1 limit 4096",
        4, args, SETTLING, &r, e));
    err_code rc = ERR_OK;
    for (int i = 0; i < PQntuples(r) && rc == ERR_OK; i++) {
        const store_number number = (store_number)pg_i64(r, i, 0);
        rc = buf_add(numbers, sv_make(&number, sizeof number), e);
    }
    PQclear(r);
    return rc;
}

static err_code settle_type(struct pg *p, PGconn *conn, const struct mark *m, fhir_type type,
                            struct tally *t, const atomic_bool *halt, struct err *e)
{
    store_number after = 0;
    for (size_t n = SETTLE_BATCH; n == SETTLE_BATCH;) {
        CLEANUP_BUF struct buf numbers = BUF_INIT(SETTLE_BATCH * sizeof after);
        TRY(next_numbers(conn, m, type, after, &numbers, e));
        n = numbers.len / sizeof after;
        if (n == 0)
            break;
        after = ((const store_number *)(const void *)numbers.ptr)[n - 1];
        TRY(take_away(p, t, &numbers, m->t - 1, halt, e));
    }
    return ERR_OK;
}

static err_code settle_load(struct pg *p, PGconn *conn, const struct mark *m, struct tally *t,
                            const atomic_bool *halt, struct err *e)
{
    for (unsigned type = 1; type <= fhir_n_types() && m->t > 1; type++)
        TRY(settle_type(p, conn, m, (fhir_type)type, t, halt, e));
    return ERR_OK;
}

/* One unsettled load in a transaction of its own. Others wait for it: a sum is right when all are
 * settled. So whoever is frozen with one is ended soon. ERR_EOF: there is none. */
static err_code settle_one(struct pg *p, PGconn *conn, const atomic_bool *halt, struct err *e)
{
    struct tally t = { 0 };
    struct mark m;
    PGresult *r;
    TRY(pg_do(conn, "begin; set local idle_in_transaction_session_timeout = '10s'", SETTLING, e));
    TRY(pg_ask(conn,
               "select u.load, c.t, u.births from unsettled u join commits c on c.load = u.load "
               "and c.load > 0 "
               "order by c.t limit 1 for update of u",
               0, NULL, SETTLING, &r, e));
    const bool any = PQntuples(r) == 1;
    if (any)
        m = (struct mark){ (uint64_t)pg_i64(r, 0, 0), (uint64_t)pg_i64(r, 0, 1),
                           pg_bytes(r, 0, 2).ptr[0] != 0 };
    PQclear(r);
    if (!any) {
        TRY(pg_do(conn, "rollback", SETTLING, e));
        return ERR_EOF;
    }
    err_code rc = settle_load(p, conn, &m, &t, halt, e);
    if (rc == ERR_OK)
        rc = pg_counts_add(conn, &t, 0, SETTLING, e);
    tally_done(&t);
    TRY(rc);
    char load[24];
    const char *args[] = { load };
    (void)snprintf(load, sizeof load, "%" PRIu64, m.b);
    TRY(pg_command(conn, "delete from unsettled where load = $1", 1, args, SETTLING, e));
    return pg_do(conn, "commit", SETTLING, e);
}

static err_code settle_all(struct pg *p, PGconn *conn, const atomic_bool *halt, struct err *e)
{
    err_code rc;
    while ((rc = settle_one(p, conn, halt, e)) == ERR_OK)
        ;
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* Sums of many rows become one row each. Two who fold one sum take each row once. */
static err_code fold_many(PGconn *conn, struct err *e)
{
    char most[8];
    const char *args[] = { most };
    (void)snprintf(most, sizeof most, "%d", FOLD_ROWS);
    return pg_command(
        conn,
        "with many as (select k from counts group by k having count(*) > $1), d as (delete "
        "from counts using many where counts.k = many.k and " PG_COUNTS_NOW
        " returning counts.k, delta) insert into counts(k, n, delta) select k, 0, "
        "sum(delta) from d group by k",
        1, args, SETTLING, e);
}

err_code pg_settle(struct store *st, const atomic_bool *halt, struct err *e)
{
    struct pg *p = (struct pg *)st;
    PGconn *conn;
    TRY(pg_take(p, PG_LOAD, &conn, e));
    struct err why;
    err_code rc = settle_all(p, conn, halt, e);
    /* where another one folds, too, the database may have to give one of the two up */
    if (rc == ERR_OK && (rc = fold_many(conn, &why)) != ERR_OK)
        rc = rc == ERR_CONFLICT ? ERR_OK : err_pass(e, &why);
    pg_give(p, PG_LOAD, conn);
    return rc;
}

/* ---- counting ---- */

/* Rows of one sum that count already become one. Two who fold one sum take each row once. */
static err_code fold(PGconn *conn, const char *key, struct err *e)
{
    const char *args[] = { key };
    return pg_command(
        conn,
        "with d as (delete from counts where k = $1::bytea and " PG_COUNTS_NOW
        " returning delta) insert into counts(k, n, delta) select $1::bytea, 0, sum(delta) "
        "from d having count(*) > 0",
        1, args, COUNTING, e);
}

struct sum {
    struct store_commit at;
    int64_t n, rows;
    bool settled;
};

static err_code read_sum(PGconn *conn, const char *key, struct sum *out, struct err *e)
{
    const char *args[] = { key };
    PGresult *r;
    TRY(pg_ask(conn,
               "select t, instant_ms, not exists (select 1 from unsettled), x.n, x.rows from "
               "clock, (select coalesce(sum(delta), 0)::bigint as n, count(*) as rows from counts "
               "where k = $1::bytea and " PG_COUNTS_NOW ") x",
               1, args, COUNTING, &r, e));
    if (PQntuples(r) == 1)
        *out = (struct sum){ { (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) },
                             pg_i64(r, 0, 3),
                             pg_i64(r, 0, 4),
                             pg_bytes(r, 0, 2).ptr[0] != 0 };
    const bool there = PQntuples(r) == 1;
    PQclear(r);
    return there ? ERR_OK : ERR(e, ERR_GONE, "the data store was deleted");
}

/* One look; *settled false: there are loads to be settled first. */
static err_code count_once(struct pg *p, const char *key, struct sum *s, struct err *e)
{
    struct err why;
    PGconn *conn;
    TRY(pg_take(p, PG_WRITE, &conn, e));
    err_code rc = read_sum(conn, key, s, e);
    /* the sum is read: that its rows stay as they are is no failure */
    if (rc == ERR_OK && s->settled && s->rows > FOLD_ROWS)
        IGNORE(fold(conn, key, &why));
    pg_give(p, PG_WRITE, conn);
    return rc;
}

static err_code settle_for_count(struct pg *p, struct err *e)
{
    PGconn *conn;
    TRY(pg_take(p, PG_LOAD, &conn, e));
    err_code rc = settle_all(p, conn, NULL, e);
    pg_give(p, PG_LOAD, conn);
    return rc;
}

err_code pg_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                  struct store_commit *at, struct err *e)
{
    struct pg *p = (struct pg *)st;
    unsigned char bytes[COUNT_KEY_MAX];
    const size_t len = tally_key(type, param, value, bytes);
    char key[3 + 2 * COUNT_KEY_MAX] = "\\x";
    struct sum s = { 0 };
    /* rows of a commit that is not seen yet are among those that are added up */
    if (p->gated)
        return ERR(e, ERR_UNSUPPORTED, "sums of a data store with a gate are not kept apart");
    for (size_t i = 0; i < len; i++)
        (void)snprintf(key + 2 + 2 * i, 3, "%02x", bytes[i]);
    for (unsigned round = 0;; round++) {
        TRY(count_once(p, key, &s, e));
        if (s.settled)
            break;
        if (round == SETTLE_ROUNDS)
            return ERR(e, ERR_UNSUPPORTED, "loads are published faster than they are counted");
        TRY(settle_for_count(p, e));
    }
    if (s.n < 0)
        return ERR(e, ERR_CORRUPT, "reading a count: it is below zero");
    *out = (uint64_t)s.n;
    *at = s.at;
    return ERR_OK;
}

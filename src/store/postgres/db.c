/* db.c - connections to the database, statements, and errors.
 *
 * Connections are kept by what they are for, since each kind has its settings. The planner is told
 * to go along indexes: left alone it scans a table and sorts it for a range of an export. A
 * statement is prepared at its first use on a connection. */
#include "store/postgres/postgres_private.h"

#include <libpq-events.h>

/* ---- errors ---- */

/* Of the SQLSTATE's class, or of the whole. Source: PostgreSQL 15 manual, appendix A. */
static const struct {
    const char *state;
    err_code code;
    const char *what;
} states[] = {
    { "53100", ERR_NO_SPACE, "the database's disk is full" },
    { "53", ERR_UNAVAILABLE, "the database has no room for it now" },
    { "57014", ERR_TIMEOUT, "the database broke the statement off" },
    { "08", ERR_UNAVAILABLE, "the connection to the database ended" },
    { "57", ERR_UNAVAILABLE, "the database ended the statement" },
    { "40", ERR_CONFLICT, "the database gave the transaction up" },
    { "55P03", ERR_CONFLICT, "another one has it locked" },
    { "25P03", ERR_UNAVAILABLE, "the database ended a transaction that stood still" },
    { "28", ERR_DENIED, "the database does not let the server in" },
    { "42501", ERR_DENIED, "the database does not permit it" },
    { "3F000", ERR_NOT_FOUND, "data store does not exist" },
    { "42P01", ERR_NOT_FOUND, "data store does not exist" },
    { "3D000", ERR_NOT_FOUND, "the database does not exist" },
    { "XX001", ERR_CORRUPT, "the database found damaged data" },
    { "XX002", ERR_CORRUPT, "the database found damaged data" },
};

static err_code failed(PGconn *c, const PGresult *r, const char *doing, struct err *e)
{
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    for (size_t i = 0; state && i < sizeof states / sizeof states[0]; i++)
        if (strncmp(state, states[i].state, strlen(states[i].state)) == 0)
            return ERR(e, states[i].code, "%s: %s", doing, states[i].what);
    if (state == NULL || PQstatus(c) == CONNECTION_BAD)
        return ERR(e, ERR_UNAVAILABLE, "%s: the connection to the database ended", doing);
    return ERR(e, ERR_IO, "%s: the database answered SQLSTATE %.5s", doing, state);
}

err_code pg_done(PGconn *c, PGresult *r, const char *doing, struct err *e)
{
    const ExecStatusType s = PQresultStatus(r);
    const bool ok = r && (s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK);
    err_code rc = ok ? ERR_OK : failed(c, r, doing, e);
    PQclear(r);
    return rc;
}

/* ---- statements ---- */

#define PREPARED_MOST 96u
struct prepared {
    const char *sql[PREPARED_MOST]; /* literals: told apart by where they stand */
    unsigned n;
};

/* Frees what a connection knows when it is closed. */
static int on_event(PGEventId id, void *info, void *ctx)
{
    (void)ctx;
    if (id == PGEVT_CONNDESTROY)
        free(PQinstanceData(((PGEventConnDestroy *)info)->conn, on_event));
    return 1;
}

err_code pg_do(PGconn *c, const char *sql, const char *doing, struct err *e)
{
    return pg_done(c, PQexec(c, sql), doing, e);
}

/* The name of a statement on this connection, made when it is new. False: it has none. */
static bool name_of(PGconn *c, const char *sql, char name[16], PGresult **bad)
{
    struct prepared *known = PQinstanceData(c, on_event);
    unsigned i = 0;
    *bad = NULL;
    while (known && i < known->n && known->sql[i] != sql)
        i++;
    if (known == NULL || i == PREPARED_MOST)
        return false;
    (void)snprintf(name, 16, "s%u", i);
    if (i < known->n)
        return true;
    PGresult *r = PQprepare(c, name, sql, 0, NULL);
    if (PQresultStatus(r) != PGRES_COMMAND_OK) {
        *bad = r;
        return false;
    }
    PQclear(r);
    known->sql[known->n++] = sql;
    return true;
}

err_code pg_ask_bin(PGconn *c, const char *sql, int n_args, const char *const *args,
                    const int *lens, const int *binary, const char *doing, PGresult **out,
                    struct err *e)
{
    char name[16];
    PGresult *bad, *r;
    if (name_of(c, sql, name, &bad))
        r = PQexecPrepared(c, name, n_args, args, lens, binary, 1);
    else if (bad)
        return pg_done(c, bad, doing, e);
    else
        r = PQexecParams(c, sql, n_args, NULL, args, lens, binary, 1);
    const ExecStatusType s = PQresultStatus(r);
    if (s != PGRES_TUPLES_OK && s != PGRES_COMMAND_OK)
        return pg_done(c, r, doing, e);
    *out = r;
    return ERR_OK;
}

err_code pg_ask(PGconn *c, const char *sql, int n_args, const char *const *args, const char *doing,
                PGresult **out, struct err *e)
{
    return pg_ask_bin(c, sql, n_args, args, NULL, NULL, doing, out, e);
}

/* ---- connections ---- */

#define ALONG_INDEXES                                       \
    "set enable_seqscan = off; set enable_hashjoin = off; " \
    "set enable_mergejoin = off; set jit = off; "           \
    "set max_parallel_workers_per_gather = 0; set plan_cache_mode = force_generic_plan; "

static const char *const settings[PG_ROLES] = {
    [PG_READ] = ALONG_INDEXES "set enable_bitmapscan = off; set statement_timeout = '60s'",
    [PG_SCAN] = ALONG_INDEXES "set enable_bitmapscan = off",
    [PG_WRITE] = ALONG_INDEXES "set enable_bitmapscan = off; set statement_timeout = '60s'; "
                               "set idle_in_transaction_session_timeout = '10s'",
    /* the publication waits for the disk, and for all that was written before */
    [PG_LOAD] = ALONG_INDEXES "set synchronous_commit = off; "
                              "set idle_in_transaction_session_timeout = '10min'",
};

static void no_notice(void *ctx, const PGresult *r)
{
    /* they can quote what was sent */
    (void)ctx;
    (void)r;
}

struct pg_pool {
    char *conninfo;
    char schema[64]; /* empty: none */
    pthread_mutex_t lock;
    PGconn *idle[PG_ROLES][PG_IDLE_MOST];
    unsigned n_idle[PG_ROLES];
};

struct pg_pool *pg_pool_new(const char *conninfo, const char *schema)
{
    struct pg_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL || (pool->conninfo = strdup(conninfo)) == NULL)
        abort();
    (void)snprintf(pool->schema, sizeof pool->schema, "%s", schema ? schema : "");
    pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

void pg_pool_free(struct pg_pool *pool)
{
    if (pool == NULL)
        return;
    for (unsigned role = 0; role < PG_ROLES; role++)
        while (pool->n_idle[role])
            PQfinish(pool->idle[role][--pool->n_idle[role]]);
    pthread_mutex_destroy(&pool->lock);
    free(pool->conninfo);
    free(pool);
}

static err_code set_up(PGconn *c, const struct pg_pool *pool, pg_role role, struct err *e)
{
    char path[128];
    (void)snprintf(path, sizeof path, "set search_path = %s", pool->schema);
    if (pool->schema[0])
        TRY(pg_do(c, path, "opening the data store", e));
    return pg_do(c, settings[role], "opening the data store", e);
}

static err_code connect_new(const struct pg_pool *pool, pg_role role, PGconn **out, struct err *e)
{
    /* dbname is a whole connection string; what it says overrules those in front of it */
    static const char *const keys[] = { "application_name",
                                        "client_encoding",
                                        "connect_timeout",
                                        "keepalives_idle",
                                        "tcp_user_timeout",
                                        "dbname",
                                        NULL };
    const char *const values[] = { "fhirlake", "UTF8", "10", "10", "30000", pool->conninfo, NULL };
    PGconn *c = PQconnectdbParams(keys, values, 1);
    struct prepared *known = calloc(1, sizeof *known);
    if (known == NULL)
        abort();
    if (PQstatus(c) != CONNECTION_OK) {
        PQfinish(c);
        free(known);
        return ERR(e, ERR_UNAVAILABLE, "the database cannot be reached");
    }
    (void)PQsetNoticeReceiver(c, no_notice, NULL);
    if (PQregisterEventProc(c, on_event, "fhirlake", NULL) && PQsetInstanceData(c, on_event, known))
        known = NULL;
    free(known);
    err_code rc = set_up(c, pool, role, e);
    if (rc != ERR_OK)
        PQfinish(c);
    else
        *out = c;
    return rc;
}

err_code pg_pool_take(struct pg_pool *pool, pg_role role, PGconn **out, struct err *e)
{
    PGconn *c = NULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->n_idle[role])
        c = pool->idle[role][--pool->n_idle[role]];
    pthread_mutex_unlock(&pool->lock);
    if (c == NULL)
        return connect_new(pool, role, out, e);
    *out = c;
    return ERR_OK;
}

void pg_pool_give(struct pg_pool *pool, pg_role role, PGconn *c)
{
    const PGTransactionStatusType s = PQtransactionStatus(c);
    if (s == PQTRANS_INTRANS || s == PQTRANS_INERROR)
        PQclear(PQexec(c, "rollback"));
    bool keep = PQstatus(c) == CONNECTION_OK && PQtransactionStatus(c) == PQTRANS_IDLE;
    pthread_mutex_lock(&pool->lock);
    keep = keep && pool->n_idle[role] < PG_IDLE_MOST;
    if (keep)
        pool->idle[role][pool->n_idle[role]++] = c;
    pthread_mutex_unlock(&pool->lock);
    if (!keep)
        PQfinish(c);
}

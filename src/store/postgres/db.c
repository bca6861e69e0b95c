/* db.c - statements, and errors. A statement is prepared at its first use on a connection. */
#include "base/clock.h"
#include "store/postgres/link/link_private.h"

#include <libpq-events.h>
#include <time.h>

#define PATIENCE_MS 60000u /* of a connection that was told none */
#define AGAIN_MS    30000u
#define AGAIN_NS    100000000l

/* ---- errors ---- */

/* Of the SQLSTATE's class, or of the whole. Source: PostgreSQL 15 manual, appendix A. */
static const struct {
    const char *state;
    err_code code;
    const char *what;
} states[] = {
    { "53100", ERR_NO_SPACE, "the database's disk is full" },
    { "53", ERR_UNAVAILABLE, "the database has no room for it now" },
    /* of who asked for it, too long a wait: never ERR_TIMEOUT, which is the caller's own limit */
    { "57014", ERR_UNAVAILABLE, "the database broke the statement off" },
    { "08", ERR_UNAVAILABLE, "the connection to the database ended" },
    { "57", ERR_UNAVAILABLE, "the database ended the statement" },
    { "40", ERR_CONFLICT, "the database gave the transaction up" },
    { "55P03", ERR_CONFLICT, "another one has it locked" },
    { "25P03", ERR_UNAVAILABLE, "the database ended a transaction that stood still" },
    { "25006", ERR_UNAVAILABLE, "the database can be read alone: it is a standby, or set so" },
    /* not the client's fault, who may be let in: an operator has to do something */
    { "28", ERR_UNAVAILABLE, "the database does not let the server in" },
    { "42501", ERR_UNAVAILABLE, "the database does not permit it to the server's user" },
    /* another process has removed it */
    { "3F000", ERR_GONE, "the data store was deleted" },
    { "42P01", ERR_GONE, "the data store was deleted" },
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
    unsigned patience_ms;
    struct pg_reached reached;
    bool warned; /* by the server, since pg_end() began */
};

/* Frees what a connection knows when it is closed. */
static int on_event(PGEventId id, void *info, void *ctx)
{
    (void)ctx;
    if (id == PGEVT_CONNDESTROY)
        free(PQinstanceData(((PGEventConnDestroy *)info)->conn, on_event));
    return 1;
}

/* What it says can quote what was sent. */
static void on_notice(void *ctx, const PGresult *r)
{
    struct prepared *known = ctx;
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    known->warned |= severity && strcmp(severity, "WARNING") == 0;
}

void pg_learns(PGconn *c)
{
    struct prepared *known = calloc(1, sizeof *known);
    if (known == NULL)
        abort();
    if (!PQregisterEventProc(c, on_event, "fhirlake", NULL) ||
        !PQsetInstanceData(c, on_event, known))
        /* then nothing is prepared on it */
        free(known);
    else
        (void)PQsetNoticeReceiver(c, on_notice, known);
}

void pg_forgets(PGconn *c)
{
    struct prepared *known = PQinstanceData(c, on_event);
    if (known) {
        known->n = 0;
        known->reached = (struct pg_reached){ 0 };
    }
}

void pg_patience(PGconn *c, unsigned ms)
{
    struct prepared *known = PQinstanceData(c, on_event);
    if (known)
        known->patience_ms = ms;
}

unsigned pg_patience_of(const PGconn *c)
{
    const struct prepared *known = PQinstanceData(c, on_event);
    return known && known->patience_ms ? known->patience_ms : PATIENCE_MS;
}

struct pg_reached pg_reached_get(const PGconn *c)
{
    const struct prepared *known = PQinstanceData(c, on_event);
    return known ? known->reached : (struct pg_reached){ 0 };
}

void pg_reached_set(PGconn *c, const struct pg_reached *r)
{
    struct prepared *known = PQinstanceData(c, on_event);
    if (known)
        known->reached = *r;
}

PGresult *pg_exec(PGconn *c, const char *sql)
{
    return PQsendQuery(c, sql) ? pg_talk_answer(c, pg_patience_of(c)) : NULL;
}

err_code pg_run(PGconn *c, const char *sql, const char *doing, PGresult **out, struct err *e)
{
    PGresult *r = pg_exec(c, sql);
    const ExecStatusType s = PQresultStatus(r);
    if (s != PGRES_TUPLES_OK && s != PGRES_COMMAND_OK)
        return pg_done(c, r, doing, e);
    *out = r;
    return ERR_OK;
}

err_code pg_do(PGconn *c, const char *sql, const char *doing, struct err *e)
{
    return pg_done(c, pg_exec(c, sql), doing, e);
}

err_code pg_end(PGconn *c, const char *doing, bool *unknown, struct err *e)
{
    struct prepared *known = PQinstanceData(c, on_event);
    if (known)
        known->warned = false;
    err_code rc = pg_do(c, "commit", doing, e);
    *unknown = rc != ERR_OK && PQstatus(c) == CONNECTION_BAD;
    if (rc != ERR_OK || known == NULL || !known->warned)
        return rc;
    *unknown = true;
    return ERR(e, ERR_UNAVAILABLE, "%s: the database did not wait for its standby", doing);
}

struct pg_again pg_again_begin(void)
{
    return (struct pg_again){ clock_mono_us() };
}

bool pg_again(const struct pg_again *a)
{
    if (clock_mono_us() - a->begun_us > AGAIN_MS * 1000ull)
        return false;
    (void)nanosleep(&(struct timespec){ .tv_nsec = AGAIN_NS }, NULL);
    return true;
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
    PGresult *r =
        PQsendPrepare(c, name, sql, 0, NULL) ? pg_talk_answer(c, pg_patience_of(c)) : NULL;
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
    PGresult *bad;
    int sent;
    if (name_of(c, sql, name, &bad))
        sent = PQsendQueryPrepared(c, name, n_args, args, lens, binary, 1);
    else if (bad || PQstatus(c) == CONNECTION_BAD)
        return pg_done(c, bad, doing, e);
    else
        sent = PQsendQueryParams(c, sql, n_args, NULL, args, lens, binary, 1);
    PGresult *r = sent ? pg_talk_answer(c, pg_patience_of(c)) : NULL;
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

err_code pg_command(PGconn *c, const char *sql, int n_args, const char *const *args,
                    const char *doing, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c, sql, n_args, args, doing, &r, e));
    PQclear(r);
    return ERR_OK;
}

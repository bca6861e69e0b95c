/* connect.c - a connection to the database, and its settings.
 *
 * Each kind of connection has settings of its own. The planner is told to go along indexes: left
 * alone it scans a table and sorts it for a range of an export. */
#include "store/postgres/link/link_private.h"

#include "base/rng.h"

#define CONNECTING "connecting to the database"
#define STANDBY_S  10u /* then the primary is asked */
#define CONNECT_S  10u /* for each host, at most */

#define ALONG_INDEXES                                       \
    "set enable_seqscan = off; set enable_hashjoin = off; " \
    "set enable_mergejoin = off; set jit = off; "           \
    "set max_parallel_workers_per_gather = 0; set plan_cache_mode = force_generic_plan; "

/* Whatever the database's owner has set for other programs. What waits for a lock waits as long as
 * a statement may take. And a client that has gone without a word is noticed: libpq's options of
 * the same names are of its own end of the connection. */
#define ALWAYS                                                        \
    "set default_transaction_isolation = 'read committed'; "          \
    "set lock_timeout = 0; set tcp_keepalives_idle = 10; "            \
    "set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4; " \
    "set tcp_user_timeout = '30s'; "

/* times: of what a statement of a read may take at most, so long may one of this kind take. */
static const unsigned times[PG_ROLES] = {
    [PG_READ] = 1, [PG_SCAN] = 5, [PG_WRITE] = 1, [PG_LOAD] = 10, [PG_STANDBY] = 1
};

static const char *const settings[PG_ROLES] = {
    [PG_READ] = ALONG_INDEXES "set enable_bitmapscan = off",
    [PG_SCAN] = ALONG_INDEXES "set enable_bitmapscan = off",
    [PG_STANDBY] = ALONG_INDEXES "set enable_bitmapscan = off",
    [PG_WRITE] = ALONG_INDEXES "set enable_bitmapscan = off; "
                               "set idle_in_transaction_session_timeout = '10s'",
    /* the publication waits for the disk, and for all that was written before */
    [PG_LOAD] = ALONG_INDEXES "set synchronous_commit = off; "
                              "set idle_in_transaction_session_timeout = '10min'",
};

static _Atomic unsigned timeout_s = STORE_TIMEOUT_USUAL;
static char *read_from;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char process[40];

static void name_process(void)
{
    char hex[33];
    rng_hex32(hex);
    (void)snprintf(process, sizeof process, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
}

const char *pg_process(void)
{
    (void)pthread_once(&once, name_process);
    return process;
}

void pg_connect_timeout(unsigned seconds)
{
    atomic_store(&timeout_s, seconds);
}

/* before there are threads */
void pg_connect_read_from_set(const char *uri)
{
    free(read_from);
    read_from = uri ? strdup(uri) : NULL;
}

const char *pg_connect_read_from(void)
{
    return read_from;
}

static void no_notice(void *ctx, const PGresult *r)
{
    /* they can quote what was sent */
    (void)ctx;
    (void)r;
}

PGconn *pg_connect_raw(const char *conninfo)
{
    /* dbname is a whole connection string; what it says overrules those in front of it */
    static const char *const keys[] = { "application_name",
                                        "client_encoding",
                                        "connect_timeout",
                                        "keepalives_idle",
                                        "tcp_user_timeout",
                                        "dbname",
                                        NULL };
    char most[16];
    const unsigned timeout = atomic_load(&timeout_s);
    (void)snprintf(most, sizeof most, "%u", timeout < CONNECT_S ? timeout : CONNECT_S);
    const char *const values[] = { "fhirlake", "UTF8", most, "10", "30000", conninfo, NULL };
    PGconn *c = PQconnectdbParams(keys, values, 1);
    if (c)
        (void)PQsetNoticeReceiver(c, no_notice, NULL);
    return c;
}

err_code pg_connect(const char *conninfo, PGconn **out, struct err *e)
{
    PGconn *c = pg_connect_raw(conninfo);
    if (PQstatus(c) != CONNECTION_OK) {
        PQfinish(c);
        return ERR(e, ERR_UNAVAILABLE, "the database cannot be reached");
    }
    pg_learns(c);
    if (PQsetnonblocking(c, 1) != 0) {
        PQfinish(c);
        return ERR(e, ERR_UNAVAILABLE, "the database cannot be reached");
    }
    *out = c;
    return ERR_OK;
}

err_code pg_connect_settle(PGconn *c, pg_role role, const char *schema, bool anew, bool ack_local,
                           struct err *e)
{
    char sql[2048];
    unsigned most_s = atomic_load(&timeout_s) * times[role];
    if (role == PG_STANDBY && most_s > STANDBY_S)
        most_s = STANDBY_S;
    if (anew)
        pg_forgets(c);
    /* the server ends it first, if it can */
    pg_patience(c, (most_s + most_s / 4 + 1) * 1000);
    (void)snprintf(sql, sizeof sql,
                   "%s%s%s; set application_name = '" PG_APPLICATION
                   "%s'; set statement_timeout = '%us'; " ALWAYS "%s%s",
                   anew ? "deallocate all; reset all; " : "", schema[0] ? "set search_path = " : "",
                   schema, pg_process(), most_s, settings[role],
                   role == PG_WRITE && ack_local ? "; set synchronous_commit = local" : "");
    return pg_do(c, sql, CONNECTING, e);
}

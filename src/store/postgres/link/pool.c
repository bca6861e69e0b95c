/* pool.c - the connections of this process to one database.
 *
 * All data stores of a database, and the system's records, share one hub of at most n_connections
 * (struct store_link), so that a thousand data stores need no more than one. A pool is what one of
 * them sees of it: a schema. Who takes a connection first gets one that had the same schema and
 * kind; then a new one, while there may be more; then the one that nobody has wanted for the
 * longest time, which is set up anew.
 *
 * At the limit, who comes waits in line; what is given back goes to one who waits, and nobody
 * passes by. A thread that has one may take a second and gives it back first; such seconds have a
 * line and a part of the connections of their own, so those who wait never wait for each other. */
#include "store/postgres/link/link_private.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>

#define WAIT_MS 30000u /* for a connection */
#define SECONDS 8u     /* one of so many connections is for who has one already */
#define DEPTH   2u     /* of one thread at most */

struct pg_idle {
    PGconn *c;
    pg_role role;
    char schema[PG_SCHEMA_MAX];
    uint64_t given; /* grows: when it was given back */
};

struct line { /* n_granted: of those who wait, so many may go on */
    pthread_cond_t given;
    unsigned n_taken, n_waiting, n_granted;
};

struct pg_hub {
    struct pg_hub *next;
    unsigned n_pools; /* by hubs_lock */
    char *conninfo;
    struct {
        pthread_mutex_t lock;
        struct line lines[DEPTH];
        struct pg_idle idle[STORE_CONNECTIONS_MAX];
        unsigned n_idle;
        uint64_t n_given;
    } locked;
};

struct pg_pool {
    struct pg_hub *hub;
    char schema[PG_SCHEMA_MAX]; /* empty: none */
};

static pthread_mutex_t hubs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pg_hub *hubs;
static _Atomic unsigned most = STORE_CONNECTIONS_USUAL;
static atomic_bool acknowledge_local;
static _Thread_local unsigned depth; /* connections that this thread has */

void pg_link_set(const struct store_link *link)
{
    atomic_store(&most, link->n_connections);
    atomic_store(&acknowledge_local, link->ack_local);
    pg_connect_read_from_set(link->read_from);
    pg_connect_timeout(link->timeout_s ? link->timeout_s : STORE_TIMEOUT_USUAL);
}

unsigned pg_link_most(void)
{
    return atomic_load(&most);
}

/* ---- pools and hubs ---- */

static struct pg_hub *hub_of(const char *conninfo)
{
    pthread_mutex_lock(&hubs_lock);
    struct pg_hub *h = hubs;
    while (h && strcmp(h->conninfo, conninfo) != 0)
        h = h->next;
    if (h == NULL) {
        h = calloc(1, sizeof *h);
        if (h == NULL || (h->conninfo = strdup(conninfo)) == NULL)
            abort();
        pthread_mutex_init(&h->locked.lock, NULL);
        for (unsigned i = 0; i < DEPTH; i++)
            clock_cond_init(&h->locked.lines[i].given);
        h->next = hubs;
        hubs = h;
    }
    h->n_pools++;
    pthread_mutex_unlock(&hubs_lock);
    return h;
}

static void leave_hub(struct pg_hub *h)
{
    pthread_mutex_lock(&hubs_lock);
    const bool last = --h->n_pools == 0;
    struct pg_hub **at = &hubs;
    while (last && *at != h)
        at = &(*at)->next;
    if (last)
        *at = h->next;
    pthread_mutex_unlock(&hubs_lock);
    if (!last)
        return;
    while (h->locked.n_idle)
        PQfinish(h->locked.idle[--h->locked.n_idle].c);
    pthread_mutex_destroy(&h->locked.lock);
    for (unsigned i = 0; i < DEPTH; i++)
        pthread_cond_destroy(&h->locked.lines[i].given);
    free(h->conninfo);
    free(h);
}

struct pg_pool *pg_pool_new(const char *conninfo, const char *schema)
{
    struct pg_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        abort();
    (void)snprintf(pool->schema, sizeof pool->schema, "%s", schema ? schema : "");
    pool->hub = hub_of(conninfo);
    return pool;
}

void pg_pool_free(struct pg_pool *pool)
{
    if (pool == NULL)
        return;
    leave_hub(pool->hub);
    free(pool);
}

/* ---- a place among those who have one ---- */

static unsigned places_of(unsigned line)
{
    const unsigned n = atomic_load(&most), seconds = n / SECONDS ? n / SECONDS : 1;
    return line ? seconds : n - seconds;
}

static err_code enter_locked(struct pg_hub *h, unsigned line, struct err *e)
{
    struct line *l = &h->locked.lines[line];
    if (l->n_waiting == l->n_granted && l->n_taken < places_of(line)) {
        l->n_taken++;
        return ERR_OK;
    }
    const struct timespec until = clock_mono_at(clock_mono_us() + WAIT_MS * 1000ull);
    int waited = 0;
    l->n_waiting++;
    while (l->n_granted == 0 && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&l->given, &h->locked.lock, &until);
    l->n_waiting--;
    if (l->n_granted == 0)
        return ERR(e, ERR_UNAVAILABLE, "all connections to the database are in use");
    /* the place of who gave one back */
    l->n_granted--;
    return ERR_OK;
}

static void go_locked(struct pg_hub *h, unsigned line)
{
    struct line *l = &h->locked.lines[line];
    if (l->n_waiting > l->n_granted) {
        l->n_granted++;
        pthread_cond_signal(&l->given);
    } else {
        l->n_taken--;
    }
}

static unsigned n_taken_locked(const struct pg_hub *h)
{
    unsigned n = 0;
    for (unsigned i = 0; i < DEPTH; i++)
        n += h->locked.lines[i].n_taken;
    return n;
}

/* ---- connections ---- */

static PGconn *out_locked(struct pg_hub *h, unsigned i, bool *same, const struct pg_pool *pool,
                          pg_role role)
{
    PGconn *c = h->locked.idle[i].c;
    *same = h->locked.idle[i].role == role && strcmp(h->locked.idle[i].schema, pool->schema) == 0;
    h->locked.idle[i] = h->locked.idle[--h->locked.n_idle];
    return c;
}

/* NULL: another is to be opened. */
static PGconn *find_locked(struct pg_hub *h, const struct pg_pool *pool, pg_role role, bool *same)
{
    unsigned fit = h->locked.n_idle, oldest = 0;
    for (unsigned i = 0; i < h->locked.n_idle; i++) {
        const struct pg_idle *one = &h->locked.idle[i];
        if (one->given < h->locked.idle[oldest].given)
            oldest = i;
        if (one->role == role && strcmp(one->schema, pool->schema) == 0 &&
            (fit == h->locked.n_idle || one->given > h->locked.idle[fit].given))
            fit = i;
    }
    if (fit < h->locked.n_idle)
        return out_locked(h, fit, same, pool, role);
    /* those that are taken have the one that is looked for among them */
    if (h->locked.n_idle && n_taken_locked(h) + h->locked.n_idle > atomic_load(&most))
        return out_locked(h, oldest, same, pool, role);
    return NULL;
}

/* A server that was stopped has said so: what it said is read, and then the end. */
static bool is_alive(PGconn *c)
{
    return PQconsumeInput(c) && PQconsumeInput(c) && PQstatus(c) == CONNECTION_OK;
}

static err_code ready(const struct pg_pool *pool, pg_role role, PGconn *c, bool same, PGconn **out,
                      struct err *e)
{
    const bool anew = c != NULL;
    if (c && same) {
        *out = c;
        return ERR_OK;
    }
    if (c == NULL)
        TRY(pg_connect(pool->hub->conninfo, &c, e));
    err_code rc =
        pg_connect_settle(c, role, pool->schema, anew, atomic_load(&acknowledge_local), e);
    if (rc != ERR_OK)
        PQfinish(c);
    else
        *out = c;
    return rc;
}

err_code pg_pool_take(struct pg_pool *pool, pg_role role, PGconn **out, struct err *e)
{
    struct pg_hub *h = pool->hub;
    PGconn *c = NULL;
    bool same = false;
    const unsigned line = depth;
    assert(line < DEPTH);
    pthread_mutex_lock(&h->locked.lock);
    err_code rc = enter_locked(h, line, e);
    if (rc == ERR_OK)
        while ((c = find_locked(h, pool, role, &same)) != NULL && !is_alive(c))
            PQfinish(c);
    pthread_mutex_unlock(&h->locked.lock);
    TRY(rc);
    rc = ready(pool, role, c, same, out, e);
    if (rc == ERR_OK) {
        depth++;
    } else {
        pthread_mutex_lock(&h->locked.lock);
        go_locked(h, line);
        pthread_mutex_unlock(&h->locked.lock);
    }
    return rc;
}

void pg_pool_give(struct pg_pool *pool, pg_role role, PGconn *c)
{
    struct pg_hub *h = pool->hub;
    const PGTransactionStatusType s = PQtransactionStatus(c);
    if (s == PQTRANS_INTRANS || s == PQTRANS_INERROR)
        PQclear(pg_exec(c, "rollback"));
    const bool keep = PQstatus(c) == CONNECTION_OK && PQtransactionStatus(c) == PQTRANS_IDLE;
    if (!keep)
        PQfinish(c);
    depth--;
    pthread_mutex_lock(&h->locked.lock);
    if (keep) {
        struct pg_idle *one = &h->locked.idle[h->locked.n_idle++];
        *one = (struct pg_idle){ .c = c, .role = role, .given = ++h->locked.n_given };
        memcpy(one->schema, pool->schema, sizeof one->schema);
    }
    go_locked(h, depth);
    pthread_mutex_unlock(&h->locked.lock);
}

err_code pg_pool_ask(struct pg_pool *pool, pg_role role, const char *sql, int n_args,
                     const char *const *args, const int *lens, const int *binary, const char *doing,
                     PGresult **out, struct err *e)
{
    PGconn *c;
    TRY(pg_pool_take(pool, role, &c, e));
    err_code rc = pg_ask_bin(c, sql, n_args, args, lens, binary, doing, out, e);
    pg_pool_give(pool, role, c);
    return rc;
}

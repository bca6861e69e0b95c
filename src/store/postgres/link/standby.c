/* standby.c - batches of exports that are read from a standby (struct store_link, read_from).
 *
 * A standby that shows commit T has all of T, since a commit is one transaction of the log. Each
 * connection is asked once for each T whether its server has come so far, and whether its commit T
 * is the primary's. What goes wrong on the way is no error: the primary is asked instead, and a
 * standby that failed is left alone for a while. */
#include "store/postgres/link/link_private.h"
#include "store/postgres/read_private.h"

#include "base/clock.h"
#include "base/log.h"

#define ASKING   "reading from a standby"
#define AWAY_US  (30ull * 1000000)
#define LOOK_SQL "select c.t, k.who from clock c left join commits k on k.t = $1::bigint"

typedef enum { SERVES, BEHIND, LEFT_ALONE } use_of;
struct pg_standby {
    struct pg_pool *pool;
    _Atomic uint64_t away_until_us;
    _Atomic use_of state; /* that was told last */
};

struct pg_standby *pg_standby_new(const char *schema)
{
    const char *uri = pg_connect_read_from();
    struct pg_standby *s = uri ? calloc(1, sizeof *s) : NULL;
    if (s)
        s->pool = pg_pool_new(uri, schema);
    return s;
}

void pg_standby_free(struct pg_standby *s)
{
    if (s == NULL)
        return;
    pg_pool_free(s->pool);
    free(s);
}

/* Once, until it serves again. */
static void leave_alone(struct pg_standby *s, const char *why)
{
    atomic_store(&s->away_until_us, clock_mono_us() + AWAY_US);
    if (atomic_exchange(&s->state, LEFT_ALONE) != LEFT_ALONE)
        LOG(LOG_WARN, "standby", LOG_STR("state", "left alone"), LOG_STR("reason", why),
            LOG_STR("note", "exports are read from the primary meanwhile"));
}

/* *there: it has come to T, and its commit T is the primary's. */
static err_code look(struct pg_standby *s, PGconn *c, const struct pg_reached *want, bool *there,
                     struct err *e)
{
    char t[24];
    const char *args[] = { t };
    const struct pg_reached had = pg_reached_get(c);
    PGresult *r;
    *there = had.t == want->t && had.mark == want->mark;
    if (*there)
        return ERR_OK;
    (void)snprintf(t, sizeof t, "%" PRIu64, want->t);
    TRY(pg_ask(c, LOOK_SQL, 1, args, ASKING, &r, e));
    const bool so_far = PQntuples(r) == 1 && (uint64_t)pg_i64(r, 0, 0) >= want->t;
    *there = so_far && pg_mark_of(r, 0, 1) == want->mark;
    PQclear(r);
    if (*there)
        pg_reached_set(c, want);
    else if (so_far)
        leave_alone(s, "it has another past than the primary");
    else if (atomic_exchange(&s->state, BEHIND) != BEHIND)
        LOG(LOG_INFO, "standby", LOG_STR("state", "behind"),
            LOG_STR("note", "exports are read from the primary until it has come so far"));
    return ERR_OK;
}

bool pg_standby_ask(struct pg_standby *s, const struct pg_reached *want, const char *sql,
                    int n_args, const char *const *args, PGresult **out)
{
    bool there = false;
    struct err why;
    PGconn *c;
    if (clock_mono_us() < atomic_load(&s->away_until_us))
        return false;
    err_code rc = pg_pool_take(s->pool, PG_STANDBY, &c, &why);
    if (rc == ERR_OK) {
        rc = look(s, c, want, &there, &why);
        if (rc == ERR_OK && there)
            rc = pg_ask(c, sql, n_args, args, ASKING, out, &why);
        pg_pool_give(s->pool, PG_STANDBY, c);
    }
    if (rc != ERR_OK)
        leave_alone(s, why.msg);
    else if (there && atomic_exchange(&s->state, SERVES) != SERVES)
        LOG(LOG_INFO, "standby", LOG_STR("state", "read from"));
    return rc == ERR_OK && there;
}

err_code pg_cursor_ask(struct pg_cursor *c, pg_role role, const char *sql, int n_args,
                       const char *const *args, PGresult **out, struct err *e)
{
    PGconn *conn;
    if (c->base.standby && c->p->standby && c->as_of) {
        if (c->mark == 0)
            TRY(pg_mark(&c->p->base, c->as_of, &c->mark, e));
        const struct pg_reached want = { c->as_of, c->mark };
        if (c->mark && pg_standby_ask(c->p->standby, &want, sql, n_args, args, out))
            return ERR_OK;
        /* the rest of the range, too */
        c->base.standby = false;
    }
    TRY(pg_take(c->p, role, &conn, e));
    err_code rc = pg_ask(conn, sql, n_args, args, READING, out, e);
    pg_give(c->p, role, conn);
    return rc;
}

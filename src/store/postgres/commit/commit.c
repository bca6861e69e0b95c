/* commit.c - a group of commits as one transaction.
 *
 * The clock row is locked first, then what is current is read, conditions are checked (and whether
 * what the first waiter has read is still so: nobody else commits meanwhile), numbers are
 * given, rows are written, and the clock shows the new t: all of it is visible at once (I1), and on
 * the server's disk when the transaction's end is acknowledged (I2). A waiter whose condition fails
 * drops out alone.
 *
 * When the connection ends before the answer of COMMIT comes, nobody knows what became of the
 * group. Each commit bears a random `who`, which is unique in the table of commits. On a new
 * connection the clock row is locked again: that waits until the server has ended the transaction
 * that was cut off, one way or the other. Then the whos are there, and their t is the answer; or
 * they are not, and the group is written again under the same ones. What is there may be on one
 * server alone: it had not waited for its standby. So the clock row is written as it is, and that
 * is waited for. */
#include "store/postgres/commit/commit_private.h"

/* Prepared where it is executed, so it is one literal. */
#define FIND_WHO "select t, instant_ms from commits where who = $1::text::uuid"

static err_code check_condition(const struct pg_write *x, struct err *e)
{
    const struct store_write *w = x->w;
    const bool there = x->version && !x->deleted;
    if (w->method == STORE_METHOD_DELETE && !there)
        return ERR(e, ERR_NOT_FOUND, "there is nothing to delete");
    if (w->condition == STORE_IF_ABSENT && x->version)
        return ERR(e, ERR_PRECONDITION, "the resource exists, or did: its id is taken");
    if (w->condition == STORE_IF_VERSION && (!there || x->version != w->if_version))
        return ERR(e, ERR_PRECONDITION, "the resource is not at version %llu",
                   (unsigned long long)w->if_version);
    if (w->condition == STORE_IF_NEWEST && x->version != w->if_version)
        return ERR(e, ERR_PRECONDITION, "another version is the newest");
    if (w->condition == STORE_IF_DELETED && (!x->deleted || x->version != w->if_version))
        return ERR(e, ERR_PRECONDITION, "the resource is not deleted any more");
    return ERR_OK;
}

/* *any: something is to be written. What the first one has read is asked for while the clock row is
 * locked: its reads have a connection of their own. */
static void check_all(struct pg_group *g, bool *any)
{
    struct store_still *still = g->first->still;
    for (struct pg_waiter *w = g->first; w; w = w->next)
        w->rc = ERR_OK;
    if (still)
        g->first->rc = still->holds(still, g->clock.last.t, &g->first->why);
    for (size_t i = 0; i < g->n; i++) {
        struct pg_write *x = g->as_came[i];
        if (x->of->rc != ERR_OK)
            continue;
        x->of->rc = check_condition(x, &x->of->why);
        /* I5 */
        x->w->version = x->version + 1;
        x->w->existed = x->version && !x->deleted;
    }
    size_t n = 0, n_well = 0;
    for (const struct pg_waiter *w = g->first; w; w = w->next, n++)
        n_well += w->rc == ERR_OK;
    *any = g->whole ? n_well == n : n_well > 0;
}

static void set_times(struct pg_group *g)
{
    for (struct pg_waiter *w = g->first; w; w = w->next) {
        if (w->rc != ERR_OK)
            continue;
        if (w->again_ms)
            g->clock.now_ms = *w->again_ms;
        g->clock.last = w->out = pg_clock_next(&g->clock);
    }
}

static err_code write_with_sums(PGconn *c, struct pg_group *g, struct tally *t, struct err *e)
{
    bool all_new;
    for (size_t i = 0; i < g->n; i++)
        if (g->rows[i].of->rc == ERR_OK && g->rows[i].w->method != STORE_METHOD_DELETE)
            tally_resource(t, g->rows[i].w->type, g->rows[i].w->index, 1);
    TRY(pg_look_replaced(c, g, t, e));
    TRY(pg_look_shared(c, g, e));
    TRY(pg_write_rows(c, g, t, &all_new, e));
    if (all_new)
        return ERR_OK;
    TRY(pg_look_again(c, g, e));
    TRY(pg_look_shared(c, g, e));
    TRY(pg_write_rows(c, g, t, &all_new, e));
    return all_new ? ERR_OK : ERR(e, ERR_INTERNAL, "an id has a number, and none");
}

static err_code write_all(PGconn *c, struct pg_group *g, struct err *e)
{
    struct tally t = { 0 };
    set_times(g);
    err_code rc = write_with_sums(c, g, &t, e);
    tally_done(&t);
    return rc;
}

/* What an earlier try has written, as the clock row is locked. *found: it has. A group is one
 * transaction, so one that is there speaks for all that were well. */
static err_code find_written(PGconn *c, struct pg_group *g, bool *found, struct err *e)
{
    *found = false;
    for (struct pg_waiter *w = g->first; w; w = w->next) {
        const char *args[] = { w->who };
        PGresult *r;
        if (w->rc != ERR_OK)
            continue;
        TRY(pg_ask(c, FIND_WHO, 1, args, COMMITTING, &r, e));
        const bool there = PQntuples(r) == 1;
        if (there)
            w->out = (struct store_commit){ (uint64_t)pg_i64(r, 0, 0), pg_i64(r, 0, 1) };
        PQclear(r);
        *found |= there;
        if (!there)
            return ERR_OK;
    }
    return ERR_OK;
}

/* The clock row is locked, and there are numbers for the group's births, of the server's run. */
static err_code begin(struct pg *p, PGconn *c, struct pg_group *g, struct err *e)
{
    for (;;) {
        TRY(pg_look_room(p, c, g->n, e));
        TRY(pg_clock_begin(c, COMMITTING, &g->clock, e));
        if (g->clock.started_us == p->births_us)
            return ERR_OK;
        TRY(pg_do(c, "rollback", COMMITTING, e));
        p->births.b = 0;
    }
}

/* *unknown: whether it is written; set, when an earlier try left it so. */
static err_code try_group(struct pg *p, PGconn *c, struct pg_group *g, bool *unknown, struct err *e)
{
    bool any, found = false;
    TRY(begin(p, c, g, e));
    if (*unknown)
        TRY(find_written(c, g, &found, e));
    *unknown = false;
    if (found) {
        TRY(pg_clock_set(c, &g->clock, e));
        return pg_clock_end(c, &g->clock, COMMITTING, unknown, e);
    }
    TRY(pg_look_current(c, g, e));
    check_all(g, &any);
    if (!any)
        return pg_do(c, "rollback", COMMITTING, e);
    TRY(pg_look_numbers(p, g, e));
    TRY(write_all(c, g, e));
    return pg_clock_end(c, &g->clock, COMMITTING, unknown, e);
}

/* *unknown: whether it is written. */
static err_code one_try(struct pg *p, struct pg_group *g, bool *unknown, struct err *e)
{
    PGconn *c;
    TRY(pg_take(p, PG_WRITE, &c, e));
    err_code rc = try_group(p, c, g, unknown, e);
    pg_give(p, PG_WRITE, c);
    return rc;
}

static err_code write_group(struct pg *p, struct pg_group *g, struct err *e)
{
    struct pg_again again = pg_again_begin();
    bool unknown = false;
    err_code rc;
    do
        rc = one_try(p, g, &unknown, e);
    while (rc != ERR_OK && unknown && pg_again(&again));
    return rc == ERR_OK || !unknown
               ? rc
               : ERR(e, ERR_UNAVAILABLE,
                     "the connection to the database ended while a commit was under way, and it "
                     "is not known whether it was written: read before trying again");
}

static int by_type_then_id(const void *a, const void *b)
{
    const struct store_write *x = ((const struct pg_write *)a)->w;
    const struct store_write *y = ((const struct pg_write *)b)->w;
    return x->type != y->type ? (int)x->type - (int)y->type : sv_cmp(x->id, y->id);
}

void pg_write_group(struct pg *p, struct pg_waiter *first, bool whole)
{
    struct pg_group g = { .first = first, .whole = whole };
    struct err why;
    size_t n = 0;
    for (const struct pg_waiter *w = first; w; w = w->next)
        n += w->n;
    g.rows = calloc(n ? n : 1, sizeof *g.rows);
    g.as_came = calloc(n ? n : 1, sizeof *g.as_came);
    if (g.rows == NULL || g.as_came == NULL)
        abort();
    for (struct pg_waiter *w = first; w; w = w->next)
        for (size_t i = 0; i < w->n; i++, g.n++)
            g.rows[g.n] = (struct pg_write){ .w = &w->writes[i], .of = w, .at = g.n };
    if (g.n)
        qsort(g.rows, g.n, sizeof *g.rows, by_type_then_id);
    for (size_t i = 0; i < g.n; i++)
        g.as_came[g.rows[i].at] = &g.rows[i];
    err_code rc = write_group(p, &g, &why);
    for (struct pg_waiter *w = first; w && rc != ERR_OK; w = w->next)
        if (w->rc == ERR_OK) {
            w->rc = rc;
            w->why = why;
        }
    free(g.as_came);
    free(g.rows);
}

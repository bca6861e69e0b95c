/* open.c - the engine on PostgreSQL: its table of functions, opening, closing, data stores by name.
 *
 * A place is a connection URI of libpq, a slash and a name: postgresql://host/database?options/NAME
 * is the data store NAME of that database, which is the PostgreSQL schema fl_NAME. What stands in
 * front of the last slash goes to libpq as it is: several hosts, target_session_attrs, sslmode,
 * sslrootcert and a service file are said there. The URI may hold a password, so it is in no
 * message. */
#include "store/postgres/read_private.h"

#include "base/clock.h"

#define NAME_MAX_LEN 48u
#define SCHEMA       "fl_"
#define REMOVE_MS    3600000u
#define ROOT_DOING   "reading the list of data stores"
#define REMOVING     "removing a data store"

/* ---- places ---- */

/* A name that needs no quotes behind SCHEMA. */
static bool name_ok(sv name)
{
    for (size_t i = 0; i < name.len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789_", name.ptr[i]) == NULL)
            return false;
    return name.len > 0 && name.len <= NAME_MAX_LEN;
}

err_code pg_place_read(const char *place, char **conninfo, char schema[PG_SCHEMA_MAX],
                       struct err *e)
{
    const char *slash = strrchr(place, '/');
    if (strncmp(place, "//", 2) != 0 || slash == NULL || !name_ok(sv_from(slash + 1)) ||
        slash < place + 2)
        return ERR(e, ERR_INVALID,
                   "a data store on PostgreSQL has the URI postgresql://HOST/DATABASE/NAME");
    if (asprintf(conninfo, "postgresql:%.*s", (int)(slash - place), place) < 0)
        abort();
    (void)snprintf(schema, PG_SCHEMA_MAX, SCHEMA "%s", slash + 1);
    return ERR_OK;
}

/* A connection to where a place is, outside of any data store. */
static err_code reach(const char *place, char schema[PG_SCHEMA_MAX], struct pg_pool **pool,
                      PGconn **c, struct err *e)
{
    char *conninfo;
    TRY(pg_place_read(place, &conninfo, schema, e));
    *pool = pg_pool_new(conninfo, NULL);
    free(conninfo);
    err_code rc = pg_pool_take(*pool, PG_READ, c, e);
    if (rc != ERR_OK)
        pg_pool_free(*pool);
    return rc;
}

static void leave(struct pg_pool *pool, PGconn *c)
{
    pg_pool_give(pool, PG_READ, c);
    pg_pool_free(pool);
}

/* ---- one store ---- */

static void pg_close(struct store *st)
{
    struct pg *p = (struct pg *)st;
    pg_pool_free(p->pool);
    pg_standby_free(p->standby);
    pg_loads_unref(p->loads);
    pthread_mutex_destroy(&p->queue.lock);
    pthread_mutex_destroy(&p->loads_lock);
    free(p->conninfo);
    free(p);
}

static void pg_weigh(struct store *st, struct store_weight *out)
{
    /* what is written is the database's */
    (void)st;
    *out = (struct store_weight){ 0 };
}

static err_code pg_flush(struct store *st, struct err *e)
{
    (void)st;
    (void)e;
    return ERR_OK;
}

static const struct store_ops pg_ops = {
    .close = pg_close,
    .last = pg_last,
    .horizon = pg_horizon,
    .mark = pg_mark,
    .commit = pg_commit,
    .commit_if = pg_commit_if,
    .bulk_begin = pg_bulk_begin,
    .bulk_fill = pg_bulk_fill,
    .bulk_publish = pg_bulk_publish,
    .bulk_abort = pg_bulk_abort,
    .bulk_hand_over = pg_bulk_hand_over,
    .bulk_leave = pg_bulk_leave,
    .bulk_take_over = pg_bulk_take_over,
    .is_crowded = pg_is_crowded,
    .note_get = pg_note_get,
    .note_delete = pg_note_delete,
    .is_near = pg_is_near,
    .get = pg_get,
    .number_of = pg_number_of,
    .get_number = pg_get_number,
    .scan = pg_scan,
    .scan_numbers = pg_scan_numbers,
    .cursor_next = pg_cursor_next,
    .cursor_rest = pg_cursor_rest,
    .cursor_close = pg_cursor_close,
    .history = pg_history,
    .changes = pg_changes,
    .changes_plan = pg_changes_plan,
    .changed_types = pg_changed_types,
    .touched = pg_touched,
    .log = pg_log,
    .index_scan = pg_index_scan,
    .index_next = pg_index_next,
    .index_seek = pg_index_seek,
    .index_close = pg_index_close,
    .index_form = pg_index_form,
    .settle = pg_settle,
    .count = pg_count,
    .commit_at = pg_commit_at,
    .plan = pg_plan,
    .weigh = pg_weigh,
    .flush = pg_flush,
    .erase = pg_erase,
    .erase_finish = pg_erase_finish,
    .loads_clear = pg_loads_clear,
    .commits = pg_commits,
    .again = pg_commit_again,
    .again_load = pg_again_load,
    .again_end = pg_again_end,
};

err_code pg_open(struct store_env *env, void *own, const char *place, bool create, unsigned n_files,
                 struct store **out, struct err *e)
{
    PGconn *c;
    struct store_commit last;
    struct pg *p = calloc(1, sizeof *p);
    (void)own;
    (void)n_files;
    if (p == NULL)
        abort();
    err_code rc = pg_place_read(place, &p->conninfo, p->schema, e);
    if (rc != ERR_OK) {
        free(p);
        return rc;
    }
    p->base.ops = &pg_ops;
    p->base.alone = &env->alone;
    p->env = env;
    p->pool = pg_pool_new(p->conninfo, p->schema);
    p->standby = pg_standby_new(p->schema);
    pthread_mutex_init(&p->queue.lock, NULL);
    pthread_mutex_init(&p->loads_lock, NULL);
    rc = pg_take(p, PG_WRITE, &c, e);
    if (rc == ERR_OK) {
        rc = pg_schema_open(c, p->schema, create, e);
        if (rc == ERR_OK)
            rc = pg_clock_read(c, &last, e);
        if (rc == ERR_OK)
            rc = pg_gate_read(c, &p->gated, e);
        pg_give(p, PG_WRITE, c);
    }
    if (rc != ERR_OK)
        pg_close(&p->base);
    else
        *out = &p->base;
    return rc;
}

/* ---- stores by name ---- */

/* The root is a place without a name. */
static err_code reach_root(const char *root, struct pg_pool **pool, PGconn **c, struct err *e)
{
    char schema[PG_SCHEMA_MAX], *place;
    if (asprintf(&place, "%s/root", root) < 0)
        abort();
    err_code rc = reach(place, schema, pool, c, e);
    free(place);
    return rc;
}

err_code pg_root_make(const char *root, struct err *e)
{
    struct pg_pool *pool;
    PGconn *c;
    TRY(reach_root(root, &pool, &c, e));
    err_code rc = pg_version_check(c, e);
    leave(pool, c);
    return rc;
}

unsigned pg_root_count(const char *root, bool (*is_name)(sv name))
{
    struct pg_pool *pool;
    struct err why;
    PGconn *c;
    PGresult *r = NULL;
    unsigned n = 0;
    if (reach_root(root, &pool, &c, &why) != ERR_OK)
        return 0;
    if (pg_ask(c, "select nspname::text from pg_namespace where nspname like 'fl\\_%'", 0, NULL,
               ROOT_DOING, &r, &why) == ERR_OK)
        for (int i = 0; i < PQntuples(r); i++)
            n += is_name(sv_tail(pg_bytes(r, i, 0), sizeof SCHEMA - 1));
    PQclear(r);
    leave(pool, c);
    return n;
}

bool pg_exists(const char *place)
{
    char schema[PG_SCHEMA_MAX];
    struct pg_pool *pool;
    struct err why;
    PGconn *c;
    PGresult *r = NULL;
    /* nobody knows: who opens it is told why */
    bool there = true;
    if (reach(place, schema, &pool, &c, &why) != ERR_OK)
        return true;
    const char *args[] = { schema };
    if (pg_ask(c, "select 1 from pg_namespace where nspname = $1", 1, args, ROOT_DOING, &r, &why) ==
        ERR_OK)
        there = PQntuples(r) > 0;
    PQclear(r);
    leave(pool, c);
    return there;
}

unsigned pg_n_files(const char *place)
{
    (void)place;
    return 0;
}

/* A node that is frozen in the middle of a COPY has its locks for as long as it stands still: no
 * deadline of the server ends that. What nodes still do in a data store that is removed is in vain,
 * so their connections are ended. Those of other programs are waited for; and so are all where the
 * server's user may end none. Numbers of tables are not unique in a cluster: another database can
 * be a copy of this one. */
static err_code end_users(PGconn *c, const char *schema, struct err *e)
{
    const char *args[] = { schema };
    return pg_command(
        c,
        "select count(pg_terminate_backend(a.pid)) from pg_stat_activity a where "
        "starts_with(a.application_name, '" PG_APPLICATION
        "') and a.usename = current_user and a.datname = current_database() and a.pid <> "
        "pg_backend_pid() and exists (select from pg_locks l join pg_class k on k.oid = "
        "l.relation join pg_namespace n on n.oid = k.relnamespace where n.nspname = $1 and "
        "l.pid = a.pid and l.granted and l.database = a.datid)",
        1, args, REMOVING, e);
}

/* ERR_CONFLICT: somebody has one of its tables. */
static err_code drop(PGconn *c, const char *schema, struct err *e)
{
    char sql[PG_SCHEMA_MAX + 192];
    /* one transaction; it takes as long as the files that are unlinked */
    (void)snprintf(sql, sizeof sql,
                   "begin; set local statement_timeout = 0; set local lock_timeout = '5s'; drop "
                   "schema if exists %s cascade; commit",
                   schema);
    err_code rc = pg_do(c, sql, REMOVING, e);
    if (rc == ERR_CONFLICT) {
        struct err ignored;
        IGNORE(pg_do(c, "rollback", REMOVING, &ignored));
    }
    return rc;
}

err_code pg_remove(const char *place, struct err *e)
{
    const uint64_t end_us = clock_mono_us() + REMOVE_MS * 1000ull;
    char schema[PG_SCHEMA_MAX];
    struct pg_pool *pool;
    struct err why;
    PGconn *c;
    TRY(reach(place, schema, &pool, &c, e));
    const unsigned usual = pg_patience_of(c);
    err_code rc;
    pg_patience(c, REMOVE_MS);
    while ((rc = drop(c, schema, &why)) == ERR_CONFLICT && clock_mono_us() < end_us)
        if ((rc = end_users(c, schema, &why)) != ERR_OK && PQtransactionStatus(c) != PQTRANS_IDLE)
            break;
    pg_patience(c, usual);
    leave(pool, c);
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

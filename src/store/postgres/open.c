/* open.c - the engine on PostgreSQL: its table of functions, opening, closing, data stores by name.
 *
 * A place is a connection URI of libpq, a slash and a name: postgresql://host/database?options/NAME
 * is the data store NAME of that database, which is the PostgreSQL schema fl_NAME. What stands in
 * front of the last slash goes to libpq as it is: several hosts, target_session_attrs, sslmode,
 * sslrootcert and a service file are said there. The URI may hold a password, so it is in no
 * message. */
#include "store/postgres/read_private.h"

#define NAME_MAX_LEN 48u
#define SCHEMA       "fl_"
#define ROOT_DOING   "reading the list of data stores"

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
    pg_loads_unref(p->loads);
    pthread_mutex_destroy(&p->queue.lock);
    pthread_mutex_destroy(&p->loads_lock);
    pthread_mutex_destroy(&p->last_lock);
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
    .commit = pg_commit,
    .bulk_begin = pg_bulk_begin,
    .bulk_fill = pg_bulk_fill,
    .bulk_publish = pg_bulk_publish,
    .bulk_abort = pg_bulk_abort,
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
};

err_code pg_open(struct store_env *env, void *own, const char *place, bool create, unsigned n_files,
                 struct store **out, struct err *e)
{
    PGconn *c;
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
    pthread_mutex_init(&p->queue.lock, NULL);
    pthread_mutex_init(&p->loads_lock, NULL);
    pthread_mutex_init(&p->last_lock, NULL);
    rc = pg_take(p, PG_WRITE, &c, e);
    if (rc == ERR_OK) {
        rc = pg_schema_open(c, p->schema, create, e);
        if (rc == ERR_OK)
            rc = pg_clock_read(c, &p->last, e);
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
    const int version = PQserverVersion(c);
    leave(pool, c);
    return version >= PG_SERVER_LEAST
               ? ERR_OK
               : ERR(e, ERR_UNSUPPORTED, "the database is PostgreSQL %d: at least 14 is needed",
                     version / 10000);
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

err_code pg_remove(const char *place, struct err *e)
{
    char schema[PG_SCHEMA_MAX], sql[PG_SCHEMA_MAX + 64];
    struct pg_pool *pool;
    PGconn *c;
    TRY(reach(place, schema, &pool, &c, e));
    (void)snprintf(sql, sizeof sql, "drop schema if exists %s cascade", schema);
    /* it takes as long as the files that are unlinked */
    err_code rc = pg_do(c, "set statement_timeout = 0", "removing a data store", e);
    if (rc == ERR_OK)
        rc = pg_do(c, sql, "removing a data store", e);
    leave(pool, c);
    return rc;
}

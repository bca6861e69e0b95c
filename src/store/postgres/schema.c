/* schema.c - the tables of a data store: one PostgreSQL schema has them all.
 *
 * clock.layout says which tables these are. A step to a later layout is one transaction under the
 * clock row's lock; there is none yet. docs/internals/postgres.md says what stands where. */
#include "store/postgres/postgres_private.h"

#define OPENING "opening the data store"

/* On engines that spread rows over servers, this says over which. It stands last in the key, and
 * beside other short columns in each row, where it takes no room. Rows of ids and of search would
 * take more room for it: they would be spread by id and by number. */
#define SLOT "slot smallint not null default 0"

/* Ids are compared as bytes. Rows of versions, changes and search are written once and never
 * changed. */
static const char tables[] =
    "create table clock(one bool primary key default true check (one), t bigint not null, "
    "instant_ms bigint not null, floor_ms bigint not null, visible bigint not null default 0, "
    "layout int not null) with (fillfactor = 10);"
    "create sequence load_no;"
    "create table commits(t bigint primary key, instant_ms bigint not null, load bigint not null, "
    "count bigint not null, who uuid unique);"
    "create index commits_instant on commits(instant_ms, t);"
    "create unique index commits_load on commits(load) where load > 0;"
    "create index commits_load_t on commits(t) where load > 0;"
    "create table versions(number bigint, n bigint, version bigint not null, "
    "instant_ms bigint not null, body_len bigint not null, hole_at int not null, type smallint, "
    "hole smallint not null, method smallint not null, " SLOT ", id text collate \"C\" not null, "
    "body bytea compression lz4, primary key (type, number, n, slot));"
    "create table packs(first bigint, count int not null, raw_len int not null, type "
    "smallint, " SLOT ", body bytea not null, primary key (type, first, slot));"
    /* what is in it is compressed */
    "alter table packs alter body set storage external;"
    "create table parts(number bigint, n bigint, part int, " SLOT
    ", bytes bytea compression lz4 not null, primary key (number, n, part, slot));"
    "create table ids(number bigint not null, type smallint, id text collate \"C\", "
    "primary key (type, id));"
    "create table changes(number bigint, n bigint, type smallint, " SLOT
    ", primary key (type, n, number, slot));"
    /* the shortest rows that there can be: half of a load's processor time and disk is theirs */
    "create table search(number bigint, n bigint, param smallint, type smallint, "
    "value bytea, list bytea compression lz4, primary key (type, param, value, number, n));"
    "create index search_load on search using brin(n) "
    "with (pages_per_range = 16, autosummarize = on);"
    "create table counts(n bigint not null, delta bigint not null, k bytea not null);"
    "create index counts_k on counts(k, n);"
    "create index counts_load on counts(n) where n < 0;"
    "create table open_loads(load bigint primary key, until timestamptz not null, "
    "shared bool not null default false, filled bool not null default false, who uuid not null);"
    "create table unsettled(load bigint primary key, births bool not null);"
    "create table fences(number bigint, count bigint not null, bytes bigint not null, "
    "load bigint not null, type smallint, primary key (type, number));"
    "create index fences_load on fences(load);"
    "create table blocks(b bigint primary key);"
    "create table notes(k bytea primary key, v bytea not null);"
    /* versions that were erased and of which search entries may be there */
    "create table erasing(number bigint, n bigint, primary key (number, n));"
    "insert into clock(t, instant_ms, floor_ms, layout) values (0, 0, 0, 2)";
_Static_assert(PG_LAYOUT == 2, "it stands in the line above");

err_code pg_schema_is_there(PGconn *c, const char *schema, bool *out, struct err *e)
{
    const char *args[] = { schema };
    PGresult *r;
    TRY(pg_ask(c, "select 1 from pg_namespace where nspname = $1", 1, args, OPENING, &r, e));
    *out = PQntuples(r) > 0;
    PQclear(r);
    return ERR_OK;
}

/* Until the end of the transaction nobody else makes anything of that name. */
static err_code lock_name(PGconn *c, const char *schema, struct err *e)
{
    const char *args[] = { schema };
    return pg_command(c, "select pg_advisory_xact_lock(hashtextextended($1, 0))", 1, args, OPENING,
                      e);
}

/* Of two who make one store at once, the second finds it made. */
static err_code make_once(PGconn *c, const char *schema, const char *sql, struct err *e)
{
    char line[PG_SCHEMA_MAX + 32];
    bool there;
    TRY(lock_name(c, schema, e));
    TRY(pg_schema_is_there(c, schema, &there, e));
    if (there)
        return ERR_OK;
    (void)snprintf(line, sizeof line, "create schema %s", schema);
    TRY(pg_do(c, line, OPENING, e));
    return pg_do(c, sql, OPENING, e);
}

err_code pg_schema_make(PGconn *c, const char *schema, const char *sql, struct err *e)
{
    bool there;
    TRY(pg_schema_is_there(c, schema, &there, e));
    if (there)
        return ERR_OK;
    TRY(pg_do(c, "begin", OPENING, e));
    TRY(make_once(c, schema, sql, e));
    return pg_do(c, "commit", OPENING, e);
}

err_code pg_schema_open(PGconn *c, const char *schema, bool create, struct err *e)
{
    bool there;
    PGresult *r;
    if (create)
        TRY(pg_schema_make(c, schema, tables, e));
    TRY(pg_schema_is_there(c, schema, &there, e));
    if (!there)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    TRY(pg_ask(c, "select layout from clock", 0, NULL, OPENING, &r, e));
    const int64_t layout = PQntuples(r) == 1 ? pg_i64(r, 0, 0) : 0;
    PQclear(r);
    if (layout != PG_LAYOUT)
        return ERR(e, ERR_UNSUPPORTED,
                   "the data store has the layout %d, and this program knows layout %d",
                   (int)layout, PG_LAYOUT);
    return ERR_OK;
}

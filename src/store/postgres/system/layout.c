/* layout.c - the tables of the system's schema, and the steps from older ones.
 *
 * Layout 1 had the records alone, and no table that said so. A step is one transaction under a lock
 * of the schema's name, so of several programs that start at once one takes it. */
#include "store/postgres/system/system_private.h"

#define OPENING "opening the system's records"

/* what stands there since the first layout */
static const char first[] =
    "create table records(k bytea primary key, v bytea not null, rev bigint not null);"
    "create table node(one bool primary key default true check (one), who uuid not null, "
    "host text not null, pid int not null, since timestamptz not null)";

/* An epoch is of one lease alone: rows go when they are released. Few rows, often written: there is
 * room beside them. */
static const char second[] =
    "drop table node;"
    "create table nodes(who uuid primary key, host text not null, machine text not null, "
    "pid int not null, "
    "version text not null, since timestamptz not null, seen timestamptz not null) "
    "with (fillfactor = 50);"
    "create sequence lease_epoch;"
    "create table leases(name text collate \"C\" primary key, owner uuid not null, "
    "epoch bigint not null unique, until timestamptz not null, note bytea) "
    "with (fillfactor = 50);"
    "create table written(who uuid primary key, at timestamptz not null);"
    "create table layout(one bool primary key default true check (one), layout int not null);"
    "insert into layout(layout) values (2)";
_Static_assert(PG_SYSTEM_LAYOUT == 2, "it stands in the line above");

/* Without rights it looks as if there were no tables. For an operator: it names the roles. */
static err_code check_rights(PGconn *c, const char *schema, bool to_read, struct err *e)
{
    const char *args[] = { schema };
    PGresult *r;
    TRY(pg_ask(c,
               "select has_schema_privilege(n.oid, 'USAGE'), coalesce((select "
               "bool_and(has_table_privilege(t.oid, 'SELECT')) from pg_class t "
               "where t.relnamespace = n.oid and t.relkind in ('r', 'p')), true), "
               "quote_ident(current_user), quote_ident(pg_get_userbyid(n.nspowner)) "
               "from pg_namespace n where n.nspname = $1::name",
               1, args, OPENING, &r, e));
    err_code rc = ERR_OK;
    const bool there = PQntuples(r) == 1;
    const char *user = there ? PQgetvalue(r, 0, 2) : "", *owner = there ? PQgetvalue(r, 0, 3) : "";
    if (there && to_read && !(*PQgetvalue(r, 0, 0) && *PQgetvalue(r, 0, 1)))
        rc = ERR(e, ERR_DENIED,
                 "the user %s may not read what stands in the schema %s. Its owner, %s, can type: "
                 "grant usage on schema %s to %s; grant select on all tables in schema %s to %s",
                 user, schema, owner, schema, user, schema, user);
    else if (there && !*PQgetvalue(r, 0, 0))
        rc = ERR(e, ERR_DENIED,
                 "the user %s may not use the schema %s, which %s has made: serve as that user",
                 user, schema, owner);
    PQclear(r);
    return rc;
}

/* 0: there are no tables. */
static err_code layout_of(PGconn *c, const char *schema, int64_t *out, struct err *e)
{
    const char *args[] = { schema };
    bool there;
    PGresult *r;
    TRY(pg_schema_is_there(c, schema, &there, e));
    *out = 0;
    if (!there)
        return ERR_OK;
    TRY(pg_ask(c, "select 1 from pg_tables where schemaname = $1::name and tablename = 'layout'", 1,
               args, OPENING, &r, e));
    there = PQntuples(r) > 0;
    PQclear(r);
    *out = 1;
    if (!there)
        return ERR_OK;
    TRY(pg_ask(c, "select layout from layout", 0, NULL, OPENING, &r, e));
    *out = PQntuples(r) == 1 ? pg_i64(r, 0, 0) : -1;
    PQclear(r);
    return ERR_OK;
}

static err_code check_known(int64_t layout, struct err *e)
{
    return layout == PG_SYSTEM_LAYOUT
               ? ERR_OK
               : ERR(e, ERR_UNSUPPORTED,
                     "the database's schema of the system has the layout %d, and this program "
                     "knows layout %d",
                     (int)layout, PG_SYSTEM_LAYOUT);
}

/* A program that knew the first layout alone held this lock for as long as it served. */
static err_code check_alone(PGconn *c, const char *schema, struct err *e)
{
    const char *args[] = { schema };
    PGresult *r;
    TRY(pg_ask(c, "select pg_try_advisory_xact_lock(hashtextextended($1, 15))", 1, args, OPENING,
               &r, e));
    const bool alone = *PQgetvalue(r, 0, 0) != 0;
    PQclear(r);
    return alone ? ERR_OK
                 : ERR(e, ERR_EXISTS,
                       "a fhirlake of an older release uses this database, and shares it with "
                       "nobody: stop that one");
}

static err_code bring_on(PGconn *c, const char *schema, struct err *e)
{
    const char *args[] = { schema };
    char line[PG_SCHEMA_MAX + 32];
    int64_t layout;
    TRY(pg_command(c, "select pg_advisory_xact_lock(hashtextextended($1, 0))", 1, args, OPENING,
                   e));
    TRY(layout_of(c, schema, &layout, e));
    if (layout == 0) {
        (void)snprintf(line, sizeof line, "create schema %s", schema);
        TRY(pg_do(c, line, OPENING, e));
        TRY(pg_do(c, first, OPENING, e));
        layout = 1;
    }
    if (layout == 1) {
        TRY(check_alone(c, schema, e));
        TRY(pg_do(c, second, OPENING, e));
        layout = 2;
    }
    return check_known(layout, e);
}

err_code pg_system_open(PGconn *c, const char *schema, bool to_read, struct err *e)
{
    int64_t layout;
    TRY(check_rights(c, schema, to_read, e));
    TRY(layout_of(c, schema, &layout, e));
    if (to_read && layout == 0)
        return ERR(e, ERR_NOT_FOUND, "there are no system's records");
    /* records are the same in both */
    if (layout == PG_SYSTEM_LAYOUT || (to_read && layout == 1))
        return ERR_OK;
    if (layout > PG_SYSTEM_LAYOUT || to_read)
        return check_known(layout, e);
    TRY(pg_do(c, "begin", OPENING, e));
    TRY(bring_on(c, schema, e));
    return pg_do(c, "commit", OPENING, e);
}

/* ready.c - a database looked at before a server begins: what is wrong is said to who starts it.
 *
 * Elsewhere messages reach clients, and have nothing of what libpq or the server say. Here they
 * reach an operator, who needs it: libpq tells host, port, user and database, and why there is no
 * way in. It never tells a password; should its text hold one all the same, it is not shown. What a
 * URI that cannot be read has is not quoted: a password may stand anywhere in it. */
#include "store/postgres/link/link_private.h"

#define LOOKING  "looking at the database"
#define FORM     "postgresql://[USER[:PASSWORD]@]HOST[:PORT][,..]/DATABASE[?OPTION=VALUE&..]"
#define PART_MAX 200u /* of a message of libpq */

err_code pg_version_check(PGconn *c, struct err *e)
{
    const int version = PQserverVersion(c);
    return version >= PG_SERVER_LEAST
               ? ERR_OK
               : ERR(e, ERR_UNSUPPORTED, "the database is PostgreSQL %d: at least 14 is needed",
                     version / 10000);
}

/* ---- the URI ---- */

/* Password: a copy, caller's to free; NULL: it has none. */
static err_code read_uri(const char *conninfo, char **password, struct err *e)
{
    char *why = NULL;
    PQconninfoOption *all = PQconninfoParse(conninfo, &why);
    if (why)
        PQfreemem(why);
    if (all == NULL)
        return ERR(e, ERR_INVALID,
                   "the URI cannot be read: it is " FORM ", with options of libpq, and what has a "
                   "meaning of its own is written as %%XX in it");
    bool keys = false;
    for (const PQconninfoOption *o = all; o->keyword; o++) {
        if (strcmp(o->keyword, "password") == 0 && o->val && o->val[0])
            *password = strdup(o->val);
        keys = keys ||
               (strcmp(o->keyword, "dbname") == 0 && o->val && o->val[0] && strpbrk(o->val, "=/"));
    }
    PQconninfoFree(all);
    return keys ? ERR(e, ERR_INVALID,
                      "the URI cannot be read: the name of its database has a "
                      "slash or a sign =; the URI is " FORM)
                : ERR_OK;
}

/* ---- the way in ---- */

static err_code no_way_in(const PGconn *c, const char *password, struct err *e)
{
    char text[PART_MAX + 1];
    const char *told = c ? PQerrorMessage(c) : "";
    size_t n = 0;
    if (password && strstr(told, password))
        told = "";
    /* of several hosts each has a line */
    for (; *told && n < PART_MAX; told++) {
        const bool space = *told == '\n' || *told == '\t' || *told == ' ';
        if (!space)
            text[n++] = *told;
        else if (n && text[n - 1] != ' ')
            text[n++] = ' ';
    }
    while (n && text[n - 1] == ' ')
        n--;
    text[n] = 0;
    return ERR(e, ERR_UNAVAILABLE, "%s",
               n ? text : "the database cannot be reached, or does not let the server in");
}

/* ---- what it is ---- */

static err_code ask(PGconn *c, const char *sql, PGresult **out, struct err *e)
{
    return pg_ask(c, sql, 0, NULL, LOOKING, out, e);
}

static bool yes(const PGresult *r, int col)
{
    return !PQgetisnull(r, 0, col) && *PQgetvalue(r, 0, col);
}

static err_code check_set_up(PGconn *c, unsigned n_connections, struct store_readiness *out,
                             struct err *e)
{
    PGresult *r;
    TRY(ask(c,
            "select pg_is_in_recovery() or current_setting('transaction_read_only')::bool, "
            "has_database_privilege(current_database(), 'CREATE'), "
            "current_setting('server_encoding') = 'UTF8', "
            "current_setting('synchronous_commit') in ('on', 'remote_apply', 'remote_write'), "
            "current_setting('synchronous_commit') = 'local', "
            "current_setting('synchronous_standby_names') = '', "
            "not current_setting('fsync')::bool, "
            "current_setting('max_connections')::bigint - "
            "current_setting('superuser_reserved_connections')::bigint",
            &r, e));
    err_code rc = ERR_OK;
    const int64_t room = pg_i64(r, 0, 7);
    if (yes(r, 0))
        rc =
            ERR(e, ERR_UNSUPPORTED,
                "the database can be read alone: it is a standby, or its user may not write; with "
                "several hosts, target_session_attrs=read-write finds the one that can be written");
    else if (!yes(r, 1))
        rc =
            ERR(e, ERR_DENIED,
                "the user may not make schemas in the database: grant create on database .. to ..");
    else if (!yes(r, 2))
        rc = ERR(e, ERR_UNSUPPORTED, "the encoding of the database is not UTF8");
    else if (!yes(r, 3) && !yes(r, 4))
        rc = ERR(e, ERR_UNSUPPORTED,
                 "synchronous_commit is off, so what is acknowledged could be lost: set it to on "
                 "for this user or database");
    else if (n_connections + 1 > room)
        rc = ERR(e, ERR_UNSUPPORTED,
                 "the server takes %lld connections (max_connections, without those of "
                 "superusers), and up to %u are needed: raise it, or give a smaller number",
                 (long long)room, n_connections + 1);
    out->no_standby = yes(r, 4) || yes(r, 5);
    out->no_fsync = yes(r, 6);
    PQclear(r);
    return rc;
}

static bool is_private(PGconn *c)
{
    const char *host = PQhost(c);
    return PQsslInUse(c) || host == NULL || host[0] == 0 || host[0] == '/' || host[0] == '@' ||
           strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

/* Whether they can be reached is found out when they are read from. */
static err_code check_standbys(struct err *e)
{
    const char *uri = pg_connect_read_from();
    char *password = NULL;
    struct err why;
    err_code rc = uri ? read_uri(uri, &password, &why) : ERR_OK;
    free(password);
    return rc == ERR_OK ? rc : ERR(e, rc, "of --store-read: the URI cannot be read: it is " FORM);
}

/* *out: the caller's to finish, also after an error. */
static err_code reach(const char *root, PGconn **out, struct err *e)
{
    char *conninfo, *password = NULL;
    if (asprintf(&conninfo, "postgresql:%s", root) < 0)
        abort();
    err_code rc = strncmp(root, "//", 2) == 0
                      ? read_uri(conninfo, &password, e)
                      : ERR(e, ERR_INVALID, "the URI cannot be read: it is " FORM);
    if (rc == ERR_OK)
        rc = check_standbys(e);
    *out = rc == ERR_OK ? pg_connect_raw(conninfo) : NULL;
    if (rc == ERR_OK && PQstatus(*out) != CONNECTION_OK)
        rc = no_way_in(*out, password, e);
    if (rc == ERR_OK)
        rc = pg_version_check(*out, e);
    free(conninfo);
    free(password);
    return rc;
}

err_code pg_reach(const char *root, struct err *e)
{
    PGconn *c;
    err_code rc = reach(root, &c, e);
    PQfinish(c);
    return rc;
}

err_code pg_ready(const char *root, struct store_readiness *out, struct err *e)
{
    PGconn *c;
    err_code rc = reach(root, &c, e);
    if (rc == ERR_OK)
        rc = check_set_up(c, pg_link_most(), out, e);
    if (rc == ERR_OK)
        out->is_encrypted = is_private(c);
    PQfinish(c);
    return rc;
}

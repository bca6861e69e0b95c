/* place.c - a data folder or a database that is copied from or to.
 *
 * Its records are open meanwhile, and no server has them. A URI of a database may hold a
 * password: no message shows it. */
#include "cli/copy/copy_private.h"

#include "base/file.h"
#include "store/elsewhere.h"
#include "store/nodes.h"

#include <sys/stat.h>
#include <unistd.h>

#define SCHEME         "postgresql:"
#define SCHEME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-."
#define ROOM           64 /* for a name behind a URI */

err_code copy_place_read(struct copy_place *p, const char *option, const char *given, struct err *e)
{
    *p = (struct copy_place){ .option = option, .given = given };
    if (given == NULL || given[0] == 0)
        return ERR(e, ERR_INVALID, "%s is needed: DATA, or postgresql://HOST/DATABASE", option);
    p->is_remote = strncmp(given, SCHEME "//", sizeof SCHEME "//" - 1) == 0;
    /* what looks like a URI may hold a password, and is not shown */
    if (!p->is_remote && given[strspn(given, SCHEME_LETTERS)] == ':')
        return ERR(e, ERR_INVALID,
                   "%s takes postgresql://HOST/DATABASE, or DATA (./ in front of a colon)", option);
    const char *scheme = p->is_remote ? "" : "rocksdb:", *below = p->is_remote ? "" : "/stores";
    const int n = snprintf(p->stores, sizeof p->stores, "%s%s%s", scheme, given, below);
    const int m = snprintf(p->records_uri, sizeof p->records_uri, "%s%s/system", scheme, given);
    if (n > PATH_MAX - ROOM || m > PATH_MAX - ROOM)
        return ERR(e, ERR_INVALID, "%s is too long", option);
    return ERR_OK;
}

static err_code look_folder(const struct copy_place *p, bool create, struct err *e)
{
    const size_t scheme = sizeof "rocksdb:" - 1;
    if (store_elsewhere(p->given, NULL) != ERR_OK)
        return ERR(e, ERR_UNSUPPORTED,
                   "the data stores of folder %.200s are in a database: give %s that database, or "
                   "another folder",
                   p->given, p->option);
    if (create)
        return file_mkdirs(p->stores + scheme, e);
    return access(p->records_uri + scheme, F_OK) == 0
               ? ERR_OK
               : ERR(e, ERR_NOT_FOUND, "%.200s is no data folder: it has no folder named system",
                     p->given);
}

static err_code look_database(const struct copy_place *p, bool create, struct err *e)
{
    const struct store_link link = { .n_connections = STORE_CONNECTIONS_USUAL };
    struct store_readiness ready;
    struct records *records = NULL;
    TRY(store_ready(p->stores, &link, &ready, e));
    if (create)
        return ERR_OK;
    err_code rc = records_open_to_read(p->records_uri, &records, e);
    records_close(records);
    return rc == ERR_NOT_FOUND ? ERR(e, rc, "no fhirlake has served from that database") : rc;
}

err_code copy_place_open(struct copy_place *p, bool create, struct err *e)
{
    struct err why = { 0 };
    err_code rc = p->is_remote ? look_database(p, create, &why) : look_folder(p, create, &why);
    if (rc == ERR_OK)
        rc = records_open(p->records_uri, &p->records, &why);
    if (rc == ERR_EXISTS && !p->is_remote)
        return ERR(e, rc, "%s: data folder %.200s is in use: stop the server first", p->option,
                   p->given);
    if (rc != ERR_OK)
        return ERR(e, rc, "%s: %s", p->option, why.msg);
    return copy_place_alone(p, e);
}

/* node_each_fn */
static bool is_other(void *ctx, const struct node_seen *seen)
{
    bool *there = ctx;
    *there = !seen->is_self && seen->quiet_ms < NODE_LOST_MS;
    return !*there;
}

err_code copy_place_alone(const struct copy_place *p, struct err *e)
{
    struct err why;
    bool there = false;
    err_code rc = nodes_list(p->records, is_other, &there, &why);
    if (rc != ERR_OK)
        return ERR(e, rc, "%s: %s", p->option, why.msg);
    return there ? ERR(e, ERR_EXISTS,
                       "%s: another fhirlake has this database: stop all of them first "
                       "(fhirlake nodes shows them)",
                       p->option)
                 : ERR_OK;
}

void copy_place_close(struct copy_place *p)
{
    if (p->records)
        records_close(p->records);
    p->records = NULL;
}

const char *copy_place_uri(const struct copy_place *p, struct arena *a, sv id)
{
    return arena_fmt(a, "%s/%.*s", p->stores, SV_FMT(id)).ptr;
}

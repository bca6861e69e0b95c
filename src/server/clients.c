/* clients.c - our own token endpoint, when the server has a file of registered clients:
 *
 *   --smart-clients FILE, or DATA/smart-clients when it is there at the start
 *   DATA/token-keys                    the keys that sign our tokens; with a database, it has them
 *
 * Assertions of clients are for our token URL, and so hold what --public-url says. Without that the
 * URL is what the request's Host says, which only callers of this machine may choose. */
#include "server/serve_private.h"

#include "base/clock.h"
#include "base/file.h"

#include <unistd.h>

/* The clients were read again, or could not be. */
static void told(void *ctx, size_t n_clients, const struct err *e)
{
    (void)ctx;
    if (e)
        LOG_ERR("smart_clients", e, LOG_STR("state", "refused"),
                LOG_STR("note", "the clients before stay"));
    else
        LOG(LOG_INFO, "smart_clients", LOG_STR("state", "read again"),
            LOG_INT("clients", n_clients));
}

static err_code path_in(const char *data, const char *name, char out[PATH_MAX], struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", data, name);
    return n > 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "--data is too long a path");
}

err_code clients_room_open(const struct server_config *config, struct records *records,
                           struct clients_room *room, struct err *e)
{
    char keys[PATH_MAX], was[ERR_MSG_LEN], where[ERR_CTX_LEN];
    TRY(path_in(config->data, "smart-clients", room->path, e));
    TRY(path_in(config->data, "token-keys", keys, e));
    if (config->smart_clients)
        (void)snprintf(room->path, sizeof room->path, "%s", config->smart_clients);
    else if (access(room->path, F_OK) != 0)
        return ERR_OK;
    if (config->public_url == NULL && !server_config_is_loopback(sv_from(config->listen)))
        return ERR(e, ERR_INVALID,
                   "clients that are registered in %.200s prove who they are to a URL, which must "
                   "not be what a request says: give --public-url",
                   room->path);
    const struct issue_config ic = {
        .clients = room->path, .keys = keys, .records = records, .told = told
    };
    err_code rc = issue_open(&ic, clock_wall_ms(), &room->issue, e);
    if (rc == ERR_OK) {
        if (!records_shared(records))
            guard_folder(keys, "token-keys");
        LOG(LOG_INFO, "smart_clients", LOG_STR("state", "read"), LOG_STR("file", room->path));
        return ERR_OK;
    }
    (void)snprintf(was, sizeof was, "%s", e->msg);
    (void)snprintf(where, sizeof where, "%s", e->ctx);
    /* the file of one of our own keys */
    if (where[0])
        return ERR(e, rc, "%s: %s", where, was);
    return ERR(e, rc, "--smart-clients %.200s: %s", room->path, was);
}

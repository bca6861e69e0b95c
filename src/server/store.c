/* store.c - where data stores and the system's records are: in folders of DATA, or in a database.
 *
 * DATA of a server with a database holds what belongs to this machine: keys, spools of jobs, files
 * that are served. Its one process holds DATA/lock. DATA/database has the number of the database
 * that it goes with, so that a server that is started without --store does not begin with an empty
 * DATA/system beside it, and one with another database does not look there for the spools of the
 * first. */
#include "server/serve_private.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"
#include "store/convert.h"
#include "store/elsewhere.h"
#include "store/move.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define NAMES_BYTES   (16u << 20) /* of all data stores */
#define NUMBER_RECORD SV_LIT("database")
#define NUMBER_LEN    STORE_NUMBER_LEN
#define SCHEME        "postgresql:"
#define HERE          "rocksdb:"
#define CACHE_USUAL   64u

static bool is_remote(const struct server_config *config)
{
    return strcmp(config->store, "rocksdb") != 0;
}

/* ---- options ---- */

static err_code check_remote(const struct server_config *config, struct err *e)
{
    const size_t most = sizeof((struct store_room *)NULL)->stores - sizeof "/system";
    if (strncmp(config->store, SCHEME "//", sizeof SCHEME "//" - 1) != 0)
        return ERR(e, ERR_INVALID, "--store takes rocksdb, or postgresql://HOST/DATABASE");
    if (strlen(config->store) > most)
        return ERR(e, ERR_INVALID, "--store takes a URI of at most %zu bytes", most);
    if (config->store_read && strncmp(config->store_read, SCHEME "//", sizeof SCHEME "//" - 1) != 0)
        return ERR(e, ERR_INVALID, "--store-read takes postgresql://HOST/DATABASE");
    if (config->encryption_key_file)
        return ERR(
            e, ERR_INVALID,
            "--encryption-key-file goes with files, and not with --store postgresql://: what "
            "a database writes is encrypted by its disk");
    if (config->cache_mib != CACHE_USUAL)
        return ERR(e, ERR_INVALID,
                   "--cache-mib is of RocksDB, and nothing with --store postgresql://: a database "
                   "has its own shared_buffers");
    return ERR_OK;
}

err_code store_room_check(const struct server_config *config, struct err *e)
{
    if (is_remote(config))
        return check_remote(config, e);
    const char *given = config->store_connections ? "store-connections"
                        : config->store_ack       ? "store-ack"
                        : config->store_timeout   ? "store-timeout"
                        : config->store_read      ? "store-read"
                                                  : NULL;
    return given ? ERR(e, ERR_INVALID, "--%s needs --store postgresql://", given) : ERR_OK;
}

/* ---- where ---- */

static err_code path_in(char out[PATH_MAX], const char *dir, const char *name, struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return n > 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "--data is too long a path");
}

static err_code look_here(const struct server_config *config, struct store_room *room,
                          struct err *e)
{
    char path[PATH_MAX];
    if (store_elsewhere(config->data, NULL) != ERR_OK)
        return ERR(
            e, ERR_CONFLICT,
            "the data of data folder %.150s are in a database: give --store postgresql://.., "
            "or --data another",
            config->data);
    TRY(path_in(path, config->data, "stores", e));
    TRY(path_in(room->mark, config->data, "system", e));
    (void)snprintf(room->records, sizeof room->records, HERE "%s", room->mark);
    (void)snprintf(room->stores, sizeof room->stores, HERE "%s", path);
    return ERR_OK;
}

static err_code look_there(const struct server_config *config, struct store_room *room,
                           struct err *e)
{
    char path[PATH_MAX];
    TRY(path_in(path, config->data, "system", e));
    TRY(path_in(room->mark, config->data, STORE_ELSEWHERE_NAME, e));
    if (access(path, F_OK) == 0)
        return ERR(e, ERR_CONFLICT,
                   "data folder %.150s has data stores of its own, which --store postgresql:// "
                   "would leave aside: give --data another",
                   config->data);
    (void)snprintf(room->records, sizeof room->records, "%s/system", config->store);
    (void)snprintf(room->stores, sizeof room->stores, "%s", config->store);
    room->is_remote = true;
    return ERR_OK;
}

err_code store_room_look(const struct server_config *config, struct store_room *room, struct err *e)
{
    return is_remote(config) ? look_there(config, room, e) : look_here(config, room, e);
}

/* ---- the database that a folder goes with ---- */

err_code store_room_number(struct records *records, char out[NUMBER_LEN + 1], struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(NUMBER_LEN);
    err_code rc = records_get(records, NUMBER_RECORD, &text, e);
    if (rc == ERR_NOT_FOUND) {
        struct err ignored;
        rng_hex32(out);
        const struct records_write w = { RECORDS_PUT_IF_ABSENT, NUMBER_RECORD, sv_from(out) };
        /* of two who start at once, one gives it; what fails otherwise fails below */
        IGNORE(records_write(records, &w, 1, &ignored));
        rc = records_get(records, NUMBER_RECORD, &text, e);
    }
    TRY(rc);
    (void)snprintf(out, NUMBER_LEN + 1, "%.*s", SV_FMT(buf_sv(&text)));
    return ERR_OK;
}

static err_code check_number(const struct server_config *config, const struct store_room *room,
                             struct records *records, struct err *e)
{
    char number[NUMBER_LEN + 1];
    CLEANUP_BUF struct buf text = BUF_INIT(NUMBER_LEN + 1);
    TRY(store_room_number(records, number, e));
    if (access(room->mark, F_OK) != 0)
        return file_write_atomic(room->mark, sv_from(number), e);
    TRY(file_read(room->mark, &text, e));
    return sv_eq_cstr(sv_trim(buf_sv(&text)), number)
               ? ERR_OK
               : ERR(e, ERR_CONFLICT,
                     "data folder %.150s goes with another database than that of --store: give "
                     "--data another, or that database",
                     config->data);
}

/* ---- opening ---- */

static void tell_readiness(const struct store_readiness *r, bool local)
{
    if (r->no_standby && !local)
        LOG(LOG_WARN, "database", LOG_STR("standby", "none"),
            LOG_STR("note",
                    "no synchronous standby is set: when the database's disk is lost, so is "
                    "what was acknowledged. Set synchronous_standby_names, or say that it "
                    "is meant: --store-ack local"));
    if (r->no_fsync)
        LOG(LOG_WARN, "database", LOG_STR("fsync", "off"),
            LOG_STR("note", "the database does not wait for its disk: when its machine fails, "
                            "what was acknowledged is lost"));
    if (!r->is_encrypted)
        LOG(LOG_WARN, "database", LOG_STR("tls", "none"),
            LOG_STR("note", "resources can be read on the way to the database: "
                            "sslmode=verify-full"));
}

static err_code in_use(const struct server_config *config, struct err *e)
{
    return ERR(e, ERR_EXISTS,
               "data folder %s is in use by another fhirlake: stop that one, or give --data "
               "another",
               config->data);
}

/* DATA is one process's alone. Where its records are files, their own lock says so. The lock is of
 * the process, so that it goes with it however that ends. */
static err_code lock_data(const struct server_config *config, struct store_room *room,
                          struct err *e)
{
    char path[PATH_MAX];
    TRY(path_in(path, config->data, "lock", e));
    room->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (room->lock_fd < 0)
        return file_os_err(e, "cannot lock the data folder");
    room->is_locked = true;
    if (flock(room->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? in_use(config, e)
                                    : file_os_err(e, "cannot lock the data folder");
    return ERR_OK;
}

void store_room_close(struct store_room *room)
{
    if (room->is_locked)
        close(room->lock_fd);
    room->is_locked = false;
}

err_code store_room_open(const struct server_config *config, struct store_room *room,
                         struct records **out, struct err *e)
{
    const bool local = config->store_ack && strcmp(config->store_ack, "local") == 0;
    const struct store_link link = { .n_connections = config->store_connections
                                                          ? config->store_connections
                                                          : STORE_CONNECTIONS_USUAL,
                                     .ack_local = local,
                                     .read_from = config->store_read,
                                     .timeout_s = config->store_timeout };
    struct store_readiness ready = { 0 };
    struct err why = { 0 };
    err_code rc = ERR_OK;
    if (room->is_remote)
        TRY(lock_data(config, room, e));
    if (room->is_remote)
        rc = store_ready(room->stores, &link, &ready, &why);
    else
        /* not before: a folder's first use is told by what is in it */
        rc = file_mkdirs(room->stores + sizeof HERE - 1, &why);
    if (rc == ERR_OK)
        rc = records_open(room->records, out, &why);
    if (rc == ERR_EXISTS && !room->is_remote)
        return in_use(config, e);
    if (rc != ERR_OK)
        return room->is_remote ? ERR(e, rc, "--store: %s", why.msg) : err_pass(e, &why);
    /* whoever copies writes its marks, then looks for servers; this is one already */
    TRY(store_half_check(*out, room->is_remote ? "database" : "folder", e));
    TRY(store_source_check(*out, room->is_remote ? "database" : "folder", e));
    if (!room->is_remote)
        return ERR_OK;
    tell_readiness(&ready, local);
    return check_number(config, room, *out, e);
}

/* ---- data stores of an older program ---- */

err_code store_room_check_layouts(const struct server_config *config, const struct store_room *room,
                                  struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(NAMES_BYTES);
    sv *names;
    size_t n, n_older = 0;
    /* a database has one layout, and who opens it looks at it */
    if (room->is_remote)
        return ERR_OK;
    TRY(store_convert_names(room->stores, a, &names, &n, e));
    for (size_t i = 0; i < n; i++) {
        sv uri = arena_fmt(a, "%s/%.*s", room->stores, SV_FMT(names[i]));
        if (uri.ptr == NULL)
            return arena_oom(a, e);
        bool older;
        struct err why;
        if (store_convert_look(uri.ptr, &older, &why) != ERR_OK)
            LOG_ERR("datastore_damaged", &why, LOG_SV("datastore", names[i]),
                    LOG_STR("note", "its requests fail until it is put back from a copy; the "
                                    "others are served"));
        n_older += older;
    }
    if (n_older == 0)
        return ERR_OK;
    char real[PATH_MAX], shown[PATH_MAX + 3];
    file_quoted(realpath(config->data, real) ? real : config->data, shown);
    return ERR(e, ERR_CONFLICT,
               "%zu of %zu data stores have an older layout, or their conversion was cut off. "
               "Type: fhirlake convert %.380s",
               n_older, n, shown);
}

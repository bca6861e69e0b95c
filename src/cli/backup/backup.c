/* backup.c - the command `fhirlake backup`: a data folder is copied to another disk or into a
 * bucket, while a server runs on it or while none does.
 *
 * A running server is asked for a snapshot through the socket DATA/control (server/control.c), and
 * keeps it as long as the connection stands. Without a server the snapshot is made here. Either
 * way the files are copied by this process, so a server has nothing to do with the target. */
#include "cli/backup/backup.h"

#include "base/file.h"
#include "cli/backup/options.h"
#include "server/control.h"
#include "store/elsewhere.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX  (PATH_MAX + 64)
#define RECORD_NAME "backup-digests" /* in the data folder */

struct options {
    const char *data, *to, *verify, *prune;
    struct cli_backups of;
};
#define O(member) offsetof(struct options, member)
static const struct cli_option table[] = {
    { "data", "DIR", "the data folder, as of fhirlake serve (default: ./fhirlake-data)", O(data) },
    { "to", "PLACE", "back it up into this folder, which is made, or s3://bucket/prefix", O(to) },
    { "verify", "PLACE", "read all files of all backups there, and change nothing", O(verify) },
    { "prune", "PLACE", "remove the files there that no backup names", O(prune) },
    CLI_BACKUPS_OPTIONS(O(of)),
    CLI_BACKUPS_KMS(O(of)),
};
#define N_OPTIONS (sizeof table / sizeof table[0])

struct source {                             /* of a snapshot */
    char folder[PATH_MAX], above[PATH_MAX]; /* above: what is to be removed; empty: nothing */
    int server;                             /* connection; -1: there is none */
    struct records *records;
    struct store_registry *stores;
    struct store_env *env;
};

static void usage(FILE *f)
{
    (void)fputs(
        "Usage: fhirlake backup [--data DIR] --to PLACE\n"
        "       fhirlake backup --verify PLACE\n"
        "       fhirlake backup --prune PLACE\n\n"
        "Copy a data folder into another folder or an S3 bucket, while a server runs on it or "
        "while\n"
        "none does: the system's records, and every data store as of one commit. Files that are "
        "there\n"
        "already are not copied again. A backup is there when its manifest is, which is written "
        "last;\n"
        "a call that is cut off leaves the backups as they were.\n\n"
        "Not in a backup: credentials, roles and policies, objects, files of served exports.\n\n",
        f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 all is well, 1 it failed or something is wrong (told), 2 wrong "
                "usage.\n\n"
                "Example:\n"
                "  fhirlake backup --data fhirlake-data --to /mnt/backup && fhirlake backup "
                "--verify /mnt/backup\n"
                "  fhirlake backup --data fhirlake-data --to s3://backups/fhirlake \\\n"
                "      --s3-endpoint https://s3.eu-west-1.amazonaws.com --region eu-west-1\n",
                f);
}

static int fail(const struct err *e)
{
    (void)fprintf(stderr, "fhirlake backup: %s%s%s\n", e->ctx, e->ctx[0] ? ": " : "", e->msg);
    return 1;
}

/* ---- a running server ---- */

/* False: nobody listens there. */
static bool reach(const char *data, int *fd)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int dir = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return false;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/" CONTROL_NAME, dir);
    const bool there = *fd >= 0 && connect(*fd, (struct sockaddr *)&at, sizeof at) == 0;
    (void)close(dir);
    if (!there && *fd >= 0)
        (void)close(*fd);
    return there;
}

static err_code ask(struct source *s, struct err *e)
{
    char line[ANSWER_MAX];
    size_t n = 0;
    ssize_t got;
    if (send(s->server, "backup\n", 7, MSG_NOSIGNAL) != 7)
        return ERR(e, ERR_IO, "the server does not answer");
    while (n < sizeof line - 1 && (n == 0 || line[n - 1] != '\n') &&
           (got = recv(s->server, line + n, 1, 0)) != 0) {
        if (got < 0 && errno != EINTR)
            break;
        n += got > 0;
    }
    if (n == 0 || line[n - 1] != '\n')
        return ERR(e, ERR_IO, "the server has ended, or does not answer");
    const sv text = sv_make(line, n - 1);
    if (!sv_starts(text, SV_LIT("ok ")))
        return ERR(e, ERR_IO, "the server says: %.*s", SV_FMT(sv_tail(text, sizeof "error")));
    (void)snprintf(s->folder, sizeof s->folder, "%.*s", SV_FMT(sv_tail(text, 3)));
    return ERR_OK;
}

/* The server removes the snapshot, and hangs up then. */
static void let_go(int fd)
{
    char byte;
    ssize_t n;
    (void)shutdown(fd, SHUT_WR);
    do
        n = recv(fd, &byte, 1, 0);
    while (n > 0 || (n < 0 && errno == EINTR));
    (void)close(fd);
}

/* ---- none ---- */

static err_code take(struct source *s, const char *data, struct err *e)
{
    char uri[sizeof "rocksdb:" + PATH_MAX], system[PATH_MAX];
    int n = snprintf(system, sizeof system, "%s/system", data);
    int m = snprintf(s->folder, sizeof s->folder, "%s/backup/snapshot", data);
    if (n < 0 || n >= PATH_MAX - 64 || m >= PATH_MAX)
        return ERR(e, ERR_INVALID, "the path of the data folder is too long");
    TRY(store_elsewhere(data, e));
    if (access(system, F_OK) != 0 && errno != ENOENT && errno != ENOTDIR)
        return file_os_err(e, "the data folder cannot be looked at");
    if (access(system, F_OK) != 0)
        return ERR(e, ERR_NOT_FOUND, "%.300s is no data folder: it has no folder named system",
                   data);
    (void)snprintf(uri, sizeof uri, "rocksdb:%s", system);
    err_code rc = records_open(uri, &s->records, e);
    if (rc == ERR_EXISTS)
        return ERR(e, ERR_EXISTS,
                   "data folder %.200s is in use by a process that takes no backup: another "
                   "command, or a server of another user or of an older program",
                   data);
    TRY(rc);
    (void)snprintf(uri, sizeof uri, "rocksdb:%s/stores", data);
    TRY(store_registry_new(s->env, uri, &s->stores, e));
    (void)snprintf(s->above, sizeof s->above, "%s/backup", data);
    TRY(file_remove_tree(s->above, e));
    TRY(file_mkdirs(s->above, e));
    return backup_snapshot(s->records, s->stores, s->folder, e);
}

/* ---- the command ---- */

static void tell_sizes(const struct backup_done *d)
{
    (void)printf("%s: %llu data stores, %llu resources, %llu versions; %llu files of %.1f MB, of "
                 "which %llu of %.1f MB are new; %llu of %.1f MB were read\n",
                 d->name, (unsigned long long)d->n_stores, (unsigned long long)d->n_resources,
                 (unsigned long long)d->n_versions, (unsigned long long)d->n_files,
                 (double)d->bytes / 1e6, (unsigned long long)d->n_new, (double)d->new_bytes / 1e6,
                 (unsigned long long)d->n_read, (double)d->read_bytes / 1e6);
}

/* A target within the data folder is on its disk, and DATA/backup goes with the snapshot. */
static err_code check_apart(const char *data, const char *target, struct err *e)
{
    char ours[PATH_MAX], there[PATH_MAX];
    /* a bucket is elsewhere; who has no data folder is told so later */
    if (sv_starts(sv_from(target), SV_LIT("s3://")) || realpath(data, ours) == NULL)
        return ERR_OK;
    const err_code made = file_mkdirs(target, e);
    if (made != ERR_OK) {
        err_context(e, "--to %.200s", target);
        return made;
    }
    if (realpath(target, there) == NULL)
        return file_os_err(e, "the folder of the backup cannot be found");
    const size_t n = strcmp(ours, "/") == 0 ? 0 : strlen(ours);
    if (strncmp(there, ours, n) == 0 && (there[n] == 0 || there[n] == '/'))
        return ERR(e, ERR_INVALID,
                   "--to %.200s is in the data folder that is to be backed up; give a folder "
                   "elsewhere, on another disk",
                   target);
    return ERR_OK;
}

static int backup(const struct options *o, struct backup_place *place)
{
    CLEANUP(cli_keys_close) struct cli_keyring *ring = NULL;
    const char *data = o->data ? o->data : "fhirlake-data";
    static struct source s;
    static char record[PATH_MAX];
    struct backup_done done = { 0 };
    struct err e = { 0 };
    s = (struct source){ .server = -1 };
    if (check_apart(data, o->to, &e) != ERR_OK)
        return fail(&e);
    if (cli_keys_open(&o->of.keys, &ring, &e) != ERR_OK)
        return fail(&e);
    s.env = store_env_new(BACKUPS_CACHE_BYTES, 1);
    store_env_keep(s.env, cli_keys_keeper(ring));
    const bool has_record =
        (size_t)snprintf(record, sizeof record, "%s/" RECORD_NAME, data) < sizeof record;
    err_code rc = reach(data, &s.server) ? ask(&s, &e) : take(&s, data, &e);
    if (rc == ERR_OK)
        rc = backup_put(s.env, s.folder, place, FHIRLAKE_VERSION, has_record ? record : NULL, &done,
                        &e);
    if (s.above[0])
        /* the next removes what this cannot */
        IGNORE(file_remove_tree(s.above, NULL));
    store_registry_free(s.stores);
    records_close(s.records);
    store_env_free(s.env);
    if (s.server >= 0)
        let_go(s.server);
    if (rc != ERR_OK)
        return fail(&e);
    tell_sizes(&done);
    return 0;
}

static void tell_wrong(void *ctx, sv sha, const struct err *why)
{
    (void)ctx;
    (void)printf("wrong: objects/%.*s is lost, or is not what it was (%s)\n", SV_FMT(sha),
                 why->msg);
}

/* where: the place, as it was given */
static int fail_at(const char *where, struct err *e)
{
    err_context(e, "%.300s", where);
    return fail(e);
}

static int verify(const char *where, struct backup_place *place)
{
    struct backup_done done = { .wrong = tell_wrong };
    struct err e = { 0 };
    if (backup_verify(place, &done, &e) != ERR_OK)
        return fail_at(where, &e);
    (void)printf("%llu backups, %llu files of %.1f MB: %s\n", (unsigned long long)done.n_backups,
                 (unsigned long long)done.n_files, (double)done.bytes / 1e6,
                 done.n_wrong ? "WRONG" : "ok");
    return done.n_wrong != 0;
}

static int prune(const char *where, struct backup_place *place)
{
    struct err e = { 0 };
    uint64_t n_gone;
    if (backup_prune(place, &n_gone, &e) != ERR_OK)
        return fail_at(where, &e);
    (void)printf("%llu files removed that no backup names\n", (unsigned long long)n_gone);
    return 0;
}

static err_code check(const struct options *o, struct err *e)
{
    if ((o->to != NULL) + (o->verify != NULL) + (o->prune != NULL) != 1)
        return ERR(e, ERR_INVALID,
                   "say where: --to PLACE, --verify PLACE, or --prune PLACE; see fhirlake backup "
                   "--help");
    if (o->to == NULL && o->data)
        return ERR(e, ERR_INVALID, "%s looks at backups alone: leave --data out",
                   o->verify ? "--verify" : "--prune");
    if (o->to == NULL && o->of.place.kms_key)
        return ERR(e, ERR_INVALID, "--kms-key is for what is written: it goes with --to");
    return ERR_OK;
}

int cli_backup(int argc, char **argv)
{
    struct options o = { 0 };
    struct backup_place *place = NULL;
    struct err e = { 0 };
    bool help = false;
    size_t n;
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &o, NULL, 0, &n, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return 0;
    }
    if (rc == ERR_OK)
        rc = check(&o, &e);
    if (rc == ERR_OK)
        rc = cli_place_open(o.to ? o.to : o.verify ? o.verify : o.prune, &o.of.place, &place, &e);
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake backup: %s\n", e.msg);
        return 2;
    }
    (void)umask(077);
    const int status = o.to       ? backup(&o, place)
                       : o.verify ? verify(o.verify, place)
                                  : prune(o.prune, place);
    backup_place_free(place);
    return status;
}

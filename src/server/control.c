/* control.c - DATA/control: a socket by which a command of this machine asks the running server for
 * a snapshot of its data folder.
 *
 *   command  backup\n
 *   server   ok PATH\n    a folder of links below DATA; it goes when the command hangs up
 *            error WHY\n
 *
 * A backup reads every data store, whatever the policies of callers say. So it is not asked for
 * with a caller's key over HTTP, but by whoever may use the data folder itself: the socket has mode
 * 0600, and the other end must be the same user, or root. One command is served at a time. Each
 * leaves a record in the audit log. */
#include "server/serve_private.h"

#include "backup/backup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_AGAIN_MS 100
#define ASK_S           10 /* a command says what it wants within */
#define LINE_MAX_BYTES  64u

struct control {
    struct records *records;
    struct store_registry *stores;
    const struct audit_room *told;
    char folder[PATH_MAX]; /* of snapshots */
    int dir, listener, stop;
    pthread_t thread;
};

/* ---- one command ---- */

static bool is_allowed(int fd, uid_t *uid)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    *uid = peer.uid;
    return peer.uid == geteuid() || peer.uid == 0;
}

static bool asks_for_backup(int fd)
{
    char line[LINE_MAX_BYTES];
    size_t n = 0;
    const struct timeval limit = { .tv_sec = ASK_S };
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (n < sizeof line && (n == 0 || line[n - 1] != '\n')) {
        ssize_t got = recv(fd, line + n, 1, 0);
        if (got != 1)
            return false;
        n++;
    }
    return sv_eq(sv_make(line, n), SV_LIT("backup\n"));
}

static void answer(int fd, const char *word, const char *text)
{
    char line[PATH_MAX + 64];
    int n = snprintf(line, sizeof line, "%s %s\n", word, text);
    /* who has hung up needs no answer */
    if (n > 0 && (size_t)n < sizeof line)
        (void)!send(fd, line, (size_t)n, MSG_NOSIGNAL);
}

/* Until the command hangs up, or the server stops. */
static void wait_for_end(const struct control *c, int fd)
{
    struct pollfd both[2] = { { .fd = fd, .events = POLLIN }, { .fd = c->stop, .events = POLLIN } };
    char byte;
    while (poll(both, 2, -1) < 0 ? errno == EINTR
                                 : both[1].revents == 0 && recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
        ;
}

static void serve_one(struct control *c, int fd)
{
    struct err e = { 0 };
    char path[PATH_MAX];
    const uint64_t began_us = clock_mono_us();
    uid_t uid;
    if (!is_allowed(fd, &uid) || !asks_for_backup(fd)) {
        answer(fd, "error", "the request is not known");
        return;
    }
    if ((size_t)snprintf(path, sizeof path, "%s/snapshot", c->folder) >= sizeof path) {
        answer(fd, "error", "the path of the data folder is too long");
        return;
    }
    err_code rc = audit_room_ready(c->told, &e);
    if (rc == ERR_OK)
        rc = file_mkdirs(c->folder, &e);
    if (rc == ERR_OK)
        rc = backup_snapshot(c->records, c->stores, path, &e);
    audit_room_backup(c->told, uid, rc == ERR_OK);
    if (rc != ERR_OK) {
        LOG_ERR("backup_snapshot", &e, LOG_STR("state", "failed"));
        char why[sizeof e.ctx + sizeof e.msg + 2];
        (void)snprintf(why, sizeof why, "%s%s%s", e.ctx, e.ctx[0] ? ": " : "", e.msg);
        answer(fd, "error", why);
    } else {
        LOG(LOG_INFO, "backup_snapshot", LOG_STR("state", "taken"),
            LOG_INT("ms", (clock_mono_us() - began_us) / 1000));
        answer(fd, "ok", path);
        wait_for_end(c, fd);
    }
    if (file_remove_tree(c->folder, &e) != ERR_OK)
        LOG_ERR("backup_snapshot", &e, LOG_STR("state", "not removed"));
}

static void *serve(void *arg)
{
    struct control *c = arg;
    struct pollfd both[2] = { { .fd = c->listener, .events = POLLIN },
                              { .fd = c->stop, .events = POLLIN } };
    for (;;) {
        int n = poll(both, 2, -1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || both[1].revents)
            break;
        int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            /* too many files are open, perhaps: the caller waits, and this thread does not spin */
            (void)poll(&both[1], 1, ACCEPT_AGAIN_MS);
            continue;
        }
        serve_one(c, fd);
        (void)close(fd);
    }
    return NULL;
}

/* ---- life ---- */

/* The path of a socket has 107 bytes at most, so the data folder is named by its descriptor. */
static err_code listen_in(struct control *c, const char *data, struct err *e)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    c->dir = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir < 0)
        return file_os_err(e, "the data folder cannot be opened");
    /* of a process that has ended: the records are ours alone */
    if (unlinkat(c->dir, CONTROL_NAME, 0) != 0 && errno != ENOENT)
        return file_os_err(e, "what stands at DATA/" CONTROL_NAME " cannot be removed");
    (void)snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/" CONTROL_NAME, c->dir);
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->listener < 0 || bind(c->listener, (struct sockaddr *)&at, sizeof at) != 0 ||
        fchmodat(c->dir, CONTROL_NAME, 0600, 0) != 0 || listen(c->listener, 4) != 0)
        return file_os_err(e, "the socket DATA/" CONTROL_NAME " cannot be made");
    return ERR_OK;
}

err_code control_start(const struct server_config *config, struct records *records,
                       struct store_registry *stores, const struct audit_room *told,
                       struct control **out, struct err *e)
{
    struct control *c = calloc(1, sizeof *c);
    char real[PATH_MAX];
    if (c == NULL)
        abort();
    *c = (struct control){
        .records = records, .stores = stores, .told = told, .dir = -1, .listener = -1, .stop = -1
    };
    *out = c;
    if (realpath(config->data, real) == NULL)
        return file_os_err(e, "the data folder cannot be found");
    if ((size_t)snprintf(c->folder, sizeof c->folder, "%s/backup", real) >= sizeof c->folder)
        return ERR(e, ERR_INVALID, "the path of the data folder is too long");
    /* of a process that was cut off */
    TRY(file_remove_tree(c->folder, e));
    TRY(listen_in(c, config->data, e));
    c->stop = eventfd(0, EFD_CLOEXEC);
    if (c->stop < 0 || pthread_create(&c->thread, NULL, serve, c) != 0) {
        if (c->stop >= 0)
            (void)close(c->stop);
        c->stop = -1;
        return ERR(e, ERR_IO, "a thread cannot be started");
    }
    return ERR_OK;
}

void control_stop(struct control *c)
{
    const uint64_t one = 1;
    if (c == NULL)
        return;
    if (c->stop >= 0) {
        /* it has room */
        (void)!write(c->stop, &one, sizeof one);
        (void)pthread_join(c->thread, NULL);
        (void)close(c->stop);
    }
    if (c->listener >= 0) {
        (void)close(c->listener);
        (void)unlinkat(c->dir, CONTROL_NAME, 0);
    }
    if (c->dir >= 0)
        (void)close(c->dir);
    free(c);
}

/* tls.c - the files of the certificate that is shown: read at the start, and again when they change
 * or SIGHUP asks for it.
 *
 * A thread waits for changes of the folders in which the files stand, and of those in which they
 * really stand, since tools that renew certificates change links (certbot, Kubernetes). The key and
 * the certificate are two files, which nobody writes at once. So it waits until the folders are
 * quiet for a moment. What cannot be used is told in the log, and what was shown before is shown
 * on. Connections that are there stay as they are. */
#include "server/serve_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "codec/instant.h"
#include "codec/uri.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES (1u << 20)
#define QUIET_MS   200 /* no change for so long: who writes has written */
#define QUIET_MAX  20u /* changes that are waited for, one after the other */
#define SOON_MS    (14 * 86400000LL)

struct tls {
    struct http_tls *http;
    const char *certificate, *key;
    char own_certificate[PATH_MAX], own_key[PATH_MAX]; /* "": it is not of our making */
    struct stat seen[2];                               /* the two files when they were read last */
    int wake_fd, notify_fd;                            /* notify_fd: -1, nothing is watched */
    pthread_t thread;
    bool runs;
    atomic_bool asked, stop;
};

/* ---- the files ---- */

static err_code load(struct tls *tls, struct err *e)
{
    CLEANUP_BUF struct buf certificate = BUF_INIT(FILE_BYTES), key = BUF_INIT(FILE_BYTES);
    struct http_certificate is;
    char until[INSTANT_LEN];
    int64_t now_ms = clock_wall_ms();
    err_code rc = file_read(tls->certificate, &certificate, e);
    if (rc != ERR_OK) {
        err_context(e, "--tls-certificate %.200s", tls->certificate);
        return rc;
    }
    rc = file_read_private(tls->key, &key, e);
    if (rc != ERR_OK) {
        err_context(e, "--tls-key %.200s", tls->key);
    } else {
        rc = http_tls_show(tls->http, buf_sv(&certificate), buf_sv(&key), now_ms, &is, e);
        if (rc != ERR_OK)
            err_context(e, "--tls-certificate %.90s, --tls-key %.90s", tls->certificate, tls->key);
    }
    if (key.ptr)
        explicit_bzero(key.ptr, key.len);
    buf_done(&key);
    TRY(rc);
    instant_format(is.to_ms, until);
    bool soon = is.to_ms - now_ms < SOON_MS;
    LOG(soon ? LOG_WARN : LOG_INFO, "tls_certificate", LOG_STR("subject", is.subject),
        LOG_STR("sha256", is.sha256), LOG_SV("until", sv_make(until, sizeof until)),
        LOG_STR("note", soon ? "it expires soon" : "-"));
    return ERR_OK;
}

static void look_at(const struct tls *tls, struct stat out[2])
{
    memset(out, 0, 2 * sizeof out[0]);
    /* what is not there is all zero */
    (void)stat(tls->certificate, &out[0]);
    (void)stat(tls->key, &out[1]);
}

static bool is_changed(const struct stat *a, const struct stat *b)
{
    return a->st_dev != b->st_dev || a->st_ino != b->st_ino || a->st_size != b->st_size ||
           a->st_mode != b->st_mode || a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
           a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

static void load_again(struct tls *tls, bool asked)
{
    struct stat now[2];
    struct err e = { 0 };
    look_at(tls, now);
    if (!asked && !is_changed(&now[0], &tls->seen[0]) && !is_changed(&now[1], &tls->seen[1]))
        return;
    memcpy(tls->seen, now, sizeof now);
    if (load(tls, &e) != ERR_OK)
        LOG_ERR("tls_certificate", &e,
                LOG_STR("note", "the certificate that was shown before is shown on"));
}

/* ---- their folders ---- */

static void watch_folder_of(int fd, const char *path)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder ? 1 : 0] = 0;
    /* what cannot be watched is read when SIGHUP asks for it */
    (void)inotify_add_watch(fd, slash ? folder : ".",
                            IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB);
}

static void watch_folders(struct tls *tls)
{
    const char *paths[] = { tls->certificate, tls->key };
    char real[PATH_MAX];
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    for (size_t i = 0; fd >= 0 && i < 2; i++) {
        watch_folder_of(fd, paths[i]);
        if (realpath(paths[i], real))
            watch_folder_of(fd, real);
    }
    if (fd < 0)
        LOG(LOG_WARN, "tls_certificate",
            LOG_STR("note", "changes of its files are not seen here; SIGHUP has them read again"));
    if (tls->notify_fd >= 0)
        (void)close(tls->notify_fd);
    tls->notify_fd = fd;
}

static void drain(int fd)
{
    char sink[4096];
    ssize_t n;
    do
        n = read(fd, sink, sizeof sink);
    while (n > 0 || (n < 0 && errno == EINTR));
}

/* Until nothing changes for a moment, or somebody asks. */
static void settle(struct tls *tls)
{
    struct pollfd fds[] = { { .fd = tls->notify_fd, .events = POLLIN },
                            { .fd = tls->wake_fd, .events = POLLIN } };
    for (unsigned i = 0; i < QUIET_MAX; i++) {
        drain(tls->notify_fd);
        if (poll(fds, 2, QUIET_MS) == 0 || fds[1].revents)
            return;
    }
}

static void *watch(void *arg)
{
    struct tls *tls = arg;
    for (;;) {
        struct pollfd fds[] = { { .fd = tls->wake_fd, .events = POLLIN },
                                { .fd = tls->notify_fd, .events = POLLIN } };
        (void)poll(fds, 2, -1);
        if (fds[0].revents)
            drain(tls->wake_fd);
        if (atomic_load(&tls->stop))
            return NULL;
        bool asked = atomic_exchange(&tls->asked, false);
        if (!asked && fds[1].revents)
            settle(tls);
        /* before they are read: what changes behind that is seen */
        watch_folders(tls);
        load_again(tls, asked);
    }
}

static void wake(const struct tls *tls)
{
    const uint64_t one = 1;
    ssize_t n;
    do
        n = write(tls->wake_fd, &one, sizeof one);
    /* EAGAIN: it is awake for long */
    while (n < 0 && errno == EINTR);
}

/* ---- life ---- */

static err_code read_client_ca(const char *path, struct buf *out, struct err *e)
{
    err_code rc = path ? file_read_guarded(path, out, e) : ERR_OK;
    if (rc != ERR_OK)
        err_context(e, "--tls-client-ca %.200s", path);
    return rc;
}

static err_code open_http(struct tls *tls, const char *client_ca, struct err *e)
{
    CLEANUP_BUF struct buf ca = BUF_INIT(FILE_BYTES);
    TRY(read_client_ca(client_ca, &ca, e));
    err_code rc = http_tls_new(buf_sv(&ca), &tls->http, e);
    if (rc == ERR_INVALID)
        err_context(e, "--tls-client-ca %.200s", client_ca);
    return rc;
}

static err_code make_own(struct tls *tls, const struct server_config *config, struct err *e)
{
    struct uri_http public = { 0 };
    /* checked with the options */
    if (config->public_url)
        IGNORE(uri_http_parse(sv_from(config->public_url), &public, NULL));
    TRY(tls_own_make(config->data, public.host, tls->own_certificate, tls->own_key, e));
    tls->certificate = tls->own_certificate;
    tls->key = tls->own_key;
    if (!server_config_is_loopback(sv_from(config->listen)))
        LOG(LOG_WARN, "tls_certificate",
            LOG_STR("note", "it is of the server's own making, for a first try: callers from other "
                            "machines must be given it, and must reach the server by its names"));
    return ERR_OK;
}

static err_code start(struct tls *tls, const struct server_config *config, struct err *e)
{
    tls->certificate = config->tls_certificate;
    tls->key = config->tls_key;
    TRY(open_http(tls, config->tls_client_ca, e));
    if (config->tls)
        TRY(make_own(tls, config, e));
    watch_folders(tls);
    look_at(tls, tls->seen);
    TRY(load(tls, e));
    tls->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    tls->runs = tls->wake_fd >= 0 && pthread_create(&tls->thread, NULL, watch, tls) == 0;
    return tls->runs ? ERR_OK
                     : ERR(e, ERR_IO, "TLS does not start: too few descriptors or threads");
}

err_code tls_open(const struct server_config *config, struct tls **out, struct err *e)
{
    *out = NULL;
    if (!server_config_has_tls(config))
        return ERR_OK;
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        abort();
    tls->wake_fd = tls->notify_fd = -1;
    err_code rc = start(tls, config, e);
    if (rc == ERR_OK)
        *out = tls;
    else
        tls_close(tls);
    return rc;
}

void tls_close(struct tls *tls)
{
    if (tls == NULL)
        return;
    if (tls->runs) {
        atomic_store(&tls->stop, true);
        wake(tls);
        pthread_join(tls->thread, NULL);
    }
    /* nothing is written by them */
    if (tls->wake_fd >= 0)
        (void)close(tls->wake_fd);
    if (tls->notify_fd >= 0)
        (void)close(tls->notify_fd);
    http_tls_free(tls->http);
    free(tls);
}

struct http_tls *tls_of(struct tls *tls)
{
    return tls ? tls->http : NULL;
}

const char *tls_own_certificate(const struct tls *tls)
{
    return tls && tls->own_certificate[0] ? tls->own_certificate : NULL;
}

void tls_read_again(struct tls *tls)
{
    if (tls == NULL)
        return;
    atomic_store(&tls->asked, true);
    wake(tls);
}

void tls_log_handshakes(void *ctx, const struct http_handshakes *failed)
{
    (void)ctx;
    LOG(LOG_INFO, "tls_handshake", LOG_INT("failed", failed->n), LOG_STR("peer", failed->peer),
        LOG_STR("why", failed->why));
}

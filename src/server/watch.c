/* watch.c - files that are read again while the server runs: one thread looks at all of them.
 *
 *   stat says the same as when they were read   nothing to do
 *   it says something else, twice in a row      nobody is writing any more: they are read
 *   SIGHUP                                      they are read at once, changed or not
 *
 * The thread looks twice a second. It asks stat(2), which follows links and works on every file
 * system, so a secret that Kubernetes swaps and a file on NFS are seen, too. What goes together,
 * such as a certificate and its key, is looked at and read together: while one of them is still to
 * come the look changes.
 *
 * The room that reads checks the whole of the new files first, and puts them in the place of those
 * before at one stroke. What is broken changes nothing, and each new fault is a line of the log.
 * While it is broken it is read at each look: the fault may stand in a file that only the broken
 * one names, or in the rights of a folder. */
#include "server/serve_private.h"

#include "base/clock.h"
#include "base/file.h"

#include <pthread.h>
#include <stdlib.h>

#define LOOK_US 500000u

struct watched {
    struct watch_files files;
    unsigned char read[SHA256_LEN]; /* the look before they were read; without as_read */
    unsigned char last[SHA256_LEN]; /* the look before this one */
    struct err told;                /* the fault that the log has; its code is ERR_OK when none */
};

struct watch {
    struct watched all[WATCH_MAX]; /* of the thread alone, once it runs */
    size_t n;
    pthread_t thread;
    bool runs;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool asked, stop;
    } locked;
};

static void look_at(const struct watch_files *files, unsigned char out[SHA256_LEN])
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    uint64_t told[FILE_LOOK];
    for (size_t i = 0; i < WATCH_PATHS && files->paths[i]; i++) {
        file_look(files->paths[i], told);
        hash_sha256_add(h, sv_make(told, sizeof told));
    }
    hash_sha256_take(h, out);
}

static bool is_told(const struct watched *w, const struct err *e)
{
    return w->told.code == e->code && strcmp(w->told.msg, e->msg) == 0 &&
           strcmp(w->told.ctx, e->ctx) == 0;
}

/* Opening a pipe again would wait for somebody who writes. */
static bool can_be_read_again(const struct watch_files *files)
{
    uint64_t told[FILE_LOOK];
    for (size_t i = 0; i < WATCH_PATHS && files->paths[i]; i++) {
        file_look(files->paths[i], told);
        if (told[0] == FILE_IS_PIPE)
            return false;
    }
    return true;
}

static void read_again(struct watched *w, bool asked)
{
    struct err e = { 0 };
    err_code rc = w->files.read(w->files.ctx, &e);
    if (rc == ERR_OK) {
        w->told.code = ERR_OK;
        return;
    }
    e.code = rc;
    if (!asked && is_told(w, &e))
        return;
    w->told = e;
    LOG_ERR(w->files.event, &e, LOG_STR("state", "refused"), LOG_STR("file", w->files.paths[0]),
            LOG_STR("note", w->files.note));
}

static void look(struct watched *w, bool asked)
{
    unsigned char now[SHA256_LEN];
    bool same;
    if (w->files.as_read) {
        same = w->files.as_read(w->files.ctx, now);
    } else {
        look_at(&w->files, now);
        same = memcmp(now, w->read, sizeof now) == 0;
    }
    bool quiet = memcmp(now, w->last, sizeof now) == 0;
    bool broken = w->told.code != ERR_OK;
    memcpy(w->last, now, sizeof now);
    if (!asked && (!quiet || (same && !broken)))
        return;
    if (can_be_read_again(&w->files)) {
        /* what is asked for is told once for all files, and what is still broken not again */
        bool tells = !asked && memcmp(now, w->read, sizeof now) != 0;
        memcpy(w->read, now, sizeof now);
        if (tells)
            systemd_reloading();
        read_again(w, asked);
        if (tells)
            systemd_tell("READY=1");
    } else if (asked) {
        LOG(LOG_WARN, w->files.event, LOG_STR("state", "kept"), LOG_STR("file", w->files.paths[0]),
            LOG_STR("note", "it is no regular file, and is read at the start alone"));
    }
}

static void *run(void *arg)
{
    struct watch *watch = arg;
    for (bool stop = false; !stop;) {
        const struct timespec until = clock_mono_at(clock_mono_us() + LOOK_US);
        pthread_mutex_lock(&watch->locked.lock);
        int rc = 0;
        while (rc == 0 && !watch->locked.asked && !watch->locked.stop)
            rc = pthread_cond_timedwait(&watch->locked.changed, &watch->locked.lock, &until);
        bool asked = watch->locked.asked;
        stop = watch->locked.stop;
        watch->locked.asked = false;
        pthread_mutex_unlock(&watch->locked.lock);
        if (asked && !stop)
            systemd_reloading();
        for (size_t i = 0; !stop && i < watch->n; i++)
            look(&watch->all[i], asked);
        if (asked && !stop)
            systemd_tell("READY=1");
    }
    return NULL;
}

struct watch *watch_new(void)
{
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        abort();
    pthread_mutex_init(&watch->locked.lock, NULL);
    clock_cond_init(&watch->locked.changed);
    return watch;
}

void watch_add(struct watch *watch, const struct watch_files *files)
{
    assert(watch->n < WATCH_MAX && !watch->runs && files->paths[0]);
    struct watched *w = &watch->all[watch->n++];
    w->files = *files;
    look_at(files, w->read);
}

err_code watch_start(struct watch *watch, struct err *e)
{
    watch->runs = pthread_create(&watch->thread, NULL, run, watch) == 0;
    return watch->runs ? ERR_OK : ERR(e, ERR_IO, "a thread cannot be started");
}

static void signal_to(struct watch *watch, bool *what)
{
    pthread_mutex_lock(&watch->locked.lock);
    *what = true;
    pthread_cond_signal(&watch->locked.changed);
    pthread_mutex_unlock(&watch->locked.lock);
}

void watch_ask(struct watch *watch)
{
    signal_to(watch, &watch->locked.asked);
}

void watch_free(struct watch *watch)
{
    if (watch == NULL)
        return;
    if (watch->runs) {
        signal_to(watch, &watch->locked.stop);
        pthread_join(watch->thread, NULL);
    }
    pthread_cond_destroy(&watch->locked.changed);
    pthread_mutex_destroy(&watch->locked.lock);
    free(watch);
}

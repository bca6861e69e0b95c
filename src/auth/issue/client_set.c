/* client_set.c - the registered clients that count now, read again when their file has changed.
 *
 * The file is looked at (stat) when somebody needs a client, and not by a thread of its own. A file
 * that was put in the place of another is read at once, which is how `fhirlake client` writes it.
 * One that is written in place is read when it has not changed for half a second. */
#include "auth/issue/issue_private.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define QUIET_US 500000u

struct client_list {
    struct clients *clients;
    atomic_uint n_refs;
};

struct look { /* of the file */
    uint64_t device, node, size;
    uint64_t changed_ns, written_ns, born_ns; /* born_ns 0: the file system does not say */
    bool there;
};

struct client_set {
    const char *path;
    issue_told_fn told;
    void *ctx;
    struct {
        pthread_mutex_t lock;
        struct client_list *list;
        struct look read, seen; /* when it was read last; at the last look */
        uint64_t seen_us;       /* since when it looks as seen */
        bool reading;           /* one thread does */
    } locked;
};

static uint64_t nanoseconds(const struct statx_timestamp *at)
{
    return (uint64_t)at->tv_sec * 1000000000u + at->tv_nsec;
}

static struct look look_at(const char *path)
{
    struct statx st;
    struct look look = { 0 };
    if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &st) != 0)
        return look;
    look.there = true;
    look.device = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
    look.node = st.stx_ino;
    look.size = st.stx_size;
    look.changed_ns = nanoseconds(&st.stx_ctime);
    look.written_ns = nanoseconds(&st.stx_mtime);
    look.born_ns = st.stx_mask & STATX_BTIME ? nanoseconds(&st.stx_btime) : 0;
    return look;
}

static bool same(const struct look *x, const struct look *y)
{
    return x->there == y->there && x->device == y->device && x->node == y->node &&
           x->size == y->size && x->changed_ns == y->changed_ns && x->written_ns == y->written_ns;
}

static void list_unref(struct client_list *list)
{
    if (list == NULL || atomic_fetch_sub(&list->n_refs, 1) != 1)
        return;
    clients_free(list->clients);
    free(list);
}

static struct client_list *list_new(struct clients *clients)
{
    struct client_list *list = calloc(1, sizeof *list);
    if (list == NULL)
        abort();
    list->clients = clients;
    atomic_init(&list->n_refs, 1);
    return list;
}

err_code client_set_open(const char *path, issue_told_fn told, void *ctx, struct client_set **out,
                         struct err *e)
{
    struct clients *clients;
    struct look look = look_at(path);
    TRY(clients_load(path, &clients, e));
    struct client_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        abort();
    set->path = path;
    set->told = told;
    set->ctx = ctx;
    set->locked.read = set->locked.seen = look;
    set->locked.list = list_new(clients);
    pthread_mutex_init(&set->locked.lock, NULL);
    *out = set;
    return ERR_OK;
}

void client_set_close(struct client_set *set)
{
    if (set == NULL)
        return;
    list_unref(set->locked.list);
    pthread_mutex_destroy(&set->locked.lock);
    free(set);
}

/* Is it time to read the file? Then the caller does, and says so by `reading`. */
static bool is_due_locked(struct client_set *set, const struct look *now, uint64_t mono_us)
{
    if (same(now, &set->locked.read) || set->locked.reading)
        return false;
    if (!same(now, &set->locked.seen)) {
        set->locked.seen = *now;
        set->locked.seen_us = mono_us;
    }
    /* a number of a file that is gone may be another's soon */
    bool replaced = now->there &&
                    (now->born_ns != set->locked.read.born_ns ||
                     now->node != set->locked.read.node || now->device != set->locked.read.device);
    if (!replaced && mono_us - set->locked.seen_us < QUIET_US)
        return false;
    set->locked.reading = true;
    return true;
}

static void read_again(struct client_set *set, const struct look *look)
{
    struct clients *clients;
    struct err e = { 0 };
    struct client_list *old = NULL;
    err_code rc = clients_load(set->path, &clients, &e);
    size_t n = rc == ERR_OK ? clients_count(clients) : 0;
    pthread_mutex_lock(&set->locked.lock);
    if (rc == ERR_OK) {
        old = set->locked.list;
        set->locked.list = list_new(clients);
    }
    /* a broken one is read again when it changes again */
    set->locked.read = *look;
    set->locked.reading = false;
    pthread_mutex_unlock(&set->locked.lock);
    list_unref(old);
    if (set->told)
        set->told(set->ctx, n, rc == ERR_OK ? NULL : &e);
}

struct client_list *client_set_take(struct client_set *set, uint64_t mono_us)
{
    struct look look = look_at(set->path);
    pthread_mutex_lock(&set->locked.lock);
    bool due = is_due_locked(set, &look, mono_us);
    pthread_mutex_unlock(&set->locked.lock);
    if (due)
        read_again(set, &look);
    pthread_mutex_lock(&set->locked.lock);
    struct client_list *list = set->locked.list;
    atomic_fetch_add(&list->n_refs, 1);
    pthread_mutex_unlock(&set->locked.lock);
    return list;
}

void client_set_give(struct client_list *list)
{
    list_unref(list);
}

const struct clients *client_list_of(const struct client_list *list)
{
    return list->clients;
}

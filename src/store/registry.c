#include "store/registry.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "store/rocks/rocks_private.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#define BUCKETS     512u
#define FILES_OWN   12u   /* of an open store beside its sorted files: lock, log, lists, folders */
#define FILES_MIN   20u   /* what RocksDB takes at least for a limit of sorted files */
#define FILES_MAX   2000u /* more do not make one faster */
#define FILES_SPARE 8u    /* room for sorted files to come */
#ifndef TICK_MS           /* a test has less time */
#define TICK_MS     1000u /* between looks at what is idle */
#define GROWN_TICKS 30u   /* looks, between those at whether one has outgrown its part */
#endif

_Static_assert(STORE_FILES_LEAST == FILES_OWN + FILES_MIN, "what one needs");

struct entry {
    struct entry *next;          /* of its bucket */
    struct entry *newer, *older; /* by last use; of open ones */
    char id[33];
    enum { OPENING, OPEN, CLOSING, REMOVING } state;
    struct store *store;
    unsigned n_holders;
    bool counted;     /* it has its place among those that may be open */
    unsigned n_extra; /* descriptors beyond STORE_FILES_LEAST */
    bool weighed;     /* one of its holders is the janitor, for a moment: it is waited for */
    uint64_t used_us; /* when it was taken or given back last */
};

struct store_registry {
    struct store_env *env; /* borrowed */
    char *root;
    struct store_bounds bounds;
    pthread_t janitor;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed; /* an entry has changed its state, or lost a holder */
        pthread_cond_t tick;    /* the janitor's; the end */
        struct entry *buckets[BUCKETS];
        struct entry *newest, *oldest;
        unsigned n_entries, n_counted, n_extra, n_stores;
        bool has_janitor, stop;
    } locked;
};

/* ---- folders ---- */

static bool id_ok(sv id)
{
    return sv_is_hex(id, 32);
}

static void path_of(const struct store_registry *r, sv id, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%.*s", r->root, SV_FMT(id));
}

typedef bool (*name_fn)(sv name);

static bool is_sorted_file(sv name)
{
    return sv_ends(name, SV_LIT(".sst"));
}

/* Names in a folder of which fn is true; 0 when there is no folder. */
static unsigned count_names(const char *path, name_fn fn)
{
    unsigned n = 0;
    struct dirent *x;
    DIR *d = opendir(path);
    while (d && (x = readdir(d)) != NULL)
        n += fn(sv_from(x->d_name));
    if (d)
        closedir(d);
    return n;
}

static unsigned sorted_files(const struct store_registry *r, sv id)
{
    char path[PATH_MAX];
    path_of(r, id, path);
    return count_names(path, is_sorted_file);
}

static bool exists(const struct store_registry *r, sv id)
{
    char path[PATH_MAX];
    path_of(r, id, path);
    return access(path, F_OK) == 0;
}

/* ---- entries ---- */

static struct entry **bucket_of(struct store_registry *r, sv id)
{
    return &r->locked.buckets[sv_hash(0, id) % BUCKETS];
}

static struct entry *find_locked(struct store_registry *r, sv id)
{
    struct entry *en = *bucket_of(r, id);
    while (en && !sv_eq_cstr(id, en->id))
        en = en->next;
    return en;
}

static struct entry *add_locked(struct store_registry *r, sv id)
{
    struct entry *en = calloc(1, sizeof *en), **bucket = bucket_of(r, id);
    if (en == NULL)
        abort();
    memcpy(en->id, id.ptr, id.len);
    en->next = *bucket;
    *bucket = en;
    r->locked.n_entries++;
    return en;
}

/* Its store is closed, and its part of the budget is free. */
static void drop_locked(struct store_registry *r, struct entry *en)
{
    struct entry **p = bucket_of(r, sv_from(en->id));
    while (*p != en)
        p = &(*p)->next;
    *p = en->next;
    r->locked.n_entries--;
    r->locked.n_counted -= en->counted;
    r->locked.n_extra -= en->n_extra;
    free(en);
    pthread_cond_broadcast(&r->locked.changed);
}

static void unlink_locked(struct store_registry *r, struct entry *en)
{
    *(en->newer ? &en->newer->older : &r->locked.newest) = en->older;
    *(en->older ? &en->older->newer : &r->locked.oldest) = en->newer;
    en->newer = en->older = NULL;
}

static void link_newest_locked(struct store_registry *r, struct entry *en)
{
    en->older = r->locked.newest;
    *(en->older ? &en->older->newer : &r->locked.oldest) = en;
    r->locked.newest = en;
    en->used_us = clock_mono_us();
}

static void used_locked(struct store_registry *r, struct entry *en)
{
    unlink_locked(r, en);
    link_newest_locked(r, en);
}

/* Nobody holds it. The lock is given back while it closes; whoever wants it meanwhile waits. */
static void close_locked(struct store_registry *r, struct entry *en)
{
    assert(en->state == OPEN && en->n_holders == 0);
    en->state = CLOSING;
    unlink_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
    store_close(en->store);
    pthread_mutex_lock(&r->locked.lock);
    drop_locked(r, en);
}

/* ---- parts of the budget ----
 * Three quarters are places of STORE_FILES_LEAST each, so that what a few take keeps nobody from being opened; a
 * quarter is given on top to those who have more files, as long as it lasts. */

static unsigned extra_of(const struct store_registry *r)
{
    return r->bounds.n_files < 4 * STORE_FILES_LEAST ? 0 : r->bounds.n_files / 4;
}

static unsigned places_of(const struct store_registry *r)
{
    return (r->bounds.n_files - extra_of(r)) / STORE_FILES_LEAST;
}

/* What one should have on top: an even share among those that exist, or what its files need if that is more. */
static unsigned fit_locked(const struct store_registry *r, unsigned n_sorted)
{
    unsigned n = r->locked.n_stores > 4 ? r->locked.n_stores : 4;
    unsigned share = extra_of(r) / n, need = n_sorted ? 2 * n_sorted + FILES_SPARE : 0;
    unsigned want = need > share + FILES_MIN ? need - FILES_MIN : share;
    return want < FILES_MAX - FILES_MIN ? want : FILES_MAX - FILES_MIN;
}

static unsigned left_locked(const struct store_registry *r)
{
    return extra_of(r) - r->locked.n_extra;
}

/* ---- the janitor: what is idle is closed, what stands in memory goes to disk ---- */

struct look { /* at one store */
    char id[33];
    struct rocks_weight weight;
    unsigned n_sorted;
    bool idle, flush;
};

static void unhold_locked(struct store_registry *r, struct entry *en)
{
    if (--en->n_holders == 0)
        pthread_cond_broadcast(&r->locked.changed);
}

/* All that are open, the one that was used the longest time ago first. They are held for the moment that it takes. */
static size_t weigh_locked(struct store_registry *r, bool count, struct look **out)
{
    size_t n = 0, max = r->locked.n_entries + 1;
    struct look *all = calloc(max, sizeof *all);
    struct entry **held = malloc(max * sizeof(struct entry *));
    if (all == NULL || held == NULL)
        abort();
    for (struct entry *en = r->locked.oldest; en; en = en->newer) {
        en->n_holders++;
        en->weighed = true;
        held[n++] = en;
    }
    pthread_mutex_unlock(&r->locked.lock);
    for (size_t i = 0; i < n; i++) {
        memcpy(all[i].id, held[i]->id, sizeof all[i].id);
        rocks_weigh(held[i]->store, &all[i].weight);
        all[i].n_sorted = count ? sorted_files(r, sv_from(held[i]->id)) : 0;
    }
    pthread_mutex_lock(&r->locked.lock);
    uint64_t now = clock_mono_us();
    for (size_t i = 0; i < n; i++) {
        all[i].idle = now - held[i]->used_us > r->bounds.idle_ms * 1000 && !all[i].weight.busy;
        held[i]->weighed = false;
        unhold_locked(r, held[i]);
    }
    free((void *)held);
    *out = all;
    return n;
}

static void flush_locked(struct store_registry *r, struct entry *en)
{
    struct err ignored; /* RocksDB says it in its own log, and a later look tries again */
    en->n_holders++;
    pthread_mutex_unlock(&r->locked.lock);
    IGNORE(rocks_flush(en->store, &ignored));
    pthread_mutex_lock(&r->locked.lock);
    unhold_locked(r, en);
}

/* Its part should be another: more, if there is any; less, if others have to do without. */
static bool misfits_locked(const struct store_registry *r, const struct entry *en,
                           unsigned n_sorted)
{
    unsigned fit = fit_locked(r, n_sorted), left = left_locked(r);
    unsigned more = fit < en->n_extra + left ? fit : en->n_extra + left;
    if (n_sorted > (FILES_MIN + en->n_extra) / 2)
        return more > en->n_extra + en->n_extra / 4;
    return left < extra_of(r) / 4 && en->n_extra > 2 * fit + FILES_MIN;
}

static void look_locked(struct store_registry *r, bool count)
{
    struct look *all;
    size_t n = weigh_locked(r, count, &all), bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += all[i].weight.write_bytes;
    for (size_t i = 0; i < n && bytes > r->bounds.write_bytes; i++) {
        all[i].flush = all[i].weight.write_bytes != 0;
        bytes -= all[i].weight.write_bytes;
    }
    for (size_t i = 0; i < n && !r->locked.stop; i++) {
        const struct look *l = &all[i];
        struct entry *en = find_locked(r, sv_from(l->id));
        /* written before it is closed, so that it need not be when it is opened again */
        if (en && en->state == OPEN && (l->flush || (l->idle && l->weight.write_bytes)))
            flush_locked(r, en);
        en = find_locked(r, sv_from(l->id));
        if (en && en->state == OPEN && en->n_holders == 0 &&
            ((l->idle && clock_mono_us() - en->used_us > r->bounds.idle_ms * 1000) ||
             (count && misfits_locked(r, en, l->n_sorted))))
            close_locked(r, en);
    }
    free(all);
}

static struct timespec time_in(uint64_t ms)
{
    return clock_mono_at(clock_mono_us() + ms * 1000);
}

static void *janitor(void *arg)
{
    struct store_registry *r = arg;
    unsigned n_looks = 0;
    uint64_t tick_ms = r->bounds.idle_ms < TICK_MS ? r->bounds.idle_ms : TICK_MS;
    pthread_mutex_lock(&r->locked.lock);
    while (!r->locked.stop) {
        struct timespec until = time_in(tick_ms);
        if (r->locked.oldest == NULL)
            pthread_cond_wait(&r->locked.tick, &r->locked.lock);
        else if (pthread_cond_timedwait(&r->locked.tick, &r->locked.lock, &until) == ETIMEDOUT)
            look_locked(r, ++n_looks % GROWN_TICKS == 0);
    }
    pthread_mutex_unlock(&r->locked.lock);
    return NULL;
}

/* Without one (no thread to be had) stores are closed when their room is needed. */
static void start_janitor_locked(struct store_registry *r)
{
    if (!r->locked.has_janitor)
        r->locked.has_janitor = pthread_create(&r->janitor, NULL, janitor, r) == 0;
    pthread_cond_signal(&r->locked.tick);
}

/* ---- opening ---- */

/* A place; waits for those who hold what could be closed. */
static err_code make_room_locked(struct store_registry *r, struct err *e)
{
    struct timespec until = time_in(r->bounds.wait_ms);
    while (r->locked.n_counted >= places_of(r)) {
        struct entry *en = r->locked.oldest;
        while (en && en->n_holders > en->weighed)
            en = en->newer;
        if (en && en->n_holders == 0)
            close_locked(r, en);
        else if (pthread_cond_timedwait(&r->locked.changed, &r->locked.lock, &until) == ETIMEDOUT)
            return ERR(e, ERR_THROTTLED,
                       "Too many data stores are being used at a time; try again later");
    }
    return ERR_OK;
}

/* en is OPENING; the lock is given back meanwhile. */
static err_code open_locked(struct store_registry *r, struct entry *en, bool create, struct err *e)
{
    char path[PATH_MAX];
    sv id = sv_from(en->id);
    path_of(r, id, path);
    pthread_mutex_unlock(&r->locked.lock);
    bool is_new = !exists(r, id);
    unsigned n_sorted = sorted_files(r, id);
    pthread_mutex_lock(&r->locked.lock);
    if (is_new && !create)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    r->locked.n_stores += is_new;
    err_code rc = make_room_locked(r, e);
    if (rc == ERR_OK) {
        unsigned fit = fit_locked(r, n_sorted), left = left_locked(r);
        en->n_extra = fit < left ? fit : left;
        en->counted = true;
        r->locked.n_extra += en->n_extra;
        r->locked.n_counted++;
        pthread_mutex_unlock(&r->locked.lock);
        rc = rocks_open(r->env, path, create, FILES_MIN + en->n_extra, &en->store, e);
        pthread_mutex_lock(&r->locked.lock);
    }
    if (rc != ERR_OK && is_new && !exists(r, id))
        r->locked.n_stores--;
    return rc;
}

static struct store *hold_locked(struct store_registry *r, struct entry *en)
{
    en->n_holders++;
    used_locked(r, en);
    return en->store;
}

err_code store_registry_acquire(struct store_registry *r, sv id, bool create, struct store **out,
                                struct err *e)
{
    if (!id_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    pthread_mutex_lock(&r->locked.lock);
    struct entry *en;
    while ((en = find_locked(r, id)) != NULL && (en->state == OPENING || en->state == CLOSING))
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    err_code rc = ERR_OK;
    if (en && en->state == REMOVING) {
        rc = ERR(e, ERR_GONE, "data store is being deleted");
    } else if (en) {
        *out = hold_locked(r, en);
    } else {
        en = add_locked(r, id); /* OPENING */
        rc = open_locked(r, en, create, e);
        if (rc == ERR_OK) {
            en->state = OPEN;
            en->store->entry = en;
            link_newest_locked(r, en);
            en->n_holders = 1;
            *out = en->store;
            start_janitor_locked(r);
            pthread_cond_broadcast(&r->locked.changed);
        } else {
            drop_locked(r, en);
        }
    }
    pthread_mutex_unlock(&r->locked.lock);
    return rc;
}

struct store *store_registry_try(struct store_registry *r, sv id)
{
    struct store *st = NULL;
    if (!id_ok(id))
        return NULL;
    pthread_mutex_lock(&r->locked.lock);
    struct entry *en = find_locked(r, id);
    if (en && en->state == OPEN)
        st = hold_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
    return st;
}

void store_registry_release(struct store_registry *r, struct store *st)
{
    if (st == NULL)
        return;
    pthread_mutex_lock(&r->locked.lock);
    struct entry *en = st->entry;
    assert(en->n_holders > 0);
    if (en->state == OPEN) /* else it is being removed */
        used_locked(r, en);
    unhold_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
}

void store_registry_rest(struct store_registry *r, sv id)
{
    if (!id_ok(id))
        return;
    pthread_mutex_lock(&r->locked.lock);
    struct entry *en = find_locked(r, id);
    while (en && en->state == OPEN && en->weighed && en->n_holders == 1) {
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
        en = find_locked(r, id);
    }
    if (en && en->state == OPEN && en->n_holders == 0)
        close_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
}

err_code store_registry_remove(struct store_registry *r, sv id, struct err *e)
{
    if (!id_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    pthread_mutex_lock(&r->locked.lock);
    struct entry *en;
    while ((en = find_locked(r, id)) != NULL && (en->state == OPENING || en->state == CLOSING))
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    if (en && en->state == REMOVING) {
        pthread_mutex_unlock(&r->locked.lock);
        return ERR(e, ERR_GONE, "data store is being deleted");
    }
    if (en == NULL)
        en = add_locked(r, id);
    else
        unlink_locked(r, en);
    en->state = REMOVING;
    while (en->n_holders)
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    pthread_mutex_unlock(&r->locked.lock);
    store_close(en->store);
    en->store = NULL;
    bool was_there = exists(r, id);
    char path[PATH_MAX];
    path_of(r, id, path);
    err_code rc = file_remove_tree(path, e);
    pthread_mutex_lock(&r->locked.lock);
    r->locked.n_stores -= was_there && rc == ERR_OK && r->locked.n_stores;
    drop_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
    return rc;
}

/* ---- life ---- */

err_code store_registry_new(struct store_env *env, const char *root, struct store_registry **out,
                            struct err *e)
{
    TRY(file_mkdirs(root, e));
    struct store_registry *r = calloc(1, sizeof *r);
    if (r == NULL || (r->root = strdup(root)) == NULL)
        abort();
    r->env = env;
    r->bounds = (struct store_bounds){ LIMIT_STORE_FILES, LIMIT_STORE_IDLE_S * 1000ull,
                                       LIMIT_UNWRITTEN_BYTES, LIMIT_STORE_WAIT_S * 1000ull };
    pthread_mutex_init(&r->locked.lock, NULL);
    clock_cond_init(&r->locked.changed);
    clock_cond_init(&r->locked.tick);
    r->locked.n_stores = count_names(root, id_ok);
    *out = r;
    return ERR_OK;
}

void store_registry_bound(struct store_registry *r, const struct store_bounds *b)
{
    r->bounds = *b;
    if (r->bounds.n_files < STORE_FILES_LEAST)
        r->bounds.n_files = STORE_FILES_LEAST;
}

void store_registry_free(struct store_registry *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->locked.lock);
    r->locked.stop = true;
    pthread_cond_broadcast(&r->locked.tick);
    bool join = r->locked.has_janitor;
    pthread_mutex_unlock(&r->locked.lock);
    if (join)
        pthread_join(r->janitor, NULL);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry *en = r->locked.buckets[i], *next; en; en = next) {
            next = en->next;
            store_close(en->store);
            free(en);
        }
    pthread_mutex_destroy(&r->locked.lock);
    pthread_cond_destroy(&r->locked.changed);
    pthread_cond_destroy(&r->locked.tick);
    free(r->root);
    free(r);
}

void store_registry_count(struct store_registry *r, struct store_registry_counts *out)
{
    pthread_mutex_lock(&r->locked.lock);
    *out = (struct store_registry_counts){
        .n_open = r->locked.n_entries,
        .n_files = r->locked.n_counted * STORE_FILES_LEAST + r->locked.n_extra,
        .n_stores = r->locked.n_stores,
    };
    pthread_mutex_unlock(&r->locked.lock);
}

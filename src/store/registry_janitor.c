/* registry_janitor.c - a thread that closes what is idle and writes out what stands in memory.
 *
 * Every tick it looks at all open stores, the one that was used the longest time ago first. What
 * was not asked for in a while is closed. When all stores together hold more unwritten bytes than
 * they may, the oldest are written out. Now and then it looks whether a store has outgrown its part
 * of the budget of open files: closed when nobody holds it, it is opened again with a larger one.
 * Every few seconds it asks whether the keys of encrypted ones can still be had. */
#include "store/registry_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>

struct look { /* at one store */
    char id[33];
    struct store_weight weight;
    unsigned n_files;
    bool idle, flush;
};

/* All that are open, the one that was used the longest time ago first. They are held for the moment
 * that it takes. */
static size_t weigh_locked(struct store_registry *r, bool count, struct look **out)
{
    size_t n = 0, max = r->locked.n_entries + 1;
    struct look *all = calloc(max, sizeof *all);
    struct registry_entry **held = malloc(max * sizeof(struct registry_entry *));
    if (all == NULL || held == NULL)
        abort();
    for (struct registry_entry *en = r->locked.oldest; en; en = en->newer) {
        en->n_holders++;
        en->weighed = true;
        held[n++] = en;
    }
    pthread_mutex_unlock(&r->locked.lock);
    for (size_t i = 0; i < n; i++) {
        memcpy(all[i].id, held[i]->id, sizeof all[i].id);
        held[i]->store->ops->weigh(held[i]->store, &all[i].weight);
        all[i].n_files = count ? registry_n_files(r, sv_from(held[i]->id)) : 0;
    }
    pthread_mutex_lock(&r->locked.lock);
    uint64_t now = clock_mono_us();
    for (size_t i = 0; i < n; i++) {
        all[i].idle = now - held[i]->used_us > r->bounds.idle_ms * 1000 && !all[i].weight.busy;
        held[i]->weighed = false;
        registry_unhold_locked(r, held[i]);
    }
    free((void *)held);
    *out = all;
    return n;
}

static void flush_locked(struct store_registry *r, struct registry_entry *en)
{
    /* an engine says it in a log of its own, and a later look tries again */
    struct err ignored;
    en->n_holders++;
    pthread_mutex_unlock(&r->locked.lock);
    IGNORE(en->store->ops->flush(en->store, &ignored));
    pthread_mutex_lock(&r->locked.lock);
    registry_unhold_locked(r, en);
}

/* Asking may take its time, so the lock is given back. Who cannot be asked has revoked nothing. */
static void ask_key_locked(struct store_registry *r, struct registry_entry *en)
{
    char uri[PATH_MAX];
    struct cipher_ring ring;
    struct err why;
    en->n_holders++;
    registry_uri(r, sv_from(en->id), uri);
    pthread_mutex_unlock(&r->locked.lock);
    err_code rc = r->engine->keys(r->env, uri + r->place_at, &ring, &why);
    cipher_ring_wipe(&ring);
    if ((rc == ERR_DENIED || rc == ERR_NOT_FOUND) && !atomic_load(&en->store->denied))
        LOG(LOG_WARN, "data_key", LOG_STR("datastore", en->id), LOG_STR("state", "denied"),
            LOG_STR("note", "its wrapping key is not to be had: the data store is closed, and "
                            "requests get AccessDenied, until it is"));
    pthread_mutex_lock(&r->locked.lock);
    if (rc == ERR_OK || rc == ERR_DENIED || rc == ERR_NOT_FOUND) {
        en->denied = rc != ERR_OK;
        atomic_store(&en->store->denied, en->denied);
    }
    registry_unhold_locked(r, en);
}

static void look_locked(struct store_registry *r, unsigned n_looks)
{
    const bool count = n_looks % r->grown_ticks == 0, ask = n_looks % r->key_ticks == 0;
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
        struct registry_entry *en = registry_find_locked(r, sv_from(l->id));
        /* written before it is closed, so that it need not be when it is opened again */
        if (en && en->state == OPEN && (l->flush || (l->idle && l->weight.write_bytes)))
            flush_locked(r, en);
        en = registry_find_locked(r, sv_from(l->id));
        if (ask && en && en->state == OPEN && r->engine->keys && store_ring(en->store))
            ask_key_locked(r, en);
        en = registry_find_locked(r, sv_from(l->id));
        if (en && en->state == OPEN && en->n_holders == 0 &&
            (en->denied || (l->idle && clock_mono_us() - en->used_us > r->bounds.idle_ms * 1000) ||
             (count && registry_misfits_locked(r, en, l->n_files))))
            registry_close_locked(r, en);
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
    uint64_t tick_ms = r->bounds.idle_ms < r->tick_ms ? r->bounds.idle_ms : r->tick_ms;
    pthread_mutex_lock(&r->locked.lock);
    while (!r->locked.stop) {
        struct timespec until = time_in(tick_ms);
        if (r->locked.oldest == NULL)
            pthread_cond_wait(&r->locked.tick, &r->locked.lock);
        else if (pthread_cond_timedwait(&r->locked.tick, &r->locked.lock, &until) == ETIMEDOUT)
            look_locked(r, ++n_looks);
    }
    pthread_mutex_unlock(&r->locked.lock);
    return NULL;
}

void registry_janitor_start_locked(struct store_registry *r)
{
    if (!r->locked.has_janitor)
        r->locked.has_janitor = pthread_create(&r->janitor, NULL, janitor, r) == 0;
    pthread_cond_signal(&r->locked.tick);
}

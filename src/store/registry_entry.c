/* registry_entry.c - the entries of the registry, and their parts of the budget of open files.
 *
 * An entry is there from the moment somebody wants its store until that is closed. Entries are
 * found by id in a table of buckets. Those that are open also stand in a list by last use, so that
 * whoever was asked for the longest time ago is found first. */
#include "store/registry_private.h"

#include "base/clock.h"

#include <assert.h>

void registry_uri(const struct store_registry *r, sv id, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%.*s", r->root, SV_FMT(id));
}

bool registry_exists(const struct store_registry *r, sv id)
{
    char uri[PATH_MAX];
    registry_uri(r, id, uri);
    return r->engine->exists(uri + r->place_at);
}

unsigned registry_n_files(const struct store_registry *r, sv id)
{
    char uri[PATH_MAX];
    registry_uri(r, id, uri);
    return r->engine->n_files(uri + r->place_at);
}

static struct registry_entry **bucket_of(struct store_registry *r, sv id)
{
    return &r->locked.buckets[sv_hash(0, id) % BUCKETS];
}

struct registry_entry *registry_find_locked(struct store_registry *r, sv id)
{
    struct registry_entry *en = *bucket_of(r, id);
    while (en && !sv_eq_cstr(id, en->id))
        en = en->next;
    return en;
}

struct registry_entry *registry_add_locked(struct store_registry *r, sv id)
{
    struct registry_entry *en = calloc(1, sizeof *en), **bucket = bucket_of(r, id);
    if (en == NULL)
        abort();
    memcpy(en->id, id.ptr, id.len);
    en->next = *bucket;
    *bucket = en;
    r->locked.n_entries++;
    return en;
}

void registry_drop_locked(struct store_registry *r, struct registry_entry *en)
{
    struct registry_entry **p = bucket_of(r, sv_from(en->id));
    while (*p != en)
        p = &(*p)->next;
    *p = en->next;
    r->locked.n_entries--;
    r->locked.n_counted -= en->counted;
    r->locked.n_extra -= en->n_extra;
    free(en);
    pthread_cond_broadcast(&r->locked.changed);
}

void registry_unlink_locked(struct store_registry *r, struct registry_entry *en)
{
    *(en->newer ? &en->newer->older : &r->locked.newest) = en->older;
    *(en->older ? &en->older->newer : &r->locked.oldest) = en->newer;
    en->newer = en->older = NULL;
}

void registry_link_newest_locked(struct store_registry *r, struct registry_entry *en)
{
    en->older = r->locked.newest;
    *(en->older ? &en->older->newer : &r->locked.oldest) = en;
    r->locked.newest = en;
    en->used_us = clock_mono_us();
}

void registry_used_locked(struct store_registry *r, struct registry_entry *en)
{
    registry_unlink_locked(r, en);
    registry_link_newest_locked(r, en);
}

void registry_unhold_locked(struct store_registry *r, struct registry_entry *en)
{
    if (--en->n_holders == 0)
        pthread_cond_broadcast(&r->locked.changed);
}

void registry_close_locked(struct store_registry *r, struct registry_entry *en)
{
    assert(en->state == OPEN && en->n_holders == 0);
    en->state = CLOSING;
    registry_unlink_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
    store_close(en->store);
    pthread_mutex_lock(&r->locked.lock);
    registry_drop_locked(r, en);
}

/* ---- parts of the budget ---- */

unsigned registry_extra_of(const struct store_registry *r)
{
    return r->bounds.n_files < 4 * STORE_FILES_LEAST ? 0 : r->bounds.n_files / 4;
}

unsigned registry_places_of(const struct store_registry *r)
{
    return (r->bounds.n_files - registry_extra_of(r)) / STORE_FILES_LEAST;
}

unsigned registry_left_locked(const struct store_registry *r)
{
    return registry_extra_of(r) - r->locked.n_extra;
}

unsigned registry_fit_locked(const struct store_registry *r, unsigned n_files)
{
    unsigned n = r->locked.n_stores > 4 ? r->locked.n_stores : 4;
    unsigned share = registry_extra_of(r) / n, need = n_files ? 2 * n_files + FILES_SPARE : 0;
    unsigned want = need > share + FILES_MIN ? need - FILES_MIN : share;
    return want < STORE_FILES_MAX - FILES_MIN ? want : STORE_FILES_MAX - FILES_MIN;
}

bool registry_misfits_locked(const struct store_registry *r, const struct registry_entry *en,
                             unsigned n_files)
{
    unsigned fit = registry_fit_locked(r, n_files), left = registry_left_locked(r);
    unsigned more = fit < en->n_extra + left ? fit : en->n_extra + left;
    if (n_files > (FILES_MIN + en->n_extra) / 2)
        return more > en->n_extra + en->n_extra / 4;
    return left < registry_extra_of(r) / 4 && en->n_extra > 2 * fit + FILES_MIN;
}

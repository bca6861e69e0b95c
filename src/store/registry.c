/* registry.c - which data stores are open: opening, holding, giving back, removing.
 *
 * Each data store of the process has at most one entry (registry_entry.c), whose state says what is
 * under way; registry.h draws the states. Everything that takes time (opening, closing, removing)
 * is done without the lock, and whoever needs the same store meanwhile waits for the entry to
 * change. Which engine the stores are of is said by the root's URI; no room of the registry knows
 * one. */
#include "store/registry_private.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>

#define TICK_MS     1000u /* between looks at what is idle */
#define GROWN_TICKS 30u   /* looks, between those at whether one has outgrown its part */
#define KEY_TICKS   5u    /* looks, between those at whether keys can still be had */

/* ---- opening ---- */

/* A place; waits for those who hold what could be closed. */
static err_code make_room_locked(struct store_registry *r, struct err *e)
{
    struct timespec until = clock_mono_at(clock_mono_us() + r->bounds.wait_ms * 1000);
    while (r->locked.n_counted >= registry_places_of(r)) {
        struct registry_entry *en = r->locked.oldest;
        while (en && en->n_holders > en->weighed)
            en = en->newer;
        if (en && en->n_holders == 0)
            registry_close_locked(r, en);
        else if (pthread_cond_timedwait(&r->locked.changed, &r->locked.lock, &until) == ETIMEDOUT)
            return ERR(e, ERR_THROTTLED,
                       "Too many data stores are being used at a time; try again later");
    }
    return ERR_OK;
}

/* en is OPENING; the lock is given back meanwhile. */
static err_code open_locked(struct store_registry *r, struct registry_entry *en, bool create,
                            struct err *e)
{
    char uri[PATH_MAX];
    sv id = sv_from(en->id);
    registry_uri(r, id, uri);
    pthread_mutex_unlock(&r->locked.lock);
    bool is_new = !registry_exists(r, id);
    unsigned n_files = registry_n_files(r, id);
    pthread_mutex_lock(&r->locked.lock);
    if (is_new && !create)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    r->locked.n_stores += is_new;
    err_code rc = make_room_locked(r, e);
    if (rc == ERR_OK) {
        unsigned fit = registry_fit_locked(r, n_files), left = registry_left_locked(r);
        en->n_extra = fit < left ? fit : left;
        en->counted = true;
        r->locked.n_extra += en->n_extra;
        r->locked.n_counted++;
        pthread_mutex_unlock(&r->locked.lock);
        rc = store_open_with(r->env, uri, create, FILES_MIN + en->n_extra, &en->store, e);
        pthread_mutex_lock(&r->locked.lock);
    }
    if (rc != ERR_OK && is_new && !registry_exists(r, id))
        r->locked.n_stores--;
    return rc;
}

static struct store *hold_locked(struct store_registry *r, struct registry_entry *en)
{
    en->n_holders++;
    registry_used_locked(r, en);
    return en->store;
}

/* Nobody holds it, and it is better opened anew. */
static bool wants_anew_locked(const struct registry_entry *en)
{
    return en->state == OPEN && en->n_holders == 0 && en->store->ops->wants_anew &&
           en->store->ops->wants_anew(en->store);
}

err_code store_registry_acquire(struct store_registry *r, sv id, bool create, struct store **out,
                                struct err *e)
{
    if (!store_name_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    pthread_mutex_lock(&r->locked.lock);
    struct registry_entry *en;
    while ((en = registry_find_locked(r, id)) != NULL &&
           (en->state == OPENING || en->state == CLOSING || wants_anew_locked(en)))
        if (en->state == OPEN)
            registry_close_locked(r, en);
        else
            pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    err_code rc = ERR_OK;
    if (en && en->state == REMOVING) {
        rc = ERR(e, ERR_GONE, "data store is being deleted");
    } else if (en && en->denied) {
        rc = store_key_denied(e);
    } else if (en) {
        *out = hold_locked(r, en);
    } else {
        /* OPENING */
        en = registry_add_locked(r, id);
        rc = open_locked(r, en, create, e);
        if (rc == ERR_OK) {
            en->state = OPEN;
            en->store->entry = en;
            registry_link_newest_locked(r, en);
            en->n_holders = 1;
            *out = en->store;
            registry_janitor_start_locked(r);
            pthread_cond_broadcast(&r->locked.changed);
        } else {
            registry_drop_locked(r, en);
        }
    }
    pthread_mutex_unlock(&r->locked.lock);
    return rc;
}

struct store *store_registry_try(struct store_registry *r, sv id)
{
    struct store *st = NULL;
    if (!store_name_ok(id))
        return NULL;
    pthread_mutex_lock(&r->locked.lock);
    struct registry_entry *en = registry_find_locked(r, id);
    if (en && en->state == OPEN && !en->denied && !wants_anew_locked(en))
        st = hold_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
    return st;
}

void store_registry_release(struct store_registry *r, struct store *st)
{
    if (st == NULL)
        return;
    pthread_mutex_lock(&r->locked.lock);
    struct registry_entry *en = st->entry;
    assert(en->n_holders > 0);
    /* else it is being removed */
    if (en->state == OPEN)
        registry_used_locked(r, en);
    registry_unhold_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
}

void store_registry_rest(struct store_registry *r, sv id)
{
    if (!store_name_ok(id))
        return;
    pthread_mutex_lock(&r->locked.lock);
    struct registry_entry *en = registry_find_locked(r, id);
    while (en && en->state == OPEN && en->weighed && en->n_holders == 1) {
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
        en = registry_find_locked(r, id);
    }
    if (en && en->state == OPEN && en->n_holders == 0)
        registry_close_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
}

bool store_registry_has(const struct store_registry *r, sv id)
{
    return store_name_ok(id) && registry_exists(r, id);
}

bool store_registry_keeps(const struct store_registry *r, sv keeper)
{
    return r->env && key_keeper_named(r->env->keeper, keeper) != NULL;
}

bool store_registry_encrypts(const struct store_registry *r)
{
    return r->engine->encrypt != NULL;
}

bool store_registry_copies(const struct store_registry *r)
{
    return r->engine->copy != NULL;
}

bool store_registry_is_remote(const struct store_registry *r)
{
    return r->engine->link != NULL;
}

err_code store_registry_encrypt(struct store_registry *r, sv id, sv keeper, sv key_id,
                                struct err *e)
{
    char uri[PATH_MAX];
    if (!store_name_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    if (r->engine->encrypt == NULL)
        return ERR(e, ERR_UNSUPPORTED, "store engine %s does not encrypt", r->engine->scheme);
    registry_uri(r, id, uri);
    const bool is_new = !registry_exists(r, id);
    TRY(r->engine->encrypt(uri + r->place_at, id, key_keeper_named(r->env->keeper, keeper), key_id,
                           e));
    pthread_mutex_lock(&r->locked.lock);
    r->locked.n_stores += is_new;
    pthread_mutex_unlock(&r->locked.lock);
    return ERR_OK;
}

err_code store_registry_remove(struct store_registry *r, sv id, struct err *e)
{
    if (!store_name_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    pthread_mutex_lock(&r->locked.lock);
    struct registry_entry *en;
    while ((en = registry_find_locked(r, id)) != NULL &&
           (en->state == OPENING || en->state == CLOSING))
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    if (en && en->state == REMOVING) {
        pthread_mutex_unlock(&r->locked.lock);
        return ERR(e, ERR_GONE, "data store is being deleted");
    }
    if (en == NULL)
        en = registry_add_locked(r, id);
    else
        registry_unlink_locked(r, en);
    en->state = REMOVING;
    while (en->n_holders)
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    pthread_mutex_unlock(&r->locked.lock);
    store_close(en->store);
    en->store = NULL;
    bool was_there = registry_exists(r, id);
    char uri[PATH_MAX];
    registry_uri(r, id, uri);
    err_code rc = r->engine->remove(uri + r->place_at, e);
    pthread_mutex_lock(&r->locked.lock);
    r->locked.n_stores -= was_there && rc == ERR_OK && r->locked.n_stores;
    registry_drop_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
    return rc;
}

err_code store_registry_copy(struct store_registry *r, struct store *from, sv id, uint64_t t,
                             const atomic_bool *halt, struct store_sums *out, struct err *e)
{
    char uri[PATH_MAX];
    if (!store_name_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    registry_uri(r, id, uri);
    TRY(store_copy(r->env, from, uri, t, halt, out, e));
    pthread_mutex_lock(&r->locked.lock);
    r->locked.n_stores++;
    pthread_mutex_unlock(&r->locked.lock);
    return ERR_OK;
}

/* ---- life ---- */

void store_registry_wake(struct store_registry *r)
{
    if (r->env)
        gate_wake(&r->env->alone);
}

err_code store_registry_new(struct store_env *env, const char *root, struct store_registry **out,
                            struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(root, &engine, &place, e));
    if (engine->root_make == NULL)
        return ERR(e, ERR_UNSUPPORTED, "store engine %s does not keep several stores by name",
                   engine->scheme);
    TRY(engine->root_make(place, e));
    struct store_registry *r = calloc(1, sizeof *r);
    if (r == NULL || (r->root = strdup(root)) == NULL)
        abort();
    r->env = env;
    r->engine = engine;
    r->place_at = (size_t)(place - root);
    r->tick_ms = TICK_MS;
    r->grown_ticks = GROWN_TICKS;
    r->key_ticks = KEY_TICKS;
    r->bounds = (struct store_bounds){ LIMIT_STORE_FILES, LIMIT_STORE_IDLE_S * 1000ull,
                                       LIMIT_UNWRITTEN_BYTES, LIMIT_STORE_WAIT_S * 1000ull };
    pthread_mutex_init(&r->locked.lock, NULL);
    clock_cond_init(&r->locked.changed);
    clock_cond_init(&r->locked.tick);
    r->locked.n_stores = engine->root_count(place, store_name_ok);
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
        for (struct registry_entry *en = r->locked.buckets[i], *next; en; en = next) {
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

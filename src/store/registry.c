#include "store/registry.h"

#include "base/file.h"
#include "store/store_private.h"

#include <limits.h>

struct entry {
    struct entry *next;
    char id[33];
    struct store *store;
    unsigned n_holders;
    bool opening, removing;
};

struct store_registry {
    struct store_env *env; /* borrowed */
    char *root;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct entry *first;
    } locked;
};

err_code store_registry_new(struct store_env *env, const char *root, struct store_registry **out,
                            struct err *e)
{
    TRY(file_mkdirs(root, e));
    struct store_registry *r = calloc(1, sizeof *r);
    if (r == NULL || (r->root = strdup(root)) == NULL)
        abort();
    r->env = env;
    pthread_mutex_init(&r->locked.lock, NULL);
    pthread_cond_init(&r->locked.changed, NULL);
    *out = r;
    return ERR_OK;
}

void store_registry_free(struct store_registry *r)
{
    if (r == NULL)
        return;
    for (struct entry *en = r->locked.first, *next; en; en = next) {
        next = en->next;
        store_close(en->store);
        free(en);
    }
    pthread_mutex_destroy(&r->locked.lock);
    pthread_cond_destroy(&r->locked.changed);
    free(r->root);
    free(r);
}

static bool id_ok(sv id)
{
    if (id.len != 32)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!((id.ptr[i] >= '0' && id.ptr[i] <= '9') || (id.ptr[i] >= 'a' && id.ptr[i] <= 'f')))
            return false;
    return true;
}

static struct entry *find_locked(struct store_registry *r, sv id)
{
    for (struct entry *en = r->locked.first; en; en = en->next)
        if (sv_eq_cstr(id, en->id))
            return en;
    return NULL;
}

static struct entry *add_locked(struct store_registry *r, sv id)
{
    struct entry *en = calloc(1, sizeof *en);
    if (en == NULL)
        abort();
    memcpy(en->id, id.ptr, id.len);
    en->next = r->locked.first;
    r->locked.first = en;
    return en;
}

static void drop_locked(struct store_registry *r, struct entry *en)
{
    struct entry **p = &r->locked.first;
    while (*p != en)
        p = &(*p)->next;
    *p = en->next;
    free(en);
    pthread_cond_broadcast(&r->locked.changed);
}

err_code store_registry_acquire(struct store_registry *r, sv id, bool create, struct store **out,
                                struct err *e)
{
    if (!id_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    pthread_mutex_lock(&r->locked.lock);
    struct entry *en;
    while ((en = find_locked(r, id)) != NULL && en->opening)
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    err_code rc = ERR_OK;
    if (en && en->removing) {
        rc = ERR(e, ERR_GONE, "data store is being deleted");
    } else if (en) {
        en->n_holders++;
        *out = en->store;
    } else {
        en = add_locked(r, id);
        en->opening = true;
        pthread_mutex_unlock(&r->locked.lock); /* opening takes its time */
        char path[PATH_MAX];
        struct store *st = NULL;
        (void)snprintf(path, sizeof path, "%s/%.*s", r->root, SV_FMT(id));
        rc = store_open_rocksdb(r->env, path, create, &st, e);
        pthread_mutex_lock(&r->locked.lock);
        en->opening = false;
        if (rc == ERR_OK) {
            en->store = st;
            en->n_holders = 1;
            *out = st;
            pthread_cond_broadcast(&r->locked.changed);
        } else {
            drop_locked(r, en);
        }
    }
    pthread_mutex_unlock(&r->locked.lock);
    return rc;
}

void store_registry_release(struct store_registry *r, struct store *st)
{
    if (st == NULL)
        return;
    pthread_mutex_lock(&r->locked.lock);
    for (struct entry *en = r->locked.first; en; en = en->next)
        if (en->store == st) {
            en->n_holders--;
            pthread_cond_broadcast(&r->locked.changed);
        }
    pthread_mutex_unlock(&r->locked.lock);
}

err_code store_registry_remove(struct store_registry *r, sv id, struct err *e)
{
    if (!id_ok(id))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    pthread_mutex_lock(&r->locked.lock);
    struct entry *en;
    while ((en = find_locked(r, id)) != NULL && en->opening)
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    if (en && en->removing) {
        pthread_mutex_unlock(&r->locked.lock);
        return ERR(e, ERR_GONE, "data store is being deleted");
    }
    if (en == NULL)
        en = add_locked(r, id);
    en->removing = true;
    while (en->n_holders)
        pthread_cond_wait(&r->locked.changed, &r->locked.lock);
    pthread_mutex_unlock(&r->locked.lock);
    store_close(en->store);
    en->store = NULL;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%.*s", r->root, SV_FMT(id));
    err_code rc = file_remove_tree(path, e);
    pthread_mutex_lock(&r->locked.lock);
    drop_locked(r, en);
    pthread_mutex_unlock(&r->locked.lock);
    return rc;
}

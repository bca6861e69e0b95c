/* snapshot.c - the callers as their files were at one time.
 *
 *   files -> snapshot -> newest_put() -> newest_get() by each request
 *
 * A request takes the newest snapshot once, and holds it until its arena is freed. So a request
 * sees one reading of the files from its begin to its end, and a credential that it found stays.
 * When the files are read again, a new snapshot takes the place of the newest at one stroke. The
 * one before is freed by the last request that holds it, and its secrets are wiped.
 *
 * Checking a signature needs a key that is made of the caller's secret for each day; 64 such keys
 * are kept. They belong to the snapshot: no key of a secret outlives it. */
#include "auth/auth_private.h"

#include "codec/sigv4.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A signing key is good for a day, and takes four MACs to make. A new one replaces the one that is
 * in its slot. */
#define KEYS 64u
struct known_key {
    const struct credential *of; /* NULL: free */
    char date[8];
    struct hash_hmac_key key;
};

struct snapshot {
    atomic_uint n_holders;
    struct credentials *credentials;
    struct {
        pthread_mutex_t lock;
        struct known_key keys[KEYS];
    } locked;
};

struct newest {
    pthread_mutex_t lock;
    struct snapshot *snapshot; /* held once; under the lock */
};

err_code snapshot_new(const char *path, struct snapshot **out, struct err *e)
{
    struct credentials *credentials;
    TRY(credentials_load(path, &credentials, e));
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        abort();
    snapshot->credentials = credentials;
    atomic_init(&snapshot->n_holders, 1);
    pthread_mutex_init(&snapshot->locked.lock, NULL);
    *out = snapshot;
    return ERR_OK;
}

void snapshot_unref(struct snapshot *snapshot)
{
    if (snapshot == NULL || atomic_fetch_sub(&snapshot->n_holders, 1) != 1)
        return;
    credentials_free(snapshot->credentials);
    pthread_mutex_destroy(&snapshot->locked.lock);
    explicit_bzero(snapshot->locked.keys, sizeof snapshot->locked.keys);
    free(snapshot);
}

const struct credentials *snapshot_credentials(const struct snapshot *snapshot)
{
    return snapshot->credentials;
}

void snapshot_signing_key(struct snapshot *snapshot, const struct credential *credential,
                          const char date[8], sv region, sv service, struct hash_hmac_key *out)
{
    unsigned char made[SHA256_LEN];
    size_t slot = ((size_t)(uintptr_t)credential / sizeof(void *) + (size_t)date[7] * 7u) % KEYS;
    struct known_key *k = &snapshot->locked.keys[slot];
    pthread_mutex_lock(&snapshot->locked.lock);
    bool known = k->of == credential && memcmp(k->date, date, sizeof k->date) == 0;
    if (known)
        *out = k->key;
    pthread_mutex_unlock(&snapshot->locked.lock);
    if (known)
        return;
    const struct sigv4_scope scope = { sv_make(date, sizeof k->date), region, service };
    sigv4_signing_key(credential->secret_key, &scope, made);
    hash_hmac_key_set(out, sv_make(made, sizeof made));
    explicit_bzero(made, sizeof made);
    pthread_mutex_lock(&snapshot->locked.lock);
    k->of = credential;
    memcpy(k->date, date, sizeof k->date);
    k->key = *out;
    pthread_mutex_unlock(&snapshot->locked.lock);
}

/* ---- the newest ---- */

struct newest *newest_new(void)
{
    struct newest *newest = calloc(1, sizeof *newest);
    if (newest == NULL)
        abort();
    pthread_mutex_init(&newest->lock, NULL);
    return newest;
}

void newest_free(struct newest *newest)
{
    if (newest == NULL)
        return;
    snapshot_unref(newest->snapshot);
    pthread_mutex_destroy(&newest->lock);
    free(newest);
}

void newest_put(struct newest *newest, struct snapshot *snapshot)
{
    pthread_mutex_lock(&newest->lock);
    struct snapshot *before = newest->snapshot;
    newest->snapshot = snapshot;
    pthread_mutex_unlock(&newest->lock);
    snapshot_unref(before);
}

struct snapshot *newest_ref(struct newest *newest)
{
    pthread_mutex_lock(&newest->lock);
    struct snapshot *snapshot = newest->snapshot;
    if (snapshot)
        atomic_fetch_add(&snapshot->n_holders, 1);
    pthread_mutex_unlock(&newest->lock);
    return snapshot;
}

static void let_go(void *snapshot)
{
    snapshot_unref(snapshot);
}

struct snapshot *newest_get(struct newest *newest, struct arena *a)
{
    struct snapshot *snapshot = newest_ref(newest);
    if (snapshot)
        arena_at_end(a, let_go, snapshot);
    return snapshot;
}

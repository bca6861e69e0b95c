/* keeper.c - data keys of data stores wrapped by KMS, as a keeper of the store.
 *
 * The first time that a wrapped key is opened KMS is asked. From then on the watch asks for it
 * again and again, in a thread of its own, and what it heard last is the answer here: nobody who
 * opens a data store waits for KMS twice, and a key that is taken away closes its data stores.
 *
 * A data store that is open asks here every few seconds. So what nobody asked for during KEEP_US
 * belongs to none that is open: it is deleted, idle, or its key was wrapped anew. When the watch
 * would ask for it, it is overwritten and forgotten instead.
 *
 * Order of locks: this one, then the watch's, which calls nobody under its own. Invariant:
 *   K1  the watch's thread alone takes from the list, so it walks the list without the lock */
#include "kms/keeper.h"

#include "base/clock.h"
#include "kms/kms_private.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_US (60u * 1000000u)

struct kept {
    struct kept *next;
    sv datastore, key_id, blob; /* behind it, in one piece */
    unsigned char key[KMS_KEY_LEN];
    uint64_t used_us; /* when it was asked for last; under the lock */
};

struct keeper {
    struct key_keeper base;
    struct kms *kms;
    struct kms_watch *watch;
    uint64_t (*now_us)(void);
    struct {
        pthread_mutex_t lock;
        struct kept *first; /* in front of it: newer ones */
    } locked;
};

static struct kept *kept_new(sv datastore, sv key_id, sv blob, const unsigned char *key)
{
    struct kept *x = calloc(1, sizeof *x + datastore.len + key_id.len + blob.len);
    if (x == NULL)
        abort();
    char *at = (char *)(x + 1);
    sv *texts[] = { &x->datastore, &x->key_id, &x->blob };
    const sv from[] = { datastore, key_id, blob };
    for (size_t i = 0; i < 3; i++) {
        memcpy(at, from[i].ptr, from[i].len);
        *texts[i] = sv_make(at, from[i].len);
        at += from[i].len;
    }
    memcpy(x->key, key, sizeof x->key);
    return x;
}

static void kept_free(struct kept *x)
{
    OPENSSL_cleanse(x->key, sizeof x->key);
    free(x);
}

static struct kept *first_of(struct keeper *k)
{
    pthread_mutex_lock(&k->locked.lock);
    struct kept *x = k->locked.first;
    pthread_mutex_unlock(&k->locked.lock);
    return x;
}

/* ---- the watch ---- */

/* What nobody has asked for goes, and with the last key of a data store the watch over it. */
static void drop_unused(struct keeper *k, sv datastore_id)
{
    const uint64_t now_us = k->now_us();
    bool left = false;
    pthread_mutex_lock(&k->locked.lock);
    for (struct kept **p = &k->locked.first; *p;) {
        struct kept *x = *p;
        const bool its = sv_eq(x->datastore, datastore_id);
        if (its && now_us >= x->used_us && now_us - x->used_us >= KEEP_US) {
            *p = x->next;
            kept_free(x);
        } else {
            left |= its;
            p = &x->next;
        }
    }
    if (!left)
        kms_watch_remove(k->watch, datastore_id);
    pthread_mutex_unlock(&k->locked.lock);
}

/* All that is kept of a data store must be good: it has files under each of its keys. */
static err_code ask(void *ctx, sv datastore_id, struct err *e)
{
    struct keeper *k = ctx;
    unsigned char key[KMS_KEY_LEN];
    err_code rc = ERR_OK;
    drop_unused(k, datastore_id);
    /* K1 */
    for (const struct kept *x = first_of(k); x && rc == ERR_OK; x = x->next)
        if (sv_eq(x->datastore, datastore_id))
            rc = kms_unwrap(k->kms, x->key_id, x->blob, datastore_id, key, e);
    OPENSSL_cleanse(key, sizeof key);
    return rc;
}

/* ---- as a keeper ---- */

static err_code keeper_wrap(struct key_keeper *base, sv key_id, sv datastore_id,
                            const unsigned char key[CIPHER_KEY_LEN], struct buf *used,
                            struct buf *blob, struct err *e)
{
    return kms_wrap(((struct keeper *)base)->kms, key_id, datastore_id, key, used, blob, e);
}

/* NULL: it is not kept. */
static struct kept *find_locked(struct keeper *k, sv key_id, sv blob, sv datastore_id)
{
    struct kept *x = k->locked.first;
    while (x &&
           !(sv_eq(x->datastore, datastore_id) && sv_eq(x->key_id, key_id) && sv_eq(x->blob, blob)))
        x = x->next;
    return x;
}

static err_code from_kept_locked(struct keeper *k, struct kept *x, unsigned char *key,
                                 uint64_t now_us, struct err *e)
{
    x->used_us = now_us;
    switch (kms_watch_of(k->watch, x->datastore)) {
    case KMS_WATCH_OPEN:
        memcpy(key, x->key, sizeof x->key);
        return ERR_OK;
    case KMS_WATCH_CLOSED:
        return ERR(e, ERR_DENIED, "KMS does not give the key of this data store: access is denied");
    default:
        return ERR(e, ERR_DENIED,
                   "KMS has said nothing of the key of this data store for %u minutes: access is "
                   "denied",
                   KMS_WATCH_GRACE_S / 60);
    }
}

static err_code keeper_unwrap(struct key_keeper *base, sv key_id, sv blob, sv datastore_id,
                              unsigned char key[CIPHER_KEY_LEN], struct err *e)
{
    struct keeper *k = (struct keeper *)base;
    pthread_mutex_lock(&k->locked.lock);
    struct kept *x = find_locked(k, key_id, blob, datastore_id);
    err_code rc = x ? from_kept_locked(k, x, key, k->now_us(), e) : ERR_OK;
    pthread_mutex_unlock(&k->locked.lock);
    if (x)
        return rc;
    TRY(kms_unwrap(k->kms, key_id, blob, datastore_id, key, e));
    /* two threads at a time keep it twice, which does no harm */
    x = kept_new(datastore_id, key_id, blob, key);
    pthread_mutex_lock(&k->locked.lock);
    x->used_us = k->now_us();
    x->next = k->locked.first;
    k->locked.first = x;
    /* under the lock: what is kept is watched */
    kms_watch_add(k->watch, datastore_id);
    pthread_mutex_unlock(&k->locked.lock);
    return ERR_OK;
}

static void keeper_close(struct key_keeper *base)
{
    struct keeper *k = (struct keeper *)base;
    /* its thread asks for what is kept */
    kms_watch_free(k->watch);
    while (k->locked.first) {
        struct kept *x = k->locked.first;
        k->locked.first = x->next;
        kept_free(x);
    }
    pthread_mutex_destroy(&k->locked.lock);
    free(k);
}

static const struct key_keeper_ops ops = { KEEPER_KMS, keeper_wrap, keeper_unwrap, keeper_close };

struct key_keeper *keeper_new_at(struct kms *kms, unsigned every_s, uint64_t (*now_us)(void))
{
    struct keeper *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    *k = (struct keeper){ .base = { .ops = &ops }, .kms = kms, .now_us = now_us };
    pthread_mutex_init(&k->locked.lock, NULL);
    const struct kms_watch_config cfg = {
        .every_s = every_s, .ask = ask, .ctx = k, .now_us = now_us
    };
    k->watch = kms_watch_new(&cfg);
    return &k->base;
}

void keeper_turn(struct key_keeper *base)
{
    (void)kms_watch_turn(((struct keeper *)base)->watch);
}

struct key_keeper *kms_keeper_new(struct kms *kms, unsigned every_s)
{
    struct key_keeper *base = keeper_new_at(kms, every_s, clock_mono_us);
    kms_watch_start(((struct keeper *)base)->watch);
    return base;
}

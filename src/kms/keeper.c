/* keeper.c - data keys of data stores wrapped by KMS, as a keeper of the store.
 *
 * The first time that a wrapped key is opened KMS is asked. From then on the watch asks for it
 * again and again, in a thread of its own, and what it heard last is the answer here: nobody who
 * opens a data store waits for KMS twice, and a key that is taken away closes its data stores. What
 * is kept stays as long as the keeper: as many keys as data stores were opened. */
#include "kms/keeper.h"

#include "kms/kms.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct kept {
    struct kept *next;
    sv datastore, key_id, blob; /* behind it, in one piece */
    unsigned char key[KMS_KEY_LEN];
};

struct keeper {
    struct key_keeper base;
    struct kms *kms;
    struct kms_watch *watch;
    struct {
        pthread_mutex_t lock;
        struct kept *first; /* in front of it: newer ones. None goes before the keeper does */
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

static struct kept *first_of(struct keeper *k)
{
    pthread_mutex_lock(&k->locked.lock);
    struct kept *x = k->locked.first;
    pthread_mutex_unlock(&k->locked.lock);
    return x;
}

/* ---- the watch ---- */

/* All that is kept of a data store must be good: it has files under each of its keys. */
static err_code ask(void *ctx, sv datastore_id, struct err *e)
{
    struct keeper *k = ctx;
    unsigned char key[KMS_KEY_LEN];
    err_code rc = ERR_OK;
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

static err_code from_kept(struct keeper *k, const struct kept *x, unsigned char *key, struct err *e)
{
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
    for (const struct kept *x = first_of(k); x; x = x->next)
        if (sv_eq(x->datastore, datastore_id) && sv_eq(x->key_id, key_id) && sv_eq(x->blob, blob))
            return from_kept(k, x, key, e);
    TRY(kms_unwrap(k->kms, key_id, blob, datastore_id, key, e));
    /* two threads at a time keep it twice, which does no harm */
    struct kept *x = kept_new(datastore_id, key_id, blob, key);
    pthread_mutex_lock(&k->locked.lock);
    x->next = k->locked.first;
    k->locked.first = x;
    pthread_mutex_unlock(&k->locked.lock);
    kms_watch_add(k->watch, datastore_id);
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
        OPENSSL_cleanse(x->key, sizeof x->key);
        free(x);
    }
    pthread_mutex_destroy(&k->locked.lock);
    free(k);
}

static const struct key_keeper_ops ops = { KEEPER_KMS, keeper_wrap, keeper_unwrap, keeper_close };

struct key_keeper *kms_keeper_new(struct kms *kms, unsigned every_s)
{
    struct keeper *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    *k = (struct keeper){ .base = { .ops = &ops }, .kms = kms };
    pthread_mutex_init(&k->locked.lock, NULL);
    const struct kms_watch_config cfg = { .every_s = every_s, .ask = ask, .ctx = k };
    k->watch = kms_watch_new(&cfg);
    kms_watch_start(k->watch);
    return &k->base;
}

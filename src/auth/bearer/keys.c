/* keys.c - the keys of one provider, in memory for as long as it says.
 *
 *   none or too old      -> fetched; one thread fetches, the others wait for it
 *   a name not there     -> fetched once more, then not for a while: strangers make names up
 *   not to be had        -> refused, and not asked for again for a moment
 *
 * Keys that are too old are never used: a provider that takes a key back must be obeyed.
 * Source: SMART App Launch 2.2, "JWKS"; RFC 9111. */
#include "auth/bearer/providers_private.h"

#include <stdatomic.h>

#define SECOND        1000000u
#define AGE_USUAL_S   300u   /* when the provider says nothing */
#define AGE_MOST_S    86400u /* whatever it says */
#define AGE_NO_STORE  10u    /* it says that nothing may be kept: so many seconds between two */
#define RENEW_PAUSE_S 30u    /* between two fetches because of an unknown name */
#define FAIL_PAUSE_S  2u     /* behind a fetch that failed */

struct key_set {
    struct jose_keys *keys;
    atomic_uint n_refs;
};

struct key_ring {
    struct fetcher *from; /* NULL: the set is fixed */
    atomic_uint n_refs;   /* a file that is read again names it once more */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t fetched;
        struct key_set *set;     /* NULL: none yet */
        uint64_t fresh_until_us; /* of the set */
        uint64_t renewed_us;     /* last fetch because of an unknown name */
        uint64_t failed_us;      /* last fetch that failed, of those behind the last good one */
        bool fetching, has_renewed, has_failed;
    } locked;
};

static struct key_set *set_new(struct jose_keys **keys)
{
    struct key_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        abort();
    set->keys = *keys;
    *keys = NULL;
    atomic_init(&set->n_refs, 1);
    return set;
}

static void set_unref(struct key_set *set)
{
    if (set == NULL || atomic_fetch_sub(&set->n_refs, 1) != 1)
        return;
    jose_keys_free(set->keys);
    free(set);
}

static struct key_ring *ring_new(struct fetcher *from)
{
    struct key_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        abort();
    ring->from = from;
    atomic_init(&ring->n_refs, 1);
    pthread_mutex_init(&ring->locked.lock, NULL);
    pthread_cond_init(&ring->locked.fetched, NULL);
    return ring;
}

struct key_ring *key_ring_new(struct fetcher **from)
{
    struct key_ring *ring = ring_new(*from);
    *from = NULL;
    return ring;
}

struct key_ring *key_ring_fixed(struct jose_keys **keys)
{
    struct key_ring *ring = ring_new(NULL);
    ring->locked.set = set_new(keys);
    ring->locked.fresh_until_us = UINT64_MAX;
    return ring;
}

struct key_ring *key_ring_ref(struct key_ring *ring)
{
    atomic_fetch_add(&ring->n_refs, 1);
    return ring;
}

struct fetcher *key_ring_asks(struct key_ring *ring)
{
    return ring ? ring->from : NULL;
}

void key_ring_free(struct key_ring *ring)
{
    if (ring == NULL || atomic_fetch_sub(&ring->n_refs, 1) != 1)
        return;
    fetcher_free(ring->from);
    set_unref(ring->locked.set);
    pthread_cond_destroy(&ring->locked.fetched);
    pthread_mutex_destroy(&ring->locked.lock);
    free(ring);
}

/* Threads have looked at the clock at different moments. */
static uint64_t since(uint64_t now_us, uint64_t then_us)
{
    return now_us > then_us ? now_us - then_us : 0;
}

static uint64_t age_of(const struct fetch_answer *an)
{
    if (an->no_store || an->max_age_s == 0)
        return AGE_NO_STORE;
    if (an->max_age_s == FETCH_NO_AGE)
        return AGE_USUAL_S;
    return an->max_age_s < AGE_MOST_S ? an->max_age_s : AGE_MOST_S;
}

static err_code set_fetch(struct fetcher *from, struct key_set **out, uint64_t *age_s,
                          struct err *e)
{
    const struct fetch_request get = { 0 };
    struct fetch_answer an;
    struct jose_keys *keys;
    TRY(fetch(from, &get, &an, e));
    struct err why;
    err_code rc = ERR_OK;
    if (an.status != 200)
        rc = ERR(e, ERR_UNAVAILABLE, "its keys: status %ld", an.status);
    else if (jose_keys_read(buf_sv(&an.body), &keys, &why) != ERR_OK)
        rc = ERR(e, ERR_UNAVAILABLE, "its keys: %.300s", why.msg);
    if (rc == ERR_OK) {
        *age_s = age_of(&an);
        *out = set_new(&keys);
    }
    fetch_answer_done(&an);
    return rc;
}

/* Fetches without the lock, which is held before and behind. */
static err_code fetch_locked(struct key_ring *ring, uint64_t now_us, struct err *e)
{
    struct key_set *set = NULL, *old = NULL;
    uint64_t age_s = 0;
    ring->locked.fetching = true;
    pthread_mutex_unlock(&ring->locked.lock);
    err_code rc = set_fetch(ring->from, &set, &age_s, e);
    fetch_note(ring->from, rc == ERR_OK);
    pthread_mutex_lock(&ring->locked.lock);
    ring->locked.fetching = false;
    ring->locked.has_failed = rc != ERR_OK;
    ring->locked.failed_us = now_us;
    if (rc == ERR_OK) {
        old = ring->locked.set;
        ring->locked.set = set;
        ring->locked.fresh_until_us = now_us + age_s * SECOND;
    }
    pthread_cond_broadcast(&ring->locked.fetched);
    set_unref(old);
    return rc;
}

/* The set that counts now.
 *   useless  one that was tried and has not the key; NULL: none was
 * ERR_NOT_FOUND: there is none but that. ERR_UNAVAILABLE. */
static err_code take_locked(struct key_ring *ring, const struct key_set *useless, uint64_t now_us,
                            struct key_set **out, struct err *e)
{
    for (;;) {
        bool fresh = ring->locked.set && now_us < ring->locked.fresh_until_us;
        if (fresh && ring->locked.set != useless) {
            *out = ring->locked.set;
            atomic_fetch_add(&(*out)->n_refs, 1);
            return ERR_OK;
        }
        if (ring->from == NULL)
            return ERR(e, ERR_NOT_FOUND, "no key is meant");
        if (ring->locked.fetching) {
            pthread_cond_wait(&ring->locked.fetched, &ring->locked.lock);
            continue;
        }
        if (fresh && ring->locked.has_renewed &&
            since(now_us, ring->locked.renewed_us) < RENEW_PAUSE_S * (uint64_t)SECOND)
            return ERR(e, ERR_NOT_FOUND, "no key is meant");
        if (ring->locked.has_failed &&
            since(now_us, ring->locked.failed_us) < FAIL_PAUSE_S * (uint64_t)SECOND)
            return ERR(e, ERR_UNAVAILABLE, "its keys could not be had a moment ago");
        if (fresh) {
            ring->locked.has_renewed = true;
            ring->locked.renewed_us = now_us;
        }
        TRY(fetch_locked(ring, now_us, e));
    }
}

static err_code take(struct key_ring *ring, const struct key_set *useless, uint64_t now_us,
                     struct key_set **out, struct err *e)
{
    pthread_mutex_lock(&ring->locked.lock);
    err_code rc = take_locked(ring, useless, now_us, out, e);
    pthread_mutex_unlock(&ring->locked.lock);
    return rc;
}

err_code key_ring_verify(struct key_ring *ring, const struct jose_jws *jws, unsigned algs,
                         uint64_t now_us, struct err *e)
{
    struct key_set *set, *newer;
    struct err why;
    TRY(take(ring, NULL, now_us, &set, e));
    err_code rc = jose_jws_verify(jws, set->keys, algs, &why);
    if (rc == ERR_NOT_FOUND) {
        rc = take(ring, set, now_us, &newer, &why);
        if (rc == ERR_OK) {
            rc = jose_jws_verify(jws, newer->keys, algs, &why);
            set_unref(newer);
        }
    }
    set_unref(set);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_INVALID, "%s", why.msg);
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

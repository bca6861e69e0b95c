/* claims.c - which number an id has whose row is not on disk yet.
 *
 * One table, by (type, id), of claims. A claim is held by the one who gave the number and by all
 * who took it up since. When the last of them gives it back, the claim leaves the table, unless a
 * look is under way that began before: then it waits in a queue, in the order of giving back, until
 * no such look is left. So whoever looks finds each id in the family or in the table:
 *   - its row was there when the look began: the family is read after that and tells it;
 *   - else the claim was in the table when the look began, or came later, and is still there.
 * A claim that waits can be taken up again. */
#include "store/rocks/numbers/claims.h"

#include "base/rng.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct claim {
    struct claim *next; /* in its bucket */
    uint64_t hash;
    struct claims_holder *giver; /* who gave the number; NULL: has given it back */
    store_number number;
    uint64_t n_holders;
    bool shared;                           /* somebody else has the number, too */
    uint64_t gone_at;                      /* n_holders 0: when the last one gave it back */
    struct claim *older_gone, *newer_gone; /* n_holders 0: in the queue */
    fhir_type type;
    unsigned char id_len;
    char id[];
};

struct claims {
    pthread_mutex_t lock;
    uint64_t seed;
    struct claim **buckets;
    size_t n_buckets, n;           /* a power of two; claims */
    uint64_t clock;                /* looks begun and claims given back so far */
    struct claims_look *looks;     /* under way, newest first */
    struct claim *oldest, *newest; /* of those that wait to leave */
};

struct claims_holder {
    struct claims *of;
    struct claim **held;
    size_t n, cap;
};

#define FIRST_BUCKETS 64u

static void *must(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

struct claims *claims_new(void)
{
    struct claims *c = must(calloc(1, sizeof *c));
    pthread_mutex_init(&c->lock, NULL);
    c->seed = rng_u64();
    c->n_buckets = FIRST_BUCKETS;
    c->buckets = must(calloc(c->n_buckets, sizeof *c->buckets));
    return c;
}

void claims_free(struct claims *c)
{
    if (c == NULL)
        return;
    assert(c->looks == NULL && c->n == 0);
    free(c->buckets);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- the table ---- */

/* Ids come from outside: whoever chooses them does not know the seed. */
static uint64_t hash_at(const struct claims *c, const struct number_ask *ask)
{
    return XXH3_64bits_withSeed(ask->id.ptr, ask->id.len, c->seed ^ ask->type);
}

static struct claim **bucket_of(struct claims *c, uint64_t hash)
{
    return &c->buckets[hash & (c->n_buckets - 1)];
}

static struct claim *find_locked(struct claims *c, uint64_t hash, fhir_type type, sv id)
{
    for (struct claim *x = *bucket_of(c, hash); x; x = x->next)
        if (x->hash == hash && x->type == type && sv_eq(sv_make(x->id, x->id_len), id))
            return x;
    return NULL;
}

static void grow_locked(struct claims *c)
{
    size_t old_n = c->n_buckets;
    struct claim **old = c->buckets;
    c->n_buckets *= 2;
    c->buckets = must(calloc(c->n_buckets, sizeof *c->buckets));
    for (size_t i = 0; i < old_n; i++)
        for (struct claim *x = old[i], *next; x; x = next) {
            struct claim **to = bucket_of(c, x->hash);
            next = x->next;
            x->next = *to;
            *to = x;
        }
    free(old);
}

static struct claim *add_locked(struct claims *c, uint64_t hash, const struct number_ask *ask)
{
    if (c->n == c->n_buckets)
        grow_locked(c);
    struct claim **to = bucket_of(c, hash);
    struct claim *x = must(malloc(sizeof *x + ask->id.len));
    *x = (struct claim){ .next = *to,
                         .hash = hash,
                         .number = ask->number,
                         .type = ask->type,
                         .id_len = (unsigned char)ask->id.len };
    memcpy(x->id, ask->id.ptr, ask->id.len);
    *to = x;
    c->n++;
    return x;
}

static void remove_locked(struct claims *c, struct claim *x)
{
    struct claim **at = bucket_of(c, x->hash);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    free(x);
    c->n--;
}

/* ---- claims that wait to leave ---- */

static void wait_locked(struct claims *c, struct claim *x)
{
    x->gone_at = c->clock++;
    x->older_gone = c->newest;
    x->newer_gone = NULL;
    *(c->newest ? &c->newest->newer_gone : &c->oldest) = x;
    c->newest = x;
}

static void wait_no_more_locked(struct claims *c, struct claim *x)
{
    *(x->older_gone ? &x->older_gone->newer_gone : &c->oldest) = x->newer_gone;
    *(x->newer_gone ? &x->newer_gone->older_gone : &c->newest) = x->older_gone;
}

/* Those that were given back before every look that is under way began. */
static void leave_locked(struct claims *c)
{
    uint64_t first = UINT64_MAX;
    for (const struct claims_look *l = c->looks; l; l = l->next)
        first = l->began;
    while (c->oldest && c->oldest->gone_at < first) {
        struct claim *x = c->oldest;
        wait_no_more_locked(c, x);
        remove_locked(c, x);
    }
}

/* ---- looks ---- */

void claims_look_begin(struct claims *c, struct claims_look *l)
{
    pthread_mutex_lock(&c->lock);
    l->began = c->clock++;
    l->before = NULL;
    l->next = c->looks;
    if (c->looks)
        c->looks->before = l;
    c->looks = l;
    pthread_mutex_unlock(&c->lock);
}

void claims_look_end(struct claims *c, struct claims_look *l)
{
    pthread_mutex_lock(&c->lock);
    if (l->next)
        l->next->before = l->before;
    *(l->before ? &l->before->next : &c->looks) = l->next;
    leave_locked(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- holders ---- */

struct claims_holder *claims_hold(struct claims *c)
{
    struct claims_holder *h = must(calloc(1, sizeof *h));
    h->of = c;
    return h;
}

static void hold_locked(struct claims_holder *h, struct claim *x)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 16;
        h->held = must(realloc(h->held, h->cap * sizeof(struct claim *)));
    }
    h->held[h->n++] = x;
    x->n_holders++;
}

static err_code take_locked(struct claims_holder *h, struct number_source *from,
                            struct number_ask *ask, uint64_t hash, struct err *e)
{
    struct claims *c = h->of;
    struct claim *x = find_locked(c, hash, ask->type, ask->id);
    ask->how = x ? NUMBER_SHARED : NUMBER_BORN;
    if (x) {
        if (x->n_holders == 0)
            wait_no_more_locked(c, x);
        x->shared = true;
        ask->number = x->number;
    } else {
        if (!number_next(from, ask->type, &ask->number))
            return ERR(e, ERR_TOO_LARGE, "one load brings more than %u new resources of a type",
                       NUMBER_K_MOST);
        x = add_locked(c, hash, ask);
        x->giver = h;
    }
    hold_locked(h, x);
    return ERR_OK;
}

/* A row can be on disk before the load that brought it is published. Who finds it there may be
 * published first, so the load must know, as of one who took the number up. */
static void tell_giver_locked(struct claims_holder *h, const struct number_ask *ask, uint64_t hash)
{
    struct claim *x = find_locked(h->of, hash, ask->type, ask->id);
    if (x && x->giver != h)
        x->shared = true;
}

#define TAKE_AT_ONCE 512u /* asks under one hold of the lock */

err_code claims_take(struct claims_holder *h, struct number_source *from, struct number_ask *asks,
                     size_t n, const uint32_t *order, struct err *e)
{
    struct claims *c = h->of;
    uint64_t hashes[TAKE_AT_ONCE];
    err_code rc = ERR_OK;
    for (size_t i = 0, end; i < n && rc == ERR_OK; i = end) {
        end = n - i < TAKE_AT_ONCE ? n : i + TAKE_AT_ONCE;
        for (size_t k = i; k < end; k++)
            hashes[k - i] = hash_at(c, &asks[order ? order[k] : k]);
        pthread_mutex_lock(&c->lock);
        /* what stands in for a look: claims_look_begin() was called */
        assert(c->looks != NULL);
        for (size_t k = i; k < end && rc == ERR_OK; k++) {
            struct number_ask *ask = &asks[order ? order[k] : k];
            if (ask->how == NUMBER_KNOWN)
                tell_giver_locked(h, ask, hashes[k - i]);
            else
                rc = take_locked(h, from, ask, hashes[k - i], e);
        }
        pthread_mutex_unlock(&c->lock);
    }
    return rc;
}

void claims_each_shared(struct claims_holder *h, claims_fn fn, void *ctx)
{
    pthread_mutex_lock(&h->of->lock);
    for (size_t i = 0; i < h->n; i++) {
        const struct claim *x = h->held[i];
        if (x->giver == h && x->shared)
            fn(ctx, x->type, sv_make(x->id, x->id_len), x->number);
    }
    pthread_mutex_unlock(&h->of->lock);
}

void claims_release(struct claims_holder *h)
{
    if (h == NULL)
        return;
    struct claims *c = h->of;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < h->n; i++) {
        struct claim *x = h->held[i];
        if (x->giver == h)
            x->giver = NULL;
        if (--x->n_holders == 0)
            wait_locked(c, x);
    }
    leave_locked(c);
    pthread_mutex_unlock(&c->lock);
    free(h->held);
    free(h);
}

size_t claims_count(struct claims *c)
{
    pthread_mutex_lock(&c->lock);
    size_t n = c->n;
    pthread_mutex_unlock(&c->lock);
    return n;
}

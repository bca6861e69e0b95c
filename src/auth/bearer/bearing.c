/* bearing.c - the providers as their file was at one time, and what tokens gave under them.
 *
 * A request takes the newest once, and holds it until its arena is freed. So the role that it was
 * given lives as long as it does. When the file is read again, a new one takes its place at one
 * stroke, and knows no token yet: what a token gave under the file before is asked anew. The one
 * before is freed by the last request that holds it. Keys that were fetched for an issuer go on to
 * the new one as long as their address is the same. */
#include "auth/bearer/providers_private.h"

#include <stdatomic.h>

#define GOOD_SLOTS 1024u
#define BAD_SLOTS  256u

struct bearing {
    struct bearing_parts parts; /* first: what others see of it */
    atomic_uint n_holders;
};

struct bearings {
    pthread_mutex_t lock;
    struct bearing *newest; /* held once; under the lock */
};

static void unref(void *held)
{
    struct bearing *b = held;
    if (b == NULL || atomic_fetch_sub(&b->n_holders, 1) != 1)
        return;
    tokens_free(b->parts.good);
    tokens_free(b->parts.bad);
    providers_free(b->parts.providers);
    free(b);
}

struct bearings *bearings_new(void)
{
    struct bearings *all = calloc(1, sizeof *all);
    if (all == NULL)
        abort();
    pthread_mutex_init(&all->lock, NULL);
    return all;
}

void bearings_free(struct bearings *all)
{
    if (all == NULL)
        return;
    unref(all->newest);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

void bearings_put(struct bearings *all, struct providers **providers)
{
    struct bearing *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    atomic_init(&b->n_holders, 1);
    b->parts = (struct bearing_parts){ *providers, tokens_new(GOOD_SLOTS), tokens_new(BAD_SLOTS) };
    *providers = NULL;
    pthread_mutex_lock(&all->lock);
    struct bearing *before = all->newest;
    all->newest = b;
    pthread_mutex_unlock(&all->lock);
    unref(before);
}

static struct bearing *hold(struct bearings *all)
{
    pthread_mutex_lock(&all->lock);
    struct bearing *b = all->newest;
    atomic_fetch_add(&b->n_holders, 1);
    pthread_mutex_unlock(&all->lock);
    return b;
}

const struct bearing_parts *bearings_get(struct bearings *all, struct arena *a)
{
    struct bearing *b = hold(all);
    arena_at_end(a, unref, b);
    return &b->parts;
}

err_code bearings_show(struct bearings *all, bearer_providers_fn fn, void *ctx, struct err *e)
{
    struct bearing *b = hold(all);
    err_code rc = fn(ctx, b->parts.providers, e);
    unref(b);
    return rc;
}

static err_code read_again(const struct providers *now, bearer_providers_fn check, void *ctx,
                           struct providers **out, struct err *e)
{
    CLEANUP(providers_free) struct providers *fresh = NULL;
    TRY(providers_load(providers_path(now), &fresh, e));
    TRY(check(ctx, fresh, e));
    providers_keep_keys(fresh, now);
    *out = fresh;
    fresh = NULL;
    return ERR_OK;
}

err_code bearings_reload(struct bearings *all, bearer_providers_fn check, void *ctx, struct err *e)
{
    struct providers *fresh = NULL;
    struct bearing *b = hold(all);
    err_code rc = read_again(b->parts.providers, check, ctx, &fresh, e);
    unref(b);
    if (rc == ERR_OK)
        bearings_put(all, &fresh);
    return rc;
}

bool bearings_as_read(struct bearings *all, unsigned char look[SHA256_LEN])
{
    struct bearing *b = hold(all);
    bool same = providers_as_read(b->parts.providers, look);
    unref(b);
    return same;
}

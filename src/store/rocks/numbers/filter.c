/* filter.c - which ids certainly have no row in the family `ids`.
 *
 * A few Bloom filters, each four times as large as the one before it. A key is added to the newest
 * one; when that is full, a larger one begins. Each filter is cut into blocks of 64 bytes, and a
 * key has all its bits in one block: a question costs one line of memory for each filter, and most
 * keys stand in the last two. */
#include "store/rocks/numbers/filter.h"

#include "base/rng.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LAYERS       5u
#define FIRST_BLOCKS 1024u /* of 64 bytes */
#define BLOCK_WORDS  8u
#define BITS         6u  /* of a key, in its block */
#define KEYS_A_BLOCK 42u /* 12 bits a key: 1 in 250 is asked for nothing */

struct layer {
    size_t n_blocks, room; /* room: for keys */
    _Atomic size_t n;
    _Atomic uint64_t *words;
};

struct ids_filter {
    uint64_t seed;
    pthread_mutex_t lock; /* who begins a layer */
    _Atomic unsigned n_layers;
    struct layer layers[LAYERS];
    atomic_bool complete, over; /* over: it is full, and says nothing any more */
};

static void begin_layer(struct ids_filter *f, unsigned i)
{
    struct layer *l = &f->layers[i];
    l->n_blocks = (size_t)FIRST_BLOCKS << (2 * i);
    l->room = l->n_blocks * KEYS_A_BLOCK;
    l->words = calloc(l->n_blocks * BLOCK_WORDS, sizeof *l->words);
    if (l->words == NULL)
        abort();
    atomic_store(&f->n_layers, i + 1);
}

struct ids_filter *ids_filter_new(void)
{
    struct ids_filter *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->seed = rng_u64();
    pthread_mutex_init(&f->lock, NULL);
    begin_layer(f, 0);
    return f;
}

void ids_filter_free(struct ids_filter *f)
{
    if (f == NULL)
        return;
    for (unsigned i = 0; i < atomic_load(&f->n_layers); i++)
        free((void *)(uintptr_t)f->layers[i].words);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* The block comes from the high half of the hash, the bits from the low one. */
static _Atomic uint64_t *block_of(const struct layer *l, XXH128_hash_t h)
{
    return l->words + (size_t)(h.high64 % l->n_blocks) * BLOCK_WORDS;
}

static unsigned bit_of(XXH128_hash_t h, unsigned i)
{
    return (unsigned)(h.low64 >> (9 * i)) & 511;
}

static XXH128_hash_t hash_of(const struct ids_filter *f, sv key)
{
    return XXH3_128bits_withSeed(key.ptr, key.len, f->seed);
}

/* A layer with room, or NULL: it is over. */
static struct layer *with_room(struct ids_filter *f)
{
    unsigned n = atomic_load(&f->n_layers);
    if (atomic_load_explicit(&f->layers[n - 1].n, memory_order_relaxed) < f->layers[n - 1].room)
        return &f->layers[n - 1];
    pthread_mutex_lock(&f->lock);
    if (n == atomic_load(&f->n_layers)) {
        if (n < LAYERS)
            begin_layer(f, n);
        else
            atomic_store(&f->over, true);
    }
    n = atomic_load(&f->n_layers);
    pthread_mutex_unlock(&f->lock);
    return atomic_load(&f->over) ? NULL : &f->layers[n - 1];
}

void ids_filter_add(struct ids_filter *f, sv key)
{
    struct layer *l = atomic_load(&f->over) ? NULL : with_room(f);
    if (l == NULL)
        return;
    XXH128_hash_t h = hash_of(f, key);
    _Atomic uint64_t *block = block_of(l, h);
    for (unsigned i = 0; i < BITS; i++) {
        unsigned bit = bit_of(h, i);
        atomic_fetch_or_explicit(&block[bit / 64], 1ULL << bit % 64, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&l->n, 1, memory_order_release);
}

void ids_filter_complete(struct ids_filter *f)
{
    atomic_store(&f->complete, true);
}

static bool has_all_bits(const _Atomic uint64_t *block, XXH128_hash_t h)
{
    for (unsigned i = 0; i < BITS; i++) {
        unsigned bit = bit_of(h, i);
        if (!(atomic_load_explicit(&block[bit / 64], memory_order_relaxed) >> bit % 64 & 1))
            return false;
    }
    return true;
}

bool ids_filter_may_have(struct ids_filter *f, sv key)
{
    if (!atomic_load(&f->complete) || atomic_load(&f->over))
        return true;
    XXH128_hash_t h = hash_of(f, key);
    for (unsigned i = atomic_load(&f->n_layers); i-- > 0;)
        if (has_all_bits(block_of(&f->layers[i], h), h))
            return true;
    return false;
}

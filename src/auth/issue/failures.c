/* failures.c - a client that fails too often at one address waits until the minute is over.
 *
 * What is counted is a pair: the id that an assertion names, registered or not, and an address; or
 * an address and no assertion that can be read. So nobody keeps a client out from another address,
 * and nobody learns from a 429 which ids are registered. A table of slots; a new pair takes the
 * place of the one in its slot. Of IPv6 the first 64 bits count, since one machine has
 * all of the others. */
#include "auth/issue/issue_private.h"

#include "base/rng.h"
#include "codec/hash.h"

#include <arpa/inet.h>

#define SLOTS     4096u
#define WINDOW_US (60u * 1000000u)

struct failing {
    unsigned char key[SHA256_LEN];
    uint64_t since_us;
    unsigned n; /* 0: the slot is free */
};

struct failures {
    unsigned char seed[16]; /* nobody chooses who shares a slot */
    struct {
        pthread_mutex_t lock;
        struct failing slots[SLOTS];
    } locked;
};

struct failures *failures_new(void)
{
    struct failures *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    rng_bytes(f->seed, sizeof f->seed);
    pthread_mutex_init(&f->locked.lock, NULL);
    return f;
}

void failures_free(struct failures *failures)
{
    if (failures == NULL)
        return;
    pthread_mutex_destroy(&failures->locked.lock);
    free(failures);
}

static void key_of(const struct failures *f, sv id, sv peer, unsigned char out[SHA256_LEN])
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    char text[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    (void)snprintf(text, sizeof text, "%.*s", SV_FMT(sv_head(peer, sizeof text - 1)));
    hash_sha256_add(h, sv_make(f->seed, sizeof f->seed));
    hash_sha256_add(h, id);
    hash_sha256_add(h, SV_LIT("\n"));
    if (inet_pton(AF_INET6, text, &v6) == 1 && !IN6_IS_ADDR_V4MAPPED(&v6))
        hash_sha256_add(h, sv_make(&v6, 8));
    else
        hash_sha256_add(h, peer);
    hash_sha256_take(h, out);
}

static struct failing *slot_locked(struct failures *f, const unsigned char key[SHA256_LEN])
{
    size_t at;
    memcpy(&at, key, sizeof at);
    return &f->locked.slots[at % SLOTS];
}

static bool counts(const struct failing *s, const unsigned char *key, uint64_t now_us)
{
    return s->n && memcmp(s->key, key, sizeof s->key) == 0 && now_us - s->since_us < WINDOW_US;
}

unsigned failures_wait_s(struct failures *failures, sv id, sv peer, uint64_t now_us)
{
    unsigned char key[SHA256_LEN];
    unsigned wait_s = 0;
    key_of(failures, id, peer, key);
    pthread_mutex_lock(&failures->locked.lock);
    const struct failing *s = slot_locked(failures, key);
    if (counts(s, key, now_us) && s->n >= FAILURES_MAX)
        wait_s = (unsigned)((WINDOW_US - (now_us - s->since_us)) / 1000000u) + 1;
    pthread_mutex_unlock(&failures->locked.lock);
    return wait_s;
}

void failures_add(struct failures *failures, sv id, sv peer, uint64_t now_us)
{
    unsigned char key[SHA256_LEN];
    key_of(failures, id, peer, key);
    pthread_mutex_lock(&failures->locked.lock);
    struct failing *s = slot_locked(failures, key);
    if (!counts(s, key, now_us)) {
        memcpy(s->key, key, sizeof s->key);
        s->since_us = now_us;
        s->n = 0;
    }
    s->n++;
    pthread_mutex_unlock(&failures->locked.lock);
}

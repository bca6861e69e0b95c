/* quota.c - token buckets of callers and of data stores.
 *
 *   name -> digest -> slot of a table -> entry with a bucket for each kind
 *
 * How full a bucket is is worked out when a request comes, from the time since the one before. The
 * table has a fixed number of slots, and entries stand in a list, the one that asked last in front.
 * When all entries are taken, the one at the end is used anew. Names are kept as the first bytes of
 * their SHA-256, so nobody can choose names that fall into one slot, or make the table grow. */
#include "service/quota_private.h"

#include "codec/hash.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define SLOTS      16384u /* a power of two */
#define DIGEST     16u
#define WAIT_MAX_S 3600u

struct bucket {
    double tokens;
    uint64_t at_us; /* 0: never used, full */
};

struct entry {                   /* a caller, or a data store */
    struct entry *next;          /* of the slot */
    struct entry *newer, *older; /* of the list */
    unsigned char digest[DIGEST];
    struct bucket buckets[QUOTA_KINDS_MAX];
};

struct quota {
    struct {
        pthread_mutex_t lock;
        struct quota_rates rates;
        struct entry *slots[SLOTS];
        struct entry *newest, *oldest;
        size_t n;
    } locked; /* touch only while holding locked.lock */
};

struct quota *quota_new(const struct quota_rates *rates)
{
    struct quota *quota = calloc(1, sizeof *quota);
    if (quota == NULL)
        abort();
    quota->locked.rates = *rates;
    pthread_mutex_init(&quota->locked.lock, NULL);
    return quota;
}

void quota_set(struct quota *quota, const struct quota_rates *rates)
{
    pthread_mutex_lock(&quota->locked.lock);
    quota->locked.rates = *rates;
    pthread_mutex_unlock(&quota->locked.lock);
}

void quota_free(struct quota *quota)
{
    if (quota == NULL)
        return;
    for (struct entry *entry; (entry = quota->locked.newest) != NULL;) {
        quota->locked.newest = entry->older;
        free(entry);
    }
    pthread_mutex_destroy(&quota->locked.lock);
    free(quota);
}

size_t quota_known(struct quota *quota)
{
    pthread_mutex_lock(&quota->locked.lock);
    size_t n = quota->locked.n;
    pthread_mutex_unlock(&quota->locked.lock);
    return n;
}

/* ---- entries ---- */

static struct entry **slot_of(struct quota *quota, const unsigned char digest[DIGEST])
{
    return &quota->locked.slots[((size_t)digest[0] << 8 | digest[1]) % SLOTS];
}

static void list_drop_locked(struct quota *quota, struct entry *entry)
{
    *(entry->newer ? &entry->newer->older : &quota->locked.newest) = entry->older;
    *(entry->older ? &entry->older->newer : &quota->locked.oldest) = entry->newer;
}

static void list_front_locked(struct quota *quota, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = quota->locked.newest;
    *(entry->older ? &entry->older->newer : &quota->locked.oldest) = entry;
    quota->locked.newest = entry;
}

/* One that is in no slot and not in the list, with full buckets. */
static struct entry *entry_fresh_locked(struct quota *quota)
{
    struct entry *entry = quota->locked.oldest;
    if (quota->locked.n < QUOTA_KNOWN) {
        entry = calloc(1, sizeof *entry);
        if (entry == NULL)
            abort();
        quota->locked.n++;
        return entry;
    }
    struct entry **at = slot_of(quota, entry->digest);
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    list_drop_locked(quota, entry);
    memset(entry, 0, sizeof *entry);
    return entry;
}

static struct entry *entry_get_locked(struct quota *quota, const unsigned char digest[DIGEST])
{
    struct entry **slot = slot_of(quota, digest), *entry = *slot;
    while (entry && memcmp(entry->digest, digest, DIGEST) != 0)
        entry = entry->next;
    if (entry) {
        list_drop_locked(quota, entry);
    } else {
        entry = entry_fresh_locked(quota);
        memcpy(entry->digest, digest, DIGEST);
        entry->next = *slot;
        *slot = entry;
    }
    list_front_locked(quota, entry);
    return entry;
}

/* ---- taking ---- */

struct want { /* of one bucket */
    struct bucket *bucket;
    struct quota_rate rate;
    double cost, have;
    const char *kind;
    enum quota_scope scope;
};

static double filled(const struct bucket *bucket, const struct quota_rate *rate, uint64_t now_us)
{
    if (bucket->at_us == 0 || bucket->at_us > now_us)
        return bucket->at_us ? bucket->tokens : rate->burst;
    double have = bucket->tokens + (double)(now_us - bucket->at_us) / 1e6 * rate->per_s;
    return have < rate->burst ? have : rate->burst;
}

/* Seconds until there is enough; 0: there is. A hair is left out, since sums of times are not
 * exact. */
static double lacks_s(const struct want *want)
{
    double need = want->cost < want->rate.burst ? want->cost : want->rate.burst;
    return want->have + 1e-9 >= need ? 0 : (need - want->have) / want->rate.per_s;
}

static size_t wants_locked(struct quota *quota, const struct quota_costs *costs,
                           struct entry *const of[QUOTA_N_SCOPES], uint64_t now_us,
                           struct want out[2 * QUOTA_N_SCOPES])
{
    size_t n = 0;
    bool on_store;
    for (size_t i = 0; i < costs->n; i++)
        for (unsigned scope = 0; scope < QUOTA_N_SCOPES; scope++) {
            const struct quota_rate *rate = &quota->locked.rates.of[costs->kinds[i]][scope];
            if (of[scope] == NULL || !(rate->per_s > 0))
                continue;
            struct bucket *bucket = &of[scope]->buckets[costs->kinds[i]];
            out[n++] = (struct want){ bucket,
                                      *rate,
                                      costs->cost[i],
                                      filled(bucket, rate, now_us),
                                      quota_kind_name(costs->kinds[i], &on_store),
                                      scope };
        }
    return n;
}

/* All or nothing. Answers the bucket that lets it wait longest; NULL: it has passed. */
static const struct want *take_locked(struct want *wants, size_t n, bool begun, uint64_t now_us,
                                      double *wait_s)
{
    const struct want *worst = NULL;
    *wait_s = 0;
    for (size_t i = 0; !begun && i < n; i++)
        if (lacks_s(&wants[i]) > *wait_s) {
            worst = &wants[i];
            *wait_s = lacks_s(worst);
        }
    for (size_t i = 0; worst == NULL && i < n; i++)
        *wants[i].bucket = (struct bucket){ wants[i].have - wants[i].cost, now_us ? now_us : 1 };
    return worst;
}

static err_code refuse(const struct want *worst, double wait, unsigned *wait_s, struct err *e)
{
    bool minute = worst->rate.per_s < worst->rate.burst;
    *wait_s = wait >= WAIT_MAX_S ? WAIT_MAX_S : (unsigned)ceil(wait);
    if (*wait_s == 0)
        *wait_s = 1;
    return ERR(e, ERR_THROTTLED, "Rate exceeded: %s of one %s, %.0f a %s", worst->kind,
               worst->scope == QUOTA_CALLER ? "caller" : "data store", worst->rate.burst,
               minute ? "minute" : "second");
}

err_code quota_take(struct quota *quota, const struct quota_ask *ask, uint64_t now_us,
                    unsigned *wait_s, struct err *e)
{
    const sv names[QUOTA_N_SCOPES] = { ask->caller, ask->store };
    unsigned char digests[QUOTA_N_SCOPES][SHA256_LEN];
    struct entry *of[QUOTA_N_SCOPES] = { NULL };
    struct want wants[2 * QUOTA_N_SCOPES], worst = { NULL };
    double wait;
    if (quota == NULL)
        return ERR_OK;
    struct quota_costs costs = quota_costs_of(sv_from(ask->action), ask->bytes);
    if (costs.n == 0)
        return ERR_OK;
    for (unsigned i = 0; i < QUOTA_N_SCOPES; i++) {
        hash_sha256_of(names[i], digests[i]);
        /* a caller is no data store, whatever he is called */
        digests[i][DIGEST - 1] = (unsigned char)((digests[i][DIGEST - 1] & 0xFE) | i);
    }
    pthread_mutex_lock(&quota->locked.lock);
    for (unsigned i = 0; i < QUOTA_N_SCOPES; i++)
        if (names[i].len)
            of[i] = entry_get_locked(quota, digests[i]);
    size_t n = wants_locked(quota, &costs, of, now_us, wants);
    const struct want *refused = take_locked(wants, n, ask->begun, now_us, &wait);
    if (refused)
        worst = *refused;
    pthread_mutex_unlock(&quota->locked.lock);
    return refused ? refuse(&worst, wait, wait_s, e) : ERR_OK;
}

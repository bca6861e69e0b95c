/* assume.c - credentials of assumed roles, kept per (role, source ARN).
 *
 *   absent -> renewing -> fresh -> (5 minutes left) -> renewing -> fresh ...
 *
 * One thread renews; the others go on with what is still valid, or wait for it. The lock is never
 * held over the call. While STS is away, one asks it every ten seconds. Invariants:
 *   A1  an entry is there while somebody asks for it (n_users), and beyond that only with
 *       credentials: what was refused leaves nothing behind, however many names are tried
 *   A2  at most LIMIT_ASSUMED_ROLES entries stand with credentials and without users; the one that
 *       was asked for the longest time ago goes first */
#include "sink/sink_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/rng.h"

#include <assert.h>

#define ASSUME_MARGIN_MS 300000
#define AWAY_MS          10000 /* STS was away: nobody asks it again before that */
#define BUCKETS          1024u
#define LOOK_US          50000u /* who waits for a renewal looks at the cancel flag that often */

struct entry {
    struct entry *next; /* of its bucket */
    uint64_t hash;
    sv role_arn, source_arn; /* in name */
    char *name;
    char *secrets; /* of cred; NULL when absent */
    size_t secrets_len;
    struct s3_credentials cred;
    int64_t since_ms;
    int64_t again_ms; /* STS was away: until then what is valid is used; 0: it was not */
    uint64_t used;    /* the cache's clock when it was asked for last */
    unsigned n_users;
    bool renewing;
};

struct assume_cache {
    const struct s3_endpoint *sts;
    struct s3_held *own;
    int64_t (*now_ms)(void); /* the wall clock, or a test's */
    uint64_t seed; /* names come from outside: which ones share a bucket is not theirs to say */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t renewed;
        struct entry *buckets[BUCKETS];
        unsigned n_kept; /* entries with credentials */
        uint64_t clock;
    } locked; /* touch only while holding locked.lock */
};

struct assume_cache *assume_cache_new(const struct s3_endpoint *sts, struct s3_held *own)
{
    struct assume_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        abort();
    cache->sts = sts;
    cache->own = own;
    cache->now_ms = clock_wall_ms;
    cache->seed = rng_u64();
    pthread_mutex_init(&cache->locked.lock, NULL);
    clock_cond_init(&cache->locked.renewed);
    return cache;
}

void assume_cache_clock(struct assume_cache *cache, int64_t (*now_ms)(void))
{
    cache->now_ms = now_ms;
}

/* ---- entries ---- */

static void forget_secrets(struct entry *entry)
{
    if (entry->secrets)
        explicit_bzero(entry->secrets, entry->secrets_len);
    free(entry->secrets);
    entry->secrets = NULL;
    entry->cred = (struct s3_credentials){ 0 };
}

static void entry_free(struct entry *entry)
{
    forget_secrets(entry);
    free(entry->name);
    free(entry);
}

void assume_cache_free(struct assume_cache *cache)
{
    if (cache == NULL)
        return;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry *entry = cache->locked.buckets[i], *next; entry; entry = next) {
            next = entry->next;
            entry_free(entry);
        }
    pthread_cond_destroy(&cache->locked.renewed);
    pthread_mutex_destroy(&cache->locked.lock);
    free(cache);
}

static char *put(char *p, sv from, sv *to)
{
    if (from.len)
        memcpy(p, from.ptr, from.len);
    *to = sv_make(p, from.len);
    return p + from.len;
}

/* The entry of that name, there for as long as the caller uses it (A1). */
static struct entry *take_locked(struct assume_cache *cache, const struct assume_who *who)
{
    uint64_t h = sv_hash(sv_hash(cache->seed, who->role_arn), who->source_arn);
    struct entry **bucket = &cache->locked.buckets[h % BUCKETS], *en = *bucket;
    while (en && !(en->hash == h && sv_eq(en->role_arn, who->role_arn) &&
                   sv_eq(en->source_arn, who->source_arn)))
        en = en->next;
    if (en == NULL) {
        en = calloc(1, sizeof *en);
        if (en == NULL || (en->name = malloc(who->role_arn.len + who->source_arn.len + 1)) == NULL)
            abort();
        char *p = put(en->name, who->role_arn, &en->role_arn);
        (void)put(p, who->source_arn, &en->source_arn);
        en->hash = h;
        en->next = *bucket;
        *bucket = en;
    }
    en->used = ++cache->locked.clock;
    en->n_users++;
    return en;
}

static void remove_locked(struct assume_cache *cache, struct entry *en)
{
    struct entry **p = &cache->locked.buckets[en->hash % BUCKETS];
    /* A1 */
    assert(en->n_users == 0);
    while (*p != en)
        p = &(*p)->next;
    *p = en->next;
    cache->locked.n_kept -= en->secrets != NULL;
    entry_free(en);
}

/* A2. A walk over all entries: it is made behind a call of STS, which takes a thousand times as
 * long. */
static void make_room_locked(struct assume_cache *cache)
{
    while (cache->locked.n_kept > LIMIT_ASSUMED_ROLES) {
        struct entry *oldest = NULL;
        for (unsigned i = 0; i < BUCKETS; i++)
            for (struct entry *entry = cache->locked.buckets[i]; entry; entry = entry->next)
                if (entry->n_users == 0 && (oldest == NULL || entry->used < oldest->used))
                    oldest = entry;
        /* all are in use: whoever leaves last makes room */
        if (oldest == NULL)
            return;
        remove_locked(cache, oldest);
    }
}

static void leave_locked(struct assume_cache *cache, struct entry *entry)
{
    /* A1 */
    assert(entry->n_users > 0);
    if (--entry->n_users == 0 && entry->secrets == NULL)
        remove_locked(cache, entry);
    make_room_locked(cache);
}

static void keep_locked(struct assume_cache *cache, struct entry *entry,
                        const struct s3_credentials *got)
{
    cache->locked.n_kept += entry->secrets == NULL;
    forget_secrets(entry);
    entry->secrets_len = got->access_key_id.len + got->secret_key.len + got->session_token.len;
    entry->secrets = malloc(entry->secrets_len + 1);
    if (entry->secrets == NULL)
        abort();
    char *p = put(entry->secrets, got->access_key_id, &entry->cred.access_key_id);
    p = put(p, got->secret_key, &entry->cred.secret_key);
    (void)put(p, got->session_token, &entry->cred.session_token);
    entry->cred.expires_ms = got->expires_ms;
    entry->since_ms = cache->now_ms();
    entry->again_ms = 0;
}

static void drop_locked(struct assume_cache *cache, struct entry *entry)
{
    cache->locked.n_kept -= entry->secrets != NULL;
    forget_secrets(entry);
}

static err_code copy(struct arena *a, const struct s3_credentials *from, struct s3_credentials *out,
                     struct err *e)
{
    struct s3_credentials c = { arena_sv(a, from->access_key_id), arena_sv(a, from->secret_key),
                                arena_sv(a, from->session_token), from->expires_ms };
    if (!c.access_key_id.ptr || !c.secret_key.ptr || !c.session_token.ptr)
        return arena_oom(a, e);
    *out = c;
    return ERR_OK;
}

static err_code call_sts(struct assume_cache *cache, const struct assume_who *who, struct arena *a,
                         struct s3_credentials *out, struct err *e)
{
    struct sts_assume_role req = { .role_arn = who->role_arn,
                                   .session_name = who->session_name,
                                   .source_arn = who->source_arn,
                                   .source_account = who->source_account,
                                   .cancel = who->cancel };
    struct s3_endpoint sts = *cache->sts;
    struct s3_credentials own;
    sts.until_us = who->until_us;
    TRY(s3_held_give(cache->own, SV_NONE, a, &own, e));
    return sts_assume_role(&sts, &own, &req, a, out, e);
}

/* Until another thread has renewed something. Of a cancel there is nothing to hear but the flag, so
 * the wait ends every LOOK_US to look at it. */
static void wait_locked(struct assume_cache *cache)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + LOOK_US);
    /* whatever ended the wait, the caller looks anew */
    (void)pthread_cond_timedwait(&cache->locked.renewed, &cache->locked.lock, &until);
}

/* Renewed by this thread; the lock is given back over the call. was_valid: what is kept may be used
 * meanwhile. */
static err_code renew_locked(struct assume_cache *cache, struct entry *entry,
                             const struct assume_who *who, bool was_valid, struct arena *a,
                             struct s3_credentials *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *fresh = arena_new(64u << 10);
    struct s3_credentials got = { 0 };
    struct err why = { 0 };
    entry->renewing = true;
    pthread_mutex_unlock(&cache->locked.lock);
    err_code rc = call_sts(cache, who, fresh, &got, &why);
    pthread_mutex_lock(&cache->locked.lock);
    entry->renewing = false;
    pthread_cond_broadcast(&cache->locked.renewed);
    if (rc == ERR_OK) {
        keep_locked(cache, entry, &got);
        return copy(a, &entry->cred, out, e);
    }
    bool still = was_valid && entry->cred.expires_ms > cache->now_ms();
    /* STS is away; these still work, and who asks next had better not wait for it too */
    if (still && rc != ERR_DENIED) {
        entry->again_ms = cache->now_ms() + AWAY_MS;
        return copy(a, &entry->cred, out, e);
    }
    /* expired, refused by S3, or by STS now */
    drop_locked(cache, entry);
    return err_pass(e, &why);
}

err_code assume_cache_get(struct assume_cache *cache, const struct assume_who *who,
                          sv refused_key_id, struct arena *a, struct s3_credentials *out,
                          struct err *e)
{
    err_code rc;
    pthread_mutex_lock(&cache->locked.lock);
    struct entry *entry = take_locked(cache, who);
    for (;;) {
        int64_t now_ms = cache->now_ms();
        bool valid = entry->secrets && entry->cred.expires_ms > now_ms &&
                     !(refused_key_id.len && sv_eq(entry->cred.access_key_id, refused_key_id));
        /* Credentials of a short life are not renewed all the time. */
        int64_t half_ms = valid ? (entry->cred.expires_ms - entry->since_ms) / 2 : 0;
        int64_t margin_ms = half_ms < ASSUME_MARGIN_MS ? half_ms : ASSUME_MARGIN_MS;
        bool fresh =
            valid && (entry->cred.expires_ms - now_ms > margin_ms || now_ms < entry->again_ms);
        if (fresh || (valid && entry->renewing)) {
            rc = copy(a, &entry->cred, out, e);
            break;
        }
        if (!entry->renewing) {
            rc = renew_locked(cache, entry, who, valid, a, out, e);
            break;
        }
        if (who->cancel && atomic_load(who->cancel)) {
            rc = ERR(e, ERR_CANCELLED, "cancelled");
            break;
        }
        if (who->until_us && clock_mono_us() > who->until_us) {
            rc = ERR(e, ERR_TIMEOUT, "STS AssumeRole: no answer in time");
            break;
        }
        wait_locked(cache);
    }
    leave_locked(cache, entry);
    pthread_mutex_unlock(&cache->locked.lock);
    return rc;
}

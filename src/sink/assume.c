/* assume.c - credentials of assumed roles, kept per (role, source ARN).
 *
 *   absent -> renewing -> fresh -> (5 minutes left) -> renewing -> fresh ...
 *
 * One thread renews; the others go on with what is still valid, or wait for it. The lock is never
 * held over the call. Invariants:
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
    uint64_t used; /* the cache's clock when it was asked for last */
    unsigned n_users;
    bool renewing;
};

struct assume_cache {
    const struct s3_endpoint *sts;
    const struct s3_credentials *own;
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

struct assume_cache *assume_cache_new(const struct s3_endpoint *sts,
                                      const struct s3_credentials *own)
{
    struct assume_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->sts = sts;
    c->own = own;
    c->now_ms = clock_wall_ms;
    c->seed = rng_u64();
    pthread_mutex_init(&c->locked.lock, NULL);
    clock_cond_init(&c->locked.renewed);
    return c;
}

void assume_cache_clock(struct assume_cache *c, int64_t (*now_ms)(void))
{
    c->now_ms = now_ms;
}

/* ---- entries ---- */

static void forget_secrets(struct entry *en)
{
    if (en->secrets)
        explicit_bzero(en->secrets, en->secrets_len);
    free(en->secrets);
    en->secrets = NULL;
    en->cred = (struct s3_credentials){ 0 };
}

static void entry_free(struct entry *en)
{
    forget_secrets(en);
    free(en->name);
    free(en);
}

void assume_cache_free(struct assume_cache *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry *en = c->locked.buckets[i], *next; en; en = next) {
            next = en->next;
            entry_free(en);
        }
    pthread_cond_destroy(&c->locked.renewed);
    pthread_mutex_destroy(&c->locked.lock);
    free(c);
}

static char *put(char *p, sv from, sv *to)
{
    if (from.len)
        memcpy(p, from.ptr, from.len);
    *to = sv_make(p, from.len);
    return p + from.len;
}

/* The entry of that name, there for as long as the caller uses it (A1). */
static struct entry *take_locked(struct assume_cache *c, const struct assume_who *who)
{
    uint64_t h = sv_hash(sv_hash(c->seed, who->role_arn), who->source_arn);
    struct entry **bucket = &c->locked.buckets[h % BUCKETS], *en = *bucket;
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
    en->used = ++c->locked.clock;
    en->n_users++;
    return en;
}

static void remove_locked(struct assume_cache *c, struct entry *en)
{
    struct entry **p = &c->locked.buckets[en->hash % BUCKETS];
    /* A1 */
    assert(en->n_users == 0);
    while (*p != en)
        p = &(*p)->next;
    *p = en->next;
    c->locked.n_kept -= en->secrets != NULL;
    entry_free(en);
}

/* A2. A walk over all entries: it is made behind a call of STS, which takes a thousand times as
 * long. */
static void make_room_locked(struct assume_cache *c)
{
    while (c->locked.n_kept > LIMIT_ASSUMED_ROLES) {
        struct entry *oldest = NULL;
        for (unsigned i = 0; i < BUCKETS; i++)
            for (struct entry *en = c->locked.buckets[i]; en; en = en->next)
                if (en->n_users == 0 && (oldest == NULL || en->used < oldest->used))
                    oldest = en;
        /* all are in use: whoever leaves last makes room */
        if (oldest == NULL)
            return;
        remove_locked(c, oldest);
    }
}

static void leave_locked(struct assume_cache *c, struct entry *en)
{
    /* A1 */
    assert(en->n_users > 0);
    if (--en->n_users == 0 && en->secrets == NULL)
        remove_locked(c, en);
    make_room_locked(c);
}

static void keep_locked(struct assume_cache *c, struct entry *en, const struct s3_credentials *got)
{
    c->locked.n_kept += en->secrets == NULL;
    forget_secrets(en);
    en->secrets_len = got->access_key_id.len + got->secret_key.len + got->session_token.len;
    en->secrets = malloc(en->secrets_len + 1);
    if (en->secrets == NULL)
        abort();
    char *p = put(en->secrets, got->access_key_id, &en->cred.access_key_id);
    p = put(p, got->secret_key, &en->cred.secret_key);
    (void)put(p, got->session_token, &en->cred.session_token);
    en->cred.expires_ms = got->expires_ms;
    en->since_ms = c->now_ms();
}

static void drop_locked(struct assume_cache *c, struct entry *en)
{
    c->locked.n_kept -= en->secrets != NULL;
    forget_secrets(en);
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

static err_code call_sts(struct assume_cache *c, const struct assume_who *who, struct arena *a,
                         struct s3_credentials *out, struct err *e)
{
    struct sts_assume_role req = { .role_arn = who->role_arn,
                                   .session_name = who->session_name,
                                   .source_arn = who->source_arn,
                                   .source_account = who->source_account,
                                   .cancel = who->cancel };
    return sts_assume_role(c->sts, c->own, &req, a, out, e);
}

/* Until another thread has renewed something. Of a cancel there is nothing to hear but the flag, so
 * the wait ends every LOOK_US to look at it. */
static void wait_locked(struct assume_cache *c)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + LOOK_US);
    /* whatever ended the wait, the caller looks anew */
    (void)pthread_cond_timedwait(&c->locked.renewed, &c->locked.lock, &until);
}

/* Renewed by this thread; the lock is given back over the call. was_valid: what is kept may be used
 * meanwhile. */
static err_code renew_locked(struct assume_cache *c, struct entry *en, const struct assume_who *who,
                             bool was_valid, struct arena *a, struct s3_credentials *out,
                             struct err *e)
{
    CLEANUP(arena_free) struct arena *fresh = arena_new(64u << 10);
    struct s3_credentials got = { 0 };
    struct err why = { 0 };
    en->renewing = true;
    pthread_mutex_unlock(&c->locked.lock);
    err_code rc = call_sts(c, who, fresh, &got, &why);
    pthread_mutex_lock(&c->locked.lock);
    en->renewing = false;
    pthread_cond_broadcast(&c->locked.renewed);
    if (rc == ERR_OK) {
        keep_locked(c, en, &got);
        return copy(a, &en->cred, out, e);
    }
    bool still = was_valid && en->cred.expires_ms > c->now_ms();
    /* STS is away; these still work */
    if (still && rc != ERR_DENIED)
        return copy(a, &en->cred, out, e);
    /* expired, refused by S3, or by STS now */
    drop_locked(c, en);
    return err_pass(e, &why);
}

err_code assume_cache_get(struct assume_cache *c, const struct assume_who *who, sv refused_key_id,
                          struct arena *a, struct s3_credentials *out, struct err *e)
{
    err_code rc;
    pthread_mutex_lock(&c->locked.lock);
    struct entry *en = take_locked(c, who);
    for (;;) {
        int64_t now_ms = c->now_ms();
        bool valid = en->secrets && en->cred.expires_ms > now_ms &&
                     !(refused_key_id.len && sv_eq(en->cred.access_key_id, refused_key_id));
        /* Credentials of a short life are not renewed all the time. */
        int64_t half_ms = valid ? (en->cred.expires_ms - en->since_ms) / 2 : 0;
        int64_t margin_ms = half_ms < ASSUME_MARGIN_MS ? half_ms : ASSUME_MARGIN_MS;
        bool fresh = valid && en->cred.expires_ms - now_ms > margin_ms;
        if (fresh || (valid && en->renewing)) {
            rc = copy(a, &en->cred, out, e);
            break;
        }
        if (!en->renewing) {
            rc = renew_locked(c, en, who, valid, a, out, e);
            break;
        }
        if (who->cancel && atomic_load(who->cancel)) {
            rc = ERR(e, ERR_CANCELLED, "cancelled");
            break;
        }
        wait_locked(c);
    }
    leave_locked(c, en);
    pthread_mutex_unlock(&c->locked.lock);
    return rc;
}

/* assume.c - credentials of assumed roles, kept per (role, source ARN).
 *
 *   absent -> renewing -> fresh -> (5 minutes left) -> renewing -> fresh ...
 *
 * One thread renews; the others go on with what is still valid, or wait for it. The lock is never
 * held over the call. */
#include "sink/sink_private.h"

#include "base/clock.h"

#define ASSUME_MARGIN_MS 300000

struct entry {
    struct entry *next;
    struct arena *id_arena;
    sv role_arn, source_arn;
    struct arena *arena; /* of cred; NULL when absent */
    struct s3_credentials cred;
    int64_t since_ms;
    bool renewing;
};

struct assume_cache {
    const struct s3_endpoint *sts;
    const struct s3_credentials *own;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t renewed;
        struct entry *entries; /* never removed while the cache lives */
    } locked;                  /* touch only while holding locked.lock */
};

struct assume_cache *assume_cache_new(const struct s3_endpoint *sts,
                                      const struct s3_credentials *own)
{
    struct assume_cache *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->sts = sts;
    c->own = own;
    pthread_mutex_init(&c->locked.lock, NULL);
    pthread_cond_init(&c->locked.renewed, NULL);
    return c;
}

void assume_cache_free(struct assume_cache *c)
{
    if (c == NULL)
        return;
    while (c->locked.entries) {
        struct entry *en = c->locked.entries;
        c->locked.entries = en->next;
        arena_free(en->id_arena);
        if (en->arena)
            arena_free(en->arena);
        free(en);
    }
    pthread_cond_destroy(&c->locked.renewed);
    pthread_mutex_destroy(&c->locked.lock);
    free(c);
}

static struct entry *find_locked(struct assume_cache *c, const struct assume_who *who)
{
    for (struct entry *en = c->locked.entries; en; en = en->next)
        if (sv_eq(en->role_arn, who->role_arn) && sv_eq(en->source_arn, who->source_arn))
            return en;
    struct entry *en = calloc(1, sizeof *en);
    if (en == NULL)
        abort();
    en->id_arena = arena_new(64u << 10); /* both are bounded where they came in */
    en->role_arn = arena_sv(en->id_arena, who->role_arn);
    en->source_arn = arena_sv(en->id_arena, who->source_arn);
    en->next = c->locked.entries;
    c->locked.entries = en;
    return en;
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

static void wait_locked(struct assume_cache *c)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000; /* wakes to look at the cancel flag */
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&c->locked.renewed, &c->locked.lock, &until); /* looked at anew */
}

err_code assume_cache_get(struct assume_cache *c, const struct assume_who *who, sv refused_key_id,
                          struct arena *a, struct s3_credentials *out, struct err *e)
{
    err_code rc;
    pthread_mutex_lock(&c->locked.lock);
    struct entry *en = find_locked(c, who);
    for (;;) {
        int64_t now_ms = clock_wall_ms();
        bool valid = en->arena && en->cred.expires_ms > now_ms &&
                     !(refused_key_id.len && sv_eq(en->cred.access_key_id, refused_key_id));
        /* Credentials of a short life are not renewed all the time. */
        int64_t half_ms = valid ? (en->cred.expires_ms - en->since_ms) / 2 : 0;
        int64_t margin_ms = half_ms < ASSUME_MARGIN_MS ? half_ms : ASSUME_MARGIN_MS;
        bool fresh = valid && en->cred.expires_ms - now_ms > margin_ms;
        if (fresh || (valid && en->renewing)) {
            rc = copy(a, &en->cred, out, e);
            break;
        }
        if (en->renewing) {
            if (who->cancel && atomic_load(who->cancel)) {
                rc = ERR(e, ERR_CANCELLED, "cancelled");
                break;
            }
            wait_locked(c);
            continue;
        }
        en->renewing = true;
        pthread_mutex_unlock(&c->locked.lock);
        struct arena *fresh_arena = arena_new(64u << 10);
        struct s3_credentials got = { 0 };
        struct err why = { 0 };
        rc = call_sts(c, who, fresh_arena, &got, &why);
        pthread_mutex_lock(&c->locked.lock);
        en->renewing = false;
        pthread_cond_broadcast(&c->locked.renewed);
        if (rc == ERR_OK) {
            if (en->arena)
                arena_free(en->arena);
            en->arena = fresh_arena;
            en->cred = got;
            en->since_ms = clock_wall_ms();
            rc = copy(a, &en->cred, out, e);
            break;
        }
        arena_free(fresh_arena);
        if (valid && en->cred.expires_ms > clock_wall_ms() && rc != ERR_DENIED) {
            rc = copy(a, &en->cred, out, e); /* STS is away; these still work */
            break;
        }
        if (e)
            *e = why;
        break;
    }
    pthread_mutex_unlock(&c->locked.lock);
    return rc;
}

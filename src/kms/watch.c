/* watch.c - whether the keys of data stores are still allowed, asked again and again.
 *
 * One question at a time, the one that is due longest first, and never under the lock: a KMS that
 * stalls holds nobody but the thread that asks. A state is read without a question, and OPEN ends
 * by the clock alone, also while a question hangs. Invariants:
 *   W1  an entry in use (a question, or telling of its answer) is freed by the thread that uses it
 *   W2  `told` is what the owner was told last, or OPEN at first; he is told of each difference */
#include "kms/kms_private.h"

#include "base/clock.h"

#include <pthread.h>

#define SECOND_US 1000000u

struct watched {
    struct watched *next;
    char *id;
    bool closed;          /* the last answer was no */
    uint64_t answered_us; /* when there was an answer last */
    uint64_t due_us;
    kms_watch_state told;
    bool in_use, removed; /* W1 */
};

struct kms_watch {
    struct kms_watch_config cfg; /* set once */
    uint64_t every_us, grace_us;
    pthread_t thread;
    bool has_thread;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct watched *first;
        bool stop;
    } locked; /* touch only while holding locked.lock */
};

struct kms_watch *kms_watch_new(const struct kms_watch_config *cfg)
{
    struct kms_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        abort();
    watch->cfg = *cfg;
    if (watch->cfg.now_us == NULL)
        watch->cfg.now_us = clock_mono_us;
    watch->every_us = (uint64_t)(cfg->every_s ? cfg->every_s : KMS_WATCH_EVERY_S) * SECOND_US;
    watch->grace_us = (uint64_t)(cfg->grace_s ? cfg->grace_s : KMS_WATCH_GRACE_S) * SECOND_US;
    pthread_mutex_init(&watch->locked.lock, NULL);
    clock_cond_init(&watch->locked.changed);
    return watch;
}

static void watched_free(struct watched *one)
{
    free(one->id);
    free(one);
}

static struct watched **place_locked(struct kms_watch *watch, sv id)
{
    struct watched **p = &watch->locked.first;
    while (*p && ((*p)->removed || !sv_eq_cstr(id, (*p)->id)))
        p = &(*p)->next;
    return p;
}

static void unlink_locked(struct kms_watch *watch, const struct watched *one)
{
    struct watched **p = &watch->locked.first;
    while (*p != one)
        p = &(*p)->next;
    *p = one->next;
}

void kms_watch_add(struct kms_watch *watch, sv datastore_id)
{
    const uint64_t now_us = watch->cfg.now_us();
    pthread_mutex_lock(&watch->locked.lock);
    if (*place_locked(watch, datastore_id) == NULL) {
        struct watched *one = calloc(1, sizeof *one);
        if (one == NULL || (one->id = strndup(datastore_id.ptr, datastore_id.len)) == NULL)
            abort();
        one->answered_us = now_us;
        one->due_us = now_us + watch->every_us;
        one->next = watch->locked.first;
        watch->locked.first = one;
        pthread_cond_signal(&watch->locked.changed);
    }
    pthread_mutex_unlock(&watch->locked.lock);
}

void kms_watch_remove(struct kms_watch *watch, sv datastore_id)
{
    pthread_mutex_lock(&watch->locked.lock);
    struct watched *one = *place_locked(watch, datastore_id);
    if (one && one->in_use) {
        /* W1 */
        one->removed = true;
    } else if (one) {
        unlink_locked(watch, one);
        watched_free(one);
    }
    pthread_mutex_unlock(&watch->locked.lock);
}

static kms_watch_state state_of(const struct kms_watch *watch, const struct watched *one,
                                uint64_t now_us)
{
    if (one->closed)
        return KMS_WATCH_CLOSED;
    bool old = now_us > one->answered_us && now_us - one->answered_us > watch->grace_us;
    return old ? KMS_WATCH_UNKNOWN : KMS_WATCH_OPEN;
}

kms_watch_state kms_watch_of(struct kms_watch *watch, sv datastore_id)
{
    const uint64_t now_us = watch->cfg.now_us();
    pthread_mutex_lock(&watch->locked.lock);
    const struct watched *one = *place_locked(watch, datastore_id);
    kms_watch_state state = one ? state_of(watch, one, now_us) : KMS_WATCH_UNKNOWN;
    pthread_mutex_unlock(&watch->locked.lock);
    return state;
}

/* ---- asking ---- */

/* Is it an answer about the key at all? */
static bool is_no(err_code rc)
{
    switch ((int)rc) {
    case ERR_NOT_FOUND:
    case ERR_PRECONDITION:
    case ERR_CONFLICT:
    case ERR_UNSUPPORTED:
    case ERR_DENIED:
    case ERR_CORRUPT:
    case ERR_INVALID:
        return true;
    default:
        return false;
    }
}

/* The one that is due longest, in use from now on; or NULL, and when the next one is due (0: there
 * is none). */
static struct watched *take_locked(struct kms_watch *watch, uint64_t now_us, uint64_t *next_us)
{
    struct watched *first = NULL;
    for (struct watched *one = watch->locked.first; one; one = one->next)
        if (!one->removed && (first == NULL || one->due_us < first->due_us))
            first = one;
    *next_us = first ? first->due_us : 0;
    if (first == NULL || first->due_us > now_us)
        return NULL;
    first->in_use = true;
    return first;
}

static void ask(struct kms_watch *watch, struct watched *one)
{
    struct err why = { 0 };
    sv id = sv_from(one->id);
    err_code rc = watch->cfg.ask(watch->cfg.ctx, id, &why);
    const uint64_t now_us = watch->cfg.now_us();
    pthread_mutex_lock(&watch->locked.lock);
    if (rc == ERR_OK || is_no(rc)) {
        one->closed = rc != ERR_OK;
        one->answered_us = now_us;
    }
    one->due_us = now_us + watch->every_us;
    kms_watch_state state = state_of(watch, one, now_us);
    bool tell = !one->removed && state != one->told;
    /* W2 */
    one->told = state;
    pthread_mutex_unlock(&watch->locked.lock);
    if (tell && watch->cfg.told)
        watch->cfg.told(watch->cfg.ctx, id, state, &why);
    pthread_mutex_lock(&watch->locked.lock);
    one->in_use = false;
    bool removed = one->removed;
    if (removed)
        unlink_locked(watch, one);
    pthread_mutex_unlock(&watch->locked.lock);
    if (removed)
        watched_free(one);
}

uint64_t kms_watch_turn(struct kms_watch *watch)
{
    for (;;) {
        const uint64_t now_us = watch->cfg.now_us();
        uint64_t next_us = 0;
        pthread_mutex_lock(&watch->locked.lock);
        struct watched *one = watch->locked.stop ? NULL : take_locked(watch, now_us, &next_us);
        uint64_t wait_us = watch->locked.stop || next_us == 0 ? 0 : next_us - now_us;
        pthread_mutex_unlock(&watch->locked.lock);
        if (one == NULL)
            return wait_us;
        ask(watch, one);
    }
}

static void *run(void *ctx)
{
    struct kms_watch *watch = ctx;
    for (;;) {
        uint64_t wait_us = kms_watch_turn(watch);
        const struct timespec until = clock_mono_at(clock_mono_us() + wait_us);
        pthread_mutex_lock(&watch->locked.lock);
        bool stop = watch->locked.stop;
        /* whatever ended the wait, the turn looks anew */
        if (!stop && (wait_us || watch->locked.first == NULL)) {
            if (wait_us)
                (void)pthread_cond_timedwait(&watch->locked.changed, &watch->locked.lock, &until);
            else
                (void)pthread_cond_wait(&watch->locked.changed, &watch->locked.lock);
        }
        pthread_mutex_unlock(&watch->locked.lock);
        if (stop)
            return NULL;
    }
}

void kms_watch_start(struct kms_watch *watch)
{
    if (pthread_create(&watch->thread, NULL, run, watch) != 0)
        abort();
    watch->has_thread = true;
}

void kms_watch_free(struct kms_watch *watch)
{
    if (watch == NULL)
        return;
    pthread_mutex_lock(&watch->locked.lock);
    watch->locked.stop = true;
    pthread_cond_signal(&watch->locked.changed);
    pthread_mutex_unlock(&watch->locked.lock);
    if (watch->has_thread)
        (void)pthread_join(watch->thread, NULL);
    while (watch->locked.first) {
        struct watched *next = watch->locked.first->next;
        watched_free(watch->locked.first);
        watch->locked.first = next;
    }
    pthread_cond_destroy(&watch->locked.changed);
    pthread_mutex_destroy(&watch->locked.lock);
    free(watch);
}

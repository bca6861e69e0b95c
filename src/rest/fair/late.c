/* late.c - refusals that wait a moment: a ring of them, and one thread that sends each when it is
 * due. All wait equally long, so the first in is the first due. */
#include "rest/fair/late_private.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>

struct place {
    void (*fn)(void *ctx);
    void *ctx;
    uint64_t due_us;
};

struct late {
    pthread_t thread;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct place ring[LATE_MAX]; /* first in, first out */
        unsigned first, n;
        bool stop;
    } locked;
};

static void wait_until_locked(struct late *l, uint64_t due_us)
{
    const struct timespec until = clock_mono_at(due_us);
    /* the caller looks at the ring anew */
    (void)pthread_cond_timedwait(&l->locked.changed, &l->locked.lock, &until);
}

static void *answer(void *arg)
{
    struct late *l = arg;
    pthread_mutex_lock(&l->locked.lock);
    while (l->locked.n || !l->locked.stop) {
        const struct place p = l->locked.ring[l->locked.first];
        if (l->locked.n == 0) {
            pthread_cond_wait(&l->locked.changed, &l->locked.lock);
        } else if (!l->locked.stop && clock_mono_us() < p.due_us) {
            wait_until_locked(l, p.due_us);
        } else {
            l->locked.first = (l->locked.first + 1) % LATE_MAX;
            l->locked.n--;
            pthread_mutex_unlock(&l->locked.lock);
            p.fn(p.ctx);
            pthread_mutex_lock(&l->locked.lock);
        }
    }
    pthread_mutex_unlock(&l->locked.lock);
    return NULL;
}

err_code late_new(struct late **out, struct err *e)
{
    struct late *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    pthread_mutex_init(&l->locked.lock, NULL);
    clock_cond_init(&l->locked.changed);
    if (pthread_create(&l->thread, NULL, answer, l) != 0) {
        pthread_cond_destroy(&l->locked.changed);
        pthread_mutex_destroy(&l->locked.lock);
        free(l);
        return ERR(e, ERR_IO, "a thread cannot be started");
    }
    *out = l;
    return ERR_OK;
}

void late_free(struct late *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->locked.lock);
    l->locked.stop = true;
    pthread_cond_signal(&l->locked.changed);
    pthread_mutex_unlock(&l->locked.lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->locked.changed);
    pthread_mutex_destroy(&l->locked.lock);
    free(l);
}

void late_add(struct late *l, void (*fn)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&l->locked.lock);
    bool room = l->locked.n < LATE_MAX && !l->locked.stop;
    if (room) {
        unsigned at = (l->locked.first + l->locked.n++) % LATE_MAX;
        l->locked.ring[at] = (struct place){ fn, ctx, clock_mono_us() + LATE_US };
        if (l->locked.n == 1)
            pthread_cond_signal(&l->locked.changed);
    }
    pthread_mutex_unlock(&l->locked.lock);
    if (!room)
        fn(ctx);
}

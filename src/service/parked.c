/* parked.c - places of answers that wait, and the thread that sends them.
 *
 *   FREE -> TAKEN -> WAITING -> ANSWERING -> FREE        TAKEN -> FREE   (parking_leave)
 *
 * A place is woken from TAKEN on: an end that comes between the look and the wait makes the wait be
 * over at once. Beside the places a small table remembers who was told lately that something has
 * not ended; its rows are chosen by a hash, and a row that another pushes out costs one more
 * wait. */
#include "service/parked.h"

#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#define ID_MAX 40u
#define ROWS   256u /* pairs of caller and id that were told lately */

struct parked {
    enum { FREE, TAKEN, WAITING, ANSWERING } state;
    bool woken;
    uint64_t caller; /* hash */
    char id[ID_MAX];
    size_t id_len;
    uint64_t until_us;
    parked_fn fn;
    void *ctx;
};

struct parking {
    struct parking_config cfg;
    pthread_t thread;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct parked places[PARKED_MAX];
        struct row {
            uint64_t key, told_us; /* key 0: free */
        } rows[ROWS];
        bool closed, stop;
    } locked;
};

static uint64_t row_key(sv caller, sv id)
{
    return sv_hash(sv_hash(0, caller), id) | 1;
}

static struct row *row_of(struct parking *p, uint64_t key)
{
    return &p->locked.rows[(key >> 1) % ROWS];
}

/* ---- the thread ---- */

/* A place whose answer is due. NULL: none, and *until_us says when to look again; UINT64_MAX: when
 * something changes. */
static struct parked *due_locked(struct parking *p, uint64_t now_us, uint64_t *until_us)
{
    *until_us = UINT64_MAX;
    for (unsigned i = 0; i < p->cfg.max; i++) {
        struct parked *x = &p->locked.places[i];
        if (x->state != WAITING)
            continue;
        if (x->woken || p->locked.closed || x->until_us <= now_us)
            return x;
        if (x->until_us < *until_us)
            *until_us = x->until_us;
    }
    return NULL;
}

static void sleep_locked(struct parking *p, uint64_t until_us)
{
    if (until_us == UINT64_MAX) {
        pthread_cond_wait(&p->locked.changed, &p->locked.lock);
        return;
    }
    const struct timespec t = clock_mono_at(until_us);
    /* whether it is late or early does not matter: the caller looks again */
    pthread_cond_timedwait(&p->locked.changed, &p->locked.lock, &t);
}

static void *answer_all(void *arg)
{
    struct parking *p = arg;
    uint64_t until_us;
    pthread_mutex_lock(&p->locked.lock);
    for (;;) {
        struct parked *x = due_locked(p, clock_mono_us(), &until_us);
        if (x) {
            x->state = ANSWERING;
            pthread_mutex_unlock(&p->locked.lock);
            x->fn(x->ctx);
            pthread_mutex_lock(&p->locked.lock);
            x->state = FREE;
        } else if (p->locked.stop) {
            break;
        } else {
            sleep_locked(p, until_us);
        }
    }
    pthread_mutex_unlock(&p->locked.lock);
    return NULL;
}

/* ---- places ---- */

struct parked *parking_take(struct parking *p, sv caller, sv id, uint64_t now_us)
{
    if (p == NULL || p->cfg.max == 0 || id.len == 0 || id.len >= ID_MAX)
        return NULL;
    uint64_t who = sv_hash(0, caller), key = row_key(caller, id);
    unsigned share = p->cfg.max < 4 ? 1 : p->cfg.max / 4, n = 0;
    struct parked *free_place = NULL;
    pthread_mutex_lock(&p->locked.lock);
    for (unsigned i = 0; i < p->cfg.max; i++) {
        struct parked *x = &p->locked.places[i];
        if (x->state == FREE)
            free_place = x;
        else
            n += x->caller == who;
    }
    const struct row *r = row_of(p, key);
    bool often = r->key == key && now_us < r->told_us + p->cfg.pause_us;
    if (p->locked.closed || n >= share || often)
        free_place = NULL;
    if (free_place) {
        *free_place = (struct parked){ .state = TAKEN, .caller = who, .id_len = id.len };
        memcpy(free_place->id, id.ptr, id.len);
    }
    pthread_mutex_unlock(&p->locked.lock);
    return free_place;
}

void parking_leave(struct parking *p, struct parked **place)
{
    if (*place == NULL)
        return;
    pthread_mutex_lock(&p->locked.lock);
    assert((*place)->state == TAKEN);
    (*place)->state = FREE;
    pthread_mutex_unlock(&p->locked.lock);
    *place = NULL;
}

void parking_wait(struct parking *p, struct parked **place, parked_fn fn, void *ctx)
{
    struct parked *x = *place;
    *place = NULL;
    pthread_mutex_lock(&p->locked.lock);
    assert(x->state == TAKEN);
    x->fn = fn;
    x->ctx = ctx;
    x->until_us = clock_mono_us() + p->cfg.wait_us;
    x->state = WAITING;
    pthread_cond_signal(&p->locked.changed);
    pthread_mutex_unlock(&p->locked.lock);
}

void parking_told(struct parking *p, sv caller, sv id, bool ended, uint64_t now_us)
{
    if (p == NULL)
        return;
    uint64_t key = row_key(caller, id);
    pthread_mutex_lock(&p->locked.lock);
    struct row *r = row_of(p, key);
    if (!ended)
        *r = (struct row){ key, now_us };
    else if (r->key == key)
        *r = (struct row){ 0 };
    pthread_mutex_unlock(&p->locked.lock);
}

void parking_wake(void *parking, sv id)
{
    struct parking *p = parking;
    bool any = false;
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->locked.lock);
    for (unsigned i = 0; i < p->cfg.max; i++) {
        struct parked *x = &p->locked.places[i];
        if ((x->state == TAKEN || x->state == WAITING) && sv_eq(sv_make(x->id, x->id_len), id))
            any = x->woken = true;
    }
    if (any)
        pthread_cond_signal(&p->locked.changed);
    pthread_mutex_unlock(&p->locked.lock);
}

/* ---- life ---- */

err_code parking_new(const struct parking_config *cfg, struct parking **out, struct err *e)
{
    struct parking *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->cfg = *cfg;
    if (p->cfg.max > PARKED_MAX)
        p->cfg.max = PARKED_MAX;
    pthread_mutex_init(&p->locked.lock, NULL);
    clock_cond_init(&p->locked.changed);
    if (pthread_create(&p->thread, NULL, answer_all, p) != 0) {
        pthread_mutex_destroy(&p->locked.lock);
        pthread_cond_destroy(&p->locked.changed);
        free(p);
        return ERR(e, ERR_IO, "a thread for answers that wait cannot be started");
    }
    *out = p;
    return ERR_OK;
}

void parking_close(struct parking *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->locked.lock);
    p->locked.closed = true;
    pthread_cond_signal(&p->locked.changed);
    pthread_mutex_unlock(&p->locked.lock);
}

void parking_free(struct parking *p)
{
    if (p == NULL)
        return;
    parking_close(p);
    pthread_mutex_lock(&p->locked.lock);
    p->locked.stop = true;
    pthread_cond_signal(&p->locked.changed);
    pthread_mutex_unlock(&p->locked.lock);
    pthread_join(p->thread, NULL);
    pthread_mutex_destroy(&p->locked.lock);
    pthread_cond_destroy(&p->locked.changed);
    free(p);
}

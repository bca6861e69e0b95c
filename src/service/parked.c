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

static struct row *row_of(struct parking *parking, uint64_t key)
{
    return &parking->locked.rows[(key >> 1) % ROWS];
}

/* ---- the thread ---- */

/* A place whose answer is due. NULL: none, and *until_us says when to look again; UINT64_MAX: when
 * something changes. */
static struct parked *due_locked(struct parking *parking, uint64_t now_us, uint64_t *until_us)
{
    *until_us = UINT64_MAX;
    for (unsigned i = 0; i < parking->cfg.max; i++) {
        struct parked *parked = &parking->locked.places[i];
        if (parked->state != WAITING)
            continue;
        if (parked->woken || parking->locked.closed || parked->until_us <= now_us)
            return parked;
        if (parked->until_us < *until_us)
            *until_us = parked->until_us;
    }
    return NULL;
}

static void sleep_locked(struct parking *parking, uint64_t until_us)
{
    if (until_us == UINT64_MAX) {
        pthread_cond_wait(&parking->locked.changed, &parking->locked.lock);
        return;
    }
    const struct timespec t = clock_mono_at(until_us);
    /* whether it is late or early does not matter: the caller looks again */
    pthread_cond_timedwait(&parking->locked.changed, &parking->locked.lock, &t);
}

static void *answer_all(void *arg)
{
    struct parking *parking = arg;
    uint64_t until_us;
    pthread_mutex_lock(&parking->locked.lock);
    for (;;) {
        struct parked *parked = due_locked(parking, clock_mono_us(), &until_us);
        if (parked) {
            parked->state = ANSWERING;
            pthread_mutex_unlock(&parking->locked.lock);
            parked->fn(parked->ctx);
            pthread_mutex_lock(&parking->locked.lock);
            parked->state = FREE;
        } else if (parking->locked.stop) {
            break;
        } else {
            sleep_locked(parking, until_us);
        }
    }
    pthread_mutex_unlock(&parking->locked.lock);
    return NULL;
}

/* ---- places ---- */

struct parked *parking_take(struct parking *parking, sv caller, sv id, uint64_t now_us)
{
    if (parking == NULL || parking->cfg.max == 0 || id.len == 0 || id.len >= ID_MAX)
        return NULL;
    uint64_t who = sv_hash(0, caller), key = row_key(caller, id);
    unsigned share = parking->cfg.max < 4 ? 1 : parking->cfg.max / 4, n = 0;
    struct parked *free_place = NULL;
    pthread_mutex_lock(&parking->locked.lock);
    for (unsigned i = 0; i < parking->cfg.max; i++) {
        struct parked *parked = &parking->locked.places[i];
        if (parked->state == FREE)
            free_place = parked;
        else
            n += parked->caller == who;
    }
    const struct row *r = row_of(parking, key);
    bool often = r->key == key && now_us < r->told_us + parking->cfg.pause_us;
    if (parking->locked.closed || n >= share || often)
        free_place = NULL;
    if (free_place) {
        *free_place = (struct parked){ .state = TAKEN, .caller = who, .id_len = id.len };
        memcpy(free_place->id, id.ptr, id.len);
    }
    pthread_mutex_unlock(&parking->locked.lock);
    return free_place;
}

void parking_leave(struct parking *parking, struct parked **place)
{
    if (*place == NULL)
        return;
    pthread_mutex_lock(&parking->locked.lock);
    assert((*place)->state == TAKEN);
    (*place)->state = FREE;
    pthread_mutex_unlock(&parking->locked.lock);
    *place = NULL;
}

void parking_wait(struct parking *parking, struct parked **place, parked_fn fn, void *ctx)
{
    struct parked *parked = *place;
    *place = NULL;
    pthread_mutex_lock(&parking->locked.lock);
    assert(parked->state == TAKEN);
    parked->fn = fn;
    parked->ctx = ctx;
    parked->until_us = clock_mono_us() + parking->cfg.wait_us;
    parked->state = WAITING;
    pthread_cond_signal(&parking->locked.changed);
    pthread_mutex_unlock(&parking->locked.lock);
}

void parking_told(struct parking *parking, sv caller, sv id, bool ended, uint64_t now_us)
{
    if (parking == NULL)
        return;
    uint64_t key = row_key(caller, id);
    pthread_mutex_lock(&parking->locked.lock);
    struct row *r = row_of(parking, key);
    if (!ended)
        *r = (struct row){ key, now_us };
    else if (r->key == key)
        *r = (struct row){ 0 };
    pthread_mutex_unlock(&parking->locked.lock);
}

void parking_wake(void *parking, sv id)
{
    struct parking *p = parking;
    bool any = false;
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->locked.lock);
    for (unsigned i = 0; i < p->cfg.max; i++) {
        struct parked *parked = &p->locked.places[i];
        if ((parked->state == TAKEN || parked->state == WAITING) &&
            sv_eq(sv_make(parked->id, parked->id_len), id))
            any = parked->woken = true;
    }
    if (any)
        pthread_cond_signal(&p->locked.changed);
    pthread_mutex_unlock(&p->locked.lock);
}

/* ---- life ---- */

err_code parking_new(const struct parking_config *cfg, struct parking **out, struct err *e)
{
    struct parking *parking = calloc(1, sizeof *parking);
    if (parking == NULL)
        abort();
    parking->cfg = *cfg;
    if (parking->cfg.max > PARKED_MAX)
        parking->cfg.max = PARKED_MAX;
    pthread_mutex_init(&parking->locked.lock, NULL);
    clock_cond_init(&parking->locked.changed);
    if (pthread_create(&parking->thread, NULL, answer_all, parking) != 0) {
        pthread_mutex_destroy(&parking->locked.lock);
        pthread_cond_destroy(&parking->locked.changed);
        free(parking);
        return ERR(e, ERR_IO, "a thread for answers that wait cannot be started");
    }
    *out = parking;
    return ERR_OK;
}

void parking_close(struct parking *parking)
{
    if (parking == NULL)
        return;
    pthread_mutex_lock(&parking->locked.lock);
    parking->locked.closed = true;
    pthread_cond_signal(&parking->locked.changed);
    pthread_mutex_unlock(&parking->locked.lock);
}

void parking_free(struct parking *parking)
{
    if (parking == NULL)
        return;
    parking_close(parking);
    pthread_mutex_lock(&parking->locked.lock);
    parking->locked.stop = true;
    pthread_cond_signal(&parking->locked.changed);
    pthread_mutex_unlock(&parking->locked.lock);
    pthread_join(parking->thread, NULL);
    pthread_mutex_destroy(&parking->locked.lock);
    pthread_cond_destroy(&parking->locked.changed);
    free(parking);
}

/* lease.c - leases of this process: taken, renewed, given up, and lost.
 *
 * One thread renews all of them at once, each third of their time; it may wait for the database as
 * long as that takes. Another one watches the clock: until when a lease is surely held is counted
 * from before the question that gave it, by the monotonic clock, and a sixth of its time is left to
 * whoever has to stop. Both tell a holder that its lease is lost, outside of the lock; who releases
 * a lease waits for that call to return. */
#include "store/lease.h"

#include "base/clock.h"
#include "store/store_private.h"

#include <assert.h>
#include <stdlib.h>

#define RENEW_MOST 256u /* in one question */
#define LEAST_MS   300u

struct lease {
    struct leases *all;
    struct lease *next;
    uint64_t epoch;
    atomic_bool lost;
    _Atomic uint64_t sure_us; /* held until then */
    /* by all->lock */
    bool told, telling;    /* that it is lost */
    lease_lost_fn on_lost; /* NULL: nobody is told */
    void *ctx;
};

struct leases {
    struct records *records;
    const struct lease_ops *ops;
    unsigned ms;
    pthread_t renewer, watcher;
    bool has_renewer, has_watcher;
    pthread_mutex_t lock; /* of what stands below */
    pthread_cond_t changed;
    struct lease *first;
    bool stop;
};

static const struct lease_ops *ops_of(const struct records *r)
{
    return r->ops->leases ? r->ops->leases : &lease_local_ops;
}

/* ---- losing ---- */

static struct lease *next_lost_locked(struct leases *l)
{
    struct lease *x = l->first;
    while (x && (x->told || !atomic_load(&x->lost)))
        x = x->next;
    return x;
}

/* Who releases it waits until its holder was told. */
static void tell_lost_locked(struct leases *l)
{
    struct lease *x;
    while ((x = next_lost_locked(l)) != NULL) {
        x->told = true;
        x->telling = true;
        pthread_mutex_unlock(&l->lock);
        if (x->on_lost)
            x->on_lost(x->ctx);
        pthread_mutex_lock(&l->lock);
        x->telling = false;
        pthread_cond_broadcast(&l->changed);
    }
}

static void *watch(void *arg)
{
    struct leases *l = arg;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        const uint64_t now = clock_mono_us();
        uint64_t first = UINT64_MAX;
        for (struct lease *x = l->first; x; x = x->next) {
            if (x->sure_us <= now)
                atomic_store(&x->lost, true);
            else if (x->sure_us < first)
                first = x->sure_us;
        }
        if (next_lost_locked(l)) {
            tell_lost_locked(l);
        } else if (first == UINT64_MAX) {
            pthread_cond_wait(&l->changed, &l->lock);
        } else {
            const struct timespec until = clock_mono_at(first);
            (void)pthread_cond_timedwait(&l->changed, &l->lock, &until);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- keeping ---- */

/* A sixth of the time is left to who has to stop. */
static uint64_t sure_from(const struct leases *l, uint64_t asked_us)
{
    return asked_us + (uint64_t)l->ms * 1000 / 6 * 5;
}

static struct lease *find_locked(struct leases *l, uint64_t epoch)
{
    struct lease *x = l->first;
    while (x && x->epoch != epoch)
        x = x->next;
    return x;
}

static void renewed_locked(struct leases *l, const uint64_t *epochs, const bool *lost, size_t n,
                           uint64_t asked_us)
{
    for (size_t i = 0; i < n; i++) {
        struct lease *x = find_locked(l, epochs[i]);
        if (x && lost[i])
            atomic_store(&x->lost, true);
        else if (x && !atomic_load(&x->lost))
            x->sure_us = sure_from(l, asked_us);
    }
    pthread_cond_broadcast(&l->changed);
}

/* Those behind that epoch, in the order of epochs, so that each has its turn. */
static size_t some_locked(const struct leases *l, uint64_t after, uint64_t out[RENEW_MOST])
{
    size_t n = 0;
    /* the list has the newest first */
    for (const struct lease *x = l->first; x; x = x->next) {
        if (x->epoch <= after || atomic_load(&x->lost))
            continue;
        size_t at = n < RENEW_MOST ? n++ : RENEW_MOST - 1;
        if (at == RENEW_MOST - 1 && out[at] < x->epoch && n == RENEW_MOST)
            continue;
        for (; at > 0 && out[at - 1] > x->epoch; at--)
            out[at] = out[at - 1];
        out[at] = x->epoch;
    }
    return n;
}

static void renew_all(struct leases *l)
{
    uint64_t epochs[RENEW_MOST] = { 0 }, after = 0;
    bool lost[RENEW_MOST];
    size_t n;
    do {
        struct err ignored;
        pthread_mutex_lock(&l->lock);
        n = some_locked(l, after, epochs);
        pthread_mutex_unlock(&l->lock);
        if (n == 0)
            break;
        const uint64_t asked_us = clock_mono_us();
        after = epochs[n - 1];
        /* when it fails, the watch tells who is concerned */
        if (l->ops->renew(l->records, epochs, n, l->ms, lost, &ignored) != ERR_OK)
            continue;
        pthread_mutex_lock(&l->lock);
        renewed_locked(l, epochs, lost, n, asked_us);
        pthread_mutex_unlock(&l->lock);
    } while (n == RENEW_MOST);
}

static void *renew(void *arg)
{
    struct leases *l = arg;
    uint64_t next = clock_mono_us();
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        if (clock_mono_us() < next) {
            const struct timespec until = clock_mono_at(next);
            (void)pthread_cond_timedwait(&l->changed, &l->lock, &until);
            continue;
        }
        pthread_mutex_unlock(&l->lock);
        next = clock_mono_us() + (uint64_t)l->ms * 1000 / 3;
        renew_all(l);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- life ---- */

/* Tests that end a process do not wait for half a minute. */
static unsigned usual_ms(void)
{
    const char *given = getenv("_FHIRLAKE_LEASE_MS");
    uint64_t ms;
    return given && sv_to_u64(sv_from(given), &ms) && ms >= LEAST_MS && ms <= LEASE_MS
               ? (unsigned)ms
               : LEASE_MS;
}

err_code leases_open(struct records *r, unsigned lease_ms, struct leases **out, struct err *e)
{
    struct leases *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->records = r;
    l->ops = ops_of(r);
    l->ms = lease_ms ? lease_ms : usual_ms();
    pthread_mutex_init(&l->lock, NULL);
    clock_cond_init(&l->changed);
    /* of one process alone they are never lost */
    const bool needed = l->ops != &lease_local_ops;
    l->has_watcher = needed && pthread_create(&l->watcher, NULL, watch, l) == 0;
    l->has_renewer = l->has_watcher && pthread_create(&l->renewer, NULL, renew, l) == 0;
    if (needed && !l->has_renewer) {
        leases_close(l);
        return ERR(e, ERR_IO, "a thread that keeps leases cannot be started");
    }
    *out = l;
    return ERR_OK;
}

void leases_close(struct leases *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    assert(l->first == NULL);
    l->stop = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    if (l->has_watcher)
        (void)pthread_join(l->watcher, NULL);
    if (l->has_renewer)
        (void)pthread_join(l->renewer, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    free(l);
}

/* ---- one lease ---- */

static bool name_ok(sv name)
{
    for (size_t i = 0; i < name.len; i++)
        if (memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-",
                   name.ptr[i], 66) == NULL)
            return false;
    return name.len > 0 && name.len <= LEASE_NAME_MAX;
}

err_code lease_take_first(struct leases *l, const sv *names, size_t n, lease_lost_fn lost,
                          void *ctx, struct lease **out, size_t *which, struct err *e)
{
    struct lease_row row;
    if (n > LEASE_MOST)
        return ERR(e, ERR_INVALID, "a lease is taken of at most %u names", LEASE_MOST);
    for (size_t i = 0; i < n; i++)
        if (!name_ok(names[i]))
            return ERR(e, ERR_INVALID, "a lease has no such name");
    const uint64_t asked_us = clock_mono_us();
    TRY(l->ops->take(l->records, names, n, l->ms, &row, e));
    struct lease *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    x->all = l;
    x->epoch = row.epoch;
    x->on_lost = lost;
    x->ctx = ctx;
    x->sure_us = l->ops == &lease_local_ops ? UINT64_MAX : sure_from(l, asked_us);
    pthread_mutex_lock(&l->lock);
    x->next = l->first;
    l->first = x;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    *which = row.which;
    *out = x;
    return ERR_OK;
}

err_code lease_take(struct leases *l, sv name, lease_lost_fn lost, void *ctx, struct lease **out,
                    struct err *e)
{
    struct err why;
    size_t which;
    err_code rc = lease_take_first(l, &name, 1, lost, ctx, out, &which, &why);
    if (rc == ERR_EOF)
        return ERR(e, ERR_EXISTS, "another process has the lease");
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

static void give_up(struct lease *lease, bool keep_note)
{
    struct err ignored;
    if (lease == NULL)
        return;
    struct leases *l = lease->all;
    pthread_mutex_lock(&l->lock);
    /* nobody begins to tell it any more */
    lease->told = true;
    while (lease->telling)
        pthread_cond_wait(&l->changed, &l->lock);
    struct lease **at = &l->first;
    while (*at != lease)
        at = &(*at)->next;
    *at = lease->next;
    pthread_mutex_unlock(&l->lock);
    IGNORE(l->ops->release(l->records, lease->epoch, keep_note, &ignored));
    free(lease);
}

void lease_release(struct lease *lease)
{
    give_up(lease, false);
}

void lease_leave(struct lease *lease)
{
    give_up(lease, true);
}

bool lease_is_held(const struct lease *lease)
{
    /* a process that was frozen learns it here before its watch does */
    return !atomic_load(&lease->lost) && clock_mono_us() < atomic_load(&lease->sure_us);
}

struct records *lease_records(const struct lease *lease)
{
    return lease->all->records;
}

uint64_t lease_epoch(const struct lease *lease)
{
    return lease->epoch;
}

static err_code check_held(const struct lease *lease, struct err *e)
{
    return lease_is_held(lease) ? ERR_OK : ERR(e, ERR_CONFLICT, "another process goes on with it");
}

/* The database knows first: the holder is told. */
static err_code noted(struct lease *lease, err_code rc)
{
    struct leases *l = lease->all;
    if (rc == ERR_CONFLICT) {
        atomic_store(&lease->lost, true);
        pthread_mutex_lock(&l->lock);
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
    }
    return rc;
}

err_code lease_write(struct lease *lease, const struct records_write *w, size_t n, struct err *e)
{
    struct leases *l = lease->all;
    TRY(store_record_keys_check(w, n, e));
    TRY(check_held(lease, e));
    return noted(lease, l->ops->write(l->records, lease->epoch, w, n, true, e));
}

err_code lease_put_unsynced(struct lease *lease, sv key, sv value, struct err *e)
{
    struct leases *l = lease->all;
    const struct records_write w = { RECORDS_PUT, key, value };
    TRY(store_record_keys_check(&w, 1, e));
    TRY(check_held(lease, e));
    return noted(lease, l->ops->write(l->records, lease->epoch, &w, 1, false, e));
}

err_code lease_tell(struct lease *lease, sv note, struct err *e)
{
    struct leases *l = lease->all;
    if (note.len > LEASE_NOTE_MAX)
        return ERR(e, ERR_TOO_LARGE, "a lease's note has at most %u bytes", LEASE_NOTE_MAX);
    TRY(check_held(lease, e));
    return l->ops->tell(l->records, lease->epoch, note, e);
}

/* ---- leases of anybody ---- */

err_code lease_list(struct records *r, sv prefix, lease_each_fn each, void *ctx, struct err *e)
{
    return ops_of(r)->list(r, prefix, false, each, ctx, e);
}

err_code lease_list_notes(struct records *r, sv prefix, lease_each_fn each, void *ctx,
                          struct err *e)
{
    return ops_of(r)->list(r, prefix, true, each, ctx, e);
}

err_code lease_any(struct records *r, sv prefix, bool *any, struct err *e)
{
    return ops_of(r)->any(r, prefix, any, e);
}

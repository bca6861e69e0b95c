/* retained.c - deleted data stores whose backup is kept, until their time is over.
 *
 *   datastorekept/<id> -> ""   its record says until when (service/datastore.c)
 *
 * One thread sleeps until the first of these times, or until another data store is kept, and
 * removes what is due: the folder first, then the mark, so that a restart goes on with what was cut
 * off. The times are those of the wall clock, which can be set; so it is looked at once an hour at
 * least. Where several nodes have the records each has such a thread, and one removes: under the
 * lease of the data store, as all that is done to one (datastore_nodes.c). */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/lease.h"

#include <pthread.h>

#define LOOK_MS   (INT64_C(3600000))
#define AGAIN_MS  (INT64_C(60000)) /* for what another node has in hand */
#define IDS_BYTES ((size_t)64 << 20)

struct retained {
    struct service *service;
    pthread_t thread;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool stop, look;
    } locked;
};

static bool add_id(void *ctx, sv key, sv value)
{
    (void)value;
    const sv id = sv_tail(key, sizeof "datastorekept/" - 1);
    /* what does not fit is looked at the next time */
    return id.len != 32 || buf_add(ctx, id, NULL) == ERR_OK;
}

static err_code end_locked(struct service *service, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    TRY(datastore_read(service, id, a, &datastore, e));
    datastore.backup.until_ms = 0;
    return datastore_write(service, &datastore, e);
}

/* Nobody can restore it any more. lease: NULL for none. */
static err_code remove_one(struct service *service, sv id, const struct lease *lease, struct err *e)
{
    err_code rc = ERR_PRECONDITION;
    TRY(store_registry_remove(service->cfg.stores, id, e));
    if (lease && !lease_is_held(lease))
        return ERR(e, ERR_CANCELLED, "another node goes on with the removal");
    pthread_mutex_lock(&service->aws->records_lock);
    for (int i = 0; i < DATASTORE_TRIES && rc == ERR_PRECONDITION; i++)
        rc = end_locked(service, id, e);
    pthread_mutex_unlock(&service->aws->records_lock);
    if (rc == ERR_OK)
        LOG(LOG_INFO, "datastore_backup", LOG_SV("datastore", id), LOG_STR("state", "removed"));
    return rc;
}

/* The record decides: a mark alone removes nothing. *until_ms: INT64_MAX when it is not kept. */
static err_code read_until(struct service *service, sv id, int64_t *until_ms, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    TRY(datastore_read(service, id, a, &datastore, e));
    *until_ms = datastore_is_kept(&datastore) ? datastore.backup.until_ms : INT64_MAX;
    return ERR_OK;
}

/* It is due. *again: another node removes it, and may not come to its end. */
static err_code remove_due(struct service *service, sv id, int64_t now_ms, bool *again,
                           struct err *e)
{
    struct lease *lease;
    int64_t until_ms = 0;
    *again = !datastore_nodes_take(service, id, "DELETED", &lease);
    if (*again)
        return ERR_OK;
    /* one that was faster has done it */
    err_code rc = read_until(service, id, &until_ms, e);
    if (rc == ERR_OK && until_ms <= now_ms)
        rc = remove_one(service, id, lease, e);
    lease_release(lease);
    return rc;
}

/* *next_ms: the earliest time of those that stay, if it is earlier. */
static err_code look_at(struct service *service, sv id, int64_t now_ms, int64_t *next_ms,
                        struct err *e)
{
    int64_t until_ms = 0;
    bool again = false;
    TRY(read_until(service, id, &until_ms, e));
    if (until_ms <= now_ms)
        TRY(remove_due(service, id, now_ms, &again, e));
    if (again)
        until_ms = now_ms + AGAIN_MS;
    if (until_ms > now_ms && until_ms < *next_ms)
        *next_ms = until_ms;
    return ERR_OK;
}

static int64_t look(struct service *service)
{
    CLEANUP_BUF struct buf ids = BUF_INIT(IDS_BYTES);
    const int64_t now_ms = clock_wall_ms();
    int64_t next_ms = now_ms + LOOK_MS;
    struct err e;
    if (records_scan(service->cfg.records, SV_LIT("datastorekept/"), SV_NONE, add_id, &ids, &e) !=
        ERR_OK)
        LOG_ERR("datastore_backup", &e, LOG_STR("state", "not looked at"));
    for (sv rest = buf_sv(&ids); rest.len && !atomic_load(&service->stopping);
         rest = sv_tail(rest, 32))
        if (look_at(service, sv_head(rest, 32), now_ms, &next_ms, &e) != ERR_OK)
            LOG_ERR("datastore_backup", &e, LOG_SV("datastore", sv_head(rest, 32)));
    return next_ms - now_ms;
}

static void *keep(void *arg)
{
    struct retained *x = arg;
    pthread_mutex_lock(&x->locked.lock);
    while (!x->locked.stop) {
        x->locked.look = false;
        pthread_mutex_unlock(&x->locked.lock);
        const int64_t wait_ms = look(x->service);
        struct timespec until = clock_mono_at(clock_mono_us() + (uint64_t)wait_ms * 1000);
        pthread_mutex_lock(&x->locked.lock);
        while (!x->locked.stop && !x->locked.look &&
               pthread_cond_timedwait(&x->locked.changed, &x->locked.lock, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&x->locked.lock);
    return NULL;
}

err_code retained_start(struct service *service, struct retained **out, struct err *e)
{
    struct retained *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    x->service = service;
    pthread_mutex_init(&x->locked.lock, NULL);
    clock_cond_init(&x->locked.changed);
    if (pthread_create(&x->thread, NULL, keep, x) != 0) {
        pthread_cond_destroy(&x->locked.changed);
        pthread_mutex_destroy(&x->locked.lock);
        free(x);
        return ERR(e, ERR_IO, "a thread cannot be started");
    }
    *out = x;
    return ERR_OK;
}

static void tell(struct retained *x, bool stop)
{
    if (x == NULL)
        return;
    pthread_mutex_lock(&x->locked.lock);
    x->locked.stop |= stop;
    x->locked.look = true;
    pthread_cond_signal(&x->locked.changed);
    pthread_mutex_unlock(&x->locked.lock);
}

void retained_look(struct retained *x)
{
    tell(x, false);
}

void retained_stop(struct retained *x)
{
    if (x == NULL)
        return;
    tell(x, true);
    /* it was started and is joined once */
    (void)pthread_join(x->thread, NULL);
    pthread_cond_destroy(&x->locked.changed);
    pthread_mutex_destroy(&x->locked.lock);
    free(x);
}

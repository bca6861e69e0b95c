/* retained.c - deleted data stores whose backup is kept, until their time is over.
 *
 *   datastorekept/<id> -> ""   its record says until when (service/datastore.c)
 *
 * One thread sleeps until the first of these times, or until another data store is kept, and
 * removes what is due: the folder first, then the mark, so that a restart goes on with what was cut
 * off. The times are those of the wall clock, which can be set; so it is looked at once an hour at
 * least. */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>

#define LOOK_MS   (INT64_C(3600000))
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

/* It is due: nobody can restore it any more. */
static err_code remove_one(struct service *service, sv id, struct err *e)
{
    err_code rc = ERR_PRECONDITION;
    TRY(store_registry_remove(service->cfg.stores, id, e));
    pthread_mutex_lock(&service->aws->records_lock);
    for (int i = 0; i < DATASTORE_TRIES && rc == ERR_PRECONDITION; i++)
        rc = end_locked(service, id, e);
    pthread_mutex_unlock(&service->aws->records_lock);
    if (rc == ERR_OK)
        LOG(LOG_INFO, "datastore_backup", LOG_SV("datastore", id), LOG_STR("state", "removed"));
    return rc;
}

/* *next_ms: the earliest time of those that stay, if it is earlier. */
static err_code look_at(struct service *service, sv id, int64_t now_ms, int64_t *next_ms,
                        struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    TRY(datastore_read(service, id, a, &datastore, e));
    /* the record decides: a mark alone removes nothing */
    if (!datastore_is_kept(&datastore))
        return ERR_OK;
    if (datastore.backup.until_ms <= now_ms)
        return remove_one(service, id, e);
    if (datastore.backup.until_ms < *next_ms)
        *next_ms = datastore.backup.until_ms;
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

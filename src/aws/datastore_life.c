/* datastore_life.c - data stores are made, filled and removed in the background.
 *
 *   CREATING -> ACTIVE | CREATE_FAILED        ACTIVE | CREATE_FAILED -> DELETING -> DELETED
 *
 * The data of a deleted one with a backup stays on disk for a while (retained.c).
 *
 * The status is written before the work begins. A restart takes up what was under way: a store that
 * was half made is removed and made anew; a removal goes on.
 *
 * Making, filling and removing have workers of their own, apart from those of requests: filling a
 * data store with generated patients takes seconds, and a removal waits for everybody who still
 * reads. A data store is in one of the three queues at most once, so each queue has room for all
 * the data stores that there may be. */
#include "aws/aws_private.h"

#include "base/log.h"
#include "store/lease.h"

#include <sys/resource.h>
#include <unistd.h>

#define BACKGROUND      2u /* workers of each kind */
#define BACKGROUND_NICE 5  /* threads that somebody waits for go first */

struct life_work { /* of one data store, until a worker has done it */
    char id[33];
};

static err_code set_status_once(struct service *service, sv id, const char *status,
                                const struct err *why, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    pthread_mutex_lock(&service->aws->records_lock);
    err_code rc = datastore_read(service, id, a, &datastore, e);
    if (rc == ERR_OK) {
        datastore.status = sv_from(status);
        if (why) {
            datastore.error_message = sv_from(why->msg);
            datastore.error_category = why->code == ERR_NO_SPACE ? SV_LIT("RETRYABLE_ERROR")
                                                                 : SV_LIT("NON_RETRYABLE_ERROR");
        }
        rc = datastore_write(service, &datastore, e);
        service->aws->there.n -= rc == ERR_OK && sv_eq_cstr(datastore.status, "DELETED");
    }
    pthread_mutex_unlock(&service->aws->records_lock);
    return rc;
}

static err_code set_status(struct service *service, sv id, const char *status,
                           const struct err *why, struct err *e)
{
    err_code rc = ERR_PRECONDITION;
    for (int i = 0; i < DATASTORE_TRIES && rc == ERR_PRECONDITION; i++)
        rc = set_status_once(service, id, status, why, e);
    LOG(LOG_INFO, "datastore", LOG_SV("datastore", id), LOG_STR("status", status));
    return rc;
}

static err_code create(struct service *service, sv id, const struct lease *lease, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    struct store *st = NULL;
    TRY(datastore_read(service, id, a, &datastore, e));
    /* half made, if a crash came before */
    TRY(store_registry_remove(service->cfg.stores, id, e));
    if (datastore.restored_from.len)
        return restore_run(service, &datastore, e);
    TRY(datastore_encrypt(service, &datastore, e));
    TRY(store_registry_acquire(service->cfg.stores, id, true, &st, e));
    /* this worker does nothing else, and Linux changes the priority of one thread alone */
    if (datastore.preload)
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
    err_code rc = datastore.preload ? preload_run(service, st, lease, e) : ERR_OK;
    store_registry_release(service->cfg.stores, st);
    /* closed until it is used: a thousand new data stores take no memory */
    store_registry_rest(service->cfg.stores, id);
    return rc;
}

/* lease: NULL for none. */
static void work_done(struct service *service, struct life_work *w, struct lease *lease)
{
    lease_release(lease);
    datastore_nodes_queued(service, sv_from(w->id), false);
    free(w);
}

static void create_work(struct service *service, void *ctx)
{
    struct life_work *w = ctx;
    struct lease *lease;
    struct err e, e2;
    sv id = sv_from(w->id);
    if (!datastore_nodes_take(service, id, "CREATING", &lease)) {
        work_done(service, w, NULL);
        return;
    }
    err_code rc = atomic_load(&service->stopping)
                      ? ERR(&e, ERR_CANCELLED, "the service is stopping")
                      : create(service, id, lease, &e);
    if (rc != ERR_OK && atomic_load(&service->stopping))
        /* the next start makes it */
        rc = ERR_CANCELLED;
    else if (lease && !lease_is_held(lease))
        /* another node does */
        rc = ERR_CANCELLED;
    else if (set_status(service, id, rc == ERR_OK ? "ACTIVE" : "CREATE_FAILED",
                        rc == ERR_OK ? NULL : &e, &e2) != ERR_OK)
        LOG_ERR("datastore_record", &e2, LOG_SV("datastore", id));
    if (rc != ERR_OK)
        LOG_ERR("datastore_create", &e, LOG_SV("datastore", id));
    work_done(service, w, lease);
}

/* Unless the data store is kept for a while: then it is only closed. */
static err_code remove_data(struct service *service, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    TRY(datastore_read(service, id, a, &datastore, e));
    if (datastore.backup.until_ms == 0)
        return store_registry_remove(service->cfg.stores, id, e);
    store_registry_rest(service->cfg.stores, id);
    return ERR_OK;
}

static void delete_work(struct service *service, void *ctx)
{
    struct life_work *w = ctx;
    struct lease *lease;
    struct err e;
    sv id = sv_from(w->id);
    if (!datastore_nodes_take(service, id, "DELETING", &lease)) {
        work_done(service, w, NULL);
        return;
    }
    err_code rc = atomic_load(&service->stopping)
                      ? ERR(&e, ERR_CANCELLED, "the service is stopping")
                      : job_datastore_drop(service->cfg.jobs, id, &e);
    if (rc == ERR_OK)
        rc = remove_data(service, id, &e);
    if (rc == ERR_OK)
        rc = job_datastore_forget(service->cfg.jobs, id, &e);
    if (rc == ERR_OK)
        rc = set_status(service, id, "DELETED", NULL, &e);
    /* it may be kept from now on */
    retained_look(service->aws->retained);
    /* stays DELETING; the next start goes on */
    if (rc != ERR_OK)
        LOG_ERR("datastore_delete", &e, LOG_SV("datastore", id));
    work_done(service, w, lease);
}

err_code datastore_begin_work(struct service *service, const struct datastore *datastore,
                              struct err *e)
{
    bool creating = sv_eq(datastore->status, SV_LIT("CREATING"));
    struct workers *to = !creating ? service->aws->background.remove
                         : datastore->preload || datastore->restored_from.len
                             ? service->aws->background.fill
                             : service->aws->background.make;
    struct life_work *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    const struct work_for who = { datastore->id, datastore->id };
    (void)snprintf(w->id, sizeof w->id, "%.*s", SV_FMT(datastore->id));
    datastore_nodes_queued(service, datastore->id, true);
    err_code rc = workers_add(to, who, creating ? create_work : delete_work, w, e);
    if (rc != ERR_OK)
        work_done(service, w, NULL);
    return rc;
}

struct resume_ctx {
    struct service *service;
    unsigned n;
    bool begin; /* false: they are only counted */
    err_code rc;
    struct err *e;
};

static bool resume_one(void *ctx, sv key, sv value)
{
    (void)value;
    struct resume_ctx *c = ctx;
    c->n++;
    if (!c->begin)
        return true;
    struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    c->rc = datastore_read(c->service, sv_tail(key, sizeof "datastoreactive/" - 1), a, &datastore,
                           c->e);
    if (c->rc == ERR_OK)
        c->rc = datastore_begin_work(c->service, &datastore, c->e);
    arena_free(a);
    return c->rc == ERR_OK;
}

/* Counts the data stores that are not deleted, once: deleted ones stay listed, and may be many. */
static bool count_one(void *ctx, sv key, sv id)
{
    (void)key;
    struct resume_ctx *c = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    c->rc = datastore_read(c->service, id, a, &datastore, c->e);
    if (c->rc != ERR_OK)
        return false;
    struct err lost;
    if (datastore_check_place(c->service, id, &lost) != ERR_OK)
        LOG_ERR("datastore_damaged", &lost, LOG_SV("datastore", id),
                LOG_STR("note",
                        "its requests fail until it is put back from a copy; the others are "
                        "served"));
    c->service->aws->there.n += !sv_eq(datastore.status, SV_LIT("DELETED"));
    if (datastore.order > c->service->aws->there.last_order)
        c->service->aws->there.last_order = datastore.order;
    return true;
}

static err_code each_active(struct resume_ctx *c)
{
    TRY(records_scan(c->service->cfg.records, SV_LIT("datastoreactive/"), SV_NONE, resume_one, c,
                     c->e));
    return c->rc;
}

/* datastore_begin_fn: its node has gone. */
static void begin_left(struct service *service, sv id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore datastore;
    struct err e;
    /* another node may have done it meanwhile; what fails is found again */
    if (datastore_read(service, id, a, &datastore, &e) == ERR_OK &&
        datastore_in_transition(&datastore))
        IGNORE(datastore_begin_work(service, &datastore, &e));
}

err_code datastore_life_start(struct service *service, struct err *e)
{
    struct resume_ctx c = { .service = service, .e = e };
    TRY(records_scan(service->cfg.records, SV_LIT("datastorelist/"), SV_NONE, count_one, &c, e));
    TRY(c.rc);
    TRY(each_active(&c));
    /* --max-datastores may have been larger when these began */
    unsigned room = c.n > service->cfg.max_datastores ? c.n : service->cfg.max_datastores;
    TRY(workers_start(service, BACKGROUND, room, &service->aws->background.make, e));
    TRY(workers_start(service, BACKGROUND, room, &service->aws->background.fill, e));
    TRY(workers_start(service, BACKGROUND, room, &service->aws->background.remove, e));
    TRY(datastore_nodes_start(service, begin_left, e));
    TRY(retained_start(service, &service->aws->retained, e));
    c.begin = true;
    return each_active(&c);
}

void datastore_life_stop(struct service *service)
{
    datastore_nodes_stop(service);
    workers_stop(service->aws->background.make);
    workers_stop(service->aws->background.fill);
    workers_stop(service->aws->background.remove);
    retained_stop(service->aws->retained);
    datastore_nodes_free(service);
}

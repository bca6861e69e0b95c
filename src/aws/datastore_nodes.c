/* datastore_nodes.c - data stores that are made and removed, where several nodes have the records.
 *
 * The work on one is done under the lease datastore/ID. A node that dies leaves a record that says
 * CREATING or DELETING; every node looks for such ones now and then, and one takes them up. A new
 * data store is written down together with its place in lists, on condition that no other was since
 * they were counted. */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/lease.h"

#include <errno.h>

#define LOOK_MS   3000u
#define IDS_MAX   (4u << 20)
#define ACTIVE    "datastoreactive/"
#define ORDER_KEY "datastoreorder"
#define ID_LEN    32u

struct datastore_nodes {
    struct service *service;
    datastore_begin_fn begin;
    struct leases *leases;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* of what stands below */
    pthread_cond_t changed;
    struct buf queued; /* ids, ID_LEN bytes each */
    bool stop;
};

/* ---- whose it is ---- */

static size_t find_locked(const struct datastore_nodes *n, sv id)
{
    size_t at = 0;
    while (at < n->queued.len && memcmp(n->queued.ptr + at, id.ptr, ID_LEN) != 0)
        at += ID_LEN;
    return at;
}

void datastore_nodes_queued(struct service *service, sv id, bool is)
{
    struct datastore_nodes *n = service->aws->nodes;
    if (n == NULL || id.len != ID_LEN)
        return;
    pthread_mutex_lock(&n->lock);
    const size_t at = find_locked(n, id);
    if (is && at == n->queued.len) {
        /* what does not fit is queued twice at most, and done once */
        IGNORE(buf_add(&n->queued, id, NULL));
    } else if (!is && at < n->queued.len) {
        memmove(n->queued.ptr + at, n->queued.ptr + at + ID_LEN, n->queued.len - at - ID_LEN);
        n->queued.len -= ID_LEN;
    }
    pthread_mutex_unlock(&n->lock);
}

bool datastore_nodes_take(struct service *service, sv id, const char *status, struct lease **lease)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct datastore_nodes *n = service->aws->nodes;
    struct datastore datastore;
    struct err ignored;
    *lease = NULL;
    if (n == NULL)
        return true;
    if (lease_take(n->leases, arena_fmt(a, "datastore/%.*s", SV_FMT(id)), NULL, NULL, lease,
                   &ignored) != ERR_OK)
        return false;
    if (datastore_read(service, id, a, &datastore, &ignored) == ERR_OK &&
        sv_eq_cstr(datastore.status, status))
        return true;
    lease_release(*lease);
    *lease = NULL;
    return false;
}

/* ---- those that were left ---- */

static bool add_id(void *ctx, sv key, sv value)
{
    (void)value;
    const sv id = sv_tail(key, sizeof ACTIVE - 1);
    /* what does not fit is found the next time */
    return id.len != ID_LEN || buf_add(ctx, id, NULL) == ERR_OK;
}

static bool is_left(struct datastore_nodes *n, sv id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct err ignored;
    bool held = true;
    pthread_mutex_lock(&n->lock);
    const bool own = find_locked(n, id) < n->queued.len;
    pthread_mutex_unlock(&n->lock);
    return !own &&
           lease_any(n->service->cfg.records, arena_fmt(a, "datastore/%.*s", SV_FMT(id)), &held,
                     &ignored) == ERR_OK &&
           !held;
}

static void look_once(struct datastore_nodes *n)
{
    CLEANUP_BUF struct buf ids = BUF_INIT(IDS_MAX);
    struct err e;
    if (records_scan(n->service->cfg.records, SV_LIT(ACTIVE), SV_NONE, add_id, &ids, &e) != ERR_OK)
        return;
    for (size_t at = 0; at < ids.len; at += ID_LEN)
        if (is_left(n, sv_make(ids.ptr + at, ID_LEN)))
            n->begin(n->service, sv_make(ids.ptr + at, ID_LEN));
}

static void *look(void *arg)
{
    struct datastore_nodes *n = arg;
    pthread_mutex_lock(&n->lock);
    while (!n->stop) {
        const struct timespec until = clock_mono_at(clock_mono_us() + LOOK_MS * 1000ull);
        int waited = 0;
        while (!n->stop && waited != ETIMEDOUT)
            waited = pthread_cond_timedwait(&n->changed, &n->lock, &until);
        if (n->stop)
            break;
        pthread_mutex_unlock(&n->lock);
        look_once(n);
        pthread_mutex_lock(&n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

err_code datastore_nodes_start(struct service *service, datastore_begin_fn begin, struct err *e)
{
    if (!records_shared(service->cfg.records))
        return ERR_OK;
    struct datastore_nodes *n = calloc(1, sizeof *n);
    if (n == NULL)
        abort();
    n->service = service;
    n->begin = begin;
    pthread_mutex_init(&n->lock, NULL);
    clock_cond_init(&n->changed);
    buf_init(&n->queued, IDS_MAX);
    service->aws->nodes = n;
    TRY(leases_open(service->cfg.records, 0, &n->leases, e));
    n->has_thread = pthread_create(&n->thread, NULL, look, n) == 0;
    return n->has_thread ? ERR_OK : ERR(e, ERR_IO, "a thread cannot be started");
}

void datastore_nodes_stop(struct service *service)
{
    struct datastore_nodes *n = service->aws->nodes;
    if (n == NULL)
        return;
    pthread_mutex_lock(&n->lock);
    n->stop = true;
    pthread_cond_signal(&n->changed);
    pthread_mutex_unlock(&n->lock);
    if (n->has_thread)
        (void)pthread_join(n->thread, NULL);
}

void datastore_nodes_free(struct service *service)
{
    struct datastore_nodes *n = service->aws->nodes;
    if (n == NULL)
        return;
    leases_close(n->leases);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->changed);
    buf_done(&n->queued);
    free(n);
    service->aws->nodes = NULL;
}

/* ---- the place of a new one ---- */

struct counting {
    struct service *service;
    unsigned n;
    err_code rc;
    struct err *e;
};

static bool count_one(void *ctx, sv key, sv id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    struct counting *c = ctx;
    struct datastore datastore;
    (void)key;
    c->rc = datastore_read(c->service, id, a, &datastore, c->e);
    c->n += c->rc == ERR_OK && !sv_eq_cstr(datastore.status, "DELETED");
    return c->rc == ERR_OK;
}

err_code datastore_place_begin(struct service *service, struct datastore_place *out, struct err *e)
{
    struct records *r = service->cfg.records;
    struct counting c = { .service = service, .e = e };
    CLEANUP_BUF struct buf was = BUF_INIT(sizeof out->was - 1);
    struct err why;
    uint64_t order;
    out->n = 0;
    if (!records_shared(r))
        return ERR_OK;
    err_code rc = records_get(r, SV_LIT(ORDER_KEY), &was, &why);
    if (rc == ERR_NOT_FOUND) {
        const struct records_write first = { RECORDS_PUT_IF_ABSENT, SV_LIT(ORDER_KEY),
                                             SV_LIT("0") };
        rc = records_write(r, &first, 1, &why);
        if (rc == ERR_OK || rc == ERR_EXISTS)
            rc = records_get(r, SV_LIT(ORDER_KEY), &was, &why);
    }
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (!sv_to_u64(buf_sv(&was), &order))
        return ERR(e, ERR_CORRUPT, "the record of the order of data stores is damaged");
    (void)snprintf(out->was, sizeof out->was, "%.*s", SV_FMT(buf_sv(&was)));
    TRY(records_scan(r, SV_LIT("datastorelist/"), SV_NONE, count_one, &c, e));
    TRY(c.rc);
    service->aws->there.n = c.n;
    if (order > service->aws->there.last_order)
        service->aws->there.last_order = order;
    out->n = 2;
    return ERR_OK;
}

void datastore_place_take(struct datastore_place *place, uint64_t order)
{
    (void)snprintf(place->is, sizeof place->is, "%llu", (unsigned long long)order);
    place->writes[0] =
        (struct records_write){ RECORDS_IF_SAME, SV_LIT(ORDER_KEY), sv_from(place->was) };
    place->writes[1] = (struct records_write){ RECORDS_PUT, SV_LIT(ORDER_KEY), sv_from(place->is) };
}

/* service.c - the router, and the life of the service.
 *
 *   POST /                        the control plane
 *   /datastore/<id>/r4/...        the data plane
 *   GET /health                   monitor.c
 *   GET /console/...              console.c
 *
 * The configuration gives the planes; the service calls them by their table (plane.h). */
#include "service/service.h"

#include "base/limits.h"
#include "base/rng.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "service/service_private.h"

/* ---- routes ---- */

static void no_such_place(struct service *service, struct http_exchange *x, const char *request_id)
{
    struct answer an = { .status = 404,
                         .metrics = service->cfg.metrics,
                         .content_type = "application/x-amz-json-1.0",
                         .error_type = "UnknownOperationException" };
    /* small and well formed: cannot fail */
    struct err ignored;
    buf_init(&an.body, 1024);
    IGNORE(
        error_aws_body(an.error_type,
                       SV_LIT("Nothing is served here: the control plane is POST /, data is below "
                              "/datastore/"),
                       &an.body, &ignored));
    service_reply(x, &an, "-", request_id, SV_NONE);
}

void service_handle(void *service, struct http_exchange *x)
{
    struct service *s = service;
    const struct http_request *req = http_exchange_request(x);
    char uuid[37];
    rng_uuid(uuid);
    const char *request_id = arena_str(req->arena, sv_from(uuid));
    /* the arena is full of the request itself */
    if (request_id == NULL)
        request_id = "-";
    bool data = sv_starts(req->path, SV_LIT("/datastore/"));
    if (data || (sv_eq(req->path, SV_LIT("/")) && sv_eq(req->method, SV_LIT("POST"))))
        trail_begin(s, x, request_id, data);
    if (door_refuses(s, x, request_id))
        return;
    if (monitor_answers(x, request_id) || console_answers(s, x, request_id))
        return;
    if (sv_starts(req->path, SV_LIT("/datastore/")))
        s->cfg.data->handle(s, x, request_id);
    else if (sv_eq(req->path, SV_LIT("/")) && sv_eq(req->method, SV_LIT("POST")))
        s->cfg.control->handle(s, x, request_id);
    else
        no_such_place(s, x, request_id);
}

/* ---- life ---- */

/* The key that seals tokens of pages outlives a restart, so that a list can be paged over one. All
 * processes that share the records have the same, so that another one can give the next page. */
static err_code load_page_key(struct service *service, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(64);
    char fresh[33];
    rng_hex32(fresh);
    TRY(records_once(service->cfg.records, SV_LIT("system/page-key"), sv_from(fresh), &b, e));
    (void)snprintf(service->page_key, sizeof service->page_key, "%.*s", SV_FMT(buf_sv(&b)));
    return ERR_OK;
}

/* Numbers that are 0 become the defaults of base/limits.h. */
static void set_defaults(struct service_config *cfg)
{
    if (cfg->n_workers == 0)
        cfg->n_workers = LIMIT_CONTROL_WORKERS;
    if (cfg->max_datastores == 0)
        cfg->max_datastores = LIMIT_DATASTORES;
    if (cfg->preload_patients == 0)
        cfg->preload_patients = LIMIT_PRELOAD_PATIENTS;
}

err_code service_new(const struct service_config *cfg, struct service **out, struct err *e)
{
    struct service *service = calloc(1, sizeof *service);
    if (service == NULL)
        abort();
    shapes_init();
    service->arena = arena_new(64u << 10);
    service->cfg = *cfg;
    service->cfg.region = arena_sv(service->arena, cfg->region);
    service->cfg.account_id = arena_sv(service->arena, cfg->account_id);
    service->cfg.public_url = arena_sv(service->arena, cfg->public_url);
    service->cfg.quotas = NULL; /* the caller's own */
    if (cfg->quotas) {
        service->quota = quota_new(cfg->quotas);
        service->strangers = quota_new(cfg->quotas);
    }
    set_defaults(&service->cfg);
    pthread_mutex_init(&service->known.lock, NULL);
    service->known.most_us = records_shared(cfg->records) ? DATASTORE_KNOWN_US : 0;
    err_code rc = load_page_key(service, e);
    hash_hmac_sha256(sv_from(service->page_key), SV_LIT("tokens of pages"), service->cursor_key);
    if (rc == ERR_OK)
        rc = cfg->data->start(service, e);
    /* last: it takes up work of an earlier process */
    if (rc == ERR_OK)
        rc = cfg->control->start(service, e);
    if (rc != ERR_OK) {
        service_free(service);
        return rc;
    }
    *out = service;
    return ERR_OK;
}

void service_set_quotas(struct service *service, const struct quota_rates *rates)
{
    quota_set(service->quota, rates);
    quota_set(service->strangers, rates);
}

void service_end(struct service *service)
{
    if (service)
        atomic_store(&service->ending, true);
}

void service_free(struct service *service)
{
    if (service == NULL)
        return;
    atomic_store(&service->stopping, true);
    service->cfg.control->stop(service);
    service->cfg.data->stop(service);
    datastores_forget_all(service);
    quota_free(service->quota);
    quota_free(service->strangers);
    pthread_mutex_destroy(&service->known.lock);
    arena_free(service->arena);
    free(service);
}

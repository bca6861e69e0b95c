#include "service/service.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"
#include "codec/hash.h"
#include "service/actions.h"
#include "service/lane.h"
#include "service/late.h"
#include "service/making.h"

#include "service/service_private.h"
#include <unistd.h>

#define MAX_WAITING      256u
#define REST_WORKERS     48u /* one queue may have 32 of them, one caller 40 (workers.c) */
#define REST_MAX_WAITING 1024u

/* ---- answers ---- */

void service_answer_error(struct answer *an, const struct err *e, sv long_message,
                          const char *request_id, const char *op)
{
    const struct error_aws *x = error_as_aws(e->code);
    struct err ignored; /* bounded above: cannot fail */
    sv message = e->code == ERR_INVALID && long_message.len ? long_message : sv_from(e->msg);
    if (x->general) {
        LOG_ERR("request_failed", e, LOG_STR("op", op), LOG_STR("request_id", request_id));
        message = SV_LIT("Internal error; the service's log has it under this request's id");
    }
    an->status = x->status;
    an->content_type = "application/x-amz-json-1.0";
    an->error_type = x->exception;
    an->unsigned_retry = e->code == ERR_THROTTLED;
    buf_clear(&an->body);
    IGNORE(error_aws_body(x->exception, message, &an->body, &ignored));
}

void service_reply_with(struct http_exchange *x, unsigned status, const struct http_header *h,
                        size_t n, struct buf *body, const char *op, const char *error,
                        const char *request_id, sv access_key_id)
{
    const struct http_request *req = http_exchange_request(x);
    LOG(LOG_INFO, "request", LOG_STR("op", op), LOG_INT("status", status), LOG_STR("error", error),
        LOG_INT("us", clock_mono_us() - req->start_us), LOG_INT("in", req->body.len),
        LOG_INT("out", body->len), LOG_SV("key", access_key_id.len ? access_key_id : SV_LIT("-")),
        LOG_SV("peer", req->peer), LOG_STR("request_id", request_id));
    http_reply(x, status, h, n, body); /* x, and what its arena holds, may be gone from here on */
}

/* The log line comes behind the answer here, when the request may be gone: what it tells is kept. */
void service_reply_file(struct http_exchange *x, const struct http_header *h, size_t n,
                        const struct http_file *f, const char *op, const char *request_id,
                        sv access_key_id)
{
    const struct http_request *req = http_exchange_request(x);
    char key[132], peer[64], id[40];
    uint64_t start_us = req->start_us, sent = 0;
    sv who = access_key_id.len ? access_key_id : SV_LIT("-");
    (void)snprintf(key, sizeof key, "%.*s", SV_FMT(who));
    (void)snprintf(peer, sizeof peer, "%.*s", SV_FMT(req->peer));
    (void)snprintf(id, sizeof id, "%s", request_id);
    unsigned status = http_reply_file(x, h, n, f, &sent);
    LOG(LOG_INFO, "request", LOG_STR("op", op), LOG_INT("status", status), LOG_STR("error", "-"),
        LOG_INT("us", clock_mono_us() - start_us), LOG_INT("in", 0), LOG_INT("out", sent),
        LOG_STR("key", key), LOG_STR("peer", peer), LOG_STR("request_id", id));
}

err_code service_no_room(const struct http_request *req, struct err *e)
{
    bool reads = sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD"));
    return ERR(e, ERR_THROTTLED,
               "Answers that are not read yet take all the room there is for them: read those of "
               "earlier requests, then ask again%s",
               reads ? "" : "; what this request asked for may have been done");
}

void service_reply(struct http_exchange *x, struct answer *an, const char *op,
                   const char *request_id, sv access_key_id)
{
    struct http_header h[5];
    size_t n = 0;
    struct err e;
    if (!http_room(x, an->body.len)) {
        (void)service_no_room(http_exchange_request(x), &e); /* what is answered now */
        service_answer_error(an, &e, SV_NONE, request_id, op);
    }
    h[n++] = (struct http_header){ SV_LIT("Content-Type"), sv_from(an->content_type) };
    h[n++] = (struct http_header){ SV_LIT("x-amzn-RequestId"), sv_from(request_id) };
    if (an->error_type)
        h[n++] = (struct http_header){ SV_LIT("x-amzn-errortype"), sv_from(an->error_type) };
    if (an->unsigned_retry)
        h[n++] = (struct http_header){ SV_LIT("Retry-After"), SV_LIT("1") };
    service_reply_with(x, an->status, h, n, &an->body, op, an->error_type ? an->error_type : "-",
                       request_id, access_key_id);
}

/* ---- routes ---- */

static void health(struct http_exchange *x, const char *request_id)
{
    struct answer an = { .status = 200, .content_type = "application/json" };
    struct json_writer w;
    struct err ignored; /* small and well formed: cannot fail */
    buf_init(&an.body, 1024);
    json_writer_init(&w, &an.body);
    json_obj(&w);
    json_kv_str(&w, "status", SV_LIT("ok"));
    json_kv_str(&w, "version", SV_LIT(FHIRLAKE_VERSION));
    json_obj_end(&w);
    IGNORE(json_writer_end(&w, &ignored));
    service_reply(x, &an, "health", request_id, SV_NONE);
}

static void no_such_place(struct http_exchange *x, const char *request_id)
{
    struct answer an = { .status = 404,
                         .content_type = "application/x-amz-json-1.0",
                         .error_type = "UnknownOperationException" };
    struct err ignored; /* small and well formed: cannot fail */
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
    bool get = sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD"));
    if (request_id == NULL)
        request_id = "-"; /* the arena is full of the request itself */
    if (door_refuses(s, x, request_id))
        return;
    if (sv_eq(req->path, SV_LIT("/health")) && get)
        health(x, request_id);
    else if (sv_starts(req->path, SV_LIT("/datastore/")))
        rest_handle(s, x, request_id);
    else if (sv_eq(req->path, SV_LIT("/")) && sv_eq(req->method, SV_LIT("POST")))
        aws_json_handle(s, x, request_id);
    else
        no_such_place(x, request_id);
}

/* ---- life ---- */

/* The keys of pages outlive a restart, so that a list can be paged over one. */
static err_code load_page_key(struct service *s, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(64);
    sv key = SV_LIT("system/page-key");
    err_code rc = records_get(s->cfg.records, key, &b, e);
    if (rc == ERR_NOT_FOUND) {
        rng_hex32(s->page_key);
        return records_put(s->cfg.records, key, sv_from(s->page_key), e);
    }
    TRY(rc);
    (void)snprintf(s->page_key, sizeof s->page_key, "%.*s", SV_FMT(buf_sv(&b)));
    return ERR_OK;
}

err_code service_new(const struct service_config *cfg, struct service **out, struct err *e)
{
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    shapes_init();
    if (auth_credentials(cfg->auth))
        actions_check(auth_credentials(cfg->auth));
    s->arena = arena_new(64u << 10);
    s->cfg = *cfg;
    s->cfg.region = arena_sv(s->arena, cfg->region);
    s->cfg.account_id = arena_sv(s->arena, cfg->account_id);
    s->cfg.public_url = arena_sv(s->arena, cfg->public_url);
    if (s->cfg.preload_patients == 0)
        s->cfg.preload_patients = 100;
    if (s->cfg.max_datastores == 0)
        s->cfg.max_datastores = LIMIT_DATASTORES;
    pthread_mutex_init(&s->records_lock, NULL);
    pthread_mutex_init(&s->conditional.lock, NULL);
    pthread_mutex_init(&s->large.lock, NULL);
    pthread_cond_init(&s->large.fewer, NULL);
    pthread_mutex_init(&s->known.lock, NULL);
    s->polls = polls_new();
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    s->lane = lane_new(n_cpus > 2 ? (unsigned)n_cpus - 1 : 1);
    s->making = making_new(LIMIT_MAKING, LIMIT_MAKING_OWNER);
    if (cfg->quotas_healthlake)
        s->quota = quota_new();
    err_code rc = load_page_key(s, e);
    hash_hmac_sha256(sv_from(s->page_key), SV_LIT("tokens of pages"), s->cursor_key);
    if (rc == ERR_OK)
        rc = workers_start(s, cfg->n_workers ? cfg->n_workers : 4, MAX_WAITING, &s->workers, e);
    if (rc == ERR_OK) /* many: they wait for a shared fsync most of the time */
        rc = workers_start(s, REST_WORKERS, REST_MAX_WAITING, &s->rest_workers, e);
    if (rc == ERR_OK)
        rc = workers_start(s, LIMIT_BUNDLES, LIMIT_BUNDLES_WAITING, &s->bundle_workers, e);
    if (rc == ERR_OK)
        rc = late_new(&s->late, e);
    if (rc == ERR_OK)
        rc = datastores_start(s, e);
    if (rc != ERR_OK) {
        service_free(s);
        return rc;
    }
    *out = s;
    return ERR_OK;
}

void service_free(struct service *s)
{
    if (s == NULL)
        return;
    atomic_store(&s->stopping, true);
    workers_stop(s->workers);
    datastores_stop(s);
    workers_stop(s->rest_workers);
    workers_stop(s->bundle_workers);
    late_free(s->late);
    quota_free(s->quota);
    polls_free(s->polls);
    lane_free(s->lane);
    making_free(s->making);
    pthread_mutex_destroy(&s->records_lock);
    pthread_mutex_destroy(&s->conditional.lock);
    pthread_mutex_destroy(&s->large.lock);
    pthread_cond_destroy(&s->large.fewer);
    datastores_forget_all(s);
    pthread_mutex_destroy(&s->known.lock);
    arena_free(s->arena);
    free(s);
}

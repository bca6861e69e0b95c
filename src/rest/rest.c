/* rest.c - the door of the data plane: who calls, which data store, which interaction, and the way
 * back.
 *
 *   server thread   signature or token -> data store -> route -> rights -> short reads at once
 *   asker           a token that was not checked lately
 *   worker          all that waits for a disk, or may look at many resources
 *
 * Source: FHIR R4 http.html; HealthLake's headers and actions in docs/api-fhir.md. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/headers_private.h"
#include "rest/params_private.h"
#include "rest/read/read_private.h"
#include "rest/rest_private.h"
#include "rest/route_private.h"
#include "rest/stream_private.h"
#include "rest/token_private.h"
#include "rest/who_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <unistd.h>

#define BODY_MAX (64u << 20) /* bytes of an answer's body */
/* There are many workers because they mostly wait for a shared fsync. One queue may have 32 of
 * them, one caller 40 (service/workers.c). */
#define WORKERS     48u
#define MAX_WAITING 1024u
/* Tokens are checked apart: an identity provider that is slow holds no other request. */
#define ASKERS         8u
#define ASKERS_WAITING 256u
#define CONTENT        "application/fhir+json;charset=utf-8"
#define PREFIX         "/datastore/"

/* ---- one exchange ---- */

struct exchange { /* owned by the request's arena */
    struct rest_call call;
    struct rest_clock clock;
    struct rest_stream stream;
    struct datastore_held *held;
    struct rest_who who;
    sv id;                  /* of the data store, as the path has it */
    struct arena *of_grant; /* holds call.grant; NULL: there is none */
    struct http_exchange *x;
    const char *request_id;
    err_code rc;
    struct err e;
};

static err_code enter(struct exchange *ex, struct err *e)
{
    struct rest_call *call = &ex->call;
    const struct http_request *req = http_exchange_request(ex->x);
    sv rest = sv_tail(req->path, sizeof PREFIX - 1), id, r4;
    /* The body was not read, so no signature over it can be checked. */
    if (req->body_too_large)
        return ERR(e, ERR_TOO_LARGE,
                   "Request Entity Too Large: a resource may have 5 MiB, a Bundle 20 MiB");
    if (!sv_cut(&rest, '/', &id))
        id = SV_NONE;
    bool below = sv_cut(&rest, '/', &r4) && sv_eq(r4, SV_LIT("r4"));
    ex->id = id;
    call->in.path = below && rest.ptr ? rest : SV_LIT("");
    call->host = http_header_get(req, "Host");
    call->scheme = datastore_scheme(req);
    call->base = datastore_url(call->service, req, id);
    if (call->base.ptr == NULL)
        return arena_oom(call->a, e);
    TRY(rest_who_begin(call, req, below ? id : SV_NONE, &ex->held, &ex->who, e));
    if (!below)
        return ERR(e, ERR_NOT_FOUND, "The FHIR API of a data store is below /datastore/ID/r4/");
    return ERR_OK;
}

/* Rights come before knowledge. The route is found without the data store, then the caller's right
 * to it is checked, and only then does the answer tell whether the data store exists. */
static err_code enter_known(struct exchange *ex, struct err *e)
{
    struct rest_call *call = &ex->call;
    struct datastore none = { 0 };
    struct err why;
    err_code rc = ERR_OK;
    if (call->it == NULL)
        TRY(rest_route(call, e));
    if (ex->held == NULL)
        rc = datastore_hold(call->service, ex->id, &ex->held, &why);
    if (rc != ERR_OK)
        none.arn = datastore_arn(call->service, call->a, ex->id);
    call->ds = rc == ERR_OK ? datastore_of(ex->held) : &none;
    err_code allowed = ex->who.anybody ? ERR_OK : rest_allowed_here(call, e);
    if (allowed == ERR_OK && call->caller.grant) {
        ex->of_grant = arena_new(QUERY_GRANT_BYTES);
        allowed = rest_grant_open(call, ex->of_grant, e);
        if (allowed == ERR_OK)
            allowed = rest_grant_allows(call, e);
    }
    if (rc != ERR_OK)
        call->ds = NULL;
    TRY(allowed);
    TRY(trail_ready(call->trail, call->it->action, e));
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (!sv_eq(call->ds->status, SV_LIT("ACTIVE")))
        return ERR(e, ERR_NOT_FOUND, "Data store is %.*s", SV_FMT(call->ds->status));
    TRY(datastore_check_strategy(call->ds, e));
    TRY(ex->who.anybody ? rest_quota_open(call, ex->who.peer, e) : rest_quota_take(call, false, e));
    TRY(rest_check_format(call, e));
    TRY(rest_check_body(call, e));
    /* A byte order mark may belong to a Binary's content. */
    if (!rest_binary_writes(call))
        call->in.body = rest_without_mark(call->in.body);
    /* A store that is closed is opened by a worker. */
    if (!ex->who.anybody)
        call->st = store_registry_try(call->service->cfg.stores, ex->id);
    return ERR_OK;
}

static bool tells(const struct rest_call *call, sv name)
{
    for (size_t i = 0; i < call->out.n_more; i++)
        if (sv_eq_nocase(call->out.more[i].name, name))
            return true;
    return false;
}

static size_t headers_out(const struct rest_call *call, struct http_header *h,
                          const char *request_id)
{
    const struct rest_answer *o = &call->out;
    size_t n = 0;
    h[n++] = (struct http_header){ SV_LIT("Content-Type"),
                                   o->content_type.len ? o->content_type : SV_LIT(CONTENT) };
    h[n++] = (struct http_header){ SV_LIT("x-amzn-RequestId"), sv_from(request_id) };
    for (size_t i = 0; i < o->n_more; i++)
        h[n++] = o->more[i];
    if (o->about) {
        char when[INSTANT_HTTP_LEN];
        instant_format_http(o->instant_ms, when);
        h[n++] = (struct http_header){ SV_LIT("ETag"), arena_fmt(call->a, "W/\"%llu\"",
                                                                 (unsigned long long)o->version) };
        h[n++] = (struct http_header){ SV_LIT("Last-Modified"),
                                       arena_sv(call->a, sv_make(when, sizeof when)) };
    }
    if (o->etag.len)
        h[n++] = (struct http_header){ SV_LIT("ETag"),
                                       arena_fmt(call->a, "W/\"%.*s\"", SV_FMT(o->etag)) };
    bool changed =
        o->about && o->status == 200 && !o->location &&
        (sv_eq(call->in.method, SV_LIT("PUT")) || sv_eq(call->in.method, SV_LIT("PATCH")));
    /* Clients read the id and the version from this header. */
    if (o->location || changed)
        h[n++] = (struct http_header){ changed ? SV_LIT("Content-Location") : SV_LIT("Location"),
                                       arena_fmt(call->a, "%.*s/%s/%.*s/_history/%llu",
                                                 SV_FMT(call->base), fhir_type_name(o->type),
                                                 SV_FMT(o->id), (unsigned long long)o->version) };
    if (o->issues_stored)
        h[n++] =
            (struct http_header){ SV_LIT("x-amzn-healthlake-validation-issues"), SV_LIT("true") };
    if (o->warning.len && o->status < 300)
        h[n++] =
            (struct http_header){ SV_LIT("Warning"),
                                  arena_fmt(call->a, "199 fhirlake \"%.*s\"", SV_FMT(o->warning)) };
    if (o->status == 405)
        h[n++] = (struct http_header){ SV_LIT("Allow"), o->allow };
    if ((o->status == 429 || o->status == 503) && !tells(call, SV_LIT("Retry-After")))
        h[n++] = (struct http_header){ SV_LIT("Retry-After"), SV_LIT("1") };
    return n;
}

/* Indent the body. It stays as it is when it would become larger than an answer may be, or needs a
 * place for large answers and gets none. */
static void make_pretty(struct rest_call *call)
{
    struct buf *body = &call->out.body;
    bool few = call->clock && !call->clock->making.holds && body->max > LIMIT_MAKING_FREE_BYTES;
    struct buf more = BUF_INIT(few ? LIMIT_MAKING_FREE_BYTES : body->max);
    struct err ignored;
    err_code rc = json_indent(buf_sv(body), &more, &ignored);
    if (rc != ERR_OK && few && rest_may_grow(call, SIZE_MAX, &ignored) == ERR_OK) {
        buf_done(&more);
        buf_init(&more, body->max);
        rc = json_indent(buf_sv(body), &more, &ignored);
    }
    if (rc != ERR_OK) {
        buf_done(&more);
        return;
    }
    buf_done(body);
    *body = more;
}

static void answer_error(struct exchange *ex)
{
    struct rest_call *call = &ex->call;
    ex->e.code = ex->rc;
    rest_who_refused(call, &ex->who, &ex->e, ex->request_id);
    call->out.content_type = SV_NONE;
    call->out.as_it_is = false;
    call->out.status = rest_error(call, &ex->e, &call->out.body);
}

/* Answers that are not read yet fill the memory for answers: this one is a refusal instead. */
static void answer_no_room(struct exchange *ex)
{
    ex->rc = service_no_room(http_exchange_request(ex->x), &ex->e);
    ex->call.out = (struct rest_answer){ .body = ex->call.out.body };
    ex->call.issues.n = 0;
    answer_error(ex);
}

/* The status of a file is known when it was sent, and the request is gone then. */
static void leave_with_file(struct exchange *ex, const struct http_header *h, size_t n)
{
    const struct rest_call *call = &ex->call;
    struct metrics *metrics = call->service->cfg.metrics;
    const char *action = call->it->action;
    uint64_t start_us = http_exchange_request(ex->x)->start_us;
    char id[33] = "";
    (void)snprintf(id, sizeof id, "%.*s", SV_FMT(call->ds->id));
    datastore_release(&ex->held);
    unsigned status = service_reply_file(ex->x, h, n, call->out.file, call->it->name,
                                         ex->request_id, call->caller.access_key_id);
    metrics_request(metrics, action, sv_from(id), status, clock_mono_us() - start_us);
}

static void leave_with_body(struct exchange *ex, const struct http_header *h, size_t n)
{
    struct rest_call *call = &ex->call;
    struct metrics *metrics = call->service->cfg.metrics;
    const struct http_request *req = http_exchange_request(ex->x);
    metrics_request(metrics, call->it ? call->it->action : NULL, call->ds ? call->ds->id : SV_NONE,
                    call->out.status, clock_mono_us() - req->start_us);
    metrics_refused(metrics, req, ex->rc);
    datastore_release(&ex->held);
    service_reply_with(ex->x, call->out.status, h, n, &call->out.body,
                       call->it ? call->it->name : "rest", ex->rc ? err_code_name(ex->rc) : "-",
                       ex->request_id, call->caller.access_key_id);
}

/* An answer that has begun. Its record and its status are told already. */
static void leave_with_stream(struct exchange *ex)
{
    struct rest_call *call = &ex->call;
    /* Before an erasure, which may wait for the data store, says that it is done. What is broken
     * may have met one without knowing. */
    if (ex->rc != ERR_OK)
        http_stream_drop(ex->stream.out);
    if (call->st)
        store_registry_release(call->service->cfg.stores, call->st);
    arena_free(ex->of_grant);
    call->grant = NULL;
    buf_done(&call->out.body);
    struct datastore_held *held = ex->held;
    /* ex may be freed by this; its texts are those of held */
    rest_stream_end(call, ex->rc, &ex->e);
    datastore_release(&held);
}

static void leave(struct exchange *ex)
{
    struct rest_call *call = &ex->call;
    struct service *service = call->service;
    struct http_header h[16];
    if (ex->stream.out) {
        leave_with_stream(ex);
        return;
    }
    if (ex->rc != ERR_OK)
        answer_error(ex);
    if (call->out.body.len && !call->out.as_it_is &&
        sv_eq(rest_param(call, "_pretty"), SV_LIT("true")))
        make_pretty(call);
    if (!call->out.file && !http_room(ex->x, call->out.body.len))
        answer_no_room(ex);
    rest_trail(call, call->trail, ex->rc);
    if (call->st)
        store_registry_release(call->service->cfg.stores, call->st);
    arena_free(ex->of_grant);
    call->grant = NULL;
    size_t n = headers_out(call, h, ex->request_id);
    /* ex may be freed once the reply is given. */
    struct making_ticket made = ex->clock.making;
    (call->out.file ? leave_with_file : leave_with_body)(ex, h, n);
    making_give_back(service->rest->making, &made);
}

static void leave_late(void *exchange)
{
    leave(exchange);
}

static struct workers *pool_of(struct service *service, const struct rest_call *call)
{
    return rest_is_bundle(call->it)           ? service->rest->bundle_workers
           : call->it->shape == REST_VIEW_RUN ? service->rest->stream_workers
                                              : service->rest->workers;
}

/* To ask scopes about a resource may take as long as a search of it, unless it is small. */
static bool is_short(const struct rest_call *call)
{
    return call->it->short_work &&
           (call->is_small || !rest_grant_limits(call, call->type, SMART_R));
}

static void work(struct service *service, void *ctx)
{
    struct exchange *ex = ctx;
    struct rest_call *call = &ex->call;
    if (call->st == NULL)
        ex->rc =
            store_registry_acquire(service->cfg.stores, call->ds->id, false, &call->st, &ex->e);
    if (ex->rc == ERR_NOT_FOUND && call->st == NULL &&
        datastore_check_place(service, call->ds->id, &ex->e) != ERR_OK)
        ex->rc = ex->e.code;
    if (ex->rc == ERR_OK && !is_short(call)) {
        rest_clock_start(&ex->clock, service, pool_of(service, call), ex->x,
                         call->caller.access_key_id, call->ds->id);
        call->clock = &ex->clock;
        ex->stream = (struct rest_stream){ ex->x, ex->request_id, pool_of(service, call),
                                           sv_from(call->it->name), .out = NULL };
        call->stream = &ex->stream;
    }
    if (ex->rc == ERR_OK)
        ex->rc = call->it->fn(call, &ex->e);
    if (ex->rc == ERR_OK && ex->stream.out == NULL)
        ex->rc = rest_may_answer(call, &ex->e);
    rest_clock_stop(&ex->clock);
    if (ex->rc == ERR_THROTTLED) {
        /* A refusal waits here, and keeps no large body meanwhile. */
        buf_done(&call->out.body);
        buf_init(&call->out.body, BODY_MAX);
        late_add(service->rest->late, leave_late, ex);
        return;
    }
    leave(ex);
}

static void hand_over(struct service *service, struct workers *to, struct work_for who, work_fn fn,
                      struct exchange *ex)
{
    struct err e;
    err_code rc = workers_add(to, who, fn, ex, &e);
    /* A worker has ex now. It may have answered already, and ex may be freed. */
    if (rc == ERR_OK)
        return;
    ex->rc = rc;
    ex->e = e;
    late_add(service->rest->late, leave_late, ex);
}

/* The caller is known, or is refused. */
static void go_on(struct service *service, struct exchange *ex)
{
    if (ex->rc == ERR_OK)
        ex->rc = enter_known(ex, &ex->e);
    if (ex->rc == ERR_OK && ex->who.anybody) {
        /* no store is opened for strangers */
        ex->rc = ex->call.it->fn(&ex->call, &ex->e);
        leave(ex);
        return;
    }
    if (ex->rc == ERR_OK && ex->call.st && !is_short(&ex->call))
        ex->call.is_small = rest_read_is_small(&ex->call);
    if (ex->rc == ERR_OK && is_short(&ex->call) && ex->call.st) {
        work(service, ex);
        return;
    }
    if (ex->rc == ERR_THROTTLED) {
        late_add(service->rest->late, leave_late, ex);
        return;
    }
    if (ex->rc != ERR_OK) {
        leave(ex);
        return;
    }
    const struct work_for who = { ex->call.caller.access_key_id, ex->call.ds->id };
    hand_over(service, pool_of(service, &ex->call), who, work, ex);
}

static void ask(struct service *service, void *ctx)
{
    struct exchange *ex = ctx;
    ex->rc = rest_who_ask(&ex->call, &ex->who, &ex->e);
    /* a caller without a credential may do all: it must never come of a token */
    if (ex->rc == ERR_OK && (!ex->call.caller.credential || !ex->call.caller.grant))
        ex->rc = ERR(&ex->e, ERR_INTERNAL, "a token gave no caller");
    go_on(service, ex);
}

static void handle(struct service *service, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    if (rest_token_answers(service, x, request_id))
        return;
    struct exchange full = { 0 }, *ex = ARENA_NEW(req->arena, struct exchange);
    bool oom = ex == NULL;
    if (oom)
        ex = &full;
    ex->x = x;
    ex->request_id = request_id;
    ex->call = (struct rest_call){
        .service = service, .a = req->arena, .http = req, .trail = trail_of(x)
    };
    buf_init(&ex->call.out.body, BODY_MAX);
    rest_headers_in(&ex->call, req);
    ex->rc = oom ? arena_oom(req->arena, &ex->e) : enter(ex, &ex->e);
    if (ex->rc == ERR_OK && ex->who.later) {
        /* nobody is known yet, so each address has its share */
        const struct work_for peer = { req->peer, ex->id };
        hand_over(service, service->rest->askers, peer, ask, ex);
        return;
    }
    go_on(service, ex);
}

/* ---- life ---- */

static err_code start(struct service *service, struct err *e)
{
    struct rest *r = service->rest = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_mutex_init(&r->conditional.lock, NULL);
    pthread_mutex_init(&r->large.lock, NULL);
    pthread_cond_init(&r->large.fewer, NULL);
    r->polls = polls_new();
    r->lane = lane_new(n_cpus > 2 ? (unsigned)n_cpus - 1 : 1);
    r->making = making_new(LIMIT_MAKING, LIMIT_MAKING_OWNER);
    TRY(workers_start(service, WORKERS, MAX_WAITING, &r->workers, e));
    if (service_takes_tokens(service))
        TRY(workers_start(service, ASKERS, ASKERS_WAITING, &r->askers, e));
    TRY(workers_start(service, LIMIT_BUNDLES, LIMIT_BUNDLES_WAITING, &r->bundle_workers, e));
    TRY(workers_start(service, LIMIT_STREAMS, LIMIT_STREAMS_WAITING, &r->stream_workers, e));
    return late_new(&r->late, e);
}

static void stop(struct service *service)
{
    struct rest *r = service->rest;
    if (r == NULL)
        return;
    /* these hand their work to the others */
    workers_stop(r->askers);
    workers_stop(r->workers);
    workers_stop(r->bundle_workers);
    workers_stop(r->stream_workers);
    late_free(r->late);
    polls_free(r->polls);
    lane_free(r->lane);
    making_free(r->making);
    pthread_mutex_destroy(&r->conditional.lock);
    pthread_mutex_destroy(&r->large.lock);
    pthread_cond_destroy(&r->large.fewer);
    free(r);
    service->rest = NULL;
}

const struct service_plane rest_plane = { start, stop, handle, rest_trail_name };

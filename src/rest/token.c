/* token.c - our own token endpoint over HTTP, for data stores that are backed by it:
 *
 *   POST [base]/auth/token   a client's assertion -> an access token     on an asker
 *   GET  [base]/auth/jwks    the public keys of these tokens             at once
 *
 * Both are open to everybody: who asks for a token has none yet. Answers are OAuth's, not FHIR's.
 * At any other data store these paths are what all unknown paths are. The keys of a client may have
 * to be fetched, so a token is made on a thread that may wait.
 * Source: SMART App Launch 2.2, "Backend Services"; RFC 6749, 5.1 and 5.2; docs/smart.md. */
#include "rest/token_private.h"

#include "auth/issue/issue.h"
#include "base/clock.h"
#include "base/log.h"
#include "rest/call_private.h"
#include "rest/rest_private.h"

#define PREFIX   "/datastore/"
#define BODY_MAX (64u << 10)
#define ACTION   "CreateAccessToken"
#define KEYS_AGE "max-age=300"

struct token_call { /* owned by the request's arena */
    struct service *service;
    struct http_exchange *x;
    const char *request_id;
    sv id; /* of the data store */
    sv base;
    bool v2;
    struct issue_answer out;
};

/* The id in /datastore/ID/r4/auth/..., and what is asked for; SV_NONE: it is another path. */
static sv id_of(sv path, sv *what)
{
    sv rest = path, id;
    if (!sv_starts(path, SV_LIT(PREFIX)))
        return SV_NONE;
    rest = sv_tail(path, sizeof PREFIX - 1);
    if (!sv_cut(&rest, '/', &id) || rest.ptr == NULL || !sv_starts(rest, SV_LIT("r4/")))
        return SV_NONE;
    *what = sv_tail(rest, 3);
    return sv_eq_cstr(*what, ISSUE_PATH) || sv_eq_cstr(*what, ISSUE_JWKS_PATH) ? id : SV_NONE;
}

/* ---- answers ---- */

static void reply(const struct token_call *call, unsigned status, const struct http_header *more,
                  size_t n_more, struct buf *body, const char *error)
{
    const struct http_request *req = http_exchange_request(call->x);
    struct http_header h[8];
    size_t n = 0;
    h[n++] = (struct http_header){ SV_LIT("Content-Type"), SV_LIT("application/json") };
    h[n++] = (struct http_header){ SV_LIT("x-amzn-RequestId"), sv_from(call->request_id) };
    for (size_t i = 0; i < n_more; i++)
        h[n++] = more[i];
    metrics_request(call->service->cfg.metrics, ACTION, call->id, status,
                    clock_mono_us() - req->start_us);
    service_reply_with(call->x, status, h, n, body, "token", error, call->request_id,
                       call->out.proven ? call->out.client_id : SV_NONE);
}

static void write_answer(const struct issue_answer *an, struct buf *out)
{
    struct json_writer w;
    /* bounded texts: writing cannot fail */
    struct err ignored;
    json_writer_init(&w, out);
    json_obj(&w);
    if (an->error) {
        json_kv_str(&w, "error", sv_from(an->error));
        json_kv_str(&w, "error_description", sv_from(an->description));
    } else {
        json_kv_str(&w, "access_token", an->token);
        json_kv_str(&w, "token_type", SV_LIT("bearer"));
        json_kv_u64(&w, "expires_in", ISSUE_TOKEN_S);
        json_kv_str(&w, "scope", an->scope);
    }
    json_obj_end(&w);
    IGNORE(json_writer_end(&w, &ignored));
}

static sv client_arn(const struct token_call *call)
{
    struct arena *a = http_exchange_request(call->x)->arena;
    return ARENA_JOIN(a, SV_LIT("arn:aws:sts::"), call->service->cfg.account_id,
                      SV_LIT(":assumed-role/smart-client/"), call->out.client_id);
}

/* Who asked, for the audit log: a client that proved who it is. The id that an assertion names is
 * told either way, if it is registered: whose id strangers try is worth to know. */
static void tell(const struct token_call *call)
{
    struct trail *trail = trail_of(call->x);
    const struct http_request *req = http_exchange_request(call->x);
    const struct issue_answer *an = &call->out;
    if (trail == NULL)
        return;
    trail->facts.action = ACTION;
    trail->facts.datastore_id = call->id;
    trail->facts.resource_id = an->client_id;
    struct smart_grant *grant = an->proven ? ARENA_NEW(req->arena, struct smart_grant) : NULL;
    if (grant == NULL)
        return;
    *grant = (struct smart_grant){ .issuer = ARENA_JOIN(req->arena, call->base, SV_LIT("/"),
                                                        SV_LIT(ISSUE_NAME)),
                                   .client_id = an->client_id,
                                   .subject = an->client_id };
    trail->caller.grant = grant;
    trail->caller.arn = client_arn(call);
}

static void answer(struct token_call *call)
{
    const struct issue_answer *an = &call->out;
    struct buf body = BUF_INIT(BODY_MAX);
    struct http_header more[4];
    size_t n = 0;
    char seconds[16];
    more[n++] = (struct http_header){ SV_LIT("Cache-Control"), SV_LIT("no-store") };
    more[n++] = (struct http_header){ SV_LIT("Pragma"), SV_LIT("no-cache") };
    if (an->retry_after_s) {
        (void)snprintf(seconds, sizeof seconds, "%u", an->retry_after_s);
        more[n++] = (struct http_header){ SV_LIT("Retry-After"), sv_from(seconds) };
    }
    if (an->status == 405)
        more[n++] = (struct http_header){ SV_LIT("Allow"), SV_LIT("POST") };
    write_answer(an, &body);
    tell(call);
    if (an->error)
        LOG(an->status >= 500 ? LOG_WARN : LOG_INFO, "token_not_given", LOG_STR("error", an->error),
            LOG_STR("reason", an->why),
            LOG_SV("client", an->client_id.len ? an->client_id : SV_LIT("-")),
            LOG_SV("datastore", call->id), LOG_STR("request_id", call->request_id));
    reply(call, an->status, more, n, &body, an->error ? an->error : "-");
}

static void refuse(struct token_call *call, unsigned status, const char *error, const char *text,
                   unsigned retry_after_s)
{
    call->out = (struct issue_answer){ .status = status,
                                       .error = error,
                                       .description = text,
                                       .why = text,
                                       .retry_after_s = retry_after_s };
    answer(call);
}

/* ---- rates ---- */

/* False: it is refused, and was answered. An address is counted before anything is looked at, and
 * among strangers; a client and the data store when it has proved who it is, so that nobody takes
 * what is another's. */
static bool take(struct token_call *call, struct quota *quota, sv caller, sv store)
{
    const struct quota_ask ask = { .action = ACTION, .caller = caller, .store = store };
    struct issue_answer *an = &call->out;
    unsigned wait_s;
    struct err e;
    if (quota_take(quota, &ask, clock_mono_us(), &wait_s, &e) == ERR_OK)
        return true;
    *an = (struct issue_answer){ .status = 429,
                                 .error = "temporarily_unavailable",
                                 .description = "Too many tokens are asked for; try again later",
                                 .why = "rate exceeded",
                                 .retry_after_s = wait_s,
                                 .client_id = an->client_id,
                                 .proven = an->proven };
    answer(call);
    return false;
}

/* ---- the two paths ---- */

static void jwks(struct token_call *call)
{
    const struct http_request *req = http_exchange_request(call->x);
    const struct http_header more = { SV_LIT("Cache-Control"), SV_LIT(KEYS_AGE) };
    struct buf body = BUF_INIT(BODY_MAX);
    struct err e;
    sv text;
    struct trail *trail = trail_of(call->x);
    if (trail) {
        trail->facts.action = "GetTokenKeys";
        trail->facts.datastore_id = call->id;
    }
    if (issue_jwks(call->service->cfg.issue, req->arena, clock_wall_ms(), &text, &e) != ERR_OK ||
        buf_add(&body, text, &e) != ERR_OK) {
        buf_clear(&body);
        reply(call, 503, NULL, 0, &body, "keys");
        return;
    }
    reply(call, 200, &more, 1, &body, "-");
}

static void give(struct service *service, void *ctx)
{
    struct token_call *call = ctx;
    const struct http_request *req = http_exchange_request(call->x);
    const struct issue_ask ask = { .base = call->base,
                                   .datastore_id = call->id,
                                   .v2 = call->v2,
                                   .peer = req->peer,
                                   .identified = http_header_get(req, "Authorization").ptr != NULL,
                                   .content_type = http_header_get(req, "Content-Type"),
                                   .query = req->query,
                                   .form = req->body,
                                   .now_ms = clock_wall_ms(),
                                   .mono_us = clock_mono_us() };
    issue_token(service->cfg.issue, req->arena, &ask, &call->out);
    /* a token that is not given away is nobody's */
    const bool given = call->out.error == NULL;
    if (!given || take(call, service->quota, client_arn(call), call->id))
        answer(call);
}

static void token(struct token_call *call)
{
    const struct http_request *req = http_exchange_request(call->x);
    const struct work_for peer = { req->peer, call->id };
    struct err e;
    if (!sv_eq(req->method, SV_LIT("POST")))
        refuse(call, 405, "invalid_request", "A token is asked for with POST", 0);
    else if (req->body_too_large)
        refuse(call, 413, "invalid_request", "A request for a token has at most 32 KiB", 0);
    else if (!take(call, call->service->strangers, rest_quota_address(req->arena, req->peer),
                   SV_NONE))
        return;
    else if (trail_ready(trail_of(call->x), ACTION, &e) != ERR_OK)
        refuse(call, 503, "temporarily_unavailable", "The audit log cannot be written", 1);
    else if (workers_add(call->service->rest->askers, peer, give, call, &e) != ERR_OK)
        refuse(call, 429, "temporarily_unavailable", "Too many requests wait; try again later", 1);
}

/* Is it a data store that is there, and backed by our endpoint? */
static bool is_backed(struct service *service, sv id, bool *v2)
{
    struct datastore_held *held = NULL;
    if (datastore_hold(service, id, &held, NULL) != ERR_OK)
        return false;
    const struct datastore *ds = datastore_of(held);
    bool backed = ds->callers.own && sv_eq_cstr(ds->status, "ACTIVE") &&
                  datastore_check_strategy(ds, NULL) == ERR_OK;
    *v2 = ds->callers.v2;
    datastore_release(&held);
    return backed;
}

bool rest_token_answers(struct service *service, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    bool reads = sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD")), v2;
    sv what, id = service->cfg.issue ? id_of(req->path, &what) : SV_NONE;
    if (id.ptr == NULL || !is_backed(service, id, &v2))
        return false;
    bool keys = sv_eq_cstr(what, ISSUE_JWKS_PATH);
    struct token_call *call = ARENA_NEW(req->arena, struct token_call);
    sv base = datastore_url(service, req, id);
    /* the arena is full, or the path takes no such method: as all such requests */
    if (call == NULL || base.ptr == NULL || (keys && !reads))
        return false;
    *call = (struct token_call){
        .service = service, .x = x, .request_id = request_id, .id = id, .base = base, .v2 = v2
    };
    if (keys)
        jwks(call);
    else
        token(call);
    return true;
}

/* who.c - who calls: a signature, or an access token of a data store with SMART on FHIR.
 *
 *   no token     -> auth_check()
 *   a token      -> the data store must take tokens; what was checked lately is known at once
 *   ...          -> else a worker asks (rest_who_ask())
 *
 * A data store that takes no tokens, and one that does not exist, refuse a token in the words for a
 * token that is not good. The log tells which check failed; the caller is not told.
 * Source: RFC 6750, 3; SMART App Launch 2.2. */
#include "rest/who_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "rest/route_private.h"

/* Discovery, and the CapabilityStatement of a data store that takes tokens: a client reads them
 * before it has one. */
static bool is_open_path(const struct rest_call *call)
{
    sv path = call->in.path;
    bool reads = sv_eq_cstr(call->in.method, "GET") || sv_eq_cstr(call->in.method, "HEAD");
    if (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    return reads &&
           (sv_eq_cstr(path, "metadata") || sv_eq_cstr(path, ".well-known/smart-configuration"));
}

/* The data store, when it is there and takes tokens; else NULL. */
static const struct datastore *smart_store(struct rest_call *call, sv id,
                                           struct datastore_held **held)
{
    const struct datastore *ds;
    if (*held == NULL && datastore_hold(call->service, id, held, NULL) != ERR_OK)
        return NULL;
    ds = datastore_of(*held);
    return ds->callers.smart && sv_eq_cstr(ds->status, "ACTIVE") &&
                   datastore_check_strategy(ds, NULL) == ERR_OK
               ? ds
               : NULL;
}

static err_code not_accepted(const char *why, struct err *e)
{
    err_code rc = ERR(e, ERR_AUTH_SIGNATURE, "The access token is not accepted");
    err_context(e, "%s", why);
    return rc;
}

/* A token of ours is checked at once, and needs nobody to be asked. */
static err_code by_own_token(struct rest_call *call, const struct http_request *req,
                             const struct datastore *ds, sv token, struct rest_who *who,
                             struct err *e)
{
    int64_t now_ms = clock_wall_ms();
    who->question.datastore_id = ds->id;
    if (call->service->cfg.issue == NULL)
        return not_accepted("this server has no clients", e);
    const struct issue_bearer q = { .token = token,
                                    .base = call->base,
                                    .datastore_id = ds->id,
                                    .v2 = ds->callers.v2,
                                    .account_id = call->service->cfg.account_id,
                                    .now_ms = now_ms,
                                    .mono_us = clock_mono_us(),
                                    .origin = { req->peer, req->secure, now_ms } };
    return issue_check(call->service->cfg.issue, call->a, &q, &call->caller, e);
}

static err_code by_token(struct rest_call *call, const struct http_request *req,
                         const struct datastore *ds, sv token, struct rest_who *who, struct err *e)
{
    bool known;
    int64_t now_ms = clock_wall_ms();
    if (auth_bearer(call->service->cfg.auth) == NULL)
        return not_accepted("this server knows no identity provider", e);
    /* a function is told which operation it is */
    TRY(rest_route(call, e));
    who->question = (struct bearer_question){ .token = token,
                                              .datastore_id = ds->id,
                                              .endpoint = call->base,
                                              .issuer = ds->callers.issuer,
                                              .idp_lambda = ds->callers.lambda,
                                              .v2 = ds->callers.v2,
                                              .operation = sv_from(call->it->action),
                                              .now_ms = now_ms,
                                              .mono_us = clock_mono_us(),
                                              .origin = { req->peer, req->secure, now_ms } };
    TRY(bearer_known(auth_bearer(call->service->cfg.auth), call->a, &who->question, &known,
                     &call->caller, e));
    who->later = !known;
    return ERR_OK;
}

err_code rest_who_begin(struct rest_call *call, const struct http_request *req, sv id,
                        struct datastore_held **held, struct rest_who *who, struct err *e)
{
    struct auth *auth = call->service->cfg.auth;
    const struct datastore *ds = NULL;
    sv token = SV_NONE;
    if (!service_takes_tokens(call->service))
        return auth_check(auth, req, clock_wall_ms(), &call->caller, e);
    if (is_open_path(call) && smart_store(call, id, held)) {
        who->anybody = true;
        who->peer = req->peer;
        return ERR_OK;
    }
    who->by_token = true;
    TRY(bearer_claimed(req, true, &token, e));
    who->by_token = token.ptr != NULL;
    if (token.ptr)
        ds = smart_store(call, id, held);
    /* with --auth none a token says nothing to a data store that takes none */
    if (token.ptr == NULL || (ds == NULL && auth_is_open(auth)))
        return auth_check(auth, req, clock_wall_ms(), &call->caller, e);
    if (ds == NULL)
        return not_accepted("the data store takes no tokens", e);
    return ds->callers.own ? by_own_token(call, req, ds, token, who, e)
                           : by_token(call, req, ds, token, who, e);
}

err_code rest_who_ask(struct rest_call *call, const struct rest_who *who, struct err *e)
{
    return bearer_check(auth_bearer(call->service->cfg.auth), call->a, &who->question,
                        &call->caller, e);
}

void rest_who_refused(struct rest_call *call, const struct rest_who *who, const struct err *e,
                      const char *request_id)
{
    const char *challenge = error_challenge(e->code, who->by_token || call->caller.grant);
    bool token =
        e->code == ERR_AUTH_SIGNATURE || e->code == ERR_AUTH_EXPIRED || e->code == ERR_UNAVAILABLE;
    if (!service_takes_tokens(call->service) && call->caller.grant == NULL)
        return;
    if (challenge)
        rest_header(call, "WWW-Authenticate", sv_from(challenge));
    if (who->by_token && token)
        LOG(e->code == ERR_UNAVAILABLE ? LOG_WARN : LOG_INFO,
            e->code == ERR_UNAVAILABLE ? "identity_provider" : "token_refused",
            LOG_STR("reason", e->ctx), LOG_SV("datastore", who->question.datastore_id),
            LOG_STR("request_id", request_id));
}

/* call.c - what every interaction asks about its call: what the caller prefers, what the caller may
 * do, and what kind of write it is. */
#include "rest/fair/clock_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>

bool rest_prefers(const struct rest_call *call, const char *what)
{
    sv rest = call->in.prefer, part;
    while (sv_cut(&rest, ',', &part)) {
        sv more = part, one;
        while (sv_cut(&more, ';', &one))
            if (sv_eq_nocase(sv_trim(one), sv_from(what)))
                return true;
    }
    return false;
}

void rest_header(struct rest_call *call, const char *name, sv value)
{
    if (call->out.n_more < sizeof call->out.more / sizeof call->out.more[0])
        call->out.more[call->out.n_more++] = (struct http_header){ sv_from(name), value };
}

bool rest_wants_body(const struct rest_call *call)
{
    return call->in_bundle ? rest_prefers(call, "return=representation")
                           : !rest_prefers(call, "return=minimal");
}

static err_code allowed(struct rest_call *call, const char *name, struct policy_by *by,
                        struct err *e)
{
    struct rights r = { .arn = call->ds->arn,
                        .unknown = call->ds->id.ptr == NULL,
                        .tags = call->ds->tags };
    return rights_ask_by(call->a, &call->caller, name, &r, by, e);
}

err_code rest_allowed(struct rest_call *call, const char *name, struct err *e)
{
    struct policy_by by;
    return allowed(call, name, &by, e);
}

bool rest_is_conditional(const struct rest_call *call)
{
    return call->in.if_none_exist.len > 0 ||
           (call->it->shape == REST_TYPE && !sv_eq_cstr(call->in.method, "POST"));
}

bool rest_is_delete_of_several(const struct rest_call *call)
{
    return call->it /* the search of a conditional reference has no interaction */ &&
           call->it->shape == REST_TYPE && sv_eq_cstr(call->in.method, "DELETE") &&
           rest_param(call, "_count").ptr != NULL;
}

err_code rest_allowed_here(struct rest_call *call, struct err *e)
{
    TRY(allowed(call, call->it->action, &call->caller.by, e));
    return rest_is_write(call->it) && rest_is_conditional(call)
               ? rest_allowed(call, "SearchWithGet", e)
               : ERR_OK;
}

static err_code quota_ask(struct rest_call *call, struct quota *quota, const struct quota_ask *ask,
                          struct err *e)
{
    unsigned wait_s;
    err_code rc = quota_take(quota, ask, clock_mono_us(), &wait_s, e);
    sv told = rc == ERR_THROTTLED ? arena_fmt(call->a, "%u", wait_s) : SV_NONE;
    if (told.ptr)
        rest_header(call, "Retry-After", told);
    return rc;
}

/* What it is counted as: HealthLake has a rate of its own for discovery, and no action. */
static const char *action_of(const struct rest_call *call)
{
    return call->it->shape == REST_SMART ? "Discovery" : call->it->action;
}

err_code rest_quota_take(struct rest_call *call, bool begun, struct err *e)
{
    const struct quota_ask ask = { .action = action_of(call),
                                   .caller = call->caller.arn,
                                   .store = call->ds->id,
                                   .bytes = call->in.body.len,
                                   .begun = begun };
    return quota_ask(call, call->service->quota, &ask, e);
}

sv rest_quota_address(struct arena *a, sv peer)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr six;
    (void)snprintf(text, sizeof text, "%.*s", SV_FMT(peer));
    if (inet_pton(AF_INET6, text, &six) != 1 || IN6_IS_ADDR_V4MAPPED(&six))
        return peer;
    return arena_sv(a, sv_make((const char *)&six, sizeof six / 2));
}

err_code rest_quota_open(struct rest_call *call, sv peer, struct err *e)
{
    const struct quota_ask ask = { .action = action_of(call),
                                   .caller = rest_quota_address(call->a, peer) };
    return quota_ask(call, call->service->strangers, &ask, e);
}

err_code rest_newest(const struct rest_call *call, uint64_t *t, struct err *e)
{
    struct store_commit last;
    TRY(store_last(call->st, &last, e));
    *t = last.t;
    return ERR_OK;
}

struct query_source rest_query_source(const struct rest_call *call, uint64_t as_of)
{
    return (struct query_source){ .st = call->st,
                                  .a = call->a,
                                  .base = call->base,
                                  .as_of = as_of,
                                  .deadline = call->clock ? &call->clock->deadline : NULL,
                                  .grant = call->grant,
                                  .letters = SMART_S };
}

struct query_source rest_read_source(const struct rest_call *call, uint64_t as_of)
{
    struct query_source src = rest_query_source(call, as_of);
    src.letters = SMART_R;
    return src;
}

unsigned rest_written_status(const struct store_write *w)
{
    if (w->method == STORE_METHOD_DELETE)
        return 204;
    return w->existed ? 200 : 201;
}

/* call.c - what every interaction asks about its call: what the caller prefers, what the caller may
 * do, and what kind of write it is. */
#include "rest/fair/clock_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"

bool rest_prefers(const struct rest_call *c, const char *what)
{
    sv rest = c->in.prefer, part;
    while (sv_cut(&rest, ',', &part)) {
        sv more = part, one;
        while (sv_cut(&more, ';', &one))
            if (sv_eq_nocase(sv_trim(one), sv_from(what)))
                return true;
    }
    return false;
}

void rest_header(struct rest_call *c, const char *name, sv value)
{
    if (c->out.n_more < sizeof c->out.more / sizeof c->out.more[0])
        c->out.more[c->out.n_more++] = (struct http_header){ sv_from(name), value };
}

bool rest_wants_body(const struct rest_call *c)
{
    return c->in_bundle ? rest_prefers(c, "return=representation")
                        : !rest_prefers(c, "return=minimal");
}

err_code rest_allowed(struct rest_call *c, const char *name, struct err *e)
{
    struct rights r = { .arn = c->ds->arn, .unknown = c->ds->id.ptr == NULL, .tags = c->ds->tags };
    return rights_ask(c->a, &c->caller, name, &r, e);
}

bool rest_is_conditional(const struct rest_call *c)
{
    return c->in.if_none_exist.len > 0 ||
           (c->it->shape == REST_TYPE && !sv_eq_cstr(c->in.method, "POST"));
}

bool rest_is_delete_of_several(const struct rest_call *c)
{
    return c->it /* the search of a conditional reference has no interaction */ &&
           c->it->shape == REST_TYPE && sv_eq_cstr(c->in.method, "DELETE") &&
           rest_param(c, "_count").ptr != NULL;
}

err_code rest_allowed_here(struct rest_call *c, struct err *e)
{
    TRY(rest_allowed(c, c->it->action, e));
    return rest_is_write(c->it) && rest_is_conditional(c) ? rest_allowed(c, "SearchWithGet", e)
                                                          : ERR_OK;
}

struct query_source rest_query_source(const struct rest_call *c, uint64_t as_of)
{
    return (struct query_source){ c->st, c->a, c->base, as_of,
                                  c->clock ? &c->clock->deadline : NULL };
}

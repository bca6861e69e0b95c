/* trail.c - what a call leaves in the audit log: its action, and the data store and resource that
 * it was about. */
#include "rest/grant_private.h"
#include "rest/route_private.h"

#include "service/trail.h"

#define PREFIX "/datastore/"

/* The part of a path behind /datastore/, and what stands below r4/. */
static sv store_of(const struct http_request *req, sv *below)
{
    sv rest = sv_tail(req->path, sizeof PREFIX - 1), id, r4;
    *below = SV_LIT("");
    if (!sv_cut(&rest, '/', &id))
        return SV_NONE;
    if (sv_cut(&rest, '/', &r4) && rest.ptr)
        *below = rest;
    return id;
}

static bool is_job(const struct rest_interaction *it)
{
    return it && (it->shape == REST_EXPORT_STATUS || it->shape == REST_EXPORT_FILE ||
                  it->shape == REST_ERASE_STATUS || it->shape == REST_PURGE_STATUS ||
                  it->shape == REST_BULK_STATUS);
}

/* What the scopes of the caller's token are asked for. */
static void scopes_asked(const struct rest_call *call, struct trail_facts *f)
{
    for (size_t i = 0; i < rest_n_needs; i++) {
        const struct rest_need *need = &rest_needs[i];
        if (strcmp(need->interaction, call->it->name) != 0)
            continue;
        fhir_type type = need->of == REST_NEEDS_MEMBER ? call->member_type
                         : need->of == REST_NEEDS_ANY  ? FHIR_TYPE_NONE
                                                       : call->type;
        f->letters = need->letters;
        f->scope_type = type != FHIR_TYPE_NONE ? fhir_type_name(type) : NULL;
    }
}

/* o: the answer, or what it will be */
static void fill(const struct rest_call *call, const struct rest_answer *o, err_code rc,
                 struct trail_facts *f)
{
    const bool told = rc == ERR_OK && o->about;
    const fhir_type type = told ? o->type : call->type;
    f->rc = rc;
    f->status = o->status;
    f->query = call->in.query;
    if (call->it == NULL)
        return;
    f->action = call->it->action;
    if (call->caller.grant)
        scopes_asked(call, f);
    f->resource_type = type != FHIR_TYPE_NONE ? fhir_type_name(type) : NULL;
    if (is_job(call->it))
        f->job_id = call->id;
    else
        f->resource_id = told ? o->id : call->id;
    if (o->job_id.len)
        f->job_id = o->job_id;
    f->version = told ? o->version : 0;
    if (call->it->shape == REST_VERSION || call->it->shape == REST_ERASE_VERSION)
        f->version_id = call->vid;
    if (call->it->shape == REST_TYPE_SEARCH || call->it->shape == REST_SYSTEM_SEARCH)
        f->form = call->in.body;
}

void rest_trail_name(const struct http_request *req, struct service *service,
                     struct trail_facts *facts)
{
    struct rest_call look = { .service = service, .a = req->arena };
    struct err ignored;
    facts->datastore_id = store_of(req, &look.in.path);
    look.in.method = req->method;
    look.in.query = req->query;
    /* What cannot be routed has no name. */
    if (rest_route(&look, &ignored) == ERR_OK) {
        const err_code rc = facts->rc;
        fill(&look, &look.out, rc, facts);
        facts->form = SV_NONE;
    }
}

void rest_trail(const struct rest_call *call, struct trail *trail, err_code rc)
{
    sv below;
    if (trail == NULL)
        return;
    trail->caller = call->caller;
    fill(call, &call->out, rc, &trail->facts);
    trail->facts.datastore_id = store_of(trail->req, &below);
}

void rest_trail_entry(const struct rest_call *call, err_code rc)
{
    struct trail_facts f = { 0 };
    sv below;
    if (call->trail == NULL)
        return;
    fill(call, &call->out, rc, &f);
    f.datastore_id = store_of(call->trail->req, &below);
    call->trail->caller = call->caller;
    trail_entry(call->trail, &f);
}

/* ---- a write that is being committed ---- */

static void told(struct store_witness *me, const struct store_write *w,
                 const struct store_commit *at)
{
    const struct rest_call *call = ((struct rest_witness *)me)->call;
    const struct rest_answer will = { .status = rest_written_status(w),
                                      .about = true,
                                      .type = w->type,
                                      .id = w->id,
                                      .version = w->version };
    struct trail_facts f = { 0 };
    sv below;
    (void)at;
    fill(call, &will, ERR_OK, &f);
    f.datastore_id = store_of(call->trail->req, &below);
    call->trail->caller = call->caller;
    trail_early(call->trail, &f);
}

static void all_told(struct store_witness *me)
{
    trail_early_go(((struct rest_witness *)me)->call->trail);
}

struct store_witness *rest_trail_witness(const struct rest_call *call, struct rest_witness *witness)
{
    /* entries of a Bundle have their records when all of it has ended */
    if (call->trail == NULL || call->in_bundle)
        return NULL;
    *witness = (struct rest_witness){ { told, all_told }, call };
    return &witness->base;
}

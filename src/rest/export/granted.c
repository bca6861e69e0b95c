/* granted.c - an export under the scopes of a token: what of it they give, and whose it is.
 *
 * Only system/ scopes count, and a resource must be given to read and to search. The scopes are
 * kept with the job, not the token: the export goes on when the token is over. Status, cancelling
 * and files are for the same client, and the same user if there is one, alone.
 * Source: FHIR Bulk Data Access, "Authorization"; docs/smart.md. */
#include "rest/export/export_private.h"
#include "rest/grant_private.h"

#include "base/clock.h"

#define GIVEN (SMART_R | SMART_S)

static err_code grantee_of(const struct rest_call *call, sv *out, struct err *e)
{
    const struct smart_grant *g = call->caller.grant;
    *out = arena_fmt(call->a, "%.*s\n%.*s\n%.*s", SV_FMT(g->issuer), SV_FMT(g->client_id),
                     SV_FMT(g->subject));
    return out->ptr ? ERR_OK : arena_oom(call->a, e);
}

static err_code write_scope(struct rest_call *call, const struct smart_scope *scope, sv *out,
                            struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(4 * SMART_TEXT_MAX);
    TRY(smart_scope_write(scope, &text, e));
    *out = arena_sv(call->a, buf_sv(&text));
    return out->ptr ? ERR_OK : arena_oom(call->a, e);
}

static err_code check_types(struct rest_call *call, const struct smart_grant *smart,
                            const struct job_export_params *p, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(QUERY_GRANT_BYTES);
    const struct search_context cx = { .base = call->base, .now_ms = clock_wall_ms() };
    struct query_grant *grant;
    TRY(query_grant_new(smart, &cx, a, &grant, e));
    if (query_grant_extent(grant, FHIR_TYPE_NONE, GIVEN) == QUERY_NOTHING)
        return ERR(e, ERR_DENIED,
                   "An export needs system/ scopes that give something to read and to search");
    for (size_t i = 0; i < p->types.n; i++) {
        fhir_type type = fhir_type_find(p->types.items[i]);
        if (type && query_grant_extent(grant, type, GIVEN) == QUERY_NOTHING)
            return ERR(e, ERR_DENIED, "The scopes of the token do not give the export of %s",
                       fhir_type_name(type));
    }
    return ERR_OK;
}

err_code rest_export_grant(struct rest_call *call, struct job_export_params *p, struct err *e)
{
    const struct smart_grant *g = call->caller.grant;
    if (g == NULL)
        return ERR_OK;
    struct smart_scope *scopes = arena_calloc(call->a, g->n_scopes + 1, sizeof *scopes);
    sv *texts = arena_calloc(call->a, g->n_scopes + 1, sizeof *texts);
    struct smart_grant system = { .scopes = scopes };
    if (scopes == NULL || texts == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < g->n_scopes; i++)
        if (g->scopes[i].level == SMART_SYSTEM && (g->scopes[i].letters & GIVEN)) {
            TRY(write_scope(call, &g->scopes[i], &texts[system.n_scopes], e));
            scopes[system.n_scopes++] = g->scopes[i];
        }
    TRY(check_types(call, &system, p, e));
    p->scopes = (struct job_texts){ texts, system.n_scopes };
    return grantee_of(call, &p->grantee, e);
}

err_code rest_export_is_his(const struct rest_call *call, const struct job *job, bool *out,
                            struct err *e)
{
    sv mine;
    *out = true;
    if (call->caller.grant == NULL)
        return ERR_OK;
    TRY(grantee_of(call, &mine, e));
    *out = job->params && sv_eq(job->params->grantee, mine);
    return ERR_OK;
}

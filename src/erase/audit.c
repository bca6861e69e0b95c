/* audit.c - AuditEvents about what goes: those with an entity that is the resource.
 *
 * They go the way that the resource goes, and before it: whoever goes on after an interruption
 * finds the resource, and what is left of them. */
#include "erase/erase_private.h"

/* erase_hit_fn */
static err_code see_event(struct erasure *x, const struct store_index_hit *hit, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(ERASE_RESOURCE_MAX);
    struct store_version v;
    struct err why;
    bool gone;
    if (!x->what.soft)
        return erase_one(x, hit->number, 0, e);
    err_code rc = store_get_number_light(x->run->store, hit->number, STORE_NOW, a, &v, &why);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && v.method == STORE_METHOD_DELETE))
        return ERR_OK;
    return rc == ERR_OK ? erase_soft(x, &v, &gone, e) : err_pass(e, &why);
}

err_code erase_audit_of(struct erasure *x, fhir_type type, sv id, struct err *e)
{
    const struct search_id to = { type, id };
    if (!x->what.audit || type == x->audit_event)
        return ERR_OK;
    return erase_each_referrer(
        x, x->audit_event, search_param_find(x->audit_event, SV_LIT("entity")), &to, see_event, e);
}

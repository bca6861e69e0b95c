/* select.c - which resources go, and that they do.
 *
 * Resources are chosen as of one commit, which the job's record has, so a run that goes on chooses
 * the same. What is written behind that commit under an id that was chosen goes with it when all of
 * the resource is erased; a deletion (soft) leaves it alone.
 *
 * Nothing is collected: each resource goes when its turn comes, and a second look at it finds
 * nothing. */
#include "erase/erase_private.h"

static err_code select_resource(struct erasure *x, struct err *e)
{
    store_number number;
    struct err why;
    if (x->what.t == 0)
        TRY(erase_audit_of(x, x->what.type, x->what.id, e));
    err_code rc = store_number_of(x->run->store, x->what.type, x->what.id, &number, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    return rc == ERR_OK ? erase_one(x, number, x->what.t, e) : err_pass(e, &why);
}

/* Members first: while the patient is there, whoever goes on finds the rest of them as well as
 * before. */
static err_code select_patient(struct erasure *x, struct err *e)
{
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    const struct search_id owner = { x->patient, x->what.id };
    CLEANUP(arena_free) struct arena *a = arena_new(ERASE_RESOURCE_MAX);
    struct store_version v;
    struct err why;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        if (t == x->patient || (t == x->audit_event && !x->what.audit))
            continue;
        const size_t n = search_compartment(x->patient, (fhir_type)t, params);
        for (size_t i = 0; i < n; i++)
            TRY(erase_each_referrer(x, (fhir_type)t, params[i], &owner, erase_member, e));
    }
    err_code rc = store_get_light(x->run->store, x->patient, x->what.id, STORE_NOW, a, &v, &why);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && !erase_in_window(x, v.instant_ms)))
        return ERR_OK;
    return rc == ERR_OK ? select_resource(x, e) : err_pass(e, &why);
}

/* All that has any version as of the commit, deleted ones too; when they are only to be deleted,
 * those that are there. */
static err_code select_type(struct erasure *x, struct err *e)
{
    const struct store_range all = { .type = x->what.type };
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    err_code rc;
    if (x->t == 0)
        return ERR_OK;
    TRY(x->what.soft ? store_scan(x->run->store, &all, x->t, &cur, e)
                     : store_changes(x->run->store, &all, 0, x->t, &cur, e));
    store_cursor_light(cur);
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        TRY(erase_goes_on(x, e));
        if (!erase_in_window(x, v.instant_ms))
            continue;
        TRY(erase_audit_of(x, v.type, v.id, e));
        TRY(x->what.soft ? erase_soft(x, &v, e) : erase_one(x, v.number, 0, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

err_code erase_select(struct erasure *x, struct err *e)
{
    static err_code (*const fns[ERASE_N_SCOPES])(struct erasure *, struct err *) = {
        [ERASE_RESOURCE] = select_resource,
        [ERASE_PATIENT] = select_patient,
        [ERASE_TYPE] = select_type,
    };
    return fns[x->what.scope](x, e);
}

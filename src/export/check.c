/* check.c - what is wrong with an export's parameters, before any job exists.
 *
 * Contradictions are found from the parameters alone; the Group, the patients and the filters are
 * looked at in the data store as it is now. The first fault is the answer. */
#include "export/export_private.h"

#include "base/clock.h"
#include "base/limits.h"

static err_code check_shape(const struct job_export_params *params, struct err *e)
{
    if (params->level != JOB_EXPORT_GROUP && params->group_id.len)
        return ERR(e, ERR_INVALID, "Only a Group export has a Group");
    if (params->level == JOB_EXPORT_SYSTEM && params->patients.n)
        return ERR(
            e, ERR_INVALID,
            "patient cannot be used at system level; use Patient/$export or Group/[id]/$export");
    if (params->since_ms && params->until_ms && params->since_ms >= params->until_ms)
        return ERR(e, ERR_INVALID, "_until must be later than _since");
    if (params->min_file_bytes && params->max_file_bytes &&
        params->min_file_bytes > params->max_file_bytes)
        return ERR(e, ERR_INVALID, "_maximumFileSize must not be less than _minimumFileSize");
    if (params->patients.n > LIMIT_EXPORT_PATIENTS)
        return ERR(e, ERR_TOO_LARGE, "An export takes at most %u patients", LIMIT_EXPORT_PATIENTS);
    if (params->types.n > LIMIT_EXPORT_TEXTS || params->notes.n > LIMIT_EXPORT_TEXTS)
        return ERR(e, ERR_TOO_LARGE, "An export takes at most %u types", LIMIT_EXPORT_TEXTS);
    return ERR_OK;
}

/* Each of the listed patients is there and, for a Group, a member. */
static err_code check_patients(struct store *st, const struct job_export_params *params,
                               const struct export_members *members, struct err *e)
{
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)1 << 30);
    for (size_t i = 0; i < params->patients.n; i++) {
        sv id = params->patients.items[i];
        struct store_version v;
        size_t at;
        arena_reset(a);
        if (!fhir_id_ok(id))
            return ERR(e, ERR_INVALID, "patient %zu of the list has no legal id", i + 1);
        err_code rc = store_get(st, patient, id, STORE_NOW, a, &v, e);
        if (rc == ERR_NOT_FOUND || (rc == ERR_OK && v.method == STORE_METHOD_DELETE))
            return ERR(e, ERR_NOT_FOUND, "Patient/%.*s does not exist", SV_FMT(id));
        TRY(rc);
        if (!export_members_find(members, id, &at))
            return ERR(e, ERR_INVALID, "Patient/%.*s is not a member of the Group", SV_FMT(id));
    }
    return ERR_OK;
}

static err_code check(struct store *st, const struct job_export_params *params, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)1 << 30);
    struct export_filter *filter;
    struct export_members members;
    struct store_commit last;
    TRY(check_shape(params, e));
    TRY(store_last(st, &last, e));
    const struct export_filter_scope scope = { st, export_base(params), last.t, NULL };
    TRY(export_filter_new(&scope, params, clock_wall_ms(), a, &filter, e));
    TRY(export_members_read(st, params, STORE_NOW, a, &members, e));
    return check_patients(st, params, &members, e);
}

err_code export_check(const struct job_engine_config *cfg, sv datastore_id,
                      const struct job_export_params *params, struct err *e)
{
    struct store *st;
    if (params == NULL)
        return ERR_OK;
    TRY(store_registry_acquire(cfg->stores, datastore_id, false, &st, e));
    err_code rc = check(st, params, e);
    store_registry_release(cfg->stores, st);
    return rc;
}

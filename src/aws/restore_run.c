/* restore_run.c - the data of a new data store is copied from another one, in the background.
 *
 *   a horizon of the source: no commit gets an instant up to the one that is asked for any more
 *   the last commit up to it
 *   a copy as of that commit (store/copy.h)
 *
 * The instant decides, and the source's commits do not change, so whatever ends the process, the
 * next one begins anew and makes the same. The copy is compared with the source, type by type,
 * before there is a data store. */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/log.h"

static err_code copy(struct service *service, const struct datastore *datastore, struct store *from,
                     struct store_sums *sums, struct err *e)
{
    struct store_commit horizon, at;
    TRY(store_horizon(from, &horizon, e));
    if (horizon.instant_ms < datastore->restored_at_ms)
        return ERR(e, ERR_CONFLICT,
                   "the clock has gone back behind the instant that is to be restored");
    TRY(store_commit_at(from, datastore->restored_at_ms, &at, e));
    return store_registry_copy(service->cfg.stores, from, datastore->id, at.t, &service->stopping,
                               sums, e);
}

err_code restore_run(struct service *service, const struct datastore *datastore, struct err *e)
{
    struct store *from;
    struct store_sums *sums = calloc(1, sizeof *sums);
    const uint64_t began_us = clock_mono_us();
    uint64_t n_resources = 0, n_versions = 0;
    if (sums == NULL)
        abort();
    err_code rc =
        store_registry_acquire(service->cfg.stores, datastore->restored_from, false, &from, e);
    if (rc == ERR_OK) {
        rc = copy(service, datastore, from, sums, e);
        store_registry_release(service->cfg.stores, from);
    }
    for (size_t i = 0; i < STORE_TYPES; i++) {
        n_resources += sums->of[i].n_resources;
        n_versions += sums->of[i].n_versions;
    }
    if (rc == ERR_OK)
        LOG(LOG_INFO, "datastore_restored", LOG_SV("datastore", datastore->id),
            LOG_SV("source", datastore->restored_from), LOG_INT("commit", sums->at.t),
            LOG_INT("resources", n_resources), LOG_INT("versions", n_versions),
            LOG_INT("ms", (clock_mono_us() - began_us) / 1000));
    free(sums);
    return rc;
}

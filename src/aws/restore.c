/* restore.c - RestoreFHIRDatastore: a new data store with what another one held at an instant.
 *
 * The source and the instant are checked, and stand in the new record, CREATING. The data is copied
 * in the background (restore_run.c). */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "codec/instant.h"
#include "kms/keeper.h"

static sv instant_text(struct call *call, int64_t ms)
{
    char text[INSTANT_LEN];
    instant_format(ms, text);
    return arena_sv(call->a, sv_make(text, sizeof text));
}

/* The instant that is asked for: the latest, unless one is given. */
static err_code check_point(struct call *call, const struct datastore *source, int64_t *out,
                            struct err *e)
{
    yyjson_val *given = json_get(
        json_get(call_member(call, "RestoreConfiguration"), "ContinuousBackupRestoreConfiguration"),
        "RestorePointTime");
    int64_t from, to, at;
    if (!backup_window(source, clock_wall_ms(), &from, &to))
        return ERR(e, ERR_INVALID,
                   "SourceDatastoreId: data store %.*s has no backup: UpdateFHIRDatastore enables "
                   "it, from then on",
                   SV_FMT(source->id));
    if (given == NULL || yyjson_is_null(given))
        at = to;
    else if (!shape_timestamp_ms(given, &at) || at < from || at > to)
        return ERR(e, ERR_INVALID,
                   "RestoreConfiguration.ContinuousBackupRestoreConfiguration.RestorePointTime "
                   "must be an instant from %.*s to %.*s",
                   SV_FMT(instant_text(call, from)), SV_FMT(instant_text(call, to)));
    *out = at;
    return ERR_OK;
}

/* The files of a restored data store are its source's, under the source's keys. */
static err_code check_same_key(struct call *call, yyjson_val *given, yyjson_val *source,
                               struct err *e)
{
    return given == NULL || !store_registry_keeps(call->service->cfg.stores, SV_LIT(KEEPER_KMS)) ||
                   sv_eq(datastore_customer_key(given), datastore_customer_key(source))
               ? ERR_OK
               : ERR(e, ERR_INVALID,
                     "SseConfiguration: a restored data store is encrypted as its source is; leave "
                     "it out, or give the source's");
}

/* datastore_fill_fn: what the request does not give is the source's. */
static err_code fill_restored(struct call *call, struct datastore *datastore, struct err *e)
{
    struct datastore source;
    sv id = call_text(call, "SourceDatastoreId");
    if (!store_registry_copies(call->service->cfg.stores))
        return ERR(e, ERR_INVALID,
                   "This server keeps data stores in a database, and restores none");
    TRY(datastore_read(call->service, id, call->a, &source, e));
    if (datastore_in_transition(&source))
        return ERR(e, ERR_CONFLICT, "Data store is %.*s and cannot be restored from now",
                   SV_FMT(source.status));
    if (sv_eq(source.status, SV_LIT("DELETED")) &&
        (!datastore_is_kept(&source) || source.backup.until_ms <= clock_wall_ms()))
        return ERR(e, ERR_NOT_FOUND, "Data store %.*s is DELETED, and its backup is not kept",
                   SV_FMT(source.id));
    TRY(check_same_key(call, datastore->sse, source.sse, e));
    TRY(check_point(call, &source, &datastore->restored_at_ms, e));
    datastore->restored_from = source.id;
    if (datastore->name.ptr == NULL)
        datastore->name = source.name;
    if (datastore->sse == NULL)
        datastore->sse = source.sse;
    if (datastore->identity == NULL)
        datastore->identity = source.identity;
    if (datastore->tags == NULL && source.backup.tags)
        datastore->tags = source.tags;
    return ERR_OK;
}

err_code op_restore_datastore(struct call *call, struct err *e)
{
    struct datastore source;
    /* the right first: who may not learns nothing of the source */
    TRY(call_datastore(call, call_text(call, "SourceDatastoreId"), &source, e));
    yyjson_val *sse = call_member(call, "SseConfiguration");
    return datastore_make(call, fill_restored, sse ? sse : source.sse, e);
}

/* datastore_answer.c - how an answer tells of a data store. Settings that its creator did not give
 * are shown as HealthLake's defaults. */
#include "aws/aws_private.h"

#include "base/clock.h"

static sv endpoint(struct call *call, sv id)
{
    return ARENA_JOIN(call->a, datastore_url(call->service, call->req, id), SV_LIT("/"));
}

/* Continuous backup that was never enabled has nothing to tell. */
static void answer_backup(struct json_writer *w, const struct datastore *datastore)
{
    const struct datastore_backup *b = &datastore->backup;
    int64_t from, to;
    if (b->enabled_ms == 0)
        return;
    json_key(w, "BackupStatusInfo");
    json_obj(w);
    json_key(w, "Configuration");
    json_obj(w);
    json_kv_str(w, "Status", b->enabled ? SV_LIT("ENABLED") : SV_LIT("DISABLED"));
    json_kv_str(w, "BackupType", SV_LIT("CONTINUOUS"));
    json_kv_u64(w, "RetentionPeriodInDays", b->days);
    json_kv_bool(w, "BackupTagsEnabled", b->tags);
    json_obj_end(w);
    json_key(w, "BackupEnabledAt");
    json_epoch_ms(w, b->enabled_ms);
    if (backup_window(datastore, clock_wall_ms(), &from, &to)) {
        json_key(w, "EarliestRestorePoint");
        json_epoch_ms(w, from);
        json_key(w, "LatestRestorePoint");
        json_epoch_ms(w, to);
        if (b->until_ms) {
            json_key(w, "ScheduledPermanentDeletionTime");
            json_epoch_ms(w, b->until_ms);
        }
    }
    json_obj_end(w);
}

/* What Create, Restore and Delete tell. */
void datastore_answer_brief(struct call *call, const struct datastore *datastore)
{
    json_kv_str(&call->out, "DatastoreId", datastore->id);
    json_kv_str(&call->out, "DatastoreArn", datastore->arn);
    json_kv_str(&call->out, "DatastoreStatus", datastore->status);
    json_kv_str(&call->out, "DatastoreEndpoint", endpoint(call, datastore->id));
}

/* What Describe, List and Update tell. */
void datastore_answer_properties(struct call *call, const struct datastore *datastore)
{
    struct json_writer *w = &call->out;
    json_obj(w);
    json_kv_str(w, "DatastoreId", datastore->id);
    json_kv_str(w, "DatastoreArn", datastore->arn);
    if (datastore->name.ptr)
        json_kv_str(w, "DatastoreName", datastore->name);
    json_kv_str(w, "DatastoreStatus", datastore->status);
    json_key(w, "CreatedAt");
    json_epoch_ms(w, datastore->created_ms);
    json_kv_str(w, "DatastoreTypeVersion", SV_LIT("R4"));
    json_kv_str(w, "DatastoreEndpoint", endpoint(call, datastore->id));
    json_key(w, "SseConfiguration");
    if (datastore->sse)
        json_val(w, datastore->sse);
    else
        json_raw(w, SV_LIT("{\"KmsEncryptionConfig\":{\"CmkType\":\"AWS_OWNED_KMS_KEY\"}}"));
    json_kv_given(w, "PreloadDataConfig", datastore->preload);
    json_key(w, "IdentityProviderConfiguration");
    if (datastore->identity)
        json_val(w, datastore->identity);
    else
        json_raw(w, SV_LIT("{\"AuthorizationStrategy\":\"AWS_AUTH\","
                           "\"FineGrainedAuthorizationEnabled\":false}"));
    answer_backup(w, datastore);
    if (datastore->error_message.len) {
        json_key(w, "ErrorCause");
        json_obj(w);
        json_kv_str(w, "ErrorMessage", datastore->error_message);
        json_kv_str(w, "ErrorCategory", datastore->error_category);
        json_obj_end(w);
    }
    json_obj_end(w);
}

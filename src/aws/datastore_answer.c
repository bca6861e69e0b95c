/* datastore_answer.c - how answers of the control plane tell of a data store.
 *
 * Settings that its creator did not give are shown as HealthLake's defaults. */
#include "aws/aws_private.h"

static sv endpoint(struct call *c, sv id)
{
    return ARENA_JOIN(c->a, datastore_url(c->s, c->req, id), SV_LIT("/"));
}

void datastore_answer_brief(struct call *c, const struct datastore *d)
{
    json_kv_str(&c->out, "DatastoreId", d->id);
    json_kv_str(&c->out, "DatastoreArn", d->arn);
    json_kv_str(&c->out, "DatastoreStatus", d->status);
    json_kv_str(&c->out, "DatastoreEndpoint", endpoint(c, d->id));
}

void datastore_answer_properties(struct call *c, const struct datastore *d)
{
    struct json_writer *w = &c->out;
    json_obj(w);
    json_kv_str(w, "DatastoreId", d->id);
    json_kv_str(w, "DatastoreArn", d->arn);
    if (d->name.ptr)
        json_kv_str(w, "DatastoreName", d->name);
    json_kv_str(w, "DatastoreStatus", d->status);
    json_key(w, "CreatedAt");
    json_epoch_ms(w, d->created_ms);
    json_kv_str(w, "DatastoreTypeVersion", SV_LIT("R4"));
    json_kv_str(w, "DatastoreEndpoint", endpoint(c, d->id));
    json_key(w, "SseConfiguration");
    if (d->sse)
        json_val(w, d->sse);
    else
        json_raw(w, SV_LIT("{\"KmsEncryptionConfig\":{\"CmkType\":\"AWS_OWNED_KMS_KEY\"}}"));
    json_kv_given(w, "PreloadDataConfig", d->preload);
    json_key(w, "IdentityProviderConfiguration");
    if (d->identity)
        json_val(w, d->identity);
    else
        json_raw(w, SV_LIT("{\"AuthorizationStrategy\":\"AWS_AUTH\","
                           "\"FineGrainedAuthorizationEnabled\":false}"));
    if (d->error_message.len) {
        json_key(w, "ErrorCause");
        json_obj(w);
        json_kv_str(w, "ErrorMessage", d->error_message);
        json_kv_str(w, "ErrorCategory", d->error_category);
        json_obj_end(w);
    }
    json_obj_end(w);
}

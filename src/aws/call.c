/* call.c - what an operation asks about its call: members of the request, the caller's right to do
 * it, and the data store that it is on. */
#include "aws/aws_private.h"

#include "base/clock.h"

yyjson_val *call_member(const struct call *call, const char *name)
{
    yyjson_val *v = json_get(call->input, name);
    return yyjson_is_null(v) ? NULL : v;
}

sv call_text(const struct call *call, const char *name)
{
    return json_string(call_member(call, name));
}

int64_t call_time_ms(yyjson_val *v)
{
    int64_t ms;
    return shape_timestamp_ms(v, &ms) ? ms : 0;
}

err_code call_allowed(struct call *call, const struct datastore *datastore, struct err *e)
{
    struct rights r = { .arn = datastore ? datastore->arn : SV_LIT("*"),
                        .unknown = datastore && datastore->id.ptr == NULL,
                        .tags = datastore ? datastore->tags : NULL,
                        .sent = call_member(call, "Tags"),
                        .sent_keys = call_member(call, "TagKeys") };
    return rights_ask_by(call->a, &call->caller, call->op->name, &r, &call->caller.by, e);
}

void call_watch(struct call *call, sv id)
{
    call->watched = id;
    if (!call->waited)
        call->parked = parking_take(call->service->cfg.parking, call->caller.access_key_id, id,
                                    clock_mono_us());
}

err_code call_datastore(struct call *call, sv id, struct datastore *out, struct err *e)
{
    struct err why;
    struct datastore datastore = { 0 };
    err_code rc = datastore_read(call->service, id, call->a, &datastore, &why);
    if (rc != ERR_OK)
        datastore = (struct datastore){ .arn = datastore_arn(call->service, call->a, id) };
    TRY(call_allowed(call, &datastore, e));
    if (rc != ERR_OK)
        return err_pass(e, &why);
    const struct quota_ask ask = { .action = call->op->name, .store = id };
    /* an answer that waited was counted the first time */
    if (!call->waited)
        TRY(quota_take(call->service->quota, &ask, clock_mono_us(), &call->wait_s, e));
    *out = datastore;
    return ERR_OK;
}

err_code call_change(struct call *call, operation_fn fn, struct err *e)
{
    err_code rc = ERR_PRECONDITION;
    pthread_mutex_lock(&call->service->aws->records_lock);
    for (int i = 0; i < DATASTORE_TRIES && rc == ERR_PRECONDITION; i++)
        rc = fn(call, e);
    pthread_mutex_unlock(&call->service->aws->records_lock);
    return rc == ERR_PRECONDITION
               ? ERR(e, ERR_CONFLICT, "The data store is being changed by others; try again")
               : rc;
}

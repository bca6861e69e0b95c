/* call.c - what an operation asks about its call: members of the request, the caller's right to do
 * it, and the data store that it is on. */
#include "aws/aws_private.h"

#include "base/clock.h"

yyjson_val *call_member(const struct call *c, const char *name)
{
    yyjson_val *v = json_get(c->input, name);
    return yyjson_is_null(v) ? NULL : v;
}

sv call_text(const struct call *c, const char *name)
{
    return json_string(call_member(c, name));
}

int64_t call_time_ms(yyjson_val *v)
{
    int64_t ms;
    return shape_timestamp_ms(v, &ms) ? ms : 0;
}

err_code call_allowed(struct call *c, const struct datastore *on, struct err *e)
{
    struct rights r = { .arn = on ? on->arn : SV_LIT("*"),
                        .unknown = on && on->id.ptr == NULL,
                        .tags = on ? on->tags : NULL,
                        .sent = call_member(c, "Tags"),
                        .sent_keys = call_member(c, "TagKeys") };
    return rights_ask(c->a, &c->caller, c->op->name, &r, e);
}

void call_watch(struct call *c, sv id)
{
    c->watched = id;
    if (!c->waited)
        c->parked = parking_take(c->s->cfg.parking, c->caller.access_key_id, id, clock_mono_us());
}

err_code call_datastore(struct call *c, sv id, struct datastore *out, struct err *e)
{
    struct err why;
    struct datastore d = { 0 };
    err_code rc = datastore_read(c->s, id, c->a, &d, &why);
    if (rc != ERR_OK)
        d = (struct datastore){ .arn = datastore_arn(c->s, c->a, id) };
    TRY(call_allowed(c, &d, e));
    if (rc != ERR_OK)
        return err_pass(e, &why);
    *out = d;
    return ERR_OK;
}

/* datastore_told.c - what is told of data stores, as HealthLake tells EventBridge: an event for
 * each status that one comes to. Source: Amazon HealthLake, "Monitoring with EventBridge". */
#include "base/clock.h"
#include "event/event.h"
#include "service/plane.h"

static const struct {
    const char *status, *detail_type;
} told[] = {
    { "CREATING", "Data Store Creating" },
    { "ACTIVE", "Data Store Active" },
    { "CREATE_FAILED", "Data Store Creation Failed" },
    { "DELETING", "Data Store Deleting" },
    { "DELETED", "Data Store Deleted" },
};

struct telling {
    const struct datastore *datastore;
    sv url; /* below which it is; empty: only requests know, by their Host */
};

static void detail(const void *of, struct json_writer *w)
{
    const struct telling *telling = of;
    json_kv_str(w, "datastoreId", telling->datastore->id);
    if (telling->datastore->name.ptr)
        json_kv_str(w, "datastoreName", telling->datastore->name);
    json_kv_str(w, "datastoreTypeVersion", SV_LIT("R4"));
    if (telling->url.len)
        json_kv_str(w, "datastoreEndpoint", telling->url);
}

static sv url_of(struct service *service, struct arena *a, sv id)
{
    sv root = service->cfg.public_url;
    while (root.len && root.ptr[root.len - 1] == '/')
        root.len--;
    return root.len ? ARENA_JOIN(a, root, SV_LIT("/datastore/"), id, SV_LIT("/r4/")) : SV_NONE;
}

err_code datastore_told(struct service *service, const struct datastore *datastore, struct arena *a,
                        struct records_write *out, bool *any, struct err *e)
{
    struct telling telling = { datastore, url_of(service, a, datastore->id) };
    struct event event = { .subject = datastore->id,
                           .state = datastore->status,
                           .resource = datastore->arn,
                           .time_ms = clock_wall_ms(),
                           .detail = detail,
                           .of = &telling };
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
        if (sv_eq_cstr(datastore->status, told[i].status))
            event.detail_type = told[i].detail_type;
    bool is_told = service->cfg.events && event.detail_type;
    if (is_told)
        TRY(events_write(service->cfg.events, &event, a, out, e));
    *any = is_told;
    return ERR_OK;
}

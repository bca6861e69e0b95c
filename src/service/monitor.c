/* monitor.c - what monitors ask, without a signature: is the server there? */
#include "service/service_private.h"

#include "codec/json.h"
#include "store/nodes.h"

static const struct records *told_of; /* NULL: of none */

void service_health_of(const struct records *records)
{
    told_of = records;
}

static void write_node(struct json_writer *w)
{
    if (told_of == NULL || !records_shared(told_of))
        return;
    json_kv_str(w, "node", nodes_self(told_of));
    json_kv_str(w, "database", nodes_reached(told_of) ? SV_LIT("reached") : SV_LIT("lost"));
}

void service_health_write(struct buf *out)
{
    struct json_writer w;
    /* small and well formed: cannot fail */
    struct err ignored;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "status", SV_LIT("ok"));
    json_kv_str(&w, "version", SV_LIT(FHIRLAKE_VERSION));
    write_node(&w);
    json_obj_end(&w);
    IGNORE(json_writer_end(&w, &ignored));
}

static void health(struct http_exchange *x, const char *request_id)
{
    struct answer an = { .status = 200, .content_type = SERVICE_HEALTH_TYPE };
    buf_init(&an.body, 1024);
    service_health_write(&an.body);
    service_reply(x, &an, "health", request_id, SV_NONE);
}

bool monitor_answers(struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    if ((!sv_eq(req->method, SV_LIT("GET")) && !sv_eq(req->method, SV_LIT("HEAD"))) ||
        !sv_eq(req->path, SV_LIT("/health")))
        return false;
    health(x, request_id);
    return true;
}

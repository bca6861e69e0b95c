/* monitor.c - what monitors ask, without a signature: is the server there? */
#include "service/service_private.h"

#include "codec/json.h"

static void health(struct http_exchange *x, const char *request_id)
{
    struct answer an = { .status = 200, .content_type = "application/json" };
    struct json_writer w;
    /* small and well formed: cannot fail */
    struct err ignored;
    buf_init(&an.body, 1024);
    json_writer_init(&w, &an.body);
    json_obj(&w);
    json_kv_str(&w, "status", SV_LIT("ok"));
    json_kv_str(&w, "version", SV_LIT(FHIRLAKE_VERSION));
    json_obj_end(&w);
    IGNORE(json_writer_end(&w, &ignored));
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

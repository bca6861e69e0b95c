/* door.c - what is refused before a caller is known, and in which words: the caller's protocol as far as the path tells
 * it (an OperationOutcome below /datastore/, AWS JSON at /), else a small JSON text. */
#include "service/service_private.h"

#include "service/rest_private.h"

struct refusal {
    unsigned status;
    const char *name;      /* in the log */
    const char *exception; /* at / */
    const char *code;      /* of an OperationOutcome */
    sv message;
    bool again; /* worth asking again in a second */
};

static err_code write_body(const struct refusal *r, bool fhir, struct buf *out, struct err *e)
{
    struct json_writer w;
    if (fhir)
        return rest_outcome_write(&(struct rest_issue){ "error", r->code, r->message, SV_NONE }, 1,
                                  out, e);
    if (r->exception)
        return error_aws_body(r->exception, r->message, out, e);
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "message", r->message);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static void answer(struct http_exchange *x, struct refusal r, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    bool fhir = sv_starts(req->path, SV_LIT("/datastore/"));
    if (fhir || !sv_eq(req->path, SV_LIT("/")))
        r.exception = NULL;
    struct http_header h[4];
    size_t n = 0;
    sv kind = fhir          ? SV_LIT("application/fhir+json;charset=utf-8")
              : r.exception ? SV_LIT("application/x-amz-json-1.0")
                            : SV_LIT("application/json");
    h[n++] = (struct http_header){ SV_LIT("Content-Type"), kind };
    h[n++] = (struct http_header){ SV_LIT("x-amzn-RequestId"), sv_from(request_id) };
    if (r.exception)
        h[n++] = (struct http_header){ SV_LIT("x-amzn-errortype"), sv_from(r.exception) };
    if (r.again)
        h[n++] = (struct http_header){ SV_LIT("Retry-After"), SV_LIT("1") };
    CLEANUP_BUF struct buf body = BUF_INIT(4096);
    struct err ignored; /* bounded text, well formed: cannot fail */
    IGNORE(write_body(&r, fhir, &body, &ignored));
    service_reply_with(x, r.status, h, n, &body, "door", r.name, request_id, SV_NONE);
}

static bool is_health(const struct http_request *req)
{
    return sv_eq(req->path, SV_LIT("/health")) &&
           (sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD")));
}

bool door_refuses(struct service *s, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    struct refusal r = { 0 };
    (void)s;
    if (req->refusal == HTTP_MALFORMED)
        r = (struct refusal){ 400,       "malformed",       "SerializationException",
                              "invalid", sv_from(req->why), false };
    else if (req->crowded && !is_health(req))
        r = (struct refusal){
            503,
            "crowded",
            "ServiceUnavailableException",
            "transient",
            SV_LIT("Too many connections are open, or too many of this address; try again later"),
            true
        };
    if (r.status)
        answer(x, r, request_id);
    return r.status != 0;
}

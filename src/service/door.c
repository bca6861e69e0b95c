/* door.c - what is refused before a caller is known, and in which words: the caller's protocol as far as the path tells
 * it (an OperationOutcome below /datastore/, AWS JSON at /), else a small JSON text.
 *
 * A body is asked about when its head is there (service_accept): where it would go nowhere, or its caller is not one of
 * ours, it is not read. */
#include "service/service_private.h"

#include "base/clock.h"
#include "base/limits.h"
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

/* An error of the inner rooms, as they would tell it. */
static struct refusal refusal_of(const struct http_request *req, const struct err *e)
{
    const struct error_aws *aws = error_as_aws(e->code);
    const struct error_fhir *fhir = error_as_fhir(e->code);
    bool is_fhir = sv_starts(req->path, SV_LIT("/datastore/"));
    return (struct refusal){ .status = is_fhir ? fhir->status : aws->status,
                             .name = err_code_name(e->code),
                             .exception = aws->exception,
                             .code = fhir->issue_type,
                             .message = sv_from(e->msg) };
}

/* ---- with the head ---- */

/* /datastore/ID/r4, and what is below it. */
static bool is_below_a_data_store(sv path)
{
    sv rest = path, part, id, r4;
    if (!sv_cut(&rest, '/', &part) || !sv_cut(&rest, '/', &part) || !sv_cut(&rest, '/', &id) ||
        !sv_cut(&rest, '/', &r4) || !sv_eq(r4, SV_LIT("r4")) || id.len != 32)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!((id.ptr[i] >= '0' && id.ptr[i] <= '9') || (id.ptr[i] >= 'a' && id.ptr[i] <= 'f')))
            return false;
    return true;
}

static size_t body_max(const struct http_request *req)
{
    if (!sv_starts(req->path, SV_LIT("/datastore/")))
        return LIMIT_CONTROL_BODY_BYTES;
    bool system = sv_ends(req->path, SV_LIT("/r4")) || sv_ends(req->path, SV_LIT("/r4/"));
    return system && sv_eq(req->method, SV_LIT("POST")) ? LIMIT_BUNDLE_BYTES
                                                        : LIMIT_DATA_BODY_BYTES;
}

static err_code ask_head(struct service *s, const struct http_request *req, struct auth_pass *pass,
                         struct err *e)
{
    TRY(auth_begin(s->cfg.auth, req, clock_wall_ms(), pass, e));
    if (sv_starts(req->path, SV_LIT("/datastore/")) && !is_below_a_data_store(req->path))
        return ERR(e, ERR_NOT_FOUND, "The FHIR API of a data store is below /datastore/ID/r4/");
    return ERR_OK;
}

void service_accept(void *service, struct http_request *req, struct http_allowance *out)
{
    struct auth_pass *pass = ARENA_NEW(req->arena, struct auth_pass);
    struct refusal *refusal = ARENA_NEW(req->arena, struct refusal);
    struct err *e = ARENA_NEW(req->arena, struct err); /* holds the refusal's text */
    bool fhir = sv_starts(req->path, SV_LIT("/datastore/"));
    bool control = sv_eq(req->path, SV_LIT("/")) && sv_eq(req->method, SV_LIT("POST"));
    out->body_max = body_max(req);
    out->refused = !fhir && !control; /* nothing there reads a body */
    if (out->refused || (req->length != HTTP_UNTOLD && req->length > out->body_max))
        return;
    if (pass == NULL || refusal == NULL || e == NULL)
        abort(); /* a fresh arena always has room for them */
    err_code rc = ask_head(service, req, pass, e);
    out->refused = rc != ERR_OK;
    out->proven = pass->proven;
    req->left = pass;
    if (rc != ERR_OK) {
        e->code = rc;
        *refusal = refusal_of(req, e);
        req->left = refusal;
    }
}

/* ---- with the whole ---- */

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
    else if (req->refusal == HTTP_REFUSED && req->left)
        r = *(const struct refusal *)req->left;
    else if (req->refusal == HTTP_NO_ROOM)
        r = (struct refusal){
            503,
            "no room",
            "ServiceUnavailableException",
            "transient",
            SV_LIT("Too many bodies are under way, or too many of this address; try again later"),
            true
        };
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

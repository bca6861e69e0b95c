/* door.c - requests that are refused before anybody asks who calls.
 *
 *   service_accept   the head is there, the body is not: is it worth reading?
 *   door_refuses     the whole request is there, before it goes to its plane
 *
 * A body is not read when nothing at its path takes one, when it is too large, or when the head
 * shows that its caller is not one of ours. A refusal is in the caller's protocol, as far as the
 * path tells it: an OperationOutcome below /datastore/, AWS JSON at /, else a small JSON text.
 *
 * With --auth none every program of this machine may call. A browser is such a program, and any web
 * page gives it orders. A page can have its own host name resolve to this address: so Host must be
 * a name that nobody else can have. A page can also send forms and ask for pictures without leave:
 * so a request that the browser says comes from another origin is refused. */
#include "service/service_private.h"

#include "auth/bearer/bearer.h"
#include "base/clock.h"
#include "base/limits.h"
#include "codec/uri.h"

struct refusal {
    unsigned status;
    const char *name;      /* for the log */
    const char *exception; /* AWS's, at / */
    const char *code;      /* of an OperationOutcome, below /datastore/ */
    sv message;
    bool again;            /* adds Retry-After: 1 */
    err_code why;          /* ERR_OK: it is no inner room's */
    const char *challenge; /* WWW-Authenticate; NULL: none */
};

static err_code write_body(const struct refusal *r, bool fhir, struct buf *out, struct err *e)
{
    struct json_writer w;
    if (fhir)
        return error_fhir_body(r->code, r->message, out, e);
    if (r->exception)
        return error_aws_body(r->exception, r->message, out, e);
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "message", r->message);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static void answer(struct service *service, struct http_exchange *x, struct refusal r,
                   const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    bool fhir = sv_starts(req->path, SV_LIT("/datastore/"));
    if (fhir || !sv_eq(req->path, SV_LIT("/")))
        r.exception = NULL;
    struct http_header h[5];
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
    if (r.challenge)
        h[n++] = (struct http_header){ SV_LIT("WWW-Authenticate"), sv_from(r.challenge) };
    CLEANUP_BUF struct buf body = BUF_INIT(4096);
    /* bounded text: writing it cannot fail */
    struct err ignored;
    IGNORE(write_body(&r, fhir, &body, &ignored));
    metrics_request(service->cfg.metrics, NULL, SV_NONE, r.status, clock_mono_us() - req->start_us);
    metrics_refused(service->cfg.metrics, req, r.why);
    struct trail *trail = trail_of(x);
    if (trail)
        trail->facts.rc = r.why;
    service_reply_with(x, r.status, h, n, &body, "door", r.name, request_id, SV_NONE);
}

/* Does the request say that it has an access token? */
static bool claims_token(const struct http_request *req)
{
    sv said = sv_trim(http_header_get(req, "Authorization"));
    return sv_eq_nocase(sv_head(said, 6), SV_LIT("Bearer"));
}

/* The refusal that says an error of an inner room, as that room's plane would say it. */
static struct refusal refusal_of(const struct service *service, const struct http_request *req,
                                 const struct err *e)
{
    const struct error_aws *aws = error_as_aws(e->code);
    const struct error_fhir *fhir = error_as_fhir(e->code);
    bool is_fhir = sv_starts(req->path, SV_LIT("/datastore/"));
    return (struct refusal){ .status = is_fhir ? fhir->status : aws->status,
                             .name = err_code_name(e->code),
                             .exception = aws->exception,
                             .code = fhir->issue_type,
                             .message = sv_from(e->msg),
                             .why = e->code,
                             .challenge = is_fhir && service_takes_tokens(service)
                                              ? error_challenge(e->code, claims_token(req))
                                              : NULL };
}

/* ---- without signatures ---- */

static sv without_port(sv host)
{
    size_t end = host.len;
    while (end > 0 && host.ptr[end - 1] >= '0' && host.ptr[end - 1] <= '9')
        end--;
    return end > 0 && host.ptr[end - 1] == ':' ? sv_head(host, end - 1) : host;
}

/* Is it a name that nobody else's page can have: loopback's, or the one that the operator gave? */
static bool is_our_name(const struct service *service, sv host)
{
    sv name = without_port(sv_trim(host));
    struct uri_http public;
    if (sv_eq_nocase(name, SV_LIT("localhost")) || sv_eq(name, SV_LIT("[::1]")) ||
        uri_is_loopback_v4(name))
        return true;
    return service->cfg.public_url.len &&
           uri_http_parse(service->cfg.public_url, &public, NULL) == ERR_OK &&
           sv_eq_nocase(name, public.host);
}

/* Is the origin "http://" (over TLS "https://") and the Host, or that of the public URL? */
static bool is_our_origin(const struct service *service, const struct http_request *req, sv origin)
{
    sv url = service->cfg.public_url, host = sv_trim(http_header_get(req, "Host"));
    sv scheme = datastore_scheme(req);
    if (sv_eq_nocase(sv_head(origin, scheme.len), scheme) &&
        sv_eq_nocase(sv_tail(origin, scheme.len), host))
        return true;
    return origin.len && url.len >= origin.len && sv_eq_nocase(sv_head(url, origin.len), origin) &&
           (url.len == origin.len || url.ptr[origin.len] == '/');
}

static bool is_health(const struct http_request *req)
{
    return sv_eq(req->path, SV_LIT("/health")) &&
           (sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD")));
}

/* Is this asked by a page of another origin? Status 0: no, or it does no harm. */
static struct refusal of_another_origin(const struct service *service,
                                        const struct http_request *req)
{
    sv host = http_header_get(req, "Host"), origin = http_header_get(req, "Origin");
    sv site = sv_trim(http_header_get(req, "Sec-Fetch-Site"));
    struct refusal r = { 0 };
    if (!auth_is_open(service->cfg.auth) || is_health(req) || console_asked(req))
        return r;
    if (!is_our_name(service, host))
        r = (struct refusal){ 421,
                              "host",
                              "AccessDeniedException",
                              "forbidden",
                              SV_LIT("Host must name this machine: with --auth none localhost, "
                                     "127.0.0.0/8 and [::1] are answered"),
                              false };
    else if ((origin.ptr && !is_our_origin(service, req, sv_trim(origin))) ||
             (site.len && !sv_eq(site, SV_LIT("same-origin")) && !sv_eq(site, SV_LIT("none"))))
        r = (struct refusal){
            403,
            "origin",
            "AccessDeniedException",
            "forbidden",
            SV_LIT("A page of another origin asks; with --auth none that is refused"),
            false
        };
    return r;
}

/* ---- with the head ---- */

/* Is it /datastore/ID/r4, or below it? */
static bool is_below_a_data_store(sv path)
{
    sv rest = path, part, id, r4;
    if (!sv_cut(&rest, '/', &part) || !sv_cut(&rest, '/', &part) || !sv_cut(&rest, '/', &id) ||
        !sv_cut(&rest, '/', &r4))
        return false;
    return sv_eq(r4, SV_LIT("r4")) && sv_is_hex(id, 32);
}

/* Who asks for a token has none yet, and signs nothing: his proof is in the body. */
static bool asks_for_token(const struct service *service, const struct http_request *req)
{
    return service->cfg.issue && sv_ends(req->path, SV_LIT("/r4/" ISSUE_PATH)) &&
           is_below_a_data_store(req->path);
}

static size_t body_max(const struct http_request *req)
{
    if (!sv_starts(req->path, SV_LIT("/datastore/")))
        return LIMIT_CONTROL_BODY_BYTES;
    bool system = sv_ends(req->path, SV_LIT("/r4")) || sv_ends(req->path, SV_LIT("/r4/"));
    return system && sv_eq(req->method, SV_LIT("POST")) ? LIMIT_BUNDLE_BYTES
                                                        : LIMIT_DATA_BODY_BYTES;
}

static err_code ask_head(struct service *service, const struct http_request *req,
                         struct auth_pass *pass, struct err *e)
{
    bool fhir = sv_starts(req->path, SV_LIT("/datastore/"));
    sv token = SV_NONE;
    /* Which data store it is for, and whether it is good there, is asked when the body is there. */
    if (fhir && service_takes_tokens(service))
        TRY(bearer_claimed(req, false, &token, e));
    pass->begun_ms = clock_wall_ms();
    if (token.ptr == NULL || auth_is_open(service->cfg.auth))
        TRY(auth_begin(service->cfg.auth, req, pass->begun_ms, pass, e));
    if (sv_starts(req->path, SV_LIT("/datastore/")) && !is_below_a_data_store(req->path))
        return ERR(e, ERR_NOT_FOUND, "The FHIR API of a data store is below /datastore/ID/r4/");
    return ERR_OK;
}

void service_accept(void *service, struct http_request *req, struct http_allowance *out)
{
    struct auth_pass *pass = ARENA_NEW(req->arena, struct auth_pass);
    struct refusal *refusal = ARENA_NEW(req->arena, struct refusal);
    /* the refusal's text is a view of it */
    struct err *e = ARENA_NEW(req->arena, struct err);
    bool fhir = sv_starts(req->path, SV_LIT("/datastore/"));
    bool control = sv_eq(req->path, SV_LIT("/")) && sv_eq(req->method, SV_LIT("POST"));
    bool token = asks_for_token(service, req);
    out->body_max = token ? ISSUE_FORM_MAX : body_max(req);
    /* nothing else reads a body */
    out->refused = !fhir && !control;
    if (out->refused || (req->length != HTTP_UNTOLD && req->length > out->body_max))
        return;
    /* a fresh arena always has room for them */
    if (pass == NULL || refusal == NULL || e == NULL)
        abort();
    *refusal = of_another_origin(service, req);
    if (refusal->status) {
        out->refused = true;
        req->left = refusal;
        return;
    }
    if (token)
        return;
    err_code rc = ask_head(service, req, pass, e);
    out->refused = rc != ERR_OK;
    out->proven = pass->proven;
    req->left = pass;
    if (rc != ERR_OK) {
        e->code = rc;
        *refusal = refusal_of(service, req, e);
        req->left = refusal;
    }
}

/* ---- with the whole ---- */

bool door_refuses(struct service *service, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    struct refusal r = { 0 };
    if (req->refusal == HTTP_MALFORMED)
        r = (struct refusal){ 400,       "malformed",       "SerializationException",
                              "invalid", sv_from(req->why), false };
    else if (req->refusal == HTTP_REFUSED && req->left)
        r = *(const struct refusal *)req->left;
    else if (req->refusal == HTTP_STRANGER)
        r = (struct refusal){ 403,         "certificate",     "AccessDeniedException",
                              "forbidden", sv_from(req->why), false };
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
    else
        r = of_another_origin(service, req);
    if (req->refusal == HTTP_STRANGER)
        metrics_stranger(service->cfg.metrics);
    if (r.status)
        answer(service, x, r, request_id);
    return r.status != 0;
}

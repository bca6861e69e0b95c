/* console.c - what is asked below /console/. A browser that asks for "/" is sent there.
 *
 *   NAME          a file of the console
 *   server.json   what a page must know before it can sign: the region, and whether it has to
 *   metrics       what requests of all callers come to, for who may do everything: signed
 */
#include "console/console.h"

#include "base/clock.h"
#include "codec/json.h"
#include "service/service_private.h"

struct page {
    unsigned status;
    sv type, etag, location, caller;
    const char *error; /* AWS's name of it, or NULL */
    bool refused;
    struct buf body;
};

static bool is_get(const struct http_request *req)
{
    return sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD"));
}

static bool is_numbers(const struct http_request *req)
{
    return sv_eq(req->path, SV_LIT(CONSOLE_PLACE "metrics"));
}

static void send_page(struct http_exchange *x, struct page *page, const char *request_id)
{
    struct http_header h[CONSOLE_HEADERS + 4];
    size_t n = console_headers(page->type, page->etag, h);
    h[n++] = (struct http_header){ SV_LIT("x-amzn-RequestId"), sv_from(request_id) };
    if (page->location.len)
        h[n++] = (struct http_header){ SV_LIT("Location"), page->location };
    if (page->refused)
        h[n++] = (struct http_header){ SV_LIT("Allow"), SV_LIT("GET, HEAD") };
    if (page->error)
        h[n++] = (struct http_header){ SV_LIT("x-amzn-errortype"), sv_from(page->error) };
    service_reply_with(x, page->status, h, n, &page->body, "console",
                       page->error ? page->error : "-", request_id, page->caller);
}

static void say(struct page *page, unsigned status, sv text)
{
    struct err ignored;
    page->status = status;
    page->type = SV_LIT("text/plain; charset=utf-8");
    /* a short text: it has room */
    IGNORE(buf_add(&page->body, text, &ignored));
}

static void tell_server(const struct service *service, struct page *page)
{
    struct json_writer w;
    /* small and well formed: cannot fail */
    struct err ignored;
    page->type = SV_LIT("application/json");
    json_writer_init(&w, &page->body);
    json_obj(&w);
    json_kv_str(&w, "version", SV_LIT(FHIRLAKE_VERSION));
    json_kv_str(&w, "region", service->cfg.region);
    json_kv_str(&w, "accountId", service->cfg.account_id);
    json_kv_str(&w, "auth", auth_is_open(service->cfg.auth) ? SV_LIT("none") : SV_LIT("sigv4"));
    json_obj_end(&w);
    IGNORE(json_writer_end(&w, &ignored));
}

static err_code write_numbers(struct metrics *metrics, struct buf *out, struct err *e)
{
    struct prometheus p;
    if (metrics == NULL)
        return ERR(e, ERR_NOT_FOUND, "Requests are not counted");
    prometheus_init(&p, out);
    metrics_write(metrics, &p);
    return prometheus_end(&p, e);
}

/* They are of all callers and data stores, and no action of HealthLake's is about them: so who is
 * limited by a policy does not have them. */
static void tell_numbers(const struct service *service, const struct http_request *req,
                         struct page *page)
{
    struct auth_caller caller = { 0 };
    struct err e, ignored;
    err_code rc = auth_check(service->cfg.auth, req, clock_wall_ms(), &caller, &e);
    page->caller = caller.access_key_id;
    if (rc == ERR_OK && caller.credential && caller.credential->policy)
        rc = ERR(&e, ERR_DENIED,
                 "The numbers of the whole server are for callers without a policy, and for "
                 "monitors at --health-listen");
    if (rc == ERR_OK)
        rc = write_numbers(service->cfg.metrics, &page->body, &e);
    page->type = SV_LIT(PROMETHEUS_CONTENT_TYPE);
    if (rc == ERR_OK)
        return;
    const struct error_aws *aws = error_as_aws(rc);
    metrics_refused(service->cfg.metrics, req, rc);
    page->status = aws->status;
    page->error = aws->exception;
    page->type = SV_LIT("application/x-amz-json-1.0");
    buf_clear(&page->body);
    /* a short text: it has room */
    IGNORE(error_aws_body(aws->exception, sv_from(e.msg), &page->body, &ignored));
}

static void find(const struct service *service, const struct http_request *req, struct page *page)
{
    const struct console_file *file = console_find(req->path);
    struct err e;
    if (!is_get(req)) {
        page->refused = true;
        say(page, 405, SV_LIT("The files of the console are read with GET.\n"));
    } else if (sv_eq(req->path, SV_LIT("/console"))) {
        page->location = SV_LIT(CONSOLE_PLACE);
        say(page, 308, SV_LIT("The console is at " CONSOLE_PLACE "\n"));
    } else if (sv_eq(req->path, SV_LIT(CONSOLE_PLACE "server.json"))) {
        tell_server(service, page);
    } else if (is_numbers(req)) {
        tell_numbers(service, req, page);
    } else if (file == NULL) {
        say(page, 404, SV_LIT("The console has no such file; it begins at " CONSOLE_PLACE "\n"));
    } else {
        page->etag = file->etag;
        page->type = file->type;
        if (console_is_had(req, file))
            page->status = 304;
        else if (buf_add(&page->body, file->body, &e) != ERR_OK)
            say(page, 500, SV_LIT("Out of memory\n"));
    }
}

/* Does a person's browser ask for the front page? */
static bool is_front(const struct http_request *req)
{
    return sv_eq(req->path, SV_LIT("/")) && is_get(req) &&
           sv_starts(http_header_get(req, "Accept"), SV_LIT("text/html"));
}

bool console_asked(const struct http_request *req)
{
    return is_get(req) && !is_numbers(req) && (console_is_place(req->path) || is_front(req));
}

bool console_answers(struct service *service, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    struct page page = { .status = 200 };
    if (!service->cfg.console || !(console_is_place(req->path) || is_front(req)))
        return false;
    buf_init(&page.body, 1u << 20);
    if (is_front(req)) {
        page.location = SV_LIT(CONSOLE_PLACE);
        say(&page, 302, SV_LIT("The console is at " CONSOLE_PLACE "\n"));
    } else {
        find(service, req, &page);
    }
    send_page(x, &page, request_id);
    return true;
}

/* headers.c - the headers of a request: those that its interaction reads, and those that say in
 * which form it speaks and wants to be answered. */
#include "rest/headers_private.h"

#include "codec/media_type.h"
#include "rest/answer_private.h"
#include "rest/params_private.h"

/* A header whose value is a list may come several times: the lists are joined. */
static sv condition_header(const struct http_request *req, const char *name, bool *twice)
{
    sv all = SV_NONE;
    *twice = false;
    for (size_t i = 0; i < req->n_headers; i++) {
        sv one = req->headers[i].value;
        if (!sv_eq_nocase(req->headers[i].name, sv_from(name)))
            continue;
        *twice = all.ptr != NULL;
        all = all.ptr ? ARENA_JOIN(req->arena, all, SV_LIT(", "), one) : one;
        /* A header that is empty was sent all the same. */
        if (all.ptr == NULL)
            all = SV_LIT("");
    }
    return all;
}

void rest_headers_in(struct rest_call *call, const struct http_request *req)
{
    struct rest_request *in = &call->in;
    bool twice;
    in->method = req->method;
    in->query = req->query;
    in->body = req->body;
    in->body_unread = req->body_too_large;
    in->content_type = http_header_get(req, "Content-Type");
    in->accept = http_header_get(req, "Accept");
    in->prefer = http_header_get(req, "Prefer");
    in->if_match = condition_header(req, "If-Match", &twice);
    in->if_none_match = condition_header(req, "If-None-Match", &twice);
    in->if_none_exist = condition_header(req, "If-None-Exist", &in->if_none_exist_twice);
    in->if_modified_since = http_header_get(req, "If-Modified-Since");
    in->if_unmodified_since = condition_header(req, "If-Unmodified-Since", &twice);
    in->content_encoding = http_header_get(req, "Content-Encoding");
    in->security_context = http_header_get(req, "X-Security-Context");
    in->consistency_level = http_header_get(req, "x-amz-fhir-history-consistency-level");
    in->validation_level = http_header_get(req, "x-amzn-healthlake-fhir-validation-level");
    in->idempotency_key = http_header_get(req, "x-amz-fhir-idempotency-key");
}

static bool is_json(sv kind)
{
    static const char *const json[] = {
        "*/*",  "application/*", "application/fhir+json", "text/json", "application/json",
        "json", "text/*",        "application/json+fhir", "html",      "text/html"
    };
    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++)
        if (media_type_is(kind, json[i]))
            return rest_is_our_version(kind);
    return false;
}

err_code rest_check_format(const struct rest_call *call, struct err *e)
{
    sv format = rest_param(call, "_format"), rest = call->in.accept, one;
    /* These answer with plain JSON and NDJSON, whatever the caller prefers; a view's rows come in
     * forms of their own. */
    if (call->it->shape == REST_EXPORT_STATUS || call->it->shape == REST_EXPORT_FILE ||
        call->it->shape == REST_SMART || call->it->shape == REST_VIEW_RUN)
        return ERR_OK;
    /* The Binary's own type decides. */
    if (rest_binary_reads(call))
        return ERR_OK;
    /* a plus sign that was not encoded has become a space */
    if (format.len) {
        if (is_json(format) || sv_eq(format, SV_LIT("application/fhir json")))
            return ERR_OK;
        return ERR(e, ERR_NOT_ACCEPTABLE, "_format: only JSON is offered (application/fhir+json)");
    }
    if (sv_trim(rest).len == 0)
        return ERR_OK;
    while (media_type_next(&rest, &one))
        if (is_json(one))
            return ERR_OK;
    return ERR(e, ERR_NOT_ACCEPTABLE, "Accept: only JSON is offered (application/fhir+json)");
}

err_code rest_check_body(const struct rest_call *call, struct err *e)
{
    sv kind = call->in.content_type, charset = media_type_param(kind, "charset");
    if (call->in.content_encoding.len &&
        !sv_eq_nocase(sv_trim(call->in.content_encoding), SV_LIT("identity")))
        return ERR(e, ERR_MEDIA_TYPE, "Content-Encoding: bodies are taken as they are, not packed");
    if (call->in.consistency_level.ptr && !sv_eq(call->in.consistency_level, SV_LIT("strong")) &&
        !sv_eq(call->in.consistency_level, SV_LIT("eventual")))
        return ERR(e, ERR_INVALID,
                   "x-amz-fhir-history-consistency-level must be strong or eventual");
    if (rest_binary_writes(call) && !rest_body_may_be_resource(kind))
        return ERR_OK;
    if (charset.ptr && !sv_eq_nocase(charset, SV_LIT("utf-8")) &&
        !sv_eq_nocase(charset, SV_LIT("utf8")))
        return ERR(e, ERR_MEDIA_TYPE, "Content-Type: FHIR's JSON is UTF-8");
    if (!rest_is_our_version(kind))
        return ERR(e, ERR_MEDIA_TYPE, "Content-Type: fhirVersion must be 4.0");
    return ERR_OK;
}

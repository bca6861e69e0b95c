/* binary.c - a Binary as what it holds: content in its own type, both ways.
 *
 *   read   Accept                                    answer
 *          none                                      the resource, as of any other type
 *          application/fhir+json, application/json   the resource
 *          the content's type, or a range of it      the content
 *          a wildcard that fits both                 the content
 *          anything else                             406
 *          (several: the best q; _format wins)
 *   write  Content-Type                              the body is
 *          JSON's                                    a Binary if it says so, else content (JSON)
 *          none, a form's                            a Binary, else refused: content needs a type
 *          application/fhir+xml                      refused
 *          anything else                             content, byte for byte
 *
 * The resource is what is stored, always; X-Security-Context is its securityContext. Content is
 * sent as an attachment, in a sandbox, and with a type that is not to be guessed. Otherwise a
 * caller who may write a Binary could have a script run in a browser as if it were a page of ours.
 * Source: FHIR R4 binary.html#rest; RFC 9110 12.5.1. */
#include "rest/answer_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/media_type.h"
#include "fhir/large.h"

/* bytes of a Binary that is made of a body */
#define TEXT_MAX    ((LIMIT_DATA_BODY_BYTES / 3 + 1) * 4 + (64u << 10))
#define TYPE_MAX    255u
#define CONTEXT_MAX 512u
#define ANY_TYPE    "application/octet-stream"

static bool is_binary(fhir_type type)
{
    return type != FHIR_TYPE_NONE && strcmp(fhir_type_name(type), "Binary") == 0;
}

bool rest_binary_reads(const struct rest_call *call)
{
    return !rest_is_write(call->it) && is_binary(call->type) && !call->in_bundle &&
           (call->it->shape == REST_INSTANCE || call->it->shape == REST_VERSION);
}

bool rest_binary_writes(const struct rest_call *call)
{
    return rest_is_write(call->it) && is_binary(call->type) && !call->in_bundle &&
           (sv_eq_cstr(call->in.method, "POST") || sv_eq_cstr(call->in.method, "PUT"));
}

/* Is the text printable, so that it can go into a header or a log? */
static bool plain_text(sv text, size_t max)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7E)
            return false;
    return text.len && text.len <= max;
}

/* Parameters of the type need only be printable. */
static bool is_media_type(sv kind)
{
    return plain_text(kind, TYPE_MAX) && media_type_ok(kind);
}

/* ---- what is asked for ---- */

static bool is_fhir(sv kind)
{
    static const char *const names[] = {
        "application/fhir+json", "application/json", "application/json+fhir", "text/json", "json",
        "application/fhir json"
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (media_type_is(kind, names[i]))
            return rest_is_our_version(kind);
    return false;
}

struct wish {
    unsigned close;
    double q;
};

static void consider(struct wish *w, unsigned close, double q)
{
    if (close > w->close)
        *w = (struct wish){ close, q };
    else if (close && close == w->close && q > w->q)
        w->q = q;
}

static err_code choose(const struct rest_call *call, sv type, bool *content, struct err *e)
{
    sv format = rest_param(call, "_format"), rest = call->in.accept, one;
    struct wish fhir = { 0 }, own = { 0 };
    *content = false;
    if (!rest_says_nothing(format))
        rest = format;
    if (rest_says_nothing(rest))
        return ERR_OK;
    while (media_type_next(&rest, &one)) {
        bool named =
            media_type_closeness(one, type) == 3 && !media_type_is(type, "application/fhir+json");
        unsigned of_fhir =
            is_fhir(one) && !named ? 3 : media_type_closeness(one, SV_LIT("application/fhir+json"));
        consider(&fhir, of_fhir == 3 && !is_fhir(one) ? 0 : of_fhir, media_type_weight(one));
        consider(&own, named || !is_fhir(one) ? media_type_closeness(one, type) : 0,
                 media_type_weight(one));
    }
    if (fhir.q <= 0 && own.q <= 0)
        return ERR(e, ERR_NOT_ACCEPTABLE,
                   "Accept: this Binary is offered as application/fhir+json, or in the type of its "
                   "content");
    *content = own.q > fhir.q || (own.q >= fhir.q && (own.close > fhir.close || own.close < 3));
    return ERR_OK;
}

/* ---- reading ---- */

static err_code put_content(struct rest_call *call, yyjson_val *root, sv type, struct err *e)
{
    sv data = json_string(json_get(root, "data")),
       context = json_string(json_get(json_get(root, "securityContext"), "reference"));
    CLEANUP_BUF struct buf packed = BUF_INIT(data.len + 1);
    /* The base64 may have been broken into lines. */
    for (size_t i = 0; i < data.len; i++)
        if (strchr(" \t\r\n", data.ptr[i]) == NULL)
            TRY(buf_add_char(&packed, data.ptr[i], e));
    if (hash_base64_decode(buf_sv(&packed), &call->out.body, NULL) != ERR_OK) {
        buf_clear(&call->out.body);
        return ERR(e, ERR_UNPROCESSABLE,
                   "The data of this Binary is no base64: ask for it as application/fhir+json");
    }
    call->out.content_type = arena_sv(call->a, type);
    context = plain_text(context, CONTEXT_MAX) ? arena_sv(call->a, context) : SV_NONE;
    if (call->out.content_type.ptr == NULL)
        return arena_oom(call->a, e);
    call->out.as_it_is = true;
    rest_header(call, "X-Content-Type-Options", SV_LIT("nosniff"));
    rest_header(call, "Content-Security-Policy", SV_LIT("sandbox; default-src 'none'"));
    rest_header(call, "Content-Disposition", SV_LIT("attachment"));
    if (context.ptr)
        rest_header(call, "X-Security-Context", context);
    return ERR_OK;
}

err_code rest_binary_read(struct rest_call *call, const struct store_version *v, bool *done,
                          struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(v->body.json.len));
    CLEANUP_LARGE struct rest_large l = { 0 };
    yyjson_doc *doc;
    TRY(json_read(a, v->body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    sv type = json_string(json_get(root, "contentType"));
    /* A Binary that was stored without validation may have any text there. */
    if (!is_media_type(type))
        type = SV_LIT(ANY_TYPE);
    TRY(choose(call, type, done, e));
    rest_header(call, "Vary", SV_LIT("Accept"));
    if (!*done || v->left_out == 0)
        return *done ? put_content(call, root, type, e) : ERR_OK;
    TRY(rest_large_answer(call, v, true, &l, e));
    /* The tree of a resource that is large beside its data may have any size. */
    if (!fhir_is_large_binary(l.v.body.json, LIMIT_WHOLE_BYTES))
        return ERR(e, ERR_TOO_LARGE, "This Binary is large beside its data: an export holds it");
    CLEANUP(arena_free) struct arena *of_all = arena_new(json_tree_max(l.v.body.json.len));
    TRY(json_read(of_all, l.v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    return put_content(call, yyjson_doc_get_root(doc), type, e);
}

/* ---- writing ---- */

/* Is the text a Binary? Broken JSON counts as one: it may have been meant to be a Binary, and is
 * refused as such. */
static bool says_binary(sv text)
{
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(text.len));
    yyjson_doc *doc;
    return json_read(a, text, LIMIT_RESOURCE_DEPTH, &doc, NULL) != ERR_OK ||
           sv_eq(json_string(json_get(yyjson_doc_get_root(doc), "resourceType")), SV_LIT("Binary"));
}

/* A media type with single blanks, as FHIR wants codes to be. */
static err_code tidy_type(struct rest_call *call, sv kind, sv *out, struct err *e)
{
    char *to = arena_alloc(call->a, kind.len + 1);
    size_t n = 0;
    if (to == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < kind.len; i++) {
        char ch = kind.ptr[i] == '\t' ? ' ' : kind.ptr[i];
        if (ch != ' ' || (n && to[n - 1] != ' '))
            to[n++] = ch;
    }
    *out = sv_trim(sv_make(to, n));
    return is_media_type(*out)
               ? ERR_OK
               : ERR(e, ERR_INVALID, "Content-Type must be a media type: it is kept");
}

static err_code make_resource(struct rest_call *call, sv kind, struct buf *out, struct err *e)
{
    CLEANUP_BUF struct buf data = BUF_INIT(TEXT_MAX);
    struct json_writer w;
    sv type, context = sv_trim(call->in.security_context);
    TRY(tidy_type(call, kind, &type, e));
    if (call->in.security_context.ptr && !plain_text(context, CONTEXT_MAX))
        return ERR(e, ERR_INVALID, "X-Security-Context must be a reference");
    TRY(hash_base64(call->in.body, &data, e));
    TRY(buf_reserve(out, data.len + TYPE_MAX + CONTEXT_MAX + FHIR_ID_MAX + 256, e));
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "resourceType", SV_LIT("Binary"));
    if (call->it->shape == REST_INSTANCE)
        json_kv_str(&w, "id", call->id);
    json_kv_str(&w, "contentType", type);
    if (context.len) {
        json_key(&w, "securityContext");
        json_obj(&w);
        json_kv_str(&w, "reference", context);
        json_obj_end(&w);
    }
    if (data.len)
        json_kv_str(&w, "data", buf_sv(&data));
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

err_code rest_binary_take(struct rest_call *call, struct buf *made, struct err *e)
{
    sv kind = call->in.content_type, text = rest_without_mark(call->in.body);
    if (!rest_binary_writes(call))
        return ERR_OK;
    if (media_type_is(kind, "application/fhir+xml"))
        return ERR(e, ERR_MEDIA_TYPE,
                   "Content-Type must be application/fhir+json, or the content's");
    if (rest_body_may_be_resource(kind)) {
        bool named = rest_body_is_json(kind);
        /* The body is a resource, or is refused as one. */
        if (!named || says_binary(text)) {
            call->in.body = text;
            return ERR_OK;
        }
    }
    buf_init(made, TEXT_MAX);
    TRY(make_resource(call, kind, made, e));
    call->in.body = buf_sv(made);
    call->in.content_type = SV_LIT("application/fhir+json");
    call->text_max = TEXT_MAX;
    return ERR_OK;
}

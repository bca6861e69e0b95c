/* body.c - what the body of a request is taken for.
 *
 *                                   JSON types   none, or a form's          other types
 *   resource, Bundle, operation     JSON         JSON when it begins with { 415
 *   _search                         a form       a form                     415
 *   $everything                     by its first byte: { is Parameters, else a form
 *
 * AWS's documented curl calls name no type, and curl then says that its JSON is a form; AWS's own
 * client posts the form of a search as application/fhir+json. A form that is JSON is refused: read
 * as a form it would ask for everything. A byte order mark at the start is passed over.
 * Source: RFC 8259 8.1; FHIR R4 http.html#mime-type; Amazon HealthLake, examples of its developer
 * guide. */
#include "rest/params_private.h"

#include "base/limits.h"
#include "codec/media_type.h"

#define PARAMETERS_MAX 256u

sv rest_without_mark(sv text)
{
    return sv_starts(text, SV_LIT("\xEF\xBB\xBF")) ? sv_tail(text, 3) : text;
}

bool rest_body_is_json(sv kind)
{
    return media_type_is(kind, "application/fhir+json") ||
           media_type_is(kind, "application/json") || media_type_is(kind, "text/json") ||
           media_type_is(kind, "application/json+fhir");
}

bool rest_is_our_version(sv kind)
{
    sv v = media_type_param(kind, "fhirVersion");
    return v.ptr == NULL || sv_eq(v, SV_LIT("4.0")) || sv_eq(v, SV_LIT("4.0.1"));
}

static bool is_none_or_form(sv kind)
{
    return sv_trim(kind).len == 0 || media_type_is(kind, "application/x-www-form-urlencoded");
}

bool rest_body_may_be_resource(sv kind)
{
    return rest_body_is_json(kind) || is_none_or_form(kind);
}

/* The first byte that is no white space; 0: there is none. */
static char first_byte(sv body)
{
    for (size_t i = 0; i < body.len; i++)
        if (strchr(" \t\r\n", body.ptr[i]) == NULL)
            return body.ptr[i];
    return 0;
}

err_code rest_json_body(const struct rest_call *call, struct err *e)
{
    sv kind = call->in.content_type;
    bool named = sv_trim(kind).len != 0;
    if (!rest_body_is_json(kind) &&
        !(is_none_or_form(kind) && (!named || first_byte(call->in.body) == '{')))
        return ERR(e, ERR_MEDIA_TYPE, "Content-Type must be application/fhir+json");
    if (call->in.body.len == 0)
        return ERR(e, ERR_INVALID, "The body must be a resource, and is empty");
    return ERR_OK;
}

err_code rest_form_body(struct rest_call *call, struct err *e)
{
    sv kind = call->in.content_type;
    char first = first_byte(call->in.body);
    if (first == 0)
        return ERR_OK;
    if ((!rest_body_is_json(kind) && !is_none_or_form(kind)) || first == '{' || first == '[')
        return ERR(e, ERR_MEDIA_TYPE, "A search is posted as application/x-www-form-urlencoded");
    return rest_params_add(call, call->in.body, e);
}

/* ---- Parameters ---- */

sv rest_parameter_value(yyjson_val *parameter)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(parameter);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        if (!sv_starts(json_string(key), SV_LIT("value")))
            continue;
        return yyjson_is_bool(v)  ? (yyjson_get_bool(v) ? SV_LIT("true") : SV_LIT("false"))
               : yyjson_is_str(v) ? json_string(v)
                                  : json_number(v);
    }
    return SV_NONE;
}

static err_code add_parameters(struct rest_call *call, yyjson_val *root, struct err *e)
{
    yyjson_val *list = json_get(root, "parameter"), *one;
    if (!sv_eq(json_string(json_get(root, "resourceType")), SV_LIT("Parameters")))
        return ERR(e, ERR_INVALID, "The body must be Parameters, or a form");
    if (list && !yyjson_is_arr(list))
        return ERR(e, ERR_INVALID, "Parameters.parameter must be an array");
    size_t n = call->params.n;
    if (yyjson_arr_size(list) > PARAMETERS_MAX)
        return ERR(e, ERR_TOO_LARGE, "Parameters may hold %u parameters", PARAMETERS_MAX);
    struct rest_param *all = rest_params_copy(call->a, &call->params, yyjson_arr_size(list));
    if (all == NULL)
        return arena_oom(call->a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((one = yyjson_arr_iter_next(&it)) != NULL) {
        sv name = json_string(json_get(one, "name")), value = rest_parameter_value(one);
        if (name.len == 0 || value.ptr == NULL || memchr(name.ptr, 0, name.len) ||
            memchr(value.ptr, 0, value.len))
            return ERR(e, ERR_INVALID,
                       "Each parameter of Parameters needs a name and one primitive value");
        all[n] = (struct rest_param){ arena_sv(call->a, name), arena_sv(call->a, value) };
        if (all[n].name.ptr == NULL || all[n].value.ptr == NULL)
            return arena_oom(call->a, e);
        n++;
    }
    call->params = (struct rest_param_list){ all, n };
    return ERR_OK;
}

err_code rest_parameters_body(struct rest_call *call, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = NULL;
    yyjson_doc *doc;
    if (first_byte(call->in.body) != '{')
        return rest_form_body(call, e);
    TRY(rest_json_body(call, e));
    a = arena_new(json_tree_max(call->in.body.len));
    TRY(json_read(a, call->in.body, LIMIT_JSON_DEPTH, &doc, e));
    return add_parameters(call, yyjson_doc_get_root(doc), e);
}

/* asked.c - what a run of a view is asked for. Parameters come in the body or in the query, each
 * once. A body may be the ViewDefinition alone, as FHIR allows for an operation's one resource.
 * What is not offered is refused by its name.
 * Source: SQL on FHIR 2, $viewdefinition-run; FHIR R4 operations.html#request. */
#include "rest/view/view_private.h"

#include "base/limits.h"
#include "codec/media_type.h"
#include "rest/answer_private.h"
#include "rest/params_private.h"

#define PLACE_MAX 300u

err_code rest_view_fault(struct rest_call *call, err_code rc, const char *code, sv where,
                         struct err *e, const char *fmt, ...)
{
    char why[ERR_MSG_LEN];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    struct rest_issue issue = { "error", code, arena_sv(call->a, sv_from(why)),
                                arena_sv(call->a, where) };
    TRY(rest_issue_set(call, issue, e));
    return ERR(e, rc, "%s", why);
}

static err_code wrong(struct rest_call *call, sv name, const char *why, struct err *e)
{
    return rest_view_fault(call, ERR_INVALID, "invalid", name, e, "%.*s %s",
                           (int)(name.len > 40 ? 40 : name.len), name.ptr, why);
}

/* ---- forms ---- */

static const struct {
    const char *name; /* of _format, or a media type */
    view_as as;
} forms[] = {
    { "ndjson", VIEW_AS_NDJSON },
    { "json", VIEW_AS_JSON },
    { "csv", VIEW_AS_CSV },
    { "parquet", VIEW_AS_PARQUET },
    { "application/x-ndjson", VIEW_AS_NDJSON },
    { "application/ndjson", VIEW_AS_NDJSON },
    { "application/fhir+ndjson", VIEW_AS_NDJSON },
    { "application/json", VIEW_AS_JSON },
    { "text/csv", VIEW_AS_CSV },
    { "application/vnd.apache.parquet", VIEW_AS_PARQUET },
    { "application/octet-stream", VIEW_AS_PARQUET },
    { "*/*", VIEW_AS_NDJSON },
    { "application/*", VIEW_AS_NDJSON },
    { "text/*", VIEW_AS_CSV },
};
#define N_FORMS (sizeof forms / sizeof forms[0])

static bool form_of(sv name, view_as *out)
{
    for (size_t i = 0; i < N_FORMS; i++)
        if (media_type_is(name, forms[i].name)) {
            *out = forms[i].as;
            return true;
        }
    return false;
}

/* Of ranges that weigh the same the first counts. */
static err_code form_of_accept(struct rest_call *call, view_as *out, struct err *e)
{
    sv rest = call->in.accept, one;
    double best = 0;
    *out = VIEW_AS_NDJSON;
    if (sv_trim(rest).len == 0)
        return ERR_OK;
    while (media_type_next(&rest, &one)) {
        view_as as;
        if (media_type_weight(one) > best && form_of(one, &as)) {
            best = media_type_weight(one);
            *out = as;
        }
    }
    if (best > 0)
        return ERR_OK;
    return rest_view_fault(call, ERR_NOT_ACCEPTABLE, "not-supported", SV_LIT("_format"), e,
                           "Accept: rows come as application/x-ndjson, application/json, text/csv "
                           "or application/vnd.apache.parquet; or say _format");
}

/* ---- parameters with a value ---- */

struct reading {
    struct rest_call *call;
    struct view_asked *out;
    yyjson_val *view;
    bool has_form, has_header;
};

static err_code take_format(struct reading *r, sv name, sv value, struct err *e)
{
    r->has_form = true;
    /* a plus sign that was not encoded has become a space */
    if (value.len && value.ptr[0] != '*' &&
        (form_of(value, &r->out->as) || sv_eq(value, SV_LIT("application/fhir ndjson"))))
        return ERR_OK;
    return rest_view_fault(r->call, ERR_INVALID, "not-supported", name, e,
                           "_format takes ndjson, json, csv or parquet");
}

static err_code take_header(struct reading *r, sv name, sv value, struct err *e)
{
    r->has_header = true;
    r->out->no_header = sv_eq(value, SV_LIT("false"));
    if (r->out->no_header || sv_eq(value, SV_LIT("true")))
        return ERR_OK;
    return wrong(r->call, name, "takes true or false", e);
}

/* The id of a reference to a resource of the type here, or of an id; the arena's. False: it is none
 * of these. */
static bool id_of(struct reading *r, sv type, sv value, sv *out)
{
    sv base = r->call->base;
    if (sv_starts(value, base) && value.len > base.len && value.ptr[base.len] == '/')
        value = sv_tail(value, base.len + 1);
    if (sv_starts(value, type) && value.len > type.len && value.ptr[type.len] == '/')
        value = sv_tail(value, type.len + 1);
    if (!fhir_id_ok(value))
        return false;
    *out = arena_sv(r->call->a, value);
    return true;
}

static err_code take_patient(struct reading *r, sv name, sv value, struct err *e)
{
    if (!id_of(r, SV_LIT("Patient"), value, &r->out->patient))
        return wrong(r->call, name, "takes a reference to a Patient of this data store", e);
    return r->out->patient.ptr ? ERR_OK : arena_oom(r->call->a, e);
}

static err_code take_group(struct reading *r, sv name, sv value, struct err *e)
{
    struct view_asked *out = r->out;
    if (out->groups == NULL)
        out->groups = arena_calloc(r->call->a, VIEW_GROUPS_MAX, sizeof *out->groups);
    if (out->groups == NULL)
        return arena_oom(r->call->a, e);
    if (out->n_groups == VIEW_GROUPS_MAX)
        return wrong(r->call, name, "may be given 100 times", e);
    if (!id_of(r, SV_LIT("Group"), value, &out->groups[out->n_groups]))
        return wrong(r->call, name, "takes a reference to a Group of this data store", e);
    return out->groups[out->n_groups++].ptr ? ERR_OK : arena_oom(r->call->a, e);
}

static err_code take_since(struct reading *r, sv name, sv value, struct err *e)
{
    (void)name;
    return rest_read_date(r->call, "_since", value, &r->out->since_ms, NULL, e);
}

static err_code take_limit(struct reading *r, sv name, sv value, struct err *e)
{
    if (sv_to_u64(value, &r->out->limit) && r->out->limit > 0)
        return ERR_OK;
    return wrong(r->call, name, "takes a whole number from 1", e);
}

static const struct {
    const char *name;
    err_code (*take)(struct reading *r, sv name, sv value, struct err *e);
    bool many; /* it may be given more than once */
    const char *refused;
} table[] = {
    { "_format", take_format, false, NULL },
    { "header", take_header, false, NULL },
    { "patient", take_patient, false, NULL },
    { "group", take_group, true, NULL },
    { "_since", take_since, false, NULL },
    { "_limit", take_limit, false, NULL },
    { "viewResource", NULL, false, "is a resource: it stands in Parameters" },
    { "viewReference", NULL, false,
      "is not offered, since no ViewDefinitions are stored here: send it as viewResource" },
    { "source", NULL, false, "is not offered: rows are those of this data store" },
    { "resource", NULL, false, "is a resource: it stands in Parameters" },
};
#define N_TABLE (sizeof table / sizeof table[0])

static err_code take(struct reading *r, sv name, sv value, unsigned *seen, struct err *e)
{
    for (size_t i = 0; i < N_TABLE; i++) {
        if (!sv_eq_cstr(name, table[i].name))
            continue;
        if (table[i].refused)
            return rest_view_fault(r->call, ERR_INVALID, "not-supported", name, e, "%s %s",
                                   table[i].name, table[i].refused);
        if ((*seen & 1u << i) && !table[i].many)
            return wrong(r->call, name, "may be given once", e);
        *seen |= 1u << i;
        return table[i].take(r, name, value, e);
    }
    return rest_view_fault(r->call, ERR_INVALID, "not-supported", name, e,
                           "$viewdefinition-run has no parameter %.*s",
                           (int)(name.len > 40 ? 40 : name.len), name.ptr);
}

/* ---- the body ---- */

/* Of a Reference the text, else the primitive. */
static sv value_of(yyjson_val *parameter)
{
    const sv reference = json_string(json_get(json_get(parameter, "valueReference"), "reference"));
    return reference.len ? reference : rest_parameter_value(parameter);
}

static err_code take_parameters(struct reading *r, yyjson_val *root, unsigned *seen, struct err *e)
{
    yyjson_val *list = json_get(root, "parameter"), *one;
    yyjson_arr_iter it;
    if (list && !yyjson_is_arr(list))
        return ERR(e, ERR_INVALID, "Parameters.parameter must be an array");
    yyjson_arr_iter_init(list, &it);
    while ((one = yyjson_arr_iter_next(&it)) != NULL) {
        sv name = json_string(json_get(one, "name")), value = value_of(one);
        yyjson_val *resource = json_get(one, "resource");
        if (resource && sv_eq_cstr(name, "viewResource")) {
            if (r->view)
                return wrong(r->call, name, "may be given once", e);
            r->view = resource;
            continue;
        }
        if (resource && sv_eq_cstr(name, "resource")) {
            r->out->given = list;
            continue;
        }
        if (name.len == 0)
            return ERR(e, ERR_INVALID, "Each parameter of Parameters needs a name");
        TRY(take(r, name, value.ptr ? value : SV_LIT(""), seen, e));
    }
    return ERR_OK;
}

/* "select[0].column[1].path: ..." */
sv rest_view_place(struct rest_call *call, const char *msg)
{
    size_t n = strcspn(msg, ": ");
    bool member = msg[n] == ':' && n < PLACE_MAX &&
                  (strncmp(msg, "select", 6) == 0 || strncmp(msg, "where", 5) == 0 ||
                   strncmp(msg, "constant", 8) == 0 || strncmp(msg, "resource", 8) == 0 ||
                   strncmp(msg, "fhirVersion", 11) == 0);
    sv where = member ? arena_fmt(call->a, "viewResource.%.*s", (int)n, msg) : SV_NONE;
    return where.ptr ? where : SV_LIT("viewResource");
}

static err_code compile(struct reading *r, struct arena *a, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(VIEW_BYTES_MAX);
    struct json_writer w;
    struct err why = { 0 };
    json_writer_init(&w, &text);
    json_val(&w, r->view);
    err_code rc = json_writer_end(&w, &why);
    if (rc == ERR_OK)
        rc = view_compile(buf_sv(&text), a, &r->out->v, &why);
    if (rc == ERR_OK && r->out->as == VIEW_AS_PARQUET)
        rc = view_parquet_columns(r->out->v, a, &r->out->columns, &why);
    if (rc == ERR_OK)
        return ERR_OK;
    if (rc != ERR_INVALID && rc != ERR_UNSUPPORTED && rc != ERR_TOO_LARGE)
        return err_pass(e, &why);
    return rest_view_fault(
        r->call, ERR_UNPROCESSABLE, rc == ERR_UNSUPPORTED ? "not-supported" : "invalid",
        rest_view_place(r->call, why.msg), e, "The view cannot be run: %s", why.msg);
}

err_code rest_view_asked(struct rest_call *call, struct arena *a, struct arena *tree,
                         struct view_asked *out, struct err *e)
{
    struct reading r = { .call = call, .out = out };
    yyjson_doc *doc;
    unsigned seen = 0;
    *out = (struct view_asked){ .since_ms = INT64_MIN, .limit = UINT64_MAX };
    TRY(rest_json_body(call, e));
    for (size_t i = 0; i < call->params.n; i++)
        TRY(take(&r, call->params.items[i].name, call->params.items[i].value, &seen, e));
    TRY(json_read(tree, call->in.body, LIMIT_RESOURCE_DEPTH, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    sv type = json_string(json_get(root, "resourceType"));
    if (sv_eq_cstr(type, "Parameters"))
        TRY(take_parameters(&r, root, &seen, e));
    else if (sv_eq_cstr(type, "ViewDefinition"))
        r.view = root;
    else
        return ERR(e, ERR_INVALID, "The body must be Parameters, or a ViewDefinition");
    if (r.view == NULL)
        return rest_view_fault(call, ERR_INVALID, "required", SV_LIT("viewResource"), e,
                               "viewResource is missing: the ViewDefinition that is to be run");
    if (out->given && (out->patient.len || out->n_groups || out->since_ms != INT64_MIN))
        return wrong(call, SV_LIT("resource"), "and patient, group or _since exclude each other",
                     e);
    if (!r.has_form)
        TRY(form_of_accept(call, &out->as, e));
    if (r.has_header && out->as != VIEW_AS_CSV)
        return wrong(call, SV_LIT("header"), "is of csv alone", e);
    return compile(&r, a, e);
}

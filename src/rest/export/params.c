/* params.c - what a kick-off asks for: all its parameters, checked before any job exists.
 *
 * Values come from the query (one text, decoded) or from a Parameters resource (any value[x]). A
 * list may be divided by commas, or repeated. All faults of a request are told at once.
 * Source: FHIR Bulk Data Access, "Query Parameters"; HealthLake's _security and _tag. */
#include "rest/answer_private.h"
#include "rest/export/kick_private.h"
#include "rest/grant_private.h"

/* A name from outside, made fit for an answer. */
static const char *printable(struct kick *kick, sv name)
{
    char *s = arena_str(kick->call->a, sv_head(name, 64));
    for (char *p = s; p && *p; p++)
        if (*p <= ' ' || *p > '~')
            *p = '?';
    return s ? s : "parameter";
}

static void take(struct kick *kick, sv name, sv value)
{
    /* "_type=" and a bare "_type" ask for nothing. */
    if (sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")) || value.len == 0)
        return;
    for (size_t i = 0; i < kick_n_rows; i++) {
        const struct kick_row *r = &kick_rows[i];
        sv one;
        if (!sv_eq_cstr(name, r->name))
            continue;
        if (r->how == KICK_ONE && (kick->seen & 1u << i))
            kick_fault(kick, r->name, "invalid", "is given more than once");
        kick->seen |= 1u << i;
        if (r->how == KICK_ONE)
            r->read(kick, r->name, value);
        while (r->how == KICK_FILTERS && value.ptr)
            r->read(kick, r->name, rest_export_filter_next(&value));
        while (r->how == KICK_LIST && sv_cut(&value, ',', &one))
            if (sv_trim(one).len)
                r->read(kick, r->name, sv_trim(one));
        return;
    }
    kick_unsupported(kick, printable(kick, name), "is no parameter of $export");
}

/* The text of value[x], whatever its type. */
static sv value_of(yyjson_val *parameter)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(parameter);
    yyjson_val *key;
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        sv name = json_string(key);
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        if (!sv_starts(name, SV_LIT("value")))
            continue;
        if (yyjson_is_bool(v))
            return yyjson_get_bool(v) ? SV_LIT("true") : SV_LIT("false");
        if (yyjson_is_str(v))
            return json_string(v);
        if (sv_eq(name, SV_LIT("valueReference")))
            return json_string(json_get(v, "reference"));
        if (sv_eq(name, SV_LIT("valueCoding")))
            return json_string(json_get(v, "code"));
        return json_number(v);
    }
    return SV_NONE;
}

static void take_body(struct kick *kick, yyjson_val *body)
{
    yyjson_val *list = json_get(body, "parameter"), *p;
    if (list && !yyjson_is_arr(list))
        kick_fault(kick, "parameter", "structure", "is an array in a Parameters resource");
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((p = yyjson_arr_iter_next(&it)) != NULL && kick->rc == ERR_OK) {
        sv name = json_string(json_get(p, "name")), value = value_of(p);
        if (name.len == 0)
            kick_fault(kick, "parameter", "structure", "one of them has no name");
        else if (value.len == 0)
            kick_fault(kick, printable(kick, name), "structure", "has no value that can be read");
        else
            take(kick, name, value);
    }
}

/* ---- what belongs together ---- */

static bool type_asked(const struct kick *kick, sv type)
{
    for (size_t i = 0; i < kick->types.n; i++)
        if (sv_eq(kick->types.items[i], type))
            return true;
    return false;
}

static void check_together(struct kick *kick)
{
    if (kick->p.since_ms && kick->p.until_ms && kick->p.since_ms >= kick->p.until_ms)
        kick_fault(kick, "_until", "invalid", "is not later than _since");
    if (kick->p.min_file_bytes && kick->p.max_file_bytes &&
        kick->p.min_file_bytes > kick->p.max_file_bytes)
        kick_fault(kick, "_minimumFileSize", "invalid", "is larger than _maximumFileSize");
    if ((kick->seen & kick_bit("_type")) && kick->types.n == 0 && kick->n_issues == 0)
        kick_fault(kick, "_type", "not-supported", "none of its values is exported at this level");
    for (size_t i = 0; (kick->seen & kick_bit("_type")) && i < kick->filters.n; i++) {
        sv f = kick->filters.items[i];
        if (!type_asked(kick, sv_head(f, sv_find(f, '?'))))
            kick_fault(kick, "_typeFilter", "invalid",
                       "has a filter for a type that _type leaves out");
    }
    if (kick->level == JOB_EXPORT_SYSTEM && (kick->seen & kick_bit("patient")))
        kick_fault(kick, "patient", "invalid",
                   "has no meaning for the whole system; use Patient/$export");
}

/* ---- what must be there ---- */

static err_code look_for(struct rest_call *call, const char *type, sv id, bool *there,
                         struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    struct store_version v;
    err_code rc = store_get_light(call->st, fhir_type_find(sv_from(type)), id, STORE_NOW, a, &v, e);
    *there = rc == ERR_OK && v.method != STORE_METHOD_DELETE;
    /* For who may not see it, it is not there. */
    if (*there)
        TRY(rest_sees(call, SMART_R, &v, there, e));
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

static err_code check_group(struct rest_call *call, struct err *e)
{
    bool there;
    TRY(look_for(call, "Group", call->id, &there, e));
    return there ? ERR_OK : ERR(e, ERR_NOT_FOUND, "There is no Group/%.*s", SV_FMT(call->id));
}

static err_code check_patients(struct kick *kick, struct err *e)
{
    size_t missing = 0;
    kick->patients.n = sv_sort_once(kick->patients.items, kick->patients.n);
    for (size_t i = 0; i < kick->patients.n; i++) {
        bool there;
        TRY(look_for(kick->call, "Patient", kick->patients.items[i], &there, e));
        missing += !there;
    }
    if (missing)
        kick_fault(kick, "patient", "not-found",
                   "%zu of the %zu patients named are not in this data store", missing,
                   kick->patients.n);
    return ERR_OK;
}

/* ---- the whole ---- */

static struct job_texts texts_of(const struct kick_list *l)
{
    return (struct job_texts){ l->items, l->n };
}

static err_code refuse(struct kick *kick, struct err *e)
{
    kick->call->issues = (struct rest_issue_list){ kick->issues, kick->n_issues };
    return ERR(e, ERR_INVALID, "%.*s", SV_FMT(kick->issues[0].text));
}

err_code rest_export_params_read(struct rest_call *call, job_export_level level, yyjson_val *body,
                                 struct job_export_params *out, struct err *e)
{
    struct kick kick = { .call = call,
                         .level = level,
                         .lenient = rest_prefers(call, "handling=lenient"),
                         .e = e,
                         .p = { .level = level } };
    kick.issues = arena_calloc(call->a, EXPORT_ISSUES_MAX, sizeof *kick.issues);
    if (kick.issues == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < call->params.n; i++)
        take(&kick, call->params.items[i].name, call->params.items[i].value);
    kick.from_body = true;
    if (body)
        take_body(&kick, body);
    check_together(&kick);
    if (kick.rc != ERR_OK)
        return kick.rc;
    if (kick.n_issues)
        return refuse(&kick, e);
    if (level == JOB_EXPORT_GROUP)
        TRY(check_group(call, e));
    TRY(check_patients(&kick, e));
    if (kick.rc != ERR_OK)
        return kick.rc;
    if (kick.n_issues)
        return refuse(&kick, e);
    if (level == JOB_EXPORT_GROUP)
        kick.p.group_id = call->id;
    kick.p.types = texts_of(&kick.types);
    kick.p.type_filters = texts_of(&kick.filters);
    kick.p.elements = texts_of(&kick.elements);
    kick.p.patients = texts_of(&kick.patients);
    kick.p.security = texts_of(&kick.security);
    kick.p.tag = texts_of(&kick.tag);
    kick.p.notes = texts_of(&kick.notes);
    *out = kick.p;
    return ERR_OK;
}

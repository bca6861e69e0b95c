/* metadata.c - the CapabilityStatement, printed from what routes and searches.
 *
 *   rest_interactions[]   interactions of types and of [base], conditional forms, operations,
 *                         $export
 *   search_params_of()    searchParam, searchInclude, searchRevInclude of each type
 *   search_compartment()  compartment
 *
 * Everything under `rest` but its security is the same for every data store: it is made once and
 * copied. The other parts of the text name the data store. A row of the table that this room does
 * not know is an operation when it has a definition.
 * Source: FHIR R4 capabilitystatement.html, http.html#capabilities. */
#include "rest/params_private.h"
#include "rest/route_private.h"

#include "codec/hash.h"
#include "search/search.h"

#define STATEMENT_MAX (8u << 20)
#define ETAG_HEX      16u
#define SECURITY_MAX  (256u << 10) /* Metadata, and words around it */

/* Interactions of a type, in the specification's order. */
static const char *const on_type[] = { "read",   "vread",        "update",
                                       "patch",  "delete",       "history-instance",
                                       "create", "history-type", "search-type" };
static const char *const on_system[] = { "transaction", "batch", "search-system",
                                         "history-system" };

static bool offers(const char *name)
{
    for (size_t i = 0; i < rest_n_interactions; i++)
        if (sv_eq_cstr(sv_from(rest_interactions[i].name), name))
            return true;
    return false;
}

/* Is the interaction offered for this type? A PUT that can only create is no update. */
static bool offers_on(fhir_type type, const char *name)
{
    for (size_t i = 0; i < rest_n_interactions; i++)
        if (sv_eq_cstr(sv_from(rest_interactions[i].name), name) &&
            rest_offered_on(&rest_interactions[i], type))
            return !rest_is_immutable(type) || strcmp(name, "update") != 0;
    return false;
}

/* Batches and transactions are one row. */
static bool takes_bundles(void)
{
    for (size_t i = 0; i < rest_n_interactions; i++)
        if (rest_interactions[i].shape == REST_SYSTEM &&
            sv_eq_cstr(sv_from(rest_interactions[i].method), "POST"))
            return true;
    return false;
}

static void code_obj(struct json_writer *w, const char *code)
{
    json_obj(w);
    json_kv_str(w, "code", sv_from(code));
    json_obj_end(w);
}

static void text_of(struct json_writer *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void text_of(struct json_writer *w, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_str(w, sv_make(text, n < 0 ? 0 : n < (int)sizeof text ? (size_t)n : sizeof text - 1));
}

/* ---- operations ---- */

/* Operations of a type; FHIR_TYPE_NONE: of [base]. Rows of one name are one operation: on the type,
 * and on an instance. */
static void operations(struct json_writer *w, fhir_type type)
{
    bool any = false;
    for (size_t i = 0; i < rest_n_interactions; i++) {
        const struct rest_interaction *it = &rest_interactions[i];
        bool told = it->definition == NULL || (type ? !rest_called_on(it, type) : it->of != NULL);
        for (size_t k = 0; k < i && !told; k++) {
            const struct rest_interaction *before = &rest_interactions[k];
            told = before->definition && sv_eq_cstr(sv_from(it->name), before->name) &&
                   (type ? rest_called_on(before, type) : before->of == NULL);
        }
        if (told)
            continue;
        if (!any) {
            json_key(w, "operation");
            json_arr(w);
            any = true;
        }
        json_obj(w);
        json_kv_str(w, "name", sv_from(it->name));
        json_kv_str(w, "definition", sv_from(it->definition));
        json_obj_end(w);
    }
    if (any)
        json_arr_end(w);
}

/* ---- search ---- */

static void search_param(struct json_writer *w, const struct search_param *p)
{
    json_obj(w);
    json_kv_str(w, "name", p->code);
    json_key(w, "definition");
    text_of(w, "http://hl7.org/fhir/SearchParameter/%.*s", SV_FMT(p->definition));
    json_kv_str(w, "type", sv_from(search_kind_name(p->kind)));
    json_obj_end(w);
}

/* HealthLake's own: HL7 defines no such parameter. */
static void created_at(struct json_writer *w)
{
    json_obj(w);
    json_kv_str(w, "name", search_created_at.code);
    json_kv_str(w, "type", sv_from(search_kind_name(search_created_at.kind)));
    json_kv_str(
        w, "documentation",
        SV_LIT(
            "When the first version of the resource came, as _lastUpdated is when the newest did; "
            "a parameter of Amazon HealthLake"));
    json_obj_end(w);
}

static void search_params(struct json_writer *w, fhir_type type, bool of_every_type)
{
    size_t n;
    const struct search_param *const *of = search_params_of(type, &n);
    json_key(w, "searchParam");
    json_arr(w);
    for (size_t i = 0; i < n; i++)
        if (!of_every_type || sv_eq(of[i]->type, SV_LIT("*")))
            search_param(w, of[i]);
    if (of_every_type)
        created_at(w);
    json_arr_end(w);
}

/* _include follows references of the type itself; _revinclude follows references of others that
 * lead to it. */
static void includes(struct json_writer *w, fhir_type type)
{
    size_t n;
    const struct search_param *const *of = search_params_of(type, &n);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (of[i]->kind != SEARCH_REFERENCE)
            continue;
        if (!any) {
            json_key(w, "searchInclude");
            json_arr(w);
            text_of(w, "%s:*", fhir_type_name(type));
            any = true;
        }
        text_of(w, "%s:%.*s", fhir_type_name(type), SV_FMT(of[i]->code));
    }
    if (any)
        json_arr_end(w);
}

static void rev_includes(struct json_writer *w, fhir_type type)
{
    bool any = false;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        size_t n;
        const struct search_param *const *of = search_params_of((fhir_type)t, &n);
        for (size_t i = 0; i < n; i++) {
            if (of[i]->kind != SEARCH_REFERENCE || !search_param_targets(of[i], type))
                continue;
            if (!any) {
                json_key(w, "searchRevInclude");
                json_arr(w);
                any = true;
            }
            text_of(w, "%s:%.*s", fhir_type_name((fhir_type)t), SV_FMT(of[i]->code));
        }
    }
    if (any)
        json_arr_end(w);
}

/* ---- a type ---- */

static void resource(struct json_writer *w, fhir_type type)
{
    json_obj(w);
    json_kv_str(w, "type", sv_from(fhir_type_name(type)));
    json_key(w, "profile");
    text_of(w, "http://hl7.org/fhir/StructureDefinition/%s", fhir_type_name(type));
    json_key(w, "interaction");
    json_arr(w);
    for (size_t i = 0; i < sizeof on_type / sizeof on_type[0]; i++)
        if (offers_on(type, on_type[i]))
            code_obj(w, on_type[i]);
    json_arr_end(w);
    json_kv_str(w, "versioning", SV_LIT("versioned"));
    json_kv_bool(w, "readHistory", offers("vread"));
    json_kv_bool(w, "updateCreate", offers("update"));
    /* If-None-Exist is part of it */
    json_kv_bool(w, "conditionalCreate", offers_on(type, "create"));
    json_kv_str(w, "conditionalRead", SV_LIT("full-support"));
    json_kv_bool(w, "conditionalUpdate", offers_on(type, "update-conditional"));
    json_kv_str(w, "conditionalDelete",
                offers_on(type, "delete-conditional") ? SV_LIT("single") : SV_LIT("not-supported"));
    json_key(w, "referencePolicy");
    json_arr(w);
    json_str(w, SV_LIT("literal"));
    json_str(w, SV_LIT("logical"));
    json_arr_end(w);
    includes(w, type);
    rev_includes(w, type);
    search_params(w, type, false);
    operations(w, type);
    json_obj_end(w);
}

/* ---- what all data stores share ---- */

/* Of a data store: whether it takes access tokens, and where these are to be had. */
static void security(struct json_writer *w, const struct rest_call *call)
{
    const struct identity_config *callers = &call->ds->callers;
    json_obj(w);
    if (callers->smart)
        rest_oauth_uris(w, call);
    json_kv_bool(w, "cors", false);
    json_key(w, "service");
    json_arr(w);
    if (callers->smart) {
        json_obj(w);
        json_key(w, "coding");
        json_arr(w);
        json_obj(w);
        json_kv_str(w, "system",
                    SV_LIT("http://terminology.hl7.org/CodeSystem/restful-security-service"));
        json_kv_str(w, "code", SV_LIT("SMART-on-FHIR"));
        json_obj_end(w);
        json_arr_end(w);
        json_kv_str(w, "text", SV_LIT("OAuth2 using SMART on FHIR"));
        json_obj_end(w);
    }
    json_obj(w);
    json_kv_str(w, "text", SV_LIT("AWS Signature Version 4"));
    json_obj_end(w);
    json_arr_end(w);
    json_kv_str(
        w, "description",
        SV_LIT(
            "Requests are signed with AWS Signature Version 4 for the service healthlake; policies "
            "in the form of IAM's say what a caller may do. (Not so under --auth none.)"));
    json_obj_end(w);
}

static void compartments(struct json_writer *w)
{
    json_key(w, "compartment");
    json_arr(w);
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        if (search_is_compartment((fhir_type)t)) {
            const char *name = fhir_type_name((fhir_type)t);
            text_of(w, "http://hl7.org/fhir/CompartmentDefinition/%c%s", name[0] | 0x20, name + 1);
        }
    json_arr_end(w);
}

static size_t shared_security; /* where the value of security stands in `shared`: one byte */

static void rest(struct json_writer *w)
{
    json_obj(w);
    json_kv_str(w, "mode", SV_LIT("server"));
    json_kv_str(
        w, "documentation",
        SV_LIT("Limits, choices and what differs from Amazon HealthLake are in docs/api-fhir.md of "
               "fhirlake."));
    json_key(w, "security");
    json_raw(w, SV_LIT("0"));
    shared_security = w->out->len - 1;
    json_key(w, "resource");
    json_arr(w);
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        resource(w, (fhir_type)t);
    json_arr_end(w);
    json_key(w, "interaction");
    json_arr(w);
    for (size_t i = 0; i < sizeof on_system / sizeof on_system[0]; i++)
        if (i < 2 ? takes_bundles() : offers(on_system[i]))
            code_obj(w, on_system[i]);
    json_arr_end(w);
    search_params(w, (fhir_type)1, true);
    operations(w, FHIR_TYPE_NONE);
    compartments(w);
    json_obj_end(w);
}

static struct buf shared; /* lives as long as the process */
static pthread_once_t shared_once = PTHREAD_ONCE_INIT;

static void shared_make(void)
{
    struct json_writer w;
    struct err e;
    buf_init(&shared, STATEMENT_MAX);
    json_writer_init(&w, &shared);
    rest(&w);
    /* The tables are constant, so this would fail at the first start. */
    if (json_writer_end(&w, &e) != ERR_OK)
        abort();
}

/* What all share, with the security of this data store in its place. */
static void rest_of(struct json_writer *w, const struct rest_call *call)
{
    CLEANUP_BUF struct buf own = BUF_INIT(SECURITY_MAX);
    struct json_writer s;
    json_writer_init(&s, &own);
    security(&s, call);
    if (w->rc == ERR_OK)
        w->rc = json_writer_end(&s, &w->err);
    json_raw(w, sv_head(buf_sv(&shared), shared_security));
    if (w->rc == ERR_OK)
        w->rc = buf_add(w->out, buf_sv(&own), &w->err);
    if (w->rc == ERR_OK)
        w->rc = buf_add(w->out, sv_tail(buf_sv(&shared), shared_security + 1), &w->err);
}

/* ---- the statement ---- */

static void strings(struct json_writer *w, const char *name, const char *one, const char *two)
{
    json_key(w, name);
    json_arr(w);
    json_str(w, sv_from(one));
    if (two)
        json_str(w, sv_from(two));
    json_arr_end(w);
}

static void statement(struct rest_call *call, struct json_writer *w)
{
    char when[INSTANT_LEN];
    instant_format(call->ds->created_ms, when);
    json_obj(w);
    json_kv_str(w, "resourceType", SV_LIT("CapabilityStatement"));
    json_kv_str(w, "id", call->ds->id);
    json_kv_str(w, "status", SV_LIT("active"));
    json_kv_str(w, "date", sv_make(when, INSTANT_LEN));
    json_kv_str(w, "kind", SV_LIT("instance"));
    if (offers("export"))
        strings(w, "instantiates", "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data",
                NULL);
    json_key(w, "software");
    json_obj(w);
    json_kv_str(w, "name", SV_LIT("fhirlake"));
    json_kv_str(w, "version", SV_LIT(FHIRLAKE_VERSION));
    json_obj_end(w);
    json_key(w, "implementation");
    json_obj(w);
    json_kv_str(w, "description",
                call->ds->name.len ? call->ds->name : SV_LIT("FHIR R4 data store"));
    json_kv_str(w, "url", call->base);
    json_obj_end(w);
    json_kv_str(w, "fhirVersion", SV_LIT("4.0.1"));
    strings(w, "format", "application/fhir+json", "json");
    if (offers("patch"))
        strings(w, "patchFormat", "application/json-patch+json", "application/fhir+json");
    json_key(w, "rest");
    json_arr(w);
    rest_of(w, call);
    json_arr_end(w);
    json_obj_end(w);
}

err_code rest_metadata(struct rest_call *call, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    char hex[2 * SHA256_LEN];
    struct json_writer w;
    if (sv_eq(rest_param(call, "mode"), SV_LIT("terminology")))
        return ERR(e, ERR_UNSUPPORTED, "mode=terminology: no terminology service is offered");
    pthread_once(&shared_once, shared_make);
    json_writer_init(&w, &call->out.body);
    statement(call, &w);
    TRY(json_writer_end(&w, e));
    hash_sha256_of(buf_sv(&call->out.body), digest);
    hash_hex(digest, sizeof digest, hex);
    call->out.etag = arena_sv(call->a, sv_make(hex, ETAG_HEX));
    if (call->out.etag.ptr == NULL)
        return arena_oom(call->a, e);
    call->out.status = 200;
    if (call->ds->callers.smart)
        rest_header(call, "Access-Control-Allow-Origin", SV_LIT("*"));
    sv have = sv_trim(call->in.if_none_match);
    if (sv_starts(have, SV_LIT("W/")))
        have = sv_tail(have, 2);
    if (have.len == ETAG_HEX + 2 && sv_eq(sv_make(have.ptr + 1, ETAG_HEX), call->out.etag)) {
        call->out.status = 304;
        buf_clear(&call->out.body);
    }
    return ERR_OK;
}

/* validate.c - the three levels of HealthLake over fhir_validate(), and $validate.
 *
 *   strict (default)   what is wrong refuses the write
 *   structure-only     codes are not asked
 *   minimal            everything but a known resourceType is let through; the answer says when
 *                      something was, and the resource carries what is wrong with it
 *                      (fhir/outcome.h)
 *
 * Source: HealthLake "FHIR validation levels"; FHIR R4 resource-operation-validate.html. */
#include "rest/answer_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"
#include "rest/write/write_private.h"

#include "base/limits.h"
#include "fhir/outcome.h"

#define PROFILES_MAX 64u
#define DEFINITIONS  "http://hl7.org/fhir/StructureDefinition/"

static err_code level_of(sv name, fhir_validate_level *out, struct err *e)
{
    if (!fhir_validate_level_named(name, out))
        return ERR(e, ERR_INVALID,
                   "x-amzn-healthlake-fhir-validation-level must be strict, "
                   "structure-only or minimal");
    return ERR_OK;
}

static err_code as_issues(struct rest_call *call, const struct fhir_issues *found,
                          struct rest_issue_list *out, struct err *e)
{
    struct rest_issue *all = arena_calloc(call->a, found->n + 1, sizeof *all);
    if (all == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < found->n; i++)
        all[i] = (struct rest_issue){ found->items[i].severity, found->items[i].code,
                                      found->items[i].text, found->items[i].path };
    *out = (struct rest_issue_list){ all, found->n };
    return ERR_OK;
}

/* Level minimal: the resource is stored, with a mark of what is wrong with it. */
static err_code mark(struct rest_call *call, yyjson_val *resource, fhir_type type,
                     struct fhir_body *body, struct err *e)
{
    CLEANUP_BUF struct buf outcome = BUF_INIT(2 * FHIR_OUTCOME_MAX);
    struct fhir_issues found;
    TRY(fhir_validate(resource, FHIR_VALIDATE_STRICT, call->a, &found, e));
    call->out.issues_stored = found.n > 0;
    if (found.n == 0)
        return ERR_OK;
    TRY(as_issues(call, &found, &call->out.told, e));
    TRY(fhir_outcome_write(&found, fhir_outcome_max(body->json.len), &outcome, e));
    return fhir_issues_mark(type, resource, buf_sv(&outcome), call->a, body, e);
}

err_code rest_validate_resource(struct rest_call *call, yyjson_val *resource, fhir_type type,
                                struct fhir_body *body, struct err *e)
{
    fhir_validate_level level;
    struct fhir_issues found;
    TRY(level_of(call->in.validation_level, &level, e));
    if (level == FHIR_VALIDATE_MINIMAL)
        return mark(call, resource, type, body, e);
    TRY(fhir_validate(resource, level, call->a, &found, e));
    if (found.n == 0)
        return ERR_OK;
    TRY(as_issues(call, &found, &call->issues, e));
    return ERR(e, ERR_INVALID, "FHIR resource in payload failed FHIR validation rules.");
}

/* ---- $validate ---- */

struct asked { /* what a $validate asks for */
    yyjson_val *resource;
    struct rest_issue_list profiles; /* issues about the profiles that are named */
    bool unknown;                    /* one of the profiles is not known */
};

static sv local_name(sv profile)
{
    sv url = sv_head(profile, sv_find(profile, '|')), version = sv_tail(profile, url.len + 1);
    bool ours =
        version.len == 0 || sv_eq(version, SV_LIT("4.0.1")) || sv_eq(version, SV_LIT("4.0"));
    return ours && sv_starts(url, SV_LIT(DEFINITIONS)) ? sv_tail(url, sizeof DEFINITIONS - 1)
                                                       : SV_NONE;
}

/* Built in are the definitions of the types. Any other profile is not known here, and the answer
 * says so: to pass over it would mean that the resource keeps it. */
static err_code take_profile(struct rest_call *call, struct asked *k, sv profile, struct err *e)
{
    /* these are no DomainResources */
    static const char *const plain[] = { "Bundle", "Binary", "Parameters" };
    const char *type = fhir_type_name(call->type);
    sv name = local_name(profile);
    bool of_all = sv_eq(name, SV_LIT("Resource")) || sv_eq(name, SV_LIT("DomainResource"));
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        of_all &= strcmp(type, plain[i]) != 0 || sv_eq(name, SV_LIT("Resource"));
    if (profile.len == 0)
        return ERR(e, ERR_INVALID, "profile is empty: it must be the URL of a profile");
    if (of_all || sv_eq_cstr(name, type))
        return ERR_OK;
    bool known = fhir_type_find(name) != FHIR_TYPE_NONE || sv_eq(name, SV_LIT("DomainResource"));
    sv text = known ? arena_fmt(call->a, "Profile %.*s is not one of a %s", SV_FMT(profile), type)
                    : arena_fmt(call->a,
                                "Profile %.*s is not known here: the resource was not checked "
                                "against it",
                                SV_FMT(sv_head(profile, 256)));
    if (text.ptr == NULL)
        return arena_oom(call->a, e);
    const struct rest_issue issue = { "error", known ? "invalid" : "not-found", text, SV_NONE };
    TRY(rest_issue_add(call->a, &k->profiles, issue, e));
    k->unknown |= !known;
    return k->profiles.n <= PROFILES_MAX
               ? ERR_OK
               : ERR(e, ERR_TOO_LARGE, "$validate takes at most %u profiles", PROFILES_MAX);
}

static err_code take_mode(sv mode, struct err *e)
{
    return sv_eq(mode, SV_LIT("create")) || sv_eq(mode, SV_LIT("update"))
               ? ERR_OK
               : ERR(e, ERR_INVALID, "mode must be create or update");
}

/* The value of a parameter that is a string of some type. */
static sv value_of(yyjson_val *parameter)
{
    static const char *const names[] = { "valueCanonical", "valueUri", "valueUrl", "valueCode",
                                         "valueString" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_get(parameter, names[i]))
            return json_string(json_get(parameter, names[i]));
    return SV_NONE;
}

static err_code take_parameters(struct rest_call *call, struct asked *k, yyjson_val *root,
                                struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "parameter"));
    yyjson_val *p;
    k->resource = NULL;
    while ((p = yyjson_arr_iter_next(&it)) != NULL) {
        sv name = json_string(json_get(p, "name"));
        if (sv_eq(name, SV_LIT("resource")))
            k->resource = json_get(p, "resource");
        else if (sv_eq(name, SV_LIT("profile")))
            TRY(take_profile(call, k, value_of(p), e));
        else if (sv_eq(name, SV_LIT("mode")))
            TRY(take_mode(value_of(p), e));
    }
    return k->resource ? ERR_OK
                       : ERR(e, ERR_INVALID, "Parameters must hold a parameter named resource");
}

static err_code take_asked(struct rest_call *call, struct asked *k, yyjson_val *root, struct err *e)
{
    k->resource = root;
    for (size_t i = 0; i < call->params.n; i++) {
        const struct rest_param *p = &call->params.items[i];
        if (sv_eq(p->name, SV_LIT("profile")))
            TRY(take_profile(call, k, sv_trim(p->value), e));
        else if (sv_eq(p->name, SV_LIT("mode")))
            TRY(take_mode(p->value, e));
    }
    if (sv_eq(json_string(json_get(root, "resourceType")), SV_LIT("Parameters")) &&
        strcmp(fhir_type_name(call->type), "Parameters") != 0)
        TRY(take_parameters(call, k, root, e));
    if (!sv_eq_cstr(json_string(json_get(k->resource, "resourceType")), fhir_type_name(call->type)))
        return ERR(e, ERR_INVALID, "The resource is not a %s, which the URL says",
                   fhir_type_name(call->type));
    return ERR_OK;
}

/* The body is the resource, or Parameters with a parameter named resource. The answer is 200 with
 * the issues, or 404 when a profile is not known. */
err_code rest_validate(struct rest_call *call, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(call->in.body.len));
    const struct rest_issue good = { "information", "informational",
                                     SV_LIT("Validation successful"), SV_NONE };
    yyjson_doc *doc;
    struct fhir_issues found;
    struct asked k = { 0 };
    fhir_validate_level level;
    if (call->in.body.len == 0)
        return ERR(e, ERR_INVALID, "The body must be a resource, or Parameters with one");
    TRY(rest_json_body(call, e));
    TRY(level_of(call->in.validation_level, &level, e));
    TRY(json_read(a, call->in.body, LIMIT_RESOURCE_DEPTH, &doc, e));
    TRY(take_asked(call, &k, yyjson_doc_get_root(doc), e));
    TRY(fhir_validate(k.resource, level, call->a, &found, e));
    if (found.n + k.profiles.n == 0) {
        call->out.status = 200;
        return rest_outcome_write(&good, 1, &call->out.body, e);
    }
    struct rest_issue_list of_rules = { 0 };
    struct rest_issue *all = arena_calloc(call->a, found.n + k.profiles.n, sizeof *all);
    TRY(as_issues(call, &found, &of_rules, e));
    if (all == NULL)
        return arena_oom(call->a, e);
    if (k.profiles.n)
        memcpy(all, k.profiles.items, k.profiles.n * sizeof *all);
    if (of_rules.n)
        memcpy(all + k.profiles.n, of_rules.items, of_rules.n * sizeof *all);
    call->issues = (struct rest_issue_list){ all, found.n + k.profiles.n };
    if (k.unknown)
        return ERR(e, ERR_NOT_FOUND, "A profile is not known");
    call->out.status = 200;
    return rest_outcome_write(call->issues.items, call->issues.n, &call->out.body, e);
}

/* rest_validate.c - the three levels of HealthLake over fhir_validate(), and $validate.
 *
 *   strict (default)   what is wrong refuses the write
 *   structure-only     codes are not asked
 *   minimal            everything but a known resourceType is let through; the answer says when something was,
 *                      and the resource carries what is wrong with it (fhir/outcome.h)
 *
 * Source: HealthLake "FHIR validation levels"; FHIR R4 resource-operation-validate.html. */
#include "service/rest_private.h"

#include "base/limits.h"
#include "fhir/outcome.h"

static err_code level_of(sv name, fhir_validate_level *out, struct err *e)
{
    if (!fhir_validate_level_named(name, out))
        return ERR(e, ERR_INVALID,
                   "x-amzn-healthlake-fhir-validation-level must be strict, "
                   "structure-only or minimal");
    return ERR_OK;
}

static err_code keep_issues(struct rest_call *c, const struct fhir_issues *found, struct err *e)
{
    struct rest_issue *all = arena_calloc(c->a, found->n + 1, sizeof *all);
    if (all == NULL)
        return arena_oom(c->a, e);
    for (size_t i = 0; i < found->n; i++)
        all[i] = (struct rest_issue){ found->items[i].severity, found->items[i].code,
                                      found->items[i].text, found->items[i].path };
    c->issues = (struct rest_issue_list){ all, found->n };
    return ERR_OK;
}

/* Minimal: it is stored, and says what is wrong with it. */
static err_code mark(struct rest_call *c, yyjson_val *resource, fhir_type type,
                     struct fhir_body *body, struct err *e)
{
    CLEANUP_BUF struct buf outcome = BUF_INIT(2 * FHIR_OUTCOME_MAX);
    struct fhir_issues found;
    TRY(fhir_validate(resource, FHIR_VALIDATE_STRICT, c->a, &found, e));
    c->out.issues_stored = found.n > 0;
    if (found.n == 0)
        return ERR_OK;
    TRY(fhir_outcome_write(&found, fhir_outcome_max(body->json.len), &outcome, e));
    return fhir_issues_mark(type, resource, buf_sv(&outcome), c->a, body, e);
}

err_code rest_validate_resource(struct rest_call *c, yyjson_val *resource, fhir_type type,
                                struct fhir_body *body, struct err *e)
{
    fhir_validate_level level;
    struct fhir_issues found;
    TRY(level_of(c->in.validation_level, &level, e));
    if (level == FHIR_VALIDATE_MINIMAL)
        return mark(c, resource, type, body, e);
    TRY(fhir_validate(resource, level, c->a, &found, e));
    if (found.n == 0)
        return ERR_OK;
    TRY(keep_issues(c, &found, e));
    return ERR(e, ERR_INVALID, "FHIR resource in payload failed FHIR validation rules.");
}

/* The body is the resource, or Parameters with one named resource. Always 200 when it could be asked. */
err_code rest_validate(struct rest_call *c, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(SIZE_MAX / 2); /* bounded by the body */
    const struct rest_issue good = { "information", "informational",
                                     SV_LIT("Validation successful"), SV_NONE };
    yyjson_doc *doc;
    struct fhir_issues found;
    fhir_validate_level level;
    if (c->in.body.len == 0)
        return ERR(e, ERR_INVALID, "The body must be a resource, or Parameters with one");
    TRY(rest_json_body(c, e));
    TRY(level_of(c->in.validation_level, &level, e));
    TRY(json_read(a, c->in.body, LIMIT_RESOURCE_DEPTH, &doc, e));
    yyjson_val *r = yyjson_doc_get_root(doc);
    if (sv_eq(json_string(json_get(r, "resourceType")), SV_LIT("Parameters")) &&
        !sv_eq_cstr(SV_LIT("Parameters"), fhir_type_name(c->type))) {
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(r, "parameter"));
        yyjson_val *p;
        r = NULL;
        while ((p = yyjson_arr_iter_next(&it)) != NULL)
            if (sv_eq(json_string(json_get(p, "name")), SV_LIT("resource")))
                r = json_get(p, "resource");
        if (r == NULL)
            return ERR(e, ERR_INVALID, "Parameters must hold a parameter named resource");
    }
    if (!sv_eq_cstr(json_string(json_get(r, "resourceType")), fhir_type_name(c->type)))
        return ERR(e, ERR_INVALID, "The resource is not a %s, which the URL says",
                   fhir_type_name(c->type));
    TRY(fhir_validate(r, level, c->a, &found, e));
    c->out.status = 200;
    if (found.n == 0)
        return rest_outcome_write(&good, 1, &c->out.body, e);
    TRY(keep_issues(c, &found, e));
    return rest_outcome_write(c->issues.items, c->issues.n, &c->out.body, e);
}
